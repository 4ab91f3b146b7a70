"""One trunk with a cooldown for every mark, against a run for every D: FLOPs saved and loss lost.

python benchmarks/trunk.py flops                    FLOPs of separate runs over those of one trunk, counted on runs
python benchmarks/trunk.py losses --out /tmp/x      held-out loss against a cosine tuned for every D, on text
"""

import argparse
import json
import tempfile
from pathlib import Path

import pandas as pd
from making import made

# six marks over a decade and a half
MARKS = [round(5e4 * 10 ** (1.5 * k / 5)) for k in range(6)]
FEW = [f"{m // 10}" for m in MARKS]
RATES = [0.01, 0.02, 0.04, 0.08, 0.16]
SEEDS = "0,1,2"


def flops() -> None:
    """Print spent and separate FLOPs, by the run's own count."""
    print("| cooldown | FLOPs spent | of separate runs | ratio | trunk + cooldowns, by arithmetic |")
    print("|---|--:|--:|--:|--:|")
    for cooldown in (0.1, 0.2):
        with tempfile.TemporaryDirectory() as folder:
            grid = {"family": "mlp", "family.width": 8, "budget.D": f"[{','.join(FEW)}]"}
            made(Path(folder), [grid], ["data.seq_len=16", "data.eval_size=256", f"recipe.cooldown={cooldown}"])
            (spent,) = (json.loads(path.read_text()) for path in Path(folder).glob("*/spent.json"))
        D = [int(m) for m in FEW]
        arithmetic = sum(D) / (D[-1] + cooldown * sum(D[:-1]))
        ratio = spent["C_separate"] / spent["C"]
        print(f"| {cooldown:.0%} | {spent['C']:.4g} | {spent['C_separate']:.4g} | {ratio:.3f} | {arithmetic:.3f} |")


def losses(family: str, out: Path) -> None:
    """Print means over seeds: the trunk at its best rate over all marks, a cosine at the best for each D."""
    at = {"family": family, "seed": SEEDS, "recipe.lr": ",".join(map(str, RATES))}
    grids = [at | {"budget.D": f"[{','.join(map(str, MARKS))}]"}]
    grids += [at | {"budget.D": m, "recipe.schedule": "cosine"} for m in MARKS]
    runs = made(out, grids, ["data.eval_size=131072"])
    runs = runs[runs["family"] == family]
    mean = runs.groupby(["recipe.schedule", "lr", "budget.D"])["L"].mean().unstack("budget.D")
    trunk, cosine = mean.loc["cooldown"], mean.loc["cosine"]
    # ln L counts every mark alike
    rate = trunk.apply(lambda row: (row / cosine.min()).mean(), axis=1).idxmin()
    spread = runs.groupby(["recipe.schedule", "lr", "budget.D"])["L"].std().mean()
    table = pd.DataFrame({"trunk": trunk.loc[rate], "cosine": cosine.min(), "at lr": cosine.idxmin()})
    table["difference"] = (table["trunk"] / table["cosine"] - 1).map("{:+.2%}".format)
    print(f"{family}, width 32, depth 2; trunk at lr {rate:g}; mean of 3 seeds, whose sd is {spread:.4f} on average")
    print(table.round(4).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["flops", "losses"])
    parser.add_argument("--family", default="transformer")
    parser.add_argument("--out", type=Path, default=Path("runs/trunk"))
    given = parser.parse_args()
    flops() if given.what == "flops" else losses(given.family, given.out)


if __name__ == "__main__":
    main()
