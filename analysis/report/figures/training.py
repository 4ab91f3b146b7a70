"""How the runs were trained: learning rates, seeds, and steps at each width."""

import math

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, figure
from isoflop.analysis.report.figures.grammar import MOST_READ, interval, shortened
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import level_index
from isoflop.wording import count, percent

TRIED, MOST = 3, 8
PREFIX = "probe.coordinates."
# least number of widths for a slope
WIDTHS = 3


@figure(order=30, needs="three or more learning rates at one size and amount of data")
def rates(view: View) -> Figure:
    """Loss against the learning rate at each size: whether the best rate lies inside what was tried, and how it
    moves.
    """
    data = _rates_data(view)
    unit = view.loss_unit
    x, y = g.log("lr", data), g.log("L", data, unit=unit)
    colour = {
        "field": "N", "type": "quantitative", "scale": {"type": "log", "scheme": "viridis"},
        "legend": None,
    }  # fmt: skip
    tips = g.tooltip(("family", "N", "D", "lr", "batch", "L"), data, unit)
    edge = {"condition": {"test": "datum.edge", "value": "triangle-up"}, "value": "circle"}
    layers = [
        g.layer("thin", "tried", x=x, y=y, color=colour, detail="place"),
        g.layer("point", "tried", x=x, y=y, color=colour, tooltip=tips),
        g.layer("best", "best", x=x, y=y, color=colour, shape=edge, tooltip=tips),
        g.layer("note", "best", x=x, y=y, text="label"),
    ]
    best = data[data["kind"] == "best"]
    chosen = [
        f"{r['family']}, N {count(r['N'])}: lr {r['lr']:.3g}{' (edge)' * bool(r['edge'])}" for _, r in best.iterrows()
    ]
    title = "Loss against learning rate, by size"
    subtitle = (
        "Mean loss at the best batch for each rate. A triangle marks a best rate on the edge of those tried: a better "
        "one may lie beyond."
    )
    alt = f"{title}. Best rates: {shortened(chosen, MOST_READ, '; ')}."
    return Figure("rates", title, subtitle, alt, g.faceted(layers, data), data)


def _rates_data(view: View) -> pd.DataFrame:
    """Return mean losses by rate of at most MOST sizes, at the largest amount of data that was searched."""
    rows = view.searched
    if not {"lr", "N", "D"} <= set(rows) or rows["lr"].isna().all():
        raise Unmet("no run has a learning rate, a size and an amount of data")
    parts = []
    for family, part in rows.dropna(subset=["lr", "N", "D"]).groupby("family"):
        places = part.groupby(["N", level_index(part["D"])])
        tried = {place: cell for place, cell in places if cell["lr"].nunique() >= TRIED}
        largest = {float(cell["N"].iloc[0]): cell for cell in tried.values()}
        step = max(1, -(-len(largest) // MOST))
        for N in sorted(largest, reverse=True)[::step]:
            parts.append(_of_size(largest[N]).assign(family=family))
    if not parts:
        raise Unmet(f"no size has {TRIED} learning rates at one amount of data")
    return pd.concat(parts, ignore_index=True)


def _of_size(cell: pd.DataFrame) -> pd.DataFrame:
    """Return the mean loss of one size at each rate, at the best batch where that was searched, and the best rate."""
    keys = [c for c in ("lr", "batch") if c in cell and cell[c].notna().any()]
    means = cell.groupby(keys)["L"].mean().reset_index()
    means = means.loc[means.groupby("lr")["L"].idxmin()].sort_values("lr")
    N, D = float(cell["N"].iloc[0]), float(cell["D"].mean())
    table = means.assign(N=N, D=D, kind="tried", place=f"{N:g} {D:g}")
    best = table[table["L"] == table["L"].min()].head(1)
    on_edge = bool(best["lr"].iloc[0] in (table["lr"].min(), table["lr"].max()))
    chosen = best.assign(kind="best", edge=on_edge, label=f"N {count(N)}")
    both: pd.DataFrame = pd.concat([table, chosen], ignore_index=True)
    return both


@figure(order=31, needs="two or more seeds of one configuration")
def seed_noise(view: View) -> Figure:
    """The scatter of the loss over seeds at each scale: what a difference between two runs must exceed."""
    data = _seed_noise_data(view)
    params, seen = g.chosen(view.families)
    axis = str(data["axis"].iloc[0])
    x = g.log("x", data, "training compute, C = 6 N D [FLOPs]" if axis == "C" else axis)
    y = g.log("sd", data, "standard deviation of ln L over seeds [%]")
    hue, shape = g.hue(view.families, legend=True), g.shape(view.families, legend=True)
    tips = g.tooltip(("family", "N", "D", "n", "sd", "low", "high"), data)
    ends: g.Spec = {"y": y | {"field": "low"}, "y2": {"field": "high"}}
    layers = [
        g.layer("whisker", "cell", x=x, color=hue, opacity=seen, **ends),
        g.layer("guide", "pooled", x=x, y=y, color=hue),
        g.layer("best", "cell", x=x, y=y, color=hue, shape=shape, opacity=seen, tooltip=tips),
    ]
    pooled = [f"{name} {percent(n.sd, 2)}" for name, n in view.noise.items() if n.sd]
    title = "Scatter of the loss over seeds, against compute"
    subtitle = "Bars are 95 % intervals of a standard deviation from few seeds; dashed: pooled over the configurations."
    alt = f"{title}. Pooled standard deviation of ln L: {shortened(pooled, MOST_READ)}."
    return Figure("seed_noise", title, subtitle, alt, g.single(layers, height=300, params=params), data)


def _seed_noise_data(view: View) -> pd.DataFrame:
    """Return configurations with several seeds, and each family's pooled value over their span."""
    from scipy.special import chdtri

    parts = []
    for family, noise in view.noise.items():
        cells = noise.cells[noise.cells["sd"] > 0] if len(noise.cells) else noise.cells
        if not noise.sd or cells.empty or "N" not in cells or "D" not in cells:
            continue
        cells = cells[["N", "D", "n", "sd"]].astype(float).assign(x=lambda c: 6 * c["N"] * c["D"])
        df = cells["n"] - 1
        # the interval of a standard deviation of normal residuals, by chi squared
        low, high = (100 * cells["sd"] * np.sqrt(df / chdtri(df, p)) for p in (0.025, 0.975))
        cells = cells.assign(sd=100 * cells["sd"], low=low, high=high, kind="cell", axis="C", family=family)
        ends = pd.DataFrame({"x": [cells["x"].min() / 1.3, cells["x"].max() * 1.3], "sd": 100 * noise.sd})
        parts += [cells, ends.assign(kind="pooled", family=family, axis="C")]
    if not parts:
        raise Unmet("no configuration has two seeds")
    return pd.concat(parts, ignore_index=True)


@figure(order=32, needs="columns probe.coordinates.NAME, the change of an activation, at three or more widths")
def coordinate_check(view: View) -> Figure:
    """Coordinate check: how much a step changes the activations against the width.

    With a right parametrization the change is the same at every width.

    Columns probe.coordinates.NAME hold the root mean square change of an activation; benchmarks/coordinates.py --csv
    writes such a table. Source: muP, arXiv:2203.03466, appendix D.1.
    """
    data, slopes = _coordinate_check_data(view)
    families = [str(name) for name in data["family"].unique()]
    hue = g.hue(families, legend=True)
    x, y = g.log("width", data, "width"), g.log("change", data, "root mean square change of the activation")
    tips = g.tooltip(("family", "activation", "width", "depth", "change"), data)
    layers = [
        g.layer("thin", "change", x=x, y=y, color=hue),
        g.layer("point", "change", x=x, y=y, color=hue, tooltip=tips),
    ]
    title = "Change of activations in the first steps against width"
    subtitle = (
        f"Slopes of logarithm on logarithm, with 95 % intervals: {shortened(slopes)}. "
        "0: a step changes the activation equally at every width."
    )
    return Figure(
        "coordinate_check", title, subtitle, f"{title}. {subtitle}", g.faceted(layers, data, "activation"), data
    )


def _coordinate_check_data(view: View) -> tuple[pd.DataFrame, list[str]]:
    """Return the mean change by family, activation and width, at the depth that most widths share, and each slope."""
    columns = [str(c) for c in view.searched if str(c).startswith(PREFIX)]
    if not columns or "width" not in view.searched:
        raise Unmet(f"no run has a width and a column {PREFIX}NAME")
    parts, slopes = [], []
    for name in columns:
        rows = view.searched[view.searched[name].notna() & (view.searched[name] > 0) & view.searched["width"].notna()]
        for family, part in rows.groupby("family"):
            if "depth" in part:
                widths = part.groupby("depth")["width"].nunique()
                part = part[part["depth"] == widths.idxmax()] if len(widths) else part
            means = part.groupby("width")[name].mean()
            if len(means) < WIDTHS:
                continue
            activation = name.removeprefix(PREFIX)
            table = pd.DataFrame({"width": means.index.astype(float), "change": means.to_numpy(float)})
            parts.append(table.assign(family=family, activation=activation, kind="change"))
            slopes.append(f"{activation} of {family} {_slope(table)}")
    if not parts:
        raise Unmet(f"no family has {WIDTHS} widths with a change of an activation")
    return pd.concat(parts, ignore_index=True), slopes


def _slope(table: pd.DataFrame) -> str:
    """Return the least-squares slope of ln change on ln width, with Student's interval."""
    x, y = (np.log(table[c].to_numpy(float)) for c in ("width", "change"))
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    free = len(x) - 2
    half = float(stdtrit(free, 0.975)) * math.sqrt(float(((y - slope * x) ** 2).sum()) / free / float(x @ x))
    return interval(slope, slope - half, slope + half, "+.2f")
