"""Which family has the lower held-out loss on the embedded text for the same training FLOPs, and by how many seed sd.

Width 64, the depth of the yaml, seq_len 128. The family's rate, half and twice that with one seed, and on by factors
of two until the best is between two others; then three seeds at the best.

    python benchmarks/equal_compute.py --C 1e12 --out /tmp/equal
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from making import made
from rate_transfer import family_node, wider

FAMILIES = "transformer,mlp,lstm,ssm,s4d,hybrid,moe,cnn,gru,mingru,tanh_rnn"


def at(name: str, factors: list[float], seeds: str) -> dict[str, object]:
    """Return the grid of one family, rates as factors of its own."""
    rates = ",".join(f"{family_node(name)['lr'] * factor:.8g}" for factor in factors)
    return {"family": name, "family.width": 64, "recipe.lr": rates, "seed": seeds}


def losses_by_k(runs: pd.DataFrame, name: str) -> pd.Series:
    """Return the held-out loss of the first seed by log2 of the rate over the family's."""
    mine = runs[(runs["family"] == name) & (runs["seed"] == 0)]
    return mine.set_index(np.log2(mine["lr"] / family_node(name)["lr"]).round().astype(int))["L"].sort_index()


def losses(out: Path, C: str, names: list[str]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return all runs, and the best factor of each family."""
    common = [f"budget.C={C}", "data.seq_len=128", "data.eval_size=131072"]
    wanted = {name: {-1, 0, 1} for name in names}
    best: dict[str, float] = {}
    while wanted:
        runs = made(out, [at(name, [2.0**k for k in sorted(ks)], "0") for name, ks in wanted.items()], common)
        by_k = {name: losses_by_k(runs, name) for name in names}
        best = {name: 2.0 ** int(found.idxmin()) for name, found in by_k.items()}
        wanted = {name: more for name in names if (more := wider(by_k[name]))}
    runs = made(out, [at(name, [best[name]], "0,1,2") for name in names], common)
    kept = [row.lr == family_node(row.family)["lr"] * best[row.family] for row in runs.itertuples()]
    return runs[kept], best


def main() -> None:
    """Print the families from the lowest loss to the highest, each beside the next."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--C", default="1e12")
    parser.add_argument("--families", default=FAMILIES)
    parser.add_argument("--out", type=Path, default=Path("runs/equal_compute"))
    given = parser.parse_args()
    runs, best = losses(given.out, given.C, given.families.split(","))
    table = runs.groupby("family").agg(N=("N", "first"), D=("D", "first"), L=("L", "mean"), sd=("L", "std"))
    table = table.sort_values("L")
    # one spread for all: three seeds each say little of their own
    pooled = float(np.sqrt((table["sd"] ** 2).mean()))
    print(f"seed sd, pooled over families: {pooled:.4f} nats\n")
    print(
        "| family | N | D | rate / that of the yaml | L, mean of 3 seeds | sd | bits per byte | behind the best [sd] |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, row in table.iterrows():
        behind = (row.L - table["L"].iloc[0]) / pooled
        bits = row.L / np.log(2)
        numbers = f"{row.N:,.0f} | {row.D:.3g} | {best[str(name)]:g} | {row.L:.4f} | {row.sd:.4f} | {bits:.3f}"
        print(f"| `{name}` | {numbers} | {behind:.1f} |")


if __name__ == "__main__":
    main()
