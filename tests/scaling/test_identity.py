"""A run is known by its science: not by what classes are called, nor by knobs that came later."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Isoflop
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from isoflop import record
from isoflop.errors import UserError
from isoflop.folder import RunFolder
from isoflop.scaling.assemble import assemble
from isoflop.scaling.config import choices, identity, provenance, resume
from isoflop.scaling.config.composed import container, register_resolvers, whole_as_int
from isoflop.scaling.config.frozen import FrozenConfig, freeze, thaw

# overrides -> the id by the present rule, and that by rule 1; written down when the rules were made, never to change
GOLDEN = [
    (["family=mlp"], "2494e79d5e12", "64a42e34da90"),
    (["family=transformer", "family.width=64", "seed=3", "data.size=1e5"], "14dbbf8670fb", "e6271b1ef8a5"),
    (
        ["family=lstm", "recipe=step_law", "recipe.parametrization=standard", "budget.D=1e6"],
        "975521a473c5",
        "c5456646d94e",
    ),
    (["family=resnet", "data=digits", "recipe=muon", "budget.epochs=2"], "3c4bd621fcef", "1acea094eb6a"),
    (["family=ssm", "budget.C=[1e10,2e10]", "recipe.lr=0.01"], "5be30fa5ac38", "225abfd7a176"),
    (["family=hybrid", "data=copy", "recipe=transfer", "budget.D_per_N=20"], "223bdbdfb6fc", "8e9184994ca1"),
    (["family=mlp", "data=spectral", "budget.C=[1e9,2e9]", "recipe=transfer"], "4209cd6f2fdf", "11acdc927d04"),
]


def composed(*overrides: str) -> dict[str, Any]:
    """A config as Hydra composes it, the yamls' own words still in it."""
    register_resolvers()
    text = not any(override.startswith("data=") for override in overrides)
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        # the version of the interpreter is the version of the text
        given = [*overrides, *(["data.version=3.11.7"] if text else [])]
        cfg = compose("train", given, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return {str(key): whole_as_int(container(cfg[key])) for key in cfg if key != "hydra"}


@pytest.mark.parametrize(("overrides", "now", "then"), GOLDEN)
def test_ids_are_those_that_were_written_down(overrides: list[str], now: str, then: str) -> None:
    whole = composed(*overrides)
    assert identity.run_id(whole) == now
    assert identity.run_id_1(whole) == then


def test_a_class_that_moves_keeps_its_runs() -> None:
    whole = composed("family=mlp")
    moved = whole | {"family": whole["family"] | {"_target_": "elsewhere.Mlp"}}
    assert identity.run_id(moved) == identity.run_id(whole)
    assert identity.run_id_1(moved) == identity.run_id_1(whole)


def test_a_knob_that_is_added_keeps_the_runs_made_before_it() -> None:
    whole = composed("family=mlp")
    added = {"_added_": {"dropout": 0.0}}
    as_before = whole | {"family": whole["family"] | added | {"dropout": 0.0}}
    otherwise = whole | {"family": whole["family"] | added | {"dropout": 0.1}}
    assert identity.run_id(as_before) == identity.run_id(whole)
    assert identity.run_id_1(as_before) == identity.run_id_1(whole)
    assert identity.run_id(otherwise) != identity.run_id(whole)


def test_every_knob_and_seed_and_budget_tells_runs_apart() -> None:
    whole = composed("family=mlp")
    ids = {identity.run_id(composed(*o, "family=mlp")) for o in ([], ["seed=1"], ["budget.D=1e5"], ["recipe.clip=2"])}
    assert len(ids) == 4
    for same in ("budget.epochs=1", "trainer.micro_batch=3", "round_up=true", "tags=[a]"):
        assert identity.run_id(composed("family=mlp", same)) == identity.run_id(whole)


def test_a_warm_up_in_steps_frees_a_trunk_from_its_first_mark() -> None:
    marks = ("family=mlp", "budget.D=[2e5,4e5]"), ("family=mlp", "budget.D=[1e5,2e5,4e5]")
    by_share = {identity.run_id(composed(*given)) for given in marks}
    by_steps = {identity.run_id(composed(*given, "recipe.warmup_steps=100")) for given in marks}
    assert (len(by_share), len(by_steps), len(by_share | by_steps)) == (2, 1, 3)


def test_a_folder_of_the_first_rule_is_found_as_done_and_retried(
    isoflop: Isoflop, small_sweep: Path, tmp_path: Path
) -> None:
    out = tmp_path / "old"
    command = ["train", "family=mlp", "family.width=8", "family.depth=1", "budget.D=2e3", *TINY, f"out={out}"]
    (made,) = [f for f in small_sweep.iterdir() if (config := thaw(f)).names.family == "mlp"
               and config.width == 8]  # fmt: skip
    frozen, (row,) = thaw(made).to_json(), record.read(made)
    later = {"data": ("held_out",), "recipe": ("warmup_steps", "horizon_power", "horizon_steps")}
    frozen |= {group: {k: v for k, v in frozen[group].items() if k not in added} for group, added in later.items()}
    # as the first version wrote it: classes spelled out, no rule, no sources
    old = {k: v for k, v in frozen.items() if k not in ("classes", "extensions", "run_id_rule", "plan")}
    spelled = {"family": "scaling.families.mlp.Mlp", "data": "scaling.data.text.Text", "recipe": "scaling.recipe.AdamW"}
    for group, name in spelled.items():
        old[group] = {"_target_": name} | frozen[group]
    old["run_id"] = identity.run_id_1(frozen)
    old["code"] = {"git": row["git"], "dirty": row["dirty"]}
    folder = out / old["run_id"]
    folder.mkdir(parents=True)
    RunFolder(folder).write_config(old)
    columns = {k: v for k, v in row.items() if k not in ("sources", "run_id_rule")}
    record.write(folder, [columns | {"run_id": old["run_id"]}])
    again = isoflop(*command)
    assert again.returncode == 0, again.stderr
    assert "done already" in again.stderr
    assert [f.name for f in out.iterdir()] == [old["run_id"]]
    assert "1 done already, 0 to make" in isoflop(*command[:1], "-m", *command[1:]).stderr
    RunFolder(folder).records.unlink()
    assert isoflop("retry", out).returncode == 0
    (retried,) = record.read(folder)
    assert retried["L"] == row["L"]
    assert (retried["run_id"], retried["run_id_rule"]) == (old["run_id"], 1)


def test_a_frozen_config_builds_only_classes_of_ours_or_of_a_declared_extension(
    small_sweep: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "0123456789ab"
    shutil.copytree(next(f for f in small_sweep.iterdir() if f.is_dir()), folder)
    frozen = thaw(folder)
    inside = "isoflop.scaling.data.text.torch.os.system"  # a way out through what a module of ours imports
    gone = "isoflop.scaling.data.copy.Copy"  # a module that has moved since
    for evil in ("os.system", "pandas.read_pickle", "isoflop.sweeps.workers.call", inside, gone):
        config = replace(frozen, classes={**frozen.classes, "family": evil})
        assert config.target("family") == choices.target("family", frozen.names.family)
        assert assemble(config).family.width == frozen.width
    with pytest.raises(UserError, match=r"family=\.\./\.\./x is not in"):
        assemble(replace(frozen, names=replace(frozen.names, family="../../x"), classes={}))


def test_the_folder_is_the_run(small_sweep: Path, tmp_path: Path) -> None:
    folder = tmp_path / "0123456789ab"
    shutil.copytree(next(f for f in small_sweep.iterdir() if f.is_dir()), folder)
    freeze(replace(thaw(folder), run_id="../../x"), folder)
    assert thaw(folder).run_id == "0123456789ab"


def test_sources_tell_an_edit_of_a_used_file_and_of_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def sources(family: str, changed: str) -> str:
        tree = provenance.tree()
        monkeypatch.setattr(provenance, "tree", lambda: tree | {changed: "edited"} if changed else tree)
        provenance._sources.cache_clear()
        hashed = str(provenance.code([choices.target("family", family)]).sources)
        monkeypatch.setattr(provenance, "tree", lambda: tree)
        provenance._sources.cache_clear()
        return hashed

    before = sources("hybrid", "")
    assert sources("hybrid", "families/ssm.py") != before  # hybrid is made of it
    assert sources("hybrid", "families/base.py") != before
    assert sources("hybrid", "families/cnn.py") == before
    assert sources("hybrid", "cost.py") != before
    assert sources("hybrid", "data/base.py") != before  # the order of the data, which the loop imports


def test_each_edit_of_a_family_makes_its_finished_run_again(
    small_sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = next(f for f in small_sweep.iterdir() if thaw(f).names.family == "mlp")
    folder = shutil.copytree(source, tmp_path / source.name)
    (row,), tree = record.read(folder), provenance.tree()

    def frozen_after(edit: str) -> FrozenConfig:
        monkeypatch.setattr(provenance, "tree", lambda: tree | {"families/mlp.py": edit})
        provenance._sources.cache_clear()
        config = thaw(folder)
        return replace(config, code=config.present_code(), redo_other_code=True)

    for edit in ("edited", "edited again"):
        config = frozen_after(edit)
        assert not resume.is_done(folder, config)
        assert resume.is_done(folder, replace(config, redo_other_code=False))  # it is named, and left as it is
        record.write(folder, [row | config.code.to_json()])
        assert resume.is_done(folder, config)
    provenance._sources.cache_clear()
