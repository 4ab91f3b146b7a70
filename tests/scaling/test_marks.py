"""Marks: one trunk and a cooldown for each give what separate runs of the same schedule give, for fewer FLOPs."""

import json
import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from conftest import TINY, Isoflop
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from pytorch_lightning.accelerators import CPUAccelerator

from isoflop import record
from isoflop.folder import RunFolder
from isoflop.scaling.assemble import Assembled
from isoflop.scaling.config.composed import register_resolvers, resolve, rung
from isoflop.scaling.config.frozen import freeze, thaw
from isoflop.scaling.loop import attempt, graph, module, progress
from isoflop.scaling.loop.attempt import Attempt
from isoflop.scaling.loop.checkpoints import Checkpoints
from isoflop.scaling.loop.module import ScalingModule
from isoflop.scaling.process.lock import Heart
from isoflop.scaling.run import run_one

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*", "ignore:.*ckpt_path.*"
)

# 20, 40 and 80 steps of 4 x 16 targets
MARKS = (1280, 2560, 5120)
SIZE = ["family.width=16", "family.depth=1"]


def frozen(folder: Path, *overrides: str) -> Path:
    """A run's folder with its frozen config."""
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        arguments = [*SIZE, *TINY, *overrides]
        cfg = compose("train", arguments, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        cfg.rung = rung(cfg, [a.split("=")[0] for a in arguments])
        freeze(resolve(cfg), folder)
    return folder


def marks(*values: int) -> str:
    return f"budget.D=[{','.join(map(str, values))}]"


def result(row: record.Row) -> dict[str, Any]:
    """What of a row is a result, or says how large the run was."""
    return {k: row[k] for k in ("L", "L_se", "L_train", "L_bpb", "D", "C", "N", "status", "rung", "D_unique")}


@pytest.fixture(autouse=True)
def _a_step_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callbacks, by which these tests count and stop, then see every step."""
    monkeypatch.setattr("isoflop.scaling.loop.spec.CHUNK_S", 0.0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of all marks; read it, do not change it."""
    folder = tmp_path_factory.mktemp("whole")
    run_one(frozen(folder, "family=mlp", marks(*MARKS), "trainer.checkpoint_every_s=0"))
    return folder


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("family", "recipe"), [("transformer", "adamw"), ("mlp", "muon"), ("moe", "adamw"), ("mlp", "adamw")]
)
def test_marks_are_separate_runs_of_the_same_schedule_bit_for_bit(tmp_path: Path, family: str, recipe: str) -> None:
    chosen = [f"family={family}", f"recipe={recipe}"]
    together = run_one(frozen(tmp_path / "together", *chosen, marks(*MARKS)))
    assert [row["mark"] for row in together] == [1, 2, 3]
    for row, D in zip(together, MARKS, strict=True):
        warmup = 0.05 * MARKS[0] / D  # that of the first mark
        (apart,) = run_one(frozen(tmp_path / f"{D}", *chosen, f"budget.D={D}", f"recipe.warmup={warmup}"))
        assert result(row) == result(apart) | {"rung": apart["rung"].removesuffix(f" recipe.warmup={warmup:g}")}


def test_what_was_spent_is_the_trunk_and_the_cooldowns(undisturbed: Path) -> None:
    rows = record.read(undisturbed)
    spent = json.loads((undisturbed / "spent.json").read_text())
    assert spent["steps"] == 80 + 0.2 * 40 + 0.2 * 20
    assert spent["C"] == pytest.approx(rows[-1]["C"] * spent["steps"] / 80)
    assert spent["C_separate"] == pytest.approx(sum(row["C"] for row in rows))


# in the trunk, on both sides of its first cooldown, in the trunk again, in the last cooldown
@pytest.mark.sample(2)
@pytest.mark.parametrize("stop", [5, 17, 19, 21, 35, 42, 70, 90])
def test_a_trunk_interrupted_anywhere_ends_as_an_undisturbed_one(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    chosen = ["family=mlp", marks(*MARKS), "trainer.checkpoint_every_s=0"]
    whole = record.read(undisturbed)
    point, made = Checkpoints.on_train_batch_end, []

    def interrupted(self: Checkpoints, trainer: Any, module: Any, *rest: Any) -> None:
        point(self, trainer, module, *rest)
        made.append(module.made)
        if module.made == stop:
            raise RuntimeError("interrupted")

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", interrupted)
    (failed,) = run_one(frozen(tmp_path / "cut", *chosen))
    assert failed["reason"] == "RuntimeError: interrupted"
    monkeypatch.setattr(
        Checkpoints, "on_train_batch_end", lambda s, t, m, *r: (made.append(m.made), point(s, t, m, *r))
    )
    resumed = run_one(tmp_path / "cut")
    assert made == list(range(1, 93))  # every step once
    assert [result(row) for row in resumed] == [result(row) for row in whole]
    assert (tmp_path / "cut/curve.csv").read_text() == (undisturbed / "curve.csv").read_text()


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("before", "made"),
    # from the trunk where it was left, 32 and 64 steps in; from the start, where a mark is to be put before that
    [((1280, 2560), 80 - 32), ((2560, 1280), 80 - 32), ((1280, 5120), 40)],
)
def test_a_further_mark_extends_the_trunk(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: tuple[int, ...], made: int
) -> None:
    whole = record.read(undisturbed)
    run_one(frozen(tmp_path / "grown", "family=mlp", marks(*before)))
    step, steps = Checkpoints.on_train_batch_end, []
    monkeypatch.setattr(
        Checkpoints, "on_train_batch_end", lambda s, t, m, *r: (steps.append(m.made), step(s, t, m, *r))
    )
    grown = run_one(frozen(tmp_path / "grown", "family=mlp", marks(*MARKS)))
    assert len(steps) == made
    assert [result(row) for row in grown] == [result(row) for row in whole]
    assert record.read(tmp_path / "grown") == grown


def test_the_rows_of_marks_that_are_not_asked_for_again_stay(tmp_path: Path) -> None:
    run_one(frozen(tmp_path, "family=mlp", marks(*MARKS)))
    kept = run_one(frozen(tmp_path, "family=mlp", marks(1280)))
    assert [row["D"] for row in kept] == list(MARKS)


def test_a_trunk_that_diverges_keeps_the_marks_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isoflop.scaling.loop.module import ScalingModule

    rate = ScalingModule.backward_pass

    def explode(self: ScalingModule, x: Any, y: Any) -> Any:
        return rate(self, x, y) * (float("nan") if self.position > 60 else 1.0)

    monkeypatch.setattr(ScalingModule, "backward_pass", explode)
    rows = run_one(frozen(tmp_path, "family=mlp", marks(*MARKS)))
    assert [row["status"] for row in rows] == ["ok", "ok", "diverged"]
    assert rows[-1]["L"] is None
    assert rows[-1]["C"] > rows[1]["C"]


def test_a_batch_in_parts_is_the_same_batch(tmp_path: Path) -> None:
    (whole,) = run_one(frozen(tmp_path / "whole", "family=transformer", "budget.D=2560"))
    (parts,) = run_one(frozen(tmp_path / "parts", "family=transformer", "budget.D=2560", "trainer.micro_batch=3"))
    # float32 sums in another order, over 40 steps
    assert parts["L"] == pytest.approx(whole["L"], rel=1e-4)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["budget.D=[]"], "budget.D=[] holds no mark; give budget.D=[1e5,1e6], say"),
        (["budget.D=[1e3,-1]"], "budget.D=-1 is not a number above 0"),
        (["budget.D=[1000,1001]"], "budget.D=1000 and 1001 are both 16 steps of 64 targets; leave one out"),
        (["budget.D=[1e3,1e4]", "recipe.schedule=cosine"], "recipe.schedule=cosine depends on D"),
        (["budget.D=[1e3,1e4]", "recipe=step_law"], "recipe.lr is a rule of D, so that several marks cannot share"),
        (["trainer.micro_batch=0"], "trainer.micro_batch=0 is not a whole number of at least 1"),
    ],
)
def test_marks_that_cannot_be_are_refused(isoflop: Isoflop, tmp_path: Path, overrides: list[str], said: str) -> None:
    refused = isoflop(
        "train", *SIZE, *[t for t in TINY if "batch" not in t], *overrides, "recipe.batch=4", f"out={tmp_path}"
    )
    assert refused.returncode == 2
    assert said in refused.stderr


def test_a_damaged_balance_is_dropped_with_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(frozen(tmp_path / "run", "family=mlp", marks(*MARKS)))
    attempt = Attempt(thaw(folder.path), folder, [float(value) for value in MARKS], Heart(folder))
    run = cast(Assembled, SimpleNamespace(marks=[SimpleNamespace(C=2.0)], step_C=1.0))
    attempt.account(run, made=3, resumed=False)
    attempt.account(run, made=3, resumed=False)
    assert folder.read_spent()["C"] == 6.0
    assert capsys.readouterr().err == ""
    folder.spent.write_bytes(b'{"C": 6.0\xff}')
    attempt.account(run, made=3, resumed=False)
    assert folder.read_spent()["C"] == 3.0
    assert f"{folder.spent} was damaged and is dropped" in capsys.readouterr().err


def test_steps_taken_in_chunks_are_those_taken_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for chunk_s in (0.0, 1e9):
        monkeypatch.setattr("isoflop.scaling.loop.spec.CHUNK_S", chunk_s)
        folders.append(frozen(tmp_path / f"{chunk_s}", "family=mlp", marks(*MARKS), "trainer.checkpoint_every_s=1e9"))
    single, chunked = ([result(row) for row in run_one(folder)] for folder in folders)
    assert single == chunked
    curves = [RunFolder(folder).curve.read_text() for folder in folders]
    assert curves[0] == curves[1]
    assert len(curves[0].splitlines()) > 20


def called(steps: graph.StepGraph) -> Callable[[], None]:
    """What a graph replays, called: its gradients are new at every step."""

    def replay() -> None:
        steps.optimizer.zero_grad()
        steps.step()

    return replay


@pytest.mark.parametrize("family", ["mlp", pytest.param("moe", marks=pytest.mark.nightly)])
def test_steps_of_a_graph_are_the_same_whatever_their_chunks_through_marks_probes_and_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setattr("isoflop.scaling.loop.module.obstacle_to_graph", lambda module: None)
    monkeypatch.setattr(graph.StepGraph, "capture", called)
    chosen, save = [f"family={family}", marks(*MARKS)], Checkpoints.on_train_batch_end

    def interrupted(self: Checkpoints, trainer: Any, module: Any, *rest: Any) -> None:
        save(self, trainer, module, *rest)
        if module.made > 55:
            self.save(trainer, module, self.folder.checkpoint)
            raise RuntimeError("interrupted")

    def made(chunk: int, cut: bool) -> list[Any]:
        monkeypatch.setattr(graph, "CHUNK", chunk)
        monkeypatch.setattr("isoflop.scaling.loop.module.CHUNK", chunk)
        folder = frozen(tmp_path / f"{chunk}", *chosen, "probe=[gradients]", "trainer.graph=true")
        if cut:
            with monkeypatch.context() as patch:
                patch.setattr(Checkpoints, "on_train_batch_end", interrupted)
                assert run_one(folder)[-1]["status"] == "failed"
        return [*map(result, run_one(folder)), (folder / "curve.csv").read_text()]

    single = made(1, cut=False)
    assert record.read(tmp_path / "1")[-1]["graph"] == "yes"
    assert made(7, cut=True) == made(64, cut=False) == single
    rounded = partial(graph.held_rate, device=torch.device("cuda"))
    monkeypatch.setattr("isoflop.scaling.loop.module.held_rate", lambda rate, device: rounded(rate))
    plain = run_one(frozen(tmp_path / "plain", *chosen, "probe=[gradients]"))
    assert [*map(result, plain)] == single[:-1]


@pytest.mark.nightly
def test_a_run_whose_capture_fails_begins_again_in_a_fresh_process_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = []

    def waits(steps: graph.StepGraph) -> Callable[[], None]:
        failed.append(True)
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    def release(*_: object) -> None:
        if failed:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    # as where CUDA has been started: no fork could use it, and after a failed capture its memory cannot be released,
    # neither by us nor by Lightning, whose error then hides ours
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", release)
    monkeypatch.setattr(CPUAccelerator, "teardown", release)
    kinds, context = [], multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: kinds.append(kind) or context(kind))
    processes = []
    start = attempt.train_ranks
    monkeypatch.setattr(attempt, "train_ranks", lambda *given: processes.append(given[0]) or start(*given))
    monkeypatch.setattr("isoflop.scaling.loop.module.obstacle_to_graph", lambda module: None)
    monkeypatch.setattr(graph.StepGraph, "capture", waits)
    (asked,) = run_one(frozen(tmp_path / "asked", "family=mlp", "budget.D=2e3", "trainer.graph=true"))
    failed.clear()
    (plain,) = run_one(frozen(tmp_path / "plain", "family=mlp", "budget.D=2e3"))
    assert asked["status"] == "ok", RunFolder(tmp_path / "asked").log.read_text()
    assert (processes, kinds) == ([1], ["spawn"])
    assert result(asked) == result(plain)
    assert asked["graph"] == "operation not permitted when stream is capturing"
    assert "again in a fresh process" in RunFolder(tmp_path / "asked").log.read_text()


def test_a_graph_that_cannot_be_is_said_once_and_each_step_taken_on_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (asked,) = run_one(frozen(tmp_path / "asked", "family=mlp", "budget.D=2e3", "trainer.graph=true"))
    (plain,) = run_one(frozen(tmp_path / "plain", "family=mlp", "budget.D=2e3"))
    assert result(asked) == result(plain)
    assert (asked["graph"], plain["graph"]) == ("it needs a CUDA device", None)
    assert capsys.readouterr().err.count("trainer.graph=true: it needs a CUDA device") == 1


def test_a_step_is_timed_without_the_first_ten_and_the_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock and the device are fakes: a step takes 10 ms, each of the first ten and an evaluation far longer."""
    now, take_step, evaluate = [0.0], ScalingModule.take_step, module.evaluate

    def slow_step(self: ScalingModule) -> None:
        now[0] += 1.0 if self.made < 10 else 0.01
        take_step(self)

    def slow_evaluation(*given: Any) -> dict[str, float]:
        now[0] += 50.0
        return evaluate(*given)

    monkeypatch.setattr(ScalingModule, "take_step", slow_step)
    monkeypatch.setattr(module, "evaluate", slow_evaluation)
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: now[0], monotonic=lambda: now[0]))
    monkeypatch.setattr("isoflop.scaling.hardware.device_name", lambda device: "NVIDIA H100 80GB HBM3")
    # 15 and 22 steps: the evaluation of the first lies within the second's
    rows = run_one(frozen(tmp_path / "two", marks(960, 1408)))
    for row in rows:
        assert row["step_s"] == pytest.approx(0.01)
        assert row["mfu"] == pytest.approx(row["C"] / row["D"] * 64 / 0.01 / 67e12)
    (row,) = run_one(frozen(tmp_path / "few", "budget.D=640"))
    assert (row["status"], row["step_s"], row["mfu"]) == ("ok", None, None)


def test_the_time_of_a_step_is_the_median_over_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 100.0, 100.4, 169.4, 170.3])
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    curve = progress.CurveWriter(RunFolder(tmp_path), 1.0, mirror=cast(Any, None))
    # not the first ten, 4 of 0.1 s, not the 10 among which a mark was measured, 3 of 0.3 s
    for made, measured in ((1, 0), (10, 0), (14, 0), (24, 1), (27, 1)):
        curve.note_time(made, measured)
    assert curve.step_s() == pytest.approx(0.1)
