"""Build a release into dist/, install each form of it in an environment of its own, and fit and train there.

python tests/release.py              # downloads the dependencies, as a user's pip does: minutes and 2 GB for each form
python tests/release.py --offline    # with the libraries of this environment: what is in the files, not what they need
"""

import argparse
import itertools
import re
import shutil
import tempfile
import tomllib
from pathlib import Path

from installed import ROOT, Installed, build, git_tree, run

TINY_RUN = ["family=mlp", "family.width=8", "family.depth=1", "budget.D=2e3", "data.size=1e4", "data.eval_size=1024"]


def main() -> None:
    """Build, check and try a release; AssertionError if anything is wrong with it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offline", action="store_true", help="use the libraries of this environment")
    libraries = not parser.parse_args().offline
    version = check_version()
    with tempfile.TemporaryDirectory() as folder:
        built = build(git_tree(Path(folder, "tree")), Path(folder, "dist"))
        for form in ("wheel", "sdist"):
            Path(folder, form).mkdir()
            try_out(Installed(Path(folder, form), form, built[form], libraries=libraries), version)
            print(f"{built[form].name}: installed; it fits and trains")
        (ROOT / "dist").mkdir(exist_ok=True)
        for form in ("wheel", "sdist"):
            shutil.copy(built[form], ROOT / "dist")
            print(f"wrote {ROOT / 'dist' / built[form].name}")


def check_version() -> str:
    """Return the version in pyproject.toml, which CITATION.cff and CHANGELOG.md must name too."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(rf"^version: {re.escape(version)}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE), (
        f"CITATION.cff does not name version {version}"
    )
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(), f"CHANGELOG.md has no section {version}"
    if dirty := run("git", "status", "--porcelain", "--untracked-files=no", cwd=ROOT):
        print(f"not committed, and in this release all the same:\n{dirty}")
    return version


def try_out(use: Installed, version: str) -> None:
    """Fit a foreign table and train a tiny run by what was installed."""
    assert use("--version").strip() == f"isoflop {version}"
    points = itertools.product((1e6, 1e7, 1e8, 1e9), (1e8, 1e9, 1e10, 1e11))
    rows = [f"{N:g},{D:g},{1.7 + 400 * N**-0.34 + 410 * D**-0.28:.6f}" for N, D in points]
    (use.work / "theirs.csv").write_text("\n".join(["params,tokens,loss", *rows]) + "\n")
    fitted = use("fit", "theirs.csv", "--columns", "N=params,D=tokens,L=loss", "--interval", "none")
    assert re.search(r"alpha +0?\.34", fitted), fitted
    trained = use("train", *TINY_RUN, "out=runs")
    assert "L=" in trained, trained
    use("collect", "runs", "-o", "runs.csv")
    assert len((use.work / "runs.csv").read_text().splitlines()) == 2


if __name__ == "__main__":
    main()
