"""Does the best learning rate stay in place as a family grows? Under muP it should, under standard it moves.

Trains every size at half, once and twice the family's rate, continues by factors of two until the best rate is between
two others, and prints for each family by how many steps of that grid the best rate moves from the smallest size to any
other. The optimum between grid points is that of the parabola, in log2 of the rate, through the best and its
neighbours.

    python benchmarks/rate_transfer.py --families transformer,mlp --parametrizations mup,standard
    python benchmarks/rate_transfer.py --families vit --data digits --D 64000 --out runs/images recipe.batch=64
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from families import node as family_node
from making import made

FURTHEST = 6  # factors of two from the family's rate at which the search gives up
Place = tuple[str, str, int, int]  # family, parametrization, width, depth


def places(given: argparse.Namespace) -> list[Place]:
    """Return every size of every family: widths at the depth of its yaml, depths at the width of its yaml."""
    found = []
    for name in given.families.split(","):
        node = family_node(name)
        sizes = [(int(w), int(node["depth"])) for w in given.widths.split(",")]
        sizes += [(int(node["width"]), int(d)) for d in given.depths.split(",") if d]
        found += [(name, p, *size) for p in given.parametrizations.split(",") for size in dict.fromkeys(sizes)]
    return found


def train(given: argparse.Namespace, wanted: dict[Place, set[int]]) -> pd.DataFrame:
    """Make missing points and return all as a table; k is log2 of the rate over the family's."""
    grids = []
    for (name, parametrization, width, depth), ks in wanted.items():
        rates = ",".join(f"{family_node(name)['lr'] * 2.0**k:.8g}" for k in sorted(ks))
        point = {"family": name, "family.width": width, "family.depth": depth, "recipe.lr": rates}
        grids.append(point | {"recipe.parametrization": parametrization, "seed": given.seeds})
    runs = made(given.out, grids, [f"budget.D={given.D}", f"data={given.data}", *given.more])
    tuned = runs["family"].map({name: family_node(name)["lr"] for name in runs["family"].unique()})
    return runs.assign(k=np.log2(runs["lr"] / tuned).round().astype(int))


def losses(runs: pd.DataFrame, place: Place) -> pd.Series:
    """Return the held-out loss by k at one size."""
    keys = ["family", "recipe.parametrization", "width", "depth"]
    here = runs[(runs[keys] == list(place)).all(axis=1)]
    return here.groupby("k")["L"].mean().sort_index()


def best(by_k: pd.Series) -> float:
    """Return the k of the lowest loss, by the parabola through the lowest point and its neighbours; nan on an edge."""
    at = int(by_k.to_numpy().argmin())
    if at in (0, len(by_k) - 1):
        return float("nan")
    left, low, right = by_k.to_numpy()[at - 1 : at + 2]
    if not np.isfinite([left, right]).all():
        return float(by_k.index[at])
    return float(by_k.index[at] + (left - right) / (2 * (left - 2 * low + right)))


def wider(by_k: pd.Series) -> set[int]:
    """Return the next k if the lowest loss is on an edge; None if it is bracketed or the search gives up."""
    at = by_k.index[by_k.to_numpy().argmin()]
    beyond = {at - 1} if at == by_k.index[0] else {at + 1} if at == by_k.index[-1] else set()
    return {int(k) for k in beyond if abs(k) <= FURTHEST}


def search(given: argparse.Namespace) -> pd.DataFrame:
    """Train until every size has its best rate between two others."""
    wanted = {place: {-1, 0, 1} for place in places(given)}
    while wanted:
        runs = train(given, wanted)
        wanted = {place: more for place in places(given) if (more := wider(losses(runs, place)))}
    return runs


def main() -> None:
    """Print a table of best rates, and the losses behind it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default="transformer,mlp,lstm")
    parser.add_argument("--widths", default="32,64,128,256")
    parser.add_argument("--depths", default="2,4,8,16", help="at the width of the yaml; '' for none")
    parser.add_argument("--parametrizations", default="mup")
    parser.add_argument("--seeds", default="0,1,2", help="losses are the mean over them")
    parser.add_argument("--data", default="text")
    parser.add_argument("--D", default="1e5", help="training targets of every run")
    parser.add_argument("--out", type=Path, default=Path("runs/rates"))
    parser.add_argument("more", nargs="*", help="further overrides of every run, such as data.eval_size=32768")
    given = parser.parse_args()
    runs = search(given)
    print(f"\n{summary(runs, places(given))}")
    print("\n| family | parametrization | size | best log2 of rate / base rate | loss there | by k |")
    print("|---|---|---|--:|--:|---|")
    for place in places(given):
        by_k = losses(runs, place)
        cells = ", ".join(f"{k:+d}: {loss:.3f}" for k, loss in by_k.items())
        print(f"| {place[0]} | {place[1]} | {place[2]}×{place[3]} | {best(by_k):+.2f} | {by_k.min():.3f} | {cells} |")


def summary(runs: pd.DataFrame, found: list[Place]) -> str:
    """Return a line for each family: the best rate by width and depth, and its largest shift in steps."""
    lines = ["| family | parametrization | by width | it moves | by depth | it moves |", "|---|---|---|--:|---|--:|"]
    for name, parametrization in dict.fromkeys(place[:2] for place in found):
        mine = [place for place in found if place[:2] == (name, parametrization)]
        node, cells = family_node(name), []
        for dial, other in ((2, 3), (3, 2)):
            fixed = node["depth" if dial == 2 else "width"]
            sizes = sorted(place for place in mine if place[other] == fixed)
            at = [best(losses(runs, place)) for place in sizes]
            moves = max((abs(k - at[0]) for k in at[1:]), default=float("nan"))
            cells += [", ".join(f"{place[dial]}: {k:+.1f}" for place, k in zip(sizes, at, strict=True)), f"{moves:.1f}"]
        lines.append(f"| `{name}` | {parametrization} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
