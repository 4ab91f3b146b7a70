"""What in a recipe would hide a law: too few steps, a warm-up that lasts too long, rates searched at some sizes only.

warn(configs, plans)      # ['7 of 12 runs have a first mark of fewer than 500 steps, the shortest 31: ...']
"""

from collections.abc import Sequence

from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.config.sections import RunPlan
from isoflop.wording import number

# steps below which a loss tells of the start-up more than of the law, and the share of a mark that a warm-up may take:
# contrasts of exponents changed sign without the marks of 125 to 250 steps (docs/scaling.md)
FEWEST_STEPS, LONGEST_WARMUP = 500, 0.2


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
