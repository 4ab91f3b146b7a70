"""Steps of a CUDA graph, on a CPU: streams, capture and replay are fakes that note what they are asked.

The meta device stands in for a card that nothing is read back from: its tensors have no values.
"""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from families import FAMILIES, TASKS, class_of, family
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from isoflop.scaling.data.base import InMemory
from isoflop.scaling.loop import graph
from isoflop.scaling.loop.module import ScalingModule
from isoflop.scaling.loop.spec import RunSpec
from isoflop.scaling.recipe.optimizers import AdamW

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


class OneDevice(TorchDispatchMode):
    """Refuses an operation between two devices, which copies, and so waits, where one of them is a card."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, made)) if isinstance(leaf, torch.Tensor)]
        assert len({tensor.device.type for tensor in tensors}) <= 1, func
        return made


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", [name for name in FAMILIES if "tokens" in class_of(name).learns])
def test_no_step_of_a_graph_copies_to_or_from_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a step but the fused update, which meta does not have; autocast does not know meta either."""
    monkeypatch.setattr("isoflop.scaling.evaluate.arithmetic", lambda *_: contextlib.nullcontext())
    task, recipe = TASKS["tokens"], AdamW(lr=0.01, batch=4)
    with torch.device("meta"):
        model = family(name).build(task)
        x = torch.zeros(8, task.seq_len, dtype=torch.long)
    optimizer = recipe.optimizer(model, multipliers := recipe.multipliers(model, family(name), task))
    assert optimizer._warned_capturable_if_run_uncaptured  # type: ignore[attr-defined]  # torch warns of no warm-up
    module = ScalingModule(model, multipliers, InMemory(x, x, x, x), RunSpec(task, recipe, [100], 0)).to("meta")
    module._trainer = SimpleNamespace(world_size=1, strategy=None, global_rank=0)  # type: ignore[assignment]
    monkeypatch.setattr(module, "bare_optimizer", lambda: optimizer)
    monkeypatch.setattr(module, "manual_backward", lambda loss: loss.backward())
    monkeypatch.setattr(optimizer, "step", lambda: None)
    steps = graph.StepGraph(module)
    steps.send(2)
    with OneDevice():
        steps.step()
    assert all(p.grad is not None and p.grad.is_meta for p in model.readout.parameters())
