"""Every file of tests holds a promise that docs/evidence/promises.md names, and the page names no other file."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_of_promises_names_every_test_file_and_no_other() -> None:
    page = (ROOT / "docs" / "evidence" / "promises.md").read_text(encoding="utf-8")
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"test_\w+\.py", page)) == files
