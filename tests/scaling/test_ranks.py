"""Several ranks on one run: the record of one device, no rank left behind, no multirun entered twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import TINY, Isoflop

from isoflop import record
from isoflop.sweeps.ledger import entries

RUN = ["family=transformer", "family.width=16", "family.depth=1", "budget.D=[1280,2560]", *TINY]
# float32 sums over two halves of a batch, carried through 40 steps of AdamW
SAME = 2e-3


@pytest.fixture(scope="module")
def alone(isoflop: Isoflop, tmp_path_factory: pytest.TempPathFactory) -> list[record.Row]:
    """The rows of the run on one device."""
    out = tmp_path_factory.mktemp("alone")
    done = isoflop("train", *RUN, f"out={out}")
    assert done.returncode == 0, done.stderr
    return next(entries(out)).rows


@pytest.mark.parametrize(
    "placing",
    [
        pytest.param(["ddp"], marks=pytest.mark.nightly),
        pytest.param(
            ["ddp", "trainer.micro_batch=1", "logger=wandb", "logger.offline=true"], marks=pytest.mark.nightly
        ),
        ["fsdp", "trainer.micro_batch=1"],
    ],
    ids=["ddp", "ddp in parts, mirrored", "fsdp in parts"],
)
def test_two_ranks_leave_the_rows_of_one_device(
    isoflop: Isoflop, tmp_path: Path, alone: list[record.Row], placing: list[str]
) -> None:
    strategy, *more = placing
    where = [f"trainer.strategy={strategy}", "trainer.devices=2", *more]
    done = isoflop("train", "-m", *RUN, *where, f"out={tmp_path}")
    assert done.returncode == 0, done.stderr + (next(tmp_path.glob("*/log.txt"))).read_text()
    (entry,) = entries(tmp_path)
    assert entry.run_id == alone[0]["run_id"]
    assert len(entry.rows) == 2
    for row, one in zip(entry.rows, alone, strict=True):
        assert [row[k] for k in ("D", "C", "N", "status", "rung")] == [
            one[k] for k in ("D", "C", "N", "status", "rung")
        ]
        for loss in ("L", "L_se", "L_train"):
            assert row[loss] == pytest.approx(one[loss], rel=SAME)
    assert not [path.name for path in entry.folder.iterdir() if path.name.startswith(".")]
    assert len(list(entry.folder.glob("wandb/offline-run-*"))) == ("logger=wandb" in more)


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(word) for word in found.split()]


@pytest.mark.sample(1)
@pytest.mark.parametrize("victim", ["rank", "run"])
def test_a_death_ends_all_ranks(tmp_path: Path, victim: str) -> None:
    command = [sys.executable, "-m", "isoflop.cli", "train", *RUN, "budget.D=1e8", "trainer.devices=2"]
    run = subprocess.Popen([*command, f"out={tmp_path}"], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    # the first rank's heart may beat before the second is started
    while not list(tmp_path.glob("*/heartbeat.json")) or len(children(run.pid)) < 2:
        assert run.poll() is None
        assert time.monotonic() < until
        time.sleep(0.2)
    ranks = children(run.pid)
    assert len(ranks) == 2
    os.kill(ranks[1] if victim == "rank" else run.pid, signal.SIGKILL)
    _, said = run.communicate(timeout=280)
    if victim == "rank":
        assert run.returncode == 1
        assert "the run failed: RankError: rank 1 of 2 died (killed by SIGKILL)" in said
        assert next(entries(tmp_path)).state == "failed"
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in ranks):
        assert time.monotonic() < until, "a rank outlived its run"
        time.sleep(0.1)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["trainer.devices=2", "recipe.batch=1"],
            "recipe.batch=1 is less than trainer.devices=2; each device needs an example",
        ),
        (["trainer.strategy=fsdp"], "trainer.strategy=fsdp shards over several devices; give trainer.devices=2, say"),
        (["trainer.strategy=dp"], "trainer.strategy='dp' is not one of ddp, fsdp"),
        (["trainer.devices=0"], "trainer.devices=0 is not a whole number of at least 1"),
    ],
)
def test_a_placement_that_cannot_be_is_refused(
    isoflop: Isoflop, tmp_path: Path, overrides: list[str], said: str
) -> None:
    refused = isoflop("train", *RUN, *overrides, f"out={tmp_path}")
    assert refused.returncode == 2
    assert said in refused.stderr
