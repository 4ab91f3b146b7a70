"""A fit, from a table to a result."""
