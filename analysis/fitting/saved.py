"""A fit as a file: JSON that holds the law's name, the estimates, the rows and the optimum with its spread.

fit(runs).save("fit.json")
load_fit("fit.json").predict_interval(points)     # the same numbers as before
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.optimum import Optimum, Starts
from isoflop.analysis.intervals.estimate import Estimate, Spread
from isoflop.analysis.intervals.residuals import Noise
from isoflop.analysis.laws.declare import Law, get_law
from isoflop.analysis.solving.problem import Objective, Prior, Problem
from isoflop.errors import UserError
from isoflop.files import read_mapping, write_text

# of the file; one that is read differently gets another
_FORMAT = "isoflop fit 1"
# fields of a Fit that are plain values
_SAME = (
    "by", "loss", "delta", "reason", "objective", "gradient_norm", "n_rows", "n_runs", "interval", "level",
    "no_interval", "lack",
)  # fmt: skip


def write_document(path: Path, *, law: Law, rows: pd.DataFrame, optimum: Optimum | None, **fields: Any) -> None:
    """Write the fields of a Fit; UserError where its law is in no catalogue, or the file cannot be written."""
    try:
        listed = get_law(law.name) == law
    except UserError:
        listed = False
    if not listed:
        raise UserError(f"law {law.name} is not in the catalogue, so {path} cannot be read again; enter it with @law")
    document: dict[str, Any] = {"format": _FORMAT, "law": law.name, "status": str(fields["status"])}
    document |= {name: fields[name] for name in _SAME}
    document |= {kind: {k: vars(e) for k, e in fields[kind].items()} for kind in ("params", "derived")}
    document |= {"starts": list(fields["starts"]), "notes": list(fields["notes"]), "excluded": fields["excluded"]}
    document["rows"] = {c: pd.to_numeric(rows[c]).tolist() for c in [*law.columns, law.target]}
    document["optimum"] = None if optimum is None else _optimum(optimum)
    try:
        plain = json.dumps(document, default=lambda x: x.tolist() if isinstance(x, np.ndarray | np.generic) else str(x))
        write_text(path, f"{plain}\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def _optimum(optimum: Optimum) -> dict[str, Any]:
    problem, spread = optimum.problem, optimum.spread
    return {
        "objective": vars(problem.objective),
        "fixed": dict(problem.fixed),
        "priors": {name: prior._asdict() for name, prior in problem.priors.items()},
        "scale": problem.scale,
        "u": optimum.u,
        "noise": vars(optimum.noise),
        "spread": None if spread is None else vars(spread),
        "alternatives": optimum.alternatives,
    }


def read_document(path: Path) -> dict[str, Any]:
    """Return the fields of the Fit that was written; UserError in one sentence where it is another file."""
    document = read_mapping(path)
    if document.get("format") != _FORMAT:
        raise UserError(f"{path} is not a fit that was saved; give a file that Fit.save wrote")
    try:
        law, rows = get_law(document["law"]), pd.DataFrame(document["rows"])
        estimates = {kind: {k: Estimate(**e) for k, e in document[kind].items()} for kind in ("params", "derived")}
        return estimates | {
            "law": law,
            "status": FitStatus[document["status"].upper()],
            "starts": Starts(*document["starts"]),
            "rows": rows,
            "excluded": [(reason, count) for reason, count in document["excluded"]],
            "notes": tuple(document["notes"]),
            "optimum": document["optimum"] and _optimum_from_json(document["optimum"], law, rows),
            **{name: document[name] for name in _SAME if name != "lack" or name in document},
        }
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is a saved fit that was changed or cut ({error}); save it again") from None


def _optimum_from_json(document: dict[str, Any], law: Any, rows: pd.DataFrame) -> Optimum:
    columns = tuple(rows[c].to_numpy(float) for c in law.columns)
    priors = {name: Prior(**prior) for name, prior in document["priors"].items()}
    scale = None if document["scale"] is None else np.array(document["scale"], dtype=float)
    target = rows[law.target].to_numpy(float)
    problem = Problem(law, columns, target, Objective(**document["objective"]), document["fixed"], priors, scale)
    noise: dict[str, Any] = {
        k: np.array(v, dtype=float) if isinstance(v, list) else v for k, v in document["noise"].items()
    }
    spread = document["spread"] and Spread(**document["spread"] | {"draws": np.array(document["spread"]["draws"])})
    u = np.array(document["u"], dtype=float)
    alternatives = np.array(document["alternatives"], dtype=float).reshape(-1, len(u))
    return Optimum(problem, u, Noise(**noise), spread, alternatives)
