"""isoflop new family writes a family that trains, keeps its promises and passes the tests that it comes with."""

import subprocess
from pathlib import Path

import pytest
from conftest import Isoflop

from isoflop.errors import UserError
from isoflop.scaling.verbs import write_family


def test_what_it_writes_passes_its_own_tests_and_trains(isoflop: Isoflop, python: Path, tmp_path: Path) -> None:
    said = isoflop("new", "family", "my_mixer", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    files = ["my_lab/my_mixer.py", "my_lab/conf/family/my_mixer.yaml", "my_lab/test_my_mixer.py"]
    assert [(tmp_path / name).exists() for name in files] == [True] * 3
    assert "$" not in "".join((tmp_path / name).read_text() for name in files)
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", files[2]]
    tested = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout
    assert "3 passed" in tested.stdout
    small = ["family=my_mixer", "family.width=8", "budget.D=2e3", "data.seq_len=16", "recipe.batch=4"]
    trained = isoflop("train", "isoflop.extensions=[my_lab]", *small, "data.eval_size=256", "out=runs", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    # the tests that it comes with see a mixer that looks ahead
    code = tmp_path / files[0]
    code.write_text(code.read_text().replace("(0, 0, 1, 0))[:, :-1]", "(0, 0, 0, 1))[:, 1:]"))
    tested = subprocess.run([*command, "-k", "causality"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert tested.returncode == 1
    assert "looks ahead" in tested.stdout


def test_nothing_is_overwritten_and_a_name_that_cannot_be_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_family("my_mixer", Path("lab"))
    (tmp_path / "lab/my_mixer.py").write_text("mine")
    for name, folder, words in (
        ("my_mixer", "lab", "exists; it is left as it is"),
        ("My-mixer", "lab", "use small letters"),
        ("lstm", "lab", "is there already"),
        ("other", "a/b", "is not the name of a folder here"),
        ("other", "my-lab", "is not the name of a folder here"),
    ):
        with pytest.raises(UserError, match=words):
            write_family(name, Path(folder))
    assert (tmp_path / "lab/my_mixer.py").read_text() == "mine"
