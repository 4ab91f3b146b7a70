"""A family is held to its promises before it is trained: the future unseen, gradients finite, shapes and cost sound."""

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from families import CASES, TASKS, family
from torch import Tensor, nn

from isoflop.errors import UserError
from isoflop.scaling import promises
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.promises import hold_to_its_promises
from isoflop.scaling.task import Task

TEXT = Task("tokens", d_in=256, d_out=256, seq_len=128, targets=128)


class Mixed(nn.Module):
    """A linear map of each position and of the one `ahead` of it."""

    def __init__(self, width: int, ahead: int) -> None:
        super().__init__()
        self.ahead, self.map = ahead, nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        zeros = torch.zeros_like(x[:, : abs(self.ahead)])
        parts = [x[:, self.ahead :], zeros] if self.ahead > 0 else [zeros, x[:, : self.ahead]]
        return self.map(torch.cat([x, torch.cat(parts, dim=1)], dim=-1))  # type: ignore[no-any-return]


class Root(nn.Module):
    """A root whose slope is not a number at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.scale * 0 * x).square().sqrt()


class Pooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)


@dataclass(frozen=True)
class Own(Family):
    """A family that a user wrote; `ahead` above 0 is the mistake in it."""

    ahead: int = -1
    broken: str = ""

    learns: ClassVar[tuple[str, ...]] = ("tokens",)

    def build(self, task: Task) -> Model:
        body: list[nn.Module] = [Mixed(self.width, self.ahead) for _ in range(self.depth)]
        body += {"gradient": [Root(self.width)], "shape": [Pooled()]}.get(self.broken, [])
        readout = nn.Linear(self.width, task.d_out)
        nn.init.zeros_(readout.weight)  # at the start it hides every leak
        return Model(nn.Embedding(task.d_in, self.width), nn.Sequential(*body), readout)


class Masked(Own):
    """One that is meant to look ahead."""

    looks_ahead = True  # type: ignore[assignment]


class Uncounted(Own):
    def unseen_flops(self, task: Task) -> float:
        return float("nan")


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_family_that_ships_keeps_its_promises(name: str, kind: str) -> None:
    hold_to_its_promises(name, family(name), TASKS[kind])


def test_a_large_family_is_tried_at_a_small_size() -> None:
    large, task = family("transformer", width=1024, depth=24), Task("tokens", 50257, 50257, 1024, 1024)
    small, less = promises._smaller(large, task)
    assert (small.width, small.depth, less.seq_len, less.d_out) == (64, 2, 128, 256)
    start = time.process_time()
    hold_to_its_promises("transformer", large, task)
    assert time.process_time() - start < 2  # of all threads


@pytest.mark.parametrize("ahead", [1, 2, 100])
@pytest.mark.parametrize("width", [8, 512])
def test_a_family_that_sees_the_future_is_refused(ahead: int, width: int) -> None:
    with pytest.raises(UserError, match=r"own looks ahead: its output at position \d+ changes with the input at"):
        hold_to_its_promises("own", Own(width, 1, 0.01, ahead=ahead), TEXT)
    hold_to_its_promises("own", Own(width, 1, 0.01, ahead=-ahead), TEXT)
    hold_to_its_promises("masked", Masked(width, 1, 0.01, ahead=ahead), TEXT)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (Own(16, 1, 0.01, broken="gradient"), r"the gradient of .* is not finite"),
        (Own(16, 1, 0.01, broken="shape"), r"makes outputs of shape \(2, 256\) for \(2, 128, 256\)"),
        (Uncounted(16, 1, 0.01), "counts N=.* and nan FLOPs per target"),
    ],
)
def test_a_family_that_breaks_another_promise_is_refused(made: Family, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        hold_to_its_promises("own", made, TEXT)


def test_random_numbers_of_the_run_are_left_alone_and_a_family_is_tried_once(monkeypatch: Any) -> None:
    state, made = torch.get_rng_state(), Own(24, 1, 0.01)
    hold_to_its_promises("own", made, TEXT)
    assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.setattr(promises, "_refuse_foresight", None)
    hold_to_its_promises("own", made, TEXT)


@pytest.mark.parametrize("name", ["lstm", "hybrid"])
def test_a_family_with_state_that_ships_is_caught_where_its_input_is_shifted(name: str, monkeypatch: Any) -> None:
    made = family(name, width=64)
    build = type(made).build

    def shifted(self: Family, task: Task) -> Model:
        model = build(self, task)
        forward = model.forward
        model.forward = lambda x: forward(torch.cat([x[:, 1:], x[:, :1] * 0], dim=1))  # type: ignore[method-assign]
        return model

    monkeypatch.setattr(type(made), "build", shifted)
    promises._tried.cache_clear()
    with pytest.raises(UserError, match="looks ahead"):
        hold_to_its_promises(name, made, TEXT)
    promises._tried.cache_clear()
