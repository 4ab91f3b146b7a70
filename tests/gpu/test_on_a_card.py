"""What only a GPU can judge; skipped where torch sees none. Not yet seen to run on one."""

from pathlib import Path

import pytest
import torch
from conftest import TINY
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from isoflop import record
from isoflop.scaling.config.composed import register_resolvers, resolve
from isoflop.scaling.config.frozen import freeze
from isoflop.scaling.run import run_one

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
FAMILIES = ["transformer", "ssm", "hybrid", "s4d", "mingru", "gru", "lstm", "tanh_rnn", "moe", "cnn", "mlp"]


def trained(folder: Path, *overrides: str) -> record.Row:
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        arguments = [*TINY, "budget.D=2e4", "trainer.deterministic=true", "probe=[gradients]", *overrides]
        cfg = compose("train", arguments, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        freeze(resolve(cfg), folder)
    return run_one(folder)[-1]


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_by_a_graph_are_captured_and_give_the_bits_of_steps_without(tmp_path: Path, family: str) -> None:
    plain = trained(tmp_path / "plain", f"family={family}", "trainer.accelerator=gpu")
    graphed = trained(tmp_path / "graph", f"family={family}", "trainer.accelerator=gpu", "trainer.graph=true")
    assert graphed["graph"] == "yes"
    assert (plain["status"], plain["tf32"], plain["deterministic"]) == ("ok", False, True)
    assert graphed["L"] == plain["L"]
    assert not [key for key, value in plain.items() if key.endswith(".reason") and value]
