"""The scatter of the loss over seeds at each scale: what a difference between two runs must exceed."""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.words import MOST_READ, shortened
from isoflop.analysis.report.view import View
from isoflop.wording import percent

NAME = "seed_noise"
ORDER = 31
NEEDS = "two or more seeds of one configuration"


def draw(view: View) -> Figure:
    """Draw a point for each configuration with several seeds, and the pooled value of a family, dashed."""
    data = _data(view)
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
    return Figure(NAME, title, subtitle, alt, g.single(layers, height=300, params=params), data)


def _data(view: View) -> pd.DataFrame:
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
