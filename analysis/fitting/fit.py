"""Fit a law to runs: starts, one batched optimiser, a status in words, intervals whose unit is the run.

runs = read_runs("runs.csv")
print(fit(runs, "chinchilla"))                       # a table
for each in fit_groups(runs, "power_offset(D)", by=["family"]): print(each)
fit_groups(runs, "chinchilla", by=["family"], share=["E"])     # one E for all families
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting import diagnose as identify
from isoflop.analysis.fitting.answer import answer, unfitted, vary
from isoflop.analysis.fitting.pipeline import LOSSES, MOST_ROWS, Settings, on_all_rows, optimum, polish, problem_of
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.fitting.weights import weighted
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.catalogue import Law, get_law
from isoflop.analysis.tables.rows import Prepared, groups, prepare
from isoflop.errors import FitError, TooFewRowsError

__all__ = ["LOSSES", "Estimate", "Fit", "FitError", "fit", "fit_groups"]


def fit(
    runs: pd.DataFrame,
    law: str | Law = "chinchilla",
    *,
    loss: str = "huber",
    delta: float = 1e-3,
    interval: str = "auto",
    level: float = 0.95,
    resamples: int = 1000,
    run: str | None = None,
    pin: Mapping[str, float] | None = None,
    prior: Mapping[str, tuple[float, float]] | None = None,
    seed: int = 0,
    weights: str = "none",
    by: dict[str, Any] | None = None,
) -> Fit:
    """Fit `law` to the rows of `runs`; FitError where that has no meaning, a status where the answer is weak.

    `pin` holds parameters at values; `prior` gives some a mean and a standard error; `weights` "seed" weighs rows by
    the noise of seeds at their size; `by` is a label for the answer.
    """
    settings = Settings(loss, delta, interval, level, resamples, run, pin, prior, seed, weights)
    law = get_law(law)
    with np.errstate(all="ignore"):  # a search may wander where a law overflows; what it brings back is finite
        return _fit(prepare(runs, law, settings.run), law, settings, by or {})


def fit_groups(
    runs: pd.DataFrame,
    law: str | Law = "chinchilla",
    *,
    by: Sequence[str] = (),
    share: Sequence[str] = (),
    **same: Any,
) -> list[Fit]:
    """A fit for each group of equal `by`; a group of too few rows has an answer without values, and the reason.

    Parameters in `share` have one value in all groups, and are fitted together.
    """
    settings, law = Settings(**same), get_law(law)
    if share:
        from isoflop.analysis.fitting.shared import fit_shared

        return fit_shared(runs, law, by, share, settings)
    answers = []
    for label, rows in groups(runs, by):
        prepared = prepare(rows, law, settings.run)
        try:
            with np.errstate(all="ignore"):
                answers.append(_fit(prepared, law, settings, label))
        except TooFewRowsError as error:
            answers.append(unfitted(prepared, law, settings, label, str(error)))
    return answers


def _fit(prepared: Prepared, law: Law, settings: Settings, by: dict[str, Any]) -> Fit:
    prepared = weighted(prepared, law, settings.weights)
    part = prepared.part(MOST_ROWS)
    found = optimum(problem_of(part, law, settings), part.runs, settings, prior=settings.prior)
    problem, u = found.problem, found.u
    judged = identify.judge_fit(problem, u, found.kappa, found.solution, part.n_runs - len(problem.free))
    notes = [*prepared.notes, *identify.spans(problem), *ignored(settings)]
    if part is not prepared:
        problem, u = on_all_rows(problem, u, prepared)
        notes.append(f"starts and status on {len(part.target)} of the {len(prepared.target)} rows, values on all")
    problem, u = polish(problem, u)
    spread, method, said = vary(problem, u, prepared, settings)
    return answer(
        problem, u, prepared, settings, by, found=found, judged=judged, notes=notes + said, varied=(spread, method)
    )


def ignored(settings: Settings) -> list[str]:
    """A note for a setting that the loss has no use for."""
    loss = LOSSES[settings.loss][0]
    return [f"delta is ignored: {settings.loss} has none"] if loss != "huber" and settings.delta != 1e-3 else []
