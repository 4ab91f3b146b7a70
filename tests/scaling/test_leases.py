"""A run's folder is one process's at a time, on a file system whose locks keep nobody out too."""

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isoflop.errors import BusyError
from isoflop.folder import RunFolder
from isoflop.scaling.process import lock
from isoflop.scaling.process.lock import Heart, sole_writer
from isoflop.scaling.process.signals import Terminated, terminable


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system whose locks are given to everybody, and hearts of which a test sees many beats."""
    monkeypatch.setattr(lock.fcntl, "flock", lambda *_: None)
    monkeypatch.setattr(lock, "MISSED", 10)  # a busy machine is not dead
    monkeypatch.setattr(lock, "QUICK_S", 0.1)
    monkeypatch.setattr(lock, "SLOW_S", 0.2)


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every thread is a host of its own."""
    monkeypatch.setattr(lock, "_machine", lambda: threading.current_thread().name)


def at_once(count: int, work: Callable[[], None]) -> list[str]:
    """Let threads do the same at the same time; for each "done" or why not."""
    barrier, ends = threading.Barrier(count), []

    def start() -> None:
        barrier.wait()
        try:
            work()
            ends.append("done")
        except BusyError as error:
            ends.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


@pytest.mark.sample(1)
@pytest.mark.parametrize("left", ["nothing", "a dead claim", "a dead claim and its heartbeat"])
def test_of_hosts_that_start_at_once_without_locks_one_trains(
    tmp_path: Path, no_locks: None, hosts: None, left: str
) -> None:
    both, at_work, together = threading.Lock(), 0, []

    def train() -> None:
        nonlocal at_work
        with sole_writer(folder, 0) as mine, Heart(folder, stands=mine.stands):
            with both:
                at_work += 1
                together.append(at_work)
            time.sleep(1.0)  # as long as others watch for a sign of life
            with both:
                at_work -= 1

    for trial in range(2):
        folder = RunFolder(tmp_path / str(trial))
        folder.path.mkdir()
        if left != "nothing":
            folder.lease(3).write_text(json.dumps({"machine": "gone", "pid": 1, "started": 1}))
        if left.endswith("heartbeat"):
            beat = {"step": 3, "steps": 9, "host": "gone", "pid": 1, "beat": 7, "every_s": 0.1, "time": 0.0}
            folder.write_heartbeat(beat)
        ends = at_once(3, train)
        assert ends.count("done") <= 1
        assert all("is working in" in end for end in ends if end != "done")
        assert left != "nothing" or "done" in ends
        with sole_writer(folder):  # whoever comes later has it
            pass
        assert folder.leases() == []
    assert set(together) == {1}


def test_a_claim_of_a_process_that_died_is_taken_over_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "beats", lambda *_, **__: pytest.fail("its heart was watched, which takes seconds"))
    folder = RunFolder(tmp_path)
    process = multiprocessing.get_context("fork").Process(target=lock._lease, args=(folder,))
    process.start()
    process.join()
    assert folder.leases() == [1]
    assert not lock.is_leased(folder)
    with sole_writer(folder) as mine:
        assert (mine.number, folder.leases()) == (2, [2])


def test_a_living_process_keeps_its_claim_where_there_are_no_locks(tmp_path: Path, no_locks: None) -> None:
    folder = RunFolder(tmp_path)
    with sole_writer(folder):
        assert lock.is_leased(folder)
        with pytest.raises(BusyError, match="is working in"), sole_writer(folder, 0.1):
            pass
        # the number of another process that has it by now
        owner = json.loads(folder.lease(1).read_text())
        folder.lease(1).write_text(json.dumps(owner | {"started": owner["started"] + 1}))
        with sole_writer(folder) as other:
            assert other.number == 2


def test_who_was_taken_for_dead_stops_and_leaves_what_is_anothers(
    tmp_path: Path, no_locks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, stopped = RunFolder(tmp_path), threading.Event()
    monkeypatch.setattr(os, "kill", lambda *_: stopped.set())
    with sole_writer(folder) as mine:
        with Heart(folder, stands=mine.stands):
            folder.lease(2).write_text("{}")
            folder.write_heartbeat({"step": 0, "host": "other", "pid": 1})
            assert stopped.wait(5)
            time.sleep(0.3)
        with pytest.raises(BusyError, match="has taken over"):
            mine.refuse_loss()
    assert folder.leases() == [2]
    assert json.loads(folder.heartbeat.read_text())["host"] == "other"


def test_a_heart_that_has_no_room_to_write_still_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "QUICK_S", 0.1)
    folder = RunFolder(tmp_path)
    with Heart(folder):
        text = folder.heartbeat.read_text()

        def full(self: Path, text: str) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        assert lock.beats(folder)
        assert json.loads(text)["beat"] <= folder.read_heartbeat()["beat"]


def test_a_signal_that_comes_with_the_first_beat_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)

    def signalled(_: threading.Thread) -> None:
        assert folder.read_heartbeat()
        raise Terminated

    monkeypatch.setattr(threading.Thread, "start", signalled)
    with pytest.raises(Terminated), terminable(), Heart(folder):
        raise AssertionError("the run began")
    assert not folder.read_heartbeat()


@pytest.mark.parametrize(
    "beat", ["5", "null", '{"host": 5}', '{"step": 1, "steps": 2, "host": "a", "pid": 1, "beat": 1, "every_s": 0}']
)
def test_what_is_no_heartbeat_is_none(tmp_path: Path, beat: str) -> None:
    folder = RunFolder(tmp_path)
    folder.heartbeat.write_text(beat)
    assert folder.read_heartbeat() == {}
