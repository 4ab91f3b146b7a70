"""Kill anything at any time, fill the disk: the same command ends with the table of an undisturbed sweep."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Isoflop
from torture import command, finish, table, torture, undisturbed

from isoflop.sweeps import workers
from isoflop.sweeps.ledger import entries


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The table of the sweep where nothing happened to it."""
    return undisturbed(tmp_path_factory.mktemp("whole"))


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_blows_at_random_moments_change_nothing(whole: list[dict[str, str]], tmp_path: Path) -> None:
    made, chance = 0, random.Random(1)
    for number in range(4):  # a sweep may be done before so many blows have fallen
        out = tmp_path / str(number) / "runs"
        out.parent.mkdir()
        struck = torture(out, blows=4 - made, chance=chance, longest_s=1.0)
        assert struck.outlived == []
        finish(out)
        assert table(out) == whole
        if (made := made + struck.counts.total()) == 4:
            break
    assert made >= 3
    assert len({(row["run_id"], row["mark"]) for row in whole}) == len(whole) == 8


def test_a_worker_whose_launcher_died_ends_too() -> None:
    context = workers.server()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=workers._call, args=(theirs, "time:sleep", (60,)))
    process.start()
    theirs.close()
    ours.close()
    process.join(30)
    assert process.exitcode == 1


LAUNCHER_OF_A_SLOW_SERVER = """
import sys, time
from isoflop.sweeps import workers
workers.PRELOAD[:] = ["isoflop_slow_import"]
workers.warm()
time.sleep(600)
"""
SLOW_IMPORT = """
import os, pathlib, time
from isoflop.scaling.process import signals
signals.end_with_parent()
pathlib.Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))
time.sleep(600)
"""


def test_a_server_whose_launcher_died_imports_no_longer(tmp_path: Path) -> None:
    (tmp_path / "isoflop_slow_import.py").write_text(SLOW_IMPORT)
    pid_file = tmp_path / "pid"
    env = os.environ | {"PID_FILE": str(pid_file), "PYTHONPATH": str(tmp_path)}
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER_OF_A_SLOW_SERVER], env=env)
    while not (pid_file.exists() and pid_file.read_text()):
        assert launcher.poll() is None
        time.sleep(0.05)
    launcher.kill()
    launcher.wait()
    server = int(pid_file.read_text())
    until = time.monotonic() + 100  # it would go on for 600 s
    while Path(f"/proc/{server}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{server}").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for a few runs."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a disk that can be filled takes the right to mount one")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_full_disk_is_a_clear_stop_and_room_is_all_that_is_wanted(
    whole: list[dict[str, str]], small_disk: Path, isoflop: Isoflop
) -> None:
    out, filler = small_disk / "runs", small_disk / "filler"
    filler.write_bytes(bytes(1_900_000))  # what is left is just enough to start with
    full = isoflop(*command(out))
    assert full.returncode != 0
    assert "make room and rerun the command to resume" in full.stderr, full.stderr
    assert "Traceback" not in full.stderr
    done_before = [entry.files.records for entry in entries(out) if entry.finished]
    texts = [path.read_text() for path in done_before]
    filler.unlink()
    last = isoflop(*command(out))
    assert last.returncode == 0, last.stderr
    assert [path.read_text() for path in done_before] == texts  # what was done was not made again
    assert table(out) == whole
