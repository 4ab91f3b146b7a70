"""A run that goes on, watched against its forecast."""
