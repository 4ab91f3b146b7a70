"""Kept weights: a finished run asked for a further probe only measures, to the same numbers, or is made again."""

from pathlib import Path

import pytest
import torch
from conftest import TINY
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from isoflop import record
from isoflop.errors import UserError
from isoflop.folder import RunFolder
from isoflop.scaling.config.composed import register_resolvers, resolve
from isoflop.scaling.config.frozen import freeze
from isoflop.scaling.config.sections import Trainer
from isoflop.scaling.loop import saved_state
from isoflop.scaling.loop.attempt import Attempt
from isoflop.scaling.run import run_one

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*", "ignore:.*ckpt_path.*"
)
MARKS = ["family=mlp", "family.width=8", "family.depth=1", "budget.D=[2e3,4e3]", *TINY]


def train(folder: Path, *overrides: str) -> list[record.Row]:
    """Freeze the config of a run into its folder and run it."""
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        cfg = compose("train", [*MARKS, *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        freeze(resolve(cfg), folder)
    return run_one(folder)


def measured(rows: list[record.Row]) -> list[dict[str, object]]:
    """What does not depend on the clock."""
    return [{k: v for k, v in row.items() if k.startswith(("probe.", "L")) and "wall_s" not in k} for row in rows]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run of two marks whose weights were kept."""
    train(tmp_path / "kept", "trainer.keep=marks", "probe=[precision]")
    assert [RunFolder(tmp_path / "kept").weights(D).exists() for D in (2048, 4032)] == [True, True]
    return tmp_path / "kept"


def test_a_further_probe_of_kept_weights_trains_nothing_and_finds_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = train(tmp_path / "both", "probe=[positions,precision]")
    before = record.read(folder)
    monkeypatch.setattr(Attempt, "build_module", lambda *_: pytest.fail("it trains"))
    rows = train(folder, "probe=[positions,precision]")
    assert measured(rows) == measured(both)
    assert [row["wall_s"] for row in rows] == [row["wall_s"] for row in before]  # of the training, which was then
    assert {point[:2] for point in RunFolder(folder).read_probes()} >= {(2048, "positions"), (4032, "positions")}
    assert record.read(folder) == rows


@pytest.mark.parametrize(("device", "trains"), [("another card", False), (None, True)])
def test_weights_of_another_device_may_give_a_loss_that_differs_by_its_rounding(
    folder: Path, monkeypatch: pytest.MonkeyPatch, device: str | None, trains: bool
) -> None:
    rows = [row | {"L": row["L"] * 1.00005, "device": device or row["device"]} for row in record.read(folder)]
    record.write(folder, rows)
    asked, build = [], Attempt.build_module
    monkeypatch.setattr(Attempt, "build_module", lambda *given: asked.append(True) or build(*given))
    again = train(folder, "probe=[positions,precision]", "trainer.keep=marks")
    assert bool(asked) is trains
    assert all(isinstance(row["probe.positions.late"], float) for row in again)
    assert trains or "trained on another card, measured on " in RunFolder(folder).log.read_text()


@pytest.mark.parametrize("damage", ["flipped", "other", "lost"])
def test_weights_that_do_not_give_the_loss_of_the_record_are_not_measured(folder: Path, damage: str) -> None:
    path = RunFolder(folder).weights(2048)
    if damage == "flipped":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "other":
        state = saved_state.read(path)
        saved_state.write(path, state | {"weights": {k: torch.zeros_like(t) for k, t in state["weights"].items()}})
    else:
        path.unlink()
    before = record.read(folder)
    rows = train(folder, "probe=[positions]", "trainer.keep=marks")
    assert [row["L"] for row in rows] == [row["L"] for row in before]
    assert all(isinstance(row["probe.positions.late"], float) for row in rows)
    assert all("probe.precision.delta_4" in row for row in rows)
    assert damage == "lost" or "weights.2048.ckpt" in RunFolder(folder).log.read_text()
    assert path.exists()  # the run was made again, and keeps them


def test_what_can_be_kept_is_named() -> None:
    with pytest.raises(UserError, match=r"trainer\.keep='all' is not one of nothing, marks"):
        Trainer(keep="all")
