"""Draw how the runs were made: learning rates, seeds, widths and depths."""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, figure
from isoflop.analysis.report.figures.grammar import MOST_READ, shortened
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import level_index
from isoflop.wording import count, percent

TRIED, MOST = 3, 8


@figure(order=30, needs="three or more learning rates at one size and amount of data")
def rates(view: View) -> Figure:
    """Loss against the learning rate at each size: whether the best rate lies inside what was tried, and how it
    moves.
    """
    data = best_rates(view)
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


def best_rates(view: View) -> pd.DataFrame:
    """Return mean losses by rate of at most MOST sizes, at the largest amount of data searched, and the best."""
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


@figure(order=7, needs="two or more depths and widths at one amount of data")
def width_depth(view: View) -> Figure:
    """Loss over width and depth at one amount of data: whether the shape of a model matters, and which shape is
    best.
    """
    data = _width_depth_data(view)
    x = g.log("width", data, "width")
    y = g.log("depth", data, "depth")
    colour = {
        "field": "above", "type": "quantitative", "title": "above the lowest [%]",
        "scale": {"scheme": "viridis", "reverse": False}, "legend": {"orient": "top", "gradientLength": 160},
    }  # fmt: skip
    tips = g.tooltip(("family", "width", "depth", "N", "D", "L", "above"), data, view.loss_unit)
    layers = [
        g.layer("best", "cell", x=x, y=y, color=colour, tooltip=tips),
        g.layer("note", "cell", x=x, y=y, text={"field": "L", "type": "quantitative", "format": ".3~g"}),
    ]
    best = data.loc[data.groupby("family")["L"].idxmin()]
    lowest = [f"{r.family} {r.L:.3g} at width {r.width:g} and depth {r.depth:g}" for r in best.itertuples()]
    title = "Loss by width and depth"
    spread, D = percent(float(data["above"].max()) / 100), count(float(data["D"].mean()))
    subtitle = f"Mean loss of each shape at D near {D}; shapes differ by up to {spread}, partly because sizes differ."
    alt = f"{title}. Lowest loss: {shortened(lowest, between='; ')}."
    return Figure("width_depth", title, subtitle, alt, g.faceted(layers, data), data)


def _width_depth_data(view: View) -> pd.DataFrame:
    """Return the mean loss of each shape at the amount of data that most shapes share, for each family."""
    if not {"width", "depth", "D"} <= set(view.rows) or view.rows[["width", "depth"]].isna().all().any():
        raise Unmet("no run has a width and a depth")
    parts = []
    for family, rows in view.rows.dropna(subset=["width", "depth", "D"]).groupby("family"):
        shapes = rows.assign(level=level_index(rows["D"]))
        cells = (
            shapes.groupby(["level", "width", "depth"])[[c for c in ("L", "N", "D") if c in rows]].mean().reset_index()
        )
        levels = cells.groupby("level").agg(widths=("width", "nunique"), depths=("depth", "nunique"), n=("L", "size"))
        levels = levels[(levels["widths"] > 1) & (levels["depths"] > 1)]
        if len(levels):
            top = levels[levels["n"] == levels["n"].max()].index.max()
            parts.append(cells[cells["level"] == top].assign(family=family, kind="cell"))
    if not parts:
        raise Unmet("no amount of data has two depths and two widths")
    data: pd.DataFrame = pd.concat(parts, ignore_index=True)
    least = data.groupby("family")["L"].transform("min")
    data["above"] = 100 * (data["L"] / least - 1)
    return data
