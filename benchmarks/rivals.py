"""Our bands and our choice of a law against rivals: interval score, coverage, and the order of laws by `compare`.

    ISOFLOP_REFERENCE_DATA=... python benchmarks/rivals.py [--only simulated] [--out cuts.csv]

The tables were listed before anything was run: published ones, as benchmarks/band_coverage.py and fresh_coverage.py
read them (in view while bands were chosen, so that they favour us), and simulated truths. Each is cut at a
quarter of its largest compute; rows beyond are predicted. Rivals, written with scipy alone: a residual bootstrap of
Huber's Chinchilla (E + B D^-beta for a curve), delta 1e-3 and 50 resamples; the straight line through the logarithms
with its t interval. The interval score (Gneiting and Raftery 2007, eq. 43) is of ln L at 90 %, in percent. The order:
Spearman's correlation of `compare` on the rows to fit with the error of each law on the rows beyond, and the error of
its first choice over that of the best law. About ten minutes of one core.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import band_coverage as published
import fresh_coverage as fresh
import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from scipy.stats import spearmanr
from scipy.stats import t as student

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.holdout.average import average_laws, names_average
from isoflop.analysis.holdout.bands import bands
from isoflop.analysis.holdout.compare import compare
from isoflop.analysis.holdout.predictability import predictability
from isoflop.errors import UserError

LEVEL, RESAMPLES, DEPTH, FEWEST = 0.9, 50, 4.0, 8
# truths: loss of N and D; three laws that are among those compared, and three that are not
TRUTHS: dict[str, Callable[[Any, Any], Any]] = {
    "chinchilla": lambda N, D: 1.69 + 406.4 * N**-0.34 + 410.7 * D**-0.28,
    "kaplan": lambda N, D: ((8.8e13 / N) ** (0.076 / 0.095) + 5.4e13 / D) ** 0.095,
    "multiplicative": lambda N, D: 1.5 + 300 * N**-0.3 + 500 * D**-0.3 + 900 * N**-0.12 * D**-0.2,
    "break": lambda N, D: 1.69 + 406.4 * N**-0.34 + 410.7 * D**-0.28 / (1 + (D / 1e10) ** 2) ** 0.05,
    "logarithm": lambda N, D: 8.0 - 0.12 * np.log(N) - 0.15 * np.log(D),
    "minimum": lambda N, D: 1.7 + (((400 * N**-0.34) ** 3 + (400 * D**-0.28) ** 3) ** (1 / 3)),
}


def simulated() -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield a grid, budgets and scattered runs of each truth, with noise of .2, .5 and 1 %."""
    for i, (name, law) in enumerate(TRUTHS.items()):
        rng = np.random.default_rng(i)
        grid = [x.ravel() for x in np.meshgrid(np.geomspace(1e7, 2e9, 7), np.geomspace(3e8, 1e11, 7))]
        C = np.repeat(np.geomspace(1e17, 1e21, 7), 6)
        N = 0.1 * np.sqrt(C) * 4 ** np.tile(np.linspace(-1, 1, 6), 7)
        scattered = 10 ** rng.uniform(7, 9.3, 60), 10 ** rng.uniform(8.5, 11, 60)
        for design, (n, d), noise in (
            ("grid", grid, 0.002), ("budgets", (N, C / 6 / N), 0.005), ("scattered", scattered, 0.01)
        ):  # fmt: skip
            L = law(n, d) * np.exp(noise * rng.normal(size=len(n)))
            table = pd.DataFrame({"N": n, "D": d, "C": 6 * n * d, "L": L})
            yield f"simulated {name}, {design}", table.sort_values("C", ignore_index=True)


def listed() -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield every table by its name: of a source that has many, the first and the last."""
    for source in (published.TABLES, fresh.TABLES):
        for name, read in source.items():
            tables = read()
            for k in sorted({0, len(tables) - 1}):
                yield f"{name} {k}", tables[k]
    yield from simulated()


def cut(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what is fitted, and what lies beyond."""
    below = rows["C"] <= rows["C"].max() / DEPTH
    return rows[below].reset_index(drop=True), rows[~below].reset_index(drop=True)


def columns_of(rows: pd.DataFrame) -> list[str]:
    """Return the columns that the rivals' laws follow."""
    return ["N", "D"] if "N" in rows else ["D"]


def huber(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Return value, low and high of ln L (3, rows) by a residual bootstrap of Huber's fit."""
    rng, names = np.random.default_rng(0), columns_of(train)
    x, new = (np.log(rows[names].to_numpy(float)) for rows in (train, test))
    y, middle = np.log(train["L"].to_numpy(float)), np.log(train[names].to_numpy(float)).mean(0)

    def law(p: np.ndarray, at: np.ndarray) -> np.ndarray:
        terms = [
            np.full(len(at), p[0]),
            *(p[1 + 2 * i] - p[2 + 2 * i] * (at[:, i] - middle[i]) for i in range(len(names))),
        ]
        return np.logaddexp.reduce(terms)

    def solve(target: np.ndarray, begin: np.ndarray) -> Any:
        return least_squares(
            lambda p: law(p, x) - target, begin, loss="huber", f_scale=1e-3, x_scale="jac", max_nfev=200
        )

    mean = y.mean()
    begins = [
        np.array([mean - e, *([mean - a, b] * len(names))]) for e in (0.2, 0.7) for a in (1.0, 3.0) for b in (0.2, 0.5)
    ]
    best = min((solve(y, begin) for begin in begins), key=lambda found: found.cost).x
    residuals, fitted = y - law(best, x), law(best, x)
    residuals = (residuals - residuals.mean()) * np.sqrt(len(y) / max(len(y) - len(best), 1))
    draws = []
    for _ in range(RESAMPLES):
        again = solve(fitted + rng.choice(residuals, len(y)), best).x
        draws.append(law(again, new) + rng.choice(residuals, len(new)))
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.array([law(best, new), low, high])


def line(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Return value, low and high of ln L (3, rows) by least squares through the logarithms."""
    x, new = (np.column_stack([np.ones(len(r)), np.log(r[columns_of(r)].to_numpy(float))]) for r in (train, test))
    y, inverse = np.log(train["L"].to_numpy(float)), np.linalg.pinv(x.T @ x)
    b = inverse @ x.T @ y
    free = max(len(y) - x.shape[1], 1)
    error = np.sqrt(((y - x @ b) ** 2).sum() / free * (1 + ((new @ inverse) * new).sum(1)))
    half = student.ppf((1 + LEVEL) / 2, free) * error
    return np.array([new @ b, new @ b - half, new @ b + half])


def ours(made: Any, test: pd.DataFrame) -> np.ndarray:
    """Return value, low and high of ln L (3, rows) by our bands; an infinite width where there is none."""
    with np.errstate(all="ignore"):
        value, low, high = np.log(bands(made, test)[["value", "low", "high"]].to_numpy(float).T)
    return np.array([value, low, high])


def score(band: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return coverage, mean interval score [%], half-width [%] and root mean square error [%] where there is a band."""
    value, low, high = band
    known = np.isfinite(low) & np.isfinite(high)
    error = 100 * float(np.sqrt(np.mean((value - truth) ** 2)))
    if not known.any():
        return {"coverage": np.nan, "score": np.nan, "half": np.nan, "error": error}
    low, high, truth = low[known], high[known], truth[known]
    missed = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    width = high - low
    return {
        "coverage": float((missed == 0).mean()), "score": 100 * float((width + 2 / (1 - LEVEL) * missed).mean()),
        "half": 50 * float(np.median(width)), "error": error,
    }  # fmt: skip


def order(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, float]:
    """Return how well `compare` on the fitted rows orders laws and baselines by their errors beyond."""
    found = compare(train).table
    laws = list(found.loc[found["predicts"] != "-", "law"])
    truth, errors = np.log(test["L"].to_numpy(float)), {}
    for law in laws:
        try:
            made: Any = average_laws(train, law) if names_average(law) else fit(train, law, interval="none")
            errors[law] = float(np.sqrt(np.mean((np.log(made.predict(test)) - truth) ** 2)))
        except UserError:
            continue
    late = found.set_index("law")["late"].reindex(list(errors))
    rho = float(spearmanr(late, list(errors.values())).statistic) if len(errors) > 2 else np.nan
    return {"rho": rho, "first": errors[late.idxmin()] / max(min(errors.values()), 1e-12), "laws": len(errors)}


def measure(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    """Return all figures of one cut."""
    truth, out = np.log(test["L"].to_numpy(float)), {}
    made = average_laws(train)
    out |= {f"ours {k}": v for k, v in score(ours(made, test), truth).items()}
    out["predicts"] = str(predictability(made).predicts)
    single = fit(train, "chinchilla" if "N" in train else "power_offset(D)", resamples=200)
    out |= {f"single {k}": v for k, v in score(ours(single, test), truth).items()}
    out["single predicts"] = str(predictability(single).predicts)
    for name, rival in (("huber", huber), ("line", line)):
        out |= {f"{name} {k}": v for k, v in score(rival(train, test), truth).items()}
    return out | order(train, test)


def report(table: pd.DataFrame) -> None:
    """Print the figures by kind of table."""
    table["kind"] = np.where(table["table"].str.startswith("simulated"), "simulated", "published")
    table["source"] = table["table"].str.replace(r"[ ,]*(\d+|grid|budgets|scattered)$", "", regex=True)
    pd.set_option("display.width", 200)
    for kind, part in table.groupby("kind"):
        by = part.groupby("source", sort=False)[
            [c for c in part if c.split()[-1] in ("coverage", "score", "half")]
        ].mean()
        best = by["ours score"] / by[["huber score", "line score"]].min(axis=1)
        print(f"\n{kind}: {len(part)} tables")
        print(by.assign(ratio=best).round(3).to_string())
        for name in ("ours", "single", "huber", "line"):
            pooled = part[f"{name} coverage"].mean()
            print(f"{name}: coverage {pooled:.3f}, score {part[f'{name} score'].median():.2f} (median)")
        print(f"ours best on {(best <= 1).sum()} of {len(best)} sources, median ratio {best.median():.2f}")
        for name, word in (("ours", "predicts"), ("single", "single predicts")):
            sure = part[part[word] == "yes"]
            covered = sure[f"{name} coverage"]
            print(
                f"{name}: {len(sure)} of {len(part)} yes, worst {covered.min():.2f}, {(covered < 0.5).sum()} below .5"
            )
        rho, first = part["rho"], part["first"]
        print(f"Spearman {rho.mean():.2f} on average, median {rho.median():.2f}")
        print(f"first choice over best: median {first.median():.2f}, at most 1.25 in {(first <= 1.25).mean():.2f}")


def main() -> None:
    """Measure every cut and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of a table's name")
    parser.add_argument("--out", default="", help="a CSV of every cut")
    options = parser.parse_args()
    lines = []
    for name, rows in listed():
        train, test = cut(rows)
        if options.only in name and len(train) >= FEWEST:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    lines.append({"table": name, "fitted": len(train)} | measure(train, test))
            except UserError as error:
                print(f"{name}: {error}")
        if options.out and lines:
            pd.DataFrame(lines).to_csv(options.out, index=False)
    report(pd.DataFrame(lines))


if __name__ == "__main__":
    main()
