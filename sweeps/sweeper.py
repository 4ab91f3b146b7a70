"""From the overrides of a multirun to frozen runs: composed once, checked before anything starts, made only if missing.

A run is known by the hash of its content, so the same command again does only what is missing, whichever launcher
runs it.

    isoflop train -m family=mlp,lstm family.width=16,32 budget.C=1e10,2e10
"""

import contextlib
import copy
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from rich.console import Console
from rich.progress import Progress

from isoflop import record
from isoflop.errors import UserError
from isoflop.exits import RunFailedError
from isoflop.scaling import frozen as config
from isoflop.scaling import limits, provenance
from isoflop.scaling.app import objective
from isoflop.sweeps.compose import compose
from isoflop.sweeps.ledger import UNMADE, Entry, entries
from isoflop.sweeps.plan import costs

ID = "hydra.sweep.subdir"
ROUNDS = 3
console = Console(stderr=True)


def sweep(
    context: HydraContext, task: TaskFunction, cfg: DictConfig, grids: Sequence[dict[str, Any]], arguments: list[str]
) -> None:
    """Make the runs of a multirun that are missing; SystemExit(1) where any is left without a result."""
    plains = checked(compose(context, cfg, grids, arguments))
    out = Path(cfg.hydra.sweep.dir)
    todo, done = list[config.Config](), list[config.Config]()
    for plain in plains:
        (done if config.done(out / plain["run_id"], plain) else todo).append(plain)
    head = "1 run" if len(plains) == 1 else f"{len(plains)} runs"
    say(f"{head} in {out}: {len(done)} done already, {len(todo)} to make{costs.forecast(todo)}")
    others = sum(not config.same_code(record.read(out / plain["run_id"])[0], plain) for plain in done)
    if others:
        say(f"{others} of those done were made by other code; redo_other_code=true runs them again")
    make(context, task, cfg, plains, todo)


def retry(context: HydraContext, task: TaskFunction, cfg: DictConfig, arguments: list[str]) -> None:
    """Make the runs of a folder that have no result, as they were frozen; SystemExit(1) where any is left without."""
    parser = OverridesParser.create(config_loader=context.config_loader)
    other = [o.input_line for o in parser.parse_overrides(arguments) if o.get_key_element() != "out"]
    if other:
        raise UserError(f"{other[0]}: retry makes runs as they were frozen, and takes hydra.* alone")
    out = Path(cfg.hydra.sweep.dir)
    found = list(entries(out))
    frozen = [entry.plain for entry in found if entry.state in UNMADE or (entry.good and not entry.finished)]
    say(f"{len(found)} runs in {out}: {len(found) - len(frozen)} done or at work, {len(frozen)} to make")
    others = sum(not provenance.same(plain["code"], config.code(plain)) for plain in frozen)
    if others:
        say(f"{others} of them were frozen for other code, and are made by this")
    todo = checked([plain | {"code": config.code(plain)} for plain in frozen])
    make(context, task, cfg, todo, todo)


def make(
    context: HydraContext, task: TaskFunction, cfg: DictConfig, plains: list[config.Config], todo: list[config.Config]
) -> None:
    """Freeze what is to be made, hand it to the launcher, and say how all ended."""
    out = Path(cfg.hydra.sweep.dir)
    loader = FrozenLoader(context.config_loader.config_search_path)  # type: ignore[attr-defined]
    handing = HydraContext(config_loader=loader, callbacks=context.callbacks)
    if todo:
        refuse_launcher(str(cfg.hydra.launcher.get("_target_")), todo)
    launcher = Plugins.instance().instantiate_launcher(hydra_context=handing, task_function=task, config=cfg)
    for _ in range(ROUNDS):
        for plain in todo:
            config.freeze(plain, out / plain["run_id"])
        if todo:
            launch(launcher, [plain["run_id"] for plain in todo])
        # another command may have frozen a run anew, for other marks, before its turn came
        todo = [plain for plain in todo if lacking(Entry(out / plain["run_id"]), plain)]
    conclude({Entry(out / plain["run_id"]): plain for plain in plains})


def refuse_launcher(target: str, todo: list[config.Config]) -> None:
    """Refuse runs that their launcher cannot start, or that this machine cannot hold where they are made here."""
    if target.endswith("SlurmLauncher") and not shutil.which("srun"):
        raise UserError("hydra/launcher=slurm needs Slurm's srun and sbatch, and there are none on the PATH here")
    if target.endswith("LocalLauncher"):
        for plain in todo:
            limits.refuse_place(plain["trainer"])
            # a GPU's memory is known to torch alone; there the run says it, and is tried with smaller micro-batches
            limits.refuse_size(plain["plan"], plain["trainer"], 0 if limits.has_gpu() else limits.host_memory())


def lacking(entry: Entry, plain: config.Config) -> list[float]:
    """The marks that a run with good results, which nobody is at work on, lacks all the same."""
    asked = not entry.held and entry.good and entry.plain["budget"] != plain["budget"]
    return config.missing(entry.rows, plain) if asked else []


def checked(plains: list[config.Config]) -> list[config.Config]:
    """Ask the left side what each run would be; UserError where one cannot be run, before anything starts."""
    with progress("counting parameters and FLOPs") as told:
        answers = costs.described(plains, told)
    wrong = Counter(answer["error"] for answer in answers if "error" in answer)
    if wrong:
        (sentence, times), more = wrong.most_common(1)[0], len(wrong) - 1
        rest = f"; {more} other mistakes" if more else ""
        raise UserError(f"{sentence} ({times} of {len(plains)} runs{rest}; nothing was started)")
    return [plain | {"plan": answer} for plain, answer in zip(plains, answers, strict=True)]


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """A bar in the terminal that is told the share that is done; elsewhere nothing."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def frozen(context: HydraContext, cfg: DictConfig, points: Sequence[Sequence[str]]) -> list[Entry]:
    """The runs that a launcher is handed: those that our sweeper froze, by name; those of another are frozen here."""
    out, found, plains = Path(cfg.hydra.sweep.dir), list[str](), list[config.Config]()
    for point in points:
        name = next((o.split("=", 1)[1] for o in point if o.startswith(f"{ID}=")), None)
        if name is None:
            job = context.config_loader.load_sweep_config(cfg, list(point))
            HydraConfig.instance().set_config(job)
            keys = [o.split("=")[0].lstrip("+~") for o in job.hydra.overrides.task]
            job.rung = job.rung or config.rung(job, keys)
            plains.append(config.resolved(job, keys))
            name = plains[-1]["run_id"]
        found.append(name)
    for plain in checked([plain for plain in plains if not config.done(out / plain["run_id"], plain)]):
        config.freeze(plain, out / plain["run_id"])
    return [Entry(out / name) for name in found]


def returned(entry: Entry, overrides: Sequence[str]) -> JobReturn:
    """What Hydra is told of a run: L of its last mark, for a sweeper that seeks the least."""
    now = Entry(entry.folder)
    if now.good:
        return JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=objective(now.rows[-1]))
    error = RunFailedError(str(now.rows[0]["reason"]) if now.rows else f"{now.state}, without a record")
    return JobReturn(overrides=overrides, status=JobStatus.FAILED, _return_value=error)


class FrozenLoader(ConfigLoaderImpl):
    """Gives any Hydra launcher the frozen config of a run where it would compose one again."""

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        name = next(o.split("=", 1)[1] for o in sweep_overrides if o.startswith(f"{ID}="))
        cfg = copy.deepcopy(master_config)
        frozen = config.thaw(Path(cfg.hydra.sweep.dir) / name)
        with open_dict(cfg):
            for key in [key for key in cfg if key != "hydra"]:
                del cfg[key]
            cfg.update(frozen)
            cfg.hydra.sweep.subdir = name
            cfg.hydra.overrides.task = list(sweep_overrides)
        return cfg


def launch(launcher: Launcher, names: list[str]) -> None:
    """Hand the runs to Hydra's launcher; what became of them is read from disk afterwards, never from it."""
    try:
        launcher.launch([[f"{ID}={name}"] for name in names], initial_job_idx=0)
    except UserError:
        raise
    except Exception as error:  # a launcher that loses its workers must not hide the runs that ended well
        first = (str(error).splitlines() or [""])[0]
        say(f"the launcher stopped: {type(error).__name__}: {first}", style="red")
        say("jobs that a scheduler still holds are not affected; isoflop status shows them")


def conclude(runs: dict[Entry, config.Config]) -> None:
    """Say how the runs ended."""
    states = Counter(entry.state for entry in runs)
    say(", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    lost = [entry for entry, plain in runs.items() if not config.done(entry.folder, plain)]
    for entry in lost[:10]:
        say(f"  {entry.folder}: {why(entry)}", style="red")
    if len(lost) > 10:
        say(f"  and {len(lost) - 10} more; isoflop status shows them", style="red")
    if lost:
        say("rerun the same command to make what is missing")
        sys.exit(1)


def why(entry: Entry) -> str:
    """Why a run has no result."""
    if entry.state == "running":
        return "at work in another process"
    if entry.state == "cancelled":
        return "cancelled"
    if entry.good:
        whose = "marks are missing" if config.missing(entry.rows, entry.plain) else "made by other code"
        return f"{whose}, and running it again failed; see its log.txt"
    return str(entry.rows[0]["reason"]) if entry.rows else "left no record; see its log.txt"


def say(line: str, style: str = "") -> None:
    """One line to the terminal, whole also where it is long."""
    console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
