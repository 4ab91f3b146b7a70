"""What several tests use: the command line as a user has it, and a small sweep made once."""

import contextlib
import fcntl
import gc
import itertools
import json
import os
import subprocess
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefork import serve

# one torch thread per process: beside another busy process, more are slower (set before torch is imported)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# else each of a thousand calls of the command line compiles what it imports, a quarter of a second
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

Rate = Callable[[str, float, int], None]
Isoflop = Callable[..., subprocess.CompletedProcess[str]]

# tiny runs: a second each
TINY = ["data.seq_len=16", "data.eval_size=256", "recipe.batch=4", "trainer.accelerator=cpu"]


# the longest files, longest first; those that compute lie between those that wait for other processes
LONGEST = (
    "test_confirm_training", "test_docs", "test_sweeper", "test_status_cancel_retry", "test_plan", "test_command_line",
    "test_cost", "test_docstrings", "test_hostile_input", "test_claims", "test_bands", "test_clusters", "test_marks",
    "test_report", "test_judge_and_report_verbs", "test_local_quantities", "test_golden", "test_ranks", "test_study",
)  # fmt: skip
PROGRAM = pytest.StashKey[Path]()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without the collector of garbage, and never let it look at what was imported: a sixth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def sampled(names: list[str], size: int) -> set[str]:
    """Return so many of these names, spread over the list: of each of `size` equal parts, the one of the least hash."""
    edges = [round(part * len(names) / size) for part in range(size + 1)]
    parts = [names[begin:end] for begin, end in itertools.pairwise(edges)]
    return {min(part, key=lambda name: zlib.crc32(name.encode())) for part in parts if part}


def leave_to_the_night(items: list[pytest.Item]) -> None:
    """Mark as nightly what the marker `sample` of a test leaves out: all of its cases but a few."""
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sample") and not item.get_closest_marker("nightly"):
            cases[item.nodeid.partition("[")[0]].append(item)
    for several in cases.values():
        (size,) = several[0].get_closest_marker("sample").args
        kept = sampled([item.nodeid for item in several], size)
        for item in several:
            if item.nodeid not in kept:
                item.add_marker("nightly")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take the samples, and put the longest files first, then others with slow tests, so that no worker ends alone."""
    leave_to_the_night(items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (rank.get(item.path.stem, len(LONGEST)), item.path not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For -n auto, one more than there are cores, since one waits for a sweep; each takes 12 s to collect the tests."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Start one server of the command line for all workers; it imports the libraries while they collect."""
    config: pytest.Config = node.config
    if PROGRAM not in config.stash:
        server = contextlib.ExitStack()
        config.add_cleanup(server.close)
        config.stash[PROGRAM] = server.enter_context(command_line())
    node.workerinput["program"] = str(config.stash[PROGRAM])


@contextlib.contextmanager
def command_line() -> Iterator[Path]:
    """The program `isoflop` of prefork.py."""
    # a short path: that of a socket has 107 bytes
    with tempfile.TemporaryDirectory(prefix="isoflop") as folder, serve(Path(folder)) as path:
        yield path


@pytest.fixture(autouse=True)
def _same_folder() -> Iterator[None]:
    """A test that leaves the process in another folder decides how later ones end."""
    before = os.getcwd()
    yield
    assert os.getcwd() == before


@pytest.fixture(scope="session")
def program(pytestconfig: pytest.Config) -> Iterator[Path]:
    """The program `isoflop`, first on PATH: each call is a process, forked where the libraries are imported already.

    A test of what an interpreter does as it starts runs `sys.executable -m isoflop.cli` instead.
    """
    with contextlib.ExitStack() as stack:
        given = getattr(pytestconfig, "workerinput", {}).get("program")
        path = Path(given) if given else stack.enter_context(command_line())
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("PATH", str(path.parent), prepend=os.pathsep)
        yield path


@pytest.fixture(scope="session")
def isoflop(program: Path) -> Isoflop:
    """Call the command line in a process of its own and wait for its end."""

    def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        command = [program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env)

    return call


@pytest.fixture(scope="session")
def python(program: Path) -> Path:
    """Python with the libraries and isoflop imported already: a program that takes -c CODE, -m MODULE or a file."""
    return program.with_name("python")


@pytest.fixture
def rate() -> Rate:
    """Keep a measured rate: its name, value and number of studies go to the file that ISOFLOP_NIGHTLY names."""

    def keep(name: str, value: float, studies: int) -> None:
        if path := os.environ.get("ISOFLOP_NIGHTLY"):
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"rate": name, "value": round(value, 4), "studies": studies}) + "\n")

    return keep


@contextlib.contextmanager
def shared(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder that the workers of one test run share, held by one of them at a time."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(scope="session")
def small_sweep(isoflop: Isoflop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished sweep of two families at two sizes; read it, do not change it."""
    grid = ["family=mlp,lstm", "family.width=8,16", "family.depth=1", "budget.D=2e3"]
    with shared(tmp_path_factory, "small_sweep") as folder:
        out = folder / "small"
        if not out.exists():
            done = isoflop("train", "-m", *grid, *TINY, f"out={out}")
            assert done.returncode == 0, done.stderr
    return out
