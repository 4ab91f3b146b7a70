"""A fit as a file: JSON that holds the law's name, the estimates, the rows and the optimum with its spread.

write_document(Path("fit.json"), **{field.name: getattr(fit, field.name) for field in dataclasses.fields(fit)})
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.optimum import Optimum
from isoflop.analysis.laws.catalogue import Law, get_law
from isoflop.errors import UserError
from isoflop.files import write_text

# of the file; one that is read differently gets another
FORMAT = "isoflop fit 1"
# fields of a Fit that are plain values
SAME = (
    "by", "loss", "delta", "reason", "objective", "gradient_norm", "n_rows", "n_runs", "interval", "level",
    "no_interval",
)  # fmt: skip


def write_document(path: Path, *, law: Law, rows: pd.DataFrame, optimum: Optimum | None, **fields: Any) -> None:
    """Write the fields of a Fit; UserError where its law is in no catalogue, or the file cannot be written."""
    if not _is_listed(law):
        raise UserError(
            f"law {law.name} is not in the catalogue, so {path} could not be read again; enter it with @law"
        )
    document: dict[str, Any] = {"format": FORMAT, "law": law.name, "status": str(fields["status"])}
    document |= {name: fields[name] for name in SAME}
    document |= {kind: {k: vars(e) for k, e in fields[kind].items()} for kind in ("params", "derived")}
    document |= {"starts": list(fields["starts"]), "notes": list(fields["notes"]), "excluded": fields["excluded"]}
    document["rows"] = {c: pd.to_numeric(rows[c]).tolist() for c in [*law.columns, law.target]}
    document["optimum"] = None if optimum is None else _optimum(optimum)
    try:
        write_text(path, json.dumps(document, default=_as_json) + "\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def _is_listed(law: Law) -> bool:
    """Return whether the law's name leads to this law again."""
    try:
        return get_law(law.name) == law
    except UserError:
        return False


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


def _as_json(value: Any) -> Any:
    """Return arrays and numpy's numbers as plain ones; a label of another kind as its text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)
