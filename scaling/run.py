"""One run, through the one door of every launcher: a folder with a frozen config becomes a folder with a record.

    run_one(Path("runs/0f3a9c2b7d11"))[-1]["L"]

torch stays out of the imports above the functions: planning and `--help` start fast.
"""

import contextlib
import gc
import sys
import traceback
from dataclasses import replace
from pathlib import Path

from isoflop import files, record
from isoflop.command import Stopped
from isoflop.errors import BusyError, UserError
from isoflop.folder import RunFolder
from isoflop.scaling.config import resume
from isoflop.scaling.config.frozen import FrozenConfig, failure, status_and_reason, thaw
from isoflop.scaling.loop.attempt import Attempt
from isoflop.scaling.process.lock import Heart, Lease, sole_writer
from isoflop.scaling.process.signals import Terminated, terminable

# how torch, CUDA and Python say that memory was short
OUT_OF_MEMORY = (
    "OutOfMemoryError",
    "MemoryError",
    "can't allocate memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
)


def run_one(folder: Path, bar: bool = False, patience_s: float = 1.0) -> list[record.Row]:
    """Train what the folder's frozen config describes and leave its rows in the folder.

    A run that fails leaves a row with the reason, unless a good one is there already (of a run repeated by new code).
    UserError: the config cannot be run, and nothing is left. BusyError: another process still works in the folder after
    patience_s. Stopped: a signal ended the run (process/signals.py).
    """
    run = RunFolder(folder)
    with sole_writer(run, patience_s) as lease:
        config = thaw(folder)
        if resume.is_done(folder, config):
            return record.read(folder)
        run.remove_drafts()
        if not record.finished(folder):  # what an earlier attempt left does not describe this one
            run.records.unlink(missing_ok=True)
        if run.cancelled:
            raise Stopped(143)
        try:
            with terminable(), Heart(run, stands=lease.stands) as heart:
                return _train_or_fail(config, run, lease, heart, bar)
        except Terminated as stop:
            raise Stopped(stop.exit_code) from None


def _train_or_fail(config: FrozenConfig, folder: RunFolder, lease: Lease, heart: Heart, bar: bool) -> list[record.Row]:
    try:
        resume.refuse_other_code(config)
        with files.naming(folder.path):
            return _train(config, folder, lease, heart, bar)
    except (UserError, BusyError):
        raise
    except Exception as error:
        folder.append_log(traceback.format_exc())
        rows = [failure(config, *status_and_reason(error))]
        lease.refuse_loss()
        if not record.finished(folder.path):
            record.write(folder.path, rows)
        return rows


def _train(config: FrozenConfig, folder: RunFolder, lease: Lease, heart: Heart, bar: bool) -> list[record.Row]:
    """Make the missing marks and write the record, before the checkpoint goes; again with smaller micro-batches if
    memory is short, and in a fresh process if no graph could be captured."""
    values, not_captured = resume.missing(resume.reusable(folder.path, config), config), ""
    while True:
        try:
            with contextlib.ExitStack() as afterwards:
                rows = Attempt(config, folder, values, heart, bar, not_captured).train(afterwards)
                lease.refuse_loss()
                record.write(folder.path, rows)
                folder.checkpoint.unlink(missing_ok=True)
                return rows
        except Exception as error:
            smaller = _halve_micro_batch(config) if _is_out_of_memory(error) else None
            if smaller is not None:
                config, said = smaller, f"out of memory: again with trainer.micro_batch={smaller.trainer.micro_batch}"
            elif not not_captured and (not_captured := _why_not_captured(error)):
                said = f"trainer.graph=true: {not_captured}; again in a fresh process, each step taken on its own"
                print(said, file=sys.stderr)
            else:
                raise
        folder.append_log(f"{said}\n")
        _release_memory()


def _halve_micro_batch(config: FrozenConfig) -> FrozenConfig | None:
    from isoflop.scaling.assemble import assemble

    smaller = config.trainer.halved_micro_batch(assemble(config).recipe.batch)
    return replace(config, trainer=replace(config.trainer, micro_batch=smaller)) if smaller else None


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether an error, of this process or of a rank, says that memory ran out, on a GPU or the host."""
    message = f"{type(error).__name__}: {error}"
    return any(words in message for words in OUT_OF_MEMORY)


def _why_not_captured(error: BaseException | None) -> str:
    """Return why no graph could be captured, if an error says so, or one in whose handling it came; else ''."""
    while error is not None and type(error).__name__ != "NotCapturedError":  # graph.py, which imports torch
        error = error.__context__
    return str(error or "")


def _release_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_initialized():  # to start CUDA here would forbid the next fork of ranks
        with contextlib.suppress(RuntimeError):  # after a failed capture the allocator may still be in capture mode
            torch.cuda.empty_cache()
