"""The page of a running sweep: what is at work, what is lost, no word of a record run, no torn line of a curve read."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from isoflop.sweeps.watch import status
from isoflop.sweeps.watch.predicted import Prediction
from isoflop.sweeps.watch.status_page import curve, page, write_page

EVIL = "<script>alert(1)</script>"


def entry(folder: Path, run_id: str, state: str) -> Any:
    files = SimpleNamespace(curve=folder / f"{run_id}.csv")
    return SimpleNamespace(run_id=run_id, state=state, files=files)


def overview(folder: Path, monkeypatch: Any) -> Any:
    (folder / "work.csv").write_text("step,D,C,lr,L_train\n1,10,1,0.1,3.5\n2,20,2,0.1,nan\n3,30,3,0.1,2.5\n4,4")
    working, lost = entry(folder, "work", "running"), entry(folder, "lost", "failed")
    who = {"family": EVIL, "width": 8, "depth": 1, "seed": 0}
    lines = {
        "work": {"run_id": "work", "state": "running", **who, "step": 3, "steps": 9},
        "lost": {"run_id": "lost", "state": "failed", **who, "reason": f"it broke: {EVIL}"},
    }
    monkeypatch.setattr(status, "line", lambda one: lines[one.run_id])
    best = [{"data": "text", "family": "mlp", "N": 1e5, "D": 1e6, "L": 1.25}]
    return SimpleNamespace(
        folder=folder, runs=[working, lost], running=[working], best=best, left_s=75.0,
        predicted={"work": Prediction("", 1.5, 1.4, 1.6)},
        counts=Counter({"running": 1, "failed": 1}), by_state={"running": [working], "failed": [lost]},
    )  # fmt: skip


def test_the_page_shows_states_time_left_curves_and_reasons_and_reads_itself_again(
    tmp_path: Path, monkeypatch: Any
) -> None:
    text = page(overview(tmp_path, monkeypatch), "now")
    assert EVIL not in text
    assert "it broke: &lt;script&gt;" in text
    assert "0 of 2 runs have a result: 1 running, 1 failed. About 1 min 15 s left" in text.replace("\n", "")
    assert "training loss from 3.5 to 2.5" in text
    assert "3 of 9" in text
    assert "<td>1.5 (1.4 to 1.6)</td>" in text
    assert "1.2500" in text
    assert 'http-equiv="refresh"' in text
    assert "//" not in text.replace("<!doctype", "")
    write_page(overview(tmp_path, monkeypatch), tmp_path / "status.html")
    assert (tmp_path / "status.html").read_text().endswith("</html>\n")


def test_a_torn_curve_is_read_up_to_where_it_is_torn(tmp_path: Path, monkeypatch: Any) -> None:
    overview(tmp_path, monkeypatch)
    assert curve(tmp_path / "work.csv") == [3.5, 2.5]
    assert curve(tmp_path / "none.csv") == []
