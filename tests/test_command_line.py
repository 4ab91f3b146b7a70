"""The command line: its verbs, its exit codes, one useful sentence for a mistake, a start without heavy imports."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Isoflop

VERBS = [
    "demo",
    "train",
    "plan",
    "status",
    "retry",
    "cancel",
    "collect",
    "import-wandb",
    "fit",
    "predict",
    "compare",
    "frontier",
    "judge",
    "report",
]

# what is given, and what the sentence must say: what was wrong and what is allowed
MISTAKES = [
    ("famly=mlp", ["famly is not a key", "did you mean family=?"]),
    ("family.widht=3", ["family.widht is not a key", "did you mean family.width=?"]),
    ("family=mlpp", ["family=mlpp is not there", "lstm", "mlp", "transformer"]),
    ("data=bytes", ["data=bytes is not there", "text"]),
    ("logger=tensorboard", ["logger=tensorboard is not there", "none, wandb"]),
    ("ladder=nope", ["ladder=nope is not there", "demo"]),
    ("family.width=a=b", ["'family.width=a=b' cannot be read", "key=value"]),
    ("family.width=16,32", ["family.width=16,32 is several values", "-m"]),
    ("family.width=0", ["family.width=0 is not a whole number of at least 1"]),
    ("family.depth=two", ["family.depth='two' is not a whole number"]),
    ("budget.D=-3", ["budget.D=-3 is not a number above 0"]),
    ("budget.D=many", ["budget.D='many' is not a number above 0"]),
    ("budget.D=1e5 budget.C=1e9", ["budget.D=100000 and budget.C=1000000000 are two budgets", "exactly one"]),
    ("data.size=1e12", ["data.size=1000000000000 is more than", "training bytes"]),
    ("data.size=3", ["data.size=3 is not a whole number of at least 64"]),
    ("=3", ["'=3' has no key"]),
    ("family=null", ["takes the name of a choice, as in family=lstm"]),
    ("budget=3", ["budget=3 is not a choice of budget"]),
    ("names.family=x", ["names.family follows from the choice"]),
    ("redo_other_code=no", ["redo_other_code='no' is neither true nor false"]),
    ("seed=1.5", ["seed=1.5 is not a whole number of at least 0"]),
    ("recipe.lr=1e400", ["recipe.lr=inf is not a number above 0"]),
    ("data.eval_size=16", ["data.eval_size=16 is not a whole number of at least 128"]),
    ("trainer.checkpoint_every_s=nan", ["trainer.checkpoint_every_s=nan is not a number of at least 0 [s]"]),
    ("trainer.accelerator=tpu", ["not one of auto, cpu, gpu, mps"]),
    ("recipe.lr=fast", ["recipe.lr='fast' is not a number above 0"]),
    ("recipe.batch=0", ["recipe.batch=0 is not a whole number"]),
    ("recipe.parametrization=ntk", ["not one of mup, standard"]),
]


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a mistake is answered with."""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("isoflop: ")
    return lines[0]


def test_help_lists_the_verbs_and_examples(isoflop: Isoflop) -> None:
    done = isoflop("--help")
    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.split("\n\n")[2].splitlines()]
    assert listed == VERBS
    assert "isoflop train -m" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_teaches(isoflop: Isoflop, verb: str) -> None:
    done = isoflop(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"isoflop {verb}" in done.stdout


def test_a_verb_that_is_none_is_said(isoflop: Isoflop) -> None:
    done = isoflop("trian")
    assert done.returncode == 2
    assert "'trian' is not a verb" in sentence(done)


@pytest.mark.parametrize(("given", "said"), MISTAKES, ids=[given for given, _ in MISTAKES])
def test_a_mistake_gets_one_sentence_and_leaves_nothing(
    isoflop: Isoflop, tmp_path: Path, given: str, said: list[str]
) -> None:
    done = isoflop("train", *given.split(), f"out={tmp_path}/runs")
    assert done.returncode == 2, done.stderr
    assert all(words in sentence(done) for words in said), done.stderr
    assert not list(tmp_path.glob("runs/*/*"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("out=a,b", "out takes one value in a sweep"),
        ("ladder=demo,demo_quick", "ladder takes one value in a sweep"),
        ("hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs=0 is not a whole number of at least 1"),
        ("hydra.launcher.retries=-1", "hydra.launcher.retries=-1 is not a whole number of at least 0"),
        ("seed=range(0,0)", "the grid holds no run: seed=range(0,0); give it a value"),
        ("hydra/launcher=nothing", "hydra/launcher=nothing is not there; choose one of basic,"),
    ],
)
def test_a_sweep_that_cannot_be_is_said(isoflop: Isoflop, tmp_path: Path, given: str, said: str) -> None:
    done = isoflop("train", "-m", "experiment=tiny", given, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*/*/records.json"))


@pytest.mark.parametrize("shown", [["--cfg", "job"], ["--cfg=job"], ["-m", "--cfg", "job"]])
def test_a_config_can_be_looked_at(isoflop: Isoflop, shown: list[str]) -> None:
    done = isoflop("train", "ladder=demo", *shown)
    assert done.returncode == 0, done.stderr
    assert "width: 32" in done.stdout


def test_a_sweep_with_a_mistake_starts_nothing(isoflop: Isoflop, tmp_path: Path) -> None:
    done = isoflop("train", "-m", "family=transformer", "family.width=16,20", f"out={tmp_path}")
    assert done.returncode == 2
    assert "family.width=20 is not a multiple of family.head_dim=16" in sentence(done)
    assert "nothing was started" in done.stderr
    assert not list(tmp_path.glob("*/records.json"))


def test_a_folder_that_cannot_be_written_is_said(isoflop: Isoflop, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for arguments in (["train", "data.size=1e4"], ["train", "-m", "family=mlp,lstm", "data.size=1e4"]):
        done = isoflop(*arguments, f"out={tmp_path}/file/runs")
        assert done.returncode == 2, done.stderr
        assert "file" in sentence(done)
        assert "out=DIR" in done.stderr


@pytest.mark.parametrize("verb", ["status", "collect"])
def test_a_folder_without_runs_is_said(isoflop: Isoflop, tmp_path: Path, verb: str) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        done = isoflop(verb, folder)
        assert done.returncode == 2
        assert str(folder) in sentence(done)


def test_the_entry_point_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'hydra', 'pandas', 'typer', 'rich', 'omegaconf'}"
    code = f"import sys, isoflop.cli; print({{n.split('.')[0] for n in sys.modules}} & {heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_composing_and_planning_import_no_torch() -> None:
    code = (
        "import sys, isoflop.scaling.app, isoflop.sweeps.sweeper, isoflop.sweeps.launcher; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
