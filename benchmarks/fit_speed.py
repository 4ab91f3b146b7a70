"""Speed of a fit, beside scipy's L-BFGS-B with an analytic gradient, both measured in one run on one core.

    python benchmarks/fit_speed.py [--chinchilla PYTHON] [--against COMMIT] [--only-cold]

With --against, a commit, the cold commands are run on that commit's sources too, in turn with these, so that both meet
the same load; what is printed is the user's CPU time, the least of three.

With --chinchilla, the path of an interpreter that has PyPI's `chinchilla` 0.2.0, its whole grid is run too, on
one core as ours is; it takes minutes.

The rows are the 240 digitised points of Hoffmann et al. 2022 where ISOFLOP_REFERENCE_DATA names their folder, else as
many simulated ones. The rival minimises the same objective from the same kind of grid as the replication of Besiroglu
et al. 2024 (arXiv:2404.10102), with tolerances tight enough to reach the optimum; fewer of its starts and resamples
are run where it is slow, and the time for all of them is in proportion.
"""

# ruff: noqa: E402 - the number of threads has to be said before numpy is imported
import os

# one core each: threads of a linear algebra library only get in the way of vectors this short, the rival's most of all
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import itertools
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.intervals.resampling import bootstrap
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.read import read_runs
from isoflop.analysis.solving.descent import WARM, minimise
from isoflop.analysis.solving.problem import Objective, Problem
from isoflop.analysis.solving.starts import search, starts

DELTA = 1e-3
# absolute, as scipy has it below an objective of one: 1e-12 of this one, which takes every search to its optimum
FTOL = 1e-15


def points() -> pd.DataFrame:
    """Return 240 rows of N, D, L."""
    folder = os.environ.get("ISOFLOP_REFERENCE_DATA", "")
    path = Path(folder) / "epoch-research__analyzing-chinchilla" / "svg_extracted_data.csv"
    if folder and path.exists():
        runs = read_runs(path, columns={"N": "Model Size", "C": "Training FLOP", "L": "loss"}).frame
        runs["D"] = runs["C"] / (6 * runs["N"])
        return runs[runs["L"] < np.sort(runs["L"])[-5]]
    rng = np.random.default_rng(0)
    N, D = np.exp(rng.uniform(np.log(5e7), np.log(1e10), 240)), np.exp(rng.uniform(np.log(1e9), np.log(3e11), 240))
    L = 1.8172 + 482 * N**-0.3478 + 2085 * D**-0.3658
    return pd.DataFrame({"N": N, "D": D, "L": L * np.exp(0.004 * rng.standard_t(4, 240))})


def rival(runs: pd.DataFrame) -> Callable[..., Any]:
    """Minimise from a start (log A, log B, log E, alpha, beta) under weights, by scipy."""
    from scipy.optimize import minimize

    n, d, y = (np.log(runs[c].to_numpy()) for c in "NDL")

    def value(x: np.ndarray, w: np.ndarray) -> tuple[float, np.ndarray]:
        terms = np.stack([x[0] - x[3] * n, x[1] - x[4] * d, np.full_like(n, x[2])])
        top = terms.max(0)
        parts = np.exp(terms - top)
        total = parts.sum(0)
        r = top + np.log(total) - y
        psi = w * np.clip(r, -DELTA, DELTA)
        size = np.abs(r)
        rho = np.where(size <= DELTA, 0.5 * r * r, DELTA * (size - 0.5 * DELTA))
        share = psi * parts / total
        slope = np.array([share[0].sum(), share[1].sum(), share[2].sum(), -(share[0] @ n), -(share[1] @ d)])
        return float(w @ rho), slope

    def run(x0: np.ndarray, w: np.ndarray) -> Any:
        options = {"maxiter": 10000, "maxfun": 100000, "ftol": FTOL, "gtol": 1e-12}
        return minimize(value, x0, args=(w,), jac=True, method="L-BFGS-B", options=options)

    return run


# PyPI's package on the notebook's grid and the paper's loss: prints seconds and what it found
CHINCHILLA = """
import sys, time
import numpy as np
from chinchilla import Chinchilla
from chinchilla._metrics import log_huber
from functools import partial
grid = dict(e=np.linspace(-1, 1, 5), a=np.arange(0, 26, 5), b=np.arange(0, 26, 5),
            alpha=np.linspace(0, 2, 5), beta=np.linspace(0, 2, 5))
fitted = Chinchilla(sys.argv[1], param_grid=grid, loss_fn=partial(log_huber, delta=1e-3), log_level=40)
begun = time.perf_counter()
fitted.fit(parallel=False)
print(time.perf_counter() - begun, fitted.E, fitted.A, fitted.B, fitted.alpha, fitted.beta)
"""


def published_package(python: str, runs: pd.DataFrame) -> tuple[float, dict[str, float]]:
    """Return seconds that PyPI's package takes for its grid, and the parameters that it finds."""
    with tempfile.TemporaryDirectory() as folder:
        table = runs[["N", "D"]].round().assign(C=6 * runs["N"] * runs["D"], loss=runs["L"])
        table[["C", "N", "D", "loss"]].to_csv(Path(folder) / "df.csv", index=False, float_format="%f")
        command = [python, "-c", CHINCHILLA, folder]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-6:]
    seconds, *values = map(float, said)
    return seconds, dict(zip(("E", "A", "B", "alpha", "beta"), values, strict=True))


# command -> its arguments; curve.csv is of 70 rows
COLD = {
    "start (fit --help)": "fit --help",
    "fit without intervals": "fit points.csv --interval none",
    "fit, 1,000 resamples": "fit points.csv",
    "fit, 4,000 resamples": "fit points.csv --resamples 4000",
    "m4 on 70 rows": "fit curve.csv --law m4(D)",
    "bnsl on 70 rows": "fit curve.csv --law bnsl(D)",
}


def curve() -> pd.DataFrame:
    """Return 70 rows of D, L: a learning curve with a break."""
    x = np.geomspace(1e3, 1e7, 70)
    L = 0.3 + 8 * x**-0.25 * (1 + (x / 1e5) ** (1 / 0.3)) ** (-0.2 * 0.3)
    return pd.DataFrame({"D": x, "L": L * np.exp(0.004 * np.random.default_rng(0).standard_normal(70))})


def cold(against: str | None, repeats: int = 3) -> pd.DataFrame:
    """Return user CPU seconds of each cold command, by tree: these sources and those of another commit."""
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        trees = {"now [s]": root}
        if against:
            trees = {f"{against} [s]": Path(folder) / "against", **trees}
            trees[f"{against} [s]"].mkdir()
            archive = subprocess.run(["git", "archive", against], cwd=root, capture_output=True, check=True).stdout
            subprocess.run(["tar", "x", "-C", str(trees[f"{against} [s]"])], input=archive, check=True)
        points().to_csv(Path(folder) / "points.csv", index=False)
        curve().to_csv(Path(folder) / "curve.csv", index=False)
        rows = []
        for name, arguments in COLD.items():
            row = dict.fromkeys(trees, np.inf)
            for _, (label, tree) in itertools.product(range(repeats), trees.items()):
                row[label] = min(row[label], _user_time(tree, arguments.split(), folder))
            rows.append({"cold command": name} | row)
    return pd.DataFrame(rows)


def _user_time(tree: Path, arguments: list[str], folder: str) -> float:
    command = [sys.executable, "-m", "isoflop.analysis", *arguments]
    begun = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    environment = os.environ | {"PYTHONPATH": str(tree)}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - begun


def timed(work: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Return the least time of some repeats, and the last result."""
    best, result = np.inf, None
    for _ in range(repeats):
        begun = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - begun)
    return best, result


def main() -> None:
    """Print each figure beside its rival's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rival-starts", type=int, default=100)
    parser.add_argument("--rival-resamples", type=int, default=200)
    parser.add_argument("--chinchilla", metavar="PYTHON", help="an interpreter that has PyPI's chinchilla 0.2.0")
    parser.add_argument("--against", metavar="COMMIT", help="time the cold commands on this commit's sources too")
    parser.add_argument("--only-cold", action="store_true", help="nothing but the cold commands")
    options = parser.parse_args()
    print(cold(options.against).to_string(index=False, float_format="{:.2f}".format), end="\n\n")
    if options.only_cold:
        return
    runs = points()
    law = get_law("chinchilla")
    columns = (runs["N"].to_numpy(), runs["D"].to_numpy())
    problem = Problem(law, columns, runs["L"].to_numpy(), Objective("huber", DELTA))

    ours, found = timed(lambda: search(problem, starts(problem, 64)), repeats=5)
    best = found.objective.min()
    share = (found.objective <= best * (1 + 1e-6)).mean()
    print(f"64 starts: {ours:.3f} s, objective {best:.12g}, {share:.1%} of starts at it")

    run, ones = rival(runs), np.ones(len(runs))
    # the grid of the replication's notebook
    scales, levels, exponents = range(0, 26, 5), (-1, -0.5, 0, 0.5, 1), np.linspace(0, 2, 5)
    grid = list(itertools.product(scales, scales, levels, exponents, exponents))
    chosen = [grid[i] for i in np.random.default_rng(0).permutation(len(grid))[: options.rival_starts]]
    theirs, tried = timed(lambda: [run(np.array(x0), ones) for x0 in chosen])
    least = min(t.fun for t in tried)
    reached = np.mean([t.fun <= min(least, best) * (1 + 1e-6) for t in tried])
    print(
        f"scipy L-BFGS-B, {len(chosen)} starts: {theirs:.2f} s, objective {least:.12g}, {reached:.1%} of starts at it"
    )
    each = theirs / len(chosen)
    print(f"  a start costs {each / (ours / 64):.0f} times as much")
    print(f"  its grid of {len(grid)} starts: {each * len(grid):.0f} s, {each * len(grid) / ours:.0f} times ours")

    if options.chinchilla:
        seconds, values = published_package(options.chinchilla, runs)
        r = np.log(law(*columns, **values)) - np.log(runs["L"].to_numpy())
        size = np.abs(r)
        reached = np.where(size <= DELTA, r * r / 2, DELTA * (size - DELTA / 2)).sum()
        print(f"PyPI chinchilla, its {len(grid)} starts: {seconds:.1f} s, {seconds / ours:.0f} times ours; ", end="")
        print(f"objective {reached:.9g} at {', '.join(f'{k} {v:.5g}' for k, v in values.items())}")

    u = minimise(problem, found.u[found.objective.argmin()][None]).u[0]
    rows = np.arange(len(runs))
    ours, spread = timed(lambda: bootstrap(problem, u, rows, 4000, 0), repeats=2)
    failed = (~np.isfinite(spread.draws).all(1)).sum()
    print(f"4,000 resamples of runs: {ours:.2f} s, {failed} without a minimum")
    p = problem.params(u)
    x0 = np.array([np.log(p["A"]), np.log(p["B"]), np.log(p["E"]), p["alpha"], p["beta"]])
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(rows), ones / len(rows), size=options.rival_resamples).astype(float)
    theirs, drawn = timed(lambda: [run(x0, w) for w in counts])
    first = minimise(problem, np.broadcast_to(u, (len(counts), 5)).copy(), counts, WARM)
    gaps = np.array([t.fun for t in drawn]) / first.objective - 1
    whole = theirs / len(counts) * 4000
    print(f"scipy warm-started: {whole:.1f} s for 4,000 ({len(counts)} run), {whole / ours:.0f} times ours; "
          f"its objective above ours by {np.median(gaps):.1e} (median), {gaps.max():.1e} (most)")  # fmt: skip

    ours, answer = timed(lambda: fit(runs, law), repeats=2)
    print(f"fit() with status and 1,000 resamples: {ours:.2f} s\n\n{answer}")


if __name__ == "__main__":
    main()
