"""How a law of N and D would spend compute: a target, a detour from the best size, a model that is served later.

result = fit(runs, "chinchilla")
deviations(result, 1e21)          # 3 times too small costs so much loss, or so much more compute
served(result, 1e21, tokens=1e12) # smaller and trained longer, since every token served costs 2 N
"""

from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.laws.declare import SERVE, TRAIN

# sizes as multiples of the best one
_FACTORS = (0.1, 1 / 3, 1 / 2, 2.0, 3.0, 10.0)
# halvings of a bracket of ln N
HALVINGS = 100


def deviations(fit: Fit, C: float, level: float | None = None) -> pd.DataFrame:
    """Return for multiples of the best size at C the loss above the best, and the compute with which that size reaches
    the best loss, as a multiple of C (NaN if it never does)."""
    rows = []
    for factor in _FACTORS:

        def above(factor: float = factor, **p: Any) -> Any:
            N, D = fit.law.curve("N_opt", C, p), fit.law.curve("D_opt", C, p)
            return np.log(fit.law(factor * N, D / factor, **p) / fit.law(N, D, **p))

        excess = fit.quantity(above, level=level)
        more = _compute_for(fit, C, factor)
        rows.append(
            {"N_over_N_opt": factor, "dlnL": excess.value, "low": excess.low, "high": excess.high, "C_over_C": more}
        )
    return pd.DataFrame(rows)


def _compute_for(fit: Fit, C: float, factor: float) -> float:
    """Compute for the loss of the best split at C with a size `factor` times the best, over C."""
    v = fit.values
    N, D = (float(fit.law.curve(name, C, v)) for name in ("N_opt", "D_opt"))
    # what is left for the data: B D'^-beta = A N^-alpha + B D^-beta - A (factor N)^-alpha
    left = v["A"] * N ** -v["alpha"] * (1 - factor ** -v["alpha"]) + v["B"] * D ** -v["beta"]
    return float(factor * (left / v["B"]) ** (-1 / v["beta"]) / D) if left > 0 else float("nan")


def served(fit: Fit, C: float, tokens: float) -> dict[str, float]:
    """Return the size and data that reach the loss of the best split at C for the least compute in training and in
    serving `tokens` over the model's life, at 2 N FLOPs each (Sardana et al. 2024, arXiv:2401.00448)."""
    v = fit.values
    N, D = (float(fit.law.curve(name, C, v)) for name in ("N_opt", "D_opt"))
    reach = v["A"] * N ** -v["alpha"] + v["B"] * D ** -v["beta"]

    def data(x: float) -> float:
        left = reach - v["A"] * np.exp(-v["alpha"] * x)
        return float((left / v["B"]) ** (-1 / v["beta"])) if left > 0 else np.inf

    def cost(x: float) -> float:
        return float(np.exp(x)) * (TRAIN * data(x) + SERVE * tokens)

    # below this size no amount of data reaches the loss; serving never asks for a size above N_opt
    low, high = np.log(v["A"] / reach) / v["alpha"], np.log(N)
    for _ in range(HALVINGS):  # the cost has one minimum: thirds of the bracket
        one, two = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, two) if cost(one) < cost(two) else (one, high)
    x = (low + high) / 2
    best, at_N_opt = float(np.exp(x)), TRAIN * N * D + SERVE * N * tokens
    return {
        "tokens": tokens, "N": best, "D": data(x), "D_per_N": data(x) / best, "C_train": TRAIN * best * data(x),
        "C_all": cost(x), "C_all_of_N_opt": at_N_opt, "saved": 1 - cost(x) / at_N_opt,
    }  # fmt: skip


def target(fit: Fit, C: float, splits: dict[str, tuple[float, float] | None], level: float) -> pd.DataFrame:
    """Return for each split (N, D) of C its loss by the law with a band for a new run, and its loss above the best."""
    rows = []
    for name, split in splits.items():
        if split is None:
            continue
        from isoflop.analysis.holdout.predict import predict

        prediction = predict(fit, {"C": C, "N": split[0]}, level)
        L, excess = prediction["L"], prediction["excess"]
        rows.append(
            {"approach": name, "C": C, "N_opt": split[0], "D_opt": split[1], "D_per_N": split[1] / split[0],
             "L": L.value, "low": L.low, "high": L.high, "excess": max(excess.value, 0.0)}
        )  # fmt: skip
    return pd.DataFrame(rows)
