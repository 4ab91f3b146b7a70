"""One run, through the one door of every launcher: a folder with a frozen config becomes a folder with a record.

    run_one(Path("runs/0f3a9c2b7d11"))[-1]["L"]

torch stays out of the imports above the functions: planning and `--help` start fast.
"""

import contextlib
import gc
import json
import os
import signal
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop import record
from isoflop.errors import UserError
from isoflop.exits import Stopped
from isoflop.scaling import frozen as config
from isoflop.scaling.loop.ranks import placed, together
from isoflop.scaling.process import hold

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from isoflop.scaling.assemble import Assembled, Mark
    from isoflop.scaling.loop.module import ScalingModule

# how torch, CUDA and Python say that memory was short
SHORT = ("OutOfMemoryError", "MemoryError", "can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def run_one(folder: Path, bar: bool = False, patience_s: float = 1.0) -> list[record.Row]:
    """Build, fit, write: train what the folder's frozen config describes and leave its rows in the folder.

    A run that fails leaves a row with the reason, unless one that ended well is there already (other code is being run
    again). UserError: the config cannot be run at all, nothing is left. BusyError: after so many seconds another
    process still works in the folder.
    """
    with hold.sole_writer(folder, patience_s):
        plain = config.thaw(folder)
        if config.done(folder, plain):
            return record.read(folder)
        kept = record.finished(folder)
        if not kept:  # what an earlier attempt left says nothing of this one
            (folder / record.FILE).unlink(missing_ok=True)
        if hold.cancelled(folder):
            raise Stopped(143)
        try:
            config.refuse_other_code(plain)
            with hold.terminable():
                return made(plain, folder, bar, kept)
        except UserError:
            raise
        except hold.Terminated:
            raise Stopped(143) from None
        except Exception as error:
            log(folder, traceback.format_exc())
            rows = [config.failure(plain, *blamed(error))]
            if not kept:
                record.write(folder, rows)
            return rows


def blamed(error: Exception) -> tuple[str, str]:
    """The status and reason of a run that an error ended."""
    name, first = type(error).__name__, (str(error).strip().splitlines() or [""])[0]
    if name == "UncompletedJobError":  # submitit's, after the last time limit
        return "timeout", first
    return "failed", f"{name}: {first}"


def made(plain: config.Config, folder: Path, bar: bool, kept: bool) -> list[record.Row]:
    """Make the marks that are missing and write the record; where memory is short, again with smaller micro-batches."""
    wanted = config.missing(config.reusable(folder, plain), plain)
    while True:
        try:
            with contextlib.ExitStack() as afterwards:
                rows = attempt(plain, folder, wanted, bar, afterwards)
                rows += config.answering(record.read(folder) if kept else [], plain, but=wanted)
                rows = [row | {"mark": n} for n, row in enumerate(sorted(rows, key=lambda row: row["D"]), start=1)]
                record.write(folder, rows)
                return rows
        except Exception as error:
            smaller = halved(plain) if out_of_memory(error) else None
            if smaller is None:
                raise
        log(folder, f"out of memory: again with trainer.micro_batch={smaller}\n")
        plain = plain | {"trainer": plain["trainer"] | {"micro_batch": smaller}}
        release()


def attempt(
    plain: config.Config, folder: Path, wanted: list[float], bar: bool, afterwards: contextlib.ExitStack
) -> list[record.Row]:
    """Train once, in this process or in one for every rank."""
    devices = plain["trainer"]["devices"]
    if isinstance(devices, int) and devices > 1:
        return together(devices, fit_rank, plain, folder, wanted, bar)  # type: ignore[no-any-return]
    with hold.Heart(folder) as heart:
        return fit(plain, folder, wanted, bar, afterwards, heart)


def halved(plain: config.Config) -> int | None:
    """The next smaller micro-batch [examples]; none below one."""
    from isoflop.scaling.assemble import assemble

    return config.smaller(plain["trainer"], assemble(plain).recipe.batch)


def out_of_memory(error: Exception) -> bool:
    """Whether an error, of this process or of a rank, says that memory was short, on a GPU or the host."""
    said = f"{type(error).__name__}: {error}"
    return any(word in said for word in SHORT)


def release() -> None:
    """Give back the memory of a model that is gone."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def log(folder: Path, text: str) -> None:
    """Append to the run's log; a disk that is full must not hide what is being logged."""
    with contextlib.suppress(OSError), (folder / "log.txt").open("a") as file:
        file.write(text)


def fit_rank(plain: config.Config, folder: Path, wanted: list[float], bar: bool) -> list[record.Row]:
    """One rank of several: as a run of its own, but that it knows the others; the first speaks for all."""
    heart = hold.Heart(folder, owner=os.getppid())
    with contextlib.ExitStack() as afterwards:
        if os.environ["LOCAL_RANK"] == "0":
            return fit(plain, folder, wanted, bar, afterwards, afterwards.enter_context(heart))
        return fit(plain | {"logger": {"name": "none"}}, folder, wanted, False, afterwards, heart)


def fit(
    plain: config.Config,
    folder: Path,
    wanted: list[float],
    bar: bool,
    afterwards: contextlib.ExitStack,
    heart: hold.Heart,
) -> list[record.Row]:
    """Train one run and measure the marks of the wanted budgets, in plain sight.

    What can wait until the record is written goes into `afterwards`.
    """
    import pytorch_lightning as pl
    import torch

    from isoflop.scaling.assemble import assemble
    from isoflop.scaling.loop.module import DivergedError
    from isoflop.scaling.loop.watch import Watch, close_mirror, mirror, quiet

    quiet()
    torch.set_num_threads(config.threads())
    run = assemble(plain)
    marks = [mark for mark in run.marks if mark.value in wanted]
    module = built(plain, run, [mark.steps for mark in marks])
    end: dict[str, Any] = {"status": "failed"}
    logger = mirror(plain, folder)
    afterwards.callback(close_mirror, logger, end)
    deferred = hold.Deferred(signal.SIGUSR1, signal.SIGUSR2)
    watch = Watch(folder, plain, run.cost.flops_per_target, run.steps_made, heart, deferred, bar)
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
        with deferred, hold.between_steps():
            trainer.fit(module, ckpt_path=checkpoint)
        if not all(mark.steps in module.results for mark in marks):
            raise RuntimeError(f"training ended at step {module.position} of {module.goal}")
        end["status"] = "ok"
    except DivergedError as error:
        end |= {"status": "diverged", "reason": str(error)}
    except SystemExit as stop:  # Lightning's answer to SIGINT and SIGTERM
        if deferred.handled:  # a scheduler's handler has seen to what comes next
            raise
        raise Stopped(130 if stop.code else 143) from None
    finally:
        watch.close(keep_checkpoint=end["status"] == "failed")
    rows = measured(plain, run, marks, module, trainer, watch.wall_s, dict(end))
    end |= module.results.get(marks[-1].steps, {})
    if run.several:
        account(folder, run, module.made, afresh=checkpoint is None)
    return rows


def built(plain: config.Config, run: "Assembled", steps: list[int]) -> "ScalingModule":
    """The module of a run, its model initialised from the seed, for marks at these steps."""
    import torch

    from isoflop.scaling.loop.module import ScalingModule

    examples = run.data.load()
    torch.manual_seed(plain["seed"])
    model = run.family.build(run.task)
    return ScalingModule(
        model,
        run.recipe.multipliers(model, run.family, run.task),
        run.task,
        examples,
        run.recipe,
        steps,
        plain["seed"],
        first=run.marks[0].steps,
        keep_trunk=run.several,
        micro_batch=plain["trainer"]["micro_batch"],
    )


def measured(
    plain: config.Config,
    run: "Assembled",
    marks: "list[Mark]",
    module: "ScalingModule",
    trainer: "pl.Trainer",
    wall_s: float,
    end: dict[str, Any],
) -> list[record.Row]:
    """The rows of the marks; `end` is the result of one that was not reached."""
    from isoflop.scaling.hardware import measure

    rows = []
    for mark in marks:
        result = {"status": "ok"} | module.results[mark.steps] if mark.steps in module.results else end
        share_s = wall_s * mark.steps / module.made  # of all time the share that the steps have
        speed = measure(trainer, mark.C, mark.D, share_s, run.recipe.precision)
        columns = config.at_mark(plain, mark.budget, mark.value) | run.columns(mark)
        rows.append(record.row(**config.columns(plain) | columns | module.examples.facts | speed | result))
    return rows


def account(folder: Path, run: "Assembled", made: int, afresh: bool) -> None:
    """Write what all steps of a run of several marks have cost; afresh: earlier ones are not among those made."""
    before = counted(folder)["C"] if afresh and counted(folder) else 0.0
    spent = {"marks": len(run.marks), "steps": made, "C": before + made * run.step_C}
    record.write_text(folder / config.SPENT, json.dumps(spent | {"C_separate": sum(m.C for m in run.marks)}) + "\n")


def counted(folder: Path) -> dict[str, Any]:
    """What a run of several marks has spent so far; empty where it has not ended yet."""
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        return json.loads((folder / config.SPENT).read_text())  # type: ignore[no-any-return]
    return {}
