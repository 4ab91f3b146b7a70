"""Coverage of E and of local exponents where a law is off by less than its residuals show.

    python benchmarks/mild_breaks.py --studies 40 --log mild.jsonl

Chinchilla's law with one term that breaks, or is of two powers, at a random place among the runs: a grid of 6 x 6 or
five budgets of seven, .2 to .5 % noise. Mild is a break by which the best law of the form misses the noise-free runs by
less than half of the noise; others are drawn again. Prints, for the intervals of the fit and for those where terms may
bend, how many hold the truth, and the mean interval score at 95 % (Gneiting and Raftery 2007). A log is gone on with.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.local import centre
from isoflop.analysis.laws.declare import get_law

KINDS = ("sound", "break along D", "break along N", "two powers of D")
LAW = get_law("chinchilla")


class Truth:
    """A law drawn at random: E and two terms, one of which may be off."""

    def __init__(self, kind: str, rng: np.random.Generator) -> None:
        self.kind, self.E, (self.alpha, self.beta) = kind, rng.uniform(1.2, 2.2), rng.uniform(0.25, 0.45, 2)
        self.terms = rng.uniform(np.log(0.1), np.log(0.8), 2)
        self.place, self.sharp = rng.uniform(-1.5, 1.5), rng.choice([0.5, 1.0, 2.0])
        self.change = rng.choice([-1, 1]) * rng.uniform(0.03, 0.12)

    def reducible(self, which: str, z: Any) -> Any:
        """Return the term of N or D at a logarithm about the centre."""
        exponent, size = (self.alpha, self.terms[0]) if which == "N" else (self.beta, self.terms[1])
        if self.kind == f"two powers of {which}":
            steep = exponent + 3 * abs(self.change)
            return 0.5 * np.exp(size - exponent * z) + 0.5 * np.exp(size - steep * (z - self.place))
        bent_by = self.change / self.sharp * np.logaddexp(0, self.sharp * (z - self.place))
        return np.exp(size - exponent * z - bent_by * (self.kind == f"break along {which}"))

    def loss(self, n: Any, d: Any) -> Any:
        """Return the loss at logarithms of N and D about the centre."""
        return self.E + self.reducible("N", n) + self.reducible("D", d)

    def slope(self, n: float, d: float, along: tuple[float, float]) -> float:
        """Return the fall of ln L along a direction."""
        step = 1e-4 * np.array(along)
        return float(np.log(self.loss(*(np.array([n, d]) - step)) / self.loss(*(np.array([n, d]) + step))) / 2e-4)


def places(rng: np.random.Generator) -> np.ndarray:
    """Return ln N and ln D about the centre, (2, runs)."""
    half = 1.25 * np.log(10)
    if rng.random() < 0.5:
        return np.stack([x.ravel() for x in np.meshgrid(*[np.linspace(-half, half, 6)] * 2)])
    budget, ratio = np.meshgrid(np.linspace(-half, half, 5), np.linspace(-1, 1, 7) * np.log(4))
    return np.stack([(budget + ratio).ravel(), (budget - ratio).ravel()])


def study(kind: str, seed: int) -> dict[str, Any]:
    """Return for each quantity the truth and both intervals; the first mild truth of the seed."""
    rng = np.random.default_rng([72, KINDS.index(kind), seed])
    while True:
        truth, (n, d), noise = Truth(kind, rng), places(rng), rng.choice([0.002, 0.003, 0.005])
        rows = pd.DataFrame({"N": 1e8 * np.exp(n), "D": 2e9 * np.exp(d), "L": truth.loss(n, d)})
        form = fit(rows, LAW, loss="l2", interval="none")
        missed = float(np.sqrt(np.mean(np.log(form.predict(rows) / rows["L"]) ** 2))) / noise
        if missed < 0.5:
            break
    fitted = fit(rows.assign(L=rows["L"] * np.exp(noise * rng.normal(size=len(rows)))), LAW, resamples=200)
    at, local = centre(LAW, fitted.rows), fitted.local(bent=True)
    here = np.log(at["N"] / 1e8), np.log(at["D"] / 2e9)
    plain, wide = local.estimates | fitted.params, local.bent
    true = {
        "E": truth.E,
        "local_exponent_N": truth.slope(*here, (1, 0)),
        "local_exponent_D": truth.slope(*here, (0, 1)),
    }
    ends = {k: [(e[k].low, e[k].high) if k in e else (None, None) for e in (plain, wide)] for k in true}
    return {"kind": kind, "seed": seed, "missed": missed, "true": true, "ends": ends, "status": str(fitted.status)}


def score(low: float, high: float, true: float) -> float:
    """Return the interval score at 95 %."""
    return high - low + 40 * max(low - true, true - high, 0.0)


def main() -> None:
    """Make the studies that the log lacks, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    done = [json.loads(line) for line in options.log.read_text().splitlines()] if options.log.exists() else []
    for seed in range(options.studies):
        for kind in KINDS:
            if not any((x["kind"], x["seed"]) == (kind, seed) for x in done):
                done.append(study(kind, seed))
                with options.log.open("a") as log:
                    log.write(json.dumps(done[-1]) + "\n")
    for kind in KINDS:
        mine = [x for x in done if x["kind"] == kind]
        print(f"{kind}: misses by {np.median([x['missed'] for x in mine]):.2f} of the noise")
        for name in mine[0]["true"]:
            for i, which in enumerate(("plain", "bent")):
                ends = [(*x["ends"][name][i], x["true"][name]) for x in mine if x["ends"][name][i][0] is not None]
                ends = [x for x in ends if x[1] is not None]
                held, scores = sum(low <= true <= high for low, high, true in ends), [score(*x) for x in ends]
                print(f"  {name:<16} {which:<6} {held} of {len(ends)}   score {np.mean(scores):.4g}")


if __name__ == "__main__":
    main()
