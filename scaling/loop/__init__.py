"""The training loop: the module, one trunk for many marks, several ranks, and a file for each callback."""
