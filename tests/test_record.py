"""The record: its columns, its atomic writer, its refusal of what is half-written."""

import json
import math
import os
import random
from pathlib import Path
from typing import Any

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
    "compile_s",
    "step_s",
    "targets_per_s",
    "mfu",
    "peak_memory",
    "device",
    "torch",
    "tf32",
    "deterministic",
    "graph",
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
        # a count beyond 64 bits, and a path that is no text as Python reads it
        record.row(run_id="a", status="failed", C_6nd=10**21 + 1, reason="/\udcff", mark=3),
    ]
    record.write(tmp_path, rows)
    assert record.read(tmp_path) == rows
    assert [type(cell) for row in record.read(tmp_path) for cell in row.values()] == [
        type(cell) for row in rows for cell in row.values()
    ]


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


# a row whose columns agree with one another
SOUND = {
    "run_id": "a", "status": "ok", "mark": 1, "seed": 0, "family": "mlp", "width": 8, "depth": 1, "N": 30, "n_body": 20,
    "n_readout": 10, "n_embed": 5, "n_total": 35, "n_active": 35, "D": 1000, "flops_per_target": 180.1, "C": 180_100.0,
    "C_6nd": 210_000, "L": 2.3, "L_bpb": 2.3 / math.log(2), "dirty": False, "budget.D": 1e3, "family.norm": "rms",
}  # fmt: skip


def test_every_flipped_bit_of_a_record_is_noticed(tmp_path: Path) -> None:
    rows = [record.row(**SOUND), record.row(**SOUND | {"mark": 2, "D": 2000, "C": 360_200.0, "C_6nd": 420_000})]
    record.write(tmp_path, rows)
    path = tmp_path / RunFolder.RECORDS
    content, accepted = path.read_bytes(), 0
    chance = random.Random(0)
    # of the digest and what stands around it, and of all that it is of
    for bit in (*chance.sample(range(8 * 100), 200), *chance.sample(range(8 * len(content)), 300)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        accepted += record.finished(tmp_path)
    assert accepted == 0
    path.write_bytes(content)
    assert record.read(tmp_path) == rows


WRONG = [
    ({"L": -5.0}, "L=-5.0 is below 0"),
    ({"L": "0.1"}, "L is not a number but of type str"),
    ({"L": {"mean": 0.1}}, "L is not a number but of type dict"),
    ({"L": None}, "a row is ok and has no L"),
    ({"N": 0}, "N=0 is below 1"),
    ({"D": 1000.5}, "D=1000.5 is not a whole number"),
    ({"D": True}, "D is not a whole number but of type bool"),
    ({"D": -1}, "D=-1 is below 0"),
    ({"C": 180_101.0}, r"C=180101.0 is not flops_per_target \* D"),
    ({"n_body": 21}, r"N=30 is not n_body \+ n_readout"),
    ({"n_embed": 6}, r"n_total=35 is not N \+ n_embed"),
    ({"C_6nd": 210_006}, r"C_6nd=210006 is not 6 \* n_total \* D"),
    ({"n_active": 36}, "n_active=36 is above n_total=35"),
    ({"L_bpb": 7.0}, "L_bpb=7.0 is above twice L=2.3 in bits"),
    ({"width": "8"}, "width is not a number but of type str"),
    ({"family": 5}, "family is not text but of type int"),
    ({"budget.D": "all"}, "budget.D is not a number but of type str"),
    ({"family.norm": {"of": "rms"}}, "family.norm is not a value of a knob but of type dict"),
    ({"status": "fine"}, "a row has no status"),
]


@pytest.mark.parametrize(("change", "problem"), WRONG)
def test_a_value_that_cannot_be_is_neither_written_nor_read(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    wrong = record.row(**SOUND | change)
    with pytest.raises(ValueError, match=problem):
        record.write(tmp_path, [wrong])
    # as a version without digest would have left it
    (tmp_path / RunFolder.RECORDS).write_text(json.dumps([wrong]))
    with pytest.raises(UserError, match=problem):
        record.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('"L": NaN', "NaN is not a number"),
        ('"L": 1e999', "1e999 is beyond the largest float"),
        ('"L": 1.0, "L": 2.0', "the key 'L' is there twice"),
        ('"L": 1.0, "loss": 1.0', "loss is not a column of a record"),
        ('"data.size": ' + "[" * 10_000 + "]" * 10_000, "too deep"),
        ('"L": 1' + "0" * 400, "beyond the largest float"),
    ],
)
def test_json_that_is_not_strict_is_no_record(tmp_path: Path, text: str, problem: str) -> None:
    row = {key: value for key, value in record.row(**SOUND).items() if key != "L"}
    (tmp_path / RunFolder.RECORDS).write_text(f"[{json.dumps(row)[:-1]}, {text}}}]")
    with pytest.raises(UserError, match=problem):
        record.read(tmp_path)


def test_a_row_that_lacks_what_every_row_has_is_named(tmp_path: Path) -> None:
    row = {key: value for key, value in record.row(**SOUND).items() if key != "git"}
    (tmp_path / RunFolder.RECORDS).write_text(json.dumps([record.row(**SOUND), row | {"mark": 2}]))
    with pytest.raises(UserError, match="a row has no git"):
        record.read(tmp_path)


def test_a_record_of_a_version_without_digest_is_read(tmp_path: Path) -> None:
    rows = [record.row(**SOUND)]
    (tmp_path / RunFolder.RECORDS).write_text(json.dumps(rows, indent=1))
    assert record.read(tmp_path) == rows


def test_a_record_in_the_folder_of_another_run_is_none(tmp_path: Path) -> None:
    for name in ("0" * 12, "a copy of it"):
        record.write(tmp_path / name, [record.row(**SOUND | {"run_id": "f" * 12})])
    with pytest.raises(UserError, match="it is of another run, ffffffffffff"):
        record.read(tmp_path / ("0" * 12))
    assert record.finished(tmp_path / "a copy of it")


def test_rows_of_one_run_agree(tmp_path: Path) -> None:
    other = SOUND | {"mark": 2}
    for change, problem in [
        ({"run_id": "b"}, "its rows are of several runs"),
        ({"mark": 1}, "two rows are of one mark"),
        ({"L_bpb": 3.0}, "its rows differ in L over L_bpb"),
    ]:
        with pytest.raises(ValueError, match=problem):
            record.write(tmp_path, [record.row(**SOUND), record.row(**other | change)])


def test_what_replaces_a_file_is_on_disk_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed, fsync, new = [], os.fsync, tmp_path / "new"

    def note(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    files.write_text(new / "runs.csv", "L")
    *_, draft, folder = flushed
    assert Path(draft).name.startswith(".runs.csv.")
    assert flushed[:1] == [str(tmp_path)]  # that there is such a folder
    assert folder == str(new)


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


def test_a_further_held_out_set_has_the_unit_of_the_loss() -> None:
    assert record.unit("L.docs") == record.unit("L") == record.NATS
    assert record.title("L_bpb.docs") == "held-out loss, L_bpb.docs [bits per byte]"
    assert record.title("recipe.lr") == "recipe.lr"
