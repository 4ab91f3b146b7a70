"""Kill anything at any time, fill the disk: the same command ends with the table of an undisturbed sweep."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from torture import command, finish, table, torture, undisturbed

from isoflop.sweeps import workers
from isoflop.sweeps.ledger import entries


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The table of the sweep where nothing happened to it."""
    return undisturbed(tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_blows_at_random_moments_change_nothing(whole: list[dict[str, str]], tmp_path: Path) -> None:
    out = tmp_path / "runs"
    struck = torture(out, blows=6, chance=random.Random(1))
    assert struck.counts.total() == 6
    assert struck.outlived == []
    finish(out)
    assert table(out) == whole
    assert len({(row["run_id"], row["mark"]) for row in whole}) == len(whole) == 16


def test_a_worker_whose_launcher_died_ends_too() -> None:
    context = workers.server()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=workers._call, args=(theirs, "time:sleep", (60,)))
    process.start()
    theirs.close()
    ours.close()
    process.join(30)
    assert process.exitcode == 1


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


@pytest.mark.slow
def test_a_full_disk_is_a_clear_stop_and_room_is_all_that_is_wanted(
    whole: list[dict[str, str]], small_disk: Path
) -> None:
    out, filler = small_disk / "runs", small_disk / "filler"
    filler.write_bytes(bytes(1_900_000))  # what is left is just enough to start with
    env = os.environ | {"OMP_NUM_THREADS": "1"}

    def again() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(out), env=env, capture_output=True, text=True, check=False)

    full = again()
    assert full.returncode != 0
    assert "make room and rerun the command to resume" in full.stderr, full.stderr
    assert "Traceback" not in full.stderr
    done_before = [entry.files.records for entry in entries(out) if entry.finished]
    texts = [path.read_text() for path in done_before]
    filler.unlink()
    last = again()
    assert last.returncode == 0, last.stderr
    assert [path.read_text() for path in done_before] == texts  # what was done was not made again
    assert table(out) == whole
