"""Every yaml of conf/data: its task, its examples, and what is known of the generated ones."""

import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

from isoflop.errors import UserError
from isoflop.scaling.config.composed import register_resolvers, resolve
from isoflop.scaling.data.base import Data
from isoflop.scaling.data.synthetic.copy import Copy
from isoflop.scaling.data.synthetic.digits import Digits, _glyphs
from isoflop.scaling.data.synthetic.spectral import Spectral

# those that need no files of a user's: the others are tested with files (test_corpora.py, test_hub_and_images.py)
DATA = sorted(
    path.stem
    for path in (Path(__file__).parents[2] / "conf/data").glob("*.yaml")
    if re.search(r"^_target_: isoflop\.scaling\.data\.(synthetic\.|text\.Text$)", path.read_text(), re.MULTILINE)
)
GENERATED = [name for name in DATA if name != "text"]
assert len(GENERATED) >= 10, "the yamls of generated data are found by their _target_"


@lru_cache(maxsize=16)
def node(name: str) -> dict[str, Any]:
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        cfg = compose("train", [f"data={name}"], return_hydra_config=True)
    # what a yaml says of itself, such as which knobs came later, is no knob
    return {str(key): value for key, value in cfg.data.items() if not str(key).startswith("_") or key == "_target_"}


def data(name: str, **knobs: Any) -> Data:
    return instantiate(node(name) | knobs)


@pytest.mark.parametrize("name", DATA)
def test_examples_are_as_the_task_says(name: str) -> None:
    made = data(name, size=6400)
    task, examples = made.task, made.load()
    x, y = examples.take(torch.tensor([5, 0, 3]))
    shape = {
        "tokens": (task.seq_len,),
        "sequences": (task.seq_len, task.d_in),
        "images": (task.d_in, task.seq_len, task.seq_len),
        "vectors": (task.d_in,),
    }[task.kind]
    assert x.shape == (3, *shape)
    assert x.is_floating_point() == (task.kind != "tokens")
    assert examples.n * task.targets == made.unique
    if task.loss == "cross_entropy":
        assert (y >= 0).sum() == 3 * task.targets
        assert y.min() >= -1
        assert y.max() < task.d_out
    else:
        assert y.shape == ((3, task.seq_len, task.d_out) if task.kind == "sequences" else (3, task.d_out))


@pytest.mark.parametrize("name", DATA)
def test_the_held_out_examples_are_fixed_and_others(name: str) -> None:
    small, large = data(name, size=3200).load(), data(name, size=6400).load()
    one, other = small.held_out(64), large.held_out(64)
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0][0][:8], small.take(torch.arange(8))[0])


@pytest.mark.parametrize("name", DATA)
def test_fewer_examples_are_a_prefix_of_more(name: str) -> None:
    small, large = data(name, size=3200).load(), data(name, size=6400).load()
    every = torch.arange(small.n)
    assert all(torch.equal(a, b) for a, b in zip(small.take(every), large.take(every), strict=True))
    assert large.n == 2 * small.n


@pytest.mark.parametrize("name", GENERATED)
def test_what_is_generated_depends_on_the_version_and_not_on_the_global_generators(name: str) -> None:
    def first(version: int, seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return data(name, size=640, version=version).load().take(torch.arange(4))[0]

    assert torch.equal(first(0, 1), first(0, 2))
    assert not torch.equal(first(0, 1), first(1, 1))


def test_what_is_copied_is_what_was_said_before_the_mark() -> None:
    x, y = Copy(size=64, seq_len=8, symbols=3).load().take(torch.arange(2))
    symbols = x.argmax(-1)
    assert (x.sum(-1) == 1).all()
    assert (symbols[:, 4] == 3).all()
    assert torch.equal(y[:, 4:], symbols[:, :4])
    assert torch.equal(symbols[:, 5:], y[:, 4:-1])  # what was to be said is seen at the next position
    assert (y[:, :4] == -1).all()


def test_the_spectral_task_has_its_spectrum_and_its_floor() -> None:
    made = Spectral(size=200_000, features=16, a=1.5, b=1.0, sigma=0.2)
    x, y = (t.double().numpy() for t in made.load().take(torch.arange(200_000)))
    k = np.arange(1, 17)
    np.testing.assert_allclose(x.var(0), k**-1.0, rtol=0.02)
    solution = np.linalg.lstsq(x, y, rcond=None)[0]
    energy = solution[:, 0] ** 2 * k**-1.0
    np.testing.assert_allclose(energy / energy[0], k**-1.5, rtol=0.1)
    assert ((y - x @ solution) ** 2).mean() == pytest.approx(made.task.floor, rel=0.02)
    assert y.var() == pytest.approx(1 + 0.2**2, rel=0.02)


def test_the_ten_digits_are_ten_drawings_and_each_is_drawn_as_often() -> None:
    drawings = _glyphs()
    assert drawings.shape == (10, 1, 7, 5)
    assert len({tuple(d.flatten().tolist()) for d in drawings}) == 10
    _, classes = Digits(size=20_000).load().take(torch.arange(20_000))
    share = classes.bincount(minlength=10) / 20_000
    assert (share - 0.1).abs().max() < 5 * (0.1 * 0.9 / 20_000) ** 0.5


def test_the_nearest_mean_knows_most_digits_and_noise_makes_it_harder() -> None:
    def share_right(noise: float) -> float:
        examples = Digits(size=4000, noise=noise, eval_size=1000).load()
        x, y = examples.take(torch.arange(4000))
        means = torch.stack([x[y == digit].mean(0).flatten() for digit in range(10)])
        held_x, held_y = examples.held_out(1000)[0]
        return float((torch.cdist(held_x.flatten(1), means).argmin(1) == held_y).float().mean())

    clear, noisy = share_right(0.3), share_right(3.0)
    assert 0.4 < clear < 0.95  # neither trivial nor hopeless
    assert noisy < clear - 0.1


@pytest.mark.parametrize(
    ("name", "knobs", "said"),
    [
        ("copy", {"seq_len": 7}, r"data\.seq_len=7 is odd, but half of it is copied; give an even one"),
        ("copy", {"symbols": 1}, r"data\.symbols=1 is not a whole number of at least 2"),
        ("copy", {"symbols": 300}, r"data\.symbols=300 is more than the 256 values of a byte; give fewer"),
        ("copy", {"eval_size": 32}, r"data\.eval_size=32 is not a whole number of at least 64"),
        ("digits", {"eval_size": 1}, r"data\.eval_size=1 is not a whole number of at least 2"),
        ("spectral", {"b": math.inf}, r"data\.b=inf is not a number of at least 0"),
        ("digits", {"side": 4}, r"data\.side=4 is not a whole number of at least 8"),
        ("digits", {"noise": -1}, r"data\.noise=-1 is not a number of at least 0"),
        ("spectral", {"features": 0}, r"data\.features=0 is not a whole number of at least 1"),
        ("spectral", {"sigma": "much"}, r"data\.sigma='much' is not a number of at least 0"),
    ],
)
def test_data_that_cannot_be_is_refused_in_one_sentence(name: str, knobs: dict[str, Any], said: str) -> None:
    from isoflop.scaling.assemble import build

    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        cfg = compose("train", [f"data={name}"], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        config = resolve(cfg)
    with pytest.raises(UserError, match=said):
        build(config, "data", {**config.data, **knobs})
