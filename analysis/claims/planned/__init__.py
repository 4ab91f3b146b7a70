"""What a claim asks of runs that are planned: columns, a law that they identify, and power."""
