"""Every file of tests holds a promise that docs/evidence/promises.md names, and the page names no other file."""

import re
from pathlib import Path

from conftest import sampled

from tests.nightly import PIECES

ROOT = Path(__file__).parents[1]


def test_the_page_of_promises_names_every_test_file_and_no_other() -> None:
    page = (ROOT / "docs" / "evidence" / "promises.md").read_text(encoding="utf-8")
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"test_\w+\.py", page)) == files


def collected(file: str, words: tuple[str, ...]) -> bool:
    """Whether pytest with these arguments collects a file."""
    ignored = [word.removeprefix("--ignore=") for word in words if word.startswith("--ignore=")]
    return any(map(Path(file).is_relative_to, words)) and not any(map(Path(file).is_relative_to, ignored))


def test_every_file_with_a_nightly_test_is_in_a_piece_of_the_night() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    marked = re.compile(r"mark\.(nightly|sample)")
    nightly = [path.relative_to(ROOT).as_posix() for path, text in texts.items() if marked.search(text)]
    assert nightly
    for file in nightly:
        assert [name for name, words in PIECES.items() if collected(file, words)], file


def test_a_sample_is_spread_over_the_cases_and_the_same_each_time() -> None:
    names = [f"case {number}" for number in range(40)]
    kept = sampled(names, 4)
    assert sorted(names.index(name) // 10 for name in kept) == [0, 1, 2, 3]
    assert sampled(names, 4) == kept
    assert sampled(names[:2], 4) == {*names[:2]}
