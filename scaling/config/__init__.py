"""What a run is before it runs: its choices, identity, provenance and frozen config, and what is done (no torch)."""
