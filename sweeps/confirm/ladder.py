"""A paired ladder: the same widths, marks, seeds and data order for a baseline and each change, priced beforehand.

sides = {"baseline": ["family=transformer"], "recipe=muon": ["family=transformer", "recipe=muon"]}
ladder = plan_ladder(sides, budget=1800.0, target=1e16, rule=Criterion())      # seconds here, FLOPs
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
RUNGS, RATIOS = 4, (20, 10, 5, 2)
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

    def finds(self, C: float, rule: "Criterion") -> float | None:
        """Return the smallest multiplier that all looks would find at a target of this C."""
        import numpy as np

        from isoflop.analysis.confirm.power import smallest_found

        pairs = [round(count * (1 + MORE * (LOOKS - 1))) for count in self.first]
        rule = replace(rule, look=LOOKS, looks=LOOKS, changes=len(self.sides) - 1)
        return smallest_found(np.log(self.C), pairs, float(np.log(C)), rule)

    def configs(self, side: str, counts: Sequence[int], times: float = 1.0, first_seed: int = 1) -> list[FrozenConfig]:
        """Return the runs of a side: so many at each place, at this multiple of its own rates."""
        places = zip(self.widths, self.D, counts, strict=True)
        found = _grid(self.sides[side], [(w, D, range(first_seed, first_seed + n)) for w, D, n in places if n]).configs
        if times == 1:
            return found
        knobs = {"family.lr": found[0].family.get("lr"), "recipe.muon_lr": found[0].recipe.get("muon_lr")}
        rates = [f"{key}={value * times:.12g}" for key, value in knobs.items() if isinstance(value, int | float)]
        return replace(self, sides={side: [*self.sides[side], *rates]}).configs(side, counts, first_seed=first_seed)


@dataclass(frozen=True)
class Price:
    """What a ladder takes, and what it could decide at a target."""

    ladder: Ladder
    target: float
    rule: "Criterion"
    code = 0

    @cached_property
    def finds(self) -> tuple[float | None, float | None]:
        """The smallest multipliers that it would find at its largest C and at the target; None above 10."""
        return self.ladder.finds(self.ladder.C[-1], self.rule), self.ladder.finds(self.target, self.rule)

    def refuse(self) -> None:
        """Refuse a ladder that would find nothing at the target, and say what it would."""
        top = self.ladder.C[-1]
        if self.finds[1] is not None:
            return
        nearer = (top * 10.0**power for power in reversed(range(math.ceil(math.log10(self.target / top)))))
        could = next(
            (
                f"one of {m:g} would be found at C = {number(C)}"
                for C in nearer
                if (m := self.ladder.finds(C, self.rule))
            ),
            "none",
        )
        lacking = f"no multiplier up to 10 would be found at --target-C {self.target:g} by a ladder that ends at"
        raise UserError(f"{lacking} C = {number(top)}; {could}: give that target or a longer --budget")

    def to_json(self) -> dict[str, Any]:
        """Return plain data; times in seconds here."""
        ladder, (largest, target) = self.ladder, self.finds
        times = {"first_look_s": ladder.opening / ladder.slots, "last_look_s": ladder.whole / ladder.slots}
        finds = {"power": 0.8, "at_largest": largest, "at_target": target}
        return {"target_C": self.target, **times, "finds": finds, **asdict(ladder)}

    def __str__(self) -> str:
        ladder, (largest, target) = self.ladder, (f"{m:g} or more" if m else "none up to 10" for m in self.finds)
        first, last = (clock(time / ladder.slots) for time in (ladder.opening, ladder.whole))
        lines = [f"{len(ladder.sides)} sides at {RUNGS} places: {first} to the first look, {last} to the last"]
        for width, D, C, price in zip(ladder.widths, ladder.D, ladder.C, ladder.prices, strict=True):
            lines.append(f"  width {width:<5} D {number(D):<9} C {number(C):<9} {clock(price)} for a run of each side")
        lines.append(f"  could find, of multipliers (power .8, noise .3 % a run): {largest} at the largest C,")
        return "\n".join([*lines, f"  {target} at C = {number(self.target)}, {number(self.target / C)} times as large"])


def plan_ladder(sides: Mapping[str, Sequence[str]], budget: float, target: float) -> Ladder:
    """Return the largest ladder below a target that a budget pays for; UserError if there is none.

    sides    the overrides of each side, the baseline first
    budget   time here [s]
    target   the C at which to know the multiplier
    """
    grid, places = _places(sides, target)
    launcher = {key: value for key, value in grid.launcher.items() if key != "_target_"}
    slots = len(LaunchSettings.read(launcher).slots(grid.configs[0].trainer))
    named = any(word.partition("=")[0].lstrip("+") in RATE_KEYS for words in sides.values() for word in words)
    ladder = None
    for ratio in RATIOS:
        rungs = places[ratio]
        for at in reversed(range(len(rungs) - RUNGS + 1)):
            ladder = Ladder(sides, *map(list, zip(*rungs[at : at + RUNGS], strict=True)), launcher, slots)
            if ladder.C[-1] <= target and ladder.whole <= budget * slots:
                ladder = replace(ladder, seeds=int(budget * slots / ladder.whole))
                searched = replace(ladder, searches=not named)
                dear = len(RATES) * ladder.prices[0] > SHARE * budget * slots or searched.whole > budget * slots
                return ladder if dear else searched
    if ladder is None or ladder.C[-1] > target:
        raise UserError(f"--target-C {target:g} lies below the smallest ladder that these sides can make; give more")
    needed, top = clock(ladder.whole / slots), number(ladder.C[-1])
    short = f"--budget {clock(budget)} is too short: the smallest ladder, up to C = {top}, takes {needed}"
    raise UserError(f"{short}; give more time or smaller families")


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


def _places(sides: Mapping[str, Sequence[str]], target: float) -> tuple[Grid, dict[int, list[tuple[Any, ...]]]]:
    """Return the baseline's runs, and of each ratio the width, D, C and price of the places that all sides can make."""
    base = next(iter(sides.values()))
    grid = composed([*base, f"family.width={','.join(map(str, WIDTHS))}", f"budget.D_per_N={RATIOS[0]}"])
    share, plans = RATIOS[-1] / RATIOS[0], costs.describe(grid.configs)
    sizes = {c.width: p.N for c, p in zip(grid.configs, plans, strict=True) if not isinstance(p, UserError)}
    if len(sizes) < RUNGS:
        raise next(plan for plan in plans if isinstance(plan, UserError))
    near = [p.C * share <= target for p in plans if isinstance(p, RunPlan)]
    sizes = dict(list(sizes.items())[: max(sum(near), RUNGS)])
    rungs = {ratio: {width: round(ratio * N) for width, N in sizes.items()} for ratio in RATIOS}
    known: dict[tuple[int, float], list[tuple[float, float]]] = {}
    for side, words in sides.items():
        configs = _grid(words, [(w, D, range(1, 2)) for of in rungs.values() for w, D in of.items()]).configs
        described = zip(configs, costs.describe(configs), strict=True)
        able = [(config, plan) for config, plan in described if isinstance(plan, RunPlan)]
        if not able:
            raise UserError(f"{side} cannot be trained at widths {', '.join(map(str, sizes))}; choose other overrides")
        seconds = costs.seconds([config for config, _ in able], [plan for _, plan in able])
        for (config, plan), time in zip(able, seconds, strict=True):
            place = known.setdefault((config.width, config.budget.values[-1]), [])
            place.append((plan.marks[-1].C, time + OVERHEAD_S))
    return grid, {
        ratio: [
            (width, D, min(C for C, _ in runs), sum(time for _, time in runs))
            for width, D in of.items()
            if len(runs := known.get((width, D), [])) == len(sides)
        ]
        for ratio, of in rungs.items()
    }


def _grid(words: Sequence[str], places: Sequence[tuple[int, int, range]]) -> Grid:
    """Return the runs of places, each a width, its targets and its seeds, with two marks."""
    grids = [
        f"{{family.width:{width},budget.D:'[{D // 2},{D}]',seed:'{','.join(map(str, seeds))}'}}"
        for width, D, seeds in places
    ]
    return composed([*words, f"hydra.sweeper.grids=[{','.join(grids)}]"])
