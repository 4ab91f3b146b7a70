"""A 95 % interval holds the truth about 95 times in 100 (benchmarks/coverage.py measures it with more studies)."""

import numpy as np
import pytest

from benchmarks.coverage import DESIGNS, TRUTH, study

# three binomial standard errors of 40 studies find a bad interval as surely as four of 60 do
STUDIES = 40


@pytest.mark.slow
@pytest.mark.parametrize("design", sorted(DESIGNS))
def test_default_intervals_cover_the_truth(design: str) -> None:
    truth = TRUTH | {"a": TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])}
    found = [study(design, seed) for seed in range(STUDIES)]
    for name in ("E", "alpha", "beta", "a"):
        held = np.mean([low <= truth[name] <= high for _, low, high in (s[name] for s in found)])
        assert held >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / STUDIES), (name, held)
