"""Buying the runs of a paired ladder until every change is decided or the budget is spent.

    found = buy(ladder, Path("confirm/muon"), target=1e16, budget=1800.0, rule=Criterion())
    found.code      # 0 scales, 3 does not, 4 undecided

Whatever is finished is found by its run_id, so that the same call goes on where an earlier one stopped.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isoflop import files, record
from isoflop.command import RunFailedError
from isoflop.scaling import limits
from isoflop.scaling.config import resume
from isoflop.scaling.config.frozen import FrozenConfig, freeze
from isoflop.sweeps import collect
from isoflop.sweeps.compose import check
from isoflop.sweeps.launcher import LaunchSettings, launch
from isoflop.sweeps.ledger import Entry
from isoflop.sweeps.plan.ladder import BASE, LOOKS, MORE, RATES, RUNGS, Ladder
from isoflop.sweeps.plan.plan import OVERHEAD_S
from isoflop.wording import clock

if TYPE_CHECKING:
    from isoflop.analysis.confirm.comparison import Confirmation, Confirmations
    from isoflop.analysis.confirm.decide import Criterion

# by how much another rate must lower the loss: a side that takes the luckiest would win by luck at every size
CLEAR = 0.01
# the column of the table that names a run's side
ARM = "arm"


@dataclass
class Bought:
    """The runs of a ladder that are made, in a folder `out`."""

    ladder: Ladder
    out: Path
    made: dict[str, tuple[str, FrozenConfig]] = field(default_factory=dict)
    """Of each run its side and its config, by run_id."""

    def make(self, side_configs: dict[str, list[FrozenConfig]]) -> None:
        """Make the runs that are missing; RunFailedError where one is left without a result."""
        sides = {config.run_id: side for side, configs in side_configs.items() for config in configs}
        configs = check([config for configs in side_configs.values() for config in configs])
        todo = [config for config in configs if not resume.is_done(self.out / config.run_id, config)]
        for config in todo:
            limits.refuse_place(config.trainer)
            freeze(config, self.out / config.run_id)
        launch([Entry(self.out / config.run_id) for config in todo], LaunchSettings.read(self.ladder.launcher))
        if lost := [config for config in todo if not resume.is_done(self.out / config.run_id, config)]:
            raise RunFailedError(f"{len(lost)} of {len(todo)} runs failed; isoflop status {self.out} says why")
        self.made |= {config.run_id: (sides[config.run_id], config) for config in configs}

    def rows(self, run_id: str) -> list[record.Row]:
        return Entry(self.out / run_id).rows

    @property
    def seconds(self) -> float:
        """The time that they took here [s]."""
        longest = (max(row["wall_s"] or 0.0 for row in self.rows(run_id)) for run_id in self.made)
        return sum(seconds + OVERHEAD_S for seconds in longest) / self.ladder.slots

    def write(self) -> Path:
        """Write the table of all but the search for rates, with their side and their place."""
        own = [(run_id, side, config.width) for run_id, (side, config) in self.made.items() if config.seed]
        table = [row | {ARM: side, "rung": f"width={w}"} for run_id, side, w in own for row in self.rows(run_id)]
        files.write_text(self.out / "runs.csv", collect.csv_text(table))
        return self.out / "runs.csv"


def buy(ladder: Ladder, out: Path, target: float, budget: float, rule: "Criterion") -> "Confirmations":
    """Buy pairs of the ladder, into the folder `out`, until the rule decides every change at the target C, all looks
    are taken, or the budget is spent [s here]."""
    from isoflop.analysis.confirm.choose import more_pairs
    from isoflop.analysis.confirm.comparison import confirm
    from isoflop.analysis.runs.read import read_runs

    runs, undecided = Bought(ladder, out), [side for side in ladder.sides if side != BASE]
    ladder, notes = _search_rates(runs) if ladder.searches else (ladder, [])
    rule, counts = replace(rule, changes=len(undecided), looks=LOOKS), ladder.first
    known: dict[str, Confirmation] = {}
    for look in range(1, LOOKS + 1):
        runs.make({side: ladder.configs(side, counts) for side in (BASE, *undecided)})
        found = confirm(read_runs(runs.write()), [ARM], BASE, undecided, target, replace(rule, look=look))
        known |= {change.change: change for change in found.changes}
        left = budget - runs.seconds
        head = f"look {look} of {LOOKS}, {len(runs.made)} runs, {clock(max(left, 0.0))} left"
        print("\n  ".join([head, *(f"{c.change}: {c.brief}" for c in found.changes)]), file=sys.stderr, flush=True)
        undecided = [change.change for change in found.changes if change.verdict.value == "undecided"]
        judged = [decision for change in found.changes if change.change in undecided and (decision := change.decision)]
        money = min(MORE * ladder.opening, left * ladder.slots)
        more = more_pairs(judged, np.log(ladder.C), np.array(ladder.prices), money, sum(counts) // look)
        if not any(more):
            break
        counts = [have + some for have, some in zip(counts, more, strict=True)]
    changes = [replace(c, runs=replace(c.runs, notes=(*c.runs.notes, *notes))) for c in known.values()]
    return replace(found, changes=tuple(changes))


def _search_rates(runs: Bought) -> tuple[Ladder, list[str]]:
    """Return the ladder at each side's best rates at the smallest place, and what to say of them."""
    smallest, ladders = [1, *[0] * (RUNGS - 1)], {times: runs.ladder.at_rates(times) for times in RATES}
    tried = {s: {x: made.configs(s, smallest, 0)[0] for x, made in ladders.items()} for s in runs.ladder.sides}
    runs.make({side: list(configs.values()) for side, configs in tried.items()})
    best, notes = {}, []
    for side, configs in tried.items():
        losses = {times: runs.rows(config.run_id)[-1]["L"] or np.inf for times, config in configs.items()}
        least = min(losses, key=lambda times: losses[times])
        best[side] = least if losses[least] < (1 - CLEAR) * losses[1.0] else 1.0
        edge = ", at the edge of those tried" if best[side] in (RATES[0], RATES[-1]) else ""
        notes.append(f"{side}: {best[side]:g} times its own rates, the best at the smallest size{edge}")
    return replace(runs.ladder, sides={side: ladders[times].sides[side] for side, times in best.items()}), notes
