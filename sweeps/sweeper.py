"""From the overrides of a multirun to frozen runs: composed once, checked before anything starts, made only if missing.

A run is known by the hash of its content, so the same command again does only what is missing, whichever launcher
runs it.

    isoflop train -m family=mlp,lstm family.width=16,32 budget.C=1e10,2e10
"""

import copy
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.progress import track

from scaling import config, record
from scaling.errors import UserError
from sweeps import processes
from sweeps.ledger import Entry

ID = "hydra.sweep.subdir"
# where the runs of a sweep go and how they are made: the same for all of them
ONE = ("out", "sweep", "ladder", "redo_other_code", "trainer", "logger", "names", "rung", "tags")

console = Console(stderr=True)


def sweep(
    context: HydraContext, task: TaskFunction, cfg: DictConfig, grids: Sequence[dict[str, Any]], arguments: list[str]
) -> None:
    """Make the runs of a multirun that are missing; SystemExit(1) where any is left without a result."""
    plains = checked(compose(context, cfg, grids, arguments))
    out = Path(cfg.hydra.sweep.dir)
    todo = [plain for plain in plains if not config.done(out / plain["run_id"], plain)]
    done = len(plains) - len(todo)
    head = "1 run" if len(plains) == 1 else f"{len(plains)} runs"
    say(f"{head} in {out}: {done} done already, {len(todo)} to make")
    others = sum(not config.same_code(record.read(out / p["run_id"])[0], p) for p in plains if p not in todo)
    if others:
        say(f"{others} of those done are by other code; redo_other_code=true runs them again")
    for plain in todo:
        config.freeze(plain, out / plain["run_id"])
    if todo:
        launch(context, task, cfg, [plain["run_id"] for plain in todo])
    conclude({Entry(out / plain["run_id"]): plain for plain in plains})


def compose(
    context: HydraContext, cfg: DictConfig, grids: Sequence[dict[str, Any]], arguments: list[str]
) -> list[config.Config]:
    """The resolved config of every point of every grid, each run once.

    Hydra composes once for every choice of groups; what is left are scalars, set on a copy of it.
    """
    loader = context.config_loader
    assert isinstance(loader, ConfigLoaderImpl)
    parser = OverridesParser.create(config_loader=loader)
    points: list[list[str]] = []
    for grid in grids:
        given = parser.parse_overrides([f"{key}={value}" for key, value in grid.items()] + arguments)
        swept = [o.get_key_element() for o in given if o.is_sweep_override()]
        if wrong := [key for key in swept if key.split(".")[0] in ONE]:
            raise UserError(f"{wrong[0]} takes one value in a sweep; give a command for each")
        points += BasicSweeper.split_arguments(given, None)[0]
    bases: dict[tuple[str, ...], DictConfig] = {}
    found: dict[str, config.Config] = {}
    for point in track(points, "composing", console=console, transient=True, disable=not console.is_terminal):
        parsed = parser.parse_overrides(point)
        groups = tuple(str(o.input_line) for o in parsed if not scalar(o, cfg))
        if groups not in bases:
            bases[groups] = loader.load_sweep_config(cfg, list(groups))
        base = copy.deepcopy(bases[groups])
        ConfigLoaderImpl._apply_overrides_to_config([o for o in parsed if scalar(o, cfg)], base)
        HydraConfig.instance().set_config(base)
        keys = [o.get_key_element() for o in parsed]
        base.rung = base.rung or config.rung(base, keys)
        plain = config.resolved(base, keys)
        found.setdefault(plain["run_id"], plain)
    return list(found.values())


def scalar(override: Override, cfg: DictConfig) -> bool:
    """Whether an override only sets a value: neither a choice of group nor an addition or deletion."""
    plainly = not (override.is_add() or override.is_force_add() or override.is_delete() or override.is_hydra_override())
    return plainly and override.key_or_group not in cfg.hydra.runtime.choices


def checked(plains: list[config.Config]) -> list[config.Config]:
    """Ask the left side what each run would be; UserError where one cannot be run, before anything starts."""
    with console.status("counting parameters and FLOPs"):
        answers = processes.call("scaling.assemble:describe", plains)
    wrong = Counter(answer["error"] for answer in answers if "error" in answer)
    if wrong:
        (sentence, times), more = wrong.most_common(1)[0], len(wrong) - 1
        rest = f"; {more} other mistakes" if more else ""
        raise UserError(f"{sentence} ({times} of {len(plains)} runs{rest}; nothing was started)")
    return [plain | {"plan": answer} for plain, answer in zip(plains, answers, strict=True)]


class FrozenLoader(ConfigLoaderImpl):
    """Gives any Hydra launcher the frozen config of a run where it would compose one again."""

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        name = next(o.split("=", 1)[1] for o in sweep_overrides if o.startswith(f"{ID}="))
        cfg = copy.deepcopy(master_config)
        frozen = OmegaConf.load(Path(cfg.hydra.sweep.dir) / name / config.FILE)
        with open_dict(cfg):
            for key in [key for key in cfg if key != "hydra"]:
                del cfg[key]
            cfg.update(frozen)
            cfg.hydra.sweep.subdir = name
            cfg.hydra.overrides.task = list(sweep_overrides)
        return cfg


def launch(context: HydraContext, task: TaskFunction, cfg: DictConfig, names: list[str]) -> None:
    """Hand the runs to Hydra's launcher; what became of them is read from disk afterwards, never from it."""
    loader = FrozenLoader(context.config_loader.config_search_path)  # type: ignore[attr-defined]
    frozen = HydraContext(config_loader=loader, callbacks=context.callbacks)
    launcher = Plugins.instance().instantiate_launcher(hydra_context=frozen, task_function=task, config=cfg)
    try:
        launcher.launch([[f"{ID}={name}"] for name in names], initial_job_idx=0)
    except UserError:
        raise
    except Exception as error:  # a launcher that loses its workers must not hide the runs that ended well
        say(f"the launcher stopped: {type(error).__name__}: {error}", style="red")


def conclude(runs: dict[Entry, config.Config]) -> None:
    """Say how the runs ended."""
    states = Counter(entry.state for entry in runs)
    say(", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    lost = [entry for entry, plain in runs.items() if not config.done(entry.folder, plain)]
    for entry in lost[:10]:
        if entry.state == "running":
            reason = "at work in another process"
        elif entry.finished:
            reason = "made by other code, and running it again failed; see its log.txt"
        else:
            reason = entry.rows[0]["reason"] if entry.rows else "left no record; see its log.txt"
        say(f"  {entry.folder}: {reason}", style="red")
    if lost:
        say("the same command again makes what is missing")
        sys.exit(1)


def say(line: str, style: str = "") -> None:
    """One line to the terminal, whole also where it is long."""
    console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
