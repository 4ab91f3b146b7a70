"""The acceptance of the GPU path is tried on a CPU: its table, its exit code, and what it asks of torch.cuda."""

import ast
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from isoflop.scaling.families.transformer import Transformer
from isoflop.scaling.loop import graph

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = {"env", "ranks", "gradients", "graph", "marks", "resume", "throughput", "memory", "packing", "plans"}


def accept(python: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [python, ROOT / "benchmarks/gpu.py", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


# every section takes 50 s; what ranks, graph, resume and packing measure has tests of its own
@pytest.mark.parametrize(
    "judged",
    [
        {"gradients": 4, "marks": 1},
        pytest.param({"gradients": 4, "graph": 6, "marks": 1, "resume": 2}, marks=pytest.mark.nightly),
    ],
    ids=["some", "all"],
)
def test_sections_save_their_rows_and_pass_on_a_cpu(judged: dict[str, int], python: Path, tmp_path: Path) -> None:
    sections = SECTIONS if "graph" in judged else {"env", "memory", *judged}
    chosen = ["--device", "cpu", "--quick", "--only", ",".join(sections)]
    made = accept(python, *chosen, "--out", str(tmp_path))
    assert made.returncode == 0, made.stdout + made.stderr
    rows = json.loads((tmp_path / "gpu.json").read_text())
    assert {row["section"] for row in rows} == sections
    met = [row["section"] for row in rows if row["ok"]]
    assert {section: met.count(section) for section in judged} == judged
    assert "0 bars missed" in made.stdout


COUNTED = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from gpu import Acceptance
acceptance = Acceptance("cpu", Path(sys.argv[2]), seconds=0, quick=False)
acceptance.section = "speed"
acceptance.row("slow", 1.0, "2", ok=False)
assert list(acceptance.left(["a", "b"], reserve=60)) == []
"""


def test_a_bar_that_is_missed_is_counted_and_what_was_left_out_is_said(python: Path, tmp_path: Path) -> None:
    command = [python, "-c", COUNTED, str(ROOT / "benchmarks"), str(tmp_path)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[0] == "| speed | slow | 1.0 | 2 | **missed** |"
    rows = json.loads((tmp_path / "gpu.json").read_text())
    values = [(row["what"], row["value"], row["ok"]) for row in rows]
    assert values == [("slow", "1.0", False), ("a and later", "no time left", False)]


def test_an_unknown_section_is_refused(python: Path) -> None:
    made = accept(python, "--device", "cpu", "--only", "speed")
    assert made.returncode == 2
    assert "unknown section" in made.stderr


def exists(name: str) -> bool:
    """Whether torch has a name such as torch.cuda.Stream."""
    at: Any = torch
    for key in name.split(".")[1:]:
        at = getattr(at, key, None)
    return at is not None


def test_what_is_asked_of_torch_on_a_card_is_there_in_this_version() -> None:
    """Nothing here can call it; a name that torch does not have, or has no longer, is found all the same."""
    paths = [*(ROOT / "scaling").rglob("*.py"), *(ROOT / "benchmarks" / name for name in ("gpu.py", "ways.py"))]
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text()))]
    said = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    asked = {name for name in said if name.startswith(("torch.cuda.", "torch.backends.", "torch.accelerator."))}
    assert {"torch.cuda.graph", "torch.cuda.Stream", "torch.cuda.mem_get_info"} <= asked
    lacking = [name for name in asked if not exists(name)]
    assert lacking == []


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*")
def test_steps_by_a_graph_are_timed_after_the_capture_with_two_looks_at_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A capture is the step itself here. A look at the clock waits for a card, which a capture forbids."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import ways

    looks: list[int] = []
    current: list[Any] = []

    def capture(steps: graph.StepGraph) -> Any:
        current.append(steps.module)
        return lambda: (steps.optimizer.zero_grad(), steps.step())

    monkeypatch.setattr("isoflop.scaling.loop.module.obstacle_to_graph", lambda module: None)
    monkeypatch.setattr(graph.StepGraph, "capture", capture)
    monkeypatch.setattr(ways, "GRAPHED", 192)
    monkeypatch.setattr(ways.Setting, "clock", lambda setting: looks.append(current[0].position) or float(len(looks)))
    setting = ways.Setting("transformer", Transformer(width=16, depth=1, lr=0.01), "cpu", steps=20)
    turn = ways.WAYS["isoflop by graph"]()(setting)
    assert looks == [graph.CHUNK, 192]
    assert turn.step_s == pytest.approx(1 / (192 - graph.CHUNK))
