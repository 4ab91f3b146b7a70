"""Train one run: the Hydra app and the one door, run_one, that every launcher goes through.

    isoflop train family=lstm family.width=32 data.size=1e5
    isoflop train -m family=mlp,lstm family.width=16,32 data.size=1e5,1e6      the same command again does what is
    missing

torch stays out of the imports above the functions: `--help` and a sweep's planning start fast.
"""

import contextlib
import difflib
import importlib
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

config.register_resolvers()


class RunFailedError(Exception):
    """A run left no result; its record says why."""


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
        row = run_one(folder, bar=sys.stderr.isatty())[-1]
    except UserError:  # it cannot be run at all: leave nothing behind
        for name in (config.FILE, "lock"):
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise
    print(f"{summary(row)}\n{folder}/{record.FILE}", file=sys.stderr)
    refuse_failure(row)


def refuse_failure(row: record.Row) -> None:
    """Raise where a run left no result."""
    if row["status"] in ("failed", "timeout"):
        raise RunFailedError(f"the run failed: {row['reason']}")


def prepare(cfg: DictConfig, folder: Path) -> bool:
    """Freeze a single run; False where it is done already and is not to be made again."""
    cfg.rung = cfg.rung or config.rung(cfg, [o.split("=")[0].lstrip("+~") for o in HydraConfig.get().overrides.task])
    plain = config.resolved(cfg)
    if record.finished(folder):
        same = config.same_code(record.read(folder)[0], plain)
        if same or not cfg.redo_other_code:
            other = "" if same else " by other code; redo_other_code=true runs it again"
            print(f"done already{other}: {summary(record.read(folder)[-1])}\n{folder}/{record.FILE}", file=sys.stderr)
            return False
        (folder / record.FILE).unlink()
    config.freeze(plain, folder)
    return True


def run_one(folder: Path, bar: bool = False) -> list[record.Row]:
    """Build, fit, write: train what the folder's frozen config describes and leave its rows in the folder.

    A run that fails leaves a row with the reason. UserError: the config cannot be run at all, nothing is left.
    """
    with record.sole_writer(folder):
        if record.finished(folder):
            return record.read(folder)
        plain = config.thaw(folder)
        try:
            rows = fit(plain, folder, bar)
        except (UserError, KeyboardInterrupt):
            raise
        except Exception as error:
            with (folder / "log.txt").open("a") as log:
                log.write(traceback.format_exc())
            first = str(error).strip().splitlines() or [""]
            rows = [config.failure(plain, "failed", f"{type(error).__name__}: {first[0]}")]
        record.write(folder, rows)
    return rows


def fit(plain: config.Config, folder: Path, bar: bool) -> list[record.Row]:
    """Train and evaluate one run, in plain sight."""
    import pytorch_lightning as pl
    import torch

    from scaling.assemble import assemble
    from scaling.circumstance import measure
    from scaling.module import DivergedError, ScalingModule
    from scaling.watch import CHECKPOINT, Watch, mirror, quiet

    quiet()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    run = assemble(plain)
    examples = run.data.load()
    torch.manual_seed(plain["seed"])
    model = run.family.build(run.task)
    multipliers = run.recipe.multipliers(model, run.family, run.task)
    module = ScalingModule(model, multipliers, run.task, examples, run.recipe, run.steps, plain["seed"])
    logger = mirror(plain, folder)
    watch = Watch(folder, run.cost.flops_per_target, plain["trainer"]["checkpoint_every_s"], bar)
    trainer = pl.Trainer(
        accelerator=plain["trainer"]["accelerator"],
        devices=1,
        max_steps=run.steps,
        logger=logger or False,
        callbacks=[watch],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    checkpoint = folder / CHECKPOINT
    result: dict[str, Any] = {"status": "failed"}
    try:
        trainer.fit(module, ckpt_path=checkpoint if checkpoint.exists() else None)
        result = {"status": "ok", **module.results}
    except DivergedError as error:
        result = {"status": "diverged", "reason": str(error)}
    finally:
        watch.close(keep_checkpoint=result["status"] == "failed")
        if logger:
            logger.log_metrics({k: v for k, v in result.items() if k.startswith("L")}, step=module.position)
            logger.experiment.finish(exit_code=int(result["status"] != "ok"))
    speed = measure(trainer.strategy.root_device, run.C, run.D, watch.wall_s, run.recipe.precision)
    return [record.row(**config.identity(plain), **run.columns, **examples.facts, **speed, **result)]


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
    if any(a.startswith(("ladder=", "+ladder=")) for a in arguments) and not {"-m", "--multirun", "--cfg", "-c"} & {
        *arguments
    }:
        arguments = ["-m", *arguments]
    sys.argv = ["isoflop train", *arguments]
    try:
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
        case RunFailedError() | record.BusyError():
            return 1, str(error)
        case KeyboardInterrupt():
            return 130, "stopped; the same command goes on from here"
        case OSError():
            what = f"{error.filename}: " if error.filename else ""
            return 2, f"{what}{error.strerror or error}; make room, or give another folder with out=DIR"
    raise error


def sentence(error: Exception) -> str:
    """What Hydra has to say, in one sentence: what was given, what is allowed."""
    first, cause = str(error).split("\n")[0], error.__cause__
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
