"""Write the tables of docs/evidence/flagship.md, and flagship.svg beside it, from the studies flagship_*.

    python benchmarks/flagship_page.py

Nothing is trained: each family's forecast is scored against its runs. The text around the tables is written by hand.
"""

from itertools import combinations
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
from scaling_page import estimate, table

from isoflop import fit_groups, read_runs
from isoflop.analysis.claims.forecasts import judge_forecast
from isoflop.analysis.holdout.speedup import Speedup, speedup
from isoflop.errors import FitError

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/evidence/flagship.md"
FAMILIES = ("lstm", "cnn", "transformer", "hybrid")
REFERENCE = "transformer"
RIVALS = {"best": "average of laws", "kaplan": "Kaplan", "line": "line", "last": "last value"}
# the largest data of a run that a forecast was fitted to, [bytes], and of the larger ones
FITTED_D, FURTHER_D = 2**24, 2**25
ERROR = "error of the forecast [%]"
# where the compute multipliers are read, [FLOPs]
COMPUTES = (1e12, 4e12, 1.6e13)


def read() -> dict[str, pd.DataFrame]:
    """Return each family's table of runs, of those that have one."""
    files = {family: ROOT / f"studies/flagship_{family}/runs.csv" for family in FAMILIES}
    return {family: read_runs(path).frame for family, path in files.items() if path.exists()}


def scores(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row for each family and place of its forecast: N, D, what was said and what came, errors and floor."""
    parts = []
    for family, rows in tables.items():
        path = ROOT / f"studies/flagship_{family}/forecast.json"
        try:
            score = judge_forecast(path, rows).score
        except FitError:  # no larger run yet
            continue
        ends = score.rows.groupby("at", sort=False)[["predicted", "low", "high"]].first()
        made = score.runs.groupby(score.rows["at"].to_numpy(), sort=False)
        came = made["L"].apply(lambda losses: ", ".join(f"{x:.4f}" for x in losses)).rename("came")
        places = made[["N", "D"]].first().join(came)
        parts.append(score.cells.join(ends, on="at").join(places, on="at"))
    return pd.concat(parts, ignore_index=True)


def axis(cell: pd.Series) -> str:
    """Return which axes of a cell lie beyond the fitted runs."""
    wider, longer = cell["N"] > 3e5, cell["D"] > FITTED_D
    return {(True, True): "both", (True, False): "N alone", (False, True): "D alone"}[wider, longer]


def forecasts(cells: pd.DataFrame) -> str:
    """Return the table of forecasts, bands and outcomes."""
    lines = []
    for _, cell in cells.iterrows():
        band = f"{cell['predicted']:.4f} ({cell['low']:.3f} to {cell['high']:.3f})"
        place = f"`{cell['family']}`, {cell['times']:.1f} ×, {axis(cell)}"
        ratio = abs(cell["error"]) / cell["floor"]
        lines.append([place, band, cell["came"], f"{cell['error']:+.2%}", f"{cell['floor']:.2%}", f"{ratio:.1f}"])
    head = (
        "family, × the largest fitted C, what is beyond the fit",
        "forecast, 90 % band",
        "losses",
        "error of their mean",
    )
    return table((*head, "floor", "error / floor"), lines)


def rivals(cells: pd.DataFrame) -> str:
    """Return the errors of the registered law and of what stood beside it in the same file."""
    lines = [
        [f"`{cell['family']}`, {cell['times']:.1f} ×, {axis(cell)}", f"**{cell['error']:+.2%}**"]
        + [f"{cell[f'error_{rival}']:+.2%}" for rival in RIVALS]
        for _, cell in cells.iterrows()
    ]
    return table(("family", "registered", *RIVALS.values()), lines)


def differences(cells: pd.DataFrame) -> str:
    """Return what the forecasts said of two families at one N and D, and what came; [%] of the loss."""
    largest = cells[(cells["D"] == FURTHER_D) & cells["N"].between(4e5, 6e5)].set_index("family")
    lines = []
    for one, other in combinations(largest.index, 2):
        a, b = largest.loc[one], largest.loc[other]
        said, missed = float(np.log(a["predicted"] / b["predicted"])), float(a["error"] - b["error"])
        floor = float(np.hypot(a["floor"], b["floor"]))
        lines.append(
            [f"`{one}` over `{other}`", f"{said:+.2%}", f"{said - missed:+.2%}", f"{missed:+.2%}", f"{floor:.2%}"]
        )
    return table(("ln of the losses' ratio", "forecast", "came", "error", "floor"), lines)


def multiplier(one: Speedup) -> str:
    """Return a speed-up by the law with its interval, and by the lower envelopes of the runs."""
    return estimate(one.estimate, 2) + ("" if one.envelope is None else f"; {one.envelope:.2f}")


def multipliers(tables: dict[str, pd.DataFrame]) -> str:
    """Return how many times less compute each family needs than the reference for the loss that it has at a compute."""
    rows = pd.concat(tables.values(), ignore_index=True)
    fits = fit_groups(rows, "chinchilla", by=["family"])
    (reference,) = [fit for fit in fits if fit.by["family"] == REFERENCE]
    lines = []
    for fit in fits:
        if fit is not reference:
            found = [speedup(fit, reference, {"C": C}) for C in COMPUTES]
            lines.append([f"`{fit.by['family']}`", *map(multiplier, found)])
    return table((f"compute of the {REFERENCE} →", *(f"{C:.1e} FLOPs" for C in COMPUTES)), lines)


def picture(cells: pd.DataFrame) -> alt.LayerChart:
    """Return the figure of error against × compute: the floor and twice the floor shaded at each cell."""
    long = cells.melt(["family", "times", "floor"], ["error", *(f"error_{rival}" for rival in RIVALS)], "law", "miss")
    long["law"] = long["law"].replace({"error": "registered law"} | {f"error_{k}": v for k, v in RIVALS.items()})
    long["percent"] = 100 * long["miss"]
    # cells at one × compute stand beside each other
    shifts = {family: 1 + 0.03 * (i - 1.5) for i, family in enumerate(FAMILIES)}
    long["times"] *= long["family"].map(shifts)
    long["twice"], long["under"] = 200 * long["floor"], -200 * long["floor"]
    x = alt.X("times:Q", title="× the largest fitted compute", scale=alt.Scale(type="log", nice=False, padding=25))
    y = alt.Y("percent:Q", title=ERROR)
    base = alt.Chart(long)
    floor = base.mark_rule(strokeWidth=16, opacity=0.25, color="gray")
    floor = floor.encode(x, alt.Y("under:Q", title=ERROR), alt.Y2("twice:Q")).transform_filter(
        "datum.law == 'registered law'"
    )
    shape = alt.Shape("family:N", title="family", sort=list(FAMILIES))
    order = ["registered law", *RIVALS.values()]
    colors = alt.Scale(domain=order, range=["#0072b2", "#d55e00", "#cc79a7", "#999999", "#bbbbbb"])
    points = base.mark_point(filled=True, size=60, opacity=0.9).encode(
        x, y, shape, alt.Color("law:N", scale=colors, title="forecast by")
    )
    return (floor + points).properties(
        width=420, height=260, title="Error of the forecast against compute; grey: twice the floor"
    )


def main() -> None:
    """Write the tables into the page, and the figure."""
    tables = read()
    cells = scores(tables)
    made = {"forecasts": forecasts(cells), "rivals": rivals(cells), "differences": differences(cells)}
    if REFERENCE in tables:
        made["multipliers"] = multipliers(tables)
    text = PAGE.read_text(encoding="utf-8")
    for name, part in made.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin not in text or end not in text:
            raise SystemExit(f"{PAGE.name} has no place for the table of {name}, from {begin} to {end}")
        head, rest = text.split(begin)
        text = f"{head}{begin}\n\n{part}\n{end}{rest.split(end)[1]}"
    PAGE.write_text(text, encoding="utf-8")
    picture(cells).save(PAGE.with_suffix(".svg"))


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
