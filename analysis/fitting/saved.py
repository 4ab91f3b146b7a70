"""A fit as a file: JSON that holds the law's name, the estimates, the rows and the optimum with its spread.

write_fit(fit(runs), Path("fit.json"))
load_fit("fit.json").predict_interval(points)     # the same numbers as before
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Fit, Optimum, Starts
from isoflop.analysis.fitting.status import FitStatus
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.intervals.resampling import Spread
from isoflop.analysis.intervals.scatter import Noise
from isoflop.analysis.laws.catalogue import get_law
from isoflop.analysis.solving.problem import Objective, Prior, Problem
from isoflop.errors import UserError
from isoflop.record import write_text

# of the file; a later one that reads differently gets another
FORMAT = "isoflop fit 1"
_SAME = (
    "by",
    "loss",
    "delta",
    "reason",
    "objective",
    "gradient_norm",
    "n_rows",
    "n_runs",
    "interval",
    "level",
    "no_interval",
)


def write_fit(fit: Fit, path: Path) -> None:
    """Write a fit; UserError where its law is in no catalogue, or the file cannot be written."""
    try:
        known = get_law(fit.law.name).function is fit.law.function
    except UserError:
        known = False
    if not known:
        raise UserError(
            f"law {fit.law.name} is not in the catalogue, so {path} could not be read again; enter it with @law"
        )
    columns = [*fit.law.columns, fit.law.target]
    document = {"format": FORMAT, "law": fit.law.name, "status": str(fit.status)}
    document |= {name: getattr(fit, name) for name in _SAME}
    document |= {kind: {k: vars(e) for k, e in getattr(fit, kind).items()} for kind in ("params", "derived")}
    document |= {"starts": list(fit.starts), "notes": list(fit.notes), "excluded": fit.excluded}
    document |= {"rows": {c: pd.to_numeric(fit.rows[c]).tolist() for c in columns if c in fit.rows}}
    document |= {"optimum": None if fit.optimum is None else _optimum_to_json(fit.optimum)}
    try:
        write_text(path, json.dumps(document, default=_as_json) + "\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def load_fit(path: str | Path) -> Fit:
    """The fit that `Fit.save` wrote.

    path   the JSON file; UserError in one sentence where it is another file
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UserError(f"{path} is not a fit that was saved; give a file that Fit.save wrote")
    try:
        return _fit_from_json(document)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is a saved fit that was changed or cut ({error}); save it again") from None


def _fit_from_json(document: dict[str, Any]) -> Fit:
    law = get_law(document["law"])
    rows = pd.DataFrame(document["rows"])
    optimum = document["optimum"]
    return Fit(
        law=law,
        status=FitStatus(document["status"]),
        params={k: Estimate(**e) for k, e in document["params"].items()},
        derived={k: Estimate(**e) for k, e in document["derived"].items()},
        starts=Starts(*document["starts"]),
        rows=rows,
        excluded=[(reason, count) for reason, count in document["excluded"]],
        notes=tuple(document["notes"]),
        optimum=None if optimum is None else _optimum_from_json(optimum, law, rows),
        **{name: document[name] for name in _SAME},
    )


def _optimum_to_json(optimum: Optimum) -> dict[str, Any]:
    problem, spread = optimum.problem, optimum.spread
    return {
        "objective": vars(problem.objective),
        "fixed": dict(problem.fixed),
        "priors": {name: prior._asdict() for name, prior in problem.priors.items()},
        "scale": problem.scale,
        "u": optimum.u,
        "noise": vars(optimum.noise),
        "spread": None if spread is None else vars(spread),
    }


def _optimum_from_json(document: dict[str, Any], law: Any, rows: pd.DataFrame) -> Optimum:
    columns = tuple(rows[c].to_numpy(float) for c in law.columns)
    priors = {name: Prior(**prior) for name, prior in document["priors"].items()}
    scale = None if document["scale"] is None else np.array(document["scale"], dtype=float)
    target = rows[law.target].to_numpy(float)
    problem = Problem(law, columns, target, Objective(**document["objective"]), document["fixed"], priors, scale)
    noise = {k: np.array(v, dtype=float) if isinstance(v, list) else v for k, v in document["noise"].items()}
    spread = document["spread"]
    if spread is not None:
        spread = Spread(**(spread | {"draws": np.array(spread["draws"], dtype=float)}))
    return Optimum(problem, np.array(document["u"], dtype=float), Noise(**noise), spread)


def _as_json(value: Any) -> Any:
    """Arrays and numpy's numbers as plain ones; a label of another kind as its text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)
