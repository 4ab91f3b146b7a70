"""Checkpoints: a run interrupted anywhere ends as if it had not been; the rate and the loss are what they say."""

import csv
import errno
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from isoflop import record
from isoflop.folder import RunFolder
from isoflop.scaling.assemble import Assembled
from isoflop.scaling.config.composed import register_resolvers, resolve
from isoflop.scaling.config.frozen import FrozenConfig, freeze, thaw
from isoflop.scaling.config.provenance import Code
from isoflop.scaling.evaluate import loss_per_target
from isoflop.scaling.loop.checkpoints import Checkpoints
from isoflop.scaling.process.lock import sole_writer
from isoflop.scaling.recipe.optimizers import AdamW
from isoflop.scaling.run import run_one
from isoflop.scaling.task import Task
from isoflop.sweeps.launcher import account
from isoflop.sweeps.ledger import Entry

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*", "ignore:.*ckpt_path.*"
)


@pytest.fixture(autouse=True)
def _a_step_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callbacks, by which these tests count and stop, then see every step."""
    monkeypatch.setattr("isoflop.scaling.loop.spec.CHUNK_S", 0.0)


def frozen(folder: Path, *overrides: str) -> Path:
    """A run's folder with its frozen config."""
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        arguments = ["family=lstm", "family.width=8", "family.depth=1", "budget.D=3e3", *TINY, *overrides]
        cfg = compose("train", arguments, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        freeze(resolve(cfg), folder)
    return folder


def curve(folder: Path) -> list[list[str]]:
    with (folder / "curve.csv").open() as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunFolder]:
    """The folder of a finished run of some overrides, which is made once; read it, do not change it."""

    @cache
    def train(*overrides: str) -> RunFolder:
        folder = frozen(tmp_path_factory.mktemp("whole"), *overrides)
        run_one(folder)
        return RunFolder(folder)

    return train


@pytest.mark.sample(3)
@pytest.mark.parametrize(("family", "recipe"), [("lstm", "adamw"), ("transformer", "adamw"), ("mlp", "muon")])
@pytest.mark.parametrize("stop", [1, 2, 20, 45])
def test_an_interrupted_run_ends_as_an_undisturbed_one(
    undisturbed: Callable[..., RunFolder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: int,
    family: str,
    recipe: str,
) -> None:
    size = [f"family={family}", f"recipe={recipe}", "family.width=16", "trainer.checkpoint_every_s=0"]
    (whole,) = record.read(undisturbed(*size).path)
    point, steps_made = Checkpoints.on_train_batch_end, []

    def interrupted(self: Checkpoints, trainer: Any, module: Any, *rest: Any) -> None:
        point(self, trainer, module, *rest)
        steps_made.append(module.position)
        if module.position == stop:
            raise RuntimeError("interrupted")

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", interrupted)
    (failed,) = run_one(frozen(tmp_path / "cut", *size))
    assert failed["status"] == "failed"
    assert failed["reason"] == "RuntimeError: interrupted"
    monkeypatch.setattr(
        Checkpoints, "on_train_batch_end", lambda s, t, m, *r: (steps_made.append(m.position), point(s, t, m, *r))
    )
    (resumed,) = run_one(tmp_path / "cut")
    assert steps_made == list(range(1, 48))  # every step once: it went on, it did not begin again
    assert resumed["status"] == "ok"
    assert (resumed["L"], resumed["L_se"], resumed["L_train"]) == (whole["L"], whole["L_se"], whole["L_train"])
    assert curve(tmp_path / "cut") == curve(undisturbed(*size).path)


@pytest.mark.sample(1)
@pytest.mark.parametrize("spoil", ["code", "bytes", "bit"])
def test_a_checkpoint_of_other_code_or_torn_or_flipped_is_begun_again(
    undisturbed: Callable[..., RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    (whole,) = record.read(undisturbed("trainer.checkpoint_every_s=0").path)
    beat, steps_made = Checkpoints.on_train_batch_end, []

    def interrupted(self: Checkpoints, trainer: Any, module: Any, *rest: Any) -> None:
        beat(self, trainer, module, *rest)
        steps_made.append(module.position)
        if len(steps_made) == 20:
            raise RuntimeError("interrupted")

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", interrupted)
    folder = frozen(tmp_path / "cut", "trainer.checkpoint_every_s=0")
    run_one(folder)
    if spoil == "code":
        other = Code("f" * 12, False)
        monkeypatch.setattr(FrozenConfig, "present_code", lambda config: other)
        freeze(replace(thaw(folder), code=other), folder)
    else:
        content = bytearray((folder / "checkpoint.ckpt").read_bytes())
        content[len(content) // 2] ^= 1
        (folder / "checkpoint.ckpt").write_bytes(content[:500] if spoil == "bytes" else content)
    (again,) = run_one(folder)
    reason = {"code": "is of other code", "bytes": "is damaged", "bit": "is damaged: its digest is another"}[spoil]
    assert f"checkpoint.ckpt {reason}" in RunFolder(folder).log.read_text()
    assert steps_made[20] == 1
    assert again["L"] == whole["L"]


@pytest.mark.sample(1)
@pytest.mark.parametrize("out", ["http_study", "a::b", "~/x", "s3://b"])
def test_a_checkpoint_is_found_whatever_its_folder_is_called_and_whatever_tmpdir_is(
    undisturbed: Callable[..., RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (whole,) = record.read(undisturbed("trainer.checkpoint_every_s=0").path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    for name in ("mkstemp", "mkdtemp", "gettempdir"):
        monkeypatch.setattr(tempfile, name, none)
    folder = frozen(Path(out) / "cut", "trainer.checkpoint_every_s=0")
    steps_made = interrupt(monkeypatch, step=20)
    run_one(folder)
    assert RunFolder(folder).checkpoint.exists()
    (resumed,) = run_one(folder)
    assert steps_made == list(range(1, 48))
    assert (resumed["status"], resumed["L"]) == ("ok", whole["L"])
    assert [path.name for path in tmp_path.iterdir()] == [Path(out).parts[0]]


def interrupt(monkeypatch: pytest.MonkeyPatch, step: int) -> list[int]:
    """Let the first run to come fail after a step; the steps made by it and by later ones."""
    point, steps_made = Checkpoints.on_train_batch_end, list[int]()

    def interrupted(self: Checkpoints, trainer: Any, module: Any, *rest: Any) -> None:
        point(self, trainer, module, *rest)
        steps_made.append(module.position)
        if len(steps_made) == step:
            raise RuntimeError("interrupted")

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", interrupted)
    return steps_made


def test_the_record_is_on_disk_before_checkpoint_heartbeat_and_claim_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, there = RunFolder(frozen(tmp_path, "trainer.checkpoint_every_s=0")), list[list[str]]()
    write = record.write

    def full(path: Path, rows: Any) -> None:
        names = sorted(one.name for one in tmp_path.iterdir() if one != folder.log)
        there.append([name for name in names if not name.startswith(".")])  # but for the draft of a beat
        if len(there) == 1:  # both the record and that it failed
            monkeypatch.setattr(record, "write", no_room)
            no_room()
        write(path, rows)

    def no_room(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record, "write", full)
    with pytest.raises(OSError, match="No space left"):
        run_one(tmp_path)
    assert folder.checkpoint.exists()
    assert not folder.records.exists()
    assert not folder.heartbeat.exists()
    monkeypatch.setattr(record, "write", full)
    steps_made = interrupt(monkeypatch, step=1000)
    (row,) = run_one(tmp_path)
    assert steps_made == [47]  # from the last checkpoint
    assert row["status"] == "ok"
    at_end = ["checkpoint.ckpt", "claim.1", "curve.csv", "frozen.json", "heartbeat.json", "lock"]
    assert there == [at_end, at_end]
    assert sorted(p.name for p in tmp_path.iterdir() if p != folder.log) == [
        "curve.csv",
        "frozen.json",
        "lock",
        "records.json",
    ]


def test_what_no_record_may_hold_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = Assembled.columns
    monkeypatch.setattr(Assembled, "columns", lambda self, mark: columns(self, mark) | {"C_attention": -1.0})
    steps_made = interrupt(monkeypatch, step=1000)
    (row,) = run_one(frozen(tmp_path))
    assert row["status"] == "failed"
    assert "no record may hold what lstm counts: C_attention=-1.0 is below 0" in row["reason"]
    assert steps_made == []


def test_a_launcher_accounts_for_a_lost_run_only_where_nobody_else_has_it(tmp_path: Path) -> None:
    entry = Entry(frozen(tmp_path))
    with sole_writer(entry.files):
        account(entry, 1, None)
    assert not entry.files.records.exists()
    account(entry, 1, None)
    (row,) = record.read(tmp_path)
    assert (row["status"], row["reason"]) == (
        "failed",
        f"the process ended without a record: exit code 1; see {entry.files.log}",
    )
    record.write(tmp_path, [row | {"status": "ok", "reason": None, "L": 1.0}])
    account(entry, None, "late")
    assert record.finished(tmp_path)


def test_where_a_checkpoint_is_damaged_the_trunk_of_the_marks_before_is_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = ["family=mlp", "budget.D=null", "trainer.checkpoint_every_s=0"]
    folder = RunFolder(frozen(tmp_path / "run", *marks, "budget.D=[1280]"))
    run_one(folder.path)
    frozen(folder.path, *marks, "budget.D=[1280,5120]")
    steps_made = interrupt(monkeypatch, step=10)
    run_one(folder.path)
    content = bytearray(folder.checkpoint.read_bytes())
    content[-1] ^= 128
    folder.checkpoint.write_bytes(content)
    first = steps_made[0]
    assert first > 10  # from the trunk
    rows = run_one(folder.path)
    assert steps_made[10] == first
    assert [row["D"] for row in rows] == [1280, 5120]
    assert "checkpoint.ckpt is damaged" in folder.log.read_text()


def test_a_run_without_result_keeps_its_checkpoint_and_a_finished_one_does_not(tmp_path: Path) -> None:
    run_one(frozen(tmp_path, "trainer.checkpoint_every_s=0"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curve.csv", "frozen.json", "lock", "records.json"]


def test_the_same_run_twice_gives_the_same_bits_and_another_seed_does_not(tmp_path: Path) -> None:
    folders = [frozen(tmp_path / "1"), frozen(tmp_path / "2"), frozen(tmp_path / "3", "seed=1")]
    one, two, other = (run_one(folder)[0]["L"] for folder in folders)
    assert one == two != other
    ids = [json.loads(RunFolder(folder).config.read_text())["run_id"] for folder in folders]
    assert ids[0] == ids[1] != ids[2]


def test_the_loss_is_the_sum_over_targets_not_the_mean_of_batches() -> None:
    task = Task("tokens", d_in=3, d_out=3, seq_len=2, targets=2)
    logits, y = torch.zeros(2, 2, 3), torch.tensor([[0, 1], [2, -1]])
    losses = loss_per_target(task, logits, y)
    assert losses.shape == (2, 2)
    assert losses.sum().item() == pytest.approx(3 * math.log(3))
    assert losses[1, 1] == 0


def test_the_rate_warms_up_stays_and_cools_down() -> None:
    recipe = AdamW(lr=0.5, warmup=0.1, cooldown=0.2)
    rates = [recipe.rate(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.05 * (i + 1) for i in range(10)])
    assert rates[10:80] == [0.5] * 70
    assert rates[80:] == sorted(rates[80:], reverse=True)
    assert 0 < rates[-1] < 0.02
    assert AdamW(lr=1.0).rate(0, 1) > 0


def test_a_warm_up_in_steps_is_the_same_for_every_list_of_marks() -> None:
    recipe = AdamW(lr=1.0, warmup_steps=4)
    assert [recipe.rate(step, 100, first=20) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert [recipe.rate(step, 800) for step in range(5)] == [recipe.rate(step, 100, first=20) for step in range(5)]


def test_a_falling_trunk_is_shared_by_all_marks_and_meets_each_horizon_at_its_rate() -> None:
    recipe = AdamW(lr=1.0, warmup_steps=10, horizon_power=0.3, horizon_steps=40)
    short, long = ([recipe.rate(step, steps) for step in range(steps)] for steps in (100, 400))
    assert short[:80] == long[:80]
    assert short[10:40] == [1.0] * 30
    for steps in (100, 400):
        assert recipe.rate(int(0.8 * steps) - 1, steps) == pytest.approx((40 / (0.8 * steps)) ** 0.3)
    assert short[80:] == sorted(short[80:], reverse=True)
    # the shape of the cooldown is that of a constant trunk
    level = [AdamW(lr=1.0, warmup_steps=10).rate(step, 100) for step in range(80, 100)]
    assert short[80:] == pytest.approx([rate * short[79] for rate in level])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["recipe.lr=-1"], "recipe.lr=-1 is not a number above 0"),
        (["recipe.warmup=0.9", "recipe.cooldown=0.9"], "exceed the run"),
        (["recipe.warmup_steps=2.5"], "recipe.warmup_steps=2.5 is not a whole number of at least 0"),
        (["recipe.horizon_power=0.3", "recipe.schedule=cosine"], "shapes the trunk of schedule=cooldown"),
        (["recipe.precision=fp64"], "not one of fp32, bf16"),
        (["budget.C=1e9"], "two budgets at once"),
    ],
)
def test_a_config_that_cannot_be_run_leaves_no_record(tmp_path: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run_one(frozen(tmp_path, *overrides))
    assert not RunFolder(tmp_path).records.exists()
