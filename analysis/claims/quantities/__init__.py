"""The quantities that a claim may name: a function each, from the usable runs of one subject to a number.

@quantity(needs=("law", "axis"), unit="percent")
def holdout_error(sample: Sample) -> Measured: ...

QUANTITIES["holdout_error"](Sample(runs, law="power_offset(D)", axis="D", level=0.9)).high
"""

from isoflop import extensions
from isoflop.analysis.claims.declare import QUANTITIES, Measured, Sample, listing, quantity
from isoflop.analysis.claims.quantities import columns, holdouts, laws, reach, tuning  # noqa: F401 each enters its own

__all__ = ["QUANTITIES", "Measured", "Sample", "listing", "quantity"]

extensions.load("quantities")
