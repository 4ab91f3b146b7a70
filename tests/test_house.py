"""The house keeps its figures: sizes, arrows, names and habits may get better and not worse (tests/house.py)."""

import ast
import textwrap
from pathlib import Path

import house
import pytest

# at most; a figure that has fallen is tightened here
LIMITS = {
    "lines": 41_000,
    "files": 267,
    "public_names": 1_150,
    "names_used_twice": 0,
    "circles_of_files": 0,
    "circles_of_folders": 0,
    "upward_arrows": 0,
    "widest_folder": 13,
    "long_files": 3,
    "long_functions": 0,
    "many_parameters": 8,
    "attrs": 0,
    "caches": 1,
}
# at least
VERBS_PERCENT = 97

# files that a verb enters and moves between them, at most
WALKS = {"fit": (47, 1_980), "report": (106, 36_800)}


@pytest.fixture(scope="module")
def ours() -> house.House:
    """This checkout; who only collects the tests does not read it."""
    return house.House()


@pytest.fixture(scope="module")
def figures(ours: house.House) -> dict[str, int]:
    return ours.figures()


@pytest.mark.parametrize("name", LIMITS)
def test_a_figure_of_the_house_stays_within_its_limit(name: str, ours: house.House, figures: dict[str, int]) -> None:
    places = getattr(ours, "upward" if name == "upward_arrows" else name, None)
    detail = "\n".join(places()) if callable(places) else "python -m tests.house shows more"
    assert figures[name] <= LIMITS[name], detail


def test_docstrings_of_public_functions_begin_with_a_verb(ours: house.House, figures: dict[str, int]) -> None:
    assert figures["verbs_percent"] >= VERBS_PERCENT, "\n".join(ours.without_verb())


# to follow a report takes a profile of millions of calls
@pytest.mark.parametrize("verb", ["fit", pytest.param("report", marks=pytest.mark.nightly)])
def test_a_verb_enters_few_files_and_seldom_moves_between_them(verb: str) -> None:
    found = house.walk(verb)
    assert found["code"] == 0
    files, moves = WALKS[verb]
    assert found["files"] <= files
    assert found["moves"] <= moves


def function(text: str) -> house.Function:
    node = ast.parse(textwrap.dedent(text)).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


@pytest.mark.parametrize(
    ("docstring", "begins"),
    [("Return the rows.", True), ("Number the rows.", True), ("Number of rows.", False), ("The rows.", False)],
)
def test_what_counts_as_a_verb(docstring: str, begins: bool) -> None:
    assert house.begins_with_verb(function(f'def f():\n    """{docstring}"""')) is begins


def test_parameters_are_counted_without_self() -> None:
    assert house.parameters(function("def f(self, a, b=1, *, c=2, **d): pass")) == 3


def made(root: Path, files: dict[str, str]) -> house.House:
    """A checkout of these files, with the links of ours."""
    for part in house.PARTS:
        (root / part).mkdir(parents=True)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for part in house.PARTS[1:]:
        (root / "isoflop" / part).symlink_to(f"../{part}")
    return house.House(root)


def test_arrows_circles_and_what_runs_up_are_seen(tmp_path: Path) -> None:
    files = {
        "scaling/loop/a.py": "from isoflop.scaling.probes import b\nclass Twice: pass\n",
        "scaling/loop/c.py": "from isoflop.scaling.probes.b import X\n",
        "scaling/probes/b.py": "from isoflop.scaling.loop.d import Y\nclass Twice: pass\n",
        "scaling/loop/d.py": "def f():\n    from isoflop.scaling.loop.c import Z\n",
        "analysis/laws/law.py": "from isoflop.analysis.report import page\nx = frame.attrs\n_KNOWN = {}\n",
        "analysis/report/page.py": "",
    }
    found = made(tmp_path, files)
    assert set(found.files) == {name.removesuffix(".py").replace("/", ".") for name in files}
    assert found.arrows["scaling.loop.a"] == {"scaling.probes.b"}
    assert found.circles_of_files() == ["scaling.loop.c -> scaling.loop.d -> scaling.probes.b"]
    assert found.circles_of_folders() == ["scaling/loop <-> scaling/probes"]
    assert [line.split(" (")[0] for line in found.upward()] == [
        "scaling: probes -> loop",
        "analysis: laws -> report",
    ]
    assert [line.split(":")[0] for line in found.names_used_twice()] == ["Twice"]
    assert (len(found.attrs()), len(found.caches())) == (1, 1)
