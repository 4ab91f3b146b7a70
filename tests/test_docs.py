"""Every page is run as written, the generated pages are current, and links lead somewhere.

A block of Python is run, and the commands of a console block print what is shown below them; a block under a line that
holds only the name of a file in a folder is that file. The tables of docs/ lie beside the commands.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from isoflop.record import COLUMNS

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(?:^`([\w.]+/[\w./]+)`\n\n)?^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def steps(block: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a console block, each with the lines that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def pattern(lines: list[str]) -> str:
    """Return what is shown as a regular expression: `...` stands for anything."""
    return r"\s*".join(".*?".join(map(re.escape, line.rstrip().split("..."))) for line in lines)


RUN = re.compile("^```(console|python)", re.MULTILINE)
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in DOCS[1:] if RUN.search(page.read_text())]
# what trains sweeps, or fits for minutes
LONG = {
    "adding",
    "adding_analysis",
    "adding_runs",
    "clusters",
    "decision",
    "fair",
    "layer",
    "predicting",
    "tutorial",
    "watching",
}
# pages that a newcomer reads from end to end; the rest is written by programs
HOW_TO = [page for page in (ROOT / "docs").glob("*.md") if page.stem not in ("answers", "others", "gallery")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.stem, marks=[pytest.mark.nightly] * (page.stem in LONG)) for page in PAGES]
)
def test_a_page_prints_what_it_shows(page: Path, tmp_path: Path, python: Path) -> None:
    env = os.environ | {"COLUMNS": "120", "OMP_NUM_THREADS": "1", "ISOFLOP_DATA": str(tmp_path / ".data")}
    for table in (ROOT / "docs").glob("*.csv"):
        shutil.copy(table, tmp_path)
    ran = 0
    for file, kind, text in BLOCK.findall(page.read_text()):
        if file:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)
            continue
        if kind == "python":
            subprocess.run([python, "-c", text], cwd=tmp_path, env=env, check=True, capture_output=True)
            ran += 1
        for command, shown in steps(text) if kind == "console" else ():
            expect(command, shown, tmp_path, env)
            ran += 1
    assert ran > (10 if page.stem == "tutorial" else 0)
    for table in (ROOT / "docs").glob("*.csv"):
        assert (tmp_path / table.name).read_bytes() == table.read_bytes(), f"{page.name} writes another {table.name}"


def expect(command: str, shown: list[str], folder: Path, env: dict[str, str]) -> None:
    """Run a command and compare what it prints, and its exit code, with what a page shows."""
    done = subprocess.run(command, shell=True, cwd=folder, env=env, check=False, capture_output=True, text=True)
    code = re.search(r"\[exit code (\d+)\]", "\n".join(shown))
    said = done.stdout + done.stderr
    assert done.returncode == (int(code[1]) if code else 0), f"{command}\n{said}"
    shown = [line for line in shown if not line.startswith("[exit code")]
    assert re.search(pattern(shown), said, re.DOTALL), f"{command}\n{said}"


@pytest.mark.usefixtures("program")
def test_the_readme_shows_what_its_command_prints() -> None:
    env = os.environ | {"COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    blocks = [text for _, kind, text in BLOCK.findall((ROOT / "README.md").read_text()) if kind == "console"]
    assert blocks
    for command, shown in (step for block in blocks for step in steps(block)):
        assert "..." not in "".join(shown)
        expect(command, shown, ROOT, env)


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_a_how_to_page_has_at_most_150_lines_and_no_paragraph_in_a_cell(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert len(lines) <= 150
    long = [cell for line in lines if line.startswith("|") for cell in line.split(" | ") if len(cell) > 220]
    assert long == []


def test_the_index_lists_every_page() -> None:
    linked = set(re.findall(r"\]\(([^)#:]+)\)", (ROOT / "docs/index.md").read_text()))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in DOCS[1:]}
    assert pages - linked == {"index.md"}


def test_what_the_index_gives_to_read_is_at_most_8000_words() -> None:
    numbered = re.findall(r"^(?:\d\.|   ).*$", (ROOT / "docs/index.md").read_text(), re.MULTILINE)
    pages = re.findall(r"\]\(([^)#:]+)\)", "\n".join(numbered))
    assert len(pages) >= 10
    assert sum(len((ROOT / "docs" / page).read_text().split()) for page in pages) <= 8_000


def test_the_reference_is_printed_from_the_code(python: Path) -> None:
    program = [python, ROOT / "docs/reference/make.py", "--check"]
    done = subprocess.run(program, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_reference_lists_every_column_of_a_record() -> None:
    listed = re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs/reference/record.md").read_text(), re.MULTILINE)
    assert listed == [(name, str(column).replace("|", "/")) for name, column in COLUMNS.items()]


def test_every_link_of_the_docs_leads_somewhere() -> None:
    for page in DOCS:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links {target}"
