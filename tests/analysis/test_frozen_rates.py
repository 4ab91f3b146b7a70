"""The arithmetic behind each rate that `make nightly` measures: one study of each, its numbers frozen.

python tests/analysis/test_frozen_rates.py    # writes frozen_rates.json again: after a number has moved for a reason
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "analysis")]

from studies import TRUTH, demo_study, grid_study  # noqa: E402
from test_lack_of_fit import study as of_seeds  # noqa: E402
from test_negative_controls import LAW, MATCHED, PREDICTABLE, SLOPES, TWINS, changed  # noqa: E402
from test_sharing_and_weights import families, noisy  # noqa: E402
from test_speedup import recipes  # noqa: E402

from benchmarks.coverage import DESIGNS, SMALL, study_from_truth  # noqa: E402
from isoflop.analysis.claims.claim import Claim  # noqa: E402
from isoflop.analysis.claims.judge import judge_claim  # noqa: E402
from isoflop.analysis.fitting.fit import fit, fit_groups  # noqa: E402
from isoflop.analysis.holdout.form_error import lack_of_fit  # noqa: E402
from isoflop.analysis.holdout.speedup import speedup  # noqa: E402

STORE = Path(__file__).with_name("frozen_rates.json")
Numbers = dict[str, list[float | None]]


def verdicts(runs: object, claim: Claim) -> Numbers:
    """Statistic, low and high of each subject of a verdict."""
    return {str(s.subject): [s.statistic, s.low, s.high] for s in judge_claim(runs, claim).subjects}


def coverage(design: str) -> Numbers:
    """Value, low and high of each parameter of a simulated study."""
    return {name: list(ends) for name, ends in study_from_truth(design, 0).items()}


def shared_interval() -> Numbers:
    """The interval of an E that three families share."""
    E = fit_groups(families(noise=0.005, seed=0), by=["family"], share=["E"], loss="l2")[0].params["E"]
    return {"E": [E.value, E.low, E.high]}


def weighed() -> Numbers:
    """Estimates from rows that weigh by the noise of their seeds."""
    return {name: [value] for name, value in fit(noisy(0), loss="l2", weights="seed", interval="none").values.items()}


def faster() -> Numbers:
    """The interval of a speed-up."""
    new, old = fit_groups(recipes(0.005, 0), by=["recipe"], loss="l2")
    estimate = speedup(new, old, {"L": 3.0}).estimate
    return {"speed-up": [estimate.value, estimate.low, estimate.high]}


def lacking(design: str) -> Numbers:
    """The p of lack of fit of a true law and of one whose form is broken."""
    return {f"bend {bend:g}": [lack_of_fit(of_seeds(design, 0, bend), "chinchilla").p] for bend in (0.0, 0.02)}


def twins(names: str = "ab", **given: object) -> object:
    """A study whose families are one generator under several names."""
    truth = dict.fromkeys(names, TRUTH["lstm"])
    return demo_study(list(names), truth=truth, seed=0, failures=False, **given)


RATES: dict[str, Callable[[], Numbers]] = {
    **{f"coverage: {design}": partial(coverage, design) for design in sorted(DESIGNS | SMALL)},
    "shared E": shared_interval,
    "weights by seeds": weighed,
    "speed-up": faster,
    **{f"lack of fit: {design}": partial(lacking, design) for design in ("rows", "marks")},
    "twins at matched compute": lambda: verdicts(twins(), changed(MATCHED, contrast=0.0)),
    "triplets at matched compute": lambda: verdicts(twins("abc"), changed(MATCHED, contrast=0.0)),
    "twins by slope": lambda: verdicts(twins(), SLOPES),
    "a true law": lambda: verdicts(demo_study(["lstm"], seed=0, failures=False), PREDICTABLE),
    "twins by exponent": lambda: verdicts(
        grid_study(["a", "b"], truth=TWINS), changed(LAW, needs=replace(LAW.only.needs, tuned={}), of=("beta",))
    ),
}


@cache
def frozen() -> dict[str, Numbers]:
    """The numbers that were written."""
    kept: dict[str, Numbers] = json.loads(STORE.read_text())
    return kept


@pytest.mark.parametrize("name", RATES)
def test_one_study_behind_each_nightly_rate_has_its_frozen_numbers(name: str) -> None:
    found, kept = RATES[name](), frozen()[name]
    assert found.keys() == kept.keys()
    assert any(value is not None for values in kept.values() for value in values)
    for key, values in kept.items():
        assert found[key] == pytest.approx(values, rel=1e-6), key


if __name__ == "__main__":
    STORE.write_text(json.dumps({name: compute() for name, compute in RATES.items()}, indent=1) + "\n")
