"""When pruning may start: decided online, from past probes and weights only."""
