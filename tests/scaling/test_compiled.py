"""trainer.compile: the passes of a batch compiled; the run and its losses stay what they were.

The compiler of these tests is torch's tracer without code of its own, so that none takes a minute.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from torch import Tensor
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from isoflop.scaling.config.composed import register_resolvers, resolve
from isoflop.scaling.config.frozen import FrozenConfig, freeze
from isoflop.scaling.loop import compiled
from isoflop.scaling.loop.checkpoints import Checkpoints
from isoflop.scaling.loop.compiled import Compiler
from isoflop.scaling.run import run_one

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*", "ignore:.*ckpt_path.*"
)


def config(*overrides: str) -> FrozenConfig:
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        arguments = ["family.width=16", "family.depth=1", "budget.D=[1280,2560]", *TINY, *overrides]
        cfg = compose("train", arguments, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return resolve(cfg)


def trained(folder: Path, *overrides: str) -> list[dict[str, Any]]:
    freeze(config(*overrides), folder)
    return run_one(folder)


def losses(rows: list[dict[str, Any]]) -> list[float]:
    return [row[name] for row in rows for name in ("L", "L_train")]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(compiled.CACHE, default_cache_dir())  # as torch does when it is imported
    monkeypatch.setattr(compiled, "BACKEND", "eager")


def test_a_compiled_run_has_the_losses_and_the_name_of_one_that_is_not(tmp_path: Path) -> None:
    chosen = ["family=moe", "trainer.micro_batch=3"]  # batches of two sizes
    assert config(*chosen, "trainer.compile=true").run_id == config(*chosen).run_id
    plain, fast = trained(tmp_path / "plain", *chosen), trained(tmp_path / "fast", *chosen, "trainer.compile=true")
    assert losses(fast) == pytest.approx(losses(plain), rel=1e-5)
    assert [row["compile_s"] for row in plain] == [None, None]
    assert all(row["compile_s"] > 0 for row in fast)


def test_compiled_code_lies_in_the_cache_of_the_user_or_where_the_user_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path / "one", "family=mlp", "trainer.compile=true")
    assert os.environ[compiled.CACHE] == str(tmp_path / "cache/isoflop/compiled/code")
    monkeypatch.setenv(compiled.CACHE, str(tmp_path / "mine"))
    trained(tmp_path / "two", "family=mlp", "trainer.compile=true")
    assert os.environ[compiled.CACHE] == str(tmp_path / "mine")


def test_where_nothing_can_be_compiled_a_line_says_so_and_the_bits_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = trained(tmp_path / "plain", "family=mlp")

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("\nno C++ compiler\nmore")

    monkeypatch.setattr(torch, "compile", refuse)
    asked = trained(tmp_path / "asked", "family=mlp", "trainer.compile=true")
    assert losses(asked) == losses(plain)
    assert asked[0]["compile_s"] is None
    assert capsys.readouterr().err.count("trainer.compile=true: no C++ compiler; the model is trained as it is") == 1


def test_a_run_that_began_compiled_goes_on_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ["family=mlp", "trainer.compile=auto", "trainer.checkpoint_every_s=0"]
    monkeypatch.setattr("isoflop.scaling.loop.spec.CHUNK_S", 0.0)
    monkeypatch.setattr(Compiler, "is_worth", lambda *_: True)
    whole = trained(tmp_path / "whole", *chosen)
    point = Checkpoints.on_train_batch_end

    def interrupted(self: Checkpoints, trainer: Any, module: Any, *rest: Any) -> None:
        point(self, trainer, module, *rest)
        if module.made == 10:
            raise RuntimeError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_end", interrupted)
        trained(tmp_path / "cut", *chosen)
    monkeypatch.setattr(Compiler, "is_worth", lambda *_: False)  # there are few steps left
    resumed = run_one(tmp_path / "cut")
    assert losses(resumed) == losses(whole)
    assert resumed[0]["compile_s"] > 0


def objective(x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    return (x * PARAMETER - y).square().sum(), 0.0


PARAMETER = torch.ones(1, requires_grad=True)


@pytest.mark.parametrize(
    ("shape", "passes", "is_worth"),
    [("new", 599, False), ("new", 601, True), ("known", 199, False), ("known", 201, True), ("unseen", 401, True)],
)
def test_auto_compiles_where_more_time_is_saved_than_compiling_takes(shape: str, passes: int, is_worth: bool) -> None:
    kind = "new" if shape == "new" else "ssm"
    Compiler("auto", "ssm", "other").remember(saves=0.5, takes_s=200.0)
    Compiler("auto", "ssm", "known").remember(saves=0.5, takes_s=200.0)
    Compiler("auto", "ssm", "known").remember(saves=0.5, takes_s=100.0)  # from the cache
    # 1 s a pass: 0.2 of it against 120 s; 0.5 against 100 s of this shape, or 200 s of another
    assert Compiler("auto", kind, shape).is_worth(1.0, passes) == is_worth


def test_what_compiling_saved_on_one_device_says_nothing_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.ones(2, 3), torch.ones(3, requires_grad=True)
    monkeypatch.setattr("isoflop.scaling.loop.compiled.compile_for", lambda objective, *_: objective)
    keys = []
    for name in ("a CPU", "a card"):
        monkeypatch.setattr("isoflop.scaling.loop.compiled.device_name", lambda device, name=name: name)
        compiler = Compiler(True, "kind", "shape")
        compiler.compile(lambda x, y: ((x * weight).sum(), 0.0), [weight], [(x, x)], 1)
        keys.append((compiler.kind, compiler.shape))
    assert keys == [("kind a CPU", "shape a CPU"), ("kind a card", "shape a card")]


def test_auto_leaves_a_short_run_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    compiler = Compiler("auto", "ssm", "small")
    batches = [(torch.ones(2), torch.ones(2))]
    assert compiler.compile(objective, [PARAMETER], batches, passes=3) is None
    assert compiler.compile_s is None
    assert capsys.readouterr().err == ""
