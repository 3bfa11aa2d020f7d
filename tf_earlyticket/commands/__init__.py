"""The bodies of the command-line programs."""
