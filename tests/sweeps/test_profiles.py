"""Profiles that probes measured become a table beside that of the runs, and no file that is not one is touched."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from isoflop.cli import call
from isoflop.errors import UserError
from isoflop.folder import RunFolder
from isoflop.sweeps.collect import collect, rows

D = 2048  # of every run of the small sweep


@pytest.fixture
def sweep(small_sweep: Path, tmp_path: Path) -> Path:
    """A copy of the small sweep of which two runs have a profile."""
    folder = Path(shutil.copytree(small_sweep, tmp_path / "runs"))
    for n, row in enumerate(rows(folder)[1:3]):
        points = [(D, "positions", "loss", "position", t, 2.5 - t / 8 + n, 0.125) for t in (1, 2)]
        gone = (4096, "positions", "loss", "position", 1, 9.0, None)  # a mark that the record does not have
        RunFolder(folder / row["run_id"]).write_probes([*points, (D, "precision", "loss", "bits", 4, 2.0, None), gone])
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("table", "beside"), [("runs.csv", "probes.csv"), ("first.csv", "first.probes.csv")])
def test_collect_writes_a_row_for_every_point_of_a_profile(sweep: Path, table: str, beside: str) -> None:
    assert call(["collect", str(sweep), "-o", str(sweep.parent / table)]) == 0
    points = read(sweep.parent / beside)
    assert list(points[0]) == ["run_id", "mark", "probe", "quantity", "axis", "index", "value", "se"]
    assert [p["run_id"] for p in points[::3]] == [row["run_id"] for row in rows(sweep)[1:3]]
    assert list(points[1].values())[1:] == ["1", "positions", "loss", "position", "2", "2.25", "0.125"]
    assert list(points[5].values())[1:] == ["1", "precision", "loss", "bits", "4", "2.0", ""]
    assert len(points) == 6


def test_where_no_run_has_a_profile_there_is_no_table_of_them(small_sweep: Path, sweep: Path) -> None:
    out = sweep.parent / "runs.csv"
    collected = collect(sweep, out)
    assert collected.probes == sweep.parent / "probes.csv"
    assert collect(small_sweep, out).probes is None
    assert not (sweep.parent / "probes.csv").exists()  # of other runs than the table's


def test_a_file_that_is_no_table_of_profiles_is_left_alone(small_sweep: Path, sweep: Path) -> None:
    mine, out = sweep.parent / "probes.csv", sweep.parent / "runs.csv"
    mine.write_text("depth,salinity\n")
    collect(small_sweep, out)
    before = out.read_bytes()
    with pytest.raises(UserError, match=r"probes\.csv, where the profiles of probes go, is another file"):
        collect(sweep, out)
    assert mine.read_text() == "depth,salinity\n"
    assert out.read_bytes() == before


@pytest.mark.parametrize("damage", [[[2048], "positions", "loss", "position", 1, 2.0, None], [2048, 1], "x", {"a": 1}])
def test_a_damaged_profile_is_as_good_as_none(sweep: Path, damage: object) -> None:
    run_id = rows(sweep)[1]["run_id"]
    (sweep / run_id / "probes.json").write_text(json.dumps([damage]))
    collect(sweep, sweep.parent / "runs.csv")
    points = read(sweep.parent / "probes.csv")
    assert {p["run_id"] for p in points} == {rows(sweep)[2]["run_id"]}
