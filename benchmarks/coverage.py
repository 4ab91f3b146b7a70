"""How often a 95 % interval holds the truth, by the default settings of `fit`, over simulated studies.

    python benchmarks/coverage.py --studies 1000

Prints, for each design, the share of studies whose interval for E, alpha, beta and a holds the truth, its binomial
standard error, and the median half-width over 1.96 times the estimates' own standard deviation.
"""

import argparse
import time

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.laws.catalogue import get_law

TRUTH = {"E": 1.6, "A": 400.0, "alpha": 0.31, "B": 400.0, "beta": 0.29}
SIZES = np.geomspace(1e7, 10**9.5, 6)
DATA = np.geomspace(1e8, 10**10.5, 6)
WATCHED = ("E", "alpha", "beta", "a")


def grid(rng: np.random.Generator) -> pd.DataFrame:
    """Six sizes by six amounts of data, each its own run, 0.5 % noise."""
    N, D = (x.ravel() for x in np.meshgrid(SIZES, DATA))
    return pd.DataFrame({"N": N, "D": D, "noise": rng.normal(0, 0.005, N.size)})


def marks(rng: np.random.Generator, seeds: int) -> pd.DataFrame:
    """Six sizes by `seeds` runs, each measured at six marks: 0.4 % shared by a run, 0.2 % of each mark."""
    N = np.repeat(SIZES, seeds * 6)
    D = np.tile(DATA, 6 * seeds)
    run = np.repeat(np.arange(6 * seeds), 6)
    noise = rng.normal(0, 0.004, 6 * seeds)[run] + rng.normal(0, 0.002, N.size)
    return pd.DataFrame({"N": N, "D": D, "run_id": run, "noise": noise})


DESIGNS = {
    "6 x 6 runs, L2": (grid, {"loss": "l2"}),
    "6 x 6 runs, Huber(1e-3)": (grid, {}),
    "6 sizes x 3 seeds x 6 marks, L2": (lambda rng: marks(rng, 3), {"loss": "l2"}),
    "6 runs x 6 marks, L2": (lambda rng: marks(rng, 1), {"loss": "l2"}),
}


def study(design: str, seed: int) -> dict[str, tuple[float, float, float]]:
    """Value, low and high of what is watched, in one simulated study (low above high where there is no interval)."""
    make, settings = DESIGNS[design]
    rows = make(np.random.default_rng(seed))
    rows["L"] = get_law("chinchilla")(rows["N"].to_numpy(), rows["D"].to_numpy(), **TRUTH) * np.exp(rows["noise"])
    answer = fit(rows, "chinchilla", seed=seed, **settings)
    found = answer.params | answer.derived
    none = float("nan")
    return {k: (e.value or none, none if e.low is None else e.low, none if e.high is None else e.high)
            for k, e in found.items() if k in WATCHED}  # fmt: skip


def main() -> None:
    """Print the table of coverage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    truth = TRUTH | {"a": TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])}
    for design in DESIGNS:
        if options.only not in design:
            continue
        begun = time.perf_counter()
        studies = [study(design, seed) for seed in range(options.studies)]
        print(f"{design}: {options.studies} studies in {time.perf_counter() - begun:.0f} s")
        for name in WATCHED:
            value, low, high = np.array([s[name] for s in studies]).T
            held = (low <= truth[name]) & (truth[name] <= high)
            width = np.median((high - low)[np.isfinite(low)]) / 2 / (1.96 * value.std())
            error = np.sqrt(held.mean() * (1 - held.mean()) / len(held))
            print(f"  {name:<6} covers {held.mean():.3f} +- {error:.3f}   half-width {width:.2f} x 1.96 sd", flush=True)


if __name__ == "__main__":
    main()
