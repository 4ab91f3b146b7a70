"""The memory of Zipfian facts in closed form (G1): the chance that a token was not seen, of exponent α / (1 + α) in D.

Theory, formula and source stand at the head of scaling/data/synthetic/zipf.py.

    [curve.knobs["data.exponent"] for curve in curves()]        # [1.5, 2.0, 3.0]
"""

from collections.abc import Iterator

import numpy as np

from isoflop.scaling.data.synthetic.zipf import unseen_mass
from isoflop.scaling.oracles.base import SolvedCurve

VOCAB_SIZE = 2_000_000


def curves() -> Iterator[SolvedCurve]:
    """Yield a curve in D for each exponent."""
    D = np.geomspace(1e2, 1e4, 9).round().astype(int)
    for exponent in (1.5, 2.0, 3.0):
        points = [{"D": int(d), "L": unseen_mass(d, exponent, VOCAB_SIZE), "floor": 0.0} for d in D]
        yield SolvedCurve("unseen_mass", "zipf", {"data.exponent": exponent, "data.vocab_size": VOCAB_SIZE}, points)
