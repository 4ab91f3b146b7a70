"""Fit cooled marks and the trunks that they were cut from together, so that a run tells more for the same compute.

    trunk = runs.assign(heat=1.0, D=0.8 * runs["D"], L=1.02 * runs["L"])
    print(fit_trunks(pd.concat([runs.assign(heat=1e-9), trunk], ignore_index=True), "power(D)", by=["family"])[0])

The rows of trunks are made by analysis/runs/trunks.py. What is fitted is the law of cooled models and, on the trunk,
a gap (analysis/laws/trunk.py); the result predicts cooled models. Marks and trunks are of different noise, which the
residuals of a first fit tell.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from isoflop.analysis.arguments import describe
from isoflop.analysis.fitting.fit import OPTIONS, fit, fit_groups
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.fitting.search import spread_of
from isoflop.analysis.fitting.weights import NOISE
from isoflop.analysis.laws.catalogue import Law, get_law
from isoflop.analysis.laws.trunk import HEAT, on_trunks
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.errors import TooFewRowsError, UserError


@describe("runs", "law", "by", options="those of `fit`: " + ", ".join(OPTIONS))
def fit_trunks(runs: RunsLike, law: str | Law = "chinchilla", *, by: Sequence[str] = (), **options: Any) -> list[Fit]:
    """Fit `law` to each group of equal `by`, by its marks and its trunks, which `heat` distinguishes."""
    if options.get("weights", "none") != "none":
        raise UserError("--curves weighs marks and trunks by their noise; leave --weights out")
    cooled = get_law(law)
    joint = on_trunks(cooled)
    fits = []
    for label, rows in as_runs(runs).by(by).items():
        try:
            noise, words = _noise(rows, joint, options)
        except TooFewRowsError:  # said by the fit itself
            fits += [replace(one, by=label.by) for one in fit_groups(rows, joint, **options)]
            continue
        one = fit(rows.with_columns(**{NOISE: noise}), joint, by=label.by, **(options | {"weights": NOISE}))
        of_cooled = replace(joint, columns=cooled.columns, arguments=cooled.arguments)
        fits.append(replace(one, law=of_cooled, notes=(*one.notes, words)))
    return fits


def _noise(rows: Runs, law: Law, options: dict[str, Any]) -> tuple[np.ndarray, str]:
    """Return the noise of ln L of each row (rows,), that of its kind, by the residuals of a fit that weighs all
    alike."""
    first = fit(rows, law, **(options | {"interval": "none"}))
    assert first.optimum is not None
    gaps, hot = first.optimum.residuals(), first.rows[HEAT].to_numpy(float) > 0.5
    if hot.all() or not hot.any():
        raise UserError("--curves needs marks and trunks in each group; leave it out, or give runs of several marks")
    # each kind bears a share of the parameters by its number of rows
    free = len(law.params)
    marks, trunk = (spread_of(gaps[k], round(free * k.mean())) for k in (~hot, hot))
    words = f"marks scatter by {100 * marks:.2g}% about the law, points of the trunks by {100 * trunk:.2g}%"
    least = 1e-6  # a law that goes through all marks leaves them no noise, and no weight is infinite
    return np.where(rows[HEAT].to_numpy(float) > 0.5, max(trunk, least), max(marks, least)), words
