"""A sweep is seen, stopped and retried, survives what happens to its runs, and ends with the bits of one left alone."""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Isoflop

from isoflop import record
from isoflop.cli import call
from isoflop.command import Stopped
from isoflop.errors import BusyError
from isoflop.folder import RunFolder
from isoflop.scaling import run
from isoflop.scaling.config import provenance
from isoflop.scaling.config.frozen import failure, freeze, thaw
from isoflop.scaling.config.sections import Trainer
from isoflop.scaling.hardware import RUNS_PER_GPU
from isoflop.scaling.process import lock
from isoflop.scaling.process.lock import Heart, is_fresh
from isoflop.scaling.recipe.rules import Budget
from isoflop.sweeps import launcher, workers
from isoflop.sweeps.collect import rows
from isoflop.sweeps.ledger import Entry, entries
from isoflop.sweeps.watch.status import overview

# "isoflop" is the program that starts at once
pytestmark = pytest.mark.usefixtures("program")

GRID = ["family=mlp", "family.width=8,16", "family.depth=1", "budget.D=1.6e4"]
# 250 steps, one run at a time, long enough to be struck for the checkpoints that they wait for
SLOW = ["trainer.checkpoint_every_s=0", "hydra.launcher.n_jobs=1"]


def command(out: Path, *overrides: str) -> list[str]:
    return ["isoflop", "train", "-m", *GRID, *TINY, *overrides, f"out={out}"]


def start(out: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command(out, *overrides), stderr=subprocess.PIPE, text=True)


def at_work(out: Path, runs: int = 1) -> list[dict[str, Any]]:
    """The heartbeats of the runs of a folder, once so many have made a step."""
    for _ in range(600):
        folders = [RunFolder(path.parent) for path in out.glob("*/heartbeat.json")]
        beats = [(folder.read_heartbeat(), folder.checkpoint.exists()) for folder in folders]
        begun = [beat for beat, kept in beats if beat.get("step") or (beat and kept)]
        if len(begun) >= runs:
            return begun
        time.sleep(0.05)
    raise AssertionError("no run started")


def losses(out: Path) -> dict[str, tuple[float, float]]:
    return {row["run_id"]: (row["L"], row["L_train"]) for row in rows(out)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of two runs of a second or two."""
    out = tmp_path_factory.mktemp("undisturbed") / "runs"
    subprocess.run(command(out), check=True, capture_output=True)
    return out


def test_a_run_that_a_signal_ended_is_tried_again_to_the_same_bits(undisturbed: Path, tmp_path: Path) -> None:
    sweep = start(tmp_path, *SLOW)
    os.kill(at_work(tmp_path)[0]["pid"], signal.SIGKILL)
    _, said = sweep.communicate(timeout=280)
    assert sweep.returncode == 0, said
    assert losses(tmp_path) == losses(undisturbed)


def test_a_cancelled_sweep_ends_and_a_retry_goes_on_to_the_same_bits(
    isoflop: Isoflop, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = start(tmp_path, *SLOW)
    at_work(tmp_path)
    assert call(["cancel", str(tmp_path)]) == 0  # in this process, before so short a run ends
    assert "stopping 1 running and 1 queued runs" in capsys.readouterr().err
    _, said = sweep.communicate(timeout=280)
    assert sweep.returncode == 1
    assert said.count(": cancelled") == 2
    assert [entry.state for entry in entries(tmp_path)] == ["cancelled"] * 2
    assert any((entry.folder / "checkpoint.ckpt").exists() for entry in entries(tmp_path))
    again = isoflop("retry", tmp_path, "hydra.launcher.n_jobs=2")
    assert again.returncode == 0, again.stderr
    assert "0 done or running, 2 to make" in again.stderr
    assert losses(tmp_path) == losses(undisturbed)


def test_retry_takes_only_how_and_not_what(isoflop: Isoflop, undisturbed: Path, tmp_path: Path) -> None:
    done = isoflop("retry", undisturbed, "family.width=32")
    assert done.returncode == 2
    assert "family.width=32: retry makes runs as they were frozen" in done.stderr
    assert isoflop("retry", tmp_path).returncode == 2
    assert "2 done or running, 0 to make" in isoflop("retry", undisturbed).stderr


def test_what_was_frozen_for_other_code_is_refused_and_retry_says_so(
    isoflop: Isoflop, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    shutil.copytree(undisturbed, out)
    first = next(entries(out))
    first.files.records.unlink()
    freeze(replace(first.config, code=provenance.Code("f" * 12, False)), first.folder)
    (row,) = run.run_one(first.folder)
    assert row["status"] == "failed"
    assert "frozen for the code of commit ffffffffffff, but this is" in row["reason"]
    again = isoflop("retry", out)
    assert again.returncode == 0, again.stderr
    assert "1 of them were frozen for other code, and are made by this" in again.stderr
    assert losses(out) == losses(undisturbed)
    assert Entry(first.folder).rows[0]["git"] == provenance.commit()["git"]


def test_status_says_how_each_run_stands(isoflop: Isoflop, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    shutil.copytree(undisturbed, out)
    good = next(entries(out))
    names = {state: f"{n:012x}" for n, state in enumerate(("planned", "stale", "cancelled", "failed", "broken"))}
    for name in names.values():
        freeze(good.config, out / name)
    RunFolder(out / names["stale"]).write_heartbeat(beat_of(socket.gethostname()))
    RunFolder(out / names["cancelled"]).cancel.touch()
    config = replace(good.config, run_id=names["failed"])
    record.write(out / names["failed"], [failure(config, "failed", "it rained")])
    RunFolder(out / names["broken"]).records.write_text("[")
    shutil.copytree(good.folder, out / "a copy of it")  # is no run
    found = overview(out)
    assert found.counts == {"ok": 2, "planned": 1, "stale": 1, "cancelled": 1, "failed": 1, "broken": 1}
    said = isoflop("status", out)
    assert said.returncode == 0, said.stderr
    assert "7 runs: 1 broken, 1 cancelled, 1 failed, 2 ok, 1 planned, 1 stale" in said.stdout
    assert "it rained" in said.stdout
    assert "lowest loss so far" in said.stdout
    assert "about" in said.stdout
    told = json.loads(isoflop("status", out, "--json").stdout)
    assert {line["run_id"]: line["state"] for line in told["runs"]}[names["stale"]] == "stale"
    lowest = min(row["L"] for row in rows(undisturbed))
    assert [row["L"] for row in told["best"]] == [lowest]
    assert told["left_s"] > 0


def beat_of(host: str, beat: int = 1) -> dict[str, Any]:
    return {"step": 3, "steps": 9, "host": host, "pid": 1, "beat": beat, "every_s": 0.2, "time": time.time()}


def test_a_run_at_work_is_seen_with_its_step(tmp_path: Path) -> None:
    sweep = start(tmp_path, "hydra.launcher.n_jobs=1", "budget.D=1e7")
    at_work(tmp_path)
    found = overview(tmp_path)
    (working,) = found.running
    assert found.counts == {"running": 1, "planned": 1}
    assert 0 < working.share_done < 1
    sweep.send_signal(signal.SIGINT)
    sweep.communicate(timeout=280)


def test_a_heart_that_beats_on_another_host_keeps_others_out_and_one_that_stopped_does_not(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_heartbeat(beat_of("elsewhere"))
    with lock.sole_writer(folder):  # it is watched for three beats, and is dead
        pass
    ended = threading.Event()

    def beat_on() -> None:
        number = 1
        while not ended.wait(0.1):
            number += 1
            folder.write_heartbeat(beat_of("elsewhere", number))

    other = threading.Thread(target=beat_on)
    other.start()
    with pytest.raises(BusyError, match="another process is working"), lock.sole_writer(folder):
        pass
    ended.set()
    other.join()


def test_a_file_system_without_locks_leaves_it_to_the_hearts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    folder = RunFolder(tmp_path)
    monkeypatch.setattr(lock.fcntl, "flock", none)
    with lock.sole_writer(folder), Heart(folder):
        assert not lock.held(folder)
        assert folder.read_heartbeat()["host"] == socket.gethostname()


def frozen(folder: Path, undisturbed: Path, D: float, **trainer: Any) -> None:
    """The smaller run of the sweep, frozen anew in a folder."""
    source = min(entries(undisturbed), key=lambda entry: entry.config.width)
    config = replace(source.config, trainer=replace(source.config.trainer, **trainer), budget=Budget(D=D))
    freeze(config, folder)


pytest_lightning = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*", "ignore:.*ckpt_path.*"
)


@pytest_lightning
def test_a_run_that_wants_memory_is_made_in_smaller_parts(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from isoflop.scaling.loop.module import ScalingModule

    forward, tried = ScalingModule.backward_pass, []

    def short_of_memory(self: ScalingModule, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        tried.append(self.spec.examples_at_a_time)
        if self.spec.examples_at_a_time > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return forward(self, x, y)

    frozen(tmp_path / "whole", undisturbed, D=2560)
    (whole,) = run.run_one(tmp_path / "whole")
    monkeypatch.setattr(ScalingModule, "backward_pass", short_of_memory)
    frozen(tmp_path / "parts", undisturbed, D=2560)
    (row,) = run.run_one(tmp_path / "parts")
    assert list(dict.fromkeys(tried)) == [4, 2, 1]
    assert row["status"] == "ok"
    assert row["batch"] == whole["batch"]
    # the same sums in another order over 40 steps, as of two ranks
    assert row["L"] == pytest.approx(whole["L"], rel=2e-3)
    assert "again with trainer.micro_batch=1" in (tmp_path / "parts" / "log.txt").read_text()


@pytest.fixture(scope="module")
def whole(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> record.Row:
    """The row of a run of 160 steps that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    frozen(folder, undisturbed, D=160 * 64)
    (row,) = run.run_one(folder)
    return row


@pytest.mark.sample(1)
@pytest_lightning
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_finds_a_checkpoint_of_the_last_step(
    undisturbed: Path, whole: record.Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    from isoflop.scaling.loop.progress import CurveWriter

    frozen(tmp_path, undisturbed, D=160 * 64, checkpoint_every_s=1000)
    handled: list[int] = []

    def requeue(got: int, _: object) -> None:  # as a scheduler's handler does
        handled.append(got)
        raise SystemExit(-1)

    before = signal.signal(signal.SIGUSR2, requeue)
    ends, steps = CurveWriter.on_train_batch_end, []

    def told(self: CurveWriter, trainer: Any, module: Any, *rest: Any) -> None:
        steps.append(module.position)
        if len(steps) == 120:
            os.kill(os.getpid(), number)
        ends(self, trainer, module, *rest)

    monkeypatch.setattr(CurveWriter, "on_train_batch_end", told)
    monkeypatch.setattr("isoflop.scaling.loop.spec.CHUNK_S", 0.0)  # so that it sees every step
    try:
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run.run_one(tmp_path)
        assert (tmp_path / "checkpoint.ckpt").exists()
        assert handled == ([number] if number is signal.SIGUSR2 else [])
        (row,) = run.run_one(tmp_path)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert steps[120] in (121, 122)  # nothing was made twice
    assert (row["L"], row["L_train"]) == (whole["L"], whole["L_train"])


def test_another_sweeper_of_hydra_leaves_the_same_records(isoflop: Isoflop, small_sweep: Path, tmp_path: Path) -> None:
    done = isoflop("train", "-m", *GRID, "budget.D=2e3", *TINY, "hydra/sweeper=basic", f"out={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert len(losses(tmp_path)) == 2
    assert losses(tmp_path).items() <= losses(small_sweep).items()


def test_a_sweep_that_is_stopped_leaves_checkpoints(tmp_path: Path) -> None:
    sweep = start(tmp_path, "trainer.checkpoint_every_s=1000", "budget.D=1e7")
    at_work(tmp_path, runs=2)
    sweep.send_signal(signal.SIGTERM)
    _, said = sweep.communicate(timeout=280)
    assert sweep.returncode == 143, said
    assert "rerun the same command to resume" in said
    assert len(list(tmp_path.glob("*/checkpoint.ckpt"))) == 2


@pytest.mark.nightly
def test_runs_outlive_the_server_that_they_were_forked_from(undisturbed: Path, tmp_path: Path) -> None:
    sweep = start(tmp_path, *SLOW, "hydra.launcher.retries=0")
    pid = at_work(tmp_path)[0]["pid"]
    server = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    assert server != sweep.pid
    os.kill(server, signal.SIGKILL)
    _, said = sweep.communicate(timeout=280)
    assert sweep.returncode == 0, said
    assert losses(tmp_path) == losses(undisturbed)


MARKS = ["family=mlp", "family.width=8", "family.depth=1", *TINY]


def test_a_run_that_is_given_another_mark_is_at_work_and_can_be_stopped(isoflop: Isoflop, tmp_path: Path) -> None:
    assert isoflop("train", "-m", *MARKS, "budget.D=[2e3]", f"out={tmp_path}").returncode == 0
    longer = ["isoflop", "train", "-m", *MARKS, "budget.D=[2e3,1e9]", f"out={tmp_path}"]
    sweep = subprocess.Popen(longer, stderr=subprocess.PIPE, text=True)
    at_work(tmp_path)
    assert overview(tmp_path).counts == {"running": 1}
    assert [row["D"] for row in overview(tmp_path).best] == [2048]  # what it has is not hidden
    assert "stopping 1 running" in isoflop("cancel", tmp_path).stderr
    _, said = sweep.communicate(timeout=280)
    assert sweep.returncode == 1
    assert "1 cancelled" in said
    assert [row["D"] for row in rows(tmp_path)] == [2048]


@pytest.mark.nightly
def test_two_commands_with_other_marks_of_one_run_both_get_theirs(isoflop: Isoflop, tmp_path: Path) -> None:
    grid = [*MARKS, "seed=0,1", "hydra.launcher.n_jobs=1", f"out={tmp_path}"]
    first = ["isoflop", "train", "-m", *grid, "budget.D=[2e3,4e4]"]
    sweep = subprocess.Popen(first, stderr=subprocess.PIPE, text=True)
    at_work(tmp_path)
    second = isoflop("train", "-m", *grid, "budget.D=[2e3]")
    _, said = sweep.communicate(timeout=280)
    assert sweep.returncode == 0, said
    assert second.returncode == 0, second.stderr
    assert sorted((row["seed"], row["budget.D"]) for row in rows(tmp_path)) == [(0, 2e3), (0, 4e4), (1, 2e3), (1, 4e4)]


def test_a_run_made_singly_is_one_of_another_sweepers(isoflop: Isoflop, tmp_path: Path) -> None:
    assert isoflop("train", *MARKS, "budget.D=2e3", "recipe.lr=0.01", f"out={tmp_path}").returncode == 0
    both = ["recipe.lr=0.01,0.02", "budget.D=2e3", "hydra/sweeper=basic", f"out={tmp_path}"]
    done = isoflop("train", "-m", *MARKS, *both)
    assert done.returncode == 0, done.stderr
    assert sorted(row["lr"] for row in rows(tmp_path)) == [0.01, 0.02]


def test_a_frozen_config_of_another_version_is_refused_in_one_sentence(
    isoflop: Isoflop, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    shutil.copytree(undisturbed, out)
    first = next(entries(out))
    first.files.records.unlink()
    older = {key: value for key, value in first.config.to_json().items() if key != "redo_other_code"}
    first.files.write_config(older)
    done = isoflop("retry", out)
    assert done.returncode == 2
    assert "is not a whole config; delete its folder and rerun the command that made it" in done.stderr
    assert "Traceback" not in done.stderr
    assert isoflop("status", out, "--all").returncode == 0
    one = isoflop("status", first.folder)
    assert one.returncode == 2
    assert "is one run; give its parent folder" in one.stderr


def test_a_clock_that_leapt_makes_no_dead_run_alive(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_heartbeat(beat_of("elsewhere"))
    for leap_s in (-86400, 86400):
        os.utime(folder.heartbeat, (time.time() + leap_s,) * 2)
        assert not is_fresh(folder)
    os.utime(folder.heartbeat)
    assert is_fresh(folder)


def test_runs_are_shared_out_over_gpus_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "gpus", lambda: ["0", "1", "2", "3"])
    monkeypatch.setattr(launcher, "cores", lambda: 6)
    one, two = (Trainer(devices=devices) for devices in (1, 2))
    assert launcher.LaunchSettings().slots(one) == ["0", "1", "2", "3"]
    assert launcher.LaunchSettings(n_per_gpu=2).slots(one) == ["0", "1", "2", "3"] * 2
    assert launcher.LaunchSettings(n_jobs=6).slots(one) == ["0", "1", "2", "3", "0", "1"]
    assert launcher.LaunchSettings().slots(two) == ["0,1", "2,3"]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert launcher.LaunchSettings().slots(replace(one, accelerator="cpu")) == [None] * 3
    monkeypatch.setattr(launcher, "gpus", list)
    assert launcher.LaunchSettings(n_per_gpu=2).slots(two) == [None]  # two processes of two threads each


def test_a_run_is_told_of_its_gpu_and_how_many_share_it(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is trained: the run notes what it was told."""

    def note(folder: Path) -> None:
        (folder / "told").write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.environ[RUNS_PER_GPU]}")
        raise Stopped(0)

    frozen(tmp_path, undisturbed, D=2560)
    freeze(replace(thaw(tmp_path), trainer=Trainer()), tmp_path)
    monkeypatch.setattr(launcher, "gpus", lambda: ["GPU-aaaa"])
    monkeypatch.setattr(run, "run_one", note)
    monkeypatch.setattr(workers, "server", lambda: multiprocessing.get_context("fork"))  # which takes the note along
    launcher.launch([Entry(tmp_path)], launcher.LaunchSettings(n_per_gpu=3))
    assert (tmp_path / "told").read_text() == "GPU-aaaa 3"


def test_a_run_that_the_kernel_ended_for_want_of_memory_is_made_in_smaller_parts(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen(tmp_path, undisturbed, D=2560)
    job = launcher.Job(None, Entry(tmp_path), 0.0, killed_before=7)  # type: ignore[arg-type]
    monkeypatch.setattr(launcher, "_memory_kills", lambda: 7)
    launcher.halve_micro_batch(job, -signal.SIGKILL)  # somebody else's doing
    assert thaw(tmp_path).trainer.micro_batch is None
    monkeypatch.setattr(launcher, "_memory_kills", lambda: 8)
    launcher.halve_micro_batch(job, -signal.SIGKILL)
    assert thaw(tmp_path).trainer.micro_batch == 2
