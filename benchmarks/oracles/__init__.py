"""Learners that theory solves: their losses are computed, or solved for, on our data, and never trained."""
