"""The acceptance of the GPU path is tried on a CPU: its table, its exit code, and a bar that is missed."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def accept(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=250)


def test_sections_save_their_rows_and_pass_on_a_cpu(tmp_path: Path) -> None:
    made = accept("--device", "cpu", "--quick", "--only", "ranks,gradients,memory", "--out", str(tmp_path))
    assert made.returncode == 0, made.stderr
    rows = json.loads((tmp_path / "gpu.json").read_text())
    assert {row["section"] for row in rows} == {"ranks", "gradients", "memory"}
    assert [row["ok"] for row in rows if row["section"] == "gradients"] == [True] * 4
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


def test_a_bar_that_is_missed_is_counted_and_what_was_left_out_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COUNTED, str(ROOT / "benchmarks"), str(tmp_path)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[0] == "| speed | slow | 1.0 | 2 | **missed** |"
    rows = json.loads((tmp_path / "gpu.json").read_text())
    values = [(row["what"], row["value"], row["ok"]) for row in rows]
    assert values == [("slow", "1.0", False), ("a and later", "no time left", None)]


def test_an_unknown_section_is_refused() -> None:
    made = accept("--device", "cpu", "--only", "speed")
    assert made.returncode == 2
    assert "unknown section" in made.stderr
