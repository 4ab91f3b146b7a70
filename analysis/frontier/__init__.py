"""Compute-optimal size and data."""
