"""The weights of each mark, kept where `trainer.keep=marks` asks for them, so that a further probe only measures.

write(folder, D, whole(model), code)
rows = measure_again(config, folder, assemble(config), values)        # None: the run has to be made again

What was kept counts only where it still gives the loss of the record: a model whose code has changed since does not,
and is trained again.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from isoflop import record
from isoflop.folder import RunFolder
from isoflop.scaling.config import resume
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.config.provenance import Code
from isoflop.scaling.data.base import Examples
from isoflop.scaling.evaluate import evaluate
from isoflop.scaling.hardware import device_name
from isoflop.scaling.loop import saved_state
from isoflop.scaling.loop.saved_state import full
from isoflop.scaling.subject import Subject, measure

if TYPE_CHECKING:
    from isoflop.scaling.assemble import Assembled, Mark

# two evaluations of the same weights differ by the order of sums in float32, whose rounding is 6e-8 each
SAME_LOSS = 1e-5
# on another device products differ too: of bf16 by 2^-8 each, of TF32, which cuDNN may take, by 2^-11
ELSEWHERE = {"fp32": 1e-4, "bf16": 5e-3}


def write(folder: RunFolder, D: int, weights: Mapping[str, Any], code: Code) -> None:
    """Keep the weights of the mark at D, a state_dict of whole tensors."""
    saved_state.write(folder.weights(D), {"code": code.to_json(), "weights": dict(weights)})


def whole(model: nn.Module) -> dict[str, Any]:
    """Return the model's weights, gathered from the ranks; all of them take part."""
    return {name: full(tensor) for name, tensor in model.state_dict().items()}


def measure_again(
    config: FrozenConfig, folder: RunFolder, run: "Assembled", values: Iterable[float]
) -> list[record.Row] | None:
    """Measure missing probes of finished marks, at these values of the budget, and return their rows.

    None where a mark is not finished, or its weights were not kept or do not give the loss of its row.
    """
    rows = {row.get(f"budget.{config.budget.name}"): row for row in resume.reusable(folder.path, config)}
    marks = [mark for mark in run.marks if mark.value in values]
    finished = [(mark, rows[mark.value]) for mark in marks if mark.value in rows and folder.weights(mark.D).exists()]
    if not run.probes or len(finished) < len(marks) or any(row["status"] != record.RunStatus.OK for _, row in finished):
        return None
    examples = run.data.load().to(_device_of(config))
    measured, points = [], []
    for mark, row in finished:
        subject = _subject_of(config, folder, run, mark, examples, row)
        if subject is None:
            return None
        lacking = {name: probe for name, probe in run.probes.items() if f"probe.{name}.version" not in row}
        columns, profiles = measure(lacking, subject)
        measured.append(record.row(**row | columns))
        points += [(mark.D, name, *astuple(point)) for name, point in profiles]
    if points:
        folder.write_probes(points)
    return measured


def _device_of(config: FrozenConfig) -> torch.device:
    return torch.device("cuda" if config.trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def _subject_of(
    config: FrozenConfig, folder: RunFolder, run: "Assembled", mark: "Mark", examples: Examples, row: record.Row
) -> Subject | None:
    """Return what a probe sees of a mark, from its weights; None, with a line in the log, if the row's loss differs."""
    torch.manual_seed(config.seed)
    device = _device_of(config)
    model = run.rebuild(run.task).to(device)
    try:
        model.load_state_dict(saved_state.read(folder.weights(mark.D))["weights"])
    except (saved_state.DamagedError, OSError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        problem = " ".join(str(error).split())
        folder.append_log(f"{folder.weights(mark.D).name} {problem}: the run is made again\n")
        return None
    now = evaluate(model, run.task, examples, run.recipe.precision)["L"]
    L, here = float(row["L"]), device_name(device)
    elsewhere = here != row["device"]
    if elsewhere:
        folder.append_log(f"{folder.weights(mark.D).name}: trained on {row['device']}, measured on {here}\n")
    if not math.isclose(now, L, rel_tol=ELSEWHERE[run.recipe.precision] if elsewhere else SAME_LOSS):
        losses = f"gives a loss of {now:.6g} and not {L:.6g}"
        folder.append_log(f"{folder.weights(mark.D).name} {losses}: the run is made again\n")
        return None
    return Subject(model, run.task, examples, run.recipe.precision, config.seed, run.data, run.rebuild)
