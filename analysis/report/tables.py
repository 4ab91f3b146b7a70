"""The tables of the page as rows of text: the laws, what they are among the runs, and the ledger of every run.

parameters(view)["rows"][0]["cells"]["alpha"]     # ('0.34', '0.32 to 0.36')
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Estimate
from isoflop.analysis.holdout.predictability import predictability
from isoflop.analysis.report.links import links
from isoflop.analysis.report.view import REASON, View, most_runs
from isoflop.analysis.runs.rows import as_floats, finished
from isoflop.wording import SUPERSCRIPT, count, cut, number, printable

# families whose law is set beside other laws at hold-outs: that takes dozens of fits each
MOST_RIVALLED = 8
# rows of the ledger that a page shows: a browser takes long over more
MOST_ROWS = 400
# columns of the ledger, as far as the table has them
LEDGER = (
    "run_id",
    "family",
    "width",
    "depth",
    "seed",
    "status",
    "reason",
    "N",
    "D",
    "C",
    "L",
    "L_se",
    "wall_s",
    "rung",
)


def parameters(view: View, *, rivals: bool = False) -> dict[str, Any]:
    """The laws as a table: a row for each family, a column for each parameter and derived quantity.

    rivals  whether each law is set beside other laws at hold-outs, which says whether it predicts
    """
    names: dict[str, None] = {}
    rows = []
    shown = most_runs(view.rows, MOST_RIVALLED) if rivals else set()
    for family, fitted in view.laws.items():
        cells = {name: _estimate(e) for name, e in {**fitted.params, **fitted.derived}.items()}
        names |= dict.fromkeys(cells)
        starts = f"{fitted.starts.at_optimum} of {fitted.starts.tried}"
        row = {"family": family, "cells": cells, "status": fitted.status, "starts": starts, "runs": fitted.n_runs}
        if family in shown:
            verdict = predictability(view.tested(family))
            row |= {"predicts": f"predicts: {verdict.predicts}", "why": verdict.reason}
        rows.append({"predicts": "", "why": ""} | row)
    most = MOST_RIVALLED if rivals and len(rows) > MOST_RIVALLED else 0
    return {"names": list(names), "rows": rows, "rivals": rivals, "most_rivalled": most}


def local_quantities(view: View) -> dict[str, Any]:
    """What the laws are among the runs, as a table: a row for each family, a column for each local quantity."""
    names = dict.fromkeys(name for local in view.local.values() for name in local.estimates)
    rows = [
        {"family": family, "place": local.place, "cells": {name: _estimate(e) for name, e in local.estimates.items()}}
        for family, local in view.local.items()
    ]
    return {"names": list(names), "rows": rows}


def _estimate(estimate: Estimate) -> tuple[str, str]:
    """A value and its interval as text; a bound that does not exist is `none`."""
    value = "–" if estimate.value is None else _digits(estimate.value, 4)
    if estimate.low is None and estimate.high is None:
        return value, "no interval"
    low, high = ("none" if b is None else _digits(b, 3) for b in (estimate.low, estimate.high))
    return value, f"{low} to {high}"


def _digits(value: float, digits: int) -> str:
    """A number to so many digits, without the e of a computer: 1.234, 4680, 46,800, 4.68·10⁷."""
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    if 1e3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.0f}"
    mantissa, exponent = text.split("e")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPT)
    return power if mantissa == "1" else f"{mantissa}·{power}"


def ledger(runs: pd.DataFrame, out: Path | None = None) -> dict[str, Any]:
    """Every row of the table, failures first, in short words; out: the folder of a page that links to each run."""
    columns = [c for c in LEDGER if c in runs and runs[c].notna().any()]
    extra = [c for c in ("device", "git", "dirty") if c in runs and runs[c].notna().any()]
    done = finished(runs)
    order = np.argsort(done, kind="stable")[:MOST_ROWS]
    shown = runs.iloc[order]
    rows = [[_cell(c, value) for c, value in zip([*columns, *extra], row, strict=True)]
            for row in shown[[*columns, *extra]].itertuples(index=False)]  # fmt: skip
    source = runs.attrs.get("source")
    addresses = [links(row, Path(source), out) if source and out else {} for row in shown.to_dict("records")]
    lost = [not ok for ok in done[order]]
    hours = f"{took:.2f}" if (took := training_hours(runs)) else ""
    return {
        "columns": [*columns, *extra],
        "rows": list(zip(lost, rows, addresses, strict=True)),
        "linked": any(addresses),
        "hours": hours,
        "lost": int((~done).sum()),
        "all": len(runs),
    }


def training_hours(runs: pd.DataFrame) -> float:
    """Hours that all runs took together; 0 where the table does not say."""
    return float(as_floats(once(runs)["wall_s"]).sum()) / 3600 if "wall_s" in runs else 0.0


def _cell(column: str, value: Any) -> str:
    """One value of the ledger as text."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if column in ("N", "D", "C") and isinstance(value, float | int) and math.isfinite(value):
        return number(float(value)) if column == "C" else count(float(value))
    if column == "git":
        return str(value)[:10]
    return f"{value:.4g}" if isinstance(value, float) else cut(printable(str(value)), REASON)


def once(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each run: its last mark."""
    if "run_id" not in runs:
        return runs
    return runs.drop_duplicates("run_id", keep="last")


def count_runs(runs: pd.DataFrame) -> int:
    """How many runs a table has."""
    return len(once(runs))
