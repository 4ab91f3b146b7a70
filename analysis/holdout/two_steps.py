"""Predict in two steps: a law of the loss, then a law from the loss to a score of a task, both errors in one band.

    first, second = fit(runs, "chinchilla"), fit(runs, "sigmoid(L)")
    predict_then(first, second, {"N": 1e9, "D": 2e10})["accuracy"]      # Estimate(...)

The loss of a new run moves the score through the second law; what that law errs by at a known loss comes on top. The
two are errors of different fits, so that the half-widths of both add up as variances do, each side by itself.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.holdout.average import Average
from isoflop.analysis.holdout.predict import predict
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.errors import FitError


def predict_then(first: Fit | Average, second: Fit, at: Mapping[str, float], level: float = 0.9) -> dict[str, Any]:
    """Predict at a place as `predict` does, and the target of a second law of that prediction beside it.

    first    a law of size and data, whose target is the column of the second
    second   a law of that one column
    at       as in `predict`
    level    coverage of both bands

    Returns what `predict` does, with the second target by its name, and `then`: the law, its status and what its own
    hold-outs say. FitError where the second law is of other columns.
    """
    loss, law = first.law.target, second.law
    if law.columns != (loss,):
        raise FitError(f"{law.name} predicts from {', '.join(law.columns)}; a second step is a law of {loss} alone")
    prediction = predict(first, at, level)
    middle = prediction[loss]
    step = predict(second, {loss: middle.value}, level)
    alone = step[law.target]
    then = {"law": law.name, "status": str(second.status), "predicts": step["predicts"], "why": step["why"]}
    low, high = None, None
    if None not in (middle.low, middle.high, alone.low, alone.high):
        ends = second.predict(pd.DataFrame({loss: [middle.low, middle.high]})) - alone.value
        sides = [float(np.hypot(min(ends.min(), 0.0), alone.value - alone.low)), 0.0]
        sides[1] = float(np.hypot(max(ends.max(), 0.0), alone.high - alone.value))
        around = np.array([[alone.value - sides[0]], [alone.value + sides[1]]])
        low, high = map(float, law.inside(around, second.values, second.rows[law.target])[:, 0])
    return prediction | {law.target: Estimate(alone.value, low, high), "then": then}
