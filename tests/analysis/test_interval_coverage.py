"""A 95 % interval holds the truth about 95 times in 100 (benchmarks/coverage.py measures it with more studies), and is
not much wider than it has to be."""

import numpy as np
import pytest
from conftest import Rate

from benchmarks.coverage import DESIGNS, SMALL, study_from_truth, truth_of

# three binomial standard errors of 60 studies find a bad interval as surely as four of 90 do
STUDIES = 60
# half-width over 1.96 standard deviations of the estimates; 1.3 is due to Student's t where eight runs tell three
# parameters, 1.6 where six runs tell three
WIDEST = 1.9


@pytest.mark.nightly
@pytest.mark.parametrize("design", sorted(DESIGNS | SMALL))
def test_default_intervals_cover_the_truth_and_are_no_wider_than_that_takes(design: str, rate: Rate) -> None:
    truth = truth_of(design)
    studies = [study_from_truth(design, seed) for seed in range(STUDIES)]
    for name in studies[0]:
        value, low, high = np.array([s[name] for s in studies]).T
        held = float(((low <= truth[name]) & (truth[name] <= high)).mean())
        rate(f"{design}: 95 % intervals that hold {name}", held, STUDIES)
        assert held >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / STUDIES), (name, held)
        assert np.median(high - low) / 2 < WIDEST * 1.96 * value.std(), name
