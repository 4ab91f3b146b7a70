"""The mirror of a run: the whole record is in it, the table comes back from it, and its trouble costs no result."""

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import TINY
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from isoflop import record
from isoflop.errors import UserError
from isoflop.folder import RunFolder
from isoflop.scaling import limits
from isoflop.scaling.config.composed import register_resolvers, resolve
from isoflop.scaling.config.frozen import FrozenConfig, freeze
from isoflop.scaling.config.sections import Logger
from isoflop.scaling.loop import wandb as mirror_in_wandb
from isoflop.scaling.loop.checkpoints import Checkpoints
from isoflop.scaling.run import run_one
from isoflop.sweeps import sweeper
from isoflop.sweeps.collect import collect
from isoflop.sweeps.importing.importing import Imported, import_logs
from isoflop.sweeps.importing.verbs import main

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*")
OFFLINE = ("logger=wandb", "logger.offline=true")
DIVERGES = ("family=mlp", "recipe.lr=1e36", "recipe.clip=1e30")
INSPECT = (str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json")


def resolved(*overrides: str) -> FrozenConfig:
    """The config of a tiny run."""
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        arguments = ["family=lstm", "family.width=8", "family.depth=1", "budget.D=3e3", *TINY, *overrides]
        cfg = compose("train", arguments, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return resolve(cfg)


def train(out: Path, *overrides: str) -> list[record.Row]:
    """Make a tiny run in its folder and return its rows."""
    config = resolved(*overrides)
    freeze(config, out / config.run_id)
    return run_one(out / config.run_id)


def inspected(log: Path) -> dict[str, Any]:
    """What W&B has of an offline run."""
    done = subprocess.run([*INSPECT, "--summary", str(log)], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def history(log: Path) -> list[dict[str, float]]:
    """The points that W&B has of an offline run."""
    done = subprocess.run([*INSPECT, str(log)], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line["history"]["item"] for line in lines if line["type"] == "history"]


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with their mirrors: of two marks, diverged, failed."""
    out = tmp_path_factory.mktemp("mirrored")
    train(out, *OFFLINE, "budget.D=[1280,3e3]", "tags=pilot", "trainer.checkpoint_every_s=0")
    train(out, *OFFLINE, *DIVERGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_end", rain)
        (failed,) = train(out, *OFFLINE, "seed=7")
    assert failed["status"] == "failed"
    return out


def rain(*_: Any) -> None:
    raise RuntimeError("it rained")


def logs_by_status(out: Path) -> dict[str, Path]:
    """The log of the one run of each status."""
    logs = {log.parents[2].name: log for log in out.rglob("*.wandb")}
    return {record.read(out / run_id)[0]["status"]: log for run_id, log in logs.items()}


def test_a_run_in_wandb_has_the_id_and_every_column_of_the_record(mirrored: Path) -> None:
    for status, log in logs_by_status(mirrored).items():
        said, row = inspected(log), record.read(log.parents[2])[-1]
        assert said["run_id"] == row["run_id"]
        assert said["exit_code"] == (status != "ok")
        held = said["config"] | said["summary"]
        for name, value in row.items():
            if value is not None:
                assert held[name] == (pytest.approx(value) if isinstance(value, float) else value), name
        assert said["config"]["folder"] == str(log.parents[2].resolve())
    marks = inspected(logs_by_status(mirrored)["ok"])
    assert marks["name"] == "lstm-w8-d1-D1280..3000-lr0.02-s0"
    assert marks["tags"] == ["lstm", "pilot"]
    assert inspected(logs_by_status(mirrored)["failed"])["summary"]["reason"] == "RuntimeError: it rained"


def test_the_loss_of_every_mark_is_a_point_on_the_axes(mirrored: Path) -> None:
    log = logs_by_status(mirrored)["ok"]
    points, rows = history(log), record.read(log.parents[2])
    assert len(rows) == 2
    assert all({"step", "D", "C"} <= point.keys() for point in points)
    held_out = [point for point in points if "L" in point]
    assert [(p["D"], p["C"], p["L"]) for p in held_out] == [(r["D"], r["C"], r["L"]) for r in rows]
    with RunFolder(log.parents[2]).curve.open() as file:
        curve = [float(row["L_train"]) for row in csv.DictReader(file)]
    assert [point["L_train"] for point in points if "L_train" in point] == curve


def test_the_table_comes_back_from_the_mirror_as_collect_makes_it(
    mirrored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collect(mirrored, tmp_path / "collected.csv")
    imported = import_logs(str(mirrored), tmp_path / "imported.csv")
    assert (tmp_path / "imported.csv").read_bytes() == (tmp_path / "collected.csv").read_bytes()
    assert str(imported).startswith("3 runs (2 not finished, which fits leave out), from Weights & Biases")
    arguments = ["import", str(mirrored), "-o", str(tmp_path / "imported.csv")]
    assert main(arguments) == 2
    assert "is there already; name another file, or give --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0


def online(runs: list[SimpleNamespace], out: Path, monkeypatch: pytest.MonkeyPatch) -> Imported:
    """What is imported of a project with these runs."""
    monkeypatch.setattr("wandb.Api", lambda **_: SimpleNamespace(runs=lambda path: runs))
    return import_logs("me/project", out / "runs.csv")


def test_a_run_online_without_a_record_is_a_failure_or_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead, busy, done = resolved("seed=1"), resolved("seed=2"), resolved("seed=3")
    (row,) = train(tmp_path, "seed=3")
    runs = [
        SimpleNamespace(id=c.run_id, name="x", state=state, config={"frozen": c.to_json()}, summary=summary)
        for c, state, summary in (
            (dead, "crashed", {}),
            (busy, "running", {"L_train": 2.0}),
            (done, "finished", {"record": record.text([row])}),
        )
    ]
    imported = online(runs, tmp_path, monkeypatch)
    (failed,) = imported.records[dead.run_id]
    assert (failed["status"], failed["reason"], failed["seed"]) == ("failed", "W&B says crashed", 1)
    assert imported.records[done.run_id] == [row]
    assert str(imported).endswith(f"left out 1 that are at work: {busy.run_id}")
    runs[-1].summary = {"record": record.text([row]).replace("lstm", "mlpp")}
    assert "its digest is another" in str(online(runs, tmp_path, monkeypatch))


def test_a_run_that_goes_on_has_one_id_and_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = (*OFFLINE, "trainer.checkpoint_every_s=0")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_end", rain)
        (failed,) = train(tmp_path, *overrides)
    (row,) = train(tmp_path, *overrides)
    assert (failed["status"], row["status"]) == ("failed", "ok")
    assert [log.name for log in tmp_path.rglob("*.wandb")] == [f"run-{row['run_id']}.wandb"] * 2
    assert import_logs(str(tmp_path), tmp_path / "runs.csv").records == {row["run_id"]: [row]}


@pytest.mark.sample(1)
@pytest.mark.parametrize("where", ["init", "Run.log", "Run.finish"])
def test_wandb_going_away_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    import wandb

    def gone(*_: Any, **__: Any) -> None:
        raise RuntimeError("server went away")

    with monkeypatch.context() as patch:
        patch.setattr(f"wandb.{where}", gone)
        (row,) = train(tmp_path, *OFFLINE)
    assert row["status"] == "ok"
    assert record.read(tmp_path / row["run_id"])[0]["L"] == row["L"]
    assert capsys.readouterr().err.count("RuntimeError: server went away; the run goes on without it") == 1
    wandb.finish()


class FakeRun:
    """What wandb.init gives, as far as it is used."""

    offline, url = False, "https://wandb.example/me/p/runs/1"

    def __init__(self) -> None:
        self.axes: dict[str, Any] = {}

    def define_metric(self, name: str, step_metric: str | None = None, hidden: bool = False) -> None:
        self.axes[name] = step_metric


@pytest.mark.parametrize("agent", [False, True])
def test_online_a_run_is_resumed_by_its_id_unless_an_agent_has_named_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agent: bool
) -> None:
    given: dict[str, Any] = {}
    fake = FakeRun()
    monkeypatch.setattr("wandb.init", lambda **settings: given.update(settings) or fake)
    online = SimpleNamespace(settings=SimpleNamespace(mode="online"))
    monkeypatch.setattr("wandb.setup", lambda **_: online)
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    if agent:
        monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    config = resolved("logger=wandb")
    mirror_in_wandb.WandbRun(config, RunFolder(tmp_path), {"lr": None, "N": 3})
    assert (given.get("id"), given["resume"]) == (None if agent else config.run_id, "allow")
    assert given["config"]["N"] == 3
    assert fake.axes == {"step": None, "D": None, "C": None, "lr": "step", "L_train": "D", "*": "C"}
    assert RunFolder(tmp_path).read_mirror() == fake.url


def test_the_login_is_asked_for_once_and_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def call(function: str, name: str) -> str:
        asked.append((function, name))
        return ""

    monkeypatch.setattr(sweeper, "ANSWERED", set())
    monkeypatch.setattr("isoflop.sweeps.workers.call", call)
    sweeper.refuse_loggers([resolved("logger=wandb", f"seed={seed}") for seed in range(3)])
    sweeper.refuse_loggers([resolved("logger=wandb")])
    assert asked == [("isoflop.scaling.loop.mirror:problem", "wandb")]
    sweeper.refuse_loggers([resolved(*OFFLINE), resolved("logger=csv"), resolved()])
    assert len(asked) == 1
    with pytest.raises(UserError, match="no key"):
        limits.refuse_logger(Logger("wandb"), lambda *_: "no key")


def test_what_is_wrong_with_a_login_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> bool:
        raise ValueError("bad key\nand more")

    monkeypatch.delenv("WANDB_MODE", raising=False)
    for login, said in [
        (lambda **_: True, ""),
        (lambda **_: False, "logger=wandb needs a login: run `wandb login`, or set WANDB_API_KEY"),
        (refuse, "logger=wandb cannot log in: bad key"),
    ]:
        monkeypatch.setattr("wandb.login", login)
        problem = mirror_in_wandb.login_problem()
        assert problem == (said and f"{said}; logger.offline=true needs no login")


def test_a_csv_mirror_keeps_the_points_of_every_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_end", rain)
        train(tmp_path, "logger=csv")
    (row,) = train(tmp_path, "logger=csv")
    first, second = sorted((tmp_path / row["run_id"]).glob("csv/version_*/metrics.csv"))
    assert len(first.read_text().splitlines()) == 2
    with second.open() as file:
        points = list(csv.DictReader(file))
    assert float(points[-1]["L"]) == row["L"]
    assert float(points[-1]["D"]) == row["D"]
    assert yaml.safe_load(second.with_name("hparams.yaml").read_text())["N"] == row["N"]


@pytest.mark.skipif(
    not any(map(importlib.util.find_spec, ("tensorboard", "tensorboardX"))), reason="no TensorBoard is installed"
)
def test_a_tensorboard_mirror_is_written_into_the_folder(tmp_path: Path) -> None:
    (row,) = train(tmp_path, "logger=tensorboard")
    (events,) = (tmp_path / row["run_id"] / "tensorboard").glob("events.*")
    assert b"L_train" in events.read_bytes()


@pytest.mark.parametrize(
    ("given", "tags"), [("tags=pilot", ["pilot"]), ("tags=[a,2]", ["a", "2"]), ("tags=null", []), ("tags=[]", [])]
)
def test_tags_are_a_list_whatever_was_typed(given: str, tags: list[str]) -> None:
    assert resolved(given).tags == tags


@pytest.mark.parametrize("given", ["tags=[[a]]", "tags=['']", "tags=true", f"tags={'x' * 65}"])
def test_what_is_no_tag_is_refused(given: str) -> None:
    with pytest.raises(UserError, match="is not a word of at most 64 letters"):
        resolved(given)
