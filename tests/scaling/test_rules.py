"""Rules: rate, batch and weight decay as power laws of N, D, the batch and the rate of the very run."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from isoflop.errors import UserError
from isoflop.scaling.assemble import assemble
from isoflop.scaling.config.composed import register_resolvers, resolve
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.recipe.optimizers import AdamW
from isoflop.scaling.recipe.rules import settle

CONF = Path(__file__).parents[2] / "conf/recipe"


def frozen(*overrides: str) -> FrozenConfig:
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        cfg = compose("train", ["family=mlp", *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return resolve(cfg)


def test_step_law_is_that_of_its_source() -> None:
    # arXiv:2503.04715, eq. 1, for N = 1e9 and D = 1e11 tokens, by hand: 1.79 e^(-.713 ln 1e9 + .307 ln 1e11)
    recipe = frozen("recipe=step_law").recipe
    found = settle(recipe, N=1e9, D=1e11, targets=2048)
    assert found["lr"] == pytest.approx(1.6325e-3, rel=1e-4)
    assert found["batch"] == round(0.58 * 1e11**0.571 / 2048)


@pytest.mark.parametrize("D", [2e5, 3e6])
def test_a_rule_sees_the_counted_N_and_the_D_that_the_budget_comes_to(D: float) -> None:
    by_D = assemble(frozen("recipe=step_law", f"budget.D={D}"))
    assert by_D.recipe.lr == pytest.approx(1.79 * by_D.cost.N**-0.713 * D**0.307)
    assert by_D.recipe.batch == round(0.58 * D**0.571 / 64)
    by_C = assemble(frozen("recipe=step_law", f"budget.C={D * by_D.cost.flops_per_target}"))
    assert by_C.recipe == by_D.recipe
    assert by_C.marks[0].steps == by_D.marks[0].steps
    assert by_D.columns(by_D.marks[0])["lr"] == by_D.recipe.lr


def test_a_carried_rate_follows_the_root_of_the_batch_and_the_time_scale_stays() -> None:
    base = assemble(frozen("recipe=transfer", "recipe.batch=16", "budget.D=1e6")).recipe
    assert (base.lr, base.weight_decay) == pytest.approx((frozen().family["lr"], 0.1))
    large = assemble(frozen("recipe=transfer", "recipe.batch=64", "budget.D=4e6")).recipe
    assert large.lr == pytest.approx(2 * base.lr)
    # lr * weight_decay * steps, and there are as many steps
    assert large.lr * large.weight_decay == pytest.approx(base.lr * base.weight_decay)


def test_marks_give_the_largest_D_to_a_rule_and_are_then_part_of_the_run() -> None:
    marks = frozen("recipe=transfer", "budget.D=[1e5,1e6]")
    assert assemble(marks).recipe.weight_decay == pytest.approx(0.1)
    assert marks.run_id != frozen("recipe=transfer", "budget.D=[1e5,2e6]").run_id
    assert frozen("budget.D=[1e5,1e6]").run_id == frozen("budget.D=[1e5,2e6]").run_id
    assert frozen("budget.D=[1e5,1e6]").run_id != frozen("budget.D=[5e4,1e6]").run_id  # the warm-up is another


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"lr": {"c": -1}}, "recipe.lr.c=-1 is not a number above 0"),
        ({"lr": {"N": 1}}, "recipe.lr.c=None is not a number above 0"),
        ({"lr": {"c": 1, "width": 1}}, "recipe.lr.width is not part of its rule; it has c, N, D, step_targets, base"),
        ({"lr": {"c": 1, "D": "x"}}, "recipe.lr.D='x' is not a number; give the exponent of D"),
        ({"batch": {"c": 1, "lr": 1}}, "recipe.batch.lr is not part of its rule; it has c, N, D, base"),
        ({"clip": {"c": 1}}, "recipe.clip takes no rule; give a number"),
        ({"lr": {"c": 1, "N": -1}, "parametrization": "mup"}, "recipe.lr is a rule of N, by which mup scales it too"),
        ({"lr": {"c": 1, "base": {"D": 0}}}, "recipe.lr.base.D=0 is not a number above 0"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(recipe: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match="^" + said.replace("(", r"\(")):
        settle({"batch": 16, "lr": 0.1, "parametrization": "standard"} | recipe, 1e5, 1e6, 64)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_every_recipe_makes_a_run(name: str) -> None:
    run = assemble(frozen(f"recipe={name}", "budget.D=1e5"))
    assert run.recipe.lr > 0
    assert run.recipe.batch >= 1


def test_the_cosine_starts_at_the_rate_and_ends_near_zero() -> None:
    recipe = AdamW(lr=0.5, warmup=0.1, schedule="cosine")
    rates = [recipe.rate(step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(0.5, rel=1e-3)
    assert rates[9] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[54] == pytest.approx(0.25, rel=0.02)  # half way down in the middle
    assert 0 < rates[-1] < 1e-3
