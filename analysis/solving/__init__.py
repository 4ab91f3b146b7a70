"""The optimiser and where it starts."""
