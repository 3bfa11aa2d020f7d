"""The training loop: one run from data to an exported ticket, in phases that can be resumed."""
