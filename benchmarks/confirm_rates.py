"""How often `isoflop confirm` is wrong, how often it decides, and what that costs: simulated ladders, public tables.

    OMP_NUM_THREADS=1 python benchmarks/confirm_rates.py [--ladders 200] [--out confirm_rates.jsonl]
    OMP_NUM_THREADS=1 python benchmarks/confirm_rates.py --training [--ladders 200] [--out confirm_training.jsonl]
    ISOFLOP_REFERENCE_DATA=... python benchmarks/confirm_rates.py --tables
    python benchmarks/confirm_rates.py --controls studies/scaling/runs.csv

A ladder has LEVELS levels of C, each STEP times the one before. Its runs come in pairs that share a seed; the first
purchase is one pair at every level and a second at all but the largest, and each later look buys the pairs that narrow
the multiplier at the target most for their cost, until the verdict is known or the last look. A fixed ladder has the
same number of seeds at every level and one look. Blocks of ladders are appended to the file as they are done, and are
not made again.
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from isoflop.analysis.confirm.choose import more_pairs, next_pairs
from isoflop.analysis.confirm.comparison import confirm
from isoflop.analysis.confirm.decide import Criterion, Judgement, Verdict, decide
from isoflop.analysis.confirm.multiplier import Points
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.sweeps.plan import buying, ladder

# the baseline L = E + A (C / C0)^-G, and its ladder
E, A, G, LEVELS, STEP = 1.7, 1.8, 0.12, 5, 4.0
PLACES = np.log(STEP) * np.arange(LEVELS)
# of a pair, in the cost of the smallest run; what is before and after training costs as much as EXTRA of them
EXTRA = 10.0
COSTS = 2 * (STEP ** np.arange(LEVELS) + EXTRA)
# the target, this many times the largest C
BEYOND = float(np.log(20))
GOAL = float(PLACES[-1]) + BEYOND
# sd of ln L: what two runs of a seed share, and each alone
SHARED, ALONE = 0.005, 0.003
LOOKS, WORTH, BLOCK = 6, 1.05, 100
# what the first look has bought, and by how much each later one exceeds it, in pairs at the largest level
FIRST = np.array([2] * (LEVELS - 1) + [1])
MORE = 0.75
RULES = [Criterion(WORTH, look=look, looks=LOOKS) for look in range(1, LOOKS + 1)]
# the training form's: a width of 16, 32, 48 and 64 makes C grow about so, from one place to the next
TRAINED = np.log([1.0, 9.0, 37.0, 102.0])
PRICES = 2 * (np.exp(TRAINED) + EXTRA)
TRAINED_GOAL = float(TRAINED[-1]) + BEYOND
RATE_COST = 0.004
# seeds at every level of the fixed ladders
SEEDS = (1, 2, 3, 4, 6, 8)
# instead of a number of seeds, ladders as the training form buys them
TRAINING = -1


@dataclass(frozen=True)
class Scenario:
    """What is true of a change.

    gain     ln of its multiplier at ln C
    grows    by how much noise is larger at the largest level than at the smallest
    marks    rows of each run
    floor    by how much its irreducible loss is higher
    """

    gain: Callable[[np.ndarray], np.ndarray]
    grows: float = 1.0
    marks: int = 1
    floor: float = 0.0

    @property
    def truth(self) -> float:
        """The multiplier at the target; 0 where the baseline reaches the loss at no compute."""
        return self.truth_at(GOAL)

    def truth_at(self, goal: float) -> float:
        """Return the multiplier at ln C = `goal`."""
        above = A * np.exp(-G * (goal + self.gain(np.array(goal)))) + self.floor
        return float(np.exp(-np.log(above / A) / G - goal)) if above > 0 else np.inf

    def draw(
        self, counts: np.ndarray, random: np.random.Generator, unit: int = 0, places: np.ndarray = PLACES
    ) -> Points:
        """Return the rows of pairs, `counts` of them at each place, numbered from `unit`."""
        pairs = np.repeat(places, counts)
        x = (pairs[:, None] - np.log(2) * np.arange(self.marks)[::-1]).ravel()
        n, units = len(pairs), unit + np.repeat(np.arange(len(pairs)), self.marks)
        # marks of a run share most of what it is off
        sd = self.grows ** (x / places[-1])
        own = [0.0 if self.marks == 1 else np.repeat(random.standard_normal(n), self.marks) for _ in range(2)]
        alone = [ALONE * ((0.8**0.5 if self.marks > 1 else 0) * o + (0.2**0.5 if self.marks > 1 else 1)
                          * random.standard_normal(len(x))) for o in own]  # fmt: skip
        shared = SHARED * np.repeat(random.standard_normal(n), self.marks)
        losses = [E + A * np.exp(-G * x), E + self.floor + A * np.exp(-G * (x + self.gain(x)))]
        y = [np.log(loss) + sd * (shared + noise) for loss, noise in zip(losses, alone, strict=True)]
        return Points(np.tile(x, 2), np.concatenate(y), np.repeat([False, True], len(x)), np.tile(units, 2))


def constant(multiplier: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return a gain that is the same at every C."""
    return lambda x: np.log(multiplier) + 0 * x


SCENARIOS = {
    "no difference": Scenario(constant(1)),
    "no difference, noise grows 4 times": Scenario(constant(1), grows=4),
    "no difference, noise falls 4 times": Scenario(constant(1), grows=1 / 4),
    "no difference, three marks a run": Scenario(constant(1), marks=3),
    "1.5 when small, vanishes": Scenario(lambda x: np.log(1.5) * np.exp(-0.6 * x)),
    "1.35 when small, a worse exponent": Scenario(lambda x: 0.3 - 0.05 * x),
    "1.5 when small, a higher floor": Scenario(constant(1.5), floor=0.04),
    "1.5 when small, settles at 1.1": Scenario(lambda x: np.log(1.1) + np.log(1.5 / 1.1) * np.exp(-0.6 * x)),
    "just worth it: 1.05": Scenario(constant(WORTH)),
    "0.72 when small, a better exponent": Scenario(lambda x: -0.325 + 0.05 * x),
    "1.3 at every C": Scenario(constant(1.3)),
    "1.3, noise grows 4 times": Scenario(constant(1.3), grows=4),
    "1.3, three marks a run": Scenario(constant(1.3), marks=3),
    "1.1, and growing to 1.8": Scenario(lambda x: 0.1 + 0.058 * x),
    "0.8 at every C": Scenario(constant(0.8)),
    "rises to 1.43, falls to 0.97": Scenario(lambda x: np.log(1.5) * np.exp(-np.square((x - 2.8) / 1.6)) - 0.05),
}


def joined(one: Points, other: Points) -> Points:
    """Return the rows of both."""
    return Points(*(np.concatenate([getattr(one, k), getattr(other, k)]) for k in ("x", "y", "new", "unit")))


def sequential(scenario: Scenario, random: np.random.Generator) -> tuple[Judgement, float]:
    """Return the decision at the look that gave it, or at the last, and what was spent."""
    points, spent = scenario.draw(FIRST, random), float(FIRST @ COSTS)
    for look in range(1, LOOKS + 1):
        decision = decide(points, GOAL, RULES[look - 1])
        if decision.verdict is not Verdict.UNDECIDED or look == LOOKS:
            break
        counts = next_pairs(decision.line, PLACES, COSTS, GOAL, MORE * COSTS[-1])
        points = joined(points, scenario.draw(counts, random, points.unit.max() + 1))
        spent += float(counts @ COSTS)
    return decision, spent


def trained(scenario: Scenario, random: np.random.Generator) -> tuple[Judgement, float]:
    """Return the decision of the training form at the look that gave it, or at the last, and what was spent."""
    scenario = replace(scenario, marks=2)
    # at the smallest place one run of each side at each rate, all of one seed: what they share decides nothing
    costs = RATE_COST * np.square(np.log2(ladder.RATES))
    noise = ALONE * random.standard_normal((2, len(costs)))
    tried = costs + noise - np.where(np.array(ladder.RATES) == 1, buying.CLEAR, 0.0)
    old, new = costs[tried.argmin(1)]
    counts = more = np.array(ladder.FIRST)
    points, spent = None, len(costs) * PRICES[0]
    for look in range(1, ladder.LOOKS + 1):
        drawn = scenario.draw(more, random, int(counts.sum() - more.sum()), TRAINED)
        bought = replace(drawn, y=drawn.y + np.where(drawn.new, new, old))
        points, spent = joined(points, bought) if points else bought, spent + float(more @ PRICES)
        decision = decide(points, TRAINED_GOAL, Criterion(WORTH, look=look, looks=ladder.LOOKS))
        money = ladder.MORE * float(np.array(ladder.FIRST) @ PRICES)
        undecided = [decision] if decision.verdict is Verdict.UNDECIDED else []
        more = np.array(more_pairs(undecided, TRAINED, PRICES, money, int(counts.sum()) // look))
        if not more.any():
            break
        counts = counts + more
    return decision, spent


def block(name: str, number: int, seeds: int) -> dict[str, float]:
    """Return the verdicts and the cost of BLOCK ladders: sequential where `seeds` is 0, fixed above, else trained."""
    random = np.random.default_rng([list(SCENARIOS).index(name), number, seeds % 2**32])
    counts: Counter[str] = Counter()
    cost = held = 0.0
    for _ in range(BLOCK):
        if seeds == TRAINING:
            decision, spent = trained(SCENARIOS[name], random)
        elif seeds:
            points = SCENARIOS[name].draw(np.full(LEVELS, seeds), random)
            decision, spent = decide(points, GOAL, Criterion(WORTH)), float(seeds * COSTS.sum())
        else:
            decision, spent = sequential(SCENARIOS[name], random)
        counts[decision.verdict] += 1
        cost += spent
        low, high = decision.target.low or 0.0, decision.target.high or np.inf
        held += low <= SCENARIOS[name].truth_at(decision.goal) <= high
    return {v.value: counts[v] / BLOCK for v in Verdict} | {"cost": cost / BLOCK, "held": held / BLOCK}


def simulate(out: Path, ladders: int, fixed: int, training: bool = False) -> Iterator[dict[str, object]]:
    """Yield the blocks of every scenario, from the file those that are done."""
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    have = {(row["scenario"], row["block"], row["seeds"]): row for row in done}
    for name in SCENARIOS:
        powered = name.startswith(("1.3 at", "0.8", "rises"))
        for seeds in (TRAINING,) if training else (0, *(SEEDS if powered else ())):
            for number in range((fixed if seeds > 0 else ladders) // BLOCK):
                if (name, number, seeds) not in have:
                    row = {"scenario": name, "block": number, "seeds": seeds} | block(name, number, seeds)
                    with out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    have[name, number, seeds] = row
                yield have[name, number, seeds]


def table(rows: list[dict[str, object]]) -> str:
    """Return the rates as a table in Markdown, a row for each scenario and kind of ladder."""
    lines = ["| scenario | truth at the target | ladder | scales | does not | undecided | held | cost |", "|---|" * 8]
    means = pd.DataFrame(rows).groupby(["scenario", "seeds"], sort=False).mean()
    for (name, seeds), row in means.iterrows():
        kind = f"{seeds} seeds" if seeds > 0 else "trained" if seeds else "sequential"
        goal, one = (TRAINED_GOAL, PRICES.sum()) if seeds < 0 else (GOAL, COSTS.sum())
        rates = " | ".join(f"{100 * row[k]:.1f} %" for k in ("scales", "does_not", "undecided", "held"))
        lines.append(f"| {name} | {SCENARIOS[name].truth_at(goal):.3g} | {kind} | {rates} | {row['cost'] / one:.2f} |")
    return "\n".join(lines)


def public(folder: Path) -> Iterator[tuple[str, pd.DataFrame, tuple[str, str]]]:
    """Yield published tables with a column `change`, and pairs of its values to compare."""
    porian = pd.read_csv(folder / "formll__resolving-scaling-law-discrepancies" / "isoflop_points.csv")
    porian = porian[porian["val"] == "val"]
    porian = porian.assign(change=porian["hparams"] + " " + porian["warmup"] + " " + porian["decay"])
    for name, rows in porian.groupby("dataset"):
        rows = rows.rename(columns={"flops": "C", "params": "N", "tokens": "D", "loss": "L"})
        yield from ((f"Porian, {name}", rows, two) for two in combinations(sorted(rows["change"].unique()), 2))
    gadre = pd.read_csv(folder / "mlfoundations__scaling" / "loss_evals.csv")
    gadre = gadre.assign(C=6.0 * gadre["params"] * gadre["tokens"]).rename(
        columns={"params": "N", "tokens": "D", "loss": "L", "dataset": "change"}
    )
    for name in ("c4_val", "paloma_redpajama", "paloma_falcon-refinedweb", "paloma_ptb"):
        rows = gadre[gadre["val_dataset"] == name]
        yield from ((f"Gadre, {name}", rows, two) for two in combinations(sorted(rows["change"].unique()), 2))
    clark = pd.read_csv(folder / "google-deepmind__scaling_laws_for_routing" / "curves.csv.gz")
    clark = clark[(clark["seed"] == 42) & (clark["k"] == 1) & (clark["routing_frequency"] == 0.5)]
    clark = clark[clark["step"] == clark.groupby("hyper_id")["step"].transform("max")]
    clark = clark.assign(change=clark["router_type"] + " " + clark["num_experts"].astype(str))
    clark = clark.assign(C=clark["flops_per_step"] * clark["step"], N=clark["dense_parameter_count"])
    rows = clark.rename(columns={"loss_validation": "L", "step": "D", "model_size_label": "rung"}).drop(columns="seed")
    yield from (("Clark", rows, ("Dense 1", f"{router} {n}")) for router in ("S-Base", "Hash", "RL-R") for n in (8, 64))


def cut_tables(folder: Path, share: float = 0.1) -> str:
    """Return verdicts by the runs of at most `share` of a table's compute on its largest C, beside all runs' answer."""
    lines = ["| table | change against baseline | by a tenth | verdict | by all runs | agree |", "|---" * 6 + "|"]
    for table_name, rows, (base, change) in public(folder):
        both = rows[rows["change"].isin([base, change])]
        top = both.groupby("change")["C"].max().min()
        small = both[both["C"] <= share * top * 1.001]
        part, whole = (
            confirm(t, ["change"], base, [change], top).changes[0] for t in (small, both[both["C"] <= top * 1.05])
        )
        truth = whole.decision.largest if whole.decision else Estimate(None)
        wrong = {Verdict.SCALES: (truth.high or np.inf) < 1, Verdict.DOES_NOT: (truth.low or 0) > WORTH}
        agree = "-" if part.verdict is Verdict.UNDECIDED else "NO" if wrong[part.verdict] else "yes"
        said = part.decision.target if part.decision else "-"
        lines.append(f"| {table_name} | {change} against {base} | {said} | {part.verdict} | {truth} | {agree} |")
    return "\n".join(lines)


def controls(runs: pd.DataFrame) -> str:
    """Return verdicts on each family under two names, one with seed 0 and one with seeds 1 and 2 of the same places."""
    lines = ["| family | runs | places | at 20 times the largest C | verdict |", "|---" * 5 + "|"]
    for family, rows in runs[runs["seed"].isin([0, 1, 2])].groupby("family"):
        rows = rows.assign(arm=np.where(rows["seed"] == 0, "one", "other"))
        place = rows.groupby(["width", "lr", "mark", "budget.D"])
        rows = rows[place["arm"].transform("nunique") == 2]
        top = rows.groupby("arm")["C"].max().min()
        (found,) = confirm(rows, ["arm"], "one", ["other"], 20 * top).changes
        places = len(rows.groupby(["width", "lr"]))
        said = found.decision.target if found.decision else "-"
        lines.append(f"| {family} | {rows['run_id'].nunique()} | {places} | {said} | {found.verdict} |")
    return "\n".join(lines)


def wins_when_small(runs: pd.DataFrame, base: str, change: str, cuts: tuple[float, ...]) -> str:
    """Return what the runs up to each of some C say of a change at the largest C of all."""
    lines = ["| runs up to C | at the largest C there | at the largest C of all | verdict |", "|---" * 4 + "|"]
    both = runs[runs["family"].isin([base, change])]
    target = both.groupby("family")["C"].max().min()
    for cut in cuts:
        (found,) = confirm(both[both["C"] <= cut], ["family"], base, [change], target * 1.05).changes
        known = found.decision
        lines.append(
            f"| {cut:.0e} | {known.largest if known else '-'} | {known.target if known else '-'} | {found.verdict} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table of the simulation, or of the public tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ladders", type=int, default=200)
    parser.add_argument("--fixed", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("confirm_rates.jsonl"))
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--controls", type=Path, help="studies/scaling/runs.csv")
    options = parser.parse_args()
    if options.controls:
        runs = pd.read_csv(options.controls, low_memory=False)
        runs = runs[runs["status"] == "ok"]
        print(controls(runs))
        return print(wins_when_small(runs, "transformer", "lstm", (1e10, 3e10, 1e11, 3e11, 1e12, 1e13)))
    if options.tables:
        return print(cut_tables(Path(os.environ["ISOFLOP_REFERENCE_DATA"])))
    print(table(list(simulate(options.out, options.ladders, options.fixed, options.training))))


if __name__ == "__main__":
    main()
