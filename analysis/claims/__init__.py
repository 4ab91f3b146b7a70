"""Stated predictions and their verdicts."""
