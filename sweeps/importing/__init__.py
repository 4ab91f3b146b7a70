"""Logs of other tools as a table of runs: `isoflop import`."""
