"""Probes: measurements of a trained model that are not its loss; one file and one yaml each."""
