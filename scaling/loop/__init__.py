"""The training loop: the module, one trunk for many marks, several ranks, and what watches them."""
