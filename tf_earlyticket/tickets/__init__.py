"""Masks and weights as files, and models that become the ticket again."""
