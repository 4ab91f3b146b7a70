"""`isoflop train`: the Hydra app, over the one door, run_one, that every launcher goes through.

    isoflop train family=lstm family.width=32 data.size=1e5
    isoflop train -m family=mlp,lstm family.width=16,32 data.size=1e5,1e6      again: what is missing

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
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig

from isoflop import extensions, record
from isoflop.command import RunFailedError, report, translate
from isoflop.errors import UserError
from isoflop.folder import RunFolder
from isoflop.scaling import limits
from isoflop.scaling.config import resume
from isoflop.scaling.config.choices import names
from isoflop.scaling.config.composed import register_resolvers, resolve, rung
from isoflop.scaling.config.frozen import FrozenConfig, freeze, rounded
from isoflop.scaling.process.lock import held
from isoflop.scaling.run import run_one
from isoflop.wording import gigabytes, short, version

# a budget that whole steps exceed by more than this factor is named
NOTED = 1.05
# how long a job of a scheduler waits for the one before it, which may still be keeping its checkpoint [s]
PATIENCE_S = 60.0

HELP = """isoflop train: train one run, or with -m a sweep of them; rerun the same command to resume

usage: isoflop train [-m] [key=value ...]

what to train
  family=NAME        the architecture: {family}
  family.width=32    its two dials, width and depth; every other knob of a family is family.KNOB too
  data=NAME          what it learns: {data}
                     data=files data.path=PATH is a corpus of your own, which isoflop prepare tokenises beforehand
  data.size=1e6      distinct training examples or targets, as the dataset counts them
  recipe=NAME        how it is trained: {recipe}
  seed=0             of the initialisation and the order of the data; several seeds show the noise

  probe=[positions]  measurements beside the loss, at every mark: {probe}

how long: give one of these; by default a run is one epoch
  budget.D=1e6       training targets, for text its bytes
  budget.C=1e12      training FLOPs
  budget.D_per_N=20  targets per parameter that multiplies (no embedding table)
  budget.epochs=2    passes over the data
  Steps are whole, so a budget is rounded up; below half a step it is refused, unless round_up=true.
  A list, budget.D=[1e5,1e6], measures several marks along one run: each is cooled down on a branch of one trunk and
  becomes a row, as if from a run of its own, for less compute.

where to put it
  out=runs           the folder of the run or sweep; a run's own folder there is named by a hash of what determines it
  logger=NAME        also mirror it to: {logger}; docs/wandb.md
  tags=[pilot]       words to find it by in the mirror
  rung=...           a run's place in a sweep, the same for every family and seed; a sweep fills it in

sweeps
  -m                 every combination of values with a comma between: family=mlp,lstm family.width=16,32
  study=NAME         the runs of a study, or a ready-made sweep: {study}
  hydra.launcher.n_jobs=4        runs at a time; hydra.launcher.timeout_s=3600: the longest of a run
  hydra/launcher=slurm           on a cluster: docs/clusters.md
  isoflop.extensions=[my_lab]    families, data, recipes and studies of a folder of your own: docs/adding.md

examples
  isoflop train family=lstm family.width=32 data.size=1e5           one run, one epoch of 100,000 bytes
  isoflop train family=mlp budget.C=1e11                            one run for a budget of training FLOPs
  isoflop train -m family=mlp,lstm family.width=16,32,64 budget.D=1e6 seed=0,1,2 out=runs/first       18 runs
  isoflop train family=transformer budget.D=[1e5,3e5,1e6]           three marks along one run
  isoflop train study=grid family=lstm out=runs/grid                a ready-made sweep

`isoflop train family=lstm --cfg job` shows every key and its value, and runs nothing; `isoflop plan -m ...` says what a
sweep would cost; `isoflop status DIR` shows a folder of runs, `isoflop collect DIR` makes a table of it."""

register_resolvers()


class _Ending(BaseException):
    """Carries an error of a single run past Hydra, which would print it its own way."""


def train(cfg: DictConfig) -> float | None:
    """Freeze the composed config, unless a sweep has, and run it: the Hydra job. Return what a sweeper minimises."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    if HydraConfig.get().mode is RunMode.RUN:
        try:
            _single(cfg, folder)
        except Exception as error:
            raise _Ending() from error
        return None
    if "run_id" not in cfg and not prepare(cfg, folder):  # a sweeper that is not ours froze nothing
        return objective(record.read(folder)[-1])
    row = run_one(folder, patience_s=PATIENCE_S)[-1]
    _refuse_failure(row)
    return objective(row)


def objective(row: record.Row) -> float:
    """Return what a sweeper minimises: L, infinite where the run diverged."""
    return math.inf if row["L"] is None else float(row["L"])


def _single(cfg: DictConfig, folder: Path) -> None:
    """Run one config in this process unless it is done; leave nothing behind if it cannot be run."""
    new = not RunFolder(folder).config.exists()
    try:
        if not prepare(cfg, folder, here=True):
            return
        rows = run_one(folder, bar=sys.stderr.isatty())
    except UserError:
        if new and not held(RunFolder(folder)):
            RunFolder(folder).remove_unstarted()
            with contextlib.suppress(OSError):  # others may be at work there
                folder.parent.rmdir()
        raise
    exceeded = [(row["D"], factor) for row in rows if (factor := rounded(row)) > NOTED]
    rounding = [f"rounded up to whole steps: D={D} is {factor:.2f} times the budget" for D, factor in exceeded]
    lines = [*map(_summary, rows), *rounding, *_spent(folder), str(RunFolder(folder).records)]
    print("\n".join(lines), file=sys.stderr)
    _refuse_failure(rows[-1])


def _announce(config: FrozenConfig) -> None:
    from isoflop.scaling.estimate import available, plan

    run = plan(config)
    limits.refuse_size(run, config.trainer, available(config.trainer))
    sizes = " ".join(f"{name}={short(getattr(run, name))}" for name in ("N", "D", "C"))
    steps = f"{run.steps} step{'s' * (run.steps > 1)}"
    print(f"{config.names.family} on {config.names.data}: {sizes}, {steps}, {gigabytes(run.memory)}", file=sys.stderr)


def _spent(folder: Path) -> list[str]:
    if not (total := RunFolder(folder).read_spent()):
        return []
    ratio = total["C_separate"] / total["C"]
    less = f"{ratio:.2f}× fewer than separate runs" if ratio >= 1 else f"{1 / ratio:.2f} times those of separate runs"
    return [f"{total['marks']} marks on one trunk: {total['C']:.3g} FLOPs spent, {less}"]


def _refuse_failure(row: record.Row) -> None:
    if not record.has_result(row):
        raise RunFailedError(f"the run failed: {row['reason']}")


def prepare(cfg: DictConfig, folder: Path, here: bool = False) -> bool:
    """Freeze a single run, refusing what this machine cannot do if it is made `here`; return False if it is done."""
    keys = [o.split("=")[0].lstrip("+~") for o in HydraConfig.get().overrides.task]
    limits.refuse_values(cfg)
    cfg.rung = cfg.rung or rung(cfg, keys)
    config = resolve(cfg, keys)
    if resume.is_done(folder, config):
        rows = record.read(folder)
        same = all(resume.made_by(row, config.code) for row in rows)
        other = "" if same else ", made by other code; redo_other_code=true runs it again"
        lines = [f"done already{other}: {'; '.join(map(_summary, rows))}", str(RunFolder(folder).records)]
        print("\n".join(lines), file=sys.stderr)
        return False
    if here:
        limits.refuse_place(config.trainer)
        limits.refuse_logger(config.logger, _call)
        _announce(config)
    freeze(config, folder)
    return True


def _call(function: str, *arguments: Any) -> Any:
    module, name = function.split(":")
    return getattr(importlib.import_module(module), name)(*arguments)


def _summary(row: record.Row) -> str:
    head = " ".join([row["family"], *(f"{key}={row[key]}" for key in record.WHO[1:])])
    if row["status"] != record.RunStatus.OK:
        return f"{row['status']}: {head}: {row['reason']}"
    size = " ".join(f"{name}={row[name]:.3g}".replace("e+0", "e").replace("e+", "e") for name in ("N", "D", "C"))
    unit = row.get("loss_unit") or record.NATS
    return f"{head}  {size}  L={row['L']:.4f} ± {row['L_se']:.4f} {unit}  ({row['wall_s']:.1f} s)"


def help_text() -> str:
    """Return what `isoflop train --help` prints, with the choices of every group."""
    groups = ("family", "data", "recipe", "probe", "logger", "study")
    return HELP.format(**{group: ", ".join(names(group)) for group in groups})


app = hydra.main(config_path="pkg://isoflop.conf", config_name="train", version_base="1.3")(train)


def main(arguments: list[str]) -> int:
    """Run the Hydra app and return its exit code: 0 done, 1 a run failed, 2 bad usage or input, in one sentence."""
    try:
        arguments = _dry(limits.renamed(extensions.take(arguments)))
    except UserError as error:
        return report(*translate(error))
    if {"-h", "--help"} & {*arguments}:
        print(help_text())
        return 0
    if "--version" in arguments:
        print(version())
        return 0
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, not to Hydra's printer
    try:
        if not {"--hydra-help", "--info", "-i"} & {*arguments}:
            limits.refuse_words(arguments)
        sys.argv = ["isoflop train", *_modes(arguments)]
        app()
    except (Exception, _Ending, KeyboardInterrupt) as error:
        cause = error.__cause__ if isinstance(error, _Ending) and error.__cause__ else error
        return report(*translate(cause, elsewhere="give another folder with out=DIR"))
    return 0


def _dry(arguments: list[str]) -> list[str]:
    """Return the command line with --dry-run as a key of the sweeper; UserError where there is no job to print."""
    if "--dry-run" not in arguments:
        return arguments
    if "-m" not in _modes(arguments) or "hydra/launcher=slurm" not in arguments:
        raise UserError("--dry-run prints a Slurm job: add -m hydra/launcher=slurm; isoflop plan lists the runs")
    return [word if word != "--dry-run" else "hydra.sweeper.dry_run=true" for word in arguments]


def _modes(arguments: list[str]) -> list[str]:
    """Return the command line as Hydra takes it: -m for a study too, without it where the config is only shown."""
    shows = any(a.partition("=")[0] in ("--cfg", "-c", "--info", "-i", "--hydra-help") for a in arguments)
    several = {"-m", "--multirun"} & {*arguments} or any(a.lstrip("+").startswith("study=") for a in arguments)
    # a grid is composed by the sweeper; what is only shown is composed as a single run
    rest = [a for a in arguments if a not in ("-m", "--multirun")]
    if shows and several:
        for override in OverridesParser.create().parse_overrides([a for a in rest if "=" in a and a[0] != "-"]):
            if override.is_sweep_override():
                raise UserError(f"{override.input_line} is several values, and --cfg shows one run; give one of them")
    return [*(["-m"] if several and not shows else []), *rest]


if __name__ == "__main__":
    sys.exit(importlib.import_module("isoflop.scaling.app").main(sys.argv[1:]))
