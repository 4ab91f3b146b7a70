"""Coverage of 90 % bands on tables and cuts that were not used to choose anything about bands.

    ISOFLOP_REFERENCE_DATA=... python benchmarks/fresh_coverage.py [--only Gemstone]

The rest of the published tables that benchmarks/band_coverage.py uses (other evaluations, losses, curves, parts) and
the runs of our own studies, cut at a third and at an eighth of the largest compute. A line for each table: points
inside their band, median half-width and root mean square of the log error, of the average of laws and of one law. Some
minutes of one core.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import band_coverage as published
import pandas as pd
from band_coverage import curve, cuts, digitised, folder, grid, measure, routed, scalebench

published.DEPTHS = (3.0, 8.0)
STUDIES = Path(__file__).resolve().parents[1] / "studies"


def evaluations() -> list[pd.DataFrame]:
    """Return Gadre et al. 2024: every other evaluation but C4."""
    rows = pd.read_csv(folder() / "mlfoundations__scaling/loss_evals.csv")
    rows = rows[rows["val_dataset"] != "c4_val"]
    return [grid(g, N="params", D="tokens", L="loss") for _, g in rows.groupby(["dataset", "val_dataset"])][::2]


def gemstones() -> pd.DataFrame:
    """Return all marks, in order."""
    path = folder() / "mcleish7__gemstone-scaling-laws/wandb_dfs/wandb_df_for_fitting_hot_100b+.jsonl"
    return pd.read_json(path, lines=True).sort_values(["run_name", "tokens"])


def parts_of_gemstones() -> list[pd.DataFrame]:
    """Return every fifth mark, and the narrow and the wide models."""
    rows = gemstones()
    parts = rows.iloc[2::5], rows[rows["width"] <= 1024].iloc[::3], rows[rows["width"] > 1024].iloc[::3]
    return [grid(part, N="params_active_precise", D="tokens", L="final_loss") for part in parts]


def other_losses() -> list[pd.DataFrame]:
    """Return curves of three other losses of the routed models."""
    losses = {3: "loss_lambada", 5: "loss_pile", 9: "loss_curation_corpus"}
    runs = [g for _, g in routed().groupby("hyper_id")]
    return [curve(g["step"], g[losses[i % 16]]) for i, g in enumerate(runs) if i % 16 in losses]


def other_grids() -> list[pd.DataFrame]:
    """Return routers and numbers of experts that the other benchmark leaves out, by another loss."""
    rows = routed()
    rows = rows[(rows["routing_frequency"] == 0.5) & (rows["k"] == 1)]
    sets = [g for _, g in rows.groupby(["router_type", "num_experts"]) if g["dense_parameter_count"].nunique() >= 5]
    return [grid(g, N="dense_parameter_count", D="step", L="loss_wikitext103") for i, g in enumerate(sets) if i % 3][
        ::2
    ]


def all_repeated() -> list[pd.DataFrame]:
    """Return all rows of Muennighoff et al., outliers too."""
    rows = pd.read_csv(folder() / "huggingface__datablations/parametric_fit_all.csv")
    return [grid(rows, N="params", D="tokens", D_unique="unique_tokens", L="loss")]


def parts_of_farseer() -> list[pd.DataFrame]:
    """Return every fourth size as a curve of D, every third row, and sixty rows at random."""
    rows = grid(scalebench("farseer"), N="N", D="D", L="loss")
    sizes = [curve(g["D"], g["L"]) for k, (_, g) in enumerate(rows.groupby("N")) if k % 4 == 0 and len(g) >= 9]
    some = rows.sample(60, random_state=1).sort_values("C", ignore_index=True)
    return [*sizes, rows.iloc[::3].reset_index(drop=True), some]


def quarters() -> list[pd.DataFrame]:
    """Return every fourth of Chinchilla's points, from each of the first four."""
    rows = digitised()[0]
    return [rows.iloc[i::4].reset_index(drop=True) for i in range(4)]


def ours(study: str) -> list[pd.DataFrame]:
    """Return the runs of each family and data of a study that have three sizes and amounts of data."""
    rows = pd.read_csv(STUDIES / study / "runs.csv")
    sets = [g for _, g in rows[rows["status"].fillna("ok") == "ok"].groupby(["family", "data"])]
    sets = [g for g in sets if g["N"].nunique() >= 3 and g["D"].nunique() >= 3 and len(g) >= 12]
    return [grid(g, N="N", D="D", L="L") for g in sets]


TABLES: dict[str, Callable[[], list[pd.DataFrame]]] = {
    "Gadre, other evaluations": evaluations,
    "Gemstone curves": lambda: [curve(g["tokens"], g["final_loss"]) for _, g in gemstones().groupby("run_name")][::2],
    "Gemstone parts": parts_of_gemstones,
    "routed, other losses": other_losses,
    "routed grids, Wikitext": other_grids,
    "datablations, all": all_repeated,
    "Farseer parts": parts_of_farseer,
    "Chinchilla quarters": quarters,
    "our scaling": lambda: ours("scaling"),
    "our laws": lambda: ours("laws"),
    "our two_texts": lambda: ours("two_texts"),
}


def main() -> None:
    """Print a line for each table and law, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of a table's name")
    options = parser.parse_args()
    lines = []
    for name, read in TABLES.items():
        for rows in read() if options.only in name else ():
            one = "chinchilla" if "N" in rows else "power_offset(D)"
            for _, train, test in cuts(rows):
                for kind, law in (("best", "best"), ("one law", one)):
                    measured = [line for line in measure(train, test, law) if line["side"] == "after"]
                    lines += [{"table": name, "kind": kind} | line for line in measured]
        print(f"{name}: done", flush=True)
    table = pd.DataFrame(lines)
    table["inside"] = (table["covered"] * table["banded"]).fillna(0.0)
    for key in (["table", "kind"], ["kind"]):
        by = table.groupby(key, sort=False)
        sums = by.agg(inside=("inside", "sum"), banded=("banded", "sum"), cuts=("inside", "size"))
        middles = by.agg(half=("half", "median"), rmsle=("rmsle", "median")) * 100
        covered = (100 * sums["inside"] / sums["banded"]).rename("covered %")
        print(pd.concat([covered, sums.drop(columns="inside"), middles], axis=1).round(2).to_string())


if __name__ == "__main__":
    main()
