"""Every yaml of conf/family, built, and a small task of every kind, for the tests that go through them all."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from torch import Tensor

from isoflop.scaling.config.composed import register_resolvers
from isoflop.scaling.cost import example
from isoflop.scaling.families.base import Family
from isoflop.scaling.task import Task

CONF = Path(__file__).parents[1] / "conf/family"
YAMLS = sorted(path.stem for path in CONF.glob("*.yaml"))
TOKENS = Task("tokens", d_in=256, d_out=256, seq_len=32, targets=32)
TASKS = {
    "tokens": TOKENS,
    "sequences": Task("sequences", d_in=5, d_out=4, seq_len=16, targets=8),
    "images": Task("images", d_in=1, d_out=10, seq_len=8, targets=1),
    "vectors": Task("vectors", d_in=20, d_out=3, seq_len=1, targets=1, loss="mse"),
}


@lru_cache(maxsize=64)
def node(name: str) -> dict[str, Any]:
    """The yaml of a family."""
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        cfg = compose("train", [f"family={name}"], return_hydra_config=True)
    knobs: dict[str, Any] = OmegaConf.to_container(cfg.family)  # type: ignore[assignment]
    return {key: value for key, value in knobs.items() if key == "_target_" or not key.startswith("_")}


def class_of(name: str) -> type[Family]:
    """The class that a family's yaml names, or the yaml that it builds on: every worker asks, and need not compose."""
    said: Any = OmegaConf.load(CONF / f"{name}.yaml")
    return get_class(said["_target_"]) if "_target_" in said else class_of(said["defaults"][0])


def family(name: str, **knobs: Any) -> Family:
    """A family as its yaml has it, but for the knobs given."""
    return instantiate(node(name) | knobs)


def batch(task: Task, n: int) -> Tensor:
    """Random inputs of a task."""
    x = example(task, n, "cpu")
    return torch.randint(task.d_in, x.shape) if task.kind == "tokens" else torch.randn(x.shape)


# architectures at any size, and the learners of a theory, which have no layers
FAMILIES = [name for name in YAMLS if not class_of(name).reference]
REFERENCES = [name for name in YAMLS if class_of(name).reference]
# every family with every kind of task that it declares
CASES = [(name, kind) for name in YAMLS for kind in class_of(name).learns]
