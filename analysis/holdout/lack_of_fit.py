"""Test for lack of fit: is a law as close to the runs as runs that differ only in their seed are to one another?

The residuals of a least-squares fit split into what replicates share (the law's own error, and their common noise) and
what they do not (pure error); their ratio is an F test (Fisher 1922; Draper and Smith, Applied Regression Analysis).
The run is the unit: means of runs are tested against the scatter of replicated runs, and, where runs have several
marks, the shape along a run against the scatter of marks about it, as in a split plot; the smaller p counts twice.

    lack_of_fit(runs, "chinchilla").p       # 0.41: no sign of a wrong form
    lack_of_fit(runs[runs["seed"] == 0], "power(D)").reason
    # 'untested: no two runs differ only in their seed, or they repeat exactly'
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.fitting.diagnose import runs_needed
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.cells import cell_columns
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.errors import FitError

# a law does not fit where p of its test is below this
LEVEL = 0.05
# a trend of residuals counts where chance makes one as clear in one of a thousand sound laws, and only where the
# law misses by 2 %: small errors of form are what its bands are for; parts of runs that share no level
TREND, MISSED, PARTS = 0.001, 0.02, 5


@dataclass(frozen=True)
class LackOfFit:
    """The test of a law's form against replicates.

    p        of the test; None where there is none
    strata   runs, and marks within runs -> F and its two degrees of freedom
    reason   why there is no test; empty where there is one
    """

    p: float | None
    strata: dict[str, tuple[float, int, int]]
    reason: str = ""

    def __str__(self) -> str:
        if self.p is None:
            return self.reason
        parts = ", ".join(f"F({a}, {b}) = {F:.3g} between {name}" for name, (F, a, b) in self.strata.items())
        finding = "the form is off by more than the noise of seeds" if self.p < LEVEL else "no lack of fit is seen"
        return f"p = {self.p:.2g} ({parts}): {finding}"

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `isoflop compare --json`."""
        strata = [{"between": name, "F": F, "df": [a, b]} for name, (F, a, b) in self.strata.items()]
        return {"p": self.p, "strata": strata, "reason": str(self)}


def lack_of_fit(runs: RunsLike, law: str, *, run: str | None = None, **options: Any) -> LackOfFit:
    """Fit `law` by least squares of log residuals and set its error against that of replicates.

    `options` go to fit; the loss that they name does not matter here.
    """
    from scipy.special import fdtrc

    try:
        result = fit(runs, law, run=run, **(options | {"loss": "l2", "interval": "none"}))
    except FitError as error:
        return LackOfFit(None, {}, f"untested: {error}")
    optimum = result.optimum
    assert optimum is not None, "fit raises where there is no optimum"
    codes = as_runs(result.rows, run).codes
    with np.errstate(all="ignore"):  # as in the fit itself
        r = optimum.problem.residuals(optimum.u[None])[0]
        alone = runs_needed(optimum.problem, optimum.u, codes) - 2
    strata = _strata(r, codes, _cells(result.rows), alone, len(optimum.u) - alone)
    if not strata:
        return LackOfFit(None, {}, "untested: no two runs differ only in their seed, or they repeat exactly")
    p = [float(fdtrc(a, b, F)) for F, a, b in strata.values()]
    return LackOfFit(min(1.0, len(p) * min(p)), strata)


def trend(fitted: Fit) -> str:
    """Return words for a law that misses its runs by much, and along one of its columns; empty for any other.

    One-way analysis of variance of the residuals of ln L between levels of each column (Fisher 1925), without
    replicates.
    """
    from scipy.stats import f

    rows, law = fitted.rows, fitted.law
    columns = [rows[c].to_numpy(float) for c in law.columns]
    with np.errstate(all="ignore"):
        residual = np.log(rows[law.target].to_numpy(float) / law(*columns, **fitted.values))
    rms, worst = float(np.sqrt(np.mean(residual**2))), (TREND / len(columns), "")
    if not MISSED <= rms < np.inf:
        return ""
    for name, x in zip(law.columns, columns, strict=True):
        level = level_index(x)
        if 2 * (level.max() + 1) > len(x):  # hardly two runs share a level: equal parts of them instead
            level = np.argsort(np.argsort(x, kind="stable")) * PARTS // len(x)
        count = np.bincount(level)
        between = float((np.bincount(level, residual) ** 2 / count).sum() - residual.sum() ** 2 / len(x))
        within, free = float((residual**2).sum() - residual.sum() ** 2 / len(x)) - between, len(x) - len(count)
        if len(count) > 1 and free > 0:
            p = float(f.sf(between / (len(count) - 1) / max(within / free, np.finfo(float).tiny), len(count) - 1, free))
            worst = min(worst, (p, name))
    missed = f"lack of fit: it misses its runs by {rms:.0%} (rms), with a trend along {worst[1]}"
    return missed if worst[1] else ""


def _cells(rows: pd.DataFrame) -> NDArray[np.intp]:
    """Return the number of each row's cell, in which all that can be set is equal, except the seed."""
    key = cell_columns(rows)
    return np.asarray(rows.groupby(key, dropna=False, sort=False).ngroup(), dtype=np.intp)


def _strata(
    r: Array, runs: NDArray[np.intp], cells: NDArray[np.intp], alone: int, within: int
) -> dict[str, tuple[float, int, int]]:
    """Return F and its degrees of freedom between runs, which determine `alone` parameters, and between marks."""
    table = pd.DataFrame({"r": r, "run": runs, "cell": cells})
    table["group"] = table["run"].map(table.groupby("run")["cell"].agg(frozenset))
    table["mean"] = table.groupby("run")["r"].transform("mean")
    table["off"] = table["r"] - table["mean"]
    n_rows, n_runs, n_cells = len(table), table["run"].nunique(), table["cell"].nunique()
    n_groups = table["group"].nunique()
    parts = {
        "runs": ("mean", "group", n_groups - alone, n_runs - n_groups),
        "marks": ("off", "cell", n_cells - n_groups - within, n_rows - n_runs - n_cells + n_groups),
    }
    strata = {}
    for name, (value, key, spare, pure) in parts.items():
        shared = table.groupby(key)[value].transform("mean")
        error = float(((table[value] - shared) ** 2).sum())
        if spare > 0 and pure > 0 and error > 1e-24 * n_rows:
            strata[name] = (float((shared**2).sum()) / spare / (error / pure), spare, pure)
    return strata
