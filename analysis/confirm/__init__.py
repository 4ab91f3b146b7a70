"""Whether a change scales: the compute multiplier of a change against C, its verdict, and which pair to run next."""
