"""Several ranks on one run: started by the run's own process, which trains nothing, all ended when one dies.

rows = train_ranks(2, function, config)         # function(config) in two processes that know of each other
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from isoflop.errors import UserError
from isoflop.scaling.config.sections import Trainer
from isoflop.scaling.process.signals import describe_exit

LOCALHOST = "127.0.0.1"


class RankError(Exception):
    """A rank failed or died."""


def train_ranks(ranks: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in this many processes, which Lightning finds joined; return the first rank's result. UserError
    where a rank raises one; RankError with the rank and its reason where one fails or dies."""
    # a fork is quick and inherits what is imported; elsewhere a process starts from nothing
    torch = sys.modules.get("torch")
    forks = sys.platform == "linux" and not (torch and torch.cuda.is_initialized())  # forks could not use CUDA then
    context = multiprocessing.get_context("fork" if forks else "spawn")
    lifeline, hold = context.Pipe(duplex=False)
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))  # to a port that nothing listens on
        address = {"MASTER_ADDR": LOCALHOST, "MASTER_PORT": str(probe.getsockname()[1])}
    environment, started = address | {"NODE_RANK": "0", "WORLD_SIZE": str(ranks)}, []
    try:
        for rank in range(ranks):
            ours, theirs = context.Pipe(duplex=False)
            given = (environment | {"LOCAL_RANK": str(rank)}, theirs, lifeline, hold, partial(function, *arguments))
            process = context.Process(target=_rank, args=given)  # type: ignore[attr-defined]
            process.start()
            theirs.close()
            started.append((process, ours))
        return _first_result(started)
    finally:
        for process, _ in started:
            process.kill()
            process.join()
        hold.close()


def placement(trainer: Trainer) -> dict[str, Any]:
    """Return the config's trainer group as arguments of Lightning's Trainer; the ranks exist already."""
    from pytorch_lightning.plugins.environments import LightningEnvironment
    from pytorch_lightning.strategies import ModelParallelStrategy

    devices = trainer.devices
    strategy: Any = trainer.strategy if devices > 1 else "auto"
    if strategy == "fsdp":
        # the second FSDP of torch, fully_shard: parameters keep their names and shapes, and so their groups
        strategy = ModelParallelStrategy(devices, tensor_parallel_size=1, save_distributed_checkpoint=False)
    # no scheduler is asked for ranks
    environment = [LightningEnvironment()]
    # the GPU of a Mac has no float64, in which losses are summed: it is taken only where asked for
    accelerator = "cpu" if trainer.accelerator == "auto" and sys.platform == "darwin" else trainer.accelerator
    return {"accelerator": accelerator, "devices": devices, "strategy": strategy, "plugins": environment}


def _first_result(started: list[tuple[BaseProcess, Connection]]) -> Any:
    """Return what the first rank sends, once every rank has ended well."""
    first, waiting = None, {pipe: (rank, process) for rank, (process, pipe) in enumerate(started)}
    while waiting:
        for pipe in wait(list(waiting)):
            assert isinstance(pipe, Connection)
            rank, process = waiting.pop(pipe)
            try:
                good, result = pipe.recv()
            except EOFError:
                process.join()
                raise RankError(f"rank {rank} of {len(started)} died ({describe_exit(process.exitcode)})") from None
            if isinstance(result, UserError):
                raise result
            if not good:
                raise RankError(f"rank {rank} of {len(started)}: {result}")
            first = result if rank == 0 else first
    return first


def _rank(
    environment: dict[str, str], pipe: Connection, lifeline: Connection, hold: Connection, call: Callable[[], Any]
) -> None:
    hold.close()  # else the lifeline would not break with the run's process
    threading.Thread(target=_die_with, args=(lifeline,), daemon=True).start()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run's process, which ends the ranks
    os.environ |= environment
    try:
        result = call()
        pipe.send((True, result if environment["LOCAL_RANK"] == "0" else None))
    except UserError as error:
        pipe.send((False, error))
    except Exception as error:
        first = str(error).strip().splitlines() or [""]
        pipe.send((False, f"{type(error).__name__}: {first[0]}"))
        raise


def _die_with(lifeline: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(1)
