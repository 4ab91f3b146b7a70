"""Exponents that theory gives, beside those that the laboratory finds: its calibration.

Runs that a learner of ours can make go the whole way: data, training, records, fit (`study=calibration`). The others
go from a generator, or the closed form, to the fit. Every row is kept in --out, and the same command makes only what is
missing.

    python benchmarks/known_exponents.py                    all of it, under three minutes on one core
    python benchmarks/known_exponents.py G1 G3              some
    python benchmarks/known_exponents.py --write            all, and the table of docs/data.md

    G1  memory of Zipfian facts, closed form        G2  the same, trained: a table on zipf, in D and in N
    G3  the spectral model, closed form; its size exponent trained: a linear readout on spectral
    G6  neighbours on a manifold of known dimension G11 the permutation kernel on two irreps
    G12 excess of least squares                     M   the entropy rate of a Markov chain, by several families
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import Estimate
from isoflop.analysis.tables.read import read_runs
from isoflop.scaling.data.base import HELD_OUT, TRAIN
from isoflop.scaling.data.generated.manifold import Manifold
from isoflop.scaling.data.generated.permutation import IRREPS, Permutation, kernel, samples_to_halve
from isoflop.scaling.data.generated.spectral import Spectral, left_by_descent
from isoflop.scaling.data.generated.zipf import unseen_mass

Array = NDArray[np.float64]
DOC = Path(__file__).parents[1] / "docs/data.md"
BEGIN, END = "<!-- by benchmarks/known_exponents.py: begin -->", "<!-- end -->"
# an estimate is right within this, or within its own interval
NEAR = 0.03


@dataclass(frozen=True)
class Result:
    """A quantity as theory has it and as the fit finds it; near: the largest difference that is right."""

    name: str
    quantity: str
    theory: float
    estimate: Estimate
    near: float = NEAR

    @property
    def right(self) -> bool:
        """Whether |estimate - theory| is at most `near`, or half the width of the interval."""
        value, low, high = self.estimate.value, self.estimate.low, self.estimate.high
        if value is None:
            return False
        half = 0.0 if low is None or high is None else (high - low) / 2
        return abs(value - self.theory) <= max(self.near, half)

    @property
    def line(self) -> str:
        cells = self.name, self.quantity, f"{self.theory:.3f}", str(self.estimate), "yes" if self.right else "NO"
        return "| " + " | ".join(cells) + " |"


def exponent(runs: pd.DataFrame, law: str, name: str = "alpha", **how: object) -> Estimate:
    """One parameter of a law fitted to runs."""
    answer = fit(runs, law, **how)  # type: ignore[arg-type]
    return (answer.params | answer.derived)[name]


def kept(path: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table that is made once."""
    if not path.exists():
        table = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
    return pd.read_csv(path)


# G1 and G2: Zipfian facts


def zipf_in_closed_form(out: Path) -> Iterator[Result]:
    for alpha in (0.5, 1.0, 2.0):
        D = np.geomspace(1e2, 1e4, 9)
        runs = pd.DataFrame({"D": D, "L": [unseen_mass(d, 1 + alpha, 2_000_000) for d in D]})
        yield Result("G1", f"closed form, data, α={alpha:g}", alpha / (1 + alpha), exponent(runs, "power(D)"))


def zipf_trained(out: Path) -> Iterator[Result]:
    runs = trained(out)
    runs = runs[runs["data"] == "zipf"]
    by_D = runs[runs["width"] == runs["data.vocab_size"]]
    for A, group in by_D.groupby("data.exponent"):
        yield Result("G2", f"trained table, data, A={A:g}", 1 - 1 / A, exponent(group, "power(D)"))
    by_N = runs[runs["width"] < runs["data.vocab_size"]]
    yield Result("G2", "trained table, size, A=2", 1.0, exponent(by_N, "power(N)"))


# G3: the spectral model


def spectral_in_closed_form(out: Path) -> Iterator[Result]:
    for a, b in ((1.5, 1.25), (2.0, 1.5)):
        sizes = np.unique(np.geomspace(10, 1000, 9).astype(int))
        runs = pd.DataFrame({"N": sizes, "L": left_by_descent(sizes, 1e15, a, b)})
        yield Result("G3", f"closed form, size, a={a:g} b={b:g}", a - 1, exponent(runs, "power(N)"))
        steps = np.geomspace(1e2, 1e4, 9)
        runs = pd.DataFrame({"D": steps, "L": left_by_descent(1_000_000, steps, a, b)})
        yield Result("G3", f"closed form, steps, a={a:g} b={b:g}", (a - 1) / b, exponent(runs, "power(D)"))
        best = pd.DataFrame([best_split(C, a, b) for C in np.geomspace(1e4, 1e7, 10)])
        found = exponent(best, "allocation", "a")
        yield Result("G3", f"closed form, best size, a={a:g} b={b:g}", 1 / (1 + b), found)
        found = exponent(best, "power(C)")
        yield Result("G3", f"closed form, compute, a={a:g} b={b:g}", (a - 1) / (1 + b), found)


def best_split(C: float, a: float, b: float) -> dict[str, float]:
    """The size with the least loss among those at a compute of N t, to a tenth of a per cent."""
    around = C ** (1 / (1 + b))
    sizes = np.unique(np.geomspace(around / 10, around * 10, 400).astype(int).clip(min=1))
    left = left_by_descent(sizes, C / sizes, a, b, features=int(sizes[-1]))
    return {"C": C, "N_opt": float(sizes[left.argmin()]), "L": float(left.min())}


def spectral_trained(out: Path) -> Iterator[Result]:
    runs = trained(out)
    runs = runs[runs["data"] == "spectral"]
    yield Result("G3", "trained linear readout, size, a=2", 1.0, exponent(runs, "power_offset(N)"))


# G6: neighbours on a manifold


def neighbours(out: Path) -> Iterator[Result]:
    runs = kept(out / "G6.csv", lambda: pd.DataFrame([row for d in (2, 3, 4) for row in manifold_errors(d)]))
    # the level is a function's own: the mean over functions of ln L
    curves = np.log(runs.set_index(["dimension", "learner", "D"])["L"]).groupby(level=[0, 1, 2]).mean()
    for (d, learner), group in np.exp(curves).reset_index().groupby(["dimension", "learner"]):
        theory = {"nearest": 2, "linear": 4}[learner] / d
        yield Result("G6", f"{learner} neighbours, dimension {d}", theory, exponent(group, "power(D)"))


MANIFOLD_D = 2 ** np.arange(13, 19)  # in four dimensions fewer points have no near ones


def manifold_errors(dimension: int) -> Iterator[dict[str, object]]:
    """Squared errors of the nearest neighbour and of a plane through the nearest, over D and four functions."""
    for version in range(4):
        data = Manifold(dimension=dimension, features=2 * dimension, version=version)
        x, y = (t.double().numpy() for t in data.draw(TRAIN, int(MANIFOLD_D[-1])))
        held_x, held_y = (t.double().numpy() for t in data.draw(HELD_OUT, 1000))
        for D in MANIFOLD_D:
            near = cKDTree(x[:D]).query(held_x, k=2 * (dimension + 1))[1]
            errors = {"nearest": y[near[:, 0]] - held_y, "linear": planes(x, y, near, held_x, dimension) - held_y}
            for learner, error in errors.items():
                row = {"dimension": dimension, "learner": learner, "run_id": f"{dimension}-{version}"}
                yield row | {"D": int(D), "L": float((error**2).mean())}


def planes(x: Array, y: Array, near: NDArray[np.int64], at: Array, dimension: int) -> Array:
    """Predictions of planes through the neighbours (n, few) of each point, in the directions that they span most."""
    around = x[near] - at[:, None]
    centre = around.mean(axis=1, keepdims=True)
    # coordinates on the manifold, (n, few, dimension): the largest directions of the neighbours
    directions = np.linalg.svd(around - centre, full_matrices=False)[2][:, :dimension].swapaxes(1, 2)
    design = np.concatenate((np.ones((*near.shape, 1)), around @ directions), axis=2)
    return np.einsum("nij,njk->nik", np.linalg.pinv(design), y[near])[:, 0]


# G11: irreps of the permutations

LENGTHS = (4, 8, 16, 32)


def irreps(out: Path) -> Iterator[Result]:
    runs = kept(out / "G11.csv", lambda: pd.DataFrame([row for L in LENGTHS for row in irrep_samples(L)]))
    for irrep, group in runs.groupby("irrep"):
        # a law falls, so it is of what one sample does: 1 / samples over the dimension of the standard irrep
        group = group.assign(L=1 / group["samples"], N=group["modes"])
        theory = exponent(group.assign(L=1 / group["theory"]), "power(N)", interval="none").value
        assert theory is not None
        yield Result("G11", f"{irrep}, samples over (L - 1) d", theory, exponent(group, "power(N)"))
    ratios = runs.drop_duplicates("length")
    frame = pd.DataFrame({"N": 1 + ratios["length"], "L": 1 / ratios["ratio"]})
    yield Result("G11", "ratio of eigenvalues over 1 + L", 1.0, exponent(frame, "power(N)"))


def irrep_samples(length: int, features: int = 16, groups: int = 2, targets: int = 6) -> Iterator[dict[str, object]]:
    """Samples by which kernel regression halves the error, both irreps, a mean curve for each group of targets."""
    modes = (length - 1) * features
    basis = np.eye(length * features).reshape(-1, length, features)
    values = np.linalg.eigvalsh(kernel(basis, basis))[::-1]
    ratio = values[:features].mean() / values[features:].mean()
    for irrep in IRREPS:
        theory = samples_to_halve(length, features, irrep)
        sizes = np.unique(np.geomspace(theory / 3, theory * 3, 9).astype(int))
        for group in range(groups):
            curves = []
            for version in range(group * targets, (group + 1) * targets):
                data = Permutation(seq_len=length, features=features, irrep=irrep, version=version)
                curves.append(kernel_errors(data, sizes, 1e-6 * values[-1]))
            errors = np.mean(curves, axis=0)
            half = np.exp(np.interp(-np.log(0.5), -np.log(errors), np.log(sizes)))
            row = {"length": length, "irrep": irrep, "modes": modes, "run_id": f"{length}-{irrep}-{group}"}
            yield row | {"samples": half, "theory": theory, "ratio": ratio}


def kernel_errors(data: Permutation, sizes: NDArray[np.int64], ridge: float) -> Array:
    """Error of kernel regression over that of zero, by the number of samples."""
    x, f = data.sample(TRAIN, int(sizes[-1]))
    held_x, held_f = data.sample(HELD_OUT, 2000)
    inner, across = kernel(x, x), kernel(held_x, x)
    errors = []
    for n in sizes:
        predicted = across[:, :n] @ np.linalg.solve(inner[:n, :n] + ridge * np.eye(n), f[:n])
        errors.append(((predicted - held_f) ** 2).mean() / (held_f**2).mean())
    return np.array(errors)


# G12: least squares


def least_squares(out: Path) -> Iterator[Result]:
    runs = kept(out / "G12.csv", lambda: pd.DataFrame(excesses(16, 0.5)))
    answer = fit(runs, "power_offset(D)")
    yield Result("G12", "excess over D - N - 1", 1.0, answer.params["alpha"])
    yield Result("G12", "floor σ²", 0.25, answer.params["E"], near=0.02 * 0.25)
    yield Result("G12", "A over σ² N", 1.0, exponent(runs.assign(L=(runs["L"] - 0.25) / 4), "power(D)", "A"), near=0.1)


def excesses(N: int, sigma: float) -> Iterator[dict[str, object]]:
    """Mean error of least squares over 400 samples of D; the column D holds D - N - 1, whose power theory gives."""
    for index, D in enumerate((24, 32, 48, 64, 96, 128, 192, 256)):
        data = Spectral(features=N, sigma=sigma, version=index)
        x, y = (t.double().numpy().reshape(400, D, -1) for t in data.draw(TRAIN, 400 * D))
        k = np.arange(1, N + 1)
        truth = (k**-data.a / (k**-data.a).sum() * k**data.b) ** 0.5
        solution = np.linalg.solve(x.swapaxes(1, 2) @ x, x.swapaxes(1, 2) @ y)[..., 0]
        excess = ((solution - truth) ** 2 * k**-data.b).sum(axis=1)
        yield {"N": N, "D": D - N - 1, "L": sigma**2 + excess.mean()}


# M: the entropy rate


def markov_floor(out: Path) -> Iterator[Result]:
    runs = trained(out)
    runs = runs[runs["data"] == "markov"]
    for family, group in runs.groupby("family"):
        floor = float(group["floor"].iloc[0])
        # the rule is a fiftieth of the floor, or the interval
        yield Result("M", f"entropy rate, {family}", floor, exponent(group, "power_offset(D)", "E"), near=0.02 * floor)


def trained(out: Path) -> pd.DataFrame:
    """All trained runs, those that are missing made by the command line."""
    runs, table = out / "trained", out / "trained.csv"
    isoflop = [sys.executable, "-m", "isoflop.cli"]
    if not table.exists():
        subprocess.run([*isoflop, "train", "study=calibration", f"out={runs}"], check=True, stdout=sys.stderr)
        subprocess.run([*isoflop, "collect", str(runs), "-o", str(table)], check=True, stdout=sys.stderr)
    return read_runs(table)


ORACLES: dict[str, tuple[Callable[[Path], Iterator[Result]], ...]] = {
    "G1": (zipf_in_closed_form,),
    "G2": (zipf_trained,),
    "G3": (spectral_in_closed_form, spectral_trained),
    "G6": (neighbours,),
    "G11": (irreps,),
    "G12": (least_squares,),
    "M": (markov_floor,),
}


def main() -> int:
    """Print theory beside estimate; 1 where one is not right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("oracles", nargs="*", metavar="|".join(ORACLES), help="which; all by default")
    parser.add_argument("--out", type=Path, default=Path("runs/known_exponents"))
    parser.add_argument("--write", action="store_true", help="write the table into docs/data.md")
    given = parser.parse_args()
    if unknown := set(given.oracles) - set(ORACLES):
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(ORACLES)}")
    lines = ["| | quantity | theory | estimate (95 % interval) | right |", "|---|---|--:|--:|---|"]
    print("\n".join(lines))
    wrong = 0
    for name in given.oracles or ORACLES:
        for result in (result for oracle in ORACLES[name] for result in oracle(given.out)):
            print(result.line, flush=True)
            lines.append(result.line)
            wrong += not result.right
    if given.write:
        before, rest = DOC.read_text().split(BEGIN)
        table = "\n".join(lines)
        DOC.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
