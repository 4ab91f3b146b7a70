"""Does the best learning rate stay in place as a family grows? Under muP it should, under standard it moves.

Trains a ×2 grid of rates at several widths (or depths) on the embedded text, for as many steps each, and prints the
held-out loss of every cell and the best rate of every size, between grid points by a parabola in log2.

    python benchmarks/rate_transfer.py --families transformer,mlp --widths 32,64,128,256 --out /tmp/rates
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd


def train(given: argparse.Namespace) -> pd.DataFrame:
    """Make what is missing of the grid and return it as a table."""
    rates = ",".join(f"{2.0**k:.8g}" for k in range(*map(int, given.log2_rates.split(","))))
    grid = [
        f"family={given.families}",
        f"family.width={given.widths}",
        f"family.depth={given.depths}",
        f"recipe.lr={rates}",
        f"recipe.parametrization={given.parametrizations}",
        f"budget.D={given.D}",
        "data.eval_size=32768",
        f"out={given.out}",
    ]
    isoflop = [sys.executable, "-m", "sweeps.cli"]
    subprocess.run([*isoflop, "train", "-m", *grid], check=True)
    subprocess.run([*isoflop, "collect", str(given.out), "-o", str(given.out / "runs.csv")], check=True)
    return pd.read_csv(given.out / "runs.csv")


def best(rates: pd.Series, losses: pd.Series) -> str:
    """log2 of the best rate, by the parabola through the lowest point and its neighbours; an edge is said."""
    x, y = np.log2(rates.to_numpy()), losses.to_numpy()
    k = int(y.argmin())
    if k in (0, len(y) - 1):
        return f"{x[k]:+.0f} (edge)"
    (left, low, right) = y[k - 1 : k + 2]
    return f"{x[k] + (left - right) / (2 * (left - 2 * low + right)):+.2f}"


def main() -> None:
    """Print a table for every family and parametrization."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default="transformer,mlp,lstm")
    parser.add_argument("--widths", default="32,64,128")
    parser.add_argument("--depths", default="2")
    parser.add_argument("--log2-rates", default="-10,-2", help="from, to (not included)")
    parser.add_argument("--parametrizations", default="mup,standard")
    parser.add_argument("--D", default="1.5e5", help="training targets of every run")
    parser.add_argument("--out", type=Path, default=Path("runs/rates"))
    given = parser.parse_args()
    runs = train(given)
    runs["L"] = runs["L"].fillna(np.inf)
    for (family, parametrization), part in runs.groupby(["family", "recipe.parametrization"]):
        print(f"\n{family}, {parametrization}: held-out loss by size and log2 of the rate")
        table = part.assign(log2_lr=np.log2(part.lr)).pivot_table(
            index=["width", "depth"], columns="log2_lr", values="L"
        )
        optima = {
            size: best(cell.sort_values("lr").lr, cell.sort_values("lr").L)
            for size, cell in part.groupby(["width", "depth"])
        }
        print(table.round(3).assign(best=pd.Series(optima)).to_string())


if __name__ == "__main__":
    main()
