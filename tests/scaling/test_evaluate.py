"""Evaluation: a pure function of the model and the examples, that leaves the model as it was."""

import pytest
import torch
from families import TASKS, family

from isoflop.scaling.data import tokens
from isoflop.scaling.data.base import InMemory
from isoflop.scaling.evaluate import evaluate


def test_evaluation_changes_nothing_and_gives_the_same_twice() -> None:
    task = TASKS["vectors"]
    torch.manual_seed(0)
    x, y = torch.randn(130, task.d_in), torch.randn(130, task.d_out)
    examples = InMemory(x, y, x, y)
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
    result = evaluate(family("mlp", width=8).build(task), task, InMemory(x, y, x, y), "fp32")
    # the readout starts at zero, and the batches of 64 are not alike
    assert abs(result["L"] - float((y**2).mean())) < 1e-5


@pytest.mark.parametrize("name", ["recall", "tracking"])
def test_the_accuracy_of_tokens_with_answers_is_of_the_positions_that_bear_a_loss(name: str) -> None:
    data = tokens.build(name, size=512, eval_size=256)
    task, examples = data.task, data.load()
    answers = torch.cat([y for _, y in examples.held_out(64)])
    model = family("table", width=min(8, task.d_in)).build(task)
    results = evaluate(model, task, examples, "fp32")
    # the readout starts at zero: its likeliest class is the first
    right, asked = (answers == 0).sum(), (answers >= 0).sum()
    assert results["metric.accuracy"] == pytest.approx(float(right / asked))
    assert results["metric.accuracy_se"] >= 0


@pytest.mark.parametrize("name", ["markov", "hmm"])
def test_tokens_without_answers_have_no_accuracy(name: str) -> None:
    data = tokens.build(name, size=512, eval_size=256)
    model = family("table", width=4).build(data.task)
    assert "metric.accuracy" not in evaluate(model, data.task, data.load(), "fp32")
