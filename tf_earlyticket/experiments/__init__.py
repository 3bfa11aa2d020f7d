"""Experiments of the paper on top of the training tools."""
