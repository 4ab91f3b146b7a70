"""The specification curve: how an answer moves with choices that the data do not make.

The objective moves beta and E of a law more than resampling does, so a number is shown beside what it would have been
under other losses, other deltas, without the largest residuals and by other counts of parameters.

    specification(runs, "chinchilla")[["choice", "alpha", "alpha_low", "alpha_high"]]

Simonsohn, Simmons and Nelson 2020, Specification curve analysis, Nature Human Behaviour 4.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.fit import fit
from analysis.laws import get_law
from analysis.result import Fit, FitError

LOSSES = ("huber", "l1", "l2", "raw_huber", "raw_l2")
DELTAS = (1e-4, 1e-2)
# counts of parameters that a record keeps beside N
COUNTS = ("n_body", "n_total", "n_active")
# shares of the rows of largest residual that are left out
TRIMS = (0.02, 0.05)


def specification(
    runs: pd.DataFrame, law: str = "chinchilla", *, counts: Sequence[str] = COUNTS, **how: Any
) -> pd.DataFrame:
    """A row for each choice: parameters and derived quantities with low and high, status, rows; the default first.

    `how` goes to every fit. A choice that cannot be fitted keeps its row, with the reason.
    """
    base = fit(runs, law, **how)
    rows = [_row("default", base)]
    rows += [_try(f"loss {loss}", runs, law, how | {"loss": loss}) for loss in LOSSES if loss != base.loss]
    if base.delta is not None:
        rows += [_try(f"delta {delta:g}", runs, law, how | {"delta": delta}) for delta in DELTAS if delta != base.delta]
    size = np.abs(np.log(base.predict(base.rows) / base.rows[base.law.target].to_numpy(float)))
    for share in TRIMS:
        kept = base.rows[size <= np.quantile(size, 1 - share)]
        rows.append(_try(f"without the {share:.0%} of largest residual", kept, law, how))
    columns = get_law(law).columns
    for count in counts:
        if "N" in columns and count in runs and runs[count].notna().all():
            other = f"{get_law(law).name}({','.join(count if c == 'N' else c for c in columns)})"
            rows.append(_try(f"N counted as {count}", runs, other, how))
    return pd.DataFrame(rows)


def _try(choice: str, runs: pd.DataFrame, law: str, how: dict[str, Any]) -> dict[str, Any]:
    try:
        return _row(choice, fit(runs, law, **how))
    except FitError as error:
        return {"choice": choice, "status": "refused", "reason": str(error)}


def _row(choice: str, answer: Fit) -> dict[str, Any]:
    row: dict[str, Any] = {"choice": choice, "status": answer.status, "reason": answer.reason, "n_rows": answer.n_rows}
    for name, found in (answer.params | answer.derived).items():
        row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return row
