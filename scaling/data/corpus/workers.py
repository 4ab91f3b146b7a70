"""Processes that share the work of a preparation, a core each, with a bar in a terminal (no torch).

with pool(workers=1, tasks=2) as run:
    run("adding", [partial(sum, [1, 2]), partial(sum, [3])], sizes=[2, 1])           # [3, 3]
"""

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

Run = Callable[[str, Sequence[Callable[[], Any]], Sequence[int]], list[Any]]


@contextlib.contextmanager
def pool(workers: int | None, tasks: int) -> Iterator[Run]:
    """Run tasks in processes, one a core, with a bar in a terminal; in this process for one task or core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    several = min(workers or cores, tasks)
    # what is daemonic may have no children
    if several < 2 or multiprocessing.current_process().daemon:
        yield partial(_run, map_here)
        return
    with ProcessPoolExecutor(several, multiprocessing.get_context("spawn"), take_one_core) as executor:
        try:
            yield partial(_run, partial(map_in, executor))
        except BrokenProcessPool:
            raise RuntimeError("a process that was tokenising died; the same command goes on from there") from None
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def take_one_core() -> None:
    """Keep the libraries that this worker imports later from taking all cores."""
    os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1", OMP_NUM_THREADS="1")


def map_here(tasks: Sequence[Callable[[], Any]]) -> Iterator[tuple[int, Any]]:
    """Yield the results of tasks with their numbers, one after the other."""
    yield from ((number, task()) for number, task in enumerate(tasks))


def map_in(executor: ProcessPoolExecutor, tasks: Sequence[Callable[[], Any]]) -> Iterator[tuple[int, Any]]:
    """Yield the results of tasks with their numbers, as they come."""
    futures = {executor.submit(task): number for number, task in enumerate(tasks)}
    yield from ((futures[future], future.result()) for future in as_completed(futures))


def _run(map_tasks: Any, what: str, tasks: Sequence[Callable[[], Any]], sizes: Sequence[int]) -> list[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    results: list[Any] = [None] * len(tasks)
    columns = (TextColumn(what), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as bars:
        bar = bars.add_task("", total=sum(sizes))
        for number, result in map_tasks(tasks):
            results[number] = result
            bars.advance(bar, sizes[number])
    return results
