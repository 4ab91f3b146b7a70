"""What every yaml of conf/family promises: roles, first loss, causality, counted FLOPs, and that it learns."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from torch.utils.flop_counter import FlopCounterMode

from scaling import config
from scaling.cost import count, example, forward_flops, parameters_by_role
from scaling.errors import UserError
from scaling.families.base import Family
from scaling.task import Task, check

FAMILIES = sorted(path.stem for path in (Path(__file__).parents[1] / "conf/family").glob("*.yaml"))
TOKENS = Task("tokens", d_in=256, d_out=256, seq_len=32, targets=32)
VECTORS = Task("vectors", d_in=20, d_out=3, seq_len=1, targets=1, loss="mse")
IMAGES = Task("images", d_in=1, d_out=10, seq_len=8, targets=1)


def family(name: str, **dials: Any) -> Family:
    config.register_resolvers()
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose(
            "train", [f"family={name}", *(f"family.{k}={v}" for k, v in dials.items())], return_hydra_config=True
        )
    return instantiate(cfg.family)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("width", "depth"), [(16, 1), (32, 3)])
def test_parameters_by_role_sum_to_the_total(name: str, width: int, depth: int) -> None:
    model = family(name, width=width, depth=depth).build(TOKENS)
    roles = parameters_by_role(model)
    assert sum(roles.values()) == sum(p.numel() for p in model.parameters())
    assert roles["readout"] == width * TOKENS.d_out
    assert roles["body"] > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_both_dials_grow_the_body(name: str) -> None:
    small, wide, deep = (count(family(name, width=w, depth=d), TOKENS).n_body for w, d in [(16, 1), (32, 1), (16, 2)])
    assert wide > 1.8 * small
    assert deep > small


@pytest.mark.parametrize("name", FAMILIES)
def test_the_first_loss_is_that_of_knowing_nothing(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randint(256, (4, 32))
    logits = family(name).build(TOKENS)(x)
    assert logits.shape == (4, 32, 256)
    assert torch.nn.functional.cross_entropy(logits.flatten(0, 1), x.flatten()).item() == pytest.approx(
        math.log(256), rel=0.05
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_no_output_depends_on_a_later_token(name: str) -> None:
    torch.manual_seed(0)
    model = family(name).build(TOKENS)
    torch.nn.init.normal_(model.readout.weight)  # started at zero, it would hide a leak
    x = torch.randint(256, (2, 32))
    changed = x.clone()
    changed[:, 20:] = (x[:, 20:] + 1) % 256
    before, after = model(x), model(changed)
    assert (before[:, :20] - after[:, :20]).abs().max() < 1e-5
    assert (before[:, 20:] - after[:, 20:]).abs().max() > 1e-2


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = family(name, depth=2).build(TOKENS)
    torch.nn.init.normal_(model.readout.weight)
    model(torch.randint(256, (2, 32))).square().sum().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


@pytest.mark.parametrize("name", FAMILIES)
def test_flops_per_target_do_not_depend_on_where_they_were_counted(name: str) -> None:
    made = family(name)
    at_length = forward_flops(made, TOKENS) / TOKENS.targets * 3
    assert count(made, TOKENS).flops_per_target == pytest.approx(at_length, rel=1e-9)


@pytest.mark.parametrize("name", ["mlp"])
def test_training_is_three_forwards_where_the_counter_is_right(name: str) -> None:
    made = family(name)
    model = made.build(TOKENS)
    with FlopCounterMode(display=False) as counter:
        model(example(TOKENS, 1, "cpu").zero_()).sum().backward()
    # the counter leaves out the gradient of the first map's input where nothing asks for it; here the table does
    assert counter.get_total_flops() / TOKENS.targets == pytest.approx(count(made, TOKENS).flops_per_target, rel=0.02)


def test_the_transformers_flops_are_kaplans_count() -> None:
    made = family("transformer", width=64, depth=3)
    cost, T = count(made, TOKENS), TOKENS.seq_len
    multiplied = cost.N - (2 * 3 + 1) * 64  # the norms' gains do not multiply in matrix products
    # forward per token: two per parameter, 4 T width per layer for full attention (science.md, section 3)
    assert cost.flops_per_target == pytest.approx(3 * (2 * multiplied + 4 * 3 * T * 64), rel=1e-9)
    assert cost.attention_per_target == pytest.approx(3 * 4 * 3 * T * 64, rel=1e-9)


def test_the_lstms_flops_are_two_per_weight() -> None:
    cost = count(family("lstm", width=64, depth=2), TOKENS)
    weights = 2 * (8 * 64 * 64) + 64 * 256
    assert cost.flops_per_target == pytest.approx(3 * 2 * weights, rel=1e-9)
    assert cost.attention_per_target == 0


@pytest.mark.parametrize("task", [VECTORS, IMAGES], ids=["vectors", "images"])
def test_the_mlp_learns_what_it_declares(task: Task) -> None:
    made = family("mlp")
    out = made.build(task)(example(task, 5, "cpu").zero_())
    assert out.shape == (5, task.d_out)
    assert count(made, task).flops_per_target > 0


def test_a_task_that_is_not_declared_is_refused_in_one_sentence() -> None:
    sentence = (
        "mlp learns vectors, images and tokens, but data=copy asks for sequences; choose another family= or data="
    )
    with pytest.raises(UserError, match=f"^{sentence}$"):
        check("mlp", family("mlp").learns, "copy", Task("sequences", 8, 8, 16, 16))


@pytest.mark.parametrize(
    ("name", "dials", "said"),
    [
        ("transformer", {"width": 40}, r"family\.width=40 is not a multiple of family\.head_dim=16; give 16, 32, 48"),
        ("transformer", {"depth": 0}, r"family\.depth=0 is not a whole number of at least 1"),
        ("mlp", {"width": "wide"}, r"family\.width='wide' is not a whole number"),
        ("lstm", {"cell": "gruu"}, r"family\.cell='gruu' is not one of lstm, gru, tanh"),
    ],
)
def test_a_size_that_cannot_be_is_refused_in_one_sentence(name: str, dials: dict[str, Any], said: str) -> None:
    from scaling.assemble import build

    base = {
        "_target_": {"transformer": "scaling.families.transformer.Transformer", "mlp": "scaling.families.mlp.Mlp"}.get(
            name, "scaling.families.recurrent.Recurrent"
        )
    }
    with pytest.raises(UserError, match=said):
        build("family", base | {"width": 32, "depth": 2, "lr": 0.01} | dials)
