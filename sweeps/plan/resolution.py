"""What the laws of a planned sweep could resolve, family by family, and which runs would inform most.

for result in outcomes(plan.marks, Question(target=1e18)): print(result)
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from isoflop import record
from isoflop.analysis.design.assumed_law import Truth
from isoflop.analysis.design.sequence import improve
from isoflop.analysis.design.simulate import Resolution, resolve
from isoflop.analysis.design.warnings import warnings
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.runs.cells import choose_law
from isoflop.analysis.runs.levels import LEVELS
from isoflop.analysis.runs.read import read_runs
from isoflop.analysis.runs.rows import usable
from isoflop.errors import FitError, UserError
from isoflop.scaling.config import identity
from isoflop.sweeps import costs

# families whose designs are simulated at most, and the time for all of them, where the first does not take it [s]
SIMULATED, SECONDS = 3, 5.0


@dataclass(frozen=True)
class Question:
    """What a plan is asked: a law ('' chooses by what varies), a stated truth, noise, a target, runs that are there."""

    law: str = ""
    truth: str = ""
    noise: float = 0.005
    target: float | None = None  # C whose loss is asked for [FLOPs]
    improve: int = 0
    runs: Path | None = None
    columns: dict[str, str] = field(default_factory=dict)  # our name -> that in the table of runs
    where: str = ""  # which of them count


@dataclass(frozen=True)
class Outcome:
    """The findings about one family's design: the resolution if a law can be fitted, warnings, the next runs."""

    family: str
    data: str
    resolution: Resolution | None
    warnings: list[str]
    next: pd.DataFrame | None = None
    seconds: float = 0.0
    """That the simulations took, now or when they were made: the same plan again simulates the same families."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        picks = None if self.next is None else self.next.to_dict("records")
        resolution = self.resolution.to_json() if self.resolution else None
        known = {"family": self.family, "data": self.data, "resolution": resolution}
        return known | {"warnings": self.warnings, "improve": picks}


def outcomes(
    marks: pd.DataFrame, question: Question, report: Callable[[float], None] = lambda share: None
) -> list[Outcome]:
    """Return what the design of each family resolves; only the first few are simulated, the others get warnings."""
    have = existing(question.runs, question.columns, question.where) if question.runs else None
    groups = list(marks.groupby(["family", "data"], sort=False))
    results, spent_s, last_s = list[Outcome](), 0.0, 0.0
    for at, ((family, data), rows) in enumerate(groups):
        mine = of_family(have, str(family), str(data))
        wanted = at == 0 or (at < SIMULATED and spent_s + last_s <= SECONDS)
        results.append(outcome(rows, mine, question, wanted, min(SIMULATED, len(groups))))
        last_s = results[-1].seconds
        spent_s += last_s
        report((at + 1) / len(groups))
    return results


def existing(path: Path, columns: dict[str, str], where: str) -> pd.DataFrame:
    """Return the existing runs; FitError if their N, D or L is not a number above 0."""
    runs = read_runs(path, columns=columns)
    runs = runs.select(where) if where else runs
    runs.numbers(["N", "D", "L"], "a plan")
    return runs.frame


def outcome(rows: pd.DataFrame, have: pd.DataFrame, question: Question, wanted: bool, of: int) -> Outcome:
    """Return what the design of one family resolves, together with the runs that exist."""
    family, data = map(str, rows[["family", "data"]].iloc[0])
    # of several rates at one point the best is kept: one row for each size, data and seed
    points = rows.drop_duplicates(["N", "D", "seed"])
    together = joined(have, points)
    law = question.law or ("chinchilla" if question.truth else choose_law(together))
    if law is None:
        if question.improve:
            raise UserError(f"--improve needs a law to improve, and {few(together)}; name one with --law")
        return Outcome(family, data, None, comparing(points))
    truth = stated(together, have, law, question)
    resolution, seconds = simulated(together, truth, question, SECONDS / of) if wanted else (None, 0.0)
    later = [] if wanted else [f"not simulated beside the others; plan family={family} alone to see what it resolves"]
    picks = None
    if question.improve:
        left = rows[~rows["done"]]
        if left.empty:
            raise UserError("--improve chooses among runs that are not made yet, and all of these are; give others")
        picks = improve(have, left, truth, target_C=question.target, n=question.improve)
        sizes = left.drop_duplicates("run_id").set_index("run_id")[[*record.DIALS, "seed"]]
        picks = picks.join(sizes, on="run_id")
    return Outcome(family, data, resolution, [*warnings(together, truth), *later], picks, seconds)


def simulated(together: pd.DataFrame, truth: Truth, question: Question, seconds: float) -> tuple[Resolution, float]:
    """Return what simulations of a design resolve and the time that they took [s], both remembered."""
    design = together.sort_values(["run_id", "N", "D"])[["N", "D"]].to_numpy(float).tolist()
    runs = pd.factorize(together.sort_values(["run_id", "N", "D"])["run_id"])[0].tolist()
    given = [truth.law, dict(truth.params), truth.noise, truth.shared, truth.source, question.target]
    key = identity.digest([design, runs, given])[:16]
    if known := costs.remembered("designs.json").get(key):
        return Resolution.from_json(known["resolution"]), float(known["seconds"])
    began = time.monotonic()
    resolution = resolve(together, truth, target_C=question.target, seconds=seconds)
    spent_s = time.monotonic() - began
    costs.remember("designs.json", {key: {"resolution": resolution.to_json(), "seconds": spent_s}})
    return resolution, spent_s


def of_family(have: pd.DataFrame | None, family: str, data: str) -> pd.DataFrame:
    """Return the finished runs of a table that belong to a family; all of them where it does not say."""
    if have is None:
        return pd.DataFrame(columns=["N", "D", "C", "L", "run_id", "seed"])
    for column, value in (("family", family), ("data", data)):
        if column in have:
            have = have[have[column] == value]
    return usable(have)


def joined(have: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Join existing and planned runs, each once."""
    columns = [c for c in ("N", "D", "C", "run_id", "seed") if c in points]
    if have.empty:
        return points[columns]
    there = have[[c for c in columns if c in have]]
    new = points[~points["run_id"].isin(there["run_id"])] if "run_id" in there else points
    return pd.concat([there, new[columns]], ignore_index=True)


def stated(together: pd.DataFrame, have: pd.DataFrame, law: str, question: Question) -> Truth:
    """Return the law that simulations draw from: the one given, one fitted to the existing runs, or a generic one."""
    if question.truth:
        return Truth.given(question.truth, law, question.noise)
    if len(have):
        with contextlib.suppress(FitError):  # too few so far
            fitted = fit(have, law)
            if fitted.status == "converged":
                return Truth.fitted(fitted)
    return Truth.assumed(together, law, question.noise)


def comparing(points: pd.DataFrame) -> list[str]:
    """Return sentences about a design to which no law can be fitted."""
    sentences = [f"no law can be fitted to these runs: {few(points)}"]
    if points["seed"].nunique() == 1:
        sentences.append("all runs have the same seed, so differences cannot be separated from noise: add seed=0,1,2")
    return sentences


def few(points: pd.DataFrame) -> str:
    """Return how many sizes and amounts of data there are, and how many a law wants."""
    sizes, data = points["N"].nunique(), points["D"].nunique()
    return f"they have {sizes} value{'s' * (sizes > 1)} of N and {data} of D, where {LEVELS} of either are needed"
