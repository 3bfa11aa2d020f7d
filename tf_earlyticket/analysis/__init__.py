"""What a network can lose, and where."""
