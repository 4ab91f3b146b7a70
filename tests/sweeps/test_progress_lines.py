"""Progress without a terminal: a line every so often, and none of a sweep that is over at once."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from isoflop.sweeps import launcher


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(launcher, "console", Console(file=text, force_terminal=False))
    return text


def sweep(done: int, failed: int = 0, running: int = 1, waiting: int = 1, left: float | None = 90.0) -> Any:
    ended = [SimpleNamespace(finished=True, good=True, rows=[{"L": 2.0 - 0.1 * i}]) for i in range(done)]
    ended += [SimpleNamespace(finished=False, good=False, rows=[]) for _ in range(failed)]
    return SimpleNamespace(
        ended=ended, running=[None] * running, waiting=[None] * waiting, count=10, time_left_s=lambda: left
    )


def test_a_line_says_what_is_done_what_failed_the_time_left_and_the_lowest_loss() -> None:
    text = launcher.line(sweep(3, failed=1))
    assert text == "3 of 10 done, 1 running, 1 waiting, 1 failed, about 1 min 30 s left, lowest loss 1.8"


def test_lines_come_when_they_are_due_and_only_with_something_new(log: io.StringIO) -> None:
    now = [0.0]
    state = sweep(0)
    lines = launcher.Lines(state, lambda: now[0])
    for second in range(0, 200):
        now[0] = float(second)
        state.ended = sweep(second // 50).ended
        lines.refresh()
    lines.last()
    assert [text.split(",")[0] for text in log.getvalue().splitlines()] == [f"{i} of 10 done" for i in (0, 1, 2, 3)]


def test_a_sweep_that_is_over_before_the_first_line_says_nothing(log: io.StringIO) -> None:
    lines = launcher.Lines(sweep(2), lambda: 0.0)
    lines.refresh()
    lines.last()
    assert log.getvalue() == ""
