"""`isoflop train`: the Hydra app, over the one door, run_one, that every launcher goes through.

    isoflop train family=lstm family.width=32 data.size=1e5
    isoflop train -m family=mlp,lstm family.width=16,32 data.size=1e5,1e6      the same command again does what is
    missing

torch stays out of the imports above the functions: `--help`, a sweep's planning and most refusals are quick.
"""

import contextlib
import importlib
import math
import os
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from isoflop import extensions, record
from isoflop.errors import UserError
from isoflop.exits import RunFailedError, report, translate
from isoflop.folder import RunFolder
from isoflop.scaling import help, limits
from isoflop.scaling.config import resume
from isoflop.scaling.config.columns import rounded
from isoflop.scaling.config.composed import register_resolvers, resolve, rung
from isoflop.scaling.config.frozen import FrozenConfig, freeze
from isoflop.scaling.process.lock import held
from isoflop.scaling.run import run_one
from isoflop.wording import gigabytes, short, version

# a budget that whole steps exceed by more than this factor is named
NOTED = 1.05
# how long a job of a scheduler waits for the one before it, which may still be keeping its checkpoint [s]
PATIENCE_S = 60.0

register_resolvers()


class Ending(BaseException):
    """Carries an error of a single run past Hydra, which would print it its own way."""


def train(cfg: DictConfig) -> float | None:
    """A Hydra job: freeze the composed config, unless a sweep has frozen it already, and go through the door.

    Returns L, for a sweeper that seeks the least; infinite where the run diverged.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    if HydraConfig.get().mode is RunMode.RUN:
        try:
            single(cfg, folder)
        except Exception as error:
            raise Ending() from error
        return None
    if "run_id" not in cfg and not prepare(cfg, folder):  # a sweeper that is not ours froze nothing
        return objective(record.read(folder)[-1])
    row = run_one(folder, patience_s=PATIENCE_S)[-1]
    refuse_failure(row)
    return objective(row)


def objective(row: record.Row) -> float:
    """What a sweeper minimises: L, infinite where the run diverged."""
    return math.inf if row["L"] is None else float(row["L"])


def single(cfg: DictConfig, folder: Path) -> None:
    """Make one run in this process, unless it is there; what cannot be run leaves nothing behind."""
    new = not RunFolder(folder).config.exists()
    try:
        if not prepare(cfg, folder, here=True):
            return
        rows = run_one(folder, bar=sys.stderr.isatty())
    except UserError:
        if new and not held(RunFolder(folder)):
            leave_nothing(folder)
        raise
    print(
        "\n".join([*map(summary, rows), *rounding(rows), *spent(folder), str(RunFolder(folder).records)]),
        file=sys.stderr,
    )
    refuse_failure(rows[-1])


def leave_nothing(folder: Path) -> None:
    """Remove a run's folder that holds no record, and the sweep's where that is empty then."""
    RunFolder(folder).remove_unstarted()
    with contextlib.suppress(OSError):  # others may be at work there
        folder.parent.rmdir()


def announce(config: FrozenConfig) -> None:
    """Say what a run will be before it starts; UserError where this machine cannot hold it, or not end it."""
    from isoflop.scaling.estimate import available, plan

    run = plan(config)
    limits.refuse_size(run, config.trainer, available(config.trainer))
    sizes = " ".join(f"{name}={short(getattr(run, name))}" for name in ("N", "D", "C"))
    steps = f"{run.steps} step{'s' * (run.steps > 1)}"
    print(f"{config.names.family} on {config.names.data}: {sizes}, {steps}, {gigabytes(run.memory)}", file=sys.stderr)


def spent(folder: Path) -> list[str]:
    """A line on what a run of several marks spent, where it has been counted."""
    total = RunFolder(folder).read_spent()
    if not total:
        return []
    ratio = total["C_separate"] / total["C"]
    less = f"{ratio:.2f}× fewer than separate runs" if ratio >= 1 else f"{1 / ratio:.2f} times those of separate runs"
    return [f"{total['marks']} marks on one trunk: {total['C']:.3g} FLOPs spent, {less}"]


def rounding(rows: list[record.Row]) -> list[str]:
    """A line for every mark whose whole steps exceed its budget by more than a twentieth."""
    lines = []
    for row in rows:
        factor = rounded(row)
        if factor > NOTED:
            lines.append(f"rounded up to whole steps: D={row['D']} is {factor:.2f} times what was asked for")
    return lines


def refuse_failure(row: record.Row) -> None:
    """Raise where a run left no result."""
    if not record.has_result(row):
        raise RunFailedError(f"the run failed: {row['reason']}")


def prepare(cfg: DictConfig, folder: Path, here: bool = False) -> bool:
    """Freeze a single run; False where it is done already and is not to be made again.

    here: this process will make it, so that what this machine cannot do is refused.
    """
    keys = [o.split("=")[0].lstrip("+~") for o in HydraConfig.get().overrides.task]
    limits.refuse_values(cfg)
    cfg.rung = cfg.rung or rung(cfg, keys)
    config = resolve(cfg, keys)
    if resume.is_done(folder, config):
        rows = record.read(folder)
        same = all(resume.made_by(row, config.code) for row in rows)
        other = "" if same else ", made by other code; redo_other_code=true runs it again"
        lines = [f"done already{other}: {'; '.join(map(summary, rows))}", str(RunFolder(folder).records)]
        print("\n".join(lines), file=sys.stderr)
        return False
    if here:
        limits.refuse_place(config.trainer)
        limits.refuse_logger(config.logger, call)
        announce(config)
    freeze(config, folder)
    return True


def call(function: str, *arguments: Any) -> Any:
    """Call a function, named "module:name" and imported when it is needed."""
    module, name = function.split(":")
    return getattr(importlib.import_module(module), name)(*arguments)


def summary(row: record.Row) -> str:
    """One line on how a run went."""
    head = " ".join([row["family"], *(f"{key}={row[key]}" for key in record.WHO[1:])])
    if row["status"] != record.RunStatus.OK:
        return f"{row['status']}: {head}: {row['reason']}"
    size = " ".join(f"{name}={row[name]:.3g}".replace("e+0", "e").replace("e+", "e") for name in ("N", "D", "C"))
    unit = row.get("loss_unit") or record.NATS
    return f"{head}  {size}  L={row['L']:.4f} ± {row['L_se']:.4f} {unit}  ({row['wall_s']:.1f} s)"


app = hydra.main(config_path="pkg://isoflop.conf", config_name="train", version_base="1.3")(train)


def main(arguments: list[str]) -> int:
    """Run the Hydra app and return its exit code: 0 done, 1 a run failed, 2 bad usage or input, in one sentence."""
    try:
        arguments = limits.renamed(extensions.take(arguments))
    except UserError as error:
        return report(*translate(error))
    if {"-h", "--help"} & {*arguments}:
        print(help.text())
        return 0
    if "--version" in arguments:
        print(version())
        return 0
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, not to Hydra's printer
    try:
        if not {"--hydra-help", "--info", "-i"} & {*arguments}:
            limits.refuse_words(arguments)
        sys.argv = ["isoflop train", *modes(arguments)]
        app()
    except (Exception, Ending, KeyboardInterrupt) as error:
        cause = error.__cause__ if isinstance(error, Ending) and error.__cause__ else error
        return report(*translate(cause, elsewhere="give another folder with out=DIR"))
    return 0


def modes(arguments: list[str]) -> list[str]:
    """The command line as Hydra takes it: -m for a study too; none where the config is only shown."""
    shows = any(a.partition("=")[0] in ("--cfg", "-c", "--info", "-i", "--hydra-help") for a in arguments)
    several = {"-m", "--multirun"} & {*arguments} or any(a.lstrip("+").startswith("study=") for a in arguments)
    # a grid is composed by the sweeper; what is only shown is composed as a single run
    rest = [a for a in arguments if a not in ("-m", "--multirun")]
    return [*(["-m"] if several and not shows else []), *rest]


if __name__ == "__main__":
    sys.exit(importlib.import_module("isoflop.scaling.app").main(sys.argv[1:]))
