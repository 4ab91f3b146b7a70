"""Every page is run as written, and the reference lists what there is.

A block of Python is run, and the commands of a console block print what is shown below them; a block under a line that
is nothing but the name of a file in a folder is that file.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from isoflop.record import COLUMNS

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(?:^`([\w.]+/[\w./]+)`\n\n)?^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def steps(block: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def pattern(lines: list[str]) -> str:
    """What is shown, as a regular expression: `...` stands for anything."""
    return r"\s*".join(".*?".join(map(re.escape, line.rstrip().split("..."))) for line in lines)


RUN = re.compile("^```(console|python)", re.MULTILINE)
PAGES = sorted(page for page in (ROOT / "docs").glob("*.md") if RUN.search(page.read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("program")
def test_a_page_prints_what_it_shows(page: Path, tmp_path: Path) -> None:
    env = os.environ | {"COLUMNS": "120", "OMP_NUM_THREADS": "1", "ISOFLOP_DATA": str(tmp_path / ".data")}
    ran = 0
    for file, kind, text in BLOCK.findall(page.read_text()):
        if file:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)
            continue
        if kind == "python":
            subprocess.run([sys.executable, "-c", text], cwd=tmp_path, env=env, check=True, capture_output=True)
            ran += 1
        for command, shown in steps(text) if kind == "console" else ():
            done = subprocess.run(
                command, shell=True, cwd=tmp_path, env=env, check=False, capture_output=True, text=True
            )
            code = re.search(r"\[exit code (\d+)\]", "\n".join(shown))
            said = done.stdout + done.stderr
            assert done.returncode == (int(code[1]) if code else 0), f"{command}\n{said}"
            shown = [line for line in shown if not line.startswith("[exit code")]
            assert re.search(pattern(shown), said, re.DOTALL), f"{command}\n{said}"
            ran += 1
    assert ran > (10 if page.stem in ("tutorial", "fitting") else 0)


def test_the_reference_lists_every_column_of_a_record() -> None:
    listed = re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs/record.md").read_text(), re.MULTILINE)
    assert listed == [(name, str(column).replace("|", "/")) for name, column in COLUMNS.items()]


def test_every_link_of_the_docs_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links {target}"
