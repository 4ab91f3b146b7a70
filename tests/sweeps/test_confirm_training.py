"""`isoflop confirm` by training: what a ladder costs and could decide, what is bought, and what is refused."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from isoflop import record
from isoflop.analysis.confirm.choose import smallest_found
from isoflop.analysis.confirm.decide import Criterion
from isoflop.command import Stopped
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.verbs import write_family
from isoflop.sweeps import costs
from isoflop.sweeps.plan import buying, ladder
from isoflop.sweeps.plan.buying import buy
from isoflop.sweeps.plan.ladder import BASE, LOOKS, Ladder, plan_ladder
from isoflop.sweeps.plan.verbs import _parts, _sides, main

CHANGE = "recipe.beta1=0.8"
WORDS = ["confirm", "family=mlp", "--change", CHANGE]
TARGET = 1e12


@pytest.fixture(autouse=True)
def fixed_speed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let a slot make 1e10 FLOPs a second, draw few ladders for the power of one, and work in an empty folder."""
    monkeypatch.setattr(f"{smallest_found.__module__}.DRAWS", 10)
    monkeypatch.setattr(costs, "seconds", lambda configs, plans, *more: [plan.C / 1e10 for plan in plans])
    monkeypatch.chdir(tmp_path)


def small(searches: bool = False) -> Ladder:
    widths = [16, 24, 32, 48]
    places = ([w**2 * 20 for w in widths], [w**4 * 1e4 for w in widths], [2 * w**4 / 1e5 for w in widths])
    sides = {BASE: ["family=mlp", "out=runs"], CHANGE: ["family=mlp", CHANGE, "out=runs"]}
    return Ladder(sides, widths, *places, {}, 2, searches=searches)


class Fake(buying.Bought):
    """Runs that are not trained: the loss of a curve, with noise that a seed shares."""

    gain: Callable[[float], float] = staticmethod(lambda C: 1.0)
    rate: float = 1.0

    def make(self, side_configs: dict[str, list[FrozenConfig]]) -> None:
        self.made |= {config.run_id: (side, config) for side, configs in side_configs.items() for config in configs}

    def rows(self, run_id: str) -> list[record.Row]:
        side, config = self.made[run_id]
        noise, rows = np.random.default_rng([config.seed, config.width]), []
        own = np.random.default_rng(int(run_id, 16))
        shared = 0.005 * noise.standard_normal()
        for mark, D in enumerate(config.budget.values, start=1):
            C = config.width**2 * D * 500.0
            times = self.gain(C) if side != BASE else 1.0
            off = shared + 0.002 * own.standard_normal() + (config.family["lr"] / (self.rate * 0.02) - 1) ** 2
            L = (1.7 + 1.8 * (C * times / 1e9) ** -0.12) * np.exp(off if not config.seed else shared * 0.2 + 0.2 * off)
            facts = {"run_id": run_id, "mark": mark, "seed": config.seed, "status": "ok", "family": "mlp"}
            sizes = {"width": config.width, "depth": 2, "D": D, "N": config.width**2, "C": C, "L": float(L)}
            rows.append(record.row(**facts, **sizes, data="text", wall_s=config.width**4 / 1e5))
        return rows


def bought(monkeypatch: pytest.MonkeyPatch, gain: float, searches: bool = False, worth: float = 1.05) -> Any:
    monkeypatch.setattr(buying, "Bought", Fake)
    monkeypatch.setattr(Fake, "gain", staticmethod(lambda C: gain))
    Path("runs").mkdir(exist_ok=True)
    return buy(small(searches), Path("runs"), TARGET, 3000.0, Criterion(worth))


# -- the ladder ------------------------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_both_sides_have_the_same_widths_marks_and_seeds_within_the_budget() -> None:
    sides = {BASE: ["family=mlp"], CHANGE: ["family=mlp", CHANGE]}
    long, short = (plan_ladder(sides, budget, 1e18) for budget in (3600.0, 300.0))
    assert long.C[-1] > 3 * short.C[-1]
    for plan, budget in ((long, 3600.0), (short, 300.0)):
        assert 0.2 * budget < plan.whole / plan.slots <= budget
    one, other = (long.configs(side, long.first) for side in sides)
    same = [(c.width, tuple(c.budget.values), c.seed) for c in one]
    assert same == [(c.width, tuple(c.budget.values), c.seed) for c in other]
    assert len(same) == sum(long.first)
    assert not {c.run_id for c in one} & {c.run_id for c in other}
    assert plan_ladder(sides, 3600.0, long.C[-1] / 4).C[-1] < long.C[-1] / 4
    assert Ladder(**json.loads(json.dumps(vars(long)))) == long


def test_another_family_keeps_what_it_shares_of_the_baselines_knobs_and_leaves_out_the_rest() -> None:
    base = ["family=transformer", "family.head_dim=8", "family.depth=3", "recipe.batch=4"]
    sides = _sides(base, ["family=lstm", "family=moe,family.depth=2"], Path("there"))
    assert sides["family=lstm"][:-1] == ["family.depth=3", "recipe.batch=4", "family=lstm"]
    assert sides["family=moe,family.depth=2"][:-1] == [
        "family.head_dim=8", "recipe.batch=4", "family=moe", "family.depth=2",
    ]  # fmt: skip


def test_rates_of_both_sides_are_multiplied_alike() -> None:
    for side in small().sides:
        (one,) = small().configs(side, [1, 0, 0, 0])
        (twice,) = small().at_rates(2.0).configs(side, [1, 0, 0, 0])
        assert twice.family["lr"] == 2 * one.family["lr"]


def test_the_smallest_multiplier_found_falls_with_pairs_and_is_less_at_the_largest_compute() -> None:
    places, goals = np.log([1e10, 4e10, 2e11, 1e12]), np.log([1e12, 1e13])
    few, many = (smallest_found(places, counts, goals[1], Criterion()) for counts in ([2, 2, 2, 1], [12, 12, 12, 12]))
    assert many is not None
    assert few is None or many < few
    assert (smallest_found(places, [12, 12, 12, 12], goals[0], Criterion()) or 10) < many < 1.5


def test_a_dry_run_prices_and_trains_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--budget", "10min", "--target-C", "1e14", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "2 sides at 4 places" in said
    assert "to the last" in said
    assert "could find, of multipliers" in said
    assert main([*WORDS, "--budget", "10min", "--target-C", "1e14", "--dry-run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["first_look_s"] < document["last_look_s"] <= 600
    finds = document["finds"]
    assert finds["at_target"] is None or finds["at_largest"] <= finds["at_target"]
    assert not Path("confirm").exists()


def test_two_changes_share_the_baseline_and_the_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    other = "recipe.beta1=0.7"
    both = replace(small(), sides={**small().sides, other: ["family=mlp", other, "out=runs"]})
    monkeypatch.setattr(buying, "Bought", Fake)
    monkeypatch.setattr(Fake, "gain", staticmethod(lambda C: 2.0))
    Path("runs").mkdir()
    found = buy(both, Path("runs"), TARGET, 3000.0, Criterion())
    assert [change.change for change in found.changes] == [CHANGE, other]
    assert {change.verdict.value for change in found.changes} == {"scales"}
    assert found.rule.changes == 2


def test_a_change_is_overrides_with_commas_between() -> None:
    assert _parts("recipe=muon,family.lr=0.1") == ["recipe=muon", "family.lr=0.1"]
    assert _parts("probe=[a,b],data.held_out={x:1,y:2},seed=1") == ["probe=[a,b]", "data.held_out={x:1,y:2}", "seed=1"]


# -- buying ----------------------------------------------------------------------------------------------------------


def test_a_change_that_helps_everywhere_scales_before_the_last_look_and_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = bought(monkeypatch, 2.0)
    assert found.code == 0
    assert found.rule.look < LOOKS == found.rule.looks
    said = capsys.readouterr().err
    assert said.count("look ") == found.rule.look
    assert "left" in said
    table = pd.read_csv("runs/runs.csv")
    assert set(table["arm"]) == {BASE, CHANGE}
    assert found.changes[0].runs.alone == 0
    assert bought(monkeypatch, 2.0).to_json() == found.to_json()


def test_what_is_not_known_is_looked_at_as_planned_and_a_loss_does_not_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    found = bought(monkeypatch, 1.0, worth=1.0)
    assert found.code == 4
    assert found.rule.look == LOOKS
    # no look adds more pairs than those before it on average
    assert found.changes[0].runs.pairs <= LOOKS * sum(small().first)
    assert bought(monkeypatch, 0.4).code == 3


def test_the_budget_ends_the_purchases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buying, "Bought", Fake)
    Path("runs").mkdir()
    found = buy(small(), Path("runs"), TARGET, small().opening / 2, Criterion())
    assert found.rule.look == 1
    assert found.changes[0].runs.pairs == sum(small().first)


@pytest.mark.nightly
def test_rates_are_searched_alike_and_an_edge_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fake, "rate", 2.0)
    notes = bought(monkeypatch, 2.0, searches=True).changes[0].runs.notes
    assert [note for note in notes if "at the edge" in note] == [
        f"{side}: 2 times its own rates, the best at the smallest size, at the edge of those tried"
        for side in (BASE, CHANGE)
    ]
    assert set(pd.read_csv("runs/runs.csv")["seed"]) >= {1, 2}
    assert 0 not in set(pd.read_csv("runs/runs.csv")["seed"])


def test_runs_are_trained_and_found_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ladder, "WIDTHS", (2, 3, 4, 6))
    monkeypatch.setattr(buying, "LOOKS", 1)
    monkeypatch.setattr(ladder, "SHARE", 0.0)
    call = [*WORDS, "data.size=2e5", "data.eval_size=4096", "--budget", "2s", "--target-C", "1e9", "--json"]
    whole, made = buying.launch, list[int]()

    def stopped(entries: Any, settings: Any) -> None:
        """Make two runs, then stop as SIGINT does."""
        whole(entries[:2], settings)
        raise Stopped(130)

    monkeypatch.setattr(buying, "launch", stopped)
    assert main([*call, "--out", "made"]) == 130
    assert not Path("made/runs.csv").exists()
    monkeypatch.setattr(
        buying, "launch", lambda entries, settings: (made.append(len(entries)), whole(entries, settings))
    )
    capsys.readouterr()
    code = main([*call, "--out", "made"])
    document = json.loads(capsys.readouterr().out)
    assert code in (0, 3, 4)
    made_each = pd.read_csv("made/runs.csv")["run_id"].nunique()
    assert made == [made_each - 2]
    assert pd.read_csv("made/runs.csv").groupby("arm")["run_id"].nunique().min() >= 7
    assert {path.name for path in Path("made").iterdir()} >= {"runs.csv", "confirm.json", "multiplier.svg"}
    monkeypatch.setattr(buying, "launch", lambda entries, settings: entries and pytest.fail("a run was made again"))
    assert main([*call, "--out", "made"]) == code
    assert json.loads(capsys.readouterr().out) == document
    assert main([*call, "--out", "made", "--worth", "2"]) == 2
    assert "another question" in capsys.readouterr().err


TINY = """
import sys
from isoflop.analysis.confirm.choose import smallest_found
from isoflop.sweeps import costs
from isoflop.sweeps.plan import buying, ladder, verbs
sys.modules[smallest_found.__module__].DRAWS = 10
ladder.WIDTHS, buying.LOOKS = (2, 3, 4, 6), 1
costs.seconds = lambda configs, plans, *more: [plan.C / 1e10 for plan in plans]
sys.exit(verbs.main(sys.argv[1:]))
"""


@pytest.mark.nightly
def test_a_family_of_one_s_own_goes_from_its_skeleton_to_a_verdict(python: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "layer.md").read_text()
    write_family("my_mixer", Path("my_lab"))
    Path("my_lab/my_mixer.py").write_text(page.partition("`my_lab/my_mixer.py`\n\n```python\n")[2].partition("```")[0])
    own = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "my_lab/test_my_mixer.py"]
    assert "3 passed" in subprocess.run(own, capture_output=True, text=True, check=False).stdout
    words = ["confirm", "family=mlp", "isoflop.extensions=[my_lab]", "data.size=2e5", "data.eval_size=4096"]
    call = [*words, "--change", "family=my_mixer", "--budget", "3s", "--target-C", "1e9", "--out", "made"]
    done = subprocess.run([python, "-c", TINY, *call], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3, 4), done.stderr
    assert "family=my_mixer against baseline" in done.stdout
    assert set(pd.read_csv("made/runs.csv")["family"]) == {"mlp", "my_mixer"}


# -- what is refused -------------------------------------------------------------------------------------------------

WELL = ["--budget", "10min", "--target-C", "1e14"]
REFUSED = [
    (["family=mlp", "--change", "family=mlp", *WELL], "the same runs as baseline"),
    (["family=mlp", "--change", CHANGE, "--change", CHANGE, *WELL], "names one change twice"),
    (["family=mlp", "--change", "data=copy", *WELL], "only losses in bits per byte compare"),
    (["family=mlp", "family.width=8", "--change", CHANGE, *WELL], "the ladder chooses family.width"),
    (["family=mlp", "--change", "budget.C=1e9", *WELL], "the ladder chooses budget.C"),
    (["family=mlp", "--change", "recipe", *WELL], "'recipe' is not key=value"),
    (
        ["family=mlp", "--change", CHANGE, "--budget", "1s", "--target-C", "1e14"],
        "--budget is too small: the smallest",
    ),
    (
        ["family=mlp", "--change", CHANGE, "--budget", "10min", "--target-C", "1e6"],
        "--target-C is too small: the smallest",
    ),
    (["family=mlp", "--change", CHANGE, "--budget", "soon", "--target-C", "1e14"], "no length of time"),
    (["family=mlp", "--change", CHANGE, "--target-C", "1e14"], "no budget is named"),
    (["family=mlp", "--change", CHANGE, "--looks", "2", *WELL], "are of a table"),
    (["family=mlp", "--change", CHANGE, "--budget", "10min", "--target-C", "1e30"], "no multiplier up to 10 would be"),
    (["family=mlp", "--change", "data=hmm", *WELL], "only losses in bits per byte compare"),
    (["none.csv", "--change", "new", "--target-C", "1e14"], "no baseline is named"),
]


@pytest.mark.sample(3)
@pytest.mark.parametrize(("words", "sentence"), REFUSED)
def test_bad_input_is_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["confirm", *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not Path("confirm").exists()
