"""Steps of a CUDA graph, on a CPU: streams, capture and replay are fakes that note what they are asked."""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from isoflop.scaling.loop import graph

OUTER = "outer"


class FakeStream:
    """Notes which stream it waits for."""

    def __init__(self, name: str, notes: list[Any]) -> None:
        self.name, self.notes = name, notes

    def wait_stream(self, other: "FakeStream") -> None:
        self.notes.append((self.name, "waits for", other.name))


class FakeCuda:
    """What StepGraph uses of torch.cuda: a capture runs the step once, a replay notes the stream that is current."""

    def __init__(self) -> None:
        self.notes: list[Any] = []
        self.current = self.outer = FakeStream(OUTER, self.notes)

    def current_stream(self, device: torch.device) -> FakeStream:
        return self.current

    @contextlib.contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextlib.contextmanager
    def graph(self, graph: Any, stream: FakeStream | None = None) -> Iterator[None]:
        with self.stream(stream or FakeStream("torch's own", self.notes)):
            yield

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        replay = SimpleNamespace(replay=lambda: self.notes.append(("replay", self.current.name)))
        for name in ("current_stream", "stream", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: replay)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


def steps_of(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda) -> graph.StepGraph:
    """The steps of a module of one parameter, on a fake stream; each notes the stream on which it is taken."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    group = {"params": [parameter], "scale": 2.0}
    module = SimpleNamespace(
        device=torch.device("cpu"),
        bare_optimizer=lambda: torch.optim.AdamW([group], lr=0.1),
        recipe=SimpleNamespace(batch=2, rate=lambda *_: 0.1),
        examples=SimpleNamespace(n=8),
        **{"seed": 0, "first": 1, "goal": 9, "position": 0, "made": 0},
        reseed=lambda step: cuda.notes.append(("seed", step)),
    )
    cuda.install(monkeypatch)
    steps = graph.StepGraph(module)  # type: ignore[arg-type]
    monkeypatch.setattr(steps, "step", lambda: cuda.notes.append(("step", cuda.current.name)))
    steps.stream = FakeStream("side", cuda.notes)  # type: ignore[assignment]
    return steps


def test_warm_up_capture_and_replay_are_on_one_stream_that_waits_for_the_outer_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda()
    steps_of(monkeypatch, cuda).take(5)
    notes = [note for note in cuda.notes if note[0] != "seed"]
    assert notes[0] == ("side", "waits for", OUTER)
    assert notes[-1] == (OUTER, "waits for", "side")
    assert notes[1:-1] == [("step", "side")] * (graph.WARM_UP + 1) + [("replay", "side")] * 2


def test_each_step_of_a_graph_is_seeded_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    steps_of(monkeypatch, cuda).take(5)
    assert [note[1] for note in cuda.notes if note[0] == "seed"] == [0, 1, 2, 3, 4]


def test_examples_that_stay_on_the_host_are_an_obstacle_that_is_foreseen() -> None:
    place = {"device": torch.device("cuda"), "trainer": SimpleNamespace(world_size=1), "bare_optimizer": lambda: None}
    for examples, obstacle in ((SimpleNamespace(stream=None), "the examples do not fit on the device"), (None, None)):
        module = SimpleNamespace(examples=examples, **place)
        assert graph.obstacle_to_graph(module) == obstacle  # type: ignore[arg-type]
