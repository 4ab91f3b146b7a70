"""From the overrides of a multirun to frozen runs: composed once, checked before anything starts, made only if missing.

isoflop train -m family=mlp,lstm family.width=16,32 budget.C=1e10,2e10
"""

import contextlib
import copy
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
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

from isoflop import record
from isoflop.command import RunFailedError
from isoflop.errors import UserError
from isoflop.scaling import limits
from isoflop.scaling.app import NOTED, objective
from isoflop.scaling.config import resume
from isoflop.scaling.config.composed import resolve, rung
from isoflop.scaling.config.frozen import FrozenConfig, freeze, thaw
from isoflop.scaling.config.sections import Logger
from isoflop.sweeps import costs, workers
from isoflop.sweeps.compose import check, compose
from isoflop.sweeps.ledger import UNMADE, Entry, entries
from isoflop.wording import one_line, states

ID = "hydra.sweep.subdir"
ROUNDS = 3
MOST_LINES = 10  # of runs that are named one by one
console = Console(stderr=True)
ANSWERED = set[Logger]()  # loggers that can be used here


def sweep(
    context: HydraContext, task: TaskFunction, cfg: DictConfig, grids: Sequence[dict[str, Any]], arguments: list[str]
) -> None:
    """Make the runs of a multirun that are missing; SystemExit(1) where any is left without a result."""
    configs = check(compose(context, cfg, grids, arguments))
    out = Path(cfg.hydra.sweep.dir)
    todo, done = list[FrozenConfig](), list[FrozenConfig]()
    for config in configs:
        (done if resume.is_done(out / config.run_id, config) else todo).append(config)
    with contextlib.suppress(FileNotFoundError):
        out.stat()  # a path that cannot be a folder is said before anything else is
    head = "1 run" if len(configs) == 1 else f"{len(configs)} runs"
    _say(f"{head} in {out}: {len(done)} done already, {len(todo)} to make{costs.cost_line(todo)}")
    others = sum(not resume.made_by(record.read(out / config.run_id)[0], config.code) for config in done)
    if others:
        _say(f"{others} of those done were made by other code; redo_other_code=true runs them again")
    if note := rounding_note(todo):
        _say(note)
    if cfg.hydra.sweeper.get("dry_run"):
        print(_job_script(cfg.hydra.launcher, len(todo)))
        return
    _make(context, task, cfg, configs, todo)


def retry(context: HydraContext, task: TaskFunction, cfg: DictConfig, arguments: list[str]) -> None:
    """Make the runs of a folder that have no result, as they were frozen; SystemExit(1) where any is left without."""
    parser = OverridesParser.create(config_loader=context.config_loader)
    other = [o.input_line for o in parser.parse_overrides(arguments) if o.get_key_element() != "out"]
    if other:
        raise UserError(f"{other[0]}: retry makes runs as they were frozen, and takes hydra.* alone")
    out = Path(cfg.hydra.sweep.dir)
    runs = list(entries(out))
    unmade, lost = list[FrozenConfig](), list[str]()
    for run in runs:
        if run.state in UNMADE or (run.good and not run.finished):
            try:
                unmade.append(run.config)
            except UserError as error:
                lost.append(str(error))
    done = len(runs) - len(unmade) - len(lost)
    _say(f"{len(runs)} runs in {out}: {done} done or running, {len(unmade)} to make")
    for sentence in lost[:MOST_LINES]:
        _say(f"  {sentence}", style="red")
    todo = check([replace(config, code=config.present_code()) for config in unmade])
    others = sum(not before.code.same(now.code) for before, now in zip(unmade, todo, strict=True))
    if others:
        _say(f"{others} of them were frozen for other code, and are made by this")
    _make(context, task, cfg, todo, todo)
    if lost:
        raise UserError(f"{len(lost)} of {len(runs)} runs cannot be made as they were frozen: {lost[0]}")


def _make(
    context: HydraContext, task: TaskFunction, cfg: DictConfig, configs: list[FrozenConfig], todo: list[FrozenConfig]
) -> None:
    """Freeze what is to be made, hand it to the launcher, and say how all ended."""
    out = Path(cfg.hydra.sweep.dir)
    loader = _FrozenLoader(context.config_loader.config_search_path)  # type: ignore[attr-defined]
    handing = HydraContext(config_loader=loader, callbacks=context.callbacks)
    refuse_loggers(todo)
    if todo:
        _refuse_launcher(str(cfg.hydra.launcher.get("_target_")), todo)
    launcher = Plugins.instance().instantiate_launcher(hydra_context=handing, task_function=task, config=cfg)
    for _ in range(ROUNDS):
        for config in todo:
            freeze(config, out / config.run_id)
        if todo:
            launch(launcher, [config.run_id for config in todo])
        # another command may have frozen a run again, for other marks, before its turn came
        ended = [(Entry(out / config.run_id), config) for config in todo]
        refrozen = [(e, c) for e, c in ended if not e.held and e.good and e.config.budget != c.budget]
        todo = [config for entry, config in refrozen if resume.missing(entry.rows, config)]
    _conclude({Entry(out / config.run_id): config for config in configs})


def _job_script(launcher: DictConfig, runs: int) -> str:
    """Return what submitit would hand to sbatch for an array of runs, as its SlurmExecutor translates our keys."""
    from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

    names: Any = SlurmExecutor._equivalence_dict() or {}
    given = {str(key): value for key, value in launcher.items() if value is not None}
    folder = given.pop("submitit_folder")
    ours = ("_target_", "max_num_timeout")
    keys = {str(names.get(key, key)): value for key, value in given.items() if key not in ours}
    if "mem" in keys:
        keys["mem"] = f"{keys['mem']}GB"
    command = f"{sys.executable} -u -m submitit.core._submit {folder}"
    return _make_sbatch_string(command=command, folder=folder, map_count=max(runs, 1), **keys)


def _refuse_launcher(target: str, todo: list[FrozenConfig]) -> None:
    """Refuse runs that their launcher cannot start, or that this machine cannot hold where they are made here."""
    if target.endswith("SlurmLauncher") and not shutil.which("srun"):
        raise UserError("hydra/launcher=slurm needs Slurm's srun and sbatch, and there are none on the PATH here")
    if target.endswith("LocalLauncher"):
        for config in todo:
            limits.refuse_place(config.trainer)
            # a GPU's memory is known to torch alone; there the run says it, and is tried with smaller micro-batches
            if config.plan:
                limits.refuse_size(config.plan, config.trainer, 0 if limits.has_gpu() else limits.host_memory())


def refuse_loggers(todo: list[FrozenConfig]) -> None:
    """Refuse runs whose logger cannot be used here: asked once for a sweep, in a process of its own."""
    for logger in {config.logger for config in todo} - ANSWERED:
        limits.refuse_logger(logger, workers.call)
        ANSWERED.add(logger)


def rounding_note(configs: list[FrozenConfig]) -> str:
    """Return how many runs clearly exceed their budget, because a run takes whole steps; empty if none does."""
    rounded = [config.plan.rounded for config in configs if config.plan and config.plan.rounded > NOTED]
    if not rounded:
        return ""
    verb = "is" if len(rounded) == 1 else "are"
    return f"{len(rounded)} of them {verb} rounded up to whole steps, at most to {max(rounded):.2f} times their budget"


def freeze_points(context: HydraContext, cfg: DictConfig, points: Sequence[Sequence[str]]) -> list[Entry]:
    """Return the runs to launch: those that our sweeper froze, by name; freeze those of any other sweeper."""
    out, names, configs = Path(cfg.hydra.sweep.dir), list[str](), list[FrozenConfig]()
    for point in points:
        name = next((o.split("=", 1)[1] for o in point if o.startswith(f"{ID}=")), None)
        if name is None:
            job = context.config_loader.load_sweep_config(cfg, list(point))
            HydraConfig.instance().set_config(job)
            keys = [o.split("=")[0].lstrip("+~") for o in job.hydra.overrides.task]
            job.rung = job.rung or rung(job, keys)
            configs.append(resolve(job, keys))
            name = configs[-1].run_id
        names.append(name)
    missing = check([config for config in configs if not resume.is_done(out / config.run_id, config)])
    refuse_loggers(missing)
    for config in missing:
        freeze(config, out / config.run_id)
    return [Entry(out / name) for name in names]


def job_return(entry: Entry, overrides: Sequence[str]) -> JobReturn:
    """Return what Hydra learns of a run: L at its last mark, for a sweeper that minimises it."""
    now = Entry(entry.folder)
    if now.good:
        return JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=objective(now.rows[-1]))
    error = RunFailedError(str(now.rows[0]["reason"]) if now.rows else f"{now.state}, without a record")
    return JobReturn(overrides=overrides, status=JobStatus.FAILED, _return_value=error)


class _FrozenLoader(ConfigLoaderImpl):
    """Gives any Hydra launcher the frozen config of a run where it would compose one again."""

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        name = next(o.split("=", 1)[1] for o in sweep_overrides if o.startswith(f"{ID}="))
        cfg = copy.deepcopy(master_config)
        config = thaw(Path(cfg.hydra.sweep.dir) / name)
        with open_dict(cfg):
            for key in [key for key in cfg if key != "hydra"]:
                del cfg[key]
            cfg.update(config.to_json())
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
        _say(f"the launcher stopped: {type(error).__name__}: {first}", style="red")
        _say("jobs that a scheduler still holds are not affected; isoflop status shows them")


def _conclude(runs: dict[Entry, FrozenConfig]) -> None:
    _say(states(Counter(entry.state for entry in runs)))
    lost = [entry for entry, config in runs.items() if not resume.is_done(entry.folder, config)]
    for entry in lost[:MOST_LINES]:
        _say(f"  {entry.folder}: {_why(entry)}", style="red")
    if len(lost) > MOST_LINES:
        _say(f"  and {len(lost) - MOST_LINES} more; isoflop status shows them", style="red")
    if lost:
        _say("rerun the same command to make what is missing")
        sys.exit(1)


def _why(entry: Entry) -> str:
    if entry.state == "running":
        return "running in another process"
    if entry.state == "cancelled":
        return "cancelled"
    if entry.state == "planned" and not entry.files.log.exists():
        return "was not started"
    if entry.problem:
        return entry.problem
    if entry.good:
        whose = "marks are missing" if resume.missing(entry.rows, entry.config) else "made by other code"
        return f"{whose}, and running it again failed; see its log.txt"
    return str(entry.rows[0]["reason"]) if entry.rows else "left no record; see its log.txt"


def _say(line: str, style: str = "") -> None:
    console.print(one_line(line), style=style, highlight=False, markup=False, soft_wrap=True)
