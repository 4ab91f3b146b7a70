"""Lack of fit: the law's residuals against those of runs that differ only in their seed, the run as the unit."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.coverage import DATA, SIZES, TRUTH, marks
from isoflop.analysis.holdout.compare import compare
from isoflop.analysis.holdout.form_error import lack_of_fit
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.verbs import main


def study(design: str, seed: int, bend: float = 0.0) -> pd.DataFrame:
    """Six sizes by six amounts of data by three seeds, as runs of their own or as marks; `bend` breaks the form."""
    rng = np.random.default_rng(seed)
    if design == "marks":
        rows = marks(rng, 3)
    else:
        N, D = np.repeat(SIZES, 18), np.tile(np.repeat(DATA, 3), 6)
        rows = pd.DataFrame({"N": N, "D": D, "noise": rng.normal(0, 0.005, 108)})
    L = get_law("chinchilla")(rows["N"].to_numpy(), rows["D"].to_numpy(), **TRUTH)
    broken = np.exp(bend * (np.log10(rows["N"]) - 8) ** 2)
    return rows.assign(L=L * np.exp(rows["noise"]) * broken, C=6 * rows["N"] * rows["D"])


@pytest.mark.nightly
@pytest.mark.parametrize("design", ["rows", "marks"])
def test_a_true_law_is_rarely_said_to_lack_and_a_broken_one_nearly_always(design: str) -> None:
    # three binomial standard errors of 40 studies find a wrong level as surely as four of 60 do
    studies = 40
    true = np.mean([lack_of_fit(study(design, s), "chinchilla").p < 0.05 for s in range(studies)])
    assert true <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)
    broken = np.mean([lack_of_fit(study(design, s, 0.02), "chinchilla").p < 0.05 for s in range(10)])
    assert broken >= 0.9


def test_the_test_of_a_line_is_the_classical_one() -> None:
    rng = np.random.default_rng(0)
    D = np.repeat(np.geomspace(1e6, 1e9, 8), 3)
    y = 3 - 0.1 * np.log(D) + 0.01 * rng.normal(size=24)
    found = lack_of_fit(pd.DataFrame({"D": D, "L": np.exp(y)}), "power(D)")
    means = y.reshape(8, 3).mean(1)
    line = np.polyval(np.polyfit(np.log(D), y, 1), np.log(D[::3]))
    ratio = (3 * (means - line) ** 2).sum() / 6 / (((y.reshape(8, 3) - means[:, None]) ** 2).sum() / 16)
    assert found.strata["runs"] == (pytest.approx(ratio), 6, 16)
    assert "no lack of fit is seen" in str(found)


def test_marks_are_not_taken_as_runs() -> None:
    found = lack_of_fit(study("marks", 0), "chinchilla")
    assert {name: dof for name, (_, *dof) in found.strata.items()} == {"runs": [3, 12], "marks": [28, 60]}


def test_without_replicates_it_is_untested() -> None:
    rows = study("rows", 0).iloc[::3]
    found = lack_of_fit(rows, "chinchilla")
    assert found.p is None
    assert str(found).startswith("untested: no two runs differ only in their seed")
    assert "untested" in str(compare(rows, ["power", "chinchilla"], interval="none"))


def test_compare_shows_it_beside_the_hold_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study("rows", 0, bend=0.02).to_csv(tmp_path / "runs.csv", index=False)
    command = ["compare", str(tmp_path / "runs.csv"), "--laws", "power,chinchilla", "--holdout", "C>=1e19"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "lack of fit of chinchilla: p = " in text
    assert "the form is off by more than the noise of seeds" in text
    assert main([*command, "--json"]) == 0
    laws = {row["law"]: row for row in json.loads(capsys.readouterr().out)["laws"]}
    assert laws["chinchilla"]["lack_of_fit"]["p"] < 0.05
    assert "lack_of_fit" not in laws["last value (N,D)"]
