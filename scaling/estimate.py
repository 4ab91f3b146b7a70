"""What runs would cost before they start: size, compute, memory and time; sweeps/ asks for it in a worker.

describe([config])[0].C              # training FLOPs; or the UserError by which it is refused
time_step(config)                    # {"step_s": 0.004, "rest_s": 0.1}, measured on this machine
"""

import resource
import sys
import tempfile
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from isoflop import record
from isoflop.errors import UserError
from isoflop.scaling import limits
from isoflop.scaling.assemble import Assembled, assemble
from isoflop.scaling.config import choices
from isoflop.scaling.config.frozen import FrozenConfig, freeze
from isoflop.scaling.config.sections import Logger, PlannedMark, RunPlan, Trainer
from isoflop.scaling.cost import TRAINING_OVER_FORWARD, example
from isoflop.scaling.evaluate import loss_per_target
from isoflop.scaling.families.base import Family
from isoflop.scaling.hardware import gpu_memory
from isoflop.scaling.recipe.optimizers import Muon
from isoflop.scaling.recipe.rules import Budget
from isoflop.scaling.task import Task

FLOAT = 4  # bytes of a float32, in which parameters and what belongs to them are kept
# seconds of steps that are measured at least, where MOST steps take so long
MEASURED_S, FEWEST, MOST = 0.4, 4, 2000
FEW_HELD_OUT = 4096  # targets that such a short run is evaluated on; the time of the others is extrapolated


def describe(configs: list[FrozenConfig]) -> list[RunPlan | UserError]:
    """Return what each config would run, or the error that refuses it; costs are counted once."""
    plans: list[RunPlan | UserError] = []
    for config in configs:
        try:
            plans.append(plan(config))
        except UserError as error:
            plans.append(error)
    return plans


def plan(config: FrozenConfig) -> RunPlan:
    """Return what a config would run; raise UserError if it cannot."""
    run = assemble(config)
    return RunPlan(
        N=run.cost.N,
        D=run.marks[-1].D,
        C=run.C_spent,
        steps=run.steps_made,
        step_C=run.step_C,
        lr=run.recipe.lr,
        batch=run.recipe.batch,
        memory=_memory(run, config.trainer),
        marks=tuple(PlannedMark(mark.value, mark.D, mark.C) for mark in run.marks),
        rounded=max(mark.rounded for mark in run.marks),
    )


def bytes_per_target(config: FrozenConfig) -> float | None:
    """Return for how many bytes of text a target of a run stands; None where it is no text."""
    return assemble(config).task.bytes_per_target


def _memory(run: Assembled, trainer: Trainer) -> int:
    """Return an upper bound on the bytes of training: parameters, gradients, moments, trunk, activations."""
    # on a CPU bf16 took what fp32 took: its kernels convert as they go
    ranks, narrow = trainer.devices, run.recipe.precision == "bf16" and _on_gpu(trainer)
    examples = min(trainer.micro_batch or run.recipe.batch, -(-run.recipe.batch // ranks))
    moments = 1 if isinstance(run.recipe, Muon) else 2
    copies = 2 + moments + (1 + moments if run.several else 0) + (0.5 if narrow else 0)  # of autocast
    state = run.cost.n_total * FLOAT * copies
    if trainer.strategy == "fsdp":
        state //= ranks
    return int(state + _activations(run.family, run.task, narrow) * examples + base(trainer))


def available(trainer: Trainer) -> int:
    """Return the memory of the devices that would hold a run [bytes], GPUs or host; 0 if unknown."""
    return gpu_memory() if _on_gpu(trainer) else limits.host_memory()


def _on_gpu(trainer: Trainer) -> bool:
    return trainer.accelerator in ("auto", "gpu") and limits.has_gpu() and sys.platform != "darwin"


def base(trainer: Trainer) -> int:
    """Return what a process holds before it has a model [bytes]; 0 if the GPU's memory counts."""
    return 0 if _on_gpu(trainer) else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@lru_cache(maxsize=1024)
def _activations(family: Family, task: Task, narrow: bool) -> int:
    """Return the bytes that one more example holds as the backward pass begins (saved tensors, outputs, in float32
    their gradient and that of the softmax); narrow: under autocast to bf16."""
    length = task.seq_len
    if family.counted_at and task.kind in ("tokens", "sequences"):
        task = replace(task, seq_len=family.counted_at, targets=family.counted_at)
    # autocast does not know the meta device, and oneDNN's LSTM does not say what it keeps
    device: Any = FakeTensorMode() if narrow else torch.device("meta")
    with device, torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        model = family.build(task)
        parameters = {id(p) for p in model.parameters()}
        examples = [example(task, n, "cpu" if narrow else "meta") for n in (1, 2)]
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            one, two = (_saved(model, x, task, parameters) for x in examples)
    return round(max(0, two - one) * length / task.seq_len)


def _saved(model: torch.nn.Module, x: Tensor, task: Task, parameters: set[int]) -> int:
    """Return the bytes of the tensors that a forward pass and its loss keep for the backward, and of the outputs."""
    storages: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if id(tensor) not in parameters:
            storages[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model(x)
        classes = task.loss == "cross_entropy"
        y = torch.zeros(outputs.shape[:-1], dtype=torch.long) if classes else torch.zeros_like(outputs)
        loss = loss_per_target(task, outputs, y).sum()
    del loss
    saved_bytes = sum(int(t.untyped_storage().nbytes()) for t in storages.values())
    return saved_bytes + int((1 + 2 * FLOAT / outputs.element_size()) * outputs.untyped_storage().nbytes())


def time_step(config: FrozenConfig) -> dict[str, float]:
    """Return the seconds of a step and of everything else in a run, from short runs made here, not compiled."""
    run = assemble(config)
    recipe, step_targets = run.recipe, run.step_targets  # rules are settled: one of D would see that of the short runs
    numbers = {name: getattr(recipe, name) for name in ("lr", "batch", "weight_decay")}
    trainer = replace(config.trainer, compile=False)
    config = replace(config, recipe={**config.recipe, **numbers}, trainer=trainer)
    held_out = config.data.get("eval_size") or 0
    if held_out > FEW_HELD_OUT:  # evaluation is a forward pass, a third of a step
        config = replace(config, data={**config.data, "eval_size": FEW_HELD_OUT})
    evaluations = max(0, held_out - FEW_HELD_OUT) / step_targets / TRAINING_OVER_FORWARD
    _time_run(config, 1, step_targets)  # warms up what is used for the first time
    short, steps = _time_run(config, FEWEST, step_targets), 3 * FEWEST
    longer = _time_run(config, steps, step_targets)
    if longer - short < MEASURED_S:
        step_s = max(longer - short, 1e-3) / (steps - FEWEST)
        steps = min(MOST, FEWEST + round(MEASURED_S / step_s))
        longer = _time_run(config, steps, step_targets)
    step_s = max(longer - short, 1e-6) / (steps - FEWEST)
    return {"step_s": step_s, "rest_s": max(0.0, short - FEWEST * step_s) + evaluations * step_s}


def _time_run(config: FrozenConfig, steps: int, step_targets: int) -> float:
    from isoflop.scaling.run import run_one

    short = replace(config, budget=Budget(D=steps * step_targets), logger=Logger(), code=config.present_code())
    with tempfile.TemporaryDirectory() as folder:
        freeze(short, Path(folder))
        began = time.monotonic()
        (row,) = run_one(Path(folder))
        spent = time.monotonic() - began
    if not record.has_result(row):
        raise RuntimeError(f"a short run to measure speed failed: {row['reason']}")
    return spent


def probe_keys(configs: list[FrozenConfig]) -> dict[str, list[str]]:
    """Return the keys of each probe's scalars; `*`, all, for a probe that does not declare them."""
    names = {name: config for config in configs for name in config.probe}
    classes = {name: get_class(choices.target("probe", name, config.extensions)) for name, config in names.items()}
    return {name: list(getattr(probe, "keys", ("*",))) for name, probe in classes.items()}
