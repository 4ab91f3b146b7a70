"""Coverage of 95 % intervals by the default settings of `fit`, over simulated studies.

    python benchmarks/coverage.py --studies 1000

Prints, for each design, the share of intervals for E, alpha, beta and a that hold the truth, its binomial standard
error, the half-width over 1.96 times the estimates' own standard deviation, and the share of studies that have an
interval; for designs that do not identify the parameters that share should be 0.
"""

import argparse
import functools
import time
from dataclasses import replace

import numpy as np
import pandas as pd

from isoflop.analysis.arguments import Settings
from isoflop.analysis.fitting.fit import fit, observe
from isoflop.analysis.fitting.noise_trend import join_dependent
from isoflop.analysis.fitting.optimum import problem_of
from isoflop.analysis.fitting.pipeline import SHARES, vary
from isoflop.analysis.frontier.frontier import frontier
from isoflop.analysis.intervals.estimate import Scale, bounded
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.runs import as_runs
from isoflop.analysis.solving.descent import minimise
from isoflop.analysis.solving.problem import Objective

TRUTH = {"E": 1.6, "A": 400.0, "alpha": 0.31, "B": 400.0, "beta": 0.29}
SIZES = np.geomspace(1e7, 10**9.5, 6)
DATA = np.geomspace(1e8, 10**10.5, 6)
WATCHED = ("E", "alpha", "beta", "a")


def grid(rng: np.random.Generator) -> pd.DataFrame:
    """Return six sizes by six amounts of data, each its own run, 0.5 % noise."""
    N, D = (x.ravel() for x in np.meshgrid(SIZES, DATA))
    return pd.DataFrame({"N": N, "D": D, "noise": rng.normal(0, 0.005, N.size)})


def marks(rng: np.random.Generator, seeds: int) -> pd.DataFrame:
    """Return six sizes by `seeds` runs, each measured at six marks: 0.4 % shared by a run, 0.2 % of each mark."""
    N = np.repeat(SIZES, seeds * 6)
    D = np.tile(DATA, 6 * seeds)
    run = np.repeat(np.arange(6 * seeds), 6)
    noise = rng.normal(0, 0.004, 6 * seeds)[run] + rng.normal(0, 0.002, N.size)
    return pd.DataFrame({"N": N, "D": D, "run_id": run, "noise": noise})


def curves(rng: np.random.Generator) -> pd.DataFrame:
    """Return six curves of forty points without a column of runs: 0.4 % noise per curve, 0.2 % per point."""
    N, D = np.repeat(SIZES, 40), np.tile(np.geomspace(DATA[0], DATA[-1], 40), 6)
    noise = np.repeat(rng.normal(0, 0.004, 6), 40) + rng.normal(0, 0.002, N.size)
    return pd.DataFrame({"N": N, "D": D, "noise": noise})


def square(rng: np.random.Generator, side: int) -> pd.DataFrame:
    """Return `side` sizes by as many amounts of data, each its own run, 0.5 % noise."""
    N, D = (x.ravel() for x in np.meshgrid(SIZES[:: 5 // (side - 1)][:side], DATA[:: 5 // (side - 1)][:side]))
    return pd.DataFrame({"N": N, "D": D, "noise": rng.normal(0, 0.005, N.size)})


def axis(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Return one size at `count` amounts of data, each its own run, 0.5 % noise."""
    D = np.geomspace(1e7, 1e11, count)
    return pd.DataFrame({"N": 1e7, "D": D, "noise": rng.normal(0, 0.005, count)})


def isoflop_budgets(rng: np.random.Generator) -> pd.DataFrame:
    """Return six budgets of seven sizes, each its own run, 0.4 % noise."""
    C, off = (x.ravel() for x in np.meshgrid(np.geomspace(1e17, 1e20, 6), np.geomspace(1 / 5, 5, 7)))
    N = np.round(0.1 * C**0.48 * off)
    return pd.DataFrame({"N": N, "D": C / 6 / N, "C": C, "noise": rng.normal(0, 0.004, N.size)})


def ladder(rng: np.random.Generator, rounding: float = 0.0) -> pd.DataFrame:
    """Return 24 sizes at D = 20 N, rounded by up to a share."""
    N = np.geomspace(1e7, 1e10, 24)
    D = 20 * N * np.exp(rng.uniform(-rounding, rounding, N.size))
    return pd.DataFrame({"N": N, "D": D, "noise": rng.normal(0, 0.003, N.size)})


def two_sizes(rng: np.random.Generator) -> pd.DataFrame:
    """Return two sizes by eight amounts of data."""
    N, D = (x.ravel() for x in np.meshgrid(SIZES[[1, 4]], np.geomspace(DATA[0], DATA[-1], 8)))
    return pd.DataFrame({"N": N, "D": D, "noise": rng.normal(0, 0.003, N.size)})


def above_the_floor(rng: np.random.Generator) -> pd.DataFrame:
    """Return a grid of large runs, whose reducible loss is a hundredth of E, twice the noise."""
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e13, 1e15, 6), np.geomspace(1e14, 1e16, 6)))
    return pd.DataFrame({"N": N, "D": D, "noise": rng.normal(0, 0.005, N.size)})


DESIGNS = {
    "6 x 6 runs, L2": (grid, {"loss": "l2"}),
    "6 x 6 runs, Huber(1e-3)": (grid, {}),
    "6 sizes x 3 seeds x 6 marks, L2": (lambda rng: marks(rng, 3), {"loss": "l2"}),
    "6 runs x 6 marks, L2": (lambda rng: marks(rng, 1), {"loss": "l2"}),
    "6 curves x 40 points, no run column, L2": (curves, {"loss": "l2"}),
    "isoFLOP, 6 budgets x 7 sizes, Huber(1e-3)": (isoflop_budgets, {}),
}
# few runs, judged by their width too
SMALL = {
    "4 x 4 runs, Huber(1e-3)": (lambda rng: square(rng, 4), {}),
    "16 runs along D, Huber(1e-3)": (lambda rng: axis(rng, 16), {"law": "power_offset(D)"}),
    "8 runs along D, Huber(1e-3)": (lambda rng: axis(rng, 8), {"law": "power_offset(D)"}),
    "8 runs along D, L2": (lambda rng: axis(rng, 8), {"law": "power_offset(D)", "loss": "l2"}),
}
# designs that do not identify the parameters of the law: any interval is wrong
DEGENERATE = {
    "24 runs at D = 20 N": (ladder, {}),
    "24 runs at D = 20 N, rounded by 3 %": (lambda rng: ladder(rng, 0.03), {}),
    "24 runs at D = 20 N, rounded by 12 %": (lambda rng: ladder(rng, 0.12), {}),
    "2 sizes x 8": (two_sizes, {}),
    "reducible loss far below E": (above_the_floor, {}),
}


def study(design: str, seed: int) -> dict[str, tuple[float, float, float]]:
    """Return value, low and high of the watched quantities in one simulated study (NaN without a bound)."""
    make, settings = (DESIGNS | SMALL | DEGENERATE)[design]
    rows = make(np.random.default_rng(seed))
    law = settings.get("law", "chinchilla")
    rows["L"] = get_law("chinchilla")(rows["N"].to_numpy(), rows["D"].to_numpy(), **TRUTH) * np.exp(rows["noise"])
    result = fit(rows.drop(columns="noise"), law, seed=seed, **{k: v for k, v in settings.items() if k != "law"})
    none = float("nan")
    estimates = (result.params | result.derived).items()
    return {name: tuple(none if x is None else x for x in (e.value, e.low, e.high))
            for name, e in estimates if name in WATCHED}  # fmt: skip


def study_from_truth(design: str, seed: int) -> dict[str, tuple[float, float, float]]:
    """Return the same as `study`, searched from the true parameters and without a status: a tenth of the time."""
    make, options = (DESIGNS | SMALL)[design]
    rows = make(np.random.default_rng(seed))
    law = get_law(options.get("law", "chinchilla"))
    rows["L"] = get_law("chinchilla")(rows["N"].to_numpy(), rows["D"].to_numpy(), **TRUTH) * np.exp(rows["noise"])
    settings = Settings(**{k: v for k, v in options.items() if k != "law"}, seed=seed)
    prepared = observe(as_runs(rows.drop(columns="noise")), law)
    problem = replace(problem_of(prepared, law, settings), objective=Objective(settings.loss, settings.delta))
    truth = truth_of(design)
    start = [np.log(truth[k]) if log else truth[k] for k, log in zip(problem.free, problem.logs, strict=True)]
    u = minimise(problem, np.array([start])).u[0]
    prepared, _ = join_dependent(problem, u, prepared)
    spread = vary(problem, u, prepared, settings).spread
    values, draws = problem.params(u), problem.params(spread.draws)
    values |= {k: v for k, v in law.derive(values).items() if k in WATCHED}
    draws |= {k: v for k, v in law.derive(draws).items() if k in WATCHED}
    watched = [k for k in WATCHED if k in values]
    ends = {k: bounded(float(values[k]), draws[k], spread, 0.95, Scale(share=k in SHARES))[0] for k in watched}
    none = float("nan")
    return {k: tuple(none if x is None else x for x in (e.value, e.low, e.high)) for k, e in ends.items()}


def truth_of(design: str) -> dict[str, float]:
    """Return the parameters of the law that is fitted, and the share a."""
    share = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])
    truth = TRUTH | dict.fromkeys(("a", "isoflop", "envelope"), share)
    if "along D" in design:  # one size: its term is part of the floor
        truth |= {"E": TRUTH["E"] + TRUTH["A"] * 1e7 ** -TRUTH["alpha"], "alpha": TRUTH["beta"]}
    return truth


def frontier_study(seed: int) -> dict[str, tuple[float, float, float]]:
    """Return value, low and high of the exponent a by the isoFLOP minima and by the envelope of one simulated study."""
    rows = isoflop_budgets(np.random.default_rng(seed))
    rows["L"] = get_law("chinchilla")(rows["N"].to_numpy(), rows["D"].to_numpy(), **TRUTH) * np.exp(rows["noise"])
    approaches = frontier(rows.drop(columns="noise"), interval="none").approaches
    none = float("nan")
    return {name: tuple(none if x is None else x for x in (e.value, e.low, e.high))
            for name in ("isoflop", "envelope") if (e := approaches[name].a)}  # fmt: skip


def table(studies: list[dict[str, tuple[float, float, float]]], truth: dict[str, float]) -> None:
    """Print coverage and width of what was watched."""
    for name in studies[0]:
        value, low, high = np.array([s[name] for s in studies]).T
        some = np.isfinite(low) & np.isfinite(high)
        if not some.any():
            print(f"  {name:<8} no interval")
            continue
        held = ((low <= truth[name]) & (truth[name] <= high))[some]
        unit, error = 1.96 * value[some].std(), np.sqrt(held.mean() * (1 - held.mean()) / len(held))
        half = (high - low)[some] / 2
        print(f"  {name:<8} covers {held.mean():.3f} +- {error:.3f}   half-width: median {np.median(half) / unit:.2f}, "
              f"mean {half.mean() / unit:.2f} x 1.96 sd   interval in {some.mean():.3f}", flush=True)  # fmt: skip


def main() -> None:
    """Print the table of coverage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--only", default="", help="designs whose name holds this text")
    parser.add_argument("--from-truth", action="store_true", help="search from the true parameters alone: quick")
    options = parser.parse_args()
    for design in [*DESIGNS, *SMALL, *DEGENERATE, "frontier"]:
        if options.only not in design:
            continue
        begun = time.perf_counter()
        if options.from_truth and design not in DESIGNS | SMALL:
            continue
        one = study_from_truth if options.from_truth else study
        make = frontier_study if design == "frontier" else functools.partial(one, design)
        studies = [make(seed) for seed in range(options.studies)]
        print(f"{design}: {options.studies} studies in {time.perf_counter() - begun:.0f} s", flush=True)
        table(studies, truth_of(design))


if __name__ == "__main__":
    main()
