"""Stopping a run: Ctrl-C keeps a checkpoint of the last whole step, and the same command resumes from it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import TINY

from isoflop.folder import RunFolder
from isoflop.scaling.loop.ranks import RankError
from isoflop.scaling.process.signals import (
    Terminated,
    between_steps,
    describe_exit,
    stop_if_terminated,
    terminable,
)
from isoflop.scaling.run import _is_out_of_memory

pytestmark = pytest.mark.usefixtures("program")


def start(out: Path) -> subprocess.Popen[str]:
    command = ["train", "family=mlp", "family.width=8", "family.depth=1", "budget.D=1e7", *TINY, f"out={out}"]
    return subprocess.Popen(["isoflop", *command], stderr=subprocess.PIPE, text=True)


def step_reached(out: Path, least: int) -> int:
    """The step of the run in a folder, once it is so far."""
    for _ in range(1200):
        for path in out.glob("*"):
            if (step := RunFolder(path).read_heartbeat().get("step", 0)) >= least:
                return int(step)
        time.sleep(0.05)
    raise AssertionError("the run did not start")


def test_ctrl_c_keeps_a_checkpoint_that_the_same_command_resumes_from(tmp_path: Path) -> None:
    run = start(tmp_path)
    stopped_after = step_reached(tmp_path, 1)
    run.send_signal(signal.SIGINT)
    _, message = run.communicate(timeout=280)
    assert run.returncode == 130, message
    (folder,) = (RunFolder(path) for path in tmp_path.iterdir())
    assert folder.checkpoint.exists()
    assert not folder.records.exists()
    assert not folder.heartbeat.exists()
    resumed = start(tmp_path)
    first = step_reached(tmp_path, 1)
    resumed.send_signal(signal.SIGINT)
    resumed.communicate(timeout=280)
    assert first > stopped_after


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_waits_for_the_step_and_a_second_ctrl_c_does_not(number: signal.Signals, code: int) -> None:
    steps = []

    def train(*signals: signal.Signals) -> None:
        with terminable(), between_steps():
            for one in signals:
                os.kill(os.getpid(), one)
            steps.append("ended")
            stop_if_terminated()

    with pytest.raises(Terminated) as stop:
        train(number)
    assert steps == ["ended"]
    assert stop.value.exit_code == code
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        train(number, signal.SIGINT)
    assert steps == ["ended"]


def test_a_killed_rank_is_not_taken_for_a_lack_of_memory() -> None:
    # the run would be made again with smaller micro-batches
    death = RankError(f"rank 1 of 2 died ({describe_exit(-signal.SIGKILL)})")
    assert str(death) == "rank 1 of 2 died (killed by SIGKILL)"
    assert not _is_out_of_memory(death)
    assert _is_out_of_memory(RankError("rank 0 of 2: OutOfMemoryError: CUDA out of memory"))
