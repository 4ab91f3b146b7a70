"""Read a fit again that `Fit.save` wrote.

fit(runs).save("fit.json")
load_fit("fit.json").predict_interval(points)     # the same numbers as before
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.document import FORMAT, SAME
from isoflop.analysis.fitting.optimum import Optimum
from isoflop.analysis.fitting.result import Fit, Starts
from isoflop.analysis.fitting.status import FitStatus
from isoflop.analysis.intervals.estimate import Estimate, Spread
from isoflop.analysis.intervals.scatter import Noise
from isoflop.analysis.laws.catalogue import get_law
from isoflop.analysis.solving.problem import Objective, Prior, Problem
from isoflop.errors import UserError
from isoflop.files import read_bytes


def load_fit(path: str | Path) -> Fit:
    """Read the fit that `Fit.save` wrote.

    path   the JSON file; UserError in one sentence where it is another file
    """
    try:
        document = json.loads(read_bytes(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
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
        status=FitStatus[document["status"].upper()],
        params={k: Estimate(**e) for k, e in document["params"].items()},
        derived={k: Estimate(**e) for k, e in document["derived"].items()},
        starts=Starts(*document["starts"]),
        rows=rows,
        excluded=[(reason, count) for reason, count in document["excluded"]],
        notes=tuple(document["notes"]),
        optimum=None if optimum is None else _optimum_from_json(optimum, law, rows),
        **{name: document[name] for name in SAME},
    )


def _optimum_from_json(document: dict[str, Any], law: Any, rows: pd.DataFrame) -> Optimum:
    columns = tuple(rows[c].to_numpy(float) for c in law.columns)
    priors = {name: Prior(**prior) for name, prior in document["priors"].items()}
    scale = None if document["scale"] is None else np.array(document["scale"], dtype=float)
    target = rows[law.target].to_numpy(float)
    problem = Problem(law, columns, target, Objective(**document["objective"]), document["fixed"], priors, scale)
    noise: dict[str, Any] = {
        k: np.array(v, dtype=float) if isinstance(v, list) else v for k, v in document["noise"].items()
    }
    spread = document["spread"]
    if spread is not None:
        spread = Spread(**(spread | {"draws": np.array(spread["draws"], dtype=float)}))
    u = np.array(document["u"], dtype=float)
    alternatives = np.array(document["alternatives"], dtype=float).reshape(-1, len(u))
    return Optimum(problem, u, Noise(**noise), spread, alternatives)
