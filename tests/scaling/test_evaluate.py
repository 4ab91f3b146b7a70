"""Evaluation: a pure function of the model and the examples, that leaves the model as it was."""

import torch
from families import TASKS, family

from isoflop.scaling.data.base import Table
from isoflop.scaling.loop.evaluate import evaluate


def test_evaluation_changes_nothing_and_gives_the_same_twice() -> None:
    task = TASKS["vectors"]
    torch.manual_seed(0)
    x, y = torch.randn(130, task.d_in), torch.randn(130, task.d_out)
    examples = Table(x, y, x, y)
    model = family("mlp", width=8).build(task)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    first, second = (evaluate(model, task, examples, "fp32") for _ in range(2))
    assert first == second
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    model.eval()
    evaluate(model, task, examples, "fp32")
    assert not model.training


def test_the_loss_of_evaluation_is_the_mean_over_all_targets() -> None:
    task = TASKS["vectors"]
    y = torch.arange(390.0).view(130, 3) / 100
    x = torch.zeros(130, task.d_in)
    result = evaluate(family("mlp", width=8).build(task), task, Table(x, y, x, y), "fp32")
    # the readout starts at zero, and the batches of 64 are not alike
    assert abs(result["L"] - float((y**2).mean())) < 1e-5
