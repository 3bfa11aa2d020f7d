"""Which weights are pruned, how many and when by schedule; NumPy alone."""
