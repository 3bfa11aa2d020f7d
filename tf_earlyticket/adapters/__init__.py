"""Holding masks in a framework's model: the few things that NumPy alone cannot do."""
