"""The folder of a run: its files are named and written in one place; what is torn reads as not there."""

import re
from pathlib import Path

import pytest

from isoflop.folder import RunFolder

ROOT = Path(__file__).parents[1]
NAMES = (
    "frozen.json",
    "records.json",
    "heartbeat.json",
    "curve.csv",
    "checkpoint.ckpt",
    "trunk.ckpt",
    "spent.json",
    "log.txt",
)


def test_no_other_file_spells_the_names_of_a_run_s_files() -> None:
    paths = [path for room in ("isoflop", "scaling", "sweeps") for path in (ROOT / room).rglob("*.py")]
    sources = [path for path in paths if not any(folder.is_symlink() for folder in path.parents)]
    assert ROOT / "isoflop" / "folder.py" in sources
    quoted = re.compile("|".join(f'"{re.escape(name)}"' for name in NAMES))
    spelled = [path.name for path in sources if quoted.search(path.read_text(encoding="utf-8"))]
    assert spelled == ["folder.py"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udcff"])
def test_a_torn_heartbeat_is_none(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_heartbeat() == {}
    folder.heartbeat.write_text(text, errors="surrogateescape")
    assert folder.read_heartbeat() == {}


def test_freezing_takes_back_the_wish_to_stop(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.cancel.touch()
    assert folder.cancelled
    folder.write_config({"seed": 0})
    assert not folder.cancelled
    assert folder.read_config() == {"seed": 0}


def test_what_freezing_left_is_removed_unless_there_is_a_record(tmp_path: Path) -> None:
    bare, made = RunFolder(tmp_path / "bare"), RunFolder(tmp_path / "made")
    for folder in (bare, made):
        folder.write_config({"seed": 0})
        folder.lock.touch()
    made.records.write_text("[]")
    bare.remove_unstarted()
    made.remove_unstarted()
    assert not bare.path.exists()
    assert sorted(path.name for path in made.path.iterdir()) == ["frozen.json", "lock", "records.json"]
