"""Multiruns: a folder per content, nothing made twice, a failure alone, and the exit code says so."""

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TINY, Isoflop

from isoflop import record
from isoflop.scaling.config import provenance
from isoflop.scaling.config.composed import register_resolvers, resolve
from isoflop.sweeps.collect import rows
from isoflop.sweeps.ledger import Entry, entries
from isoflop.sweeps.sweeper import rounding_note

# "isoflop" is the program that starts at once
pytestmark = pytest.mark.usefixtures("program")

GRID = ["family=mlp,lstm", "family.width=8,16", "family.depth=1", "budget.D=2e3"]


def results(folder: Path) -> dict[str, tuple[float, float]]:
    return {row["run_id"]: (row["L"], row["L_train"]) for row in rows(folder)}


def test_a_sweep_says_how_many_runs_are_rounded_up(small_sweep: Path) -> None:
    configs = [entry.config for entry in entries(small_sweep)]
    assert rounding_note(configs) == ""  # 2,048 targets for 2,000
    plans = [replace(config.plan, rounded=1.28) for config in configs if config.plan]
    larger = [replace(config, plan=plan) for config, plan in zip(configs, plans, strict=True)]
    assert rounding_note(larger) == "4 of them are rounded up to whole steps, at most to 1.28 times their budget"


def test_a_sweep_leaves_a_whole_record_for_every_point(small_sweep: Path) -> None:
    found = rows(small_sweep)
    assert {(r["family"], r["width"]) for r in found} == {("mlp", 8), ("mlp", 16), ("lstm", 8), ("lstm", 16)}
    for row in found:
        assert row["status"] == "ok"
        assert row["D"] == 2048  # 2e3 rounded up to whole steps of 4 x 16 targets
        assert row["C"] == row["flops_per_target"] * row["D"]
        assert 2 < row["L"] < 6
        assert 0 < row["L_se"] < 1
        assert row["N"] == row["n_body"] + row["n_readout"] == row["n_total"] - row["n_embed"]
        assert row["sweep"] == "small"


def test_runs_that_are_compared_share_a_rung(small_sweep: Path) -> None:
    rungs = {(r["family"], r["width"]): r["rung"] for r in rows(small_sweep)}
    assert rungs["mlp", 8] == rungs["lstm", 8] != rungs["mlp", 16] == rungs["lstm", 16]


def test_the_curve_is_written_up_to_the_last_step(small_sweep: Path) -> None:
    for entry in entries(small_sweep):
        with (entry.folder / "curve.csv").open() as file:
            points = list(csv.DictReader(file))
        assert int(points[0]["step"]) == 1
        assert int(points[-1]["D"]) == entry.rows[0]["D"]
        assert float(points[-1]["C"]) == pytest.approx(entry.rows[0]["C"])


def test_the_same_command_again_makes_nothing(isoflop: Isoflop, small_sweep: Path) -> None:
    before = {e.run_id: e.files.records.stat().st_mtime_ns for e in entries(small_sweep)}
    again = isoflop("train", "-m", *GRID, *TINY, f"out={small_sweep}")
    assert again.returncode == 0, again.stderr
    assert "4 done already, 0 to make" in again.stderr
    assert before == {e.run_id: e.files.records.stat().st_mtime_ns for e in entries(small_sweep)}


def test_what_is_missing_is_made_again_to_the_same_bits(isoflop: Isoflop, small_sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    shutil.copytree(small_sweep, out)
    lost, torn = list(entries(out))[:2]
    lost.files.records.unlink()
    torn.files.records.write_text(torn.files.records.read_text()[:100])
    refused = isoflop("collect", out, "-o", tmp_path / "runs.csv")
    assert refused.returncode == 2
    assert "is not a whole record" in refused.stderr
    assert not (tmp_path / "runs.csv").exists()
    again = isoflop("train", "-m", *GRID, *TINY, f"out={out}")
    assert again.returncode == 0, again.stderr
    assert "2 done already, 2 to make" in again.stderr
    assert results(out) == results(small_sweep)


def test_a_single_run_is_the_same_run(isoflop: Isoflop, small_sweep: Path, tmp_path: Path) -> None:
    one = [g.replace("mlp,lstm", "mlp").replace("8,16", "16") for g in GRID]
    done = isoflop("train", *one, *TINY, f"out={tmp_path}")
    assert done.returncode == 0, done.stderr
    (entry,) = entries(tmp_path)
    assert results(small_sweep)[entry.run_id] == results(tmp_path)[entry.run_id]
    again = isoflop("train", *one, *TINY, f"out={tmp_path}")
    assert again.returncode == 0
    assert "done already" in again.stderr


def test_other_code_is_said_and_made_again_only_when_asked(isoflop: Isoflop, small_sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    shutil.copytree(small_sweep, out)
    first = next(entries(out))
    record.write(first.folder, [dict(first.rows[0]) | {"sources": "0" * 12}])
    command = ["train", "-m", *GRID, *TINY, f"out={out}"]
    assert "1 of those done were made by other code; redo_other_code=true" in isoflop(*command).stderr
    again = isoflop(*command, "redo_other_code=true")
    assert "3 done already, 1 to make" in again.stderr
    assert Entry(first.folder).rows[0]["git"] == provenance.commit()["git"]


def test_a_run_that_fails_fails_alone(isoflop: Isoflop, small_sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    broken = next(entries(small_sweep)).run_id
    (out / broken / "curve.csv").mkdir(parents=True)  # where this run wants a file
    done = isoflop("train", "-m", *GRID, *TINY, f"out={out}")
    assert done.returncode == 1
    assert "1 failed, 3 ok" in done.stderr
    (row,) = Entry(out / broken).rows
    assert row["status"] == "failed"
    assert "not a regular file" in row["reason"]
    kept = {k: v for k, v in results(small_sweep).items() if k != broken}
    assert {k: v for k, v in results(out).items() if k != broken} == kept
    collected = isoflop("collect", out, "-o", tmp_path / "runs.csv")
    assert collected.returncode == 0
    with (tmp_path / "runs.csv").open() as file:
        assert [r["status"] for r in csv.DictReader(file)].count("failed") == 1
    (out / broken / "curve.csv").rmdir()
    assert isoflop("train", "-m", *GRID, *TINY, f"out={out}").returncode == 0
    assert results(out) == results(small_sweep)


def test_a_run_that_diverges_is_a_row_and_not_a_failure(isoflop: Isoflop, tmp_path: Path) -> None:
    wild = ["family=mlp", "family.width=8", "recipe.lr=1e36", "recipe.clip=1e30", "budget.D=2e3"]
    done = isoflop("train", "-m", *wild, *TINY, f"out={tmp_path}")
    assert done.returncode == 0, done.stderr
    (row,) = rows(tmp_path)
    assert row["status"] == "diverged"
    assert row["L"] is None
    assert "training loss was" in row["reason"]


def test_a_run_that_takes_too_long_is_a_row(isoflop: Isoflop, tmp_path: Path) -> None:
    long = ["family=mlp", "family.width=8", "budget.D=1e9", "hydra.launcher.timeout_s=3"]
    done = isoflop("train", "-m", *long, *TINY, f"out={tmp_path}")
    assert done.returncode == 1
    assert [(r["status"], r["reason"]) for r in rows(tmp_path)] == [("timeout", "not done after timeout_s=3")]


def test_a_redo_that_fails_keeps_what_was_there(isoflop: Isoflop, small_sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    shutil.copytree(small_sweep, out)
    first = next(entries(out))
    record.write(first.folder, [dict(first.rows[0]) | {"sources": "0" * 12}])
    (first.folder / "curve.csv").unlink()
    (first.folder / "curve.csv").mkdir()  # where the run wants a file
    again = isoflop("train", "-m", *GRID, *TINY, f"out={out}", "redo_other_code=true")
    assert again.returncode == 1
    assert "made by other code, and running it again failed" in again.stderr
    (kept,) = Entry(first.folder).rows
    assert (kept["sources"], kept["L"]) == ("0" * 12, first.rows[0]["L"])


def test_a_result_that_is_no_number_is_a_divergence(isoflop: Isoflop, small_sweep: Path, tmp_path: Path) -> None:
    last = ["recipe.lr=1e30,0.01", "recipe.warmup=0", "recipe.cooldown=0", "recipe.clip=1e30", "budget.D=128"]
    done = isoflop("train", "-m", "family=lstm", "family.width=8", *last, *TINY, f"out={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert sorted(row["status"] for row in rows(tmp_path)) == ["diverged", "ok"]


def test_two_launchers_share_one_sweep(isoflop: Isoflop, small_sweep: Path, tmp_path: Path) -> None:
    command = ["isoflop", "train", "-m", *GRID, *TINY, "budget.D=2e4", f"out={tmp_path}"]
    command.remove("budget.D=2e3")
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for one in both:
        _, said = one.communicate(timeout=280)
        assert one.returncode == 0, said
    assert [row["status"] for row in rows(tmp_path)] == ["ok"] * 4


@pytest.mark.sample(2)
@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("many", [[], ["-m", "hydra/launcher=basic"]], ids=["single", "basic"])
def test_a_signal_is_never_a_success(tmp_path: Path, how: signal.Signals, code: int, many: list[str]) -> None:
    command = [
        "isoflop",
        "train",
        *many,
        "family=mlp",
        "family.width=8",
        "budget.D=1e9",
        *TINY,
    ]
    run = subprocess.Popen([*command, f"out={tmp_path}"], stderr=subprocess.PIPE, text=True)
    worker(tmp_path)
    run.send_signal(how)
    _, said = run.communicate(timeout=280)
    assert run.returncode == code, said
    assert "stopped; rerun the same command to resume" in said
    assert not list(tmp_path.glob("*/records.json"))


def test_a_retry_does_not_carry_the_old_reason(tmp_path: Path) -> None:
    late = start(tmp_path, "budget.D=1e9", "hydra.launcher.timeout_s=3")
    assert late.wait(60) == 1
    again = start(tmp_path, "budget.D=1e9", "hydra.launcher.retries=0")
    for _ in range(300):
        if next(entries(tmp_path)).state == "running":
            break
        time.sleep(0.1)
    os.kill(worker(tmp_path), signal.SIGKILL)
    assert again.wait(60) == 1
    assert "killed by SIGKILL" in rows(tmp_path)[0]["reason"]


def start(out: Path, *overrides: str) -> subprocess.Popen[bytes]:
    command = ["isoflop", "train", "-m", "family=mlp", "family.width=8", *TINY, *overrides]
    return subprocess.Popen([*command, f"out={out}"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def worker(out: Path) -> int:
    """The process of the one run of a folder, once it trains."""
    for _ in range(600):
        beats = [json.loads(path.read_text()) for path in out.glob("*/heartbeat.json")]
        pids = [int(beat["pid"]) for beat in beats if Path(f"/proc/{beat['pid']}").exists()]  # not that of a try before
        if pids:
            return pids[0]
        time.sleep(0.1)
    raise AssertionError("no run started")


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_killed_run_is_a_row_with_the_reason(tmp_path: Path) -> None:
    sweep = start(tmp_path, "budget.D=1e9", "hydra.launcher.retries=0")
    os.kill(worker(tmp_path), signal.SIGKILL)
    assert sweep.wait(60) == 1
    (row,) = rows(tmp_path)
    assert row["status"] == "failed"
    assert "killed by SIGKILL, out of memory perhaps" in row["reason"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_runs_end_with_their_launcher(tmp_path: Path, how: signal.Signals) -> None:
    sweep = start(tmp_path, "budget.D=1e9")
    pid = worker(tmp_path)
    assert next(entries(tmp_path)).state == "running"
    sweep.send_signal(how)
    assert sweep.wait(60) == (-9 if how is signal.SIGKILL else 130)
    assert gone(pid)
    # one that was asked to stop takes its leave, one that was killed cannot
    assert next(entries(tmp_path)).state == ("stale" if how is signal.SIGKILL else "planned")


def test_any_hydra_launcher_runs_the_frozen_config(isoflop: Isoflop, small_sweep: Path, tmp_path: Path) -> None:
    done = isoflop("train", "-m", *GRID, *TINY, f"out={tmp_path}", "hydra/launcher=basic")
    assert done.returncode == 0, done.stderr
    assert results(tmp_path) == results(small_sweep)


def test_composing_once_per_choice_of_groups_equals_hydras_own() -> None:
    from hydra import initialize_config_module
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from isoflop.sweeps.compose import compose as composed

    register_resolvers()
    arguments = ["family=mlp,lstm", "family.width=8,16", "budget.D=1e3,2e3", "data.size=1e4", "seed=0,1", "tags=[a]"]
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        master = loader.load_configuration("train", arguments, RunMode.MULTIRUN)

        class Context:
            config_loader = loader

        ours = composed(Context(), master, [{}], arguments)  # type: ignore[arg-type]
        theirs = []
        for config in ours:
            point = [f"family={config.names.family}", f"family.width={config.width}", f"seed={config.seed}"]
            cfg = loader.load_sweep_config(master, [*point, f"budget.D={config.budget.D}", "data.size=1e4", "tags=[a]"])
            HydraConfig.instance().set_config(cfg)
            theirs.append(replace(resolve(cfg), rung=config.rung))
    assert len(ours) == 16
    assert ours == theirs
