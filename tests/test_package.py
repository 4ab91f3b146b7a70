"""The package as it is installed: one name, whatever the user's own folders are called.

A wheel, a source distribution and an editable install are made from what git has, each in an environment that sees the
libraries of this one but not its isoflop, and used in a working directory with folders of the names of ours.
"""

import importlib.util
import re
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import TINY
from installed import FOLDERS, ROOT, Installed, build, git_tree, run

Factory = pytest.TempPathFactory
GRID = ["family=mlp,lstm", "family.width=8", "family.depth=1", "budget.D=2e3", *TINY]

pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists() or not importlib.util.find_spec("pip") or not importlib.util.find_spec("setuptools"),
    reason="needs a git checkout, pip and setuptools",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: Factory) -> Path:
    """What git has of this repository, changes that are not committed included."""
    return git_tree(tmp_path_factory.mktemp("package") / "tree")


@pytest.fixture(scope="module")
def built(tree: Path) -> dict[str, Path]:
    """The wheel, the source distribution, and the tree itself, by the form of install."""
    return build(tree, tree.parent / "dist")


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request: pytest.FixtureRequest, built: dict[str, Path], tmp_path_factory: Factory) -> Installed:
    return Installed(tmp_path_factory.mktemp(request.param), request.param, built[request.param])


def test_a_wheel_holds_one_package_and_the_plugins(built: dict[str, Path]) -> None:
    names = zipfile.ZipFile(built["wheel"]).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"isoflop", "hydra_plugins"}
    assert [name for name in names if name.startswith("hydra_plugins/")] == ["hydra_plugins/isoflop.py"]


def test_a_wheel_holds_every_file_that_is_used(built: dict[str, Path], tree: Path) -> None:
    names = {name for name in zipfile.ZipFile(built["wheel"]).namelist() if name.startswith("isoflop/")}
    kinds = (".py", ".yaml", ".html", ".md", ".csv", ".gz", ".bash", ".zsh", ".fish")
    ours = [p for room in FOLDERS for p in (tree / room).rglob("*") if p.suffix in kinds]
    expected = {f"isoflop/{path.relative_to(tree)}" for path in ours}
    expected |= {f"isoflop/{path.name}" for path in (tree / "isoflop").iterdir() if path.suffix in kinds}
    assert names == expected


def test_a_source_distribution_installs_the_same_files(built: dict[str, Path], tmp_path: Path) -> None:
    files = {name for name in zipfile.ZipFile(built["wheel"]).namelist() if not name.endswith("RECORD")}
    site = Installed(tmp_path, "sdist", built["sdist"]).site
    assert all((site / name).is_file() for name in files)


def test_an_editable_install_shows_the_working_tree(built: dict[str, Path], tmp_path_factory: Factory) -> None:
    use = Installed(tmp_path_factory.mktemp("shown"), "editable", built["editable"])
    where = use.module("-c", "import isoflop.analysis, hydra_plugins.isoflop as h; print(isoflop.__file__, h.__file__)")
    assert all(Path(path).is_relative_to(built["editable"]) for path in where.split())


@pytest.mark.sample(1)
def test_it_imports_beside_folders_of_the_same_names(installed: Installed) -> None:
    code = "import isoflop as iso; print(iso.get_law('chinchilla').formula, len(iso.load_claims()) > 3)"
    assert "E + A N^-alpha + B D^-beta True" in installed.module("-c", code)
    assert "isoflop train" in installed("--help")
    assert "fit" in installed.module("-m", "isoflop.analysis", "--help")


@pytest.mark.nightly
@pytest.mark.slow
def test_a_sweep_runs_and_is_judged_beside_folders_of_the_same_names(built: dict[str, Path], tmp_path: Path) -> None:
    use = Installed(tmp_path, "wheel", built["wheel"])
    assert "demo_quick" in use("train", "--help")  # a study
    assert "2 ok" in use("train", "-m", *GRID, "out=grid")
    assert "2 ok" in use.module("-m", "isoflop.sweeps", "collect", "grid", "-o", "runs.csv")
    assert "matched-C" in use("judge", "runs.csv", "--all")


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_the_demo_and_every_verb_run_as_installed(installed: Installed) -> None:
    # it trains, collects, judges and reports, as those verbs do
    assert "what they say" in installed("demo", "--quick", "--out", "demo")
    page = (installed.work / "demo" / "report" / "index.html").read_text()
    assert re.search("matched-C|same training compute", page)
    assert "L=" in installed("train", "family=mlp", "family.width=8", "budget.D=2e3", *TINY, "out=one")
    assert "1 done already" in installed("plan", "family=mlp", "family.width=8", "budget.D=2e3", *TINY, "out=one")
    assert "2 ok" in installed("train", "-m", *GRID, "out=grid")
    assert "alpha" in installed("fit", "demo/runs.csv", "--law", "power(D)", "--by", "family,width")
    assert "alpha" in installed.module("-m", "isoflop.analysis", "fit", "demo/runs.csv", "--law", "power(D)")
    assert "matched-C" in installed("judge", "demo/runs.csv", "--all")


@pytest.mark.skipif(not importlib.util.find_spec("ruff"), reason="needs ruff")
def test_ruff_looks_at_every_file_once() -> None:
    listed = run(sys.executable, "-m", "ruff", "check", "--show-files", ".", cwd=ROOT).split()
    seen = sorted(Path(path).relative_to(ROOT).as_posix() for path in listed if path.endswith(".py"))
    tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", cwd=ROOT).split()
    assert seen == sorted(path for path in tracked if (ROOT / path).is_file())
