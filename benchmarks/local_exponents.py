"""Coverage of 95 % intervals of local exponents, with parameters identified and not.

    python benchmarks/local_exponents.py --studies 200 --loss l2

Chinchilla's law, 6 sizes by 6 amounts of data, 0.5 % noise. Prints, for each design, the share of studies in which
alpha has an interval, and for each local quantity at the geometric centre the share that have one, the share of all
whose interval holds the truth, and the median half-width over 1.96 times the estimates' own standard deviation.
"""

import argparse
import time

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.local import Space
from isoflop.analysis.laws.declare import get_law

LAW = get_law("chinchilla")
CENTRE = {"N": 1e8, "D": 1e9}
NOISE = 0.005
STEEP = {"E": 1.6, "A": 400.0, "alpha": 0.31, "B": 400.0, "beta": 0.29}
# at the centre 3.0 of 3.07 are E
FLAT = {"E": 3.0, "A": 100.0, "alpha": 0.45, "B": 60.0, "beta": 0.35}
# design -> (the truth, decades of each axis)
DESIGNS = {
    "grid of 2.5 decades": (STEEP, 2.5),
    "E far above the reducible loss": (FLAT, 2.5),
    "two decades": (STEEP, 2.0),
    "one decade": (STEEP, 1.0),
}
WATCHED = ("local_exponent_N", "local_exponent_D", "local_exponent_C", "local_loss", "best_D_per_N")


def grid(decades: float) -> tuple[np.ndarray, np.ndarray]:
    """Return N and D of the runs."""
    side = 10 ** np.linspace(-decades / 2, decades / 2, 6)
    N, D = np.meshgrid(CENTRE["N"] * side, CENTRE["D"] * side)
    return N.ravel(), D.ravel()


def study(design: str, seed: int, loss: str) -> tuple[bool, dict[str, tuple[float, float, float]]]:
    """Return whether alpha has an interval, and value, low and high of each local quantity (NaN if missing)."""
    truth, decades = DESIGNS[design]
    N, D = grid(decades)
    noise = np.random.default_rng(seed).normal(0, NOISE, N.size)
    rows = pd.DataFrame({"N": N, "D": D, "L": LAW(N, D, **truth) * np.exp(noise)})
    fitted = fit(rows, LAW, loss=loss, seed=seed)
    ends = {k: (e.value, e.low, e.high) for k, e in fitted.local(CENTRE).estimates.items()}
    numbers = {k: tuple(np.nan if x is None else float(x) for x in e) for k, e in ends.items()}
    return fitted.params["alpha"].low is not None, numbers


def truths(design: str) -> dict[str, float]:
    """Return the local quantities of the true law."""
    truth, decades = DESIGNS[design]
    space = Space(LAW, pd.DataFrame(dict(zip(("N", "D"), grid(decades), strict=True))))
    params = {k: np.float64(v) for k, v in truth.items()}
    along = space.along(CENTRE, params)
    return {name: float(space.quantity(name, CENTRE, along)(**params)) for name in WATCHED}


def main() -> None:
    """Print the table of coverage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--loss", default="l2")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    for design in DESIGNS:
        if options.only not in design:
            continue
        begun, truth = time.perf_counter(), truths(design)
        studies = [study(design, seed, options.loss) for seed in range(options.studies)]
        identified = np.mean([known for known, _ in studies])
        seconds = time.perf_counter() - begun
        print(
            f"{design}, {options.loss}: {options.studies} studies in {seconds:.0f} s; alpha has one in {identified:.3f}"
        )
        for name in WATCHED:
            value, low, high = np.array([numbers[name] for _, numbers in studies]).T
            held = (low <= truth[name]) & (truth[name] <= high)
            there = np.isfinite(low) & np.isfinite(high)
            width = np.median((high - low)[there]) / 2 / (1.96 * value.std())
            error = np.sqrt(held.mean() * (1 - held.mean()) / len(held))
            covers = f"covers {held.mean():.3f} +- {error:.3f}"
            print(f"  {name:<17} has one in {there.mean():.3f}, {covers}   width {width:.2f}", flush=True)


if __name__ == "__main__":
    main()
