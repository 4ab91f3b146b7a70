"""The record: its columns, its atomic writer, its refusal of what is half-written."""

import json
from pathlib import Path

import numpy as np
import pytest

from isoflop import files, record
from isoflop.errors import BusyError, UserError
from isoflop.folder import RunFolder
from isoflop.scaling.process.lock import sole_writer
from isoflop.scaling.task import Task

# the contract of runs.csv: a column may be added here, never renamed or dropped in silence
COLUMNS = [
    "run_id",
    "sweep",
    "mark",
    "seed",
    "status",
    "reason",
    "family",
    "width",
    "depth",
    "data",
    "seq_len",
    "batch",
    "lr",
    "rung",
    "N",
    "n_body",
    "n_embed",
    "n_readout",
    "n_total",
    "n_active",
    "D",
    "D_unique",
    "epochs",
    "flops_per_target",
    "C",
    "C_attention",
    "C_6nd",
    "L",
    "L_se",
    "L_train",
    "L_bpb",
    "floor",
    "loss_unit",
    "wall_s",
    "targets_per_s",
    "mfu",
    "peak_memory",
    "device",
    "torch",
    "git",
    "dirty",
    "sources",
    "run_id_rule",
]


def test_the_columns_are_the_contract() -> None:
    assert list(record.COLUMNS) == COLUMNS
    assert list(record.row(run_id="a", **{"family.norm": "rms"})) == [*COLUMNS, "family.norm"]


def test_a_column_outside_the_contract_is_refused() -> None:
    with pytest.raises(KeyError, match="loss"):
        record.row(loss=1.0)


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    rows = [
        record.row(run_id="a", status="ok", L=0.1 + 0.2, mark=1),
        record.row(run_id="a", status="ok", L=1e-300, mark=2),
    ]
    record.write(tmp_path, rows)
    assert record.read(tmp_path) == rows


def test_a_writer_that_dies_leaves_the_old_record(tmp_path: Path) -> None:
    record.write(tmp_path, [record.row(run_id="a", status="ok", L=1.0)])
    before = (tmp_path / RunFolder.RECORDS).read_bytes()
    with pytest.raises(ValueError, match="Out of range"):
        record.write(tmp_path, [record.row(run_id="a", status="ok", L=float("nan"))])
    with pytest.raises(UnicodeEncodeError):
        files.write_text(tmp_path / RunFolder.RECORDS, "[{ \udcff")
    assert (tmp_path / RunFolder.RECORDS).read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [RunFolder.RECORDS]


@pytest.mark.parametrize("cut", ["", "[", '[{"status": "ok"', "[]", "{}", '[{"status": "fine"}]', "\udcff"])
def test_a_record_that_is_not_whole_is_refused_by_name(tmp_path: Path, cut: str) -> None:
    (tmp_path / RunFolder.RECORDS).write_text(cut, errors="surrogateescape")
    with pytest.raises(UserError, match=r"records\.json .*delete it"):
        record.read(tmp_path)
    assert not record.finished(tmp_path)


def test_every_prefix_of_a_record_is_refused(tmp_path: Path) -> None:
    record.write(tmp_path, [record.row(run_id="a", status="ok", L=1.0)])
    text = (tmp_path / RunFolder.RECORDS).read_text().rstrip()
    assert json.loads(text)
    for length in range(len(text)):
        (tmp_path / RunFolder.RECORDS).write_text(text[:length])
        with pytest.raises(UserError):
            record.read(tmp_path)


def test_one_process_at_a_time_writes_in_a_folder(tmp_path: Path) -> None:
    with (
        sole_writer(RunFolder(tmp_path)),
        pytest.raises(BusyError, match="is working in"),
        sole_writer(RunFolder(tmp_path), 0),
    ):
        pass
    with sole_writer(RunFolder(tmp_path)):
        pass


def test_what_does_not_exist_is_null_in_json_at_any_depth() -> None:
    value = {"a": [1.0, float("nan")], "b": (float("inf"), np.float64(2.5)), "c": np.array([np.nan, 3.0]), "d": "NaN"}
    assert files.finite(value) == {"a": [1.0, None], "b": [None, 2.5], "c": [None, 3.0], "d": "NaN"}
    assert type(files.finite(np.int64(3))) is int


def test_a_column_says_its_unit_and_a_loss_takes_that_of_its_task() -> None:
    assert record.title("L") == "held-out loss, L [nats per target]"
    assert record.title("L", "squared error") == "held-out loss, L [squared error]"
    assert record.title("wall_s") == "time of training and evaluation, wall_s [s]"
    assert record.title("probe.slope") == "probe.slope"
    assert Task("vectors", 4, 1, seq_len=1, targets=1, loss="mse").loss_unit == "squared error"
