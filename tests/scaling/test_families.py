"""What every yaml of conf/family promises, on every kind of task that it declares."""

import math
from typing import Any

import pytest
import torch
from families import CASES, FAMILIES, TASKS, TOKENS, batch, family
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from isoflop.checks import one_of
from isoflop.errors import UserError
from isoflop.scaling.assemble import _build_choice
from isoflop.scaling.config.choices import allowed, names
from isoflop.scaling.cost import count, parameters_by_role
from isoflop.scaling.data.text import Text
from isoflop.scaling.families.transformer import Transformer
from isoflop.scaling.task import KINDS, Task, check


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
    def body(width: int, depth: int) -> int:
        with torch.device("meta"):
            return parameters_by_role(family(name, width=width, depth=depth).build(TOKENS))["body"]

    small, wide, deep = body(16, 1), body(32, 1), body(16, 2)
    assert wide > 1.8 * small
    assert deep > small


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_first_loss_is_that_of_knowing_nothing(name: str, kind: str) -> None:
    torch.manual_seed(0)
    task = TASKS[kind]
    out = family(name).build(task)(batch(task, 4))
    assert out.shape == ((4, task.seq_len, task.d_out) if kind in ("tokens", "sequences") else (4, task.d_out))
    if task.loss == "mse":
        assert out.abs().max() == 0
    else:
        flat = out.flatten(0, -2)
        first = cross_entropy(flat, torch.randint(task.d_out, flat.shape[:1])).item()
        assert first == pytest.approx(math.log(task.d_out), rel=0.05)


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[1] in ("tokens", "sequences")])
def test_no_output_depends_on_a_later_input(name: str, kind: str) -> None:
    torch.manual_seed(0)
    task = TASKS[kind]
    model = family(name).build(task)
    nn.init.normal_(model.readout.weight)  # started at zero, it would hide a leak
    x, cut = batch(task, 2), task.seq_len * 5 // 8
    changed = x.clone()
    changed[:, cut:] = batch(task, 2)[:, cut:]
    before, after = model(x), model(changed)
    assert (before[:, :cut] - after[:, :cut]).abs().max() < 1e-5
    assert (before[:, cut:] - after[:, cut:]).abs().max() > 1e-2


@pytest.mark.parametrize("name", FAMILIES)
def test_no_example_depends_on_another(name: str) -> None:
    torch.manual_seed(0)
    model = family(name).build(TOKENS)
    nn.init.normal_(model.readout.weight)
    x = batch(TOKENS, 3)
    assert (model(x)[1] - model(x[1:2])[0]).abs().max() < 1e-4


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_gradients_agree_with_finite_differences(name: str, kind: str) -> None:
    """For every parameter, along a random direction, in float64; so every parameter has a gradient."""
    torch.manual_seed(0)
    task = TASKS[kind]
    model = family(name, width=16, depth=2).build(task).double()
    nn.init.normal_(model.readout.weight)
    x = batch(task, 2)
    x = x if kind == "tokens" else x.double()
    weigh = torch.randn(model(x).shape, dtype=torch.float64)

    def loss() -> Tensor:
        return (model(x) * weigh).sum() + model.auxiliary()

    loss().backward()
    step = 1e-6
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        direction = torch.randn_like(parameter)
        slope = (parameter.grad * direction).sum().item()
        with torch.no_grad():
            parameter += step * direction
            ahead = loss().item()
            parameter -= 2 * step * direction
            behind = loss().item()
            parameter += step * direction
        assert slope != 0, parameter_name
        assert (ahead - behind) / (2 * step) == pytest.approx(slope, rel=1e-5, abs=1e-6), parameter_name


@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_falls_within_thirty_steps(name: str) -> None:
    torch.manual_seed(0)
    examples = Text(size=16 * 30 * 32, seq_len=32).load()
    made = family(name)
    model = made.build(TOKENS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=made.lr, betas=(0.9, 0.95))
    losses = []
    for step in range(30):
        x, y = examples.take(torch.arange(16 * step, 16 * step + 16))
        loss = cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        (loss + model.auxiliary()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < losses[0] - 1


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_is_not_declared_is_refused_in_one_sentence(name: str, kind: str) -> None:
    learns = family(name).learns
    if kind in learns:
        check(name, learns, "some", TASKS[kind])
    else:
        said = rf"^{name} learns [a-z, ]+, but data=some asks for {kind}; choose another family= or data=$"
        with pytest.raises(UserError, match=said):
            check(name, learns, "some", TASKS[kind])


def test_the_sentence_is_that_of_the_docs() -> None:
    sentence = "lstm learns tokens and sequences, but data=digits asks for images; choose another family= or data="
    with pytest.raises(UserError, match=f"^{sentence}$"):
        check("lstm", family("lstm").learns, "digits", TASKS["images"])


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dial", ["width", "depth"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "wide"])
def test_a_dial_that_is_no_size_is_refused(name: str, dial: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"^family\.{dial}={value!r} is not a whole number of at least 1$"):
        refused(name, **{dial: value})


@pytest.mark.parametrize(
    ("name", "knobs", "said"),
    [
        ("transformer", {"width": 40}, r"family\.width=40 is not a multiple of family\.head_dim=16; give 16, 32, 48"),
        ("transformer", {"width": 48, "heads_per_kv": 2}, r"family\.width=48 is not a multiple of .*=32; give 32, 64"),
        ("transformer", {"head_dim": 1, "width": 3}, r"family\.head_dim=1 is odd, but rotary positions turn pairs"),
        ("transformer", {"positions": "rope"}, r"family\.positions='rope' is not one of rotary, sinusoidal, learned"),
        ("moe", {"experts": 2, "top_k": 3}, r"family\.experts=2 is fewer than family\.top_k=3; give at least as many"),
        ("moe", {"capacity": 0}, r"family\.capacity=0 is not a number above 0; give 1\.25, or null"),
        ("moe", {"capacity": math.inf}, r"family\.capacity=inf is not a number above 0; give 1\.25, or null"),
        ("moe", {"balance": math.inf}, r"family\.balance=inf is not a number of at least 0"),
        ("transformer", {"causal": 0}, r"family\.causal=0 is not one of null, true, false"),
        ("lstm", {"cell": "gruu"}, r"family\.cell='gruu' is not one of lstm, gru, tanh, mingru"),
        ("ssm", {"width": 24}, r"family\.width=24 is not a multiple of family\.head_dim/expansion=16; give 16, 32"),
        ("hybrid", {"attention_every": 0}, r"family\.attention_every=0 is not a whole number of at least 1"),
        ("resnet", {"residual": "maybe"}, r"family\.residual='maybe' is not one of true, false"),
    ],
)
def test_a_knob_that_cannot_be_is_refused_in_one_sentence(name: str, knobs: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        refused(name, **knobs)


@pytest.mark.parametrize(
    ("name", "knobs", "task", "said"),
    [
        (
            "transformer",
            {"positions": "learned", "context": 16},
            TOKENS,
            r"32 positions, but family\.context=16 are",
        ),
        ("transformer", {"causal": False}, TOKENS, r"family\.causal=false would see the tokens that it is to predict"),
        ("vit", {"patch": 3}, TASKS["images"], r"family\.patch=3 does not divide the 8 pixels of an image's side"),
        ("cnn", {"patch": 3}, TASKS["images"], r"family\.patch=3 does not divide the 8 pixels of an image's side"),
        ("cnn", {"kernel": 2}, TASKS["images"], r"family\.kernel=2 has no middle pixel; give an odd one"),
    ],
)
def test_a_task_that_the_knobs_cannot_do_is_refused(name: str, knobs: dict[str, Any], task: Task, said: str) -> None:
    with pytest.raises(UserError, match=said):
        family(name, **knobs).refuse(task)


LISTED = [(group, name, knob) for group in ("family", "data") for name in names(group) for knob in allowed(group, name)]


@pytest.mark.parametrize(("group", "name", "knob"), LISTED)
def test_the_values_that_a_yaml_lists_are_those_that_its_class_allows(group: str, name: str, knob: str) -> None:
    with pytest.raises(UserError) as by_yaml:
        one_of(f"{group}.{knob}", "foo", allowed(group, name)[knob])
    with pytest.raises(UserError) as by_class:
        _build_choice(group, name, {knob: "foo"})
    assert str(by_class.value) == str(by_yaml.value)


def refused(name: str, **knobs: Any) -> None:
    """Build a family of its yaml's knobs, but for these."""
    _build_choice("family", name, knobs)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_refuses_nothing_as_its_yaml_has_it(name: str) -> None:
    for kind in family(name).learns:
        family(name).refuse(TASKS[kind])
        assert count(family(name), TASKS[kind]).flops_per_target > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_arithmetic_in_bf16_is_near_that_in_fp32(name: str) -> None:
    torch.manual_seed(0)
    model = family(name, **({"qk_norm": True} if name == "transformer" else {})).build(TOKENS)
    nn.init.normal_(model.readout.weight)
    x = batch(TOKENS, 2)
    exact = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(x)
        auxiliary = model.auxiliary()
    (rough.float().sum() + auxiliary).backward()
    assert (rough - exact).norm() < 0.02 * exact.norm()  # bf16 keeps 8 bits: 0.4 % a number


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_learned_positions_start_at_their_scale(scale: float) -> None:
    torch.manual_seed(0)
    model = family("transformer", positions="learned", positions_scale=scale).build(TOKENS)
    (table,) = (p for name, p in model.named_parameters() if "table" in name)
    assert table.std().item() == pytest.approx(0.02 * scale, rel=0.1)


def test_a_scale_of_positions_that_are_not_learned_is_refused() -> None:
    said = r"^family\.positions_scale=10 is the size of learned positions .* give family\.positions=learned"
    with pytest.raises(UserError, match=said):
        Transformer(width=32, depth=1, lr=0.01, positions="rotary", positions_scale=10)
