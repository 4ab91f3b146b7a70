"""Train one run: the Hydra app and the one door, run_one, that every launcher goes through.

    isoflop train family=lstm family.width=32 data.size=1e5
    isoflop train -m family=mlp,lstm family.width=16,32 data.size=1e5,1e6      the same command again does what is
    missing

torch stays out of the imports above the functions: `--help` and a sweep's planning start fast.
"""

import contextlib
import difflib
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from scaling import config, record
from scaling.errors import UserError
from scaling.ranks import Terminated, placed, together

config.register_resolvers()


class RunFailedError(Exception):
    """A run left no result; its record says why."""


class Stopped(KeyboardInterrupt):
    """A signal ended the run; its argument is the exit code."""


class Ending(BaseException):
    """Carries an error of a single run past Hydra, which would print it its own way."""


def train(cfg: DictConfig) -> None:
    """A Hydra job: freeze the composed config, unless a sweep has frozen it already, and go through the door."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    if HydraConfig.get().mode is RunMode.RUN:
        try:
            single(cfg, folder)
        except Exception as error:
            raise Ending() from error
    else:
        refuse_failure(run_one(folder)[-1])


def single(cfg: DictConfig, folder: Path) -> None:
    """Make one run in this process, unless it is there."""
    if not prepare(cfg, folder):
        return
    try:
        rows = run_one(folder, bar=sys.stderr.isatty())
    except UserError:  # it cannot be run at all: leave nothing behind
        for name in (config.FILE, "lock") if not (folder / record.FILE).exists() else ():
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise
    print("\n".join([*map(summary, rows), *spent(folder), f"{folder}/{record.FILE}"]), file=sys.stderr)
    refuse_failure(rows[-1])


def spent(folder: Path) -> list[str]:
    """A line on what a run of several marks spent, where it has been counted."""
    whole = counted(folder)
    if not whole:
        return []
    less = f"{whole['C_separate'] / whole['C']:.2f}× fewer than separate runs"
    return [f"{whole['marks']} marks on one trunk: {whole['C']:.3g} FLOPs spent, {less}"]


def counted(folder: Path) -> dict[str, Any]:
    """What a run of several marks has spent so far; empty where it has not ended yet."""
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        return json.loads((folder / config.SPENT).read_text())  # type: ignore[no-any-return]
    return {}


def refuse_failure(row: record.Row) -> None:
    """Raise where a run left no result."""
    if row["status"] in ("failed", "timeout"):
        raise RunFailedError(f"the run failed: {row['reason']}")


def prepare(cfg: DictConfig, folder: Path) -> bool:
    """Freeze a single run; False where it is done already and is not to be made again."""
    keys = [o.split("=")[0].lstrip("+~") for o in HydraConfig.get().overrides.task]
    cfg.rung = cfg.rung or config.rung(cfg, keys)
    plain = config.resolved(cfg, keys)
    if config.done(folder, plain):
        rows = record.read(folder)
        same = all(config.same_code(row, plain) for row in rows)
        other = "" if same else " by other code; redo_other_code=true runs it again"
        print(f"done already{other}: {'; '.join(map(summary, rows))}\n{folder}/{record.FILE}", file=sys.stderr)
        return False
    config.freeze(plain, folder)
    return True


def run_one(folder: Path, bar: bool = False) -> list[record.Row]:
    """Build, fit, write: train what the folder's frozen config describes and leave its rows in the folder.

    A run that fails leaves a row with the reason, unless one that ended well is there already (other code is being run
    again). UserError: the config cannot be run at all, nothing is left.
    """
    with record.sole_writer(folder), contextlib.ExitStack() as afterwards:
        plain = config.thaw(folder)
        if config.done(folder, plain):
            return record.read(folder)
        (folder / config.HEARTBEAT).unlink(missing_ok=True)
        kept = record.finished(folder)
        if not kept:  # what an earlier attempt left says nothing of this one
            (folder / record.FILE).unlink(missing_ok=True)
        try:
            wanted = config.missing(config.reusable(folder, plain), plain)
            devices = plain["trainer"]["devices"]
            if isinstance(devices, int) and devices > 1:
                rows = together(devices, fit_rank, plain, folder, wanted, bar)
            else:
                rows = fit(plain, folder, wanted, bar, afterwards)
            rows += config.answering(record.read(folder) if kept else [], plain, but=wanted)
            rows = [row | {"mark": n} for n, row in enumerate(sorted(rows, key=lambda row: row["D"]), start=1)]
            record.write(folder, rows)
        except UserError:
            raise
        except Terminated:
            raise Stopped(143) from None
        except Exception as error:
            with (folder / "log.txt").open("a") as log:
                log.write(traceback.format_exc())
            first = str(error).strip().splitlines() or [""]
            rows = [config.failure(plain, "failed", f"{type(error).__name__}: {first[0]}")]
            if not kept:
                record.write(folder, rows)
    return rows


def fit_rank(plain: config.Config, folder: Path, wanted: list[float], bar: bool) -> list[record.Row]:
    """One rank of several: as a run of its own, but that it knows the others; the first speaks for all."""
    first = os.environ["LOCAL_RANK"] == "0"
    with contextlib.ExitStack() as afterwards:
        silent = plain | ({} if first else {"logger": {"name": "none"}})
        return fit(silent, folder, wanted, bar and first, afterwards)


def fit(
    plain: config.Config, folder: Path, wanted: list[float], bar: bool, afterwards: contextlib.ExitStack
) -> list[record.Row]:
    """Train one run and measure the marks of the wanted budgets, in plain sight.

    What can wait until the record is written goes into `afterwards`.
    """
    import pytorch_lightning as pl
    import torch

    from scaling.assemble import assemble
    from scaling.circumstance import measure
    from scaling.module import DivergedError, ScalingModule
    from scaling.watch import Watch, close_mirror, mirror, quiet

    quiet()
    torch.set_num_threads(config.threads())
    run = assemble(plain)
    marks = [mark for mark in run.marks if mark.value in wanted]
    examples = run.data.load()
    torch.manual_seed(plain["seed"])
    model = run.family.build(run.task)
    multipliers = run.recipe.multipliers(model, run.family, run.task)
    module = ScalingModule(
        model,
        multipliers,
        run.task,
        examples,
        run.recipe,
        [mark.steps for mark in marks],
        plain["seed"],
        first=run.marks[0].steps,
        keep_trunk=run.several,
        micro_batch=plain["trainer"]["micro_batch"],
    )
    end: dict[str, Any] = {"status": "failed"}
    logger = mirror(plain, folder)
    afterwards.callback(close_mirror, logger, end)
    watch = Watch(folder, plain, run.cost.flops_per_target, run.steps_made, bar)
    trainer = pl.Trainer(
        **placed(plain["trainer"]),
        max_epochs=-1,  # without end: the module stops when every mark is measured
        logger=logger or False,
        callbacks=[watch],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        checkpoint = watch.resumable(module)
        trainer.fit(module, ckpt_path=checkpoint)
        if not all(mark.steps in module.results for mark in marks):
            raise RuntimeError(f"training ended at step {module.position} of {module.goal}")
        end["status"] = "ok"
    except DivergedError as error:
        end |= {"status": "diverged", "reason": str(error)}
    except SystemExit as stop:  # Lightning's answer to SIGINT and SIGTERM
        raise Stopped(130 if stop.code else 143) from None
    finally:
        watch.close(keep_checkpoint=end["status"] == "failed")
    rows = []
    for mark in marks:
        result = {"status": "ok"} | module.results[mark.steps] if mark.steps in module.results else end
        wall_s = watch.wall_s * mark.steps / module.made  # of all time the share that the steps have
        speed = measure(trainer, mark.C, mark.D, wall_s, run.recipe.precision)
        columns = config.at_mark(plain, mark.budget, mark.value) | run.columns(mark)
        rows.append(record.row(**config.identity(plain) | columns | examples.facts | speed | result))
    end |= module.results.get(marks[-1].steps, {})
    if run.several:
        before = counted(folder)["C"] if checkpoint is None and counted(folder) else 0.0
        C = before + module.made * run.step_C
        whole = {"marks": len(run.marks), "steps": module.made, "C": C, "C_separate": sum(m.C for m in run.marks)}
        record.write_text(folder / config.SPENT, json.dumps(whole) + "\n")
    return rows


def summary(row: record.Row) -> str:
    """One line on how a run went."""
    head = f"{row['family']} width={row['width']} depth={row['depth']} seed={row['seed']}"
    if row["status"] != "ok":
        return f"{row['status']}: {head}: {row['reason']}"
    size = " ".join(f"{name}={row[name]:.3g}".replace("e+0", "e").replace("e+", "e") for name in ("N", "D", "C"))
    return f"{head}  {size}  L={row['L']:.4f} ± {row['L_se']:.4f} nats per target  ({row['wall_s']:.1f} s)"


app = hydra.main(config_path="../conf", config_name="train", version_base="1.3")(train)


def main(arguments: list[str]) -> int:
    """Run the Hydra app and return its exit code: 0 done, 1 a run failed, 2 bad usage or input, in one sentence."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, not to Hydra's printer
    flags = [a for a in arguments if a.startswith("-")]
    values = [a for a in arguments if not a.startswith("-")]
    shows = any(flag.startswith(("--cfg", "-c", "--info", "-i", "--h", "-h")) for flag in flags)
    several = {"-m", "--multirun"} & {*flags} or any(a.lstrip("+").startswith("ladder=") for a in values)
    # a grid is composed by the sweeper; what is only shown is composed as a single run
    rest = [a for a in arguments if a not in ("-m", "--multirun")]
    sys.argv = ["isoflop train", *(["-m"] if several and not shows else []), *rest]
    try:
        for value in values:
            if value.startswith(("=", "+=", "++=")):
                raise UserError(f"{value!r} has no key; the form is key=value, as in family.width=64")
        app()
    except (Exception, Ending, KeyboardInterrupt) as error:
        code, message = verdict(error.__cause__ if isinstance(error, Ending) and error.__cause__ else error)
        print(f"isoflop: {message}", file=sys.stderr)
        return code
    return 0


def verdict(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence of an error; what is neither the user's nor a run's is raised again."""
    match error:
        case UserError():
            return 2, str(error)
        case HydraException() | OmegaConfBaseException():
            return 2, sentence(error)
        case ValueError() if str(error).startswith("Config group override"):
            return 2, "a group takes the name of a choice, as in family=lstm; leave it out for the default"
        case RunFailedError() | record.BusyError():
            return 1, str(error)
        case KeyboardInterrupt():
            return (error.args[0] if isinstance(error, Stopped) else 130), "stopped; the same command goes on from here"
        case OSError():
            what = f"{error.filename}: " if error.filename else ""
            return 2, f"{what}{error.strerror or error}; make room, or give another folder with out=DIR"
    raise error


def sentence(error: Exception) -> str:
    """What Hydra has to say, in one sentence: what was given, what is allowed."""
    first, cause = str(error).split("\n")[0], error.__cause__
    while cause is not None and not isinstance(cause, UserError | ConfigAttributeError | ConfigKeyError):
        cause = cause.__cause__
    if isinstance(cause, UserError):
        return str(cause)
    if isinstance(error, OverrideParseException):
        return f"the override {error.override!r} cannot be read; the form is key=value, as in family.width=64"
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={name} is not there; choose one of {', '.join(sorted(error.options))}"
    if first.startswith("Ambiguous value"):
        return f"{first.split(chr(39))[1]} is several values; add -m to sweep over them"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and OmegaConf.is_dict(cause.parent_node):
        parent, key = str(cause.full_key).rpartition(".")[0], str(cause.key)
        keys = [str(k) for k in cause.parent_node if k not in ("hydra", "names", "_target_")]
        close = difflib.get_close_matches(key, keys, n=1)
        mean = f"did you mean {parent + '.' if parent else ''}{close[0]}=? " if close else ""
        return f"{cause.full_key} is not a key; {mean}{parent or 'a run'} has {', '.join(keys)}"
    return f"{first} {cause or ''}".replace("\n", " ").strip()


if __name__ == "__main__":
    sys.exit(importlib.import_module("scaling.train").main(sys.argv[1:]))
