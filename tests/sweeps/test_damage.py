"""Damage to bookkeeping blocks no verb, hides no run and is said; nothing is written where no file is."""

import csv
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import mutate
import pytest
from conftest import Isoflop

from isoflop import files, record
from isoflop.cli import call
from isoflop.errors import UserError
from isoflop.folder import RunFolder
from isoflop.sweeps.collect import collect, refuse_place, rows
from isoflop.sweeps.ledger import Entry, entries
from isoflop.sweeps.watch import status
from isoflop.sweeps.watch.status import overview

GRID = ["family=mlp,lstm", "family.width=8,16", "family.depth=1", "budget.D=2e3"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is remembered in a test is of that test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def sweep(small_sweep: Path, tmp_path: Path) -> Path:
    """A copy of the small sweep, to be damaged."""
    return Path(shutil.copytree(small_sweep, tmp_path / "runs"))


def test_no_verb_stumbles_over_a_damaged_folder(small_sweep: Path, tmp_path: Path) -> None:
    files.keep(tmp_path / "remembered" / "isoflop" / "grid.json", {"of": "a plan"})
    verbs = ("status", "status --all", "status --json", "collect", "cancel")
    done = list(mutate.rounds(small_sweep, tmp_path / "remembered", GRID, mutations=30, seed=7, verbs=verbs))
    assert len(done) == 150
    assert [str(one) for one in done if one.problem] == []


def test_what_a_damaged_record_held_is_collected_as_it_was_or_refused(small_sweep: Path, tmp_path: Path) -> None:
    whole = {row["run_id"]: row for row in rows(small_sweep)}
    refused = 0
    for done in mutate.rounds(small_sweep, tmp_path, GRID, mutations=40, seed=3, verbs=("collect",)):
        refused += done.code == 2
        if done.code == 0 and done.folder:
            table = done.folder.parent / "runs.csv"
            with table.open() as file:
                assert all(float(row["L"]) == whole[row["run_id"]]["L"] for row in csv.DictReader(file))
    assert refused > 3


def test_a_run_that_cannot_be_looked_into_is_broken_and_not_left_out(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = str(next(entries(sweep)).folder)
    read, look = record.read, os.stat

    def no_entry(folder: Path) -> list[record.Row]:
        if str(folder) == closed:
            raise PermissionError(13, "Permission denied", f"{closed}/records.json")
        return read(folder)

    def no_look(path: object, *rest: object, **how: object) -> os.stat_result:
        if str(path).startswith(closed):
            raise OSError(5, "Input/output error", str(path))
        return look(path, *rest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(record, "read", no_entry)
    monkeypatch.setattr(os, "stat", no_look)
    seen = overview(sweep)
    assert seen.counts == {"ok": 3, "broken": 1}
    assert "records.json: Permission denied" in seen.text()
    assert call(["collect", str(sweep), "-o", str(sweep.parent / "runs.csv")]) == 2
    assert "records.json: Permission denied" in capsys.readouterr().err
    assert not (sweep.parent / "runs.csv").exists()


def test_a_record_whose_config_was_lost_still_counts(isoflop: Isoflop, sweep: Path) -> None:
    first = next(entries(sweep))
    first.files.config.unlink()
    assert overview(sweep).counts == {"ok": 4}
    assert len(rows(sweep)) == 4
    again = isoflop("retry", sweep)
    assert again.returncode == 0, again.stderr
    assert "4 done or running, 0 to make" in again.stderr


def test_a_run_without_config_and_record_is_named_with_an_exit_code(isoflop: Isoflop, sweep: Path) -> None:
    first = next(entries(sweep))
    first.files.config.unlink()
    first.files.records.unlink()
    assert overview(sweep).counts == {"ok": 3, "broken": 1}
    done = isoflop("collect", sweep, "-o", sweep.parent / "runs.csv")
    assert done.returncode == 1
    assert "1 broken, 3 ok" in done.stderr
    assert f"{first.files.config}: No such file" in done.stderr
    again = isoflop("retry", sweep)
    assert again.returncode == 2
    assert "1 of 4 runs cannot be made as they were frozen" in again.stderr


def test_a_folder_in_which_a_run_is_about_to_be_planned_is_none(sweep: Path) -> None:
    (sweep / "0123456789ab").mkdir()
    (sweep / "0123456789ab" / ".frozen.json.host.1").touch()
    (sweep / "0123456789ab" / "lock").touch()
    assert overview(sweep).counts == {"ok": 4}


@pytest.mark.parametrize(
    "text", ["5", "null", "\udcff", "[" * 100_000, '{"C": "x"}', '{"marks":1,"steps":1,"C":0,"C_separate":1}']
)
def test_a_damaged_balance_counts_as_none(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path)
    folder.spent.write_text(text, errors="surrogateescape")
    assert folder.read_spent() == {}


def test_a_heartbeat_that_would_be_waited_for_for_ever_is_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for every_s, beats in ((1e9, False), (5.0, True)):
        folder.heartbeat.write_text(json.dumps(mutate.BEAT | {"every_s": every_s}))
        assert bool(folder.read_heartbeat()) is beats


@pytest.mark.filterwarnings("ignore")
def test_a_curve_loses_its_damaged_lines_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from isoflop.scaling.loop.progress import _cut

    path = tmp_path / "curve.csv"
    lines = ["step,D,C,lr,L_train", "1,64,1e6,0.02,5.5", "2,128,2e6,0.02,\xff", "x", "3,192,3e6,0.02,4.5", "4,256"]
    path.write_bytes("\n".join(lines).encode("latin-1"))
    _cut(path, 3)
    assert path.read_text().splitlines() == [lines[0], lines[1], lines[4]]
    assert "2 damaged lines left out" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["folder", "link", "dangling", "fifo", "device"])
def test_a_table_goes_to_a_regular_file_alone(sweep: Path, tmp_path: Path, place: str) -> None:
    out = tmp_path / "out.csv"
    (tmp_path / "target").write_text("mine")
    if place == "folder":
        out.mkdir()
    elif place in ("link", "dangling"):
        out.symlink_to(tmp_path / ("target" if place == "link" else "nowhere"))
    elif place == "fifo":
        os.mkfifo(out)
    else:
        out = Path("/dev/null")
    before = os.lstat(out)
    with pytest.raises(UserError, match=f"-o {out} is"):
        collect(sweep, out)
    assert stat.S_IFMT(os.lstat(out).st_mode) == stat.S_IFMT(before.st_mode)
    assert (tmp_path / "target").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    refuse_place(tmp_path / "target")  # a regular file is replaced


SQUEUE = """#!/bin/sh
echo "7|PENDING|Priority|/|{out}/.submitit/submission_file_1.sh"
echo "7|PENDING|Priority|/|{out}/.submitit/submission_file_1.sh"
echo "7|RUNNING|None|/|{out}/.submitit/submission_file_1.sh"
echo "8|PENDING|QOSMaxCpuPerUserLimit|{out}|.submitit/submission_file_2.sh"
echo "9|PENDING|Priority|/|{out}/.submitit/../../elsewhere/job.sh"
echo "10|PENDING|Priority|/home/me|job.sh"
echo "11|RUNNING|None|/|{out}/.submitit/submission_file_3.sh"
echo "N/A|PENDING|Priority|/|{out}/.submitit/x.sh"
echo "slurm_load_jobs error"
"""


def test_status_shows_the_jobs_that_slurm_says_the_sweep_submitted_and_cancel_takes_those_that_wait(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in ("7_0", "10_0", "123"):  # what lies in the folder proves nothing
        (sweep / ".submitit" / number).mkdir(parents=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "squeue").write_text(SQUEUE.format(out=sweep))
    (programs / "scancel").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/cancelled\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    shown = overview(sweep).text().splitlines()
    assert [line for line in shown if line.startswith("Slurm")] == [
        "Slurm job 11: 1 running",
        "Slurm job 7: 2 pending (Priority), 1 running",
        "Slurm job 8: 1 pending (QOSMaxCpuPerUserLimit)",
    ]
    status.cancel(sweep)
    assert (tmp_path / "cancelled").read_text().split() == ["--state=PENDING", "7", "8"]


@pytest.mark.parametrize("damage", [b"", b"5", b"\xff", b"[" * 100_000, b"{}", None])
def test_what_was_remembered_and_is_damaged_is_thrown_away_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: bytes | None
) -> None:
    path = tmp_path / "speeds.json"
    files.keep(path, {"a": [1.0, "ä"]})
    assert files.recall(path) == {"a": [1.0, "ä"]}
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"1.0", b"1.1") if damage is None else damage)
    assert files.recall(path) == {}
    assert f"{path} is damaged; it is deleted" in capsys.readouterr().err
    assert not path.exists()


@pytest.fixture
def settled(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The sweep, and a clock by which its files were written long ago."""
    monkeypatch.setattr(status, "FRESH_S", -1e9)
    return sweep


def test_status_remembers_records_and_reads_again_what_has_changed(
    settled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, read, asked = overview(settled).text(everything=True), record.read, list[Path]()

    def counted(folder: Path) -> list[record.Row]:
        asked.append(folder)
        return read(folder)

    monkeypatch.setattr(record, "read", counted)
    assert overview(settled).text(everything=True) == before
    assert asked == []
    first = next(entries(settled))
    content = first.files.records.read_bytes()
    first.files.records.write_bytes(content.replace(b'"mark": 1', b'"mark": 2'))
    assert overview(settled).counts == {"ok": 3, "broken": 1}
    assert set(asked) == {first.folder}


def test_a_record_that_was_just_written_is_not_remembered(sweep: Path, own_cache: Path) -> None:
    for entry in entries(sweep):
        os.utime(entry.files.records)
    overview(sweep)
    assert not list(own_cache.rglob("*.json"))


def test_a_finished_run_is_read_itself_whatever_is_remembered(settled: Path) -> None:
    overview(settled)
    first = next(entries(settled))
    assert set(Entry(first.folder).rows[0]) > set(status.KEYS)


def test_streams_that_were_closed_and_ascii_terminals_are_no_error(sweep: Path) -> None:
    import subprocess

    command = f"{sys.executable} -m isoflop.cli status {sweep}"
    closed = subprocess.run(["bash", "-c", f"{command} >&- 2>&- <&-"], capture_output=True, text=True, check=False)
    assert closed.returncode == 0
    full = subprocess.run(["bash", "-c", f"{command} > /dev/full"], capture_output=True, text=True, check=False)
    assert (full.returncode, full.stderr.count("\n")) == (2, 1)
    assert "No space left on device; make room" in full.stderr
    env = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    plain = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=env)
    assert plain.returncode == 0, plain.stderr
    assert "\\xb1" in plain.stdout
