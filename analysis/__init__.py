"""From records to laws, verdicts and a report (numpy, scipy, pandas; no torch)."""
