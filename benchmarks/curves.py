"""Whole loss curves: what they add to the marks.

    ISOFLOP_REFERENCE_DATA=... python benchmarks/curves.py schedules
    isoflop train -m family=mlp data=markov family.width=8,12,16,24,32,48 seed=0,1 \\
        'budget.D=[32e3,65e3,131e3,262e3,524e3,1048e3]' out=runs/trunks
    python benchmarks/curves.py trunks --runs runs/trunks

schedules: fitted on three schedules, predicted on six others (the nine of Luo et al. 2025, arXiv:2503.12811), for a
model of 25M and one of 100M parameters: on the six the mean of each curve's R2, which is what the authors print,
that of all rows, and the mean absolute error; the objective on the three; the status, which is honest where the three
leave B, C, beta and gamma open.

trunks: of a sweep of several marks, Chinchilla's law from the first marks alone and from those and the trunks that they
were cut from, at the same FLOPs; the error on the marks beyond, and the widths of the intervals. Then the same of
simulated runs, whose law is known: spread of the estimates, coverage and half-width of the intervals.
"""

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.fitting.trunks import COOLED, add_trunks, fit_trunks, read_curves
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.read import read_runs
from isoflop.analysis.runs.rows import usable
from isoflop.errors import UserError

TRAIN = ("constant_24000", "cosine_24000", "wsdcon_9")
TEST = ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18")
# what the authors print for a third model, of 400M parameters; weak: half as wide as the range of the search's starts
PRIOR = {"beta": (0.594, 0.2), "gamma": (0.635, 0.2)}
PRINTED = {"25": 0.99880, "100": 0.99830}
# a cooldown takes this share of a run's steps
COOLDOWN = 0.2
WATCHED = ("E", "alpha", "beta")
TRUTH = {"E": 1.2, "A": 30.0, "alpha": 0.4, "B": 60.0, "beta": 0.4}


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


def predicted(size: str, prior: Mapping[str, tuple[float, float]], loss: str = "huber") -> tuple[Fit, Score]:
    """Return the law fitted to three schedules of a model of `size` million parameters, and its score on six."""
    folder = os.environ.get("ISOFLOP_REFERENCE_DATA")
    if not folder:
        raise UserError(
            "ISOFLOP_REFERENCE_DATA names no folder; set it to the folder that holds thu-yao-01-luo__MultiPowerLaw"
        )
    train, test = (
        read_curves([f"{folder}/thu-yao-01-luo__MultiPowerLaw/csv_{size}/{name}.csv" for name in names])
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


def trunks(folder: Path, law: str) -> None:
    """Print a line for each choice of marks, without and with the trunks."""
    runs = usable(read_runs(folder).frame)
    marks = sorted(runs["D"].unique())
    if len(marks) < 4:
        raise UserError(f"{folder} has {len(marks)} marks; at least four are needed for an early part and one beyond")
    fitted = marks[: len(marks) * 2 // 3]
    last = fitted[-1]
    table, held = add_trunks(runs, folder), runs[runs["D"] > last]
    hot = table["heat"] > 2 * COOLED
    # of a run that had ended at the last fitted mark
    trunk = table[hot & (table["D"] <= (1 - COOLDOWN) * last)]
    print(f"{law} on marks up to D={last:.3g}, predicted at {len(held)} marks up to {marks[-1]:.3g}")
    for used in ([*fitted], [fitted[0], last], [fitted[1], last]):
        some = table[~hot & table["D"].isin(used)]
        spent = (1 - COOLDOWN) * last + COOLDOWN * sum(used)
        show(f"{len(used)} marks from {used[0]:.3g}", fit(some, law), held, spent)
        both = pd.concat([some, trunk])
        show("  and the trunks", fit_trunks(both, law)[0], held, spent)


def show(name: str, made: Fit, held: pd.DataFrame, spent: float) -> None:
    """Print the error on held-out marks and the estimates of a fit."""
    gaps = np.log(made.predict(held) / held["L"].to_numpy(float))
    words = "  ".join(f"{p} {made.params[p]}" for p in WATCHED)
    error = 100 * float(np.sqrt((gaps**2).mean()))
    print(f"  {name:<22} {spent:.3g} targets a run, error {error:.2f} %, {made.status}: {words}", flush=True)


def simulated(studies: int) -> None:
    """Print the spread of estimates, the coverage and the half-width of their intervals, without and with trunks."""
    law, sizes, marks = get_law("chinchilla"), np.geomspace(1e3, 1e5, 6), np.array([1e5, 1e6, 4e6])
    D = np.concatenate([marks, np.geomspace(marks[0], (1 - COOLDOWN) * marks[-1], 24)])
    heat = np.where(np.arange(len(D)) < len(marks), COOLED, 1.0)
    results = []
    for seed in range(studies):
        rng = np.random.default_rng(seed)
        parts = []
        for run, N in enumerate(sizes):
            noise = rng.normal(0, 0.001) + rng.normal(0, 0.002, len(D))
            L = (law(np.full(len(D), N), D, **TRUTH) + 0.3 * D**-0.1 * (heat == 1)) * np.exp(noise)
            parts.append(pd.DataFrame({"run_id": run, "N": N, "D": D, "heat": heat, "L": L}))
        table = pd.concat(parts, ignore_index=True)
        results.append((fit(table[table["heat"] < 1], law), fit_trunks(table, law)[0]))
    for name, fits in zip(("marks alone", "and the trunks"), zip(*results, strict=True), strict=True):
        for p in WATCHED:
            value, low, high = np.array([[*map(float, (e.value, e.low, e.high))] for f in fits if (e := f.params[p]).low
                                         is not None and e.high is not None]).T  # fmt: skip
            held = ((low <= TRUTH[p]) & (TRUTH[p] <= high)).mean()
            print(f"simulated, {name}: {p} has an interval in {len(value)} of {studies}, covers {held:.2f}, "
                  f"sd {value.std():.4f}, half-width {np.median(high - low) / 2:.4f}", flush=True)  # fmt: skip


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["schedules", "trunks"])
    parser.add_argument("--runs", type=Path, help="a folder of runs of six marks or so")
    parser.add_argument("--law", default="chinchilla")
    parser.add_argument("--studies", type=int, default=100)
    options = parser.parse_args()
    if options.what == "schedules":
        schedules()
        return
    if options.runs:
        trunks(options.runs, options.law)
    simulated(options.studies)


if __name__ == "__main__":
    main()
