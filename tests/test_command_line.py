"""The command line: its verbs, its exit codes, one useful sentence for a mistake, a start without heavy imports."""

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, Isoflop

from isoflop import cli
from isoflop.command import translate
from isoflop.errors import UserError
from isoflop.scaling.app import _modes

ROOT = Path(__file__).parents[1]

VERBS = [
    "demo",
    "study",
    "train",
    "prepare",
    "new",
    "plan",
    "status",
    "retry",
    "cancel",
    "collect",
    "import",
    "import-wandb",
    "watch",
    "dashboard",
    "check",
    "fit",
    "predict",
    "compare",
    "frontier",
    "forecast",
    "confirm",
    "judge",
    "report",
    "plot",
]

# what is given, and what the sentence must say: what was wrong and what is allowed
MISTAKES = [
    ("famly=mlp", ["famly is not a key", "did you mean family=?"]),
    ("family.widht=3", ["family.widht is not a key", "did you mean family.width=?"]),
    ("family=mlpp", ["family=mlpp is not there", "lstm", "mlp", "transformer"]),
    ("data=bytes", ["data=bytes is not there", "text"]),
    ("logger=mlflow", ["logger=mlflow is not there", "csv, none, tensorboard, wandb"]),
    ("tags=[[a]]", ["tags=[['a']]: ['a'] is not a word of at most 64 letters", "write tags=[pilot]"]),
    ("study=nope", ["study=nope is not there", "demo"]),
    ("probe=[positons]", ["probe=positons is not there", "positions"]),
    ("family.width=a=b", ["'family.width=a=b' cannot be read", "key=value"]),
    ("family.width=16,32", ["family.width=16,32 is several values", "-m"]),
    ("launcher=slurm", ["launcher is not a key", "did you mean hydra/launcher=?"]),
    ("family.width=0", ["family.width=0 is not a whole number of at least 1"]),
    ("family.depth=two", ["family.depth='two' is not a whole number"]),
    ("family.head_dim=wide", ["family.head_dim='wide' is not a number; transformer has 16"]),
    ("family.shared=often", ["family.shared='often' is neither true nor false"]),
    ("data.eval_size=[1]", ["data.eval_size=[1] is not a number; text has"]),
    ("budget.D=-3", ["budget.D=-3 is not a number above 0"]),
    ("budget.D=many", ["budget.D='many' is not a number above 0"]),
    ("budget.D=1e5 budget.C=1e9", ["budget.D=100000 and budget.C=1000000000 are two budgets", "exactly one"]),
    ("data.size=1e12", ["data.size=1000000000000 is more than", "training bytes"]),
    ("data.size=3", ["data.size=3 is not a whole number of at least 64"]),
    ("=3", ["'=3' has no key"]),
    ("family=[mlp,lstm]", ["family=[mlp,lstm] is a list", "-m family=mlp,lstm"]),
    ("family.width=8, 16", ["'16' is not key=value", "leave out the space: family.width=8,16"]),
    ("out=my runs", ["'runs' is not key=value", "a value with a space needs quotes: 'out=my runs'"]),
    ("claims=H1", ["claims are not part of a run", "isoflop judge"]),
    ("--nonsense", ["--nonsense is not an option of train", "--multirun"]),
    ("--shell-completion query=bash", ["isoflop --completion bash"]),
    ("seed=12345678901234567890123", ["is not a whole number from 0 to 2^42"]),
    ("seed=100000000000000", ["seed=100000000000000 is not a whole number from 0 to 2^42"]),
    ("family.width=1e12", ["family.width=1e+12 and family.depth=2 make at least 2e+24 parameters"]),
    ("family.width=1000000", ["parameters take at least", "TB to train, and there are"]),
    ("budget.D=1e30", ["FLOPs in", "years here; give a smaller budget"]),
    ("data.seq_len=1000000", ["data.eval_size=65536", "two examples of data.seq_len=1000000"]),
    ("trainer.accelerator=cpu trainer.devices=777", ["trainer.devices=777 is more than this machine's"]),
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

# wrong commands about a table and folders that are not there; each is one sentence and exit code 2
WRONG = """
fit
fit missing.csv
fit empty.json
fit T --law chinchila
fit T --law power(Q)
fit T --law "power(N"
fit T --by famly
fit T --where "model = 'gru'"
fit T --where "model =="
fit T --where "mdel = 'lstm'"
fit T --columns N=parms
fit T --columns Q=params
fit T --columns N
fit T --pin E=100
fit T --pin F=1
fit T --pin E
fit T --prior alpha=0.3
fit T --loss hubber
fit T --interval boot
fit T --level 95
fit T --resamples few
fit T --resamples -3
fit T --target loss2
fit T --share Z
fit T --weights size
fit T --jsn
fit T --delta -1
fit T T
predict T
predict T --at C
predict T --at C=-1
predict T --at Q=3
predict T --at C=lots
predict T --at N=1e9,D=1e10,C=1e25
predict T --at C=1e21 --level 2
predict T --points none.csv
compare T --laws nothing
compare T --axis Q
compare T --holdout "C>"
frontier T --target-C -1
frontier T --target-C big
frontier T --price 2.5
frontier T --figure x.bmp
--version x
frontier T --inference-tokens -5
forecast T
forecast T --at C=0
confirm T
confirm T --baseline lstm
judge T --claims nope.yaml
judge T --claims H999
judge T --forecast empty.json
judge T --forecast no.json
report T --claims nope
plot T --figure nothing
plot T --figure rates -o x.csv
plot T --figure loss_vs_compute -o x.bmp
check
check T --cols
fitt T
collect none
status none
retry none
cancel none
study nope
plan --price much
plan --price 2.5/h@1e14 family=mlp
new famly x
prepare data=nope
dashboard T --project x/y/z
"""


@pytest.mark.sample(20)
@pytest.mark.parametrize("command", WRONG.strip().splitlines())
def test_a_wrong_command_is_one_sentence(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "docs" / "theirs.csv", "theirs.csv")
    Path("empty.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["isoflop", *shlex.split(re.sub(r"\bT\b", "theirs.csv", command))])
    try:
        code = cli.main()
    except SystemExit as end:
        code = end.code
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.strip()]
    assert code == 2
    assert not printed.out
    assert len(lines) == 1, lines
    assert lines[0].startswith("isoflop: ")
    assert len(lines[0]) > 30, lines  # what was wrong, and what to do


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a mistake is answered with."""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("isoflop: ")
    return lines[0]


def test_a_grid_of_which_a_config_is_to_be_shown_is_said() -> None:
    assert _modes(["-m", "family=mlp", "--cfg", "hydra"]) == ["family=mlp", "--cfg", "hydra"]
    with pytest.raises(
        UserError, match=r"family=mlp,lstm is several values, and --cfg shows one run; give one of them"
    ):
        _modes(["-m", "seed=1", "family=mlp,lstm", "--cfg", "hydra"])


def test_the_package_is_run_as_the_command_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert subprocess.run([sys.executable, "-m", "isoflop", "--help"], check=True).returncode == 0
    assert "usage: isoflop VERB" in capfd.readouterr().out


def test_help_lists_the_verbs_and_examples(isoflop: Isoflop) -> None:
    done = isoflop("--help")
    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.split("\n\n")[2].splitlines()]
    assert listed == VERBS
    assert "isoflop train -m" in done.stdout


@pytest.mark.sample(6)
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_teaches(isoflop: Isoflop, verb: str) -> None:
    done = isoflop(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"isoflop {verb}" in done.stdout


def test_a_verb_that_is_none_is_said(isoflop: Isoflop) -> None:
    done = isoflop("trian")
    assert done.returncode == 2
    assert "'trian' is not a verb; did you mean train?" in sentence(done)


def test_the_version_is_that_of_the_package(isoflop: Isoflop) -> None:
    done = isoflop("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"isoflop (\d+\.\d+\.\d+|, not installed)\n", done.stdout.replace("isoflop,", "isoflop ,"))


def test_the_help_of_train_teaches_its_words_and_choices(isoflop: Isoflop) -> None:
    said = isoflop("train", "--help").stdout
    for word in ("family=NAME", "data=NAME", "budget.D_per_N", "marks", "out=", "rung=", "seed=", "study=NAME"):
        assert word in said, word
    for group in ("family", "data", "recipe"):
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            assert path.stem in said, path
    assert all(path.stem in said for path in (ROOT / "conf" / "study").glob("*.yaml"))
    assert "H1" not in said  # a claim is no choice of a run
    assert sum(line.startswith("  isoflop train ") for line in said.splitlines()) == 5


@pytest.mark.sample(1)
@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["train", "--cfg", "job"], ["fit", "--help"]])
def test_a_reader_that_leaves_early_is_no_error(arguments: list[str]) -> None:
    command = f"set -o pipefail; {sys.executable} -m isoflop.cli {' '.join(arguments)} | head -c 1"
    # nothing is read, so that every write to the pipe fails
    command = command.replace("| head -c 1", "| (exec <&-; sleep 3)")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_only_a_full_disk_asks_for_room() -> None:
    full, read_only = OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EROFS, "Read-only file system")
    assert translate(full) == (2, "No space left on device; make room, or name another place")
    assert translate(read_only) == (2, "Read-only file system; name another place")


@pytest.mark.parametrize("verb", ["train", "plan"])
def test_a_class_that_cannot_be_built_is_named(isoflop: Isoflop, tmp_path: Path, verb: str) -> None:
    (tmp_path / "family").mkdir()
    (tmp_path / "family" / "wrong.yaml").write_text("_target_: nowhere.Nothing\nwidth: 8\ndepth: 1\nlr: 0.01\n")
    done = isoflop(verb, "--config-dir", tmp_path, "family=wrong", "budget.D=1e3", f"out={tmp_path}/runs")
    assert done.returncode == 2, done.stderr
    assert "wrong" in sentence(done)
    assert not list(tmp_path.glob("runs/*"))


def test_a_launcher_that_cannot_be_built_is_one_sentence(isoflop: Isoflop, tmp_path: Path) -> None:
    done = isoflop("train", "-m", "budget.D=1e3", "hydra.launcher._target_=nowhere.Nothing", f"out={tmp_path}/runs")
    assert done.returncode == 2, done.stderr
    assert "nowhere.Nothing is not a launcher or sweeper that Hydra has" in done.stderr
    assert "Traceback" not in done.stderr


def test_slurm_is_refused_where_there_is_none(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to(shutil.which("git") or "git")
    env = os.environ | {"PATH": str(tmp_path / "bin")}  # without srun, which this machine may have
    words = ["train", "-m", "budget.D=1e3", "hydra/launcher=slurm", f"out={tmp_path}/runs"]
    command = [sys.executable, "-m", "isoflop.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 2, done.stderr
    assert "hydra/launcher=slurm needs Slurm's srun and sbatch" in done.stderr
    assert not list(tmp_path.glob("runs/*/frozen.json"))


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "isoflop.cli", "train", "trainer.accelerator=gpu", f"out={tmp_path}/runs"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 2
    assert "trainer.accelerator=gpu, but this machine shows no GPU" in sentence(done)
    assert not list(tmp_path.glob("*"))


def test_what_is_wrong_by_its_words_is_refused_without_torch(tmp_path: Path) -> None:
    for wrong in (
        "seed=12345678901234567890123",
        "family.depth=two",
        "family.norm=foo",
        "family=[mlp]",
        "trainer.accelerator=gpu",
    ):
        code = (
            f"import sys; from isoflop.scaling.app import main; code = main(['{wrong}', 'out={tmp_path}/runs']); "
            "print(code, 'torch' in sys.modules)"
        )
        env = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
        assert done.stdout.split() == ["2", "False"], done.stderr


def test_a_table_needs_a_name(isoflop: Isoflop, tmp_path: Path) -> None:
    done = isoflop("collect", tmp_path, "-o", tmp_path)
    assert done.returncode == 2
    assert "is a folder; name the table, as in -o" in sentence(done)


@pytest.mark.sample(12)
@pytest.mark.parametrize(("given", "said"), MISTAKES, ids=[given for given, _ in MISTAKES])
def test_a_mistake_gets_one_sentence_and_leaves_nothing(
    isoflop: Isoflop, tmp_path: Path, given: str, said: list[str]
) -> None:
    done = isoflop("train", *given.split(), f"out={tmp_path}/runs")
    assert done.returncode == 2, done.stderr
    assert all(words in sentence(done) for words in said), done.stderr
    assert not list(tmp_path.glob("runs/*/*"))


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("out=a,b", "out takes one value in a sweep"),
        ("study=demo,demo_quick", "study takes one value in a sweep"),
        ("hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs=0 must be a whole number of at least 1"),
        ("hydra.launcher.retries=-1", "hydra.launcher.retries=-1 must be a whole number of at least 0"),
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
    done = isoflop("train", "study=demo", *shown)
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


def test_a_refused_command_leaves_a_run_of_another_command_alone(isoflop: Isoflop, tmp_path: Path) -> None:
    run = ["train", "family=mlp", "family.width=8", "family.depth=1", "budget.D=2e3", *TINY, f"out={tmp_path}"]
    assert isoflop(*run).returncode == 0
    (folder,) = tmp_path.iterdir()
    (folder / "records.json").unlink()  # as it is while the run is under way
    refused = isoflop(*run, "trainer.devices=999", "trainer.accelerator=cpu")
    assert refused.returncode == 2
    assert (folder / "frozen.json").exists()


def test_a_group_without_a_name_is_null_in_json(isoflop: Isoflop, tmp_path: Path) -> None:
    rows = "".join(f"{family},{n},{2 + 10 * n**-0.3}\n" for family in ("a", "") for n in (1e3, 1e4, 1e5, 1e6))
    (tmp_path / "runs.csv").write_text(f"family,N,L\n{rows}")
    law = ["--law", "power_offset(N)", "--by", "family", "--interval", "none", "--json"]
    done = isoflop("fit", tmp_path / "runs.csv", *law)
    assert done.returncode == 0, done.stderr
    assert [fit["by"]["family"] for fit in json.loads(done.stdout)["fits"]] == ["a", None]


def test_completion_for_another_shell_is_one_sentence(isoflop: Isoflop) -> None:
    done = isoflop("--completion", "tcsh")
    assert done.returncode == 2
    assert "give one of bash, zsh, fish" in sentence(done)


def test_an_interrupt_while_a_verb_is_imported_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    for name in ("_open_streams", "_leave_working_directory"):
        monkeypatch.setattr(cli, name, lambda: None)
    monkeypatch.setattr(cli, "call", interrupted)
    with pytest.raises(SystemExit, match="130"):
        cli.main()
    assert capsys.readouterr().err == "isoflop: stopped\n"
