"""Fresh processes with torch already imported, forks of a server: what a run could leak ends with its process.

plans = call("isoflop.scaling.estimate:describe", configs)  # in a fresh process, the result comes back over a pipe
"""

import importlib
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from isoflop.errors import UserError
from isoflop.extensions import blame
from isoflop.folder import RunFolder
from isoflop.scaling.hardware import RUNS_PER_GPU, cores
from isoflop.scaling.process import signals
from isoflop.scaling.process.signals import describe_exit

# imported once, in the server; every process is a fork of it
PRELOAD = ["isoflop.scaling.process.preload"]
STARTS = 5  # of a process, where the server dies
BUSY = 75  # EX_TEMPFAIL: another process holds the run


@lru_cache(maxsize=1)
def server() -> ForkServerContext:
    """Return the context whose processes are forks of a preloaded, idle server; start it with its threads fixed."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Python's -c puts the working directory first, where a random.py of the user's may lie
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    os.environ[signals.PARENT] = str(os.getpid())
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def warm() -> None:
    """Start the server, which imports torch meanwhile."""
    server()
    ensure_running()


def call(function: str, *arguments: Any, gpu: str | None = None) -> Any:
    """Call a function, named "module:name" and imported there, in a fresh process; RuntimeError with the traceback if
    it fails, UserError with the line of the user's own code that is to blame.

    gpu   what the process may use, as CUDA_VISIBLE_DEVICES takes it; None leaves it as it is here
    """
    context = server()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(theirs, function, arguments, gpu))
    process.start()
    theirs.close()
    try:
        failed, result = ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"a worker process died ({describe_exit(process.exitcode)})") from None
    process.join()
    if failed:
        raise failed(result)
    return result


def calls(function: str, arguments: Sequence[tuple[Any, ...]], gpus: Sequence[str] = ()) -> Iterator[Any]:
    """Yield the results of one call with several arguments, in order: one at a time on each GPU, else on each core."""
    free = SimpleQueue[str | None]()
    places: Sequence[str | None] = gpus or [None] * max(1, min(cores(), len(arguments)))
    for place in places:
        free.put(place)

    def call_in_place(given: tuple[Any, ...]) -> Any:
        place = free.get()
        try:
            return call(function, *given, gpu=place)
        finally:
            free.put(place)

    warm()  # by this thread: those of the pool end, and with the one that started it a server that still imports
    with ThreadPoolExecutor(free.qsize()) as pool:
        yield from pool.map(call_in_place, arguments)


def _call(pipe: Connection, function: str, arguments: Sequence[Any], gpu: str | None) -> None:
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_die_unread, args=(pipe.fileno(),), daemon=True).start()
    module, name = function.split(":")
    try:
        pipe.send((None, getattr(importlib.import_module(module), name)(*arguments)))
    except BaseException as error:
        own = blame(error)
        pipe.send((UserError, own) if own else (RuntimeError, traceback.format_exc()))


def _die_unread(pipe: int) -> None:
    waiting = select.poll()
    waiting.register(pipe, 0)
    waiting.poll()
    os._exit(1)


@dataclass
class Run:
    """A run in a process of its own."""

    folder: Path
    process: BaseProcess
    gpu: str | None

    def kill(self) -> None:
        if self.process.pid is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            self.process.kill()


class Lifeline:
    """A pipe that breaks when this process dies, however it dies; runs that hold its other end then end too."""

    def __init__(self, runs_per_gpu: int = 1) -> None:
        self.runs_per_gpu = runs_per_gpu
        self.end, self.hold = server().Pipe(duplex=False)

    def start(self, folder: Path, gpu: str | None) -> Run:
        """Start run_one(folder) in a fresh process, in a process group of its own, its output in the run's log."""
        for _ in range(STARTS):
            process = server().Process(target=_run, args=(str(folder), gpu, self.end, self.runs_per_gpu))
            try:
                process.start()
            except (EOFError, ConnectionError):  # the server was killed; the next start restarts it
                time.sleep(0.1)
                continue
            return Run(folder, process, gpu)
        raise RuntimeError("the server that runs are forked from dies as soon as it is started")


def _run(folder: str, gpu: str | None, lifeline: Connection, runs_per_gpu: int) -> None:
    os.setpgid(0, 0)
    log = os.open(RunFolder(Path(folder)).log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    threading.Thread(target=_die_with, args=(lifeline,), daemon=True).start()
    if gpu is not None:
        os.environ |= {"CUDA_VISIBLE_DEVICES": gpu, RUNS_PER_GPU: str(runs_per_gpu)}
    from isoflop import record
    from isoflop.command import Stopped
    from isoflop.errors import BusyError
    from isoflop.scaling.run import run_one

    try:
        row = run_one(Path(folder))[-1]
    except BusyError:
        sys.exit(BUSY)
    except Stopped as stop:
        sys.exit(stop.args[0])
    sys.exit(0 if record.has_result(row) else 1)


def _die_with(lifeline: Connection) -> None:
    try:
        lifeline.poll(None)
    finally:
        os.killpg(0, signal.SIGKILL)
