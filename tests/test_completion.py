"""Completion in a shell: verbs, options, choices, columns; and that bash can use the script."""

import shutil
import subprocess
from pathlib import Path

import pytest

from isoflop.cli import complete, script
from isoflop.errors import UserError


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("isoflop tra", ["train"]),
        ("isoflop train family=ls", ["family=lstm"]),
        ("isoflop train -m family=mlp,ls", ["family=mlp,lstm"]),
        ("isoflop train family=lstm family.wid", ["family.width="]),
        ("isoflop train stu", ["study="]),
        ("isoflop plan --tar", ["--target-C"]),
        ("isoflop fit --shar", ["--share"]),
        ("isoflop train study=demo_", ["study=demo_quick"]),
    ],
)
def test_the_last_word_is_completed(line: str, candidates: list[str]) -> None:
    assert complete([line]).splitlines() == candidates


def test_columns_are_those_of_the_table_on_the_line(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("family,width,L\nmlp,8,2.0\n")
    assert complete([f"isoflop fit {tmp_path}/runs.csv --by fa"]) == "family"
    assert complete([f"isoflop fit {tmp_path}/runs.csv --by family,w"]) == "family,width"


def test_a_shell_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(UserError, match="give one of bash, zsh, fish"):
        script(["tcsh"])


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.usefixtures("program")
def test_bash_completes_after_an_equals_sign() -> None:
    """As bash hands it over: the words taken apart at =."""
    commands = """
        eval "$(isoflop --completion bash)"; compopt() { :; }
        COMP_LINE='isoflop train family=ls'; COMP_POINT=${#COMP_LINE}
        COMP_WORDS=(isoflop train family = ls); COMP_CWORD=4
        _isoflop; echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-c", commands], capture_output=True, text=True, check=True)
    assert done.stdout == "lstm\n", done.stderr
