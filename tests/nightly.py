"""What takes too long for every change: rates by Monte Carlo, known exponents, the full products, the torture sample.

python -m tests.nightly                    # every piece that this commit has not passed; the same command resumes
python -m tests.nightly --piece exponents  # one piece again
python -m tests.nightly --write            # and docs/evidence/nightly.md

A piece is a process of its own. How it ended is a line of OUT/COMMIT/pieces.jsonl and its output is beside it; a rate
that a test measures is a line of OUT/COMMIT/rates-PIECE.jsonl. The exit code is 1 where a piece failed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "evidence" / "nightly.md"
PYTEST = ("-m", "pytest", "-m", "nightly", "-n", "0", "-p", "no:cacheprovider")
# a piece -> the arguments of Python; {out} is a folder of its own that it may resume from
PIECES: dict[str, tuple[str, ...]] = {
    "sentences": (*PYTEST, "tests/analysis/test_true_sentences.py"),
    "coverage": (*PYTEST, "tests/analysis/test_interval_coverage.py"),
    "controls": (*PYTEST, "tests/analysis/test_negative_controls.py", "tests/analysis/test_whole_runs.py"),
    "sharing": (*PYTEST, "tests/analysis/test_sharing_and_weights.py"),
    "twins": (*PYTEST, "tests/sweeps/test_calibration.py", "-k", "not agrees_with_theory"),
    "probes": (*PYTEST, "tests/scaling/test_probes.py"),
    "forms": (
        *PYTEST, "tests/analysis/test_lack_of_fit.py", "tests/analysis/test_schedules.py",
        "tests/analysis/test_speedup.py",
    ),
    "stops": (
        *PYTEST, "tests/scaling/test_checkpoints.py", "tests/scaling/test_marks.py", "tests/scaling/test_ranks.py",
    ),
    "sizes": (*PYTEST, "tests/scaling/test_parametrization.py"),
    "studies": (*PYTEST, "tests/sweeps/test_answers.py", "tests/sweeps/test_plan.py"),
    "installed": (*PYTEST, "tests/test_package.py", "tests/test_extensions.py"),
    "goldens": ("-m", "tests.golden", "compare"),
    "acceptance": (*PYTEST, "tests/gpu/test_acceptance.py"),
    "gpu": ("-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "tests/gpu/test_on_a_card.py"),
    "fuzz": (*PYTEST, "tests/analysis/test_fuzzed_tables.py"),
    "exponents": ("benchmarks/known_exponents.py", "--nightly", "--out", "{out}"),
    "torture": (
        "tests/harness/safety.py", "--out", "{out}", "--hours", "0.5",
        "--blows", "20", "--folders", "20", "--tables", "60",
    ),
}  # fmt: skip
# how the output of a piece ends that had nothing it could run here
SKIPPED = re.compile(r"^\d+ skipped in [^\n]*\s*\Z", re.MULTILINE)
NAMED = [f"--ignore={word}" for line in PIECES.values() for word in line if "/test_" in word]
ROOMS = ("tests/analysis", "tests/scaling", "tests/sweeps")
# what else is marked, room by room: no file of a piece above
PIECES |= {f"rest-{Path(room).name}": (*PYTEST, room, *NAMED) for room in ROOMS}
PIECES["rest-whole"] = (*PYTEST, "tests", *(f"--ignore={room}" for room in ROOMS), *NAMED)


@dataclass(frozen=True)
class Night:
    """The pieces of one commit.

    out     the folder that holds what each left
    commit  the commit that they are about, marked where the tree differs from it
    """

    out: Path
    commit: str

    @property
    def folder(self) -> Path:
        """Where this commit's pieces write."""
        return self.out / self.commit

    @cached_property
    def record(self) -> Path:
        """The file with a line for each piece that ended."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / "pieces.jsonl"

    def ended(self) -> dict[str, dict[str, Any]]:
        """Return how each piece ended last."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return {piece["piece"]: piece for piece in map(json.loads, lines)}

    def run(self, piece: str) -> int:
        """Run a piece and note how it ended; return its exit code."""
        rates, log = self.folder / f"rates-{piece}.jsonl", self.folder / f"{piece}.log"
        rates.unlink(missing_ok=True)
        line = [argument.replace("{out}", str(self.folder / piece)) for argument in PIECES[piece]]
        environment = os.environ | {"ISOFLOP_NIGHTLY": str(rates)}
        start = time.monotonic()
        with log.open("w") as file:
            code = subprocess.run(
                [sys.executable, *line], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False
            ).returncode
        result = "FAILED" if code else "skipped" if SKIPPED.search(log.read_text()) else "passed"
        ended = {"piece": piece, "code": code, "result": result, "seconds": round(time.monotonic() - start)}
        with self.record.open("a") as file:
            file.write(json.dumps(ended) + "\n")
        print(f"{piece:12}{result}{f', see {log}' if code else ''} in {ended['seconds']} s", flush=True)
        return code

    def page(self) -> str:
        """Return the page of this commit's pieces and rates."""
        lines = ["# What the night measures", "", f"`make nightly` at {self.commit}; it writes this page.", ""]
        lines += ["| piece | result | seconds |", "|---|---|--:|"]
        for name, ended in self.ended().items():
            lines.append(f"| {name} | {ended['result']} | {ended['seconds']} |")
        lines += ["", "| rate | measured | of studies |", "|---|--:|--:|"]
        for path in sorted(self.folder.glob("rates-*.jsonl")):
            for rate in map(json.loads, path.read_text().splitlines()):
                lines.append(f"| {rate['rate']} | {100 * rate['value']:.3g} % | {rate['studies']} |")
        return "\n".join([*lines, ""])


def commit() -> str:
    """Return the commit of the checkout, with `-dirty` where a tracked file, the page apart, differs from it."""
    page = f":!{PAGE.relative_to(ROOT)}"
    said = [
        subprocess.run(["git", *line], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        for line in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "-uno", "--", ".", page])
    ]
    return said[0] + ("-dirty" if said[1] else "")


def main(argv: list[str] | None = None) -> int:
    """Run the pieces that this commit has not passed; 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.nightly", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "nightly")
    parser.add_argument("--piece", choices=PIECES, action="append", help="this one, though it has passed")
    parser.add_argument(
        "--write", action="store_true", help="write docs/evidence/nightly.md when every piece has ended"
    )
    given = parser.parse_args(argv)
    night = Night(given.out.resolve(), commit())
    passed = {name for name, ended in night.ended().items() if ended["code"] == 0}
    for piece in given.piece or [name for name in PIECES if name not in passed]:
        night.run(piece)
    ended = night.ended()
    if given.write and ended.keys() >= PIECES.keys():
        PAGE.write_text(night.page(), encoding="utf-8")
    return int(any(ended.get(name, {"code": 1})["code"] != 0 for name in given.piece or PIECES))


if __name__ == "__main__":
    sys.exit(main())
