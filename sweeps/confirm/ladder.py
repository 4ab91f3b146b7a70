"""A paired ladder: the same widths, marks, seeds and data order for a baseline and each change, priced beforehand.

sides = {"baseline": ["family=transformer"], "recipe=muon": ["family=transformer", "recipe=muon"]}
ladder = plan_ladder(sides, budget=1800.0, target=1e16, risk=0.05)      # seconds here, FLOPs
ladder.configs("recipe=muon", [2, 2, 2, 1])                  # runs at each place, seeds from 1
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from isoflop.errors import UserError
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.config.sections import RunPlan
from isoflop.sweeps import costs, workers
from isoflop.sweeps.compose import check
from isoflop.sweeps.launcher import LaunchSettings
from isoflop.sweeps.plan.plan import OVERHEAD_S, composed
from isoflop.wording import clock, number

BASE = "baseline"
# what widths may be: RUNGS that follow each other make a ladder, whose runs see so many targets per parameter
WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
RUNGS, RATIOS = 4, (20, 10, 5, 2)
# pairs of the first purchase at each place; how many looks there are; the share of the first that each later one buys
FIRST, LOOKS, MORE = (2, 2, 2, 1), 4, 0.6
# multiples of a side's own rates that are tried at the smallest place, with another seed, where that costs little
RATES, SHARE = (0.5, 1.0, 2.0), 0.1
# share of what a ladder takes, if a change is as dear as the baseline, that it surely takes
SURELY = 0.7


@dataclass(frozen=True)
class Place:
    """A place in a ladder.

    width    the family's dial
    D        training targets of the marks, ascending
    C        training FLOPs of each side
    seconds  time of a run of each side
    """

    width: int
    D: tuple[int, ...]
    C: tuple[float, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Ladder:
    """A planned ladder.

    sides     the overrides of each side, the baseline first
    places    from the smallest to the largest
    first     pairs of the first purchase at each place
    launcher  settings of the launcher
    slots     runs at a time
    searches  whether rates are searched before
    """

    sides: Mapping[str, Sequence[str]]
    places: tuple[Place, ...]
    launcher: Mapping[str, Any]
    slots: int
    first: tuple[int, ...] = FIRST
    searches: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Ladder":
        """Read what `asdict` made."""
        places = (Place(p["width"], *(tuple(p[name]) for name in ("D", "C", "seconds"))) for p in data["places"])
        return cls(**{**data, "places": tuple(places), "first": tuple(data["first"])})

    @property
    def prices(self) -> list[float]:
        """The time of a run of each side at each place [s of a slot]."""
        return [sum(place.seconds) for place in self.places]

    @property
    def opening(self) -> float:
        """The time of the first purchase [s of a slot]."""
        return _dot(self.first, self.prices)

    @property
    def search(self) -> float:
        """The time of the search for rates [s of a slot]."""
        return len(RATES) * self.prices[0] if self.searches else 0.0

    @property
    def whole(self) -> float:
        """The time of the search and of all looks [s of a slot]."""
        return self.search + self.opening * (1 + MORE * (LOOKS - 1))

    @property
    def pairs(self) -> list[int]:
        """How many pairs all looks buy at each place, about."""
        return [round(count * (1 + MORE * (LOOKS - 1))) for count in self.first]

    @property
    def top(self) -> float:
        """The largest C that all sides reach."""
        return min(self.places[-1].C)

    def finds(self, target: float, risk: float) -> tuple[float | None, float | None]:
        """Return the smallest multipliers that all looks would find at a target and at the largest C."""
        import numpy as np

        from isoflop.analysis.confirm.decide import Criterion
        from isoflop.analysis.confirm.power import smallest_found

        rule = Criterion(risk=risk, look=LOOKS, looks=LOOKS, changes=len(self.sides) - 1)
        places = np.log([min(place.C) for place in self.places])
        return smallest_found(places, self.pairs, float(np.log(target)), rule)

    def could(self, target: float, risk: float) -> str:
        """Say which multipliers all looks would find."""
        at_target, at_top = (f"one of {m:g}" if m else "none up to 10" for m in self.finds(target, risk))
        return f"{at_top} at C = {number(self.top)}, {at_target} at C = {number(target)}"

    def configs(self, side: str, counts: Sequence[int], times: float = 1.0, first_seed: int = 1) -> list[FrozenConfig]:
        """Return the runs of a side: so many at each place, at this multiple of its own rates."""
        grids = [
            _grid(place.width, place.D, range(first_seed, first_seed + count))
            for place, count in zip(self.places, counts, strict=True)
            if count
        ]
        words = [*self.sides[side], f"hydra.sweeper.grids=[{','.join(grids)}]"]
        found = composed(words).configs
        return found if times == 1 else composed([*words, *_scaled(found[0], times)]).configs


def plan_ladder(sides: Mapping[str, Sequence[str]], budget: float, target: float, risk: float) -> Ladder:
    """Return the largest ladder below a target that a budget pays for; UserError if there is none.

    sides    the overrides of each side, the baseline first
    budget   time here [s]
    target   the C at which to know the multiplier
    risk     the largest chance of a false verdict
    """
    ladder = None
    for ladder in _ladders(sides, budget, target):
        if ladder.top <= target and ladder.whole <= budget * ladder.slots:
            seeds = max(1, int(budget * ladder.slots / ladder.whole))
            fuller = replace(ladder, first=tuple(seeds * count for count in ladder.first))
            searches = _may_search(sides) and len(RATES) * ladder.prices[0] < SHARE * budget * ladder.slots
            searched = replace(fuller, searches=searches)
            return searched if searched.whole <= budget * ladder.slots else fuller
    assert ladder is not None
    top = number(ladder.top)
    if ladder.top > target:
        raise UserError(f"--target-C {target:g} lies below the smallest ladder, which ends at C = {top}; give more")
    needed = clock(math.ceil(ladder.whole / ladder.slots))
    short = f"--budget {clock(budget)} is too short: the smallest ladder, up to C = {top}, takes {needed}"
    raise UserError(f"{short} and could find {ladder.could(target, risk)}")


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


def _ladders(sides: Mapping[str, Sequence[str]], budget: float, target: float) -> Iterator[Ladder]:
    """Yield ladders that by the baseline alone could do, from the largest on, and at the end the smallest there is."""
    base = next(iter(sides.values()))
    grid = composed([*base, f"family.width={','.join(map(str, WIDTHS))}", f"budget.D_per_N={RATIOS[0]}"])
    plans = costs.describe(grid.configs)
    able = [(c, plan) for c, plan in zip(grid.configs, plans, strict=True) if isinstance(plan, RunPlan)]
    if len(able) < RUNGS:
        raise UserError(str(next(plan for plan in plans if isinstance(plan, UserError))))
    configs, fit = [c for c, _ in able], [plan for _, plan in able]
    seconds = costs.seconds(configs, fit)
    launcher = {key: value for key, value in grid.launcher.items() if key != "_target_"}
    slots = len(LaunchSettings.read(launcher).slots(configs[0].trainer))
    for ratio in RATIOS:
        for at in reversed(range(len(able) - RUNGS + 1)):
            share, last = ratio / RATIOS[0], fit[at + RUNGS - 1]
            time = _dot(FIRST, seconds[at : at + RUNGS]) * (1 + MORE * (LOOKS - 1)) * len(sides) * share
            able_to = SURELY * time <= budget * slots and SURELY * last.C * share <= target
            if able_to or (ratio, at) == (RATIOS[-1], 0):
                sizes = {c.width: round(ratio * plan.N) for c, plan in able[at : at + RUNGS]}
                places = priced(sides, sizes)
                yield Ladder(sides, places, launcher, slots)


def priced(sides: Mapping[str, Sequence[str]], sizes: Mapping[int, int]) -> tuple[Place, ...]:
    """Return places of these widths and targets, with the C and the time of every run."""
    marks = {width: (D // 2, D) for width, D in sizes.items()}
    C, seconds = [], []
    for words in sides.values():
        grids = ",".join(_grid(width, D, range(1, 2)) for width, D in marks.items())
        configs = check(composed([*words, f"hydra.sweeper.grids=[{grids}]"]).configs)
        plans = [config.plan for config in configs if config.plan]
        C.append([plan.marks[-1].C for plan in plans])
        seconds.append([s + OVERHEAD_S for s in costs.seconds(configs, plans)])
    places = zip(marks.items(), zip(*C, strict=True), zip(*seconds, strict=True), strict=True)
    return tuple(Place(width, D, each, times) for (width, D), each, times in places)


def _dot(counts: Sequence[int], prices: Sequence[float]) -> float:
    return sum(count * price for count, price in zip(counts, prices, strict=True))


def _grid(width: int, D: Sequence[int], seeds: range) -> str:
    """Return the runs of a place as a grid of the sweeper."""
    return f"{{family.width:{width},budget.D:'[{','.join(map(str, D))}]',seed:'{','.join(map(str, seeds))}'}}"


def _may_search(sides: Mapping[str, Sequence[str]]) -> bool:
    """Return whether no side says anything of rates itself."""
    keys = {word.partition("=")[0].lstrip("+") for words in sides.values() for word in words}
    return not keys & {"family.lr", "recipe.lr", "recipe.muon_lr"}


def _scaled(config: FrozenConfig, times: float) -> list[str]:
    """Return the overrides that multiply a run's rates."""
    knobs = {"family.lr": config.family.get("lr"), "recipe.muon_lr": config.recipe.get("muon_lr")}
    return [f"{key}={value * times:.12g}" for key, value in knobs.items() if isinstance(value, int | float)]
