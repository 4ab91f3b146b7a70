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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from isoflop.analysis.holdout.watching.curves import foreseen, learn, looks_of
from isoflop.analysis.holdout.watching.follow import Watched, watch
from isoflop.analysis.laws.declare import get_law
from isoflop.sweeps.importing.importing import import_logs

# the shares of a run at which a fault begins
BEGINS = (0.2, 0.35, 0.5, 0.65, 0.8)
FAULT = 1.01
LUO = ("constant_24000", "cosine_24000", "wsdcon_9")
LUO_WATCHED = ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18")
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
    return watched, float(looks["D"].iloc[over[0]] / end) if len(over) else None


def rates(name: str, cases: list[Case]) -> str:
    """Return a row of the table: the share of runs with a false alarm, and the delays of faults."""
    false = [followed(case)[1] is not None for case in cases]
    delays, missed = [], 0
    for case in cases:
        for begins in BEGINS:
            at = followed(case, begins)[1]
            late = 1 - begins if at is None or at < begins - 0.01 else max(at - begins, 0.0)
            delays.append(100 * late)
            missed += at is None
    found = f"{np.median(delays):.1f} % | {np.quantile(delays, 0.9):.1f} % | {missed} of {len(delays)}"
    return f"| {name} | {len(cases)} | {sum(false)} | {found} |"


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
    """Yield the curves of Luo et al. 2025: three schedules of a size are learnt from, six are watched."""
    for size in ("25", "100"):
        read = {
            name: pd.read_csv(folder / "thu-yao-01-luo__MultiPowerLaw" / f"csv_{size}" / f"{name}.csv")
            .rename(columns={"loss": "L"})
            .assign(run_id=name, N=float(size) * 1e6, D=lambda table: table["step"] * float(TARGETS))
            for name in (*LUO, *LUO_WATCHED)
        }
        learnt = learn(pd.concat([read[name] for name in LUO]))
        yield f"Luo et al. 2025, {size}M, six schedules", [Case(read[name], learnt) for name in LUO_WATCHED]


def trunks(folder: Path) -> Iterator[tuple[str, list[Case]]]:
    """Yield the largest two sizes of a sweep of ours, by the smaller ones."""
    curves = folder / "curves.csv"
    import_logs(str(folder), folder / "imported.csv", curves, form="own_runs")
    table = pd.read_csv(curves)
    large = sorted(table["N"].unique())[-2:]
    learnt = learn(table[~table["N"].isin(large)])
    parts = [part for _, part in table[table["N"].isin(large)].groupby("run_id")]
    yield f"our loop, {len(table) // table['run_id'].nunique()} points a curve", [Case(part, learnt) for part in parts]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40, help="simulated runs of each design")
    parser.add_argument("--trunks", type=Path, help="a folder of runs of several sizes")
    options = parser.parse_args()
    print(
        "| curves | runs | false alarms | median delay | nine of ten within | never found |\n|---|---|---|---|---|---|"
    )
    kinds = list(simulations(options.runs)) if options.runs else []
    if reference := os.environ.get("ISOFLOP_REFERENCE_DATA"):
        kinds += published(Path(reference))
    if options.trunks:
        kinds += trunks(options.trunks)
    for name, cases in kinds:
        print(rates(name, cases), flush=True)


if __name__ == "__main__":
    main()
