"""Whole loss curves, fitted and predicted by the multi-power law.

    ISOFLOP_REFERENCE_DATA=... python benchmarks/curves.py

Fitted on three schedules, predicted on six others (the nine of Luo et al. 2025, arXiv:2503.12811), for a
model of 25M and one of 100M parameters: on the six the mean of each curve's R2, which is what the authors print,
that of all rows, and the mean absolute error; the objective on the three; the status, which is honest where the three
leave B, C, beta and gamma open.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.runs.read import add_schedule, read_runs
from isoflop.errors import UserError

TRAIN = ("constant_24000", "cosine_24000", "wsdcon_9")
TEST = ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18")
# what the authors print for a third model, of 400M parameters; weak: half as wide as the range of the search's starts
PRIOR = {"beta": (0.594, 0.2), "gamma": (0.635, 0.2)}
PRINTED = {"25": 0.99880, "100": 0.99830}


def schedules() -> None:
    """Print a line for each size, without and with weak priors, and by other objectives."""
    ways = ("", {}, "huber"), ("with priors, ", PRIOR, "huber"), ("least squares, ", {}, "l2"), ("l1, ", {}, "l1")
    for size, printed in PRINTED.items():
        for words, prior, loss in ways:
            begun = time.process_time()
            law, score = predicted(size, prior, loss)
            print(
                f"{size}M, {words}R2 {score.r2:.5f} (printed {printed}), of all rows {score.of_rows:.5f}, "
                f"MAE {score.error:.5f}, objective {law.objective:.6g}, "
                f"{law.starts.at_optimum} of {law.starts.tried} starts, "
                f"{law.status}, {time.process_time() - begun:.1f} CPU s",
                flush=True,
            )
            shares = ", ".join(f"{name} {share:.2f}" for name, share in score.shares.items())
            print(f"  shares of the squares: {shares}")


class Score(NamedTuple):
    """How curves are predicted: the mean of their R2, R2 of all rows together, the mean absolute error, and the share
    of each curve in the sum of squares."""

    r2: float
    of_rows: float
    error: float
    shares: dict[str, float]


def read_curves(paths: Sequence[Path]) -> pd.DataFrame:
    """Read files of (step, lr, L), a curve each, into one table; run_id is the name of the file."""
    parts = [read_runs(path).frame.assign(run_id=path.stem) for path in paths]
    return add_schedule(pd.concat([part.drop(columns="curve", errors="ignore") for part in parts], ignore_index=True))


def predicted(size: str, prior: Mapping[str, tuple[float, float]], loss: str = "huber") -> tuple[Fit, Score]:
    """Return the law fitted to three schedules of a model of `size` million parameters, and its score on six."""
    folder = os.environ.get("ISOFLOP_REFERENCE_DATA")
    if not folder:
        raise UserError(
            "ISOFLOP_REFERENCE_DATA names no folder; set it to the folder that holds thu-yao-01-luo__MultiPowerLaw"
        )
    train, test = (
        read_curves([Path(folder) / f"thu-yao-01-luo__MultiPowerLaw/csv_{size}/{name}.csv" for name in names])
        for names in (TRAIN, TEST)
    )
    law = fit(train, "multi_power", interval="none", prior=prior, loss=loss)
    L, curve = test["L"], test["curve"]
    gaps = law.predict(test) - L
    squares = (gaps**2).groupby(curve, sort=False).sum()
    about = ((L - L.groupby(curve).transform("mean")) ** 2).groupby(curve, sort=False).sum()
    shares = {name: float(part) for name, part in zip(TEST, squares / squares.sum(), strict=True)}
    of_rows = 1 - float(squares.sum() / ((L - L.mean()) ** 2).sum())
    return law, Score(1 - float((squares / about).mean()), of_rows, float(gaps.abs().mean()), shares)


if __name__ == "__main__":
    schedules()
