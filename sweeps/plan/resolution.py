"""What the laws of a planned sweep could resolve, family by family, and which runs would inform most.

for result in outcomes(plan.marks, PlanLaw(target=1e18)): print(result)

And what in a recipe would hide a law: too few steps, a warm-up that lasts too long, rates searched at some sizes only.

warn(configs, plans)      # ['7 of 12 runs have a first mark of fewer than 500 steps, the shortest 31: ...']
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from isoflop.analysis.runs.rows import usable
from isoflop.errors import FitError, UserError
from isoflop.scaling.config import identity
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.config.sections import RunPlan
from isoflop.sweeps import costs
from isoflop.sweeps.plan.options import PlanLaw
from isoflop.wording import number

# families whose designs are simulated at most, and the time for all of them, where the first does not take it [s]
SIMULATED, SECONDS = 3, 5.0
# steps below which a loss tells of the start-up more than of the law, and the share of a mark that a warm-up may take:
# contrasts of exponents changed sign without the marks of 125 to 250 steps (docs/scaling.md)
FEWEST_STEPS, LONGEST_WARMUP = 500, 0.2


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
        picks = None if self.next is None else self.next.to_dict("records")
        resolution = self.resolution.to_json() if self.resolution else None
        known = {"family": self.family, "data": self.data, "resolution": resolution}
        return known | {"warnings": self.warnings, "improve": picks}


def outcomes(
    marks: pd.DataFrame,
    asked: PlanLaw,
    have: pd.DataFrame | None = None,
    report: Callable[[float], None] = lambda share: None,
) -> list[Outcome]:
    """Return what the design of each family, with the runs that exist, resolves; only the first few are simulated."""
    groups = list(marks.groupby(["family", "data"], sort=False))
    results, spent_s, last_s = list[Outcome](), 0.0, 0.0
    for at, ((family, data), rows) in enumerate(groups):
        mine = _of_family(have, str(family), str(data))
        wanted = at == 0 or (at < SIMULATED and spent_s + last_s <= SECONDS)
        results.append(_outcome(rows, mine, asked, SECONDS / min(SIMULATED, len(groups)) if wanted else 0.0))
        last_s = results[-1].seconds
        spent_s += last_s
        report((at + 1) / len(groups))
    return results


def _outcome(rows: pd.DataFrame, have: pd.DataFrame, asked: PlanLaw, limit_s: float) -> Outcome:
    """Return what the design of one family resolves, with the runs that exist; limit_s: for its simulations."""
    family, data = map(str, rows[["family", "data"]].iloc[0])
    # of several rates at one point the best is kept: one row for each size, data and seed
    points = rows.drop_duplicates(["N", "D", "seed"])
    together = _joined(have, points)
    law = asked.law or ("chinchilla" if asked.truth else choose_law(together))
    if law is None:
        if asked.improve:
            raise UserError(f"--improve needs a law to improve, and {_few(together)}; name one with --law")
        sentences = [f"no law can be fitted to these runs: {_few(points)}"]
        if points["seed"].nunique() == 1:
            sentences += ["all runs have the same seed, so differences cannot be separated from noise: add seed=0,1,2"]
        return Outcome(family, data, None, sentences)
    truth = _stated(together, have, law, asked)
    resolution, seconds = _simulated(together, truth, asked.target, limit_s) if limit_s else (None, 0.0)
    later = [] if limit_s else [f"not simulated beside the others; plan family={family} alone to see what it resolves"]
    picks = None
    if asked.improve:
        left = rows[~rows["done"]]
        if left.empty:
            raise UserError("--improve chooses among runs that are not made yet, and all of these are; give others")
        picks = improve(have, left, truth, target_C=asked.target, n=asked.improve)
        sizes = left.drop_duplicates("run_id").set_index("run_id")[[*record.DIALS, "seed"]]
        picks = picks.join(sizes, on="run_id")
    return Outcome(family, data, resolution, [*warnings(together, truth), *later], picks, seconds)


def _simulated(together: pd.DataFrame, truth: Truth, target: float | None, limit_s: float) -> tuple[Resolution, float]:
    """Return what simulations of a design resolve and the time that they took [s], both remembered."""
    rows = together.sort_values(["run_id", "N", "D"])
    design, runs = rows[["N", "D"]].to_numpy(float).tolist(), pd.factorize(rows["run_id"])[0].tolist()
    given = [truth.law, dict(truth.params), truth.noise, truth.shared, truth.source, target]
    key = identity.digest([design, runs, given])[:16]
    if known := costs.remembered("designs.json").get(key):
        return Resolution.from_json(known["resolution"]), float(known["seconds"])
    began = time.monotonic()
    resolution = resolve(together, truth, target_C=target, seconds=limit_s)
    spent_s = time.monotonic() - began
    costs.remember("designs.json", {key: {"resolution": resolution.to_json(), "seconds": spent_s}})
    return resolution, spent_s


def _of_family(have: pd.DataFrame | None, family: str, data: str) -> pd.DataFrame:
    """Return the finished runs of a table that belong to a family; all of them where it does not say."""
    if have is None:
        return pd.DataFrame(columns=["N", "D", "C", "L", "run_id", "seed"])
    for column, value in (("family", family), ("data", data)):
        if column in have:
            have = have[have[column] == value]
    return usable(have)


def _joined(have: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    columns = [c for c in ("N", "D", "C", "run_id", "seed") if c in points]
    if have.empty:
        return points[columns]
    there = have[[c for c in columns if c in have]]
    new = points[~points["run_id"].isin(there["run_id"])] if "run_id" in there else points
    return pd.concat([there, new[columns]], ignore_index=True)


def _stated(together: pd.DataFrame, have: pd.DataFrame, law: str, asked: PlanLaw) -> Truth:
    """Return the law that simulations draw from: the one given, one fitted to the existing runs, or a generic one."""
    if asked.truth:
        return Truth.given(asked.truth, law, asked.noise)
    if len(have):
        with contextlib.suppress(FitError):  # too few so far
            fitted = fit(have, law)
            if fitted.status == "converged":
                return Truth.fitted(fitted)
    return Truth.assumed(together, law, asked.noise)


def _few(points: pd.DataFrame) -> str:
    sizes, data = points["N"].nunique(), points["D"].nunique()
    return f"they have {sizes} value{'s' * (sizes > 1)} of N and {data} of D, where {LEVELS} of either are needed"


def warn(configs: Sequence[FrozenConfig], plans: Sequence[RunPlan]) -> list[str]:
    """Return a sentence for each of these that some of the runs do."""
    shortest = [min(mark.C for mark in plan.marks) / plan.step_C for plan in plans]
    short = [steps for steps in shortest if round(steps) < FEWEST_STEPS]
    shares = [_warmup(config, steps) for config, steps in zip(configs, shortest, strict=True)]
    long = [share for share in shares if share > LONGEST_WARMUP]
    warnings, of = [], f"of {len(plans)} runs"
    if short:
        have = "has a first mark" if len(short) == 1 else "have first marks"
        warnings.append(
            f"{len(short)} {of} {have} of fewer than {FEWEST_STEPS} steps, the shortest {min(short):.0f}: its loss "
            "tells of the start-up; raise the least budget, or lower recipe.batch"
        )
    if long:
        warnings.append(
            f"the warm-up of {len(long)} {of} takes more than a fifth of the first mark, up to {number(max(long))} "
            "of it: lower recipe.warmup_steps, or raise the least budget"
        )
    return [*warnings, *_searched(configs, plans)]


def _warmup(config: FrozenConfig, steps: float) -> float:
    """Return the share of a run's first mark, of so many steps, that its warm-up takes."""
    given = config.recipe.get("warmup_steps")
    return float(config.recipe.get("warmup") or 0) if given is None else float(given) / max(steps, 1)


def _searched(configs: Sequence[FrozenConfig], plans: Sequence[RunPlan]) -> list[str]:
    """Return a sentence for each family whose rate is searched at some sizes and not at others."""
    rates: dict[tuple[str, str], dict[int, set[float]]] = {}
    for config, plan in zip(configs, plans, strict=True):
        rates.setdefault((config.names.family, config.names.data), {}).setdefault(plan.N, set()).add(plan.lr)
    warnings = []
    for (family, data), sizes in rates.items():
        some = sum(len(found) > 1 for found in sizes.values())
        if 0 < some < len(sizes):
            warnings.append(
                f"{family} on {data}: the rate is searched at {some} of {len(sizes)} sizes, whose best losses are "
                "lower for it; search it at all sizes, or at none"
            )
    return warnings
