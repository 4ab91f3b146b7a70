"""A 95 % interval holds the truth about 95 times in 100 (benchmarks/coverage.py measures it with more studies)."""

import numpy as np
import pytest

from benchmarks.coverage import DESIGNS, TRUTH, study

STUDIES = 60


@pytest.mark.slow
@pytest.mark.parametrize("design", sorted(DESIGNS))
def test_default_intervals_cover_the_truth(design: str) -> None:
    truth = TRUTH | {"a": TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])}
    found = [study(design, seed) for seed in range(STUDIES)]
    for name in ("E", "alpha", "beta", "a"):
        held = np.mean([low <= truth[name] <= high for _, low, high in (s[name] for s in found)])
        # four binomial standard errors below 95 %
        assert held >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / STUDIES), (name, held)
