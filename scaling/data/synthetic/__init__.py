"""Data made from a seed, without end: known floors and exponents, and tasks that text does not set."""
