"""Build what git has of this repository, and install it in environments of their own.

built = build(git_tree(folder), folder / "dist")
use = Installed(folder, "wheel", built["wheel"])
use("fit", "runs.csv")
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("analysis", "conf", "scaling", "sweeps")


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Return what a command that succeeds prints."""
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def git_tree(folder: Path) -> Path:
    """Return a copy of what git has of this repository, uncommitted changes included."""
    folder.mkdir(parents=True)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    changed = run(*git, "stash", "create", cwd=ROOT).strip()
    run("git", "archive", "-o", folder.with_suffix(".tar"), changed or "HEAD", cwd=ROOT)
    with tarfile.open(folder.with_suffix(".tar")) as archive:
        archive.extractall(folder, filter="data")
    return folder


def build(tree: Path, out: Path) -> dict[str, Path]:
    """Build the wheel and the source distribution of a tree, and return both and the tree by the form of install."""
    copy = tree.parent / "copy"
    shutil.copytree(tree, copy, symlinks=True)
    code = "import sys; from setuptools.build_meta import *; o = sys.argv[1]; build_wheel(o); build_sdist(o)"
    run(sys.executable, "-c", code, out, cwd=copy)
    return {"wheel": next(out.glob("*.whl")), "sdist": next(out.glob("*.tar.gz")), "editable": tree}


class Installed:
    """An environment with one form of isoflop, and a user's working directory with folders of the names of ours."""

    def __init__(self, folder: Path, form: str, source: Path, *, libraries: bool = False) -> None:
        """Install `source`; with `libraries` its dependencies too, else the environment sees those of this one."""
        self.form, self.env, self.work = form, folder / "env", folder / "work"
        run(sys.executable, "-m", "venv", "--without-pip", self.env, cwd=folder)
        self.python = self.env / "bin" / "python"
        self.site = next(self.env.glob("lib/python*/site-packages"))
        self.clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ISOFLOP"))}
        self.clean |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        self._install_with_dependencies(source) if libraries else self._install_alone(source)
        for name in FOLDERS:
            (self.work / name).mkdir(parents=True)
            (self.work / name / "__init__.py").write_text(f'raise RuntimeError("this is the user\'s own {name}")\n')

    def _install_alone(self, source: Path) -> None:
        spec = importlib.util.find_spec("torch")
        assert spec is not None
        assert spec.origin is not None
        # files *.pth beyond this one are not read, so that an editable isoflop there is not seen
        (self.site / "libraries.pth").write_text(f"{Path(spec.origin).parents[1]}\n")
        pip = [self.python, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
        how = ["--no-build-isolation", "--ignore-installed", "--no-compile", "--quiet"]
        run(*pip, *how, *(["-e"] if self.form == "editable" else []), source, cwd=self.env.parent, env=self.clean)

    def _install_with_dependencies(self, source: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", "install"]
        run(*pip, "--quiet", "-c", ROOT / "constraints.txt", source, cwd=self.env.parent, env=self.clean)

    def __call__(self, *arguments: object) -> str:
        """Return what the command line prints in the working directory."""
        return run(self.env / "bin" / "isoflop", *arguments, cwd=self.work, env=self.clean)

    def module(self, *arguments: object) -> str:
        """Return what Python prints in the working directory."""
        return run(self.python, *arguments, cwd=self.work, env=self.clean)
