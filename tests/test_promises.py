"""Every file of tests holds a promise that docs/evidence/promises.md names, and the page names no other file."""

import re
from pathlib import Path

from tests.nightly import PIECES

ROOT = Path(__file__).parents[1]


def test_the_page_of_promises_names_every_test_file_and_no_other() -> None:
    page = (ROOT / "docs" / "evidence" / "promises.md").read_text(encoding="utf-8")
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"test_\w+\.py", page)) == files


def test_every_file_with_a_nightly_test_is_in_a_piece_of_the_night() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    nightly = {path.relative_to(ROOT).as_posix() for path, text in texts.items() if re.search(r"mark\.nightly", text)}
    assert nightly
    assert nightly <= {word for line in PIECES.values() for word in line}
