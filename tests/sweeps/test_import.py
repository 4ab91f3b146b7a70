"""Logs of other tools become one table: of each kind as its own library writes it, torn or mixed, or of no run."""

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.runs.quality import check
from isoflop.analysis.runs.read import read_runs
from isoflop.errors import UserError
from isoflop.sweeps.importing.importing import Imported, import_logs
from isoflop.sweeps.importing.table import Naming
from isoflop.sweeps.importing.verbs import main

SIZES = (1e5, 1e6, 1e7)
CONFIG = {"batch_size": 4, "seq_len": 8, "lr": 1e-3}
STEPS = range(5, 101, 5)
FIXTURE = Path(__file__).with_name("trainer_state.json")


def loss(N: float, step: float) -> float:
    return 1.7 + 40 * N**-0.34 + 41 * (32 * step) ** -0.28


def points(N: float) -> Iterator[dict[str, float]]:
    """What a run logs: its loss of training every 5 steps, and that on held-out data every 20."""
    for step in STEPS:
        yield {"step": step, "train_loss": 1.01 * loss(N, step)}
        if step % 20 == 0:
            yield {"step": step, "val_loss": loss(N, step)}


def tensorboard(folder: Path, N: float) -> None:
    pytest.importorskip("tensorboard")
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        writer.add_hparams({"params": N, **CONFIG}, {})
        for point in points(N):
            step = point.pop("step")
            for name, value in point.items():
                writer.add_scalar(name.replace("_", "/"), value, int(step))


def lightning(folder: Path, N: float) -> None:
    from pytorch_lightning.loggers import CSVLogger

    logger = CSVLogger(folder.parent, name=folder.name, version="")
    logger.log_hyperparams({"params": N, **CONFIG})
    for point in points(N):
        step = point.pop("step")
        logger.log_metrics(point, int(step) - 1)  # Lightning counts them from 0
    logger.save()


def trainer_state(folder: Path, N: float) -> None:
    """Write what Hugging Face's Trainer does in a checkpoint; its library is compared with below."""
    names = {"train_loss": "loss", "val_loss": "eval_loss", "step": "step"}
    history = [{names[name]: value for name, value in point.items()} for point in points(N)]
    state = json.loads(FIXTURE.read_text()) | {"log_history": history, "global_step": 100, "max_steps": 100}
    for step in (20, 100):
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        kept = [point for point in history if point["step"] <= step]
        whole = state | {"log_history": kept, "global_step": step, "total_flos": 6 * N * 32 * step}
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(whole))


def json_lines(folder: Path, N: float) -> None:
    lines: list[dict[str, Any]] = [{"config": {"params": N, **CONFIG}}, *points(N)]
    folder.parent.mkdir(exist_ok=True)
    folder.with_suffix(".jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


WRITERS = (tensorboard, lightning, trainer_state, json_lines)
Writer = Callable[[Path, float], None]


@pytest.mark.parametrize("write", WRITERS)
def test_each_format_gives_the_same_table_and_the_same_curves(write: Writer, tmp_path: Path) -> None:
    for number, N in enumerate(SIZES):
        write(tmp_path / "logs" / f"r{number}", N)
    given = {"batch_size": 4.0, "seq_len": 8.0} if write is trainer_state else {}
    arguments = tmp_path / "runs.csv", tmp_path / "curves.csv"
    read = import_logs(str(tmp_path / "logs"), *arguments, naming=Naming(constants=given))
    assert not read.unread
    assert any("D is step x batch_size x seq_len" in note for note in read.notes)
    table = read_runs(tmp_path / "runs.csv").frame
    assert len(table) == 3 * 5
    assert set(table["run_id"]) == {"r0", "r1", "r2"}
    assert table["N"].unique() == pytest.approx(SIZES)
    assert table["D"].to_numpy() == pytest.approx(32 * table["step"].to_numpy())
    assert table["C"].to_numpy() == pytest.approx(6 * table["N"].to_numpy() * table["D"].to_numpy())
    expected = [loss(N, step) for N, step in zip(table["N"], table["step"], strict=True)]
    assert table["L"].to_numpy() == pytest.approx(expected, rel=1e-6)
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert list(curves["step"]) == [*STEPS] * 3
    expected = [1.01 * loss(N, step) for N, step in zip(curves["N"], curves["step"], strict=True)]
    assert curves["L"].to_numpy() == pytest.approx(expected, rel=1e-6)
    assert check(read_runs(tmp_path / "runs.csv")).n_usable == 15
    assert fit(read_runs(tmp_path / "runs.csv"), interval="none").params["E"].value == pytest.approx(1.7, rel=0.02)


def test_the_state_of_a_trainer_is_as_its_library_writes_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    state = transformers.TrainerState(
        global_step=1, max_steps=1, train_batch_size=4, log_history=[{"loss": 1.0, "step": 1}]
    )
    state.save_to_json(str(tmp_path / "trainer_state.json"))
    assert json.loads((tmp_path / "trainer_state.json").read_text()) == json.loads(FIXTURE.read_text())


@pytest.mark.parametrize("write", WRITERS)
def test_a_torn_file_is_read_as_far_as_it_goes_or_named(write: Writer, tmp_path: Path) -> None:
    write(tmp_path / "logs/whole", 1e6)
    write(tmp_path / "logs/torn", 1e6)
    files = [file for file in (tmp_path / "logs").rglob("*") if _is_log(file)]
    (file,) = [f for f in files if f.relative_to(tmp_path / "logs").parts[0].startswith("torn")]
    content, draw = file.read_bytes(), random.Random(0)
    for _ in range(4):
        cut = draw.randrange(len(content))
        garbled = bytearray(content)
        garbled[cut] ^= 1 << draw.randrange(8)
        for damaged in (content[:cut], bytes(garbled), content[:cut] + b"\0\xff" * 40):
            file.write_bytes(damaged)
            read = import_logs(str(tmp_path / "logs"), tmp_path / "runs.csv", naming=Naming(constants={"N": 1e6}))
            assert "whole" in set(pd.read_csv(tmp_path / "runs.csv")["run_id"])
            assert len(read.statuses) == 2 or any("torn" in name for name in read.unread)
            assert not any(
                reason.startswith(("IndexError", "KeyError", "AttributeError")) for reason in read.unread.values()
            )


def test_damaged_runs_among_many_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for number in range(30):
        json_lines(tmp_path / "logs" / f"r{number}", 1e6 + number)
    (tmp_path / "logs/r17.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "logs/r23.jsonl").write_text("{")
    imported = import_logs(str(tmp_path / "logs"), tmp_path / "runs.csv")
    assert "28 runs" in str(imported)
    assert [name.rpartition("/r")[2] for name in imported.unread] == ["17.jsonl: r17", "23.jsonl"]
    assert pd.read_csv(tmp_path / "runs.csv")["N"].nunique() == 28


def _is_log(file: Path) -> bool:
    """Whether it is the log that is read, and not one of hyperparameters or of an earlier checkpoint."""
    of_hparams = file.parent.name.replace(".", "").isdigit()
    return file.is_file() and not of_hparams and file.suffix != ".yaml" and file.parent.name != "checkpoint-20"


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([{"loss": 2.0}, {"loss": 1.0}], "it logged no step"),
        (
            [{"step": 1, "speed": 2.0}],
            "no one column is its loss; choose by --columns L=...: it logged speed",
        ),
        ([{"step": 1, "val/a_loss": 2.0, "val/b_loss": 2.0}], "it logged val/a_loss, val/b_loss"),
        (["garbage"], "it holds no JSON object"),
        (
            [
                {"run": "a", "step": 1, "loss": 1},
                {"run": "b", "step": 1, "loss": "x"},
                {"run": "a", "step": 2, "loss": 1},
            ],
            "",
        ),
    ],
)
def test_a_log_without_a_step_or_a_loss_is_one_sentence(lines: list[Any], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    if sentence:
        with pytest.raises(UserError) as error:
            import_logs(str(tmp_path), tmp_path / "runs.csv")
        assert sentence in str(error.value)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "runs.csv").exists()
    else:
        read = import_logs(str(tmp_path), tmp_path / "runs.csv")
        assert any("are not together" in reason for reason in read.unread.values())


def test_runs_of_different_losses_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, column in (("a", "val_loss"), ("b", "train_loss")):
        lines = [{"step": step, column: 3.0 - step / 10} for step in (1, 2)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = ["import", str(tmp_path), "-o", str(tmp_path / "runs.csv"), "--curves", str(tmp_path / "curves.csv")]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "mixes runs of different losses (val_loss in 1 runs and train_loss in 1 runs)" in said
    assert not [*tmp_path.glob("*.csv"), *tmp_path.glob(".*csv*")]
    assert main([*arguments, "--columns", "L=train_loss"]) == 0
    said = capsys.readouterr().err
    assert "train_loss is logged in training: its last is L" in said
    assert "could not read" in said
    assert "it has no column 'train_loss'; it logged val_loss" in said
    table = pd.read_csv(tmp_path / "runs.csv")
    assert table[["run_id", "step", "L"]].to_numpy().tolist() == [["b", 2, 2.8]]


def test_what_no_log_says_is_asked_for_and_given(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"iter": 10, "ppl": 20.0, "lr": 0.1}\n{"iter": 20, "ppl": 10, "lr": 0.05}\n')
    read = import_logs(str(tmp_path), tmp_path / "runs.csv", tmp_path / "curves.csv")
    assert any(note.startswith("N is in no log: give --columns N=NAME or --set") for note in read.notes)
    given = {"N": 1e6, "tokens_per_step": 100.0}
    import_logs(
        str(tmp_path / "a.jsonl"), tmp_path / "runs.csv", tmp_path / "curves.csv", naming=Naming(constants=given)
    )
    (row,) = pd.read_csv(tmp_path / "runs.csv").to_dict("records")
    assert (row["N"], row["D"], row["C"]) == (1e6, 2000, 6 * 1e6 * 2000)
    assert row["L"] == pytest.approx(math.log(10))
    assert list(pd.read_csv(tmp_path / "curves.csv")["lr"]) == [0.1, 0.05]


def test_amounts_that_were_logged_at_other_times_are_interpolated_and_plans_are_no_amounts(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [{"config": {"params": 10, "tokens": 9e9, "max_iters": 99}}]
    lines += [{"step": step, "tokens_seen": 7.0 * step} for step in (10, 30)]
    lines += [{"step": step, "val_loss": 2.0} for step in (20, 40)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    import_logs(str(tmp_path), tmp_path / "runs.csv")
    assert list(pd.read_csv(tmp_path / "runs.csv")["D"]) == [140, 280]
    lines = [lines[0], *({"step": step, "val_loss": 2.0} for step in (20, 40))]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    read = import_logs(str(tmp_path), tmp_path / "runs.csv")
    assert list(pd.read_csv(tmp_path / "runs.csv")["D"]) == [4.5e9, 9e9]
    assert "D is that of the whole run: a share of it by the steps" in read.notes


@pytest.mark.parametrize(
    "lines",
    [
        [{"config": {"model": {"n_params": 10}}}, {"step": 1, "val_loss": 3}, {"step": 2, "val_loss": 2}],
        [{"step": 0, "n_params": 10}, {"step": 1, "val_loss": 3}, {"step": 2, "val_loss": 2}],
        [
            {"step": 1, "val_loss": 3, "tokens": 5},
            {"step": 2, "val_loss": 2, "tokens": 10},
            {"step": 3, "total_flos": 900},
        ],
    ],
)
def test_a_size_is_that_of_every_row_however_it_was_logged(lines: list[Any], tmp_path: Path) -> None:
    """In a part of the config, once at the beginning, or by FLOPs that were logged apart from the data."""
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    import_logs(str(tmp_path), tmp_path / "runs.csv", tmp_path / "curves.csv")
    assert list(pd.read_csv(tmp_path / "runs.csv")["N"]) == [10, 10]
    assert list(pd.read_csv(tmp_path / "curves.csv")["N"]) == [10, 10]


@pytest.mark.parametrize("name", ["lr-AdamW", "lr-AdamW/pg1"])
def test_the_rate_that_lightning_watches_is_lr(name: str, tmp_path: Path) -> None:
    from pytorch_lightning.loggers import CSVLogger

    logger = CSVLogger(tmp_path, name="a", version="")
    for step in range(3):
        logger.log_metrics({"train_loss": 3.0 - step, name: 0.1 * step, "lr-AdamW/pg2": 7.0}, step)
    logger.save()
    import_logs(str(tmp_path), tmp_path / "runs.csv", tmp_path / "curves.csv")
    assert list(pd.read_csv(tmp_path / "curves.csv")["lr"]) == pytest.approx([0.0, 0.1, 0.2])


def test_a_loss_that_is_no_number_any_more_is_a_diverged_run(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"step": 1, "val_loss": 2}\n{"step": 2, "val_loss": NaN}\n{"step": 3, "val_loss": NaN}\n'
    )
    import_logs(str(tmp_path), tmp_path / "runs.csv")
    table = pd.read_csv(tmp_path / "runs.csv")
    assert list(table["status"]) == ["ok", "diverged"]
    assert table["L"].isna().tolist() == [False, True]


def test_of_several_formats_the_first_is_taken_and_the_others_named(tmp_path: Path) -> None:
    trainer_state(tmp_path / "logs/a", 1e6)
    json_lines(tmp_path / "logs/b", 1e6)
    read = import_logs(str(tmp_path / "logs"), tmp_path / "runs.csv")
    assert read.title == "Hugging Face trainer_state.json"
    assert "JSON lines are there too: --format chooses" in str(read)
    assert import_logs(str(tmp_path / "logs"), tmp_path / "runs.csv", form="json_lines").title == "JSON lines"
    with pytest.raises(UserError, match="choose one of json_lines, lightning, own_runs, tensorboard, trainer_"):
        import_logs(str(tmp_path / "logs"), tmp_path / "runs.csv", form="mlflow")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"holds no log that can be read \(.*Lightning"):
        import_logs(str(tmp_path / "none"), tmp_path / "runs.csv")


def test_a_library_that_is_missing_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "events.out.tfevents.1.host").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(UserError, match=r"is read by tensorboard: pip install 'isoflop\[tensorboard\]'"):
        import_logs(str(tmp_path), tmp_path / "runs.csv")


class Broken:
    """A run whose summary cannot be fetched."""

    id, name, state = "r3", "broken", "finished"
    config: dict[str, Any] = {}  # noqa: RUF012

    @property
    def summary(self) -> dict[str, Any]:
        raise ConnectionError("429 too many requests")


def fake() -> list[Any]:
    """The runs that wandb.Api gives, as far as they are used."""
    config = {"model": {"width": 64}, "lr": 1e-3, "loss": "cross-entropy", "_wandb": {}, "layers": [1, 2]}
    summary = {"loss": 2.5, "tokens": 1e6, "_step": 9, "plot": {"_type": "image-file", "path": "x"}}
    history = [{"loss": 3.0, "tokens": 5e5, "_step": 4}, {"loss": 2.5, "tokens": 1e6, "_step": 9}]
    runs = [
        SimpleNamespace(
            id="r1", name="one", state="finished", config=config, summary=summary, scan_history=lambda: history
        ),
        SimpleNamespace(
            id="r2", name="two", state="crashed", config=config, summary={"loss": "NaN"}, scan_history=lambda: []
        ),
        Broken(),
    ]
    return runs


def online(runs: list[Any], out: Path, monkeypatch: pytest.MonkeyPatch, source: str = "me/project") -> Imported:
    """What is imported of a project with these runs."""
    monkeypatch.setattr("wandb.Api", lambda **_: SimpleNamespace(runs=lambda path: runs))
    return import_logs(source, out / "runs.csv", out / "curves.csv")


def test_runs_of_wandb_become_a_table_and_what_is_lost_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = online(fake(), tmp_path, monkeypatch)
    table = pd.read_csv(tmp_path / "runs.csv").set_index("run_id")
    assert table.loc["r1", ["model.width", "lr", "config.loss", "tokens"]].tolist() == [64, 1e-3, "cross-entropy", 1e6]
    assert table.loc["r2", "status"] == "failed"
    assert table.loc["r2", "reason"] == "W&B says crashed"
    assert not any(c.startswith("_") for c in table.columns)
    said = str(found)
    assert "2 runs (1 not finished" in said
    assert "could not read r3 (broken): ConnectionError: 429 too many requests" in said
    assert "left out 2 columns that hold no number or word: layers, plot" in said


def test_a_project_that_cannot_be_listed_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> list[Any]:
        raise ValueError(f"Could not find project {path}\nand a second line")

    monkeypatch.setattr("wandb.Api", lambda **_: SimpleNamespace(runs=refuse))
    with pytest.raises(UserError, match=r"Could not find project me/none; see `wandb login`"):
        import_logs("me/none", tmp_path / "runs.csv")
    for source in ("none", "me/empty"):
        with pytest.raises(UserError, match="neither a file nor a folder nor a project of W&B with runs"):
            online([], tmp_path, monkeypatch, source)


OFFLINE = """
import wandb
settings = wandb.Settings(silent=True, console="off", x_service_wait=300)
for i in range(2):
    config = {"model": {"width": 8 * (i + 1)}, "params": 1000 * (i + 1)}
    run = wandb.init(project="p", mode="offline", dir=".", config=config, name=f"r{i}", settings=settings)
    for step in range(5):
        run.log({"train/loss": 3 - step / 10, "note": wandb.Html("x")}, step=10 * step)
    run.log({"tokens": 1e4, "val/loss": 2.5 - 0.1 * i}, step=40)
    run.finish()
"""


@pytest.mark.slow
def test_offline_runs_are_read_too(tmp_path: Path, isoflop: Any) -> None:
    # another test of this process may have started a W&B service, which these runs must not join
    env = {key: value for key, value in os.environ.items() if "WANDB" not in key}
    subprocess.run([sys.executable, "-c", OFFLINE], cwd=tmp_path, check=True, capture_output=True, env=env)
    torn = tmp_path / "wandb/offline-run-torn"
    torn.mkdir()
    (torn / "run-torn.wandb").write_bytes(b"no log")
    done = isoflop("import-wandb", tmp_path / "wandb", "-o", tmp_path / "runs.csv")
    assert done.returncode == 0, done.stderr
    assert "2 runs" in done.stderr
    assert "could not read" in done.stderr
    table = read_runs(tmp_path / "runs.csv", columns={"N": "params", "D": "tokens", "L": "val/loss"})
    assert sorted(table["L"]) == [2.4, 2.5]
    assert sorted(table["model.width"]) == [8, 16]
    assert list(table["step"]) == [40, 40]
    (tmp_path / "none").mkdir()
    done = isoflop("import-wandb", tmp_path / "none")
    assert done.returncode == 2
    assert "holds no log that can be read" in done.stderr
