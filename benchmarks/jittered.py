"""Coverage of 95 % intervals on ladders whose ratio scatters, over truths drawn at random, and on grids as controls.

    python benchmarks/jittered.py --studies 100 --jitters 3,10

Prints, for each scatter of D/N in percent, how many intervals hold the truth of how many there are.
"""

import argparse

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.fit import fit

CENTRE = 1e8
WATCHED = ("E", "alpha", "beta", "a")


def study(seed: int, jitter: float | None) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return runs and the truth: a ladder whose D/N scatters by `jitter`, or a grid of 6 x 6 where it is None."""
    rng = np.random.default_rng([27, seed])
    E, (alpha, beta), reducible = (
        rng.uniform(1.2, 2.2),
        rng.uniform(0.2, 0.5, 2),
        rng.uniform(np.log(0.1), np.log(0.8), 2),
    )
    count, decades = int(rng.choice([12, 18, 24, 40])), rng.uniform(2, 3.5)
    noise, ratio = float(rng.choice([0.001, 0.002, 0.003, 0.005])), 20 * np.exp(0.7 * rng.normal())
    style = rng.choice(["D uniform", "D normal", "both normal"])
    normal, uniform, errors = rng.normal(size=(2, count)), rng.uniform(-1, 1, count), rng.normal(size=400)
    if jitter is None:
        steps = CENTRE * np.logspace(-1.25, 1.25, 6)
        N, D = (x.ravel() for x in np.meshgrid(steps, ratio * steps))
    else:
        N = CENTRE * np.logspace(-decades / 2, decades / 2, count)
        D = ratio * N * np.exp(jitter * {"D uniform": uniform, "D normal": normal[0]}.get(style, normal[1] / 2**0.5))
        N = N * np.exp(jitter * normal[0] / 2**0.5) if style == "both normal" else N
    A, B = np.exp(reducible) * np.array([CENTRE**alpha, (ratio * CENTRE) ** beta])
    L = (E + A * N**-alpha + B * D**-beta) * np.exp(noise * errors[: len(N)])
    truth = {"E": E, "alpha": alpha, "beta": beta, "a": beta / (alpha + beta)}
    return pd.DataFrame({"N": N, "D": D, "L": L}), truth


def covered(seeds: range, jitter: float | None) -> str:
    """Return for each watched quantity how many intervals hold the truth, of how many there are."""
    held: dict[str, list[bool]] = {name: [] for name in WATCHED}
    for seed in seeds:
        runs, truth = study(seed, jitter)
        result = fit(runs, resamples=200)
        for name in WATCHED:
            e = (result.params | result.derived)[name]
            if e.low is not None and e.high is not None:
                held[name].append(e.low <= truth[name] <= e.high)
    return "  ".join(f"{name} {sum(found)} of {len(found)}" for name, found in held.items())


def main() -> None:
    """Print coverage for each scatter, and for the grids."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--first", type=int, default=200, help="the first seed")
    parser.add_argument("--jitters", default="1,3,5,10,15,20")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.studies)
    for percent in filter(None, options.jitters.split(",")):
        print(f"{percent:>4} %  {covered(seeds, float(percent) / 100)}", flush=True)
    print(f"grids   {covered(seeds, None)}")


if __name__ == "__main__":
    main()
