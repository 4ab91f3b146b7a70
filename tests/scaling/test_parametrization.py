"""muP and CompleteP: what a step does to the activations does not depend on width or depth; standard's does."""

import pytest
import torch
from families import FAMILIES, family
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.coordinates import BY_DEPTH, BY_WIDTH, DEPTHS, TASK, WIDTHS, change, slope
from isoflop.scaling.families.layers.basic import Block
from isoflop.scaling.recipe.optimizers import AdamW, Muon, UnclassifiedError, _fan_in, parametrize, standard

# the largest sizes take most of the time: at night
BOTH_WIDTHS = pytest.mark.parametrize("widths", [WIDTHS[:-1], pytest.param(WIDTHS, marks=pytest.mark.nightly)])
BOTH_DEPTHS = pytest.mark.parametrize("depths", [[2, 8, 16], pytest.param(DEPTHS, marks=pytest.mark.nightly)])


@pytest.mark.sample(5)
@BOTH_WIDTHS
@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_changes_activations_alike_at_every_width(name: str, widths: list[int]) -> None:
    changes = [change(family(name, width=width, depth=2), "mup", **BY_WIDTH) for width in widths]
    for key in changes[0]:
        # the gate of the coordinate check, between muP's -.09 … +.01 and the +.54 … +.86 of standard's logits
        assert abs(slope(widths, [c[key] for c in changes])) <= 0.15, (key, changes)


def test_muon_needs_no_multiplier_in_width() -> None:
    widths = [64, 128, 256]  # torch's Muon multiplies in bf16, which at 512 takes minutes on a CPU without it
    changes = [change(family("mlp", width=width, depth=2), "mup", Muon, **BY_WIDTH) for width in widths]
    for key in changes[0]:
        assert abs(slope(widths, [c[key] for c in changes])) <= 0.15, (key, changes)


@pytest.mark.sample(3)
@BOTH_WIDTHS
@pytest.mark.parametrize("name", FAMILIES)
def test_the_check_sees_that_standard_parametrization_does_not(name: str, widths: list[int]) -> None:
    changes = [change(family(name, width=width, depth=2), "standard", **BY_WIDTH)["logits"] for width in widths]
    assert slope(widths, changes) > 0.5


@pytest.mark.sample(5)
@BOTH_DEPTHS
@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_changes_activations_alike_at_every_depth(name: str, depths: list[int]) -> None:
    changes = [change(family(name, width=32, depth=depth), "mup", **BY_DEPTH) for depth in depths]
    for key in changes[0]:
        assert abs(slope(depths, [c[key] for c in changes])) <= 0.15, (key, changes)


def test_the_check_sees_that_standard_parametrization_does_not_in_depth() -> None:
    changes = [change(family("lstm", width=32, depth=depth), "standard", **BY_DEPTH)["stream"] for depth in DEPTHS]
    assert slope(DEPTHS, changes) > 0.15


def sentences(steps: int) -> Tensor:
    """(steps, 16, 17) symbols of a Markov chain over 64."""
    generator = torch.Generator().manual_seed(1)
    chain = torch.randn(64, 64, generator=generator).mul(2).softmax(-1)
    found = torch.randint(64, (steps * 16, 1), generator=generator)
    for _ in range(16):
        follow = torch.multinomial(chain[found[:, -1]], 1, generator=generator)
        found = torch.cat((found, follow), dim=1)
    return found.view(steps, 16, 17)


def best_rate(name: str, width: int, parametrization: str, log2_rates: range, steps: int = 50) -> int:
    """log2 of the rate with the lowest training loss over the last fifth of a short run, by factors of two."""
    losses = {}
    for k in log2_rates:
        made = family(name, width=width, depth=2)
        recipe = AdamW(lr=2.0**k, parametrization=parametrization, base_width=16, weight_decay=0.0)
        torch.manual_seed(0)
        model = made.build(TASK)
        optimizer = recipe.optimizer(model, recipe.multipliers(model, made, TASK))
        seen = []
        for step, x in enumerate(sentences(steps)):
            loss = cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step, steps) * group["scale"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        losses[k] = sum(seen[-steps // 5 :])
    return min(losses, key=losses.__getitem__)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["transformer", "mlp"])
def test_the_best_rate_transfers_in_width_and_under_standard_parametrization_it_moves(name: str) -> None:
    at_base = best_rate(name, 16, "mup", range(-7, -1))
    assert -7 < at_base < -2  # not on the edge of the grid
    around = range(at_base - 2, at_base + 3)
    assert abs(best_rate(name, 128, "mup", around) - at_base) <= 1
    assert best_rate(name, 128, "standard", range(at_base - 4, at_base + 1)) <= at_base - 2


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_is_classified_and_grouped_by_name(name: str) -> None:
    made = family(name, width=64, depth=2)
    model, recipe = made.build(TASK), AdamW(lr=0.01)
    scales = recipe.multipliers(model, made, TASK)
    assert scales.keys() == dict(model.named_parameters()).keys()
    groups = recipe.optimizer(model, scales).param_groups
    assert sum(len(group["params"]) for group in groups) == len(scales)
    assert all(group["name"] for group in groups)
    assert scales["readout.weight"].lr == 0.5  # twice the base width, and the readout sums over it
    assert scales["readout.weight"].weight_decay == 2.0
    assert {s.lr for s in scales.values()} == {1.0, 0.5}


@pytest.mark.parametrize("name", FAMILIES)
def test_at_the_base_size_muP_is_standard(name: str) -> None:
    made = family(name, width=32, depth=2)
    model = made.build(TASK)
    assert parametrize(model, made, TASK, base_width=32, base_depth=2) == standard(model)
    assert all(block.scale == 1.0 for block in model.modules() if isinstance(block, Block))


def test_branches_shrink_as_depth_grows() -> None:
    made = family("transformer", width=32, depth=8)
    model = made.build(TASK)
    scales = parametrize(model, made, TASK, base_width=32, base_depth=2)
    assert {block.scale for block in model.modules() if isinstance(block, Block)} == {0.25}
    assert {scales[n].eps for n in scales if n.startswith("body.0")} == {0.25}
    assert scales["readout.weight"].eps == 1.0


def test_a_parameter_that_does_not_say_how_it_scales_is_an_error() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(4, 8))

    odd = Odd()
    with pytest.raises(UnclassifiedError, match=r"of table in Odd .* set parameter\.fan_in_axes"):
        _fan_in("table", odd.table, odd)
    odd.table.fan_in_axes = ()  # type: ignore[attr-defined]
    assert _fan_in("table", odd.table, odd) == ()
