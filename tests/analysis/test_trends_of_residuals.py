"""A law that misses its runs along a trend is said to lack fit, at the top of the page and beside its parameters."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_laws import seeded

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import load_fit
from isoflop.analysis.report.finding import finding
from isoflop.analysis.report.report import write_report
from isoflop.analysis.report.view import look
from isoflop.analysis.verbs import main


def bent(seed: int, size: float = 0.8) -> pd.DataFrame:
    """Losses with a step along D that no power law has."""
    N, D = (x.ravel() for x in np.meshgrid(np.logspace(7, 9.5, 6), np.logspace(8.5, 11, 6)))
    L = 2 + 30 * N**-0.2 + 3 * (D / 1e9) ** -0.3 + size * np.tanh(3 * np.log(D / 5e9))
    return pd.DataFrame({"N": N, "D": D, "L": L * np.exp(0.005 * np.random.default_rng(seed).normal(size=36))})


def test_a_law_that_misses_its_runs_along_a_trend_says_so_on_the_page(tmp_path: Path) -> None:
    rows = bent(0)
    law = fit(rows, interval="none")
    residual = np.log(rows["L"] / law.law(rows["N"], rows["D"], **law.values))
    assert f"misses its runs by {np.sqrt((residual**2).mean()):.0%} (rms), with a trend along D" in law.lack
    assert "The law of all runs shows lack of fit" in finding(look(rows, []))
    page = write_report(rows, tmp_path, claims=None).read_text()
    assert "lack of fit: it misses its runs by" in page
    assert ", lack of fit<br>" in page


@pytest.mark.parametrize(("verb", "more"), [("fit", ""), ("predict", "--at N=1e9,D=2e10")])
def test_verbs_that_rest_on_such_a_law_say_so(verb: str, more: str, tmp_path: Path, capsys: Any) -> None:
    table = tmp_path / "bent.csv"
    bent(0).to_csv(table, index=False)
    assert main([verb, str(table), *more.split()]) == 0
    assert "lack of fit: it misses its runs by" in capsys.readouterr().out


def test_a_saved_fit_keeps_its_lack(tmp_path: Path) -> None:
    law = fit(bent(0), interval="none")
    law.save(tmp_path / "fit.json")
    assert load_fit(tmp_path / "fit.json").lack == law.lack != ""


@pytest.mark.parametrize("noise", [0.001, 0.05])
def test_a_sound_law_with_little_or_much_noise_shows_no_trend(noise: float) -> None:
    rows, rng = seeded("chinchilla"), np.random.default_rng(1)
    found = [fit(rows.assign(L=rows["L"] * np.exp(noise * rng.normal(size=len(rows)))), interval="none").lack
             for _ in range(10)]  # fmt: skip
    assert found == [""] * 10
