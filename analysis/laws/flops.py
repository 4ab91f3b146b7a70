"""FLOPs for each parameter that multiplies and each target, where a count is not at hand: C = 6 N D.

Kaplan et al. 2020, arXiv:2001.08361, section 2.1: two for a forward pass, four for the backward one.
"""

TRAIN, SERVE = 6.0, 2.0
