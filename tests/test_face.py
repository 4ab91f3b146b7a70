"""The face of the package: `import isoflop as iso` in a notebook or a script."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import isoflop as iso
from isoflop.errors import UserError

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


def test_importing_the_package_imports_nothing_else() -> None:
    found = "{name for name in sys.modules if name.split('.')[0] in ('isoflop', 'numpy', 'hydra')}"
    code = f"import sys; import isoflop; print({found})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'isoflop'}"


@pytest.mark.parametrize("name", [name for name in dir(iso) if name[0] != "_"])
def test_every_name_is_documented_and_no_module(name: str) -> None:
    import isoflop.analysis.fitting.fit
    import isoflop.analysis.frontier.frontier
    import isoflop.analysis.holdout.compare  # noqa: F401

    thing = getattr(iso, name)
    assert not inspect.ismodule(thing)
    assert inspect.getdoc(thing)
    assert re.search(rf"^    {name}  +\S", iso.__doc__ or "", re.MULTILINE), f"{name} is not in the docstring"


def test_the_docstring_lists_no_other_name() -> None:
    assert {*re.findall(r"^    (\w+)  +\S", iso.__doc__ or "", re.MULTILINE)} == {*dir(iso)}


def test_a_name_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'fitt'; it has .*fit_groups"):
        iso.fitt  # noqa: B018


def test_a_family_is_built_by_name_with_its_task_and_cost() -> None:
    lstm = iso.family("lstm", width=16, depth=1)
    assert (lstm.task.kind, lstm.family.width, lstm.family.cell) == ("tokens", 16, "lstm")
    assert lstm.cost.n_total == sum(parameter.numel() for parameter in lstm.model.parameters())
    assert iso.family("mlp", data="spectral").task.loss == "mse"


@pytest.mark.parametrize(
    ("name", "knobs", "sentence"),
    [
        ("lstmm", {}, "family=lstmm is not there; choose one of .*lstm"),
        ("lstm", {"widht": 3}, "family lstm has no knob widht; did you mean width"),
        ("lstm", {"width": 0}, "family.width=0 is not a whole number"),
        ("lstm", {"data": "digits"}, "lstm learns tokens and sequences, but data=digits asks for images"),
        ("lstm", {"data": "texts"}, "data=texts is not there; choose one of"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(name: str, knobs: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        iso.family(name, **knobs)


def test_the_notebook_runs_and_holds_no_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 5
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    namespace: dict[str, object] = {}
    for cell in cells:
        exec("".join(cell["source"]), namespace)
