"""The state of a run on disk: every byte is the one that was written, or it is not read."""

import errno
import io
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from isoflop.scaling.loop import saved_state

STATE = {"position": 3, "module": {"w": torch.arange(6.0).view(2, 3)}, "results": {100: {"L": 0.1 + 0.2}}}


def test_a_state_comes_back_as_written(tmp_path: Path) -> None:
    saved_state.write(tmp_path / "state", STATE)
    back = saved_state.read(tmp_path / "state")
    assert torch.equal(back["module"]["w"], STATE["module"]["w"])
    assert (back["position"], back["results"]) == (STATE["position"], STATE["results"])
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_every_flipped_bit_of_a_state_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "state"
    saved_state.write(path, STATE)
    content, chance = path.read_bytes(), random.Random(0)
    tail = range(8 * (len(content) - saved_state.TAIL), 8 * len(content))
    for bit in (*chance.sample(tail, 100), *chance.sample(range(8 * len(content)), 200)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(saved_state.DamagedError, match="its digest is another"):
            saved_state.read(path)


@pytest.mark.parametrize("size", [0, 1, saved_state.TAIL, 500, -1])
def test_a_state_that_was_cut_off_is_noticed(tmp_path: Path, size: int) -> None:
    saved_state.write(tmp_path / "state", STATE)
    (tmp_path / "state").write_bytes((tmp_path / "state").read_bytes()[:size])
    with pytest.raises(saved_state.DamagedError):
        saved_state.read(tmp_path / "state")


def test_a_whole_file_that_holds_no_state_is_not_read(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> Any:
            return print, ("this ran",)

    saved_state.write(tmp_path / "state", {"code": Code()})
    with pytest.raises(saved_state.DamagedError, match="holds no state"):
        saved_state.read(tmp_path / "state")


def test_a_full_disk_leaves_the_earlier_state_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved_state.write(tmp_path / "state", STATE)
    before = (tmp_path / "state").read_bytes()

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(self: Path, mode: str) -> Any:
        self.touch()
        return Full()

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left on device"):
        saved_state.write(tmp_path / "state", STATE)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert (tmp_path / "state").read_bytes() == before
