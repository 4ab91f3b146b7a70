"""Progress: a live table in a terminal; else a line every so often, and none of a sweep that is over at once."""

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from isoflop import record
from isoflop.sweeps import costs, launcher
from isoflop.sweeps.watch import progress


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(progress, "stderr", Console(file=text, force_terminal=False))
    return text


def sweep(done: int, failed: int = 0, running: int = 1, waiting: int = 1, left: float | None = 90.0) -> Any:
    ended = [SimpleNamespace(finished=True, good=True, rows=[{"L": 2.0 - 0.1 * i}]) for i in range(done)]
    ended += [SimpleNamespace(finished=False, good=False, rows=[]) for _ in range(failed)]
    return SimpleNamespace(
        ended=ended, running=[None] * running, waiting=[None] * waiting, count=10, time_left_s=lambda: left
    )


def test_a_line_says_what_is_done_what_failed_the_time_left_and_the_lowest_loss() -> None:
    text = progress.line(sweep(3, failed=1))
    assert text == "3 of 10 done, 1 running, 1 waiting, 1 failed, about 1 min 30 s left, lowest loss 1.8"


def test_lines_come_when_they_are_due_and_only_with_something_new(log: io.StringIO) -> None:
    now = [0.0]
    state = sweep(0)
    lines = progress.Lines(state, lambda: now[0])
    for second in range(0, 200):
        now[0] = float(second)
        state.ended = sweep(second // 50).ended
        lines.refresh()
    lines.last()
    assert [text.split(",")[0] for text in log.getvalue().splitlines()] == [f"{i} of 10 done" for i in (0, 1, 2, 3)]


def test_a_sweep_that_is_over_before_the_first_line_says_nothing(log: io.StringIO) -> None:
    lines = progress.Lines(sweep(2), lambda: 0.0)
    lines.refresh()
    lines.last()
    assert log.getvalue() == ""


def test_the_table_shows_speed_loss_and_what_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def entry(run_id: str, heartbeat: Any = dict, **more: Any) -> Any:
        (tmp_path / run_id).write_text("step,D,C,lr,L_train\n1,1,1,.1,3.5\n2,2,2,.1,3.25\n")
        plan = SimpleNamespace(N=1e4, D=2e5, C=1e10, steps=100)
        files = SimpleNamespace(curve=tmp_path / run_id, read_heartbeat=heartbeat)
        known = {"good": True, "finished": True, "config": SimpleNamespace(plan=plan), "files": files}
        return SimpleNamespace(run_id=run_id, **known | more)

    monkeypatch.setattr(progress, "columns", lambda config: dict.fromkeys(record.WHO, "x"))
    now, beats = [0.0], [{"step": 10, "steps": 100, "time": 50.0}, {"step": 30, "steps": 100, "time": 60.0}]
    job = SimpleNamespace(entry=entry("r0", heartbeat=lambda: beats[now[0] > 0]))
    ended = [entry(f"e{i}", rows=[{"L": 2.5 + i}]) for i in range(4)]
    ended.append(entry("e4", good=False, finished=False, state="failed", rows=[{"reason": "no room"}]))
    state: Any = SimpleNamespace(ended=ended, running={1: job}, waiting=[], count=9, time_left_s=lambda: 5.0)
    view, text = progress.LiveTable(state, lambda: now[0]), io.StringIO()
    view.table()
    now[0] = 2.0
    Console(file=text, width=200).print(view.table())
    first, last = text.getvalue().split("no room")
    assert re.search(r"30/100 +2 +3\.25", first)  # 20 steps in 10 s
    assert re.findall(r"\d\.5000", last) == ["5.5000", "4.5000"]


def test_a_torn_curve_is_read_up_to_where_it_is_torn(tmp_path: Path) -> None:
    (tmp_path / "work.csv").write_text("step,D,C,lr,L_train\n1,10,1,0.1,3.5\n2,20,2,0.1,nan\n3,30,3,0.1,2.5\n4,4")
    assert progress.curve(tmp_path / "work.csv") == [3.5, 2.5]
    assert progress.curve(tmp_path / "none.csv") == []


def test_the_time_left_counts_steps_and_the_time_that_a_processor_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    of_step, of_flop = costs.unit_costs(
        [(s, C, 2e-3 * s + 1e-11 * C) for s, C in ((1e3, 1e9), (2e3, 1e11), (1e3, 1e12))]
    )
    assert (of_step, of_flop) == (pytest.approx(2e-3), pytest.approx(1e-11))
    assert costs.unit_costs([(100, 1e9, 3.0), (100, 1e10, 3.1)])[0] == pytest.approx(0.03, rel=0.02)
    assert costs.unit_costs([]) == (0, 0)

    def entry(C: float, share: float = 0.0) -> Any:
        return SimpleNamespace(config=SimpleNamespace(plan=SimpleNamespace(steps=1000, C=C)), share_done=share)

    now = [0.0]
    monkeypatch.setattr(launcher.time, "monotonic", lambda: now[0])
    state = launcher._Sweep([entry(1e9), entry(1e9)], [None, None], launcher.LaunchSettings())
    assert state.time_left_s() is None
    # a large run took 10 s of a processor, a small one has had 2 s for half its steps, in 24 s of a busy machine
    now[0], state.spent, state.waiting = 24.0, [(1000, 1e12, 10.0)], [entry(1e9)]
    state.running = {1: SimpleNamespace(entry=entry(1e9, 0.5), received_s=2.0)}  # type: ignore[dict-item]
    left = state.time_left_s()
    assert left == pytest.approx((4 + 2) * 24 / 12, rel=0.02)  # by FLOPs alone it would be .04 s
