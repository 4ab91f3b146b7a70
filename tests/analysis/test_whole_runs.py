"""Hold-outs of whole runs: what is left out, the noise at that scale, the verdicts that follow."""

import numpy as np
import pandas as pd
import pytest
from conftest import Rate

from isoflop.analysis.claims.declare import Measured, NotIdentified, Sample, Untested
from isoflop.analysis.claims.quantities.holdouts import whole_run_error
from isoflop.analysis.claims.region import Region, VerdictKind
from isoflop.analysis.laws.declare import get_law

TRUTH = {"E": 1.6, "A": 500.0, "alpha": 0.33, "B": 420.0, "beta": 0.30}
REGION = Region(below=0.01, or_seed_sd=2)


def ladder(seed: int, bend: float = 0.0, seeds: int = 3, noise: float = 0.01) -> pd.DataFrame:
    """Five sizes, three runs each with five marks; the noise falls as D^-.3, and the largest size is off by `bend`."""
    rng, rows = np.random.default_rng(seed), []
    for i, N in enumerate(np.geomspace(1e7, 1e9, 5)):
        for run in range(seeds):
            for D in np.geomspace(1e8, 1e10, 5):
                off = noise * (D / 1e8) ** -0.3 * rng.normal() + bend * (i == 4)
                L = float(get_law("chinchilla")(N, D, **TRUTH)) * np.exp(off)
                who = {"run_id": f"{i}-{run}", "seed": run, "family": "a", "rung": f"{i}-{D:g}"}
                rows.append(who | {"N": N, "D": D, "C": 6 * N * D, "L": L})
    return pd.DataFrame(rows)


def error(rows: pd.DataFrame, axis: str = "N", region: Region = REGION) -> Measured:
    return whole_run_error(Sample(rows, law="chinchilla", axis=axis, region=region))


def verdict(found: Measured) -> VerdictKind:
    return REGION.verdict(found.low, found.high, found.seed_sd)


def test_whole_runs_are_left_out_and_judged_by_the_noise_of_their_scale() -> None:
    rows = ladder(0, noise=0.002)
    found = error(rows)
    assert found.reason.startswith("12 runs fitted, 3 left out: ")
    assert verdict(found) is VerdictKind.SUPPORTED
    # by compute the largest cell is that of one size, whose runs are left out at all marks
    by_C = error(rows, axis="C")
    assert by_C.reason.startswith("12 runs fitted, 3 left out: ")
    assert by_C.seed_sd == pytest.approx(0.002 * 100**-0.3, rel=0.35)
    assert verdict(error(ladder(0, bend=0.06, noise=0.002))) is VerdictKind.REFUTED


def test_exact_rows_err_by_nothing_but_what_their_noise_alone_makes() -> None:
    found = error(ladder(0, noise=1e-6))
    assert found.value < 1e-5
    assert found.high is not None
    assert found.high < 1e-4


def test_what_has_no_whole_run_to_fit_no_seeds_or_no_gain_is_said() -> None:
    with pytest.raises(Untested, match="every run has a mark at the largest D"):
        error(ladder(0), axis="D")
    with pytest.raises(Untested, match="no cell has two seeds"):
        error(ladder(0, seeds=1))
    with pytest.raises(NotIdentified, match="there is no gain to predict"):
        error(ladder(0), region=Region(below=0.9))


@pytest.mark.nightly
def test_a_law_that_holds_is_seldom_refuted(rate: Rate) -> None:
    kinds = [verdict(error(ladder(seed, noise=0.004))) for seed in range(200)]
    refuted = kinds.count(VerdictKind.REFUTED) / len(kinds)
    rate("true laws refuted by whole_run_error", refuted, len(kinds))
    assert refuted <= 0.05
    assert kinds.count(VerdictKind.SUPPORTED) > 0.5 * len(kinds)
