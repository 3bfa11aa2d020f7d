"""What only a framework can do: hold masks in a model, run its steps, copy its state."""
