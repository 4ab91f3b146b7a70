"""What a sweep would run, take and cost, and what claims ask of it: its runs, composed and described but not made.

made = plan(["family=lstm", "family.width=16,32,64", "budget.C=1e10,1e11"])
made.table["C"].sum()                    # a row for each run
print(made.totals(price=2.5))
"""

import heapq
import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from isoflop import conf, record
from isoflop.errors import UserError
from isoflop.extensions import all_declared
from isoflop.scaling.config import identity, resume
from isoflop.scaling.config.composed import register_resolvers
from isoflop.scaling.config.frozen import FrozenConfig, columns, rung_of_mark
from isoflop.scaling.config.sections import RunPlan, Trainer
from isoflop.scaling.hardware import CARDS, card
from isoflop.sweeps import costs, workers
from isoflop.sweeps.compose import check, compose, grids_of, progress
from isoflop.sweeps.launcher import LaunchSettings

if TYPE_CHECKING:
    import pandas as pd

    from isoflop.analysis.claims.claim import Claim
    from isoflop.analysis.claims.planned.power import ClaimPower

# seconds that a run takes beyond its training: a fresh process (benchmarks/overhead.py)
OVERHEAD_S = 0.3


class _GpuStep(NamedTuple):
    """s = launches_s + FLOPs / (products x peak) + traffic x values / bandwidth."""

    launches_s: float
    """Time of a step of an empty model [s]."""
    products: float
    """Share of the dense bf16 peak that the products reach."""
    traffic: float
    """Bytes moved for each value of the residual stream: tokens x layers x width."""


# fitted to five Transformers, 64x4 to 1024x12, bf16, 32 x 256 tokens, one H100 (SXM), torch 2.11: all within 4 %
COMPILED, PLAIN = _GpuStep(0.805e-3, 0.61, 201.0), _GpuStep(1.91e-3, 0.66, 355.0)
# bandwidth at which they were fitted, a copy's, over that of the data sheet
COPY = 3.0e12 / CARDS["H100"].bandwidth
# least time of a step whose kernels are launched one by one [s]: the smallest of those Transformers, without a graph,
# took 7.3 ms a step in a Lightning loop and 7.5 ms in a bare one
LAUNCHES_S = 0.007


@dataclass(frozen=True)
class SweepPlan:
    """The runs of a sweep, and where and how fast they would be made."""

    out: Path
    table: "pd.DataFrame"
    """A row for each run."""
    marks: "pd.DataFrame"
    """A row for each measured point of each run."""
    slots: int
    """Runs at a time here."""
    speed: str
    """How their times were predicted."""
    design: "pd.DataFrame | None" = None
    """Of each measured point all columns of its record that are known before (`design`)."""
    warnings: tuple[str, ...] = ()
    """What in the recipe would get in the way of a law."""

    @property
    def wall_s(self) -> float:
        """Time until all remaining runs are done, the largest first, `slots` at a time [s]."""
        free = [0.0] * self.slots
        for seconds in sorted(self.to_make["seconds"], reverse=True):
            heapq.heappush(free, heapq.heappop(free) + seconds + OVERHEAD_S)
        return max(free)

    @property
    def to_make(self) -> "pd.DataFrame":
        return self.table[~self.table["done"]]

    def totals(self, price: float | None = None) -> dict[str, float | None]:
        """Return sums over the runs to make: number, C [FLOPs], device-hours, hours until all are done, money."""
        rest = self.to_make
        hours = float((rest["seconds"] * rest["devices"]).sum() / 3600)
        money = None if price is None else hours * price
        sums = {"runs": len(rest), "C": float(rest["C"].sum()), "device_hours": hours}
        return sums | {"wall_hours": self.wall_s / 3600, "money": money}


def plan(overrides: Sequence[str], device: str = "", mfu: float | None = None) -> SweepPlan:
    """Compose a sweep and ask what each of its runs would be; UserError if one cannot be run.

    device   a name in the table of peaks, to predict times there; '' measures a few steps of each family here
    """
    import pandas as pd

    from isoflop.sweeps.plan.resolution import warn

    workers.warm()  # imports torch while the grid is composed
    grid = composed(list(overrides))
    configs = check(grid.configs)
    plans = [config.plan for config in configs if config.plan]  # all have one, now that they are checked
    if device:
        times, speed = _by_law(configs, plans, device, mfu)
    else:
        with progress("measuring speed") as report:
            times = costs.seconds(configs, plans, report)
        speed = "by short runs of each family on this machine"
    out = Path(grid.out)
    rows = [_line(*run, out) for run in zip(configs, plans, times, strict=True)]
    marks = [
        {key: row[key] for key in ("run_id", "data", *record.WHO, "lr", "N", "done")}
        | {"D": mark.D, "C": mark.C, "C_spent": row["C"]}
        for row, run in zip(rows, plans, strict=True)
        for mark in run.marks
    ]
    slots = _slots(grid.launcher, configs[0].trainer)
    return SweepPlan(
        out, pd.DataFrame(rows), pd.DataFrame(marks), slots, speed, design(configs, plans), tuple(warn(configs, plans))
    )


def _by_law(
    configs: list[FrozenConfig], plans: list[RunPlan], device: str, mfu: float | None
) -> tuple[list[float], str]:
    """Return the time of each run on a GPU by the law of a step there [s], and in words how it was predicted."""
    times = []
    for config, run in zip(configs, plans, strict=True):
        trainer, last = config.trainer, run.marks[-1]
        flops = run.step_C / trainer.devices
        values = flops / last.C * last.D * config.width * config.depth
        seconds = _step_s(device, trainer.graph, trainer.compile is True, flops, values, mfu)
        if seconds is None:
            raise UserError(f"--device {device} is not in the table of peaks; it has {', '.join(CARDS)}")
        times.append(run.steps * seconds)
    slow = any(config.recipe["precision"] != "bf16" for config in configs)
    far_less = "; recipe.precision=fp32 is far slower" if slow else ""
    measured = "" if device == "H100" else f", carried over to {device} by its data sheet: a prediction"
    return times, f"by the steps of Transformers in bf16 that were measured on an H100{measured}{far_less}"


def _step_s(
    device: str, by_graph: bool, compiles: bool, flops: float, values: float, mfu: float | None = None
) -> float | None:
    """Return the time of a step of so many FLOPs and values (tokens x layers x width) on one device [s], whose products
    reach the share mfu of its peak; None for a device that the tables of hardware.py do not have."""
    sheet = card(device)
    if sheet is None:
        return None
    top, bandwidth = sheet.bf16, sheet.bandwidth
    law = COMPILED if compiles else PLAIN
    seconds = law.launches_s + flops / ((mfu or law.products) * top) + law.traffic * values / (COPY * bandwidth)
    return seconds if by_graph else max(seconds, LAUNCHES_S)


class Grid(NamedTuple):
    """A multirun as composed: its folder, its launcher's settings, the configs of its runs."""

    out: str
    launcher: dict[str, Any]
    configs: list[FrozenConfig]


def composed(overrides: list[str]) -> Grid:
    """Compose the runs of a multirun as `isoflop train -m` does; remembered for the same overrides and yamls."""
    if any(o.lstrip("+").startswith("hydra/sweeper=") for o in overrides):
        raise UserError("a plan is of a grid; leave hydra/sweeper= out")
    key = identity.digest([overrides, _yamls(overrides), platform.python_version(), os.getcwd()])[:16]
    known = costs.remembered("grid.json").get(key)
    # a missing run may have a folder named by the earlier rule by now (config/identity.py)
    out = Path(known["out"] if known else "")
    if known and (not out.is_dir() or all((out / config["run_id"]).is_dir() for config in known["configs"])):
        before = (FrozenConfig.from_json(config) for config in known["configs"])
        configs = [replace(config, code=config.present_code()) for config in before]
        return Grid(known["out"], known["launcher"], configs)
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3", job_name="isoflop"):
        loader = GlobalHydra.instance().config_loader()
        cfg = loader.load_configuration("train", overrides, RunMode.MULTIRUN)
        HydraConfig.instance().set_config(cfg)
        sweeper = cfg.hydra.sweeper
        grids = grids_of(sweeper.params, sweeper.grids, sweeper.get("larger"))
        context = HydraContext(config_loader=loader, callbacks=None)  # type: ignore[arg-type]
        configs = compose(context, cfg, grids, list(cfg.hydra.overrides.task))
        launcher = OmegaConf.to_container(cfg.hydra.launcher)
        assert isinstance(launcher, dict)
        grid = Grid(str(cfg.hydra.sweep.dir), {str(name): value for name, value in launcher.items()}, configs)
    data = grid._asdict() | {"configs": [config.to_json() for config in grid.configs]}
    costs.remember("grid.json", {key: data}, instead=True)  # the last alone: it is large
    return grid


def _yamls(overrides: Sequence[str]) -> str:
    """Return the hash of all that is composed from, and of what composes it."""
    own = [Path(folder) for override in overrides for folder in re.findall(r"file://([^',\]]+)", override)]
    rooms = (Path(conf.__file__).parent, Path(__file__).parents[1], *own)
    paths = [path for room in rooms for path in sorted(room.rglob("*")) if path.suffix in (".yaml", ".py")]
    paths += [path for extension in all_declared() for path in (*extension.yamls(), *extension.files())]
    return identity.digest([path.read_text(encoding="utf-8") for path in paths])


def _slots(launcher: dict[str, Any], trainer: Trainer) -> int:
    settings = {key: value for key, value in launcher.items() if key != "_target_"}
    if str(launcher.get("_target_", "")).endswith("LocalLauncher"):
        return len(LaunchSettings.read(settings).slots(trainer))
    at_a_time = settings.get("array_parallelism") or settings.get("n_jobs")
    return at_a_time if isinstance(at_a_time, int) and at_a_time > 0 else 1


def _line(config: FrozenConfig, plan: RunPlan, seconds: float, out: Path) -> dict[str, Any]:
    known = columns(config)
    who = {key: known[key] for key in ("run_id", "family", "data", *record.DIALS, "seed")}
    size = {key: getattr(plan, key) for key in ("lr", "N", "D", "C", "steps", "memory")}
    done = resume.is_done(out / config.run_id, config)
    rest = {"marks": len(plan.marks), "seconds": seconds, "devices": config.trainer.devices, "done": done}
    return who | size | rest | {"over_budget": plan.rounded}


def design(configs: Sequence[FrozenConfig], plans: Sequence[RunPlan]) -> "pd.DataFrame":
    """Return a row for each mark of each planned run: the columns of its record that are known before it is made; in
    `attrs["probes"]` the probes that a run asks for, each with the keys of its scalars."""
    import pandas as pd

    rows = [row for config, plan in zip(configs, plans, strict=True) for row in _marks(config, plan)]
    table = pd.DataFrame(rows)
    probing = list({tuple(config.probe): config for config in configs if config.probe}.values())
    table.attrs["probes"] = workers.call("isoflop.scaling.estimate:probe_keys", probing) if probing else {}
    return table


def _marks(config: FrozenConfig, plan: RunPlan) -> list[dict[str, Any]]:
    size = config.data.get("size")
    known = columns(config) | {"N": plan.N, "lr": plan.lr, "batch": plan.batch}
    rows = []
    for at, mark in enumerate(plan.marks, start=1):
        own = {"mark": at, "D": mark.D, "C": mark.C, "flops_per_target": mark.C / mark.D if mark.D else None}
        own |= {f"budget.{config.budget.name}": mark.value, "D_unique": min(mark.D, size or mark.D)}
        rows.append(known | own | rung_of_mark(config, mark.value))
    return rows


def refuse_claims(claims: "Iterable[Claim]", planned: "pd.DataFrame") -> None:
    """Refuse a claim that names a column which the runs will not have, or a law that their design cannot identify."""
    from isoflop.analysis.claims.planned.power import refusal

    for claim in claims:
        if sentence := refusal(claim, planned, planned.attrs.get("probes", {})):
            raise UserError(sentence)


def powers(claims: "Iterable[Claim]", planned: "pd.DataFrame") -> "list[ClaimPower]":
    """Return the power of every claim on the planned runs, remembered."""
    from isoflop.analysis.claims.planned.power import ClaimPower, power

    results, shown = list[ClaimPower](), planned.drop(columns=["git", "dirty", "sources", "sweep"], errors="ignore")
    known, rows = costs.remembered("powers.json"), identity.digest(shown.to_csv(index=False))
    for claim in claims:
        key = identity.digest([rows, claim.sha256])[:16]
        if key not in known:
            known[key] = [vars(one) for one in power(planned, claim)]
            costs.remember("powers.json", {key: known[key]})
        results += [ClaimPower(**one) for one in known[key]]
    return results
