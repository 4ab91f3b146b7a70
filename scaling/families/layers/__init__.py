"""Layers that several families share; no family is in here."""
