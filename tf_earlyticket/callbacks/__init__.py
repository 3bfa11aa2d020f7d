"""When to look and when to act: thin Keras callbacks over the core and the adapter."""
