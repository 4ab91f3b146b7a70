"""The frozen config: what is written is read, earlier forms too, and what cannot be is refused in a sentence."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from isoflop.errors import UserError
from isoflop.folder import RunFolder
from isoflop.scaling.assemble import build
from isoflop.scaling.config.composed import register_resolvers, resolve
from isoflop.scaling.config.frozen import FrozenConfig, columns, failure, freeze, rounded, thaw
from isoflop.scaling.config.sections import PlannedMark, RunPlan, Trainer

PLAN = RunPlan(10, 64, 1e6, 1, 1e6, 0.01, 4, 2**20, (PlannedMark(10, 64, 1e6),), rounded=6.4)


def frozen(*overrides: str) -> FrozenConfig:
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        cfg = compose("train", ["family=mlp", *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return resolve(cfg)


def test_what_is_frozen_is_what_is_thawed(tmp_path: Path) -> None:
    config = frozen("budget.D=[1e5,1e6]", "recipe=transfer", "tags=[a]", "trainer.micro_batch=4", "seed=3")
    for one in (config, replace(config, plan=PLAN)):
        folder = tmp_path / one.run_id
        freeze(one, folder)
        assert thaw(folder) == one
    assert thaw(folder).rest["out"] == "runs"


def test_settings_that_came_later_have_their_defaults_in_an_earlier_file(tmp_path: Path) -> None:
    config = frozen()
    data = config.to_json()
    del data["round_up"], data["trainer"]["checkpoint_every_s"], data["logger"]
    folder = tmp_path / config.run_id
    RunFolder(folder).write_config(data | {"logger": {"name": "none"}, "plan": {"N": 1}})
    assert thaw(folder) == config


@pytest.mark.parametrize("spoil", ["names", "budget", "seed", "trainer"])
def test_a_frozen_config_that_lacks_a_part_is_refused(tmp_path: Path, spoil: str) -> None:
    data = frozen().to_json()
    RunFolder(tmp_path).write_config({key: value for key, value in data.items() if key != spoil})
    with pytest.raises(UserError, match="is not a whole config; delete its folder and rerun the command"):
        thaw(tmp_path)
    RunFolder(tmp_path).write_config(data | {spoil: None})
    with pytest.raises(UserError, match="is not a whole config"):
        thaw(tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+trainer.speed=2", "trainer.speed is not a key; trainer has accelerator, devices"),
        ("+budget.hours=2", "budget.hours is not a key; budget has D, C, D_per_N, epochs"),
        ("seed=-1", "seed=-1 is not a whole number of at least 0"),
        ("trainer.devices=0", "trainer.devices=0 is not a whole number of at least 1"),
        ("trainer.strategy=fsdp", "shards over several devices"),
        ("trainer.deterministic=maybe", "trainer.deterministic=maybe is neither true nor false"),
        ("trainer.graph=maybe", "trainer.graph=maybe is neither true nor false"),
        ("trainer.compile=maybe", "trainer.compile='maybe' is not one of true, false, auto"),
        ("round_up=1", "round_up=1 is neither true nor false"),
    ],
)
def test_a_value_that_cannot_be_is_refused_when_the_config_is_resolved(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        frozen(override)


def test_a_micro_batch_is_halved_down_to_one_example() -> None:
    assert Trainer().halved_micro_batch(batch=16) == 8
    assert Trainer(devices=2).halved_micro_batch(batch=16) == 4
    assert Trainer(micro_batch=3).halved_micro_batch(batch=16) == 1
    assert Trainer(micro_batch=1).halved_micro_batch(batch=16) is None


def test_a_failed_run_has_the_columns_of_its_config() -> None:
    config = frozen("recipe=step_law", "budget.D=1e6", "family.width=16")
    row = failure(config, "failed", "it rained")
    assert (row["family"], row["width"], row["status"], row["budget.D"]) == ("mlp", 16, "failed", 1_000_000)
    assert row["lr"] is None  # a rule, not yet a number
    assert row["recipe.lr.c"] == 1.79
    assert columns(config)["sources"] == config.code.sources


@pytest.mark.parametrize(
    ("budget", "factor"),
    [({"budget.D": 100}, 1.28), ({"budget.C": 1000.0}, 1.28), ({"budget.epochs": 0.5}, 2.0), ({}, 1.0)],
)
def test_a_row_knows_how_much_more_than_its_budget_was_taken(budget: dict[str, float], factor: float) -> None:
    assert rounded({"N": 10, "D": 128, "C": 1280.0, "epochs": 1.0} | budget) == pytest.approx(factor)


def test_a_plan_is_plain_data_and_back() -> None:
    assert RunPlan.from_json(json.loads(json.dumps(PLAN.to_json()))) == PLAN


@pytest.mark.parametrize(
    "change", [{"width": None}, {"width": "8"}, {"depth": [1]}, {"width": -1}, {"width": {"of": {"of": 1}}}]
)
def test_a_dial_that_is_no_number_is_no_config(tmp_path: Path, change: dict[str, object]) -> None:
    data = frozen().to_json()
    RunFolder(tmp_path).write_config(data | {"family": data["family"] | change})
    with pytest.raises(UserError, match=r"is not a whole config; .* \(family\."):
        thaw(tmp_path)


def test_a_frozen_config_whose_values_were_changed_is_not_run(tmp_path: Path) -> None:
    config = frozen("recipe.lr=0.02")
    freeze(config, tmp_path)
    path = RunFolder(tmp_path).config
    path.write_text(path.read_text().replace('"lr": 0.02', '"lr": 0.03'))
    with pytest.raises(UserError, match="is not a whole config"):
        thaw(tmp_path)
    # an earlier version wrote no digest
    data = {name: value for name, value in config.to_json().items() if name != RunFolder.DIGEST}
    path.write_text(json.dumps(data))
    assert thaw(tmp_path).recipe["lr"] == 0.02


def test_a_reference_in_a_frozen_config_is_text_and_never_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    config = frozen()
    data = config.to_json()
    data["tags"], data["family"] = ["${oc.env:SECRET}"], data["family"] | {"activation": "${oc.env:SECRET}"}
    data |= {"note": "${oc.env:SECRET}"}
    RunFolder(tmp_path).write_config(data)
    thawed = thaw(tmp_path)
    assert thawed.knobs("family")["activation"] == thawed.rest["note"] == "${oc.env:SECRET}"
    assert "hidden" not in repr(thawed)
    with pytest.raises(UserError, match=r"oc\.env:SECRET") as error:
        build(thawed, "family")
    assert "hidden" not in str(error.value)
