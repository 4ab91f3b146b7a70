"""What is refused before a run starts."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from isoflop.errors import UserError
from isoflop.scaling import limits
from isoflop.scaling.config.sections import RunPlan, Trainer
from isoflop.scaling.probes.positions import Positions
from isoflop.scaling.probes.precision import Precision

TRAINER = Trainer(accelerator="cpu")
SMALL = RunPlan(N=10_000, D=10_000, C=1e9, steps=100, step_C=1e7, lr=0.01, batch=4, memory=10**6, marks=())


def test_a_run_that_fits_is_not_refused() -> None:
    limits.refuse_size(SMALL, TRAINER, available=10**9)


def test_weights_beyond_the_memory_of_the_machine_are_refused() -> None:
    with pytest.raises(UserError, match=r"1e\+09 parameters take at least 12.0 GB to train, and there are 8.0 GB"):
        limits.refuse_size(replace(SMALL, N=int(1e9)), TRAINER, available=8 * 10**9)


def test_shards_share_the_weights() -> None:
    limits.refuse_size(replace(SMALL, N=int(1e9)), replace(TRAINER, strategy="fsdp", devices=2), available=8 * 10**9)


def test_memory_that_is_not_known_refuses_nothing() -> None:
    limits.refuse_size(replace(SMALL, N=int(1e12)), TRAINER, available=0)


def test_a_run_of_years_is_refused() -> None:
    with pytest.raises(UserError, match=r"would take at least .* years here; give a smaller budget"):
        limits.refuse_size(replace(SMALL, C=1e25), TRAINER, available=10**9)


def test_two_ranks_can_be_tried_on_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "cores", lambda: 1)
    limits.refuse_place(replace(TRAINER, devices=2))
    with pytest.raises(UserError, match=r"trainer\.devices=3 is more than this machine's 1 core;"):
        limits.refuse_place(replace(TRAINER, devices=3))


def test_values_of_options_are_no_overrides() -> None:
    limits.refuse_words(["--cfg", "job", "-m", "--config-dir", "my conf", "family=mlp", "~logger"])


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("recipe.lr=-1", "recipe.lr=-1 is not a number above 0"),
        ("recipe.batch=2.5", "recipe.batch=2.5 is not a whole number of at least 1"),
        ("recipe.warmup=0.9", "recipe.warmup=0.9 and recipe.cooldown=0.2 exceed the run; lower one"),
    ],
)
def test_a_wrong_value_of_a_recipe_is_refused_before_torch_is_imported(word: str, sentence: str) -> None:
    code = (
        f"import sys; from isoflop.scaling.app import main; sys.exit(main([{word!r}]) + 10 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == f"isoflop: {sentence}"


@pytest.mark.parametrize(
    ("knobs", "refusal"),
    [
        ({"examples": 1}, r"probe\.positions\.examples=1 is not a whole number of at least 2"),
        ({"after": 0}, r"probe\.positions\.after=0 is not a whole number of at least 1"),
        ({"examples": None}, r"probe\.positions\.examples=None is not a whole number"),
        ({"examples": (8, 8)}, r"probe\.positions\.examples=\(8, 8\) is not a whole number"),
    ],
)
def test_a_knob_may_be_none_or_several_only_where_its_default_is(knobs: dict[str, Any], refusal: str) -> None:
    assert Positions(after=None).after is None
    assert Precision(bits=(8, 4)).bits == (8, 4)
    with pytest.raises(UserError, match=refusal):
        Positions(**knobs)
    with pytest.raises(UserError, match=r"probe\.precision\.bits=1 is not a whole number of at least 2"):
        Precision(bits=(8, 1))
