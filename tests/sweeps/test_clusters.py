"""Slurm, Ray, joblib, Optuna and W&B sweeps make the runs that the local launcher makes, and each of them once."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TINY, Isoflop
from slurm import lacking, output, slurm, wait_until

from isoflop import record
from isoflop.scaling.config.provenance import Code
from isoflop.sweeps.collect import rows
from isoflop.sweeps.ledger import Entry, entries

# limits of patience say that something hangs, on a machine that four processes of tests and their sweeps share
pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[2]
GRID = ["family=mlp,lstm", "family.width=8,16", "family.depth=1", "budget.D=2e3"]
ONE = ["family=mlp", "family.width=8", "family.depth=1", "budget.D=2e3", *TINY]
CLUSTER = ["hydra/launcher=slurm", "hydra.launcher.array_parallelism=2"]


def needs(extra: str, plugin: str) -> pytest.MarkDecorator:
    """Skip where an extra is not installed."""
    missing = importlib.util.find_spec(f"hydra_plugins.{plugin}") is None
    return pytest.mark.skipif(missing, reason=f"{extra} is not installed; pip install -c constraints.txt '.[{extra}]'")


submitit = needs("slurm", "hydra_submitit_launcher")
no_slurm = f"no {', '.join(lacking())} here; apt-get install slurmctld slurmd slurm-client munge"
slurm_installed = pytest.mark.skipif(bool(lacking()), reason=no_slurm)


def results(folder: Path) -> dict[str, tuple[float, float]]:
    return {row["run_id"]: (row["L"], row["L_train"]) for row in rows(folder)}


@submitit
def test_a_dry_run_prints_the_job_and_submits_nothing(isoflop: Isoflop, tmp_path: Path) -> None:
    where = [f"out={tmp_path / 'runs'}", "hydra.launcher.mem_gb=4", "hydra.launcher.partition=gpu", "--dry-run"]
    done = isoflop("train", "-m", *GRID, *TINY, *CLUSTER, *where)
    assert done.returncode == 0, done.stderr
    for line in ("--array=0-3%2", "--mem=4GB", "--partition=gpu", "--time=240", "--signal=USR2@120"):
        assert f"#SBATCH {line}\n" in done.stdout
    assert "-m submitit.core._submit" in done.stdout
    assert not (tmp_path / "runs").exists()
    refused = isoflop("train", *ONE, "--dry-run")
    assert refused.returncode == 2
    assert "add -m hydra/launcher=slurm" in refused.stderr


@pytest.fixture(scope="module")
def short() -> Iterator[str]:
    """A folder whose name is short enough for sockets to lie in it."""
    with tempfile.TemporaryDirectory(prefix="isoflop", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(scope="module")
def cluster(short: str, program: Path) -> Iterator[dict[str, str]]:
    """The environment of a Slurm of one node with two slots."""
    assert str(program.parent) in os.environ["PATH"]  # so that what starts a sweep is the forked command line
    with slurm(Path(short)) as env:
        yield env | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def start(env: dict[str, str], *arguments: object, program: str = "isoflop") -> subprocess.Popen[str]:
    """Start a sweep, by the forked command line (conftest.py) unless another program is named."""
    command = [*program.split(), "train", *map(str, arguments)]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def ended(process: subprocess.Popen[str], within_s: float = 240) -> str:
    """What a command said, once it has ended."""
    try:
        return process.communicate(timeout=within_s)[1]
    finally:
        process.kill()


@pytest.mark.slow
@submitit
@slurm_installed
def test_an_array_of_slurm_jobs_gives_the_same_bits(cluster: dict[str, str], small_sweep: Path, tmp_path: Path) -> None:
    broken = next(entries(small_sweep)).run_id
    (tmp_path / broken / "curve.csv").mkdir(parents=True)  # where this run wants a file
    command = ["-m", *GRID, *TINY, *CLUSTER, f"out={tmp_path}"]
    first = start(cluster, *command)
    said = ended(first)
    assert first.returncode == 1, said
    assert "1 failed, 3 ok" in said
    kept = {k: v for k, v in results(small_sweep).items() if k != broken}
    assert {k: v for k, v in results(tmp_path).items() if k != broken} == kept
    assert "not a regular file" in Entry(tmp_path / broken).rows[0]["reason"]
    (script,) = tmp_path.glob(".submitit/*/*.sh")
    assert "#SBATCH --array=0-3%2" in script.read_text()
    (tmp_path / broken / "curve.csv").rmdir()
    again = start(cluster, *command)
    said = ended(again)
    assert again.returncode == 0, said
    assert "3 done already, 1 to make" in said
    assert results(tmp_path) == results(small_sweep)


def steps(folder: Path) -> int:
    """How far a run's curve is."""
    try:
        return int((folder / "curve.csv").read_text().splitlines()[-1].split(",")[0])
    except (OSError, IndexError, ValueError):
        return 0


def jobs(env: dict[str, str]) -> dict[str, dict[str, str]]:
    """What Slurm knows of every task of arrays."""
    found = {}
    for line in output(env, "scontrol", "-o", "show", "job").splitlines():
        said = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if said.get("ArrayTaskId", "").isdigit():
            found[f"{said['ArrayJobId']}_{said['ArrayTaskId']}"] = said
    return found


@pytest.mark.slow
@submitit
@slurm_installed
def test_a_job_that_is_preempted_goes_on_to_the_same_bits_with_one_owner_of_its_requeue(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    grid = ["-m", "family=mlp", "family.width=8,16", "family.depth=1", "budget.D=4e5", *TINY]
    before = set(jobs(cluster))
    out = tmp_path / "slurm"
    sweep = start(cluster, *grid, *CLUSTER, f"out={out}")
    wait_until(lambda: sum(steps(path) > 600 for path in out.glob("*")) == 2, 120)
    by_slurm, by_signal = sorted(set(jobs(cluster)) - before)
    subprocess.run(["scontrol", "requeue", by_slurm], env=cluster, check=True)
    subprocess.run(["scancel", "--signal=USR2", by_signal], env=cluster, check=True)  # as before a time limit
    local = start(cluster, *grid, f"out={tmp_path / 'local'}")  # meanwhile
    wait_until(lambda: len([*out.glob("*/checkpoint.ckpt")]) == 2, 60)
    least = dict.fromkeys((path.parent for path in out.glob("*/checkpoint.ckpt")), 10**9)

    def look() -> bool:
        least.update({path: min(at, steps(path)) for path, at in least.items()})
        return sweep.poll() is not None

    wait_until(look, 240)
    said = ended(sweep)
    assert sweep.returncode == 0, said
    assert "2 ok" in said
    assert all(at > 600 for at in least.values())  # neither began again
    known = jobs(cluster)
    assert [known[name]["Restarts"] for name in (by_slurm, by_signal)] == ["1", "1"]
    logs = [(out / ".submitit" / name / f"{name}_0_log.out").read_text() for name in (by_slurm, by_signal)]
    assert [len(re.findall("Requeued job", log)) for log in logs] == [0, 1]
    said = ended(local)
    assert local.returncode == 0, said
    assert results(out) == results(tmp_path / "local")


@pytest.mark.slow
@submitit
@slurm_installed
def test_a_cancelled_sweep_leaves_the_queue_and_keeps_its_checkpoints(cluster: dict[str, str], tmp_path: Path) -> None:
    grid = ["-m", "family=mlp", "family.width=8", "family.depth=1", "seed=0,1,2", "budget.D=1e9", *TINY]
    sweep = start(cluster, *grid, *CLUSTER, f"out={tmp_path}")
    wait_until(lambda: sum(steps(path) > 0 for path in tmp_path.glob("*")) == 2, 120)
    asked = subprocess.run(
        ["isoflop", "cancel", str(tmp_path)], env=cluster, capture_output=True, text=True, check=True
    )
    assert "stopping 2 running and 1 queued runs" in asked.stdout + asked.stderr
    wait_until(lambda: not output(cluster, "squeue", "-h"), 60)
    said = ended(sweep)
    assert sweep.returncode == 1, said
    assert "3 cancelled" in said
    assert len([*tmp_path.glob("*/checkpoint.ckpt")]) == 2
    assert not [*tmp_path.glob("*/records.json")]


@pytest.mark.slow
@submitit
@slurm_installed
def test_a_queued_job_runs_what_was_frozen_whatever_became_of_the_conf(cluster: dict[str, str], tmp_path: Path) -> None:
    conf, out = tmp_path / "conf", tmp_path / "out"
    mine = conf / "family" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text(re.sub(r"width: \d+", "width: 8", (ROOT / "conf/family/mlp.yaml").read_text()))
    held = ["+hydra.launcher.additional_parameters.hold=true", *CLUSTER, f"out={out}"]
    point = ["family=mine", "family.depth=1", "budget.D=2e3", *TINY]
    sweep = start(cluster, "-m", "--config-dir", conf, *point, *held)
    wait_until(lambda: "JobHeldUser" in output(cluster, "squeue", "-h", "-o", "%r"), 120)
    mine.write_text("this: is no family any more\n")
    name = output(cluster, "squeue", "-h", "-o", "%A")
    subprocess.run(["scontrol", "release", name], env=cluster, check=True)
    said = ended(sweep)
    assert sweep.returncode == 0, said
    (entry,) = entries(out)
    (row,) = entry.rows
    assert (row["status"], row["family"], row["width"]) == ("ok", "mine", 8)
    assert Code.of(row) == entry.config.code


@pytest.mark.nightly
@pytest.mark.slow
@needs("joblib", "hydra_joblib_launcher")
def test_joblib_gives_the_same_bits(isoflop: Isoflop, small_sweep: Path, tmp_path: Path) -> None:
    done = isoflop("train", "-m", *GRID, *TINY, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"out={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert results(tmp_path) == results(small_sweep)


def listening(home: Path) -> set[str]:
    """Addresses at which the processes whose HOME this is listen, as the kernel writes them."""
    inodes = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                inodes |= {os.readlink(file).removeprefix("socket:[")[:-1] for file in (process / "fd").iterdir()}
        except OSError:  # it has ended
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            field = line.split()
            if field[3] == "0A" and field[9] in inodes:
                found.add(field[1].split(":")[0])
    return found


LOOPBACK = {
    "0100007F",  # 127.0.0.1
    "0000000000000000FFFF00000100007F",  # the same, mapped into IPv6
    "00000000000000000000000001000000",  # ::1
}


@pytest.mark.slow
@needs("ray", "hydra_ray_launcher")
def test_ray_on_loopback_gives_the_same_bits(small_sweep: Path, tmp_path: Path, short: str) -> None:
    env = os.environ | {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    env |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # how Ray is told to bind to loopback
    env |= {"RAY_TMPDIR": short}
    env |= {"RAY_worker_niceness": "0"}  # else the workers starve beside the tests of another process
    out = tmp_path / "out"
    local = ["hydra/launcher=ray_local", "hydra.launcher.ray.init.num_cpus=2"]
    # an interpreter of its own: of a fork the kernel does not say whose HOME it has
    sweep = start(env, "-m", *GRID, *TINY, *local, f"out={out}", program=f"{sys.executable} -m isoflop.cli")
    heard: set[str] = set()

    def look() -> bool:
        heard.update(listening(tmp_path))
        return sweep.poll() is not None

    try:
        # 40 s on two idle cores, 90 where eight processes want them; a look at all files of all processes has its cost
        wait_until(look, 240, every_s=0.5)
    finally:
        said = ended(sweep)
    assert sweep.returncode == 0, said
    assert heard
    assert heard <= LOOPBACK
    assert results(out) == results(small_sweep)


@pytest.mark.nightly
@pytest.mark.slow
@needs("optuna", "hydra_optuna_sweeper")
def test_optuna_writes_ordinary_records_by_any_launcher(isoflop: Isoflop, tmp_path: Path) -> None:
    few = ["hydra/sweeper=optuna_lr", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]
    found: dict[str, dict[str, float]] = {}
    for launcher in ("isoflop", "basic"):
        out = tmp_path / launcher
        done = isoflop("train", "-m", *ONE, *few, f"hydra/launcher={launcher}", f"out={out}")
        assert done.returncode == 0, done.stderr
        made = rows(out)
        assert [row["status"] for row in made] == ["ok"] * 4
        assert all(1e-4 <= row["lr"] <= 1e-1 for row in made)
        best = yaml.safe_load((out / "optimization_results.yaml").read_text())
        least = min(made, key=lambda row: row["L"])
        assert best["best_value"] == least["L"]
        assert best["best_params"] == {"recipe.lr": least["lr"]}
        found[launcher] = {row["run_id"]: row["L"] for row in made}
        assert all(Entry(out / name).config.run_id == name for name in found[launcher])
    assert found["isoflop"] == found["basic"]
    # the rate that was found, given by hand, is the same run
    (again,) = [row for row in rows(tmp_path / "basic") if row["L"] == best["best_value"]]
    same = isoflop("train", *ONE, f"recipe.lr={again['lr']!r}", f"out={tmp_path / 'basic'}")
    assert "done already" in same.stderr


SWEEPS = sorted((ROOT / "sweeps/wandb").glob("*.yaml"))


def one_of(parameter: dict[str, Any]) -> Any:
    """A value that a parameter of a W&B sweep may take."""
    given = [parameter.get("value"), *parameter.get("values", []), parameter.get("min")]
    return next(value for value in given if value is not None)


def expanded(sweep: dict[str, Any]) -> list[str]:
    """The command that an agent starts for one point."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    point = {key: {"value": one_of(parameter)} for key, parameter in sweep["parameters"].items()}
    words = create_sweep_command_args({"args": point}) | {"env": ["/usr/bin/env"], "program": [sweep["program"]]}
    words |= {"interpreter": ["python"]}
    command = []
    for word in create_sweep_command(list(sweep["command"])):
        command += words[word[2:-1]] if word.startswith("${") else [word]
    return command


def test_there_are_wandb_sweeps() -> None:
    assert {"learning_rate", "grid"} <= {path.stem for path in SWEEPS}


@pytest.mark.sample(1)
@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_wandb_sweep_starts_runs_as_the_command_line_does(isoflop: Isoflop, path: Path, tmp_path: Path) -> None:
    sweep = yaml.safe_load(path.read_text())  # as W&B reads it
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert f"wandb sweep sweeps/wandb/{path.name}" in first
    assert sweep["metric"] == {"name": "L", "goal": "minimize"}
    assert sweep["metric"]["name"] in record.COLUMNS
    for parameter in sweep["parameters"].values():
        assert all(isinstance(parameter.get(end, 0), int | float) for end in ("min", "max"))
    composed = isoflop("train", "--cfg", "job")
    config = yaml.safe_load(composed.stdout)
    for key in sweep["parameters"]:
        node = config
        for part in key.split("."):
            assert part in node, f"{key} is not a key of a run"
            node = node[part]
    # an agent tells the run its point by a file; without a server nothing is sent
    (tmp_path / "point.yaml").write_text(
        yaml.safe_dump({key: {"value": one_of(p)} for key, p in sweep["parameters"].items()})
    )
    env = os.environ | {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "run1"}
    env |= {"WANDB_SWEEP_PARAM_PATH": str(tmp_path / "point.yaml"), "OMP_NUM_THREADS": "1"}
    small = [
        "logger.offline=true",
        "budget.D=2e3",
        "data.size=1e4",
        "family.width=16",
        f"out={tmp_path / 'out'}",
        *TINY,
    ]
    kept = [word for word in expanded(sweep) if word.split("=")[0] not in {other.split("=")[0] for other in small}]
    done = subprocess.run([*kept, *small], env=env, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    (row,) = rows(tmp_path / "out")
    assert row["status"] == "ok"
    assert len(list((tmp_path / "out").glob("*/wandb/offline-run-*-run1"))) == 1
    assert json.loads(next((tmp_path / "out").glob("*/records.json")).read_text())[0]["L"] == row["L"]
