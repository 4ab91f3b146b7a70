"""A plan is what the same overrides would run, with sizes, time and money; every study is one."""

import json
import os
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, Isoflop
from omegaconf import OmegaConf

from isoflop.scaling.config.frozen import freeze
from isoflop.sweeps import costs, workers
from isoflop.sweeps.collect import rows
from isoflop.sweeps.ledger import Entry
from isoflop.sweeps.plan.options import PlanLaw
from isoflop.sweeps.plan.plan import LAUNCHES_S, SweepPlan, _step_s, composed, plan
from isoflop.sweeps.plan.resolution import outcomes, warn
from isoflop.sweeps.verbs import main as verbs

STUDIES = sorted((Path(__file__).parents[2] / "conf/study").glob("*.yaml"))
# times of a GPU by its peak: nothing is measured
H100 = ["--device", "H100"]
GRID = ["family=mlp,lstm", "family.width=8,16", "family.depth=1", "budget.D=2e3", *TINY]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What is remembered between plans is that of these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        costs.cache.cache_clear()
        yield
    costs.cache.cache_clear()


def planned(isoflop: Isoflop, *arguments: object) -> dict[str, Any]:
    done = isoflop("plan", "--json", *H100, "-m", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_plan_is_what_the_sweep_ran(isoflop: Isoflop, small_sweep: Path) -> None:
    found = planned(isoflop, *GRID, f"out={small_sweep}")
    assert found["out"] == str(small_sweep)
    made = {row["run_id"]: row for row in rows(small_sweep)}
    assert {run["run_id"] for run in found["runs"]} == made.keys()
    for run in found["runs"]:
        row = made[run["run_id"]]
        assert run["done"] is True
        assert all(run[key] == row[key] for key in ("family", "width", "depth", "seed", "N", "D", "C", "lr"))
    assert found["totals"]["runs"] == 0


def test_a_plan_of_what_is_not_made_sums_it_up(isoflop: Isoflop, tmp_path: Path) -> None:
    done = isoflop("plan", *H100, "--price", "2/h", "--all", "-m", *GRID, f"out={tmp_path / 'x'}")
    assert done.returncode == 0, done.stderr
    assert "4 runs in" in done.stdout
    assert "4 to make" in done.stdout
    assert "at 2 an hour of a device" in done.stdout
    assert "no law can be fitted to these runs" in done.stdout
    assert not (tmp_path / "x").exists()


def test_a_plan_of_marks_knows_the_trunk() -> None:
    (run,) = plan(["family=mlp", "family.width=8", "budget.D=[2560,5120]", *TINY], device="H100").table.to_dict(
        "records"
    )
    whole = plan(["family=mlp", "family.width=8", "budget.D=5120", *TINY], device="H100").table
    assert run["marks"] == 2
    assert run["D"] == whole["D"][0]
    # 80 steps of trunk and the first mark's cooldown, a fifth of 40
    assert run["steps"] == 88
    assert run["C"] == pytest.approx(whole["C"][0] * 1.1)


def test_time_is_measured_once_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    from isoflop.sweeps import workers as processes

    asked: list[str] = []
    calls = processes.calls

    def counted(function: str, arguments: Any, gpus: Any = ()) -> Any:
        asked.extend([function] * len(arguments))
        return calls(function, arguments, gpus)

    monkeypatch.setattr(processes, "calls", counted)
    overrides = ["family=mlp", "family.width=8,16,32", "budget.D=1e4,2e4", "seed=0,1", *TINY]
    first = plan(overrides)
    assert asked.count("isoflop.scaling.estimate:time_step") == 2  # at the smallest and the largest of six shapes
    assert asked.count("isoflop.scaling.estimate:describe") == 3  # one for each architecture
    again = plan(overrides)
    assert len(asked) == 5
    assert (again.table["seconds"] == first.table["seconds"]).all()
    assert (first.table["seconds"] > 0).all()
    longer = first.table.groupby("D")["seconds"].mean()
    assert longer.iloc[1] > longer.iloc[0]


def test_the_time_of_a_step_is_a_line_between_measured_ones_and_in_proportion_beyond() -> None:
    points = [[1e6, 0.001, 0.1], [1e8, 0.01, 0.2]]
    assert costs._step_s(1e5, points) == 0.001
    assert costs._step_s(1e7, points) == pytest.approx(0.001 * 10**0.5)
    assert costs._step_s(1e9, points) == pytest.approx(0.1)
    noisy = [[1e6, 0.002, 1.0], [1e7, 0.001, 1.0]]  # measured as faster on a busy machine
    assert costs._step_s(1e7, noisy) == costs._step_s(1e6, noisy) == 0.002
    assert [costs._rest_s(C, points) for C in (2e6, 9e7)] == [0.1, 0.2]


def test_wall_time_is_that_of_the_fullest_slot() -> None:
    import pandas as pd

    table = pd.DataFrame({"seconds": [4.0, 3.0, 3.0, 2.0], "done": False, "devices": 1, "C": 1.0})
    made = SweepPlan(Path("x"), table, table, slots=2, speed="")
    assert made.wall_s == pytest.approx(6.0 + 2 * 0.3)
    assert made.totals(price=3600.0)["money"] == pytest.approx(12.0)


@pytest.mark.parametrize(
    "family", ["lstm", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("transformer", "ssm"))]
)
def test_memory_is_foretold_to_a_third(family: str) -> None:
    from isoflop.sweeps import workers as processes

    large = ["family.width=64", "recipe.batch=256", "budget.D=5e4", "data.seq_len=128"]
    (config,) = composed([f"family={family}", *large]).configs
    (plan,) = processes.call("isoflop.scaling.estimate:describe", [config])
    with tempfile.TemporaryDirectory() as folder:
        freeze(config, Path(folder) / "run")
        processes.call("isoflop.scaling.run:run_one", Path(folder) / "run")
        (row,) = Entry(Path(folder) / "run").rows
    assert plan.memory == pytest.approx(row["peak_memory"], rel=1 / 3)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_says_what_it_is_for(path: Path) -> None:
    first, second = path.read_text().splitlines()[:2]
    assert first == "# @package _global_"  # without it the study silently does nothing
    assert second.startswith("# ")
    assert OmegaConf.load(path).study.minutes > 0


# studies of so many sizes, or such deep ones, that to count their FLOPs takes most of the time of all
LARGE = {
    "calibration_long", "laws", "pixels", "scaling", "scaling_rates", "shape", "sharing", "tasks", "thousand_layers",
    "two_texts",
}  # fmt: skip


# studies of texts that a user gets first, and how another text is named in their place
CORPORA = {
    "flagship": ["data.path={folder}"],
    "flagship_rates": ["data.path={folder}"],
    "flagship_gpu": ["data.name={folder}", "data.config=null", "data.tokenizer=bytes"],
    "two_texts_2": ["data.path={folder}"],
}


def words_of(path: Path, folder: Path) -> list[str]:
    """The words that compose a study; a few lines in a folder stand for a corpus that is elsewhere."""
    words = [f"study={path.stem}"]
    if path.stem in CORPORA:
        (folder / "text.jsonl").write_text("".join(f'{{"text": "{i} {"words " * 400}"}}\n' for i in range(200)))
        words += ["data.eval_size=4096", *(word.format(folder=folder) for word in CORPORA[path.stem])]
    return words


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.nightly] * (path.stem in LARGE)) for path in STUDIES],
)
def test_every_study_has_the_sizes_that_it_states(path: Path, tmp_path: Path) -> None:
    study = OmegaConf.load(path)
    grids = [*study.hydra.sweeper.grids, *(study.hydra.sweeper.get("larger") or ())]
    made = composed(words_of(path, tmp_path)).configs
    assert len(made) >= len(grids)
    (first,) = workers.call("isoflop.scaling.estimate:describe", [made[0]])
    assert first.C > 0
    of_all = OmegaConf.select(study, "family.width")
    stated = [grid.get("family.width", of_all) for grid in grids]
    widths = {int(w) for given in stated if given is not None for w in str(given).split(",")}
    assert widths <= {config.width for config in made}
    if None not in stated:  # a grid may take a family's own
        assert {config.width for config in made} == widths


# to count the FLOPs of every size takes minutes; in the suite it is one of each study
@pytest.mark.nightly
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_a_plan(path: Path, tmp_path: Path) -> None:
    made = plan(words_of(path, tmp_path), device="H100").table
    assert (made[["N", "D", "C", "seconds"]] > 0).all().all()


def test_an_override_replaces_what_a_study_says_of_the_same_key() -> None:
    made = plan(["study=isoflop", "family=lstm", "family.width=16,24"], device="H100").table
    assert set(made["width"]) == {16, 24}
    assert set(made["family"]) == {"lstm"}
    assert made["run_id"].is_unique


def test_the_next_runs_are_among_those_that_are_not_made(isoflop: Isoflop) -> None:
    made = plan(["study=isoflop", "family=lstm"], device="H100")
    marks = made.marks.assign(done=made.marks["width"] == 16)
    (found,) = outcomes(marks, PlanLaw(improve=3, target=1e13))
    assert found.next is not None
    assert len(found.next) == 3
    assert not (found.next["width"] == 16).any()
    assert (found.next["after"] < found.next["before"]).all()
    assert found.resolution is not None
    assert found.resolution.C == 1e13
    assert any("seed" in sentence for sentence in found.warnings)


def test_numbers_are_whole_however_narrow_the_terminal(program: Path) -> None:
    grid = ["family=transformer", "family.width=1024,2048", "budget.D=1e9,2e9", "round_up=true", *TINY]
    env = os.environ | {"COLUMNS": "40", "OMP_NUM_THREADS": "1"}
    command = [program, "plan", *H100, "-m", *grid]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert "…" not in done.stdout
    (head,) = (line for line in done.stdout.splitlines() if line.startswith("family"))
    assert head.split() == ["family", "data", "width", "depth", "seed", "N", "D", "C", "lr", "memory", "time"]
    assert not any(line.endswith(" " * 20) for line in done.stdout.splitlines())


def test_a_step_takes_its_launches_however_fast_the_device() -> None:
    (run,) = plan(["family=mlp", "family.width=8", "budget.D=2e5", *TINY], device="H100").table.to_dict("records")
    assert run["seconds"] == pytest.approx(run["steps"] * LAUNCHES_S)


# time of a step compiled in a graph, and in a graph alone [ms], of width x depth, on one H100
MEASURED = [
    (64, 4, 1.04, 2.26),
    (128, 4, 1.20, 2.50),
    (256, 6, 2.25, 3.92),
    (512, 8, 5.61, 8.26),
    (1024, 12, 20.75, 25.88),
]


@pytest.mark.parametrize(("width", "layers", "in_both", "in_graph"), MEASURED)
def test_a_step_on_an_h100_takes_what_was_measured(width: int, layers: int, in_both: float, in_graph: float) -> None:
    tokens, n = 32 * 256, 12 * layers * width**2 + 8192 * width
    flops = tokens * (6 * n + 6 * layers * width * 256)
    law = partial(_step_s, "H100", flops=flops, values=tokens * layers * width)
    compiled, plain, launched = law(True, True), law(True, False), law(False, False)
    assert compiled is not None
    assert [compiled * 1e3, plain * 1e3] == pytest.approx([in_both, in_graph], rel=0.04)
    assert compiled < plain <= launched
    assert _step_s("A100", True, True, flops=flops, values=tokens * layers * width) > compiled


def test_the_law_of_a_plan_is_chosen_by_graph_and_compile() -> None:
    grid = ["family=transformer", "family.width=64", "budget.D=2e5", "recipe.precision=bf16", *TINY]
    eager, graph = (plan([*grid, *more], device="A100") for more in ([], ["trainer.graph=true"]))
    assert graph.table["seconds"][0] < eager.table["seconds"][0]
    assert "A100 by its data sheet: a prediction" in graph.speed


def test_runs_whose_steps_exceed_their_budget_are_named(isoflop: Isoflop) -> None:
    done = isoflop("plan", *H100, "-m", "family=mlp", "family.width=8", "budget.D=50,6400", *TINY)
    assert done.returncode == 0, done.stderr
    assert "! 1 of 2 runs spends more than its budget, up to 1.28 times: steps are whole" in done.stdout


def test_a_recipe_that_hides_the_law_gets_a_warning() -> None:
    grid = ["family=mlp", "family.width=8,16", "budget.D=[3.2e4,6.4e4]", *TINY]
    steps = 32_000 // (16 * 4)
    none = plan(grid, device="H100").warnings
    assert none == ()
    (short,) = plan([*grid, "recipe.batch=5", "data.size=1e5"], device="H100").warnings
    assert short.startswith(f"2 of 2 runs have first marks of fewer than 500 steps, the shortest {steps * 4 // 5}: ")
    (long,) = plan([*grid, "recipe.warmup_steps=101"], device="H100").warnings
    assert long.startswith("the warm-up of 2 of 2 runs takes more than a fifth of the first mark, up to 0.202 of it: ")
    assert plan([*grid, "recipe.warmup_steps=100"], device="H100").warnings == ()


def test_rates_that_are_searched_at_some_sizes_only_get_a_warning() -> None:
    def of(*runs: tuple[str, int, float]) -> list[str]:
        configs = [
            SimpleNamespace(names=SimpleNamespace(family=family, data="text"), recipe={}) for family, _, _ in runs
        ]
        made = [SimpleNamespace(N=N, lr=lr, step_C=1.0, marks=(SimpleNamespace(C=500.0),)) for _, N, lr in runs]
        return warn(configs, made)  # type: ignore[arg-type]

    assert of(("mlp", 1, 0.1), ("mlp", 1, 0.2), ("mlp", 2, 0.1), ("mlp", 2, 0.2), ("cnn", 3, 0.1)) == []
    (sentence,) = of(("mlp", 1, 0.1), ("mlp", 1, 0.2), ("mlp", 2, 0.1), ("cnn", 1, 0.1))
    assert sentence.startswith("mlp on text: the rate is searched at 1 of 2 sizes")


def test_a_plan_looks_into_a_folder_of_the_users(isoflop: Isoflop, tmp_path: Path) -> None:
    (tmp_path / "my conf" / "family").mkdir(parents=True)
    mine = tmp_path / "my conf" / "family" / "wide_window.yaml"
    mine.write_text("defaults: [mlp, _self_]\nwindow: 8\n")
    grid = ["--config-dir", tmp_path / "my conf", "-m", "family=wide_window", "family.width=8", "budget.D=2e3", *TINY]
    plans = []
    for window in (8, 12):
        mine.write_text(f"defaults: [mlp, _self_]\nwindow: {window}\n")
        done = isoflop("plan", "--json", *H100, *grid)
        assert done.returncode == 0, done.stderr
        plans.append(json.loads(done.stdout)["runs"][0]["N"])
    assert plans[0] < plans[1]  # a yaml that was changed is read again
    done = isoflop("plan", "--config-dir", tmp_path / "nowhere", *grid[2:])
    assert done.returncode == 2
    assert "nowhere is not a folder" in done.stderr


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--price", "much"], "--price 'much' is not a price per hour; write --price 2.5/h"),
        (["--pric", "2"], "--pric is not an option of plan"),
        (["--target-C", "-1"], "--target-C -1 is not a number of FLOPs above 0"),
        (["--device", "abacus"], "--device abacus is not in the table of peaks; it has B200"),
        (["--runs", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--truth", "E=1,A=2"], "lacks alpha, B, beta"),
        (["--improve", "2"], "--improve needs a law to improve, and they have 2 values of N and 1 of D"),
        (["family.widht=3"], "family.widht is not a key"),
        (["seed=range(0,0)"], "the grid holds no run"),
        (["hydra.sweeper.grids=3"], "hydra.sweeper.grids holds 3, which is not a grid"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_plan_that_cannot_be_is_one_sentence(isoflop: Isoflop, tmp_path: Path, given: list[str], said: str) -> None:
    small = ["family=mlp", "family.width=8,16", "budget.D=2e3", *TINY, f"out={tmp_path}"]
    device = [] if "--device" in given else H100
    done = isoflop("plan", *device, *given, "-m", *small)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_rule_of_the_batch_is_timed_as_the_run_has_it() -> None:
    few, many = (
        plan(["family=mlp", "family.width=8", "recipe=step_law", f"budget.D={D}", *TINY[:2]]).table for D in (1e5, 1e6)
    )
    # ten times the data in batches 3.7 times as large
    assert many["seconds"][0] > 1.5 * few["seconds"][0]


@pytest.mark.nightly
def test_runs_too_few_to_fit_leave_the_generic_truth(isoflop: Isoflop, small_sweep: Path, tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    assert isoflop("collect", small_sweep, "-o", table).returncode == 0
    grid = ["family=mlp", "family.width=8,16,24", "family.depth=1", "budget.D=2e3,4e3,8e3", *TINY]
    found = planned(isoflop, "--runs", table, *grid)
    assert found["designs"][0]["resolution"]["truth"]["source"].startswith("assumed")


def test_a_device_is_known_by_its_whole_name() -> None:
    from isoflop.scaling.hardware import peak

    assert peak("NVIDIA H100 80GB HBM3", "bf16") == 989e12
    assert peak("NVIDIA L40", "bf16") is None
    assert peak("NVIDIA RTX A1000 Laptop GPU", "bf16") is None


def test_candidates_are_chosen_for_each_group_by_its_own_law(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e8, 1e10, 5)))
    parts = [
        pd.DataFrame({"corpus": name, "params_m": N / 1e6, "tokens": D, "loss": E + 400 * N**-0.31 + 400 * D**-0.29})
        for name, E in (("pile", 1.7), ("stack", 0.9))
    ]
    pd.concat(parts).to_csv(tmp_path / "runs.csv", index=False)
    grid = pd.DataFrame(
        {"corpus": ["pile", "stack"] * 3, "params_m": [2000.0] * 6, "tokens": np.geomspace(1e10, 1e12, 6)}
    )
    grid.to_csv(tmp_path / "grid.csv", index=False)
    command = [
        "plan",
        "--runs",
        str(tmp_path / "runs.csv"),
        "--candidates",
        str(tmp_path / "grid.csv"),
        "--improve",
        "1",
    ]
    assert verbs([*command, "--by", "corpus", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert [group["by"] for group in groups] == [{"corpus": "pile"}, {"corpus": "stack"}]
    assert [group["improve"][0]["corpus"] for group in groups] == ["pile", "stack"]
    assert groups[0]["improve"][0]["N"] == 2e9
    hours = str(tmp_path / "hours.csv")
    grid.drop(columns="tokens").assign(D=grid["tokens"], hours=2.0, gpus=[1, 1, 8, 8, 64, 64]).to_csv(
        hours, index=False
    )
    by_cost = ["plan", "--runs", command[2], "--candidates", hours, "--improve", "1", "--law", "power_offset(D)"]
    assert verbs([*by_cost, "--where", "corpus = 'pile'", "--cost", "3*hours*(gpus + 1)/2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    pick = answer["improve"][0]
    assert "other noise may choose otherwise" in answer["notes"][0]
    assert pick["cost"] == 3 * pick["hours"] * (pick["gpus"] + 1) / 2
    assert pick["gain_per_cost"] > 0
    for wrong, said in {
        "hours*gpu": "name 'gpu' is not defined",
        "6ND": "no expression",
        "a = hours": "no expression",
    }.items():
        assert verbs([*by_cost, "--cost", wrong]) == 2
        assert said in capsys.readouterr().err
    assert verbs([*by_cost, "--cost", "hours"]) == 0
    assert verbs(["plan", "--by", "corpus"]) == 2
    assert "give --runs and --candidates too" in capsys.readouterr().err


@pytest.mark.parametrize("surplus", [["--price", "2/h"], ["--target-C", "1e18"], ["family=mlp"]])
def test_options_of_a_sweep_are_refused_where_candidates_are_chosen_from_a_table(
    surplus: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs.csv").write_text("N,D,L\n1e6,1e7,3\n")
    table = str(tmp_path / "runs.csv")
    assert verbs(["plan", "--runs", table, "--candidates", table, *surplus]) == 2
    assert f"{surplus[0]} applies to a composed sweep" in capsys.readouterr().err
