"""Confirm by training: a paired ladder bought run by run until it is known whether a change scales."""
