"""Cost of families: a table at equal N and equal C, and step times on this machine.

python benchmarks/families.py table             writes the counted tables into docs/reference/families.md; no timing
python benchmarks/families.py time              step time at N of about 1e5, against the Transformer of equal C
python benchmarks/families.py length            step time over seq_len 256 ... 4096 at a constant number of tokens
python benchmarks/families.py depth             plain against residual CNN, 20 and 56 layers deep, training loss
"""

import math
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from isoflop.scaling.config.composed import register_resolvers
from isoflop.scaling.cost import TRAINING_OVER_FORWARD, count, forward_flops, parameters_by_role
from isoflop.scaling.data.base import order
from isoflop.scaling.data.synthetic.digits import Digits
from isoflop.scaling.families.base import Family
from isoflop.scaling.recipe.optimizers import AdamW
from isoflop.scaling.task import Task

DOC = Path(__file__).parents[1] / "docs/reference/families.md"
BEGIN, END = "<!-- counted by benchmarks/families.py: begin -->", "<!-- end -->"
TASK = Task("tokens", d_in=256, d_out=256, seq_len=128, targets=128)
EQUAL_N = 1e5


@lru_cache(maxsize=64)
def node(name: str) -> dict[str, Any]:
    """Return the yaml of a family."""
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        cfg = compose("train", [f"family={name}"], return_hydra_config=True)
    family = OmegaConf.to_container(cfg.family)
    # the words for identity.py alone are no knobs
    return {k: v for k, v in family.items() if k == "_target_" or not k.startswith("_")}  # type: ignore[union-attr]


def at(name: str, width: int, deeper: int = 0) -> Family:
    """Return a family at a width, with its yaml's depth plus `deeper` layers."""
    return instantiate(node(name) | {"width": width, "depth": node(name)["depth"] + deeper})


YAMLS = sorted(path.stem for path in (Path(__file__).parents[1] / "conf/family").glob("*.yaml"))


def architectures() -> list[str]:
    """Return the families that can have any size; to compose the yaml of each takes seconds."""
    return [name for name in YAMLS if not at(name, 16).reference]


def nearest(name: str, goal: float, of: Callable[[Family], float]) -> Family:
    """Return the family whose width, a multiple of 16, and depth bring a size nearest to its goal in ratio."""
    near = []
    for deeper in range(3):
        width = 16
        while of(at(name, width + 16, deeper)) < goal:
            width += 16
        near += [at(name, width, deeper), at(name, width + 16, deeper)]
    return min(near, key=lambda made: abs(math.log(of(made) / goal)))


@lru_cache(maxsize=1024)
def size(made: Family) -> int:
    """Return N, without a count of FLOPs."""
    with torch.device("meta"):
        roles = parameters_by_role(made.build(TASK))
    return roles["body"] + roles["readout"]


@lru_cache(maxsize=1024)
def flops(made: Family) -> float:
    """Return training FLOPs per token, the quadratic part included."""
    return (
        3 * forward_flops(made, TASK) / TASK.targets if made.counted_at is None else count(made, TASK).flops_per_target
    )


def equal_n(name: str) -> Family:
    return nearest(name, EQUAL_N, size)


def equal_c(name: str, goal: float) -> Family:
    return nearest(name, goal, flops)


# tables


@dataclass(frozen=True)
class Inference:
    """What a finished model costs to use, at the sequence length of its task.

    flops_per_position: forward FLOPs. parameter_bytes: of all parameters. kept_bytes: KV cache, state or window that
    one sequence holds.
    """

    flops_per_position: float
    parameter_bytes: int
    kept_bytes: int


def inference(family: Family, task: Task, bytes_per_number: int = 2) -> Inference:
    """Count what using the model costs, at two bytes a number (bf16) by default."""
    cost = count(family, task)
    positions = task.seq_len if task.kind in ("tokens", "sequences") else 1
    state = family.kept(task.seq_len) if positions > 1 else 0
    return Inference(
        flops_per_position=cost.flops_per_target * task.targets / TRAINING_OVER_FORWARD / positions,
        parameter_bytes=cost.n_total * bytes_per_number,
        kept_bytes=state * bytes_per_number,
    )


def row(name: str, made: Family) -> str:
    cost, use = count(made, TASK), inference(made, TASK)
    cells = [
        f"`{name}`",
        made.width,
        made.depth,
        f"{cost.N:,}",
        f"{cost.n_active:,}",
        f"{cost.flops_per_target / 1e3:,.0f}",
        f"{cost.attention_per_target / cost.flops_per_target:.0%}",
        f"{use.flops_per_position / 1e3:,.0f}",
        f"{use.parameter_bytes / 1e3:,.0f}",
        f"{use.kept_bytes / 1e3:,.1f}",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def table(families: dict[str, Family]) -> str:
    head = [
        "family",
        "width",
        "depth",
        "N",
        "n_active",
        "training kFLOPs per token",
        "of it attention",
        "inference kFLOPs per token",
        "parameters [kB]",
        "kept per sequence [kB]",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    return "\n".join(lines + [row(name, made) for name, made in families.items()])


def tables() -> str:
    """Return both tables of docs/reference/families.md."""
    goal = count(equal_n("transformer"), TASK).flops_per_target
    parts = [
        f"Equal N, as near to {EQUAL_N:,.0f} as widths that are multiples of 16, and up to two layers more than in the "
        "yaml, come; 256 symbols, seq_len 128, two bytes a number:",
        table({name: equal_n(name) for name in architectures()}),
        "Equal C per token, that of the Transformer above:",
        table({name: equal_c(name, goal) for name in architectures()}),
    ]
    return "\n\n".join(parts)


def with_tables(page: str) -> str:
    """Return the page with its tables recounted."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.split(END)[1]}"


# times


def step_time(made: Family, seq_len: int, tokens: int, repeats: int = 7) -> float:
    """Return the median processor time of a training step on random tokens, on one thread [s]."""
    task = replace(TASK, seq_len=seq_len, targets=seq_len)
    model = made.build(task)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x = torch.randint(256, (tokens // seq_len, seq_len))
    times = []
    for _ in range(repeats + 2):
        began = time.process_time()
        loss = nn.functional.cross_entropy(model(x).flatten(0, 1), x.flatten()) + model.auxiliary()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.process_time() - began)
    return float(np.median(times[2:]))


def time_steps() -> None:
    """Print the step time of each family at equal N, over the time its FLOPs take in the Transformer of equal C."""
    tokens = 2048
    print("| family | width | N | kFLOPs per token | tokens/s | GF/s | time over that of the Transformer of equal C |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in architectures():
        made = equal_n(name)
        cost = count(made, TASK)
        like = equal_c("transformer", cost.flops_per_target)
        speed = cost.flops_per_target * tokens / step_time(made, TASK.seq_len, tokens)
        speed_like = count(like, TASK).flops_per_target * tokens / step_time(like, TASK.seq_len, tokens)
        print(
            f"| `{name}` | {made.width} | {cost.N:,} | {cost.flops_per_target / 1e3:,.0f} "
            f"| {speed / cost.flops_per_target:,.0f} | {speed / 1e9:.1f} | {speed_like / speed:.2f} |",
            flush=True,
        )


def time_lengths() -> None:
    """Print the step time of each family at a constant number of tokens, and its slope in the log of seq_len."""
    lengths = (256, 512, 1024, 2048, 4096)
    print("| family | " + " | ".join(f"{T} [s]" for T in lengths) + " | slope per token | slope per sequence |")
    print("|---" + "|--:" * (len(lengths) + 2) + "|")
    for name in ("transformer", "ssm", "s4d", "hybrid", "mingru", "lstm", "cnn", "mlp"):
        times = [step_time(equal_n(name), T, tokens=8192, repeats=3) for T in lengths]
        slope = np.polyfit(np.log(lengths), np.log(times), 1)[0]
        cells = " | ".join(f"{t:.3f}" for t in times)
        print(f"| `{name}` | {cells} | {slope:+.2f} | {slope + 1:.2f} |", flush=True)


def training_loss(made: Family, lr: float, steps: int, batch: int, seed: int) -> float:
    """Return the training loss on digits over the last tenth of the steps, by AdamW with warm-up and cooldown."""
    data = Digits()
    examples, recipe = data.load(), AdamW(lr=lr, batch=batch, parametrization="standard")
    torch.manual_seed(seed)
    model = made.build(data.task)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.0)
    losses = []
    for step in range(steps):
        x, y = examples.take(order(seed, step, batch, examples.n))
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step, steps)
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-(steps // 10) :]) / (steps // 10)


def compare_depths(width: int = 4, steps: int = 3600, batch: int = 32, seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    """Print the training loss of the plain and the residual CNN, 20 and 56 layers deep, by rate.

    The residual nets' rates bracket the best of both; the plain nets' are the best two of a wider grid at width 8
    (1e-3 to 1.6e-2, 1,200 steps, one seed). At width 8, 20 residual layers leave less to gain than the seeds scatter.
    """
    rates = {False: (1e-3, 4e-3), True: (8e-3, 1.6e-2, 3.2e-2)}
    points = [(r, d, lr, seed) for r in (False, True) for d in (9, 27) for lr in rates[r] for seed in seeds]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        losses = dict(zip(points, pool.starmap(deep_loss, [(*p, width, steps, batch) for p in points]), strict=True))
    print("| net | layers | lr | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean | sd |")
    print("|---|--:|--:|" + "--:|" * (len(seeds) + 2))
    for residual, depth, lr in dict.fromkeys(point[:3] for point in points):
        found = [losses[residual, depth, lr, seed] for seed in seeds]
        cells = " | ".join(f"{loss:.4f}" for loss in (*found, np.mean(found), np.std(found, ddof=1)))
        print(f"| {'residual' if residual else 'plain'} | {2 * depth + 2} | {lr:g} | {cells} |", flush=True)


def deep_loss(residual: bool, depth: int, lr: float, seed: int, width: int, steps: int, batch: int) -> float:
    """Return the training loss of one net, by a process of its own."""
    torch.set_num_threads(1)
    made = instantiate(node("resnet") | {"width": width, "depth": depth, "residual": residual})
    return training_loss(made, lr, steps, batch, seed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["table"]:
            DOC.write_text(with_tables(DOC.read_text()))
        case ["time"]:
            time_steps()
        case ["length"]:
            time_lengths()
        case ["depth"]:
            compare_depths()
        case _:
            sys.exit(__doc__)
