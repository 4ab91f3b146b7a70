"""Runs watched against their forecast: false alarms over a whole run, and how soon a fault of 1 % is found.

    python benchmarks/watch.py --runs 40                                    # simulated
    ISOFLOP_REFERENCE_DATA=... python benchmarks/watch.py --runs 40         # and the curves of Luo et al. 2025
    isoflop train -m family=mlp data=markov family.width=8,12,16,24,32,48 budget.D=1e6 out=runs/trunks
    python benchmarks/watch.py --trunks runs/trunks                         # and curves that our loop wrote

Of each kind the smaller runs give the law, and others are watched: as they are, and with a loss that is 1 % higher from
a step on. Delays are in per cent of the run; a fault that is never found counts as one that is found last.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from isoflop.analysis.holdout.watching.curves import departure, foreseen, learn, looks_of
from isoflop.analysis.holdout.watching.follow import Watched, watch
from isoflop.analysis.laws.declare import get_law
from isoflop.errors import UserError
from isoflop.sweeps.importing.importing import import_logs

# the shares of a run at which a fault begins
BEGINS = (0.2, 0.35, 0.5, 0.65, 0.8)
FAULT = 1.01
LUO = ("constant_24000", "cosine_24000", "wsdcon_9")
LUO_WATCHED = ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18")
# what may differ between runs of one law: their size and seed, and what follows from them
OF_A_SIZE = {"run_id", "name", "N", "D", "C", "L", "step", "seed", "width", "depth", "lr", "config.lr", "rung", "git",
             "sources", "train_loss", "logged.run_id"}  # fmt: skip
TARGETS = 524_288  # of a step of theirs: 128 sequences of 4096
PARAMS = {"E": 2.4, "A": 0.6, "alpha": 0.5, "B": 0.5, "C": 2.0, "beta": 0.5, "gamma": 0.6}


class Design(NamedTuple):
    """What is simulated: the schedule, the points of a curve, their noise, and how far runs drift from the law."""

    schedule: str
    points: int
    noise: float
    drift: float


DESIGNS = (
    Design("constant", 300, 0.002, 0.0005),
    Design("cosine", 2000, 0.01, 0.001),
    Design("wsd", 2000, 0.005, 0.002),
    Design("wsd", 400, 0.002, 0.001),
)


def simulated(design: Design, N: float, D: float, name: str, rng: np.random.Generator) -> pd.DataFrame:
    """Return the curve of a run: the law, an offset of the run, a smooth drift along ln D, and noise."""
    x = np.linspace(0, 1, design.points + 1)[1:]
    later = np.where(x < 0.8, 1.0, 1 - (x - 0.8) / 0.2 * 0.95)
    lr = {"constant": np.ones_like(x), "cosine": 0.05 + 0.475 * (1 + np.cos(np.pi * x)), "wsd": later}[design.schedule]
    lr = np.minimum(lr, x / 0.01)
    from isoflop.analysis.runs.read import add_schedule

    table = add_schedule(pd.DataFrame({"step": x * D / 1e9, "lr": lr.round(6)}))
    columns = (table[c].to_numpy(float) for c in ("curve", "S1", "lr"))
    L = np.asarray(get_law("multi_power")(*columns, **PARAMS)) + 200 * N**-0.35
    waves = sum(rng.normal() / k * np.sin(k * np.log(x) + rng.uniform(0, 6)) for k in range(1, 4))
    gap = 0.004 * rng.normal() + design.drift * waves + design.noise * rng.standard_t(5, len(x)) / np.sqrt(5 / 3)
    return pd.DataFrame(
        {"run_id": name, "N": N, "step": np.arange(1, len(x) + 1), "D": x * D, "lr": lr, "L": L * np.exp(gap)}
    )


class Case(NamedTuple):
    """A curve to watch, beside what was learnt of others."""

    run: pd.DataFrame
    learnt: dict[str, Any]


def followed(case: Case, begins: float | None = None) -> tuple[Watched, float | None]:
    """Return a run watched to its end, with a fault from a share of it on, and when it alarmed as a share; the forecast
    of its end errs by up to 1 %."""
    run, end = case.run, float(case.run["D"].max())
    law = foreseen(case.learnt, run, float(run["N"].iloc[0]))
    if begins is not None:
        run = run.assign(L=run["L"] * np.where(run["D"] >= begins * end, FAULT, 1.0))
    looks = looks_of(run, law, end)
    start = float(np.log(case.run["L"].tail(max(len(run) // 50, 1))).mean() - law[0, -1]) + 0.005
    watched = watch(looks, case.learnt, (start, 0.01), (end, *law[:, -1]))
    over = np.flatnonzero(watched.looks["evidence"] > 20)
    if len(over) and departure(run[run["D"] <= looks["D"].iloc[over[0]]], case.learnt, end) is not None:
        over = over[:0]
    return watched, float(looks["D"].iloc[over[0]] / end) if len(over) else None


def rates(name: str, cases: list[Case]) -> str:
    """Return a row of the table: false alarms with the limits of their rate, the delays of faults, and the least fault
    that a run could show, the median of the runs."""
    sound = [followed(case) for case in cases]
    false, visible = sum(at is not None for _, at in sound), np.median([watched.visible for watched, _ in sound])
    delays, missed = [], 0
    for case in cases:
        for begins in BEGINS:
            at = followed(case, begins)[1]
            late = 1 - begins if at is None or at < begins - 0.01 else max(at - begins, 0.0)
            delays.append(100 * late)
            missed += at is None
    limits = binomtest(false, len(cases)).proportion_ci(0.9, "exact")
    alarms = f"{false} ({limits.low:.0%} to {limits.high:.0%})"
    found = f"{np.median(delays):.1f} % | {np.quantile(delays, 0.9):.1f} % | {missed} of {len(delays)}"
    return f"| {name} | {len(cases)} | {alarms} | {found} | {visible:.1%} |"


def simulations(runs: int) -> Iterator[tuple[str, list[Case]]]:
    """Yield the runs of each design: five smaller ones of 1M to 16M, and those of 64M that are watched."""
    for place, design in enumerate(DESIGNS):
        rng = np.random.default_rng(place)
        small = [simulated(design, N, 200 * N, f"{N:g}", rng) for N in 1e6 * 2.0 ** np.arange(5)]
        learnt = learn(pd.concat(small))
        cases = [Case(simulated(design, 6.4e7, 200 * 6.4e7, "large", rng), learnt) for _ in range(runs)]
        words = f"{design.points} points, noise {100 * design.noise:g} %, drift {100 * design.drift:g} %"
        yield f"simulated, {design.schedule}: {words}", cases


def published(folder: Path) -> Iterator[tuple[str, list[Case]]]:
    """Yield the curves of Luo et al. 2025: three schedules of a size are learnt from, and six are watched; or one of
    two lengths and sizes, and all others are watched."""
    read = {
        (size, name): pd.read_csv(folder / "thu-yao-01-luo__MultiPowerLaw" / f"csv_{size}" / f"{name}.csv")
        .rename(columns={"loss": "L"})
        .assign(run_id=f"{name}, {size}M", N=size * 1e6, D=lambda table: table["step"] * float(TARGETS))
        for size in (25, 100)
        for name in (*LUO, *LUO_WATCHED)
    }
    for size in (25, 100):
        learnt = learn(pd.concat([read[size, name] for name in LUO]))
        yield f"Luo et al. 2025, {size}M, six schedules", [Case(read[size, name], learnt) for name in LUO_WATCHED]
    for kind in ("cosine", "constant"):
        learnt = learn(pd.concat([run for (_, name), run in read.items() if name.startswith(kind)]))
        cases = [Case(run, learnt) for (_, name), run in read.items() if not name.startswith(kind)]
        yield f"Luo et al. 2025, both sizes, seven schedules by one, {kind}", cases


def groups(table: pd.DataFrame, knobs: list[str]) -> Iterator[Case]:
    """Yield the runs to watch of each group of runs that share their knobs: the two largest of four sizes or more, by
    the smaller ones, or else the second half of its runs, by the first."""
    for _, group in table.groupby(knobs, dropna=False) if knobs else [((), table)]:
        sizes, ids = sorted(group["N"].unique()), sorted(group["run_id"].unique())
        watched = group["N"].isin(sizes[-2:]) if len(sizes) > 3 else group["run_id"].isin(ids[(len(ids) + 1) // 2 :])
        try:
            learnt = learn(group[~watched])
        except UserError:  # fewer than three curves of ten points
            continue
        for _, run in group[watched].groupby("run_id"):
            if (run["D"] > 0.03 * run["D"].max()).sum() >= 10:
                yield Case(run, learnt)


def routing(folder: Path) -> tuple[str, list[Case]]:
    """Return the runs of Clark et al. 2022: 26 points each, whose rates are not told; a group is a kind of router."""
    table = pd.read_csv(folder / "google-deepmind__scaling_laws_for_routing" / "curves.csv.gz")
    names = {"hyper_id": "run_id", "dense_parameter_count": "N", "loss_validation": "L"}
    table = table.rename(columns=names).assign(D=lambda t: t["step"] * float(TARGETS)).dropna(subset=["L"])
    knobs = ["router_type", "num_experts", "k", "routing_frequency"]
    return "Clark et al. 2022, 26 points", list(groups(table[table["D"] > 0], knobs))


def trunks(folder: Path) -> tuple[str, list[Case]]:
    """Return runs of ours, without those of one seed and size at several rates, which differ by more than noise."""
    with tempfile.TemporaryDirectory() as tables:
        rows, curves = Path(tables) / "runs.csv", Path(tables) / "curves.csv"
        import_logs(str(folder), rows, curves, form="own_runs")
        runs, table = pd.read_csv(rows), pd.read_csv(curves)
    knobs = [name for name in runs if name not in OF_A_SIZE and runs[name].nunique() > 1]
    table = table.merge(runs[["run_id", *knobs, "seed"]], on="run_id")
    peak = table.groupby("run_id")["lr"].transform("max")
    rates = table.assign(peak=peak).groupby([*knobs, "N", "seed"], dropna=False)["peak"].transform("nunique")
    points = len(table) // table["run_id"].nunique()
    return f"our study {folder.parent.name}, {points} points", list(groups(table[rates == 1], knobs))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40, help="simulated runs of each design")
    parser.add_argument("--trunks", type=Path, nargs="*", default=[], help="folders of our runs")
    options = parser.parse_args()
    print("| curves | runs | false alarms | median delay | nine of ten within | never found | sees |")
    print("|---|---|---|---|---|---|---|")
    kinds = list(simulations(options.runs)) if options.runs else []
    if reference := os.environ.get("ISOFLOP_REFERENCE_DATA"):
        kinds += [*published(Path(reference)), routing(Path(reference))]
    kinds += map(trunks, options.trunks)
    for name, cases in kinds:
        if cases:
            print(rates(name, cases), flush=True)


if __name__ == "__main__":
    main()
