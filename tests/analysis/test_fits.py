"""Every fit of a table is made once, and what was made with it; a table of runs is a type."""

import numpy as np
import pandas as pd
import pytest
from synthetic_laws import seeded

from isoflop.analysis.fitting import fit as module
from isoflop.analysis.fitting.fit import Fits, fit, fit_near
from isoflop.analysis.runs.runs import Runs, as_runs
from isoflop.errors import FitError, UserError


@pytest.fixture
def runs() -> Runs:
    """A table of runs of chinchilla's law, each with a name."""
    rows = seeded("chinchilla")
    return as_runs(rows.assign(run_id=[f"r{i}" for i in range(len(rows))], family="mlp"))


def test_a_fit_is_made_once_for_equal_rows(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    made, fit_rows, plain = [], module.fit_rows, fit(runs, "chinchilla", interval="none")
    monkeypatch.setattr(module, "fit_rows", lambda *given: (made.append(given), fit_rows(*given))[1])
    fits = Fits(runs)
    first = fits.law("chinchilla", interval="none")
    again = fits.law("chinchilla", runs.select("family = 'mlp'"), interval="none", by={"family": "mlp"})
    assert len(made) == 1
    assert again.by == {"family": "mlp"}
    assert first.params == again.params == plain.params
    fits.law("chinchilla", runs.select("N > 0"), interval="none", delta=1e-2)
    fits.law("chinchilla", runs.with_columns(L=1.1 * runs["L"]), interval="none")
    fits.law("chinchilla", runs.with_frame(runs.frame.iloc[1:]), interval="none")
    assert len(made) == 4


def test_a_fit_near_another_is_that_of_fit_near(runs: Runs) -> None:
    fits, few = Fits(runs), runs.with_frame(runs.frame.iloc[3:])
    whole = fits.law("chinchilla", interval="none")
    assert (
        fits.law("chinchilla", few, near=whole, interval="none").params
        == fit_near(few, "chinchilla", whole, interval="none").params
    )


def test_what_follows_from_fits_is_made_once_and_so_is_its_error(runs: Runs) -> None:
    fits, calls = Fits(runs), []

    def make() -> int:
        calls.append(1)
        raise FitError("no")

    for _ in range(2):
        with pytest.raises(FitError, match="no"):
            fits.once(("x", runs), make)
    assert len(calls) == 1
    assert fits.once("y", lambda: 3) == fits.once("y", lambda: 4) == 3


def test_groups_have_labels_and_keep_source_and_notes() -> None:
    frame = pd.DataFrame({"family": ["a", "b", "b"], "N": [1e6, 1e6, 2e6], "L": [3.0, 2.0, np.nan]})
    runs = Runs(frame, "theirs.csv", ("a note",), lines=True)
    parts = runs.by(["family", "N"])
    assert [str(label) for label in parts] == ["a, 1000000.0", "b, 1000000.0", "b, 2000000.0"]
    assert {(part.source, part.notes) for part in parts.values()} == {("theirs.csv", ("a note",))}
    assert next(iter(parts)).by == {"family": "a", "N": 1e6}
    assert runs.where_is(2) == "theirs.csv, line 2"
    assert len(runs.usable) == 2
    assert as_runs(runs) is runs
    assert as_runs(runs, "family").count == 2


def test_runs_are_no_frame_and_say_what_to_write_instead() -> None:
    runs = as_runs(pd.DataFrame({"N": [1e6], "L": [3.0]}))
    with pytest.raises(AttributeError, match=r"runs\.frame\.groupby"):
        runs.groupby("N")
    with pytest.raises(UserError, match="select"):
        runs[runs["N"] > 1]  # type: ignore[index]
    with pytest.raises(TypeError, match=r"runs\.frame"):
        list(runs)
    with pytest.raises(UserError, match="read_runs"):
        as_runs("runs.csv")  # type: ignore[arg-type]
    assert "1 rows" in repr(runs)
    assert "<table" in runs._repr_html_()
