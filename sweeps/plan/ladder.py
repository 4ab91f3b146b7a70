"""A paired ladder: the same widths, marks, seeds and data order for a baseline and each change, priced beforehand.

sides = {"baseline": ["family=transformer"], "recipe=muon": ["family=transformer", "recipe=muon"]}
ladder = plan_ladder(sides, budget=1800.0, target=1e16)      # seconds here, FLOPs
ladder.configs("recipe=muon", [2, 2, 2, 1])                  # runs at each place, seeds from 1
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from isoflop.errors import UserError
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.config.sections import RunPlan
from isoflop.sweeps import costs, workers
from isoflop.sweeps.launcher import LaunchSettings
from isoflop.sweeps.plan.plan import OVERHEAD_S, Grid, composed
from isoflop.wording import clock, number

if TYPE_CHECKING:
    from isoflop.analysis.confirm.decide import Criterion

BASE = "baseline"
# what widths may be: RUNGS that follow each other make a ladder, whose runs see so many targets per parameter
WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
RUNGS, RATIO = 4, 20
# the least share of them, and that where the widths are the smallest: a budget or a target may ask for fewer
FEWER, FEWEST = 0.5, 0.1
# share of the target that the largest C may reach: steps are whole
BELOW = 0.95
# pairs of the first purchase at each place; how many looks there are; the share of the first that each later one buys
FIRST, LOOKS, MORE = (2, 2, 2, 1), 4, 0.6
# multiples of a side's own rates that are tried at the smallest place, with another seed, where that costs little
RATES, SHARE = (0.5, 1.0, 2.0), 0.1
# overrides that say something of rates
RATE_KEYS = ("family.lr", "recipe.lr", "recipe.muon_lr")


@dataclass(frozen=True)
class Ladder:
    """A planned ladder, its places from the smallest to the largest.

    sides     the overrides of each side, the baseline first
    widths    of each place
    D         training targets of a run at each place
    C         training FLOPs of the side that takes fewest, at each place
    prices    time of a run of each side together, at each place [s of a slot]
    launcher  settings of the launcher
    slots     runs at a time
    seeds     multiple of FIRST that is bought first
    searches  whether rates are searched before
    """

    sides: Mapping[str, Sequence[str]]
    widths: list[int]
    D: list[int]
    C: list[float]
    prices: list[float]
    launcher: Mapping[str, Any]
    slots: int
    seeds: int = 1
    searches: bool = False

    @property
    def first(self) -> list[int]:
        """Pairs of the first purchase at each place."""
        return [self.seeds * count for count in FIRST]

    @property
    def opening(self) -> float:
        """The time of the first purchase [s of a slot]."""
        return sum(count * price for count, price in zip(self.first, self.prices, strict=True))

    @property
    def whole(self) -> float:
        """The time of the search for rates and of all looks [s of a slot]."""
        return len(RATES) * self.prices[0] * self.searches + self.opening * (1 + MORE * (LOOKS - 1))

    def configs(self, side: str, counts: Sequence[int], first_seed: int = 1) -> list[FrozenConfig]:
        """Return the runs of a side: so many at each place."""
        places = zip(self.widths, self.D, counts, strict=True)
        return _grid(self.sides[side], [(w, D, range(first_seed, first_seed + n)) for w, D, n in places if n]).configs

    def at_rates(self, times: float) -> "Ladder":
        """Return the ladder with a multiple of each side's own rates."""
        sides = {}
        for side, words in self.sides.items():
            own = self.configs(side, [1, *[0] * (RUNGS - 1)])[0]
            rates = {"family.lr": own.family.get("lr"), "recipe.muon_lr": own.recipe.get("muon_lr")}
            sides[side] = [
                *words,
                *(f"{key}={times * x:.12g}" for key, x in rates.items() if isinstance(x, int | float)),
            ]
        return self if times == 1 else replace(self, sides=sides)


@dataclass(frozen=True)
class Price:
    """What a ladder takes, and what it could decide at a target."""

    ladder: Ladder
    target: float
    rule: "Criterion"
    code = 0

    @cached_property
    def finds(self) -> tuple[float | None, float | None]:
        """The smallest multipliers that all looks would find at the largest C and at the target; None above 10."""
        import numpy as np

        from isoflop.analysis.confirm.choose import smallest_found

        places, sides = np.log(self.ladder.C), len(self.ladder.sides)
        pairs = [round(count * (1 + MORE * (LOOKS - 1))) for count in self.ladder.first]
        rule = replace(self.rule, look=LOOKS, looks=LOOKS, changes=sides - 1)
        largest, target = (smallest_found(places, pairs, C, rule) for C in (places[-1], float(np.log(self.target))))
        return largest, target

    def refuse(self) -> None:
        """Refuse a ladder that would find nothing at the target, and say what it would find."""
        if self.finds[1] is None:
            far = f"no multiplier up to 10 would be found at --target-C {self.target:g}, one of {self.finds[0] or 10:g}"
            near = f"at the largest C that --budget pays for, {number(self.ladder.C[-1])}"
            raise UserError(f"{far} {near}; give a nearer target or more time")

    def to_json(self) -> dict[str, Any]:
        ladder, finds = self.ladder, dict(zip(("at_largest", "at_target"), self.finds, strict=True))
        times = {"first_look_s": ladder.opening / ladder.slots, "last_look_s": ladder.whole / ladder.slots}
        return {"target_C": self.target, **times, "finds": {"power": 0.8} | finds, **asdict(ladder)}

    def __str__(self) -> str:
        ladder, (largest, target) = self.ladder, (f"{m:g} or more" if m else "none up to 10" for m in self.finds)
        first, last = (clock(time / ladder.slots) for time in (ladder.opening, ladder.whole))
        lines = [f"{len(ladder.sides)} sides at {RUNGS} places: {first} to the first look, {last} to the last"]
        for width, D, C, price in zip(ladder.widths, ladder.D, ladder.C, ladder.prices, strict=True):
            lines.append(f"  width {width:<5} D {number(D):<9} C {number(C):<9} {clock(price)} for a run of each side")
        lines.append(f"  could find, of multipliers (power .8, noise .3 % a run): {largest} at the largest C,")
        return "\n".join([*lines, f"  {target} at C = {number(self.target)}, {number(self.target / C)} times as large"])


def plan_ladder(sides: Mapping[str, Sequence[str]], budget: float, target: float) -> Ladder:
    """Return the largest ladder, of each side's overrides with the baseline's first, below a target C that a budget
    pays for [s here]; UserError if there is none."""
    grid, places = _places(sides)
    launcher = {key: value for key, value in grid.launcher.items() if key != "_target_"}
    slots = len(LaunchSettings.read(launcher).slots(grid.configs[0].trainer))
    named = any(word.partition("=")[0].lstrip("+") in RATE_KEYS for words in sides.values() for word in words)
    for at in reversed(range(len(places) - RUNGS + 1)):
        widths, D, C, prices = map(list, zip(*places[at : at + RUNGS], strict=True))
        ladder = Ladder(sides, widths, D, C, prices, launcher, slots)
        share = min(1.0, (1 - SHARE) * budget * slots / ladder.whole, BELOW * target / ladder.C[-1])
        if share >= (FEWER if at else FEWEST):
            D, C, prices = ([share * x for x in of] for of in (ladder.D, ladder.C, ladder.prices))
            ladder = replace(ladder, D=list(map(round, D)), C=C, prices=prices)
            searched = replace(ladder, searches=len(RATES) * prices[0] < SHARE * budget * slots and not named)
            return replace(searched, seeds=max(1, int(budget * slots / searched.whole)))
    least, needed = number(FEWEST * ladder.C[-1]), clock(math.ceil(FEWEST * ladder.whole / slots))
    what = "--target-C" if target < FEWEST * ladder.C[-1] else "--budget"
    raise UserError(f"{what} is too small: the smallest ladder goes up to C = {least} and takes {needed}; give more")


def refuse_sides(sides: Mapping[str, Sequence[str]]) -> None:
    """Refuse changes that are the baseline or each other, and losses that do not compare."""
    whose: dict[str, str] = {}
    base = None
    for side, words in sides.items():
        (config,) = composed([*words, "budget.D=1000"]).configs
        if other := whose.get(config.run_id):
            raise UserError(f"--change {side} makes the same runs as {other}; name a change that makes others")
        whose[config.run_id] = side
        base = base or config
        other_text = (config.names.data, config.data) != (base.names.data, base.data)
        if other_text and not all(workers.calls("isoflop.scaling.estimate:bytes_per_target", [(base,), (config,)])):
            data = f"from {base.names.data} to {config.names.data}"
            raise UserError(f"--change {side} goes {data}, and only losses in bits per byte compare; both need text")


def _places(sides: Mapping[str, Sequence[str]]) -> tuple[Grid, list[tuple[int, int, float, float]]]:
    """Return the baseline's runs, and width, D, C and price of each place that all sides can make."""
    runs: dict[int, list[tuple[float, float]]] = {width: [] for width in WIDTHS}
    sizes: dict[int, int] = {}
    for words in sides.values():
        amounts = [f"family.width={','.join(map(str, WIDTHS))}", f"budget.D_per_N={RATIO}"]
        found = (
            _grid(words, [(*place, range(1, 2)) for place in sizes.items()]) if sizes else composed([*words, *amounts])
        )
        described = dict(zip((config.width for config in found.configs), costs.describe(found.configs), strict=True))
        plans = {width: plan for width, plan in described.items() if isinstance(plan, RunPlan)}
        if len(plans) < RUNGS:
            raise next(plan for plan in described.values() if isinstance(plan, UserError))
        if not sizes:
            grid, sizes = found, {width: round(RATIO * plan.N) for width, plan in plans.items()}
        able = [config for config in found.configs if config.width in plans]
        for (width, plan), seconds in zip(plans.items(), costs.seconds(able, list(plans.values())), strict=True):
            runs[width].append((plan.marks[-1].C, seconds + OVERHEAD_S))
    whole = {width: made for width, made in runs.items() if len(made) == len(sides)}
    if len(whole) < RUNGS:
        raise UserError(f"all sides can have width {', '.join(map(str, whole))}, but a ladder needs {RUNGS} widths")
    return grid, [(w, sizes[w], min(C for C, _ in made), sum(s for _, s in made)) for w, made in whole.items()]


def _grid(words: Sequence[str], places: Sequence[tuple[int, int, range]]) -> Grid:
    """Return the runs of places, each a width, its targets and its seeds, with two marks."""
    grids = [
        f"{{family.width:{width},budget.D:'[{D // 2},{D}]',seed:'{','.join(map(str, seeds))}'}}"
        for width, D, seeds in places
    ]
    return composed([*words, f"hydra.sweeper.grids=[{','.join(grids)}]"])
