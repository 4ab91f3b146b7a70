"""The tables of the page as rows of text: the laws, what they are among the runs, and the ledger of all runs.

parameters(view)["rows"][0]["cells"]["alpha"]     # ('0.34', '0.32 to 0.36')
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pandas as pd

from isoflop import record
from isoflop.analysis.fitting.result import Estimate
from isoflop.analysis.report.view import REASON, View, most_runs
from isoflop.analysis.runs.rows import as_floats, finished
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.folder import RunFolder
from isoflop.wording import SUPERSCRIPT, count, cut, number, printable

# a table's column that holds the address of each run, as isoflop import-wandb writes it
URL = "url"
# families whose law is compared with other laws at hold-outs, which takes dozens of fits each
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
    "device",
    "git",
    "dirty",
)


def _links(row: Mapping[Any, Any], source: Path, out: Path) -> dict[str, str]:
    """Return the addresses of a run, a row of the table `source`, by name; those of files relative to the page."""
    addresses = {}
    folder = _folder_of(row, source)
    if folder is not None:
        addresses["folder"] = quote(os.path.relpath(folder.path, out)) + "/"
    online = (folder and folder.read_mirror()) or row.get(URL)
    if isinstance(online, str) and _is_web(online):
        addresses["W&B" if "wandb" in (urlsplit(online).hostname or "") else "online"] = online
    return addresses


def _folder_of(row: Mapping[Any, Any], source: Path) -> RunFolder | None:
    """Find the folder of a run: beside its table or in runs/ there, or in a folder of its sweep's name in either."""
    run_id, sweep = str(row.get("run_id")), str(row.get("sweep"))
    if not record.RUN_ID.fullmatch(run_id):
        return None
    parents = [source.parent, source.parent / "runs"]
    if sweep == Path(sweep).name:
        parents += [parent / sweep for parent in parents]
    folders = (RunFolder(parent / run_id) for parent in parents if (parent / run_id).is_dir())
    return next((folder for folder in folders if folder.config.is_file()), None)


def _is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and address.isprintable()


def parameters(view: View, *, rivals: bool = False) -> dict[str, Any]:
    """Return the laws as a table: a row for each family, a column for each parameter and derived quantity; rivals:
    whether each law is compared with others at hold-outs, which shows whether it predicts."""
    names: dict[str, None] = {}
    rows = []
    shown = most_runs(view.rows, MOST_RIVALLED) if rivals else set()
    for family, fitted in view.laws.items():
        bent = view.local[family].bent
        cells = {name: _estimate(e, bent.get(name)) for name, e in {**fitted.params, **fitted.derived}.items()}
        names |= dict.fromkeys(cells)
        starts = f"{fitted.starts.at_optimum} of {fitted.starts.tried}"
        row = {"family": family, "cells": cells, "status": fitted.status, "starts": starts, "runs": fitted.n_runs}
        if family in shown:
            from isoflop.analysis.holdout.predictability import predictability

            verdict = predictability(view.tested(family))
            row |= {"predicts": f"predicts: {verdict.predicts}", "why": verdict.reason}
        rows.append({"predicts": "", "why": "", "lack": bool(fitted.lack)} | row)
    most = MOST_RIVALLED if rivals and len(rows) > MOST_RIVALLED else 0
    return {"names": list(names), "rows": rows, "rivals": rivals, "most_rivalled": most}


def local_quantities(view: View) -> dict[str, Any]:
    """Return what the laws are among the runs: a row for each family, a column for each local quantity."""
    names = dict.fromkeys(name for local in view.local.values() for name in local.estimates)
    rows = [
        {
            "family": family,
            "place": local.place,
            "cells": {name: _estimate(e, local.bent.get(name)) for name, e in local.estimates.items()},
        }
        for family, local in view.local.items()
    ]
    return {"names": list(names), "rows": rows}


def _estimate(estimate: Estimate, bent: Estimate | None = None) -> tuple[str, str]:
    """Return a value and its interval in words, also that which holds if terms of the law bend."""
    value = "–" if estimate.value is None else _digits(estimate.value, 4)
    if estimate.low is None and estimate.high is None:
        return value, "no interval"
    low, high = ("none" if b is None else _digits(b, 3) for b in (estimate.low, estimate.high))
    return value, f"{low} to {high}{f'; if bent {_estimate(bent)[1]}' if bent else ''}"


def _digits(value: float, digits: int) -> str:
    """Write a number to `digits` digits, without the e of a computer: 1.234, 4680, 46,800, 4.68·10⁷."""
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    if 1e3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.0f}"
    mantissa, exponent = text.split("e")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPT)
    return power if mantissa == "1" else f"{mantissa}·{power}"


def ledger(runs: RunsLike, out: Path | None = None) -> dict[str, Any]:
    """Return every row of the table as short text, failures first, with links from the page's folder `out`."""
    runs = as_runs(runs)
    table = runs.frame
    columns = [c for c in LEDGER if c in table and table[c].notna().any()]
    done = finished(table)
    order = np.argsort(done, kind="stable")[:MOST_ROWS]
    shown = table.iloc[order]
    rows = list(zip(*(_cells(c, shown[c].tolist()) for c in columns), strict=True)) or [()] * len(shown)
    linked = bool(runs.source) and out is not None
    addresses = [_links(row, Path(runs.source), out) if linked and out else {} for row in shown.to_dict("records")]
    hours = training_hours(table)
    return {
        "columns": columns,
        "rows": list(zip((~done[order]).tolist(), rows, addresses, strict=True)),
        "linked": any(addresses),
        "hours": f"{hours:.2f}" if hours else "",
        "lost": int((~done).sum()),
        "all": len(table),
    }


def training_hours(runs: RunsLike) -> float:
    """Return how many hours all runs took together; 0 where the table does not say."""
    rows = last_marks(runs)
    return float(as_floats(rows["wall_s"]).sum()) / 3600 if "wall_s" in rows else 0.0


def _cells(column: str, values: list[Any]) -> list[str]:
    words = {value: _cell(column, value) for value in set(values)}
    return [words[value] for value in values]


def _cell(column: str, value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if column in ("N", "D", "C") and isinstance(value, float | int) and math.isfinite(value):
        return number(float(value)) if column == "C" else count(float(value))
    if column == "git":
        return str(value)[:10]
    return f"{value:.4g}" if isinstance(value, float) else cut(printable(str(value)), REASON)


def last_marks(runs: RunsLike) -> pd.DataFrame:
    """Return one row for each run: its last mark."""
    rows = as_runs(runs).frame
    return rows.drop_duplicates("run_id", keep="last") if "run_id" in rows else rows
