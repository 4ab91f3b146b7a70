"""Coverage of 90 % bands up to four times beyond the fitted range of real tables, before and after.

    ISOFLOP_REFERENCE_DATA=... python benchmarks/band_coverage.py [--only farseer] [--thin 3] [--out rows.csv]

Every table (learning curves, isoFLOP grids) is cut at a quarter and at a sixteenth of its largest compute (of its
largest x, for a curve); laws are fitted to what lies below and predict the rows up to four times beyond. Before: noise
and parameters, as `Fit.predict_interval` gives them. After: `bands`, with the error of the form. `--thin 3` takes every
third curve of the tables that have many. `--slopes` prints instead how fast two laws err beyond their own hold-outs on
the tables that benchmarks/choose_runs.py does not use: FORM of analysis/design/ensemble.py is the median.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.holdout.average import average_laws
from isoflop.analysis.holdout.bands import bands, look_back
from isoflop.errors import FitError, UserError

# single laws beside the average
CURVE_LAWS, GRID_LAWS = ("power_offset(D)", "bnsl(D)"), ("chinchilla", "multiplicative")
DEPTHS, BEYOND, FEWEST = (4.0, 16.0), 4.0, 6
RESAMPLES = 200
# tables whose rows benchmarks/choose_runs.py chooses among
CHOSEN_FROM = ("Farseer", "ScaleBench repeated", "Step Law")


def folder() -> Path:
    """Return the folder of the published tables."""
    if not os.environ.get("ISOFLOP_REFERENCE_DATA"):
        raise UserError("ISOFLOP_REFERENCE_DATA names no folder; set it to the folder of the published tables")
    return Path(os.environ["ISOFLOP_REFERENCE_DATA"])


def grid(frame: pd.DataFrame, **names: str) -> pd.DataFrame:
    """Return rows of N, D (and D_unique) and L under our names, with C = 6 N D."""
    rows = frame.rename(columns={theirs: ours for ours, theirs in names.items()})[[*names]].astype(float).dropna()
    return rows.assign(C=6 * rows["N"] * rows["D"]).drop_duplicates().sort_values("C", ignore_index=True)


def curve(x: Any, y: Any) -> pd.DataFrame:
    """Return a curve of L over D, which is its own compute."""
    rows = pd.DataFrame({"D": np.asarray(x, float), "L": np.asarray(y, float)}).dropna()
    return rows.groupby("D", as_index=False)["L"].mean().assign(C=lambda r: r["D"])


def scalebench(task: str) -> pd.DataFrame:
    """Return both parts of a task."""
    return pd.concat([pd.read_csv(folder() / f"PlanarG__active-sl/{task}_{p}.csv") for p in ("train", "test")])


def additions() -> list[pd.DataFrame]:
    """Return loss over the number of examples, through a sharp break."""
    rows = pd.read_csv(folder() / "ethancaballero__broken_neural_scaling_laws/four_digit_addition.csv")
    table = curve(rows["dataset_size"], rows["test_cross_entropy"])
    table.attrs["cut"] = float(rows.loc[rows["split"] == "fit", "dataset_size"].max())  # as its authors cut it
    return [table]


def routed() -> pd.DataFrame:
    """Return loss over steps of the routed models."""
    rows = pd.read_csv(folder() / "google-deepmind__scaling_laws_for_routing/curves.csv.gz")
    return rows[rows["step"] > 0]


def routed_grids() -> list[pd.DataFrame]:
    """Return N and steps of each router and number of experts that has five sizes."""
    rows = routed()
    rows = rows[(rows["routing_frequency"] == 0.5) & (rows["k"] == 1)]
    sets = [g for _, g in rows.groupby(["router_type", "num_experts"]) if g["dense_parameter_count"].nunique() >= 5]
    return [grid(g, N="dense_parameter_count", D="step", L="loss_validation") for g in sets]


def gemstones() -> list[pd.DataFrame]:
    """Return every fourth mark."""
    path = folder() / "mcleish7__gemstone-scaling-laws/wandb_dfs/wandb_df_for_fitting_hot_100b+.jsonl"
    rows = pd.read_json(path, lines=True).sort_values(["run_name", "tokens"]).iloc[::4]
    return [grid(rows, N="params_active_precise", D="tokens", L="final_loss")]


def porian() -> list[pd.DataFrame]:
    """Return IsoFLOP tables of each recipe."""
    rows = pd.read_csv(folder() / "formll__resolving-scaling-law-discrepancies/isoflop_points.csv")
    keys = ["file", "dataset", "hparams", "warmup", "decay", "param_count", "val"]
    return [grid(g, N="params", D="tokens", L="loss") for _, g in rows.groupby(keys)]


def step_law() -> list[pd.DataFrame]:
    """Return the best rate and batch of each size and data, dense and with experts."""
    tables = []
    for kind in ("dense", "moe"):
        rows = pd.read_csv(folder() / f"step-law__steplaw/{kind}_lr_bs_loss.csv")
        best = rows.loc[rows.groupby(["N", "D"])["loss"].idxmin()]
        tables.append(grid(best, N="N", D="D", L="loss"))
    return tables


def repeated() -> list[pd.DataFrame]:
    """Return data seen several times, and those rows that see it once."""
    rows = pd.read_csv(folder() / "huggingface__datablations/parametric_fit_outliers_removed_182.csv")
    once = rows[rows["tokens"] <= 1.001 * rows["unique_tokens"]]
    return [
        grid(rows, N="params", D="tokens", D_unique="unique_tokens", L="loss"),
        grid(once, N="params", D="tokens", L="loss"),
    ]


def schedules() -> list[pd.DataFrame]:
    """Return learning curves at a constant rate and along a cosine, every seventh mark or so."""
    curves = []
    for size in ("csv_25", "csv_100"):
        for name in ("constant_24000", "constant_72000", "cosine_72000"):
            rows = pd.read_csv(folder() / f"thu-yao-01-luo__MultiPowerLaw/{size}/{name}.csv")
            rows = rows.iloc[:: max(1, len(rows) // 70)]
            curves.append(curve(rows["step"], rows["loss"]))
    return curves


def digitised() -> list[pd.DataFrame]:
    """Return the points of Hoffmann et al. 2022, figure 4."""
    rows = pd.read_csv(folder() / "epoch-research__analyzing-chinchilla/svg_extracted_data.csv")
    rows = rows[rows["loss"] < sorted(rows["loss"])[-5]]
    return [grid(rows.assign(D=rows["Training FLOP"] / 6 / rows["Model Size"]), N="Model Size", D="D", L="loss")]


def overtrained() -> list[pd.DataFrame]:
    """Return Gadre et al. 2024: C4 validation after three training sets."""
    rows = pd.read_csv(folder() / "mlfoundations__scaling/loss_evals.csv")
    rows = rows[rows["val_dataset"] == "c4_val"]
    return [grid(g, N="params", D="tokens", L="loss") for _, g in rows.groupby("dataset")]


TABLES: dict[str, Callable[[], list[pd.DataFrame]]] = {
    "BNSL addition": additions,
    "routed curves": lambda: [curve(g["step"], g["loss_validation"]) for _, g in routed().groupby("hyper_id")][::8],
    "routed N x steps": lambda: routed_grids()[::3],
    "Farseer": lambda: [grid(scalebench("farseer"), N="N", D="D", L="loss")],
    "ScaleBench repeated": lambda: [
        grid(scalebench("data_constrained"), N="params", D="tokens", D_unique="unique_tokens", L="loss")
    ],
    "Gemstones": gemstones,
    "Porian": porian,
    "Step Law": step_law,
    "datablations": repeated,
    "MultiPowerLaw": schedules,
    "Chinchilla digitised": digitised,
    "Gadre": overtrained,
}


def cuts(rows: pd.DataFrame) -> Iterator[tuple[float, pd.DataFrame, pd.DataFrame]]:
    """Yield depth, rows to fit and rows up to BEYOND times beyond; a short table is cut at FEWEST rows."""
    done = False
    depths = [rows["C"].max() / rows.attrs["cut"]] if "cut" in rows.attrs else [*DEPTHS, 2.0]
    for depth in depths:
        train = rows[rows["C"] <= 1.001 * rows["C"].max() / depth]
        test = rows[(rows["C"] > train["C"].max()) & (rows["C"] <= 1.001 * BEYOND * train["C"].max())]
        if len(train) < FEWEST or test.empty or (depth == 2.0 and done):
            continue
        done = True
        yield depth, train, test


def measure(train: pd.DataFrame, test: pd.DataFrame, law: str) -> list[dict[str, Any]]:
    """Return coverage, median half-width and error of a law, before and after."""
    begun = time.process_time()
    try:
        made: Any = average_laws(train) if law == "best" else fit(train, law, resamples=RESAMPLES)
        predictions = {"after": bands(made, test)}
        if law != "best":
            predictions["before"] = made.predict_interval(test)
    except FitError:
        return []
    L, lines = test["L"].to_numpy(), []
    for side, band in predictions.items():
        low, high, value = (band[c].to_numpy() for c in ("low", "high", "value"))
        known = np.isfinite(low) & np.isfinite(high)
        inside = known & (low <= L) & (high >= L)
        half = float(np.median(np.log(high / low)[known]) / 2) if known.any() else np.nan
        error = float(np.sqrt((np.log(value / L) ** 2).mean()))
        lines.append(
            {
                "law": law,
                "side": side,
                "points": len(L),
                "banded": int(known.sum()),
                "covered": inside.sum() / known.sum() if known.any() else np.nan,
                "half": half,
                "rmsle": error,
                "seconds": time.process_time() - begun,
            }
        )
    return lines


def summarise(lines: pd.DataFrame) -> pd.DataFrame:
    """Return by table and law: coverage, median half-width and error [%]; the last rows pool all cuts."""
    columns = {}
    kind = lines["law"].replace({"power_offset(D)": "power_offset/chinchilla", "chinchilla": "power_offset/chinchilla"})
    kind = kind.replace({"bnsl(D)": "bnsl/multiplicative", "multiplicative": "bnsl/multiplicative"})
    for (law, side), part in lines.groupby([kind, "side"], sort=False):
        by = part.groupby("table", sort=False)
        table = by.agg(covered=("covered", "mean"), half=("half", "median"), rmsle=("rmsle", "median"))
        table.loc["tables alike"] = [table["covered"].mean(), table["half"].median(), table["rmsle"].median()]
        table.loc["cuts alike"] = [part["covered"].mean(), part["half"].median(), part["rmsle"].median()]
        points = float((part["covered"] * part["banded"]).sum() / part["banded"].sum())
        table.loc["points alike"] = [points, np.nan, np.nan]
        table.loc["points with a band"] = [part["banded"].sum() / part["points"].sum(), np.nan, np.nan]
        columns[f"{law} {side}"] = [
            f"{100 * c:.0f} ({100 * h:.2f}; {100 * e:.2f})" for c, h, e in table.itertuples(index=False)
        ]
        index = table.index
    return pd.DataFrame(columns, index=index)


def slopes() -> None:
    """Print the slope of the form's error for each grid and law, and the median."""
    found = []
    for name, read in TABLES.items():
        if name in CHOSEN_FROM:
            continue
        tables = [rows for rows in read() if "N" in rows][:: 6 if name == "Porian" else 1]
        for number, (rows, law) in enumerate((rows, law) for rows in tables for law in GRID_LAWS):
            known = look_back(fit(rows, law, interval="none"), rivals=False)
            if known is None or not (form := known.form).cuts:
                continue
            found.append(form.slope)
            print(f"{name} {number // len(GRID_LAWS)}, {law}: {form.slope:.4f} for each e-fold, {form.cuts} cuts")
    print(f"median of {len(found)}: {np.median(found):.4f}, quartiles {np.quantile(found, [0.25, 0.75]).round(4)}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parts of tables' names, comma between")
    parser.add_argument("--thin", type=int, default=1, help="take every k-th curve of a table that has several")
    parser.add_argument("--laws", default="all", help="all, or best alone")
    parser.add_argument("--out", default="", help="a CSV of every cut")
    parser.add_argument("--slopes", action="store_true", help="how fast laws err beyond what they were fitted to")
    options = parser.parse_args()
    if options.slopes:
        slopes()
        return
    lines: list[dict[str, Any]] = []
    for name, read in TABLES.items():
        if not any(part in name for part in options.only.split(",")):
            continue
        for number, rows in enumerate(read()[:: options.thin]):
            for depth, train, test in cuts(rows):
                singles = GRID_LAWS if "N" in rows else CURVE_LAWS
                for law in ("best",) if options.laws == "best" else ("best", *singles):
                    about = {"table": name, "number": number, "depth": depth, "fitted": len(train)}
                    lines += [about | line for line in measure(train, test, law)]
        print(f"{name}: done", flush=True)
    table = pd.DataFrame(lines)
    if options.out:
        table.to_csv(options.out, index=False)
    print("coverage of 90 % bands [%] (median half-width [%]; RMSLE [%])")
    print(summarise(table).to_string())
    seconds = table.groupby("law")["seconds"].median()
    print("median CPU seconds: " + ", ".join(f"{law} {s:.1f}" for law, s in seconds.items()))


if __name__ == "__main__":
    main()
