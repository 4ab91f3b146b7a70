"""Draw up the specification curve: how an estimate moves with choices that the data do not make.

The objective moves beta and E of a law more than resampling does, so a number is shown beside what it would have been
under other losses, other deltas, without the largest residuals, without the runs at an end of an axis, and by other
counts of parameters.

    specification(runs, "chinchilla")[["choice", "alpha", "alpha_low", "alpha_high"]]

Simonsohn, Simmons and Nelson 2020, Specification curve analysis, Nature Human Behaviour 4.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.fit import fit, fit_near
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.errors import FitError

LOSSES = ("huber", "l1", "l2", "raw_huber", "raw_l2")
DELTAS = (1e-4, 1e-2)
# counts of parameters that a record keeps beside N
COUNTS = ("n_body", "n_total", "n_active")
# shares of the rows of largest residual that are left out
TRIMS = (0.02, 0.05)
# resamples behind the interval of a choice that is not the default: the standard error of a standard error from n of
# them is its 1 / sqrt(2 n)th part, 5 %
RESAMPLES = 200
# levels of an axis from which one can be spared; with GRID levels, or one as wide as a factor WIDE, it is not a grid
LEVELS, GRID, WIDE = 4, 16, 1.5


def specification(
    runs: RunsLike, law: str = "chinchilla", *, counts: Sequence[str] = COUNTS, **options: Any
) -> pd.DataFrame:
    """Return a row for each choice: parameters and derived quantities with low and high, status, rows; default first.

    `options` go to every fit. A choice that cannot be fitted keeps its row, with the reason. The search of every other
    choice begins where that of the default ended and from a few fresh starts, and its interval is of RESAMPLES at most.
    """
    runs, columns = as_runs(runs).frame, get_law(law).columns
    base = fit(runs, law, **options)
    options |= {"resamples": min(options.get("resamples", RESAMPLES), RESAMPLES)}
    off = np.abs(np.log(base.predict(base.rows) / base.rows[base.law.target].to_numpy(float)))
    trims = {f"without the {share:.0%} of largest residual": off <= np.quantile(off, 1 - share) for share in TRIMS}
    ends = {choice: kept for column in columns for choice, kept in _ends(base.rows[column])}
    choices: list[tuple[str, pd.DataFrame, str, dict[str, Any]]] = [
        *((f"loss {loss}", runs, law, {"loss": loss}) for loss in LOSSES if loss != base.loss),
        *((f"delta {delta:g}", runs, law, {"delta": delta}) for delta in DELTAS if base.delta not in (None, delta)),
        *((choice, base.rows[kept], law, {}) for choice, kept in (trims | ends).items()),
    ]
    for count in counts:
        if "N" in columns and count in runs and runs[count].notna().all():
            other = f"{get_law(law).name}({','.join(count if c == 'N' else c for c in columns)})"
            choices.append((f"N counted as {count}", runs, other, {}))
    rows = [_try(choice, kept, of, base, options | changed) for choice, kept, of, changed in choices]
    return pd.DataFrame([_row("default", base), *rows])


def _ends(column: pd.Series) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return what is left without an end of an axis: a level of a grid, a tenth of the rows where there is no grid."""
    level, x = level_index(column), np.log(column.to_numpy(float))
    widths = pd.Series(x).groupby(level).agg(np.ptp)
    if level.max() < GRID and widths.max() < np.log(WIDE):
        ends = {"smallest": level > 0, "largest": level < level.max()} if level.max() >= LEVELS else {}
    else:
        low, high = np.quantile(x, [0.1, 0.9])
        ends = {"smallest tenth of": x > low, "largest tenth of": x < high}
    return [(f"without the {end} {column.name}", part) for end, part in ends.items()]


def as_text(choices: pd.DataFrame, law: str) -> str:
    """Return the values for a terminal, and how far each moves beside the width of its own interval."""
    declared = get_law(law)
    names = [*declared.params, *declared.derived]
    done = choices[choices["status"] != FitStatus.REFUSED]
    shown = done[["choice", "status", "n_rows", *names]].to_string(index=False, float_format="{:.4g}".format)
    lines = [declared.formula, shown]
    for name in names:
        value, width = done[name].astype(float), (done[f"{name}_high"] - done[f"{name}_low"]).astype(float).iloc[0]
        beside = "" if np.isnan(width) else f", {np.ptp(value) / width:.1f} times the width of its interval"
        lines.append(f"  {name:<10} {value.min():.4g} to {value.max():.4g} over the choices{beside}")
    refused = choices[choices["status"] == FitStatus.REFUSED]
    return "\n".join(lines + [f"  {c} refused: {r}" for c, r in zip(refused["choice"], refused["reason"], strict=True)])


def _try(choice: str, runs: pd.DataFrame, law: str, base: Fit, options: dict[str, Any]) -> dict[str, Any]:
    try:
        return _row(choice, fit_near(runs, law, base, **options))
    except FitError as error:
        return {"choice": choice, "status": FitStatus.REFUSED, "reason": str(error)}


def _row(choice: str, result: Fit) -> dict[str, Any]:
    row: dict[str, Any] = {"choice": choice, "status": result.status}
    row |= {"reason": result.explanation, "n_rows": result.n_rows}
    for name, estimate in (result.params | result.derived).items():
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row
