"""Does a step change the activations alike at every width and depth? Under muP and CompleteP it should.

Trains every size for a few steps on one batch and prints the slope of log root mean square change against log size,
of the stream before the readout and of the logits: 0 is alike, standard parametrization's logits grow with the width.
Widths see a few short sequences: the squared change of the logits is a² + b² / width, where b is what positions do to
one another by chance, and the more random positions there are the less is a beside it.

    python benchmarks/coordinates.py
    python benchmarks/coordinates.py --families transformer --parametrizations standard
    python benchmarks/coordinates.py --csv changes.csv

Source: muP, arXiv:2203.03466, appendix D.1.
"""

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from torch import Tensor
from torch.nn.functional import cross_entropy

from isoflop.scaling.config.composed import register_resolvers
from isoflop.scaling.families.base import Family
from isoflop.scaling.recipe.optimizers import AdamW, Muon
from isoflop.scaling.task import Task

TASK = Task("tokens", d_in=64, d_out=64, seq_len=16, targets=16)
WATCHED = {"stream": "body", "logits": "readout"}
WIDTHS = [32, 64, 128, 256, 512]
DEPTHS = [2, 8, 32]
BY_WIDTH = {"sequences": 3, "steps": 5}
BY_DEPTH = {"sequences": 8, "steps": 10}  # the first few take away the mean of minGRU's states, the more the shallower


def family(name: str, width: int, depth: int) -> Family:
    """Return a family as its yaml has it, at one size."""
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        cfg = compose("train", [f"family={name}", f"family.width={width}", f"family.depth={depth}"])
    # the words for identity.py alone are no knobs
    knobs = {key: value for key, value in cfg.family.items() if key == "_target_" or not key.startswith("_")}
    made = instantiate(knobs)
    assert isinstance(made, Family)
    return made


def families() -> list[str]:
    """Return the names of the families that have layers."""
    names = sorted(path.stem for path in (Path(__file__).parents[1] / "conf/family").glob("*.yaml"))
    return [name for name in names if not family(name, 32, 2).reference]


def change(
    made: Family, parametrization: str, recipe_of: type[AdamW] | type[Muon] = AdamW, *, sequences: int, steps: int
) -> dict[str, float]:
    """Return the root mean square change of each watched activation over a few steps, at the base size's rate."""
    recipe = recipe_of(lr=0.01, parametrization=parametrization)
    torch.manual_seed(0)
    model = made.build(TASK)
    optimizer = recipe.optimizer(model, recipe.multipliers(model, made, TASK))
    seen: dict[str, list[Tensor]] = {key: [] for key in WATCHED}
    for key, module in WATCHED.items():
        model.get_submodule(module).register_forward_hook(lambda _m, _i, out, key=key: seen[key].append(out.detach()))
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(64, (sequences, 17), generator=generator)
    for _ in range(steps):
        loss = cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model(x[:, :-1])
    return {key: float((outs[-1] - outs[0]).square().mean().sqrt()) for key, outs in seen.items()}


def write(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Write the changes as a table that isoflop reads; its L is the change of the logits."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def slope(sizes: Sequence[int], changes: Sequence[float]) -> float:
    """Return the least-squares slope of log change against log size."""
    x, y = [math.log(s) for s in sizes], [math.log(c) for c in changes]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


def main() -> None:
    """Print a table of slopes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(families()))
    parser.add_argument("--parametrizations", default="mup,standard")
    parser.add_argument("--csv", type=Path, help="a file for the change at every size")
    given = parser.parse_args()
    torch.set_num_threads(1)
    widths, depths = [*WIDTHS, 1024], [*DEPTHS, 128]
    heads = [
        f"{key}, {dial}"
        for dial in (f"width {widths[0]}–{widths[-1]}", f"depth {depths[0]}–{depths[-1]}")
        for key in WATCHED
    ]
    print(f"| family | parametrization | {' | '.join(heads)} |\n|---|---|{'--:|' * len(heads)}")
    rows: list[dict[str, object]] = []
    for parametrization in given.parametrizations.split(","):
        for name in given.families.split(","):
            by_width = [change(family(name, width, 2), parametrization, **BY_WIDTH) for width in widths]
            by_depth = [change(family(name, 32, depth), parametrization, **BY_DEPTH) for depth in depths]
            slopes = [
                slope(sizes, [found[key] for found in by])
                for sizes, by in ((widths, by_width), (depths, by_depth))
                for key in WATCHED
            ]
            print(f"| `{name}` | {parametrization} | {' | '.join(f'{s:+.2f}' for s in slopes)} |", flush=True)
            for dial, sizes, by in (("width", widths, by_width), ("depth", depths, by_depth)):
                for size, found in zip(sizes, by, strict=True):
                    shape = {"width": 32, "depth": 2} | {dial: size}
                    who = {"family": name, "parametrization": parametrization, "dial": dial}
                    changes = {f"probe.coordinates.{key}": value for key, value in found.items()}
                    rows.append(who | shape | changes | {"L": found["logits"]})
    if given.csv:
        write(given.csv, rows)


if __name__ == "__main__":
    main()
