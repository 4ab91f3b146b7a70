"""The scatter of the loss over seeds at each scale: what a difference between two runs must exceed."""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.view import View
from isoflop.wording import percent

NAME = "seed_noise"
ORDER = 31
NEEDS = "two or more seeds of one configuration"


def draw(view: View) -> Figure:
    """A point is a configuration with several seeds; the dashed line is the pooled value of a family."""
    data = _data(view)
    params, seen = g.chosen(view.families)
    axis = str(data["axis"].iloc[0])
    x, y = (
        g.log("x", data, "training compute, C = 6 N D [FLOPs]" if axis == "C" else axis),
        g.log("sd", data, "standard deviation of ln L over seeds [%]"),
    )
    hue = g.hue(view.families, legend=len(view.families) > 1)
    tips = g.tooltip(("family", "N", "D", "n", "sd", "low", "high"), data)
    layers = [
        g.layer("whisker", "cell", x=x, y=y | {"field": "low"}, y2={"field": "high"}, color=hue, opacity=seen),
        g.layer("guide", "pooled", x=x, y=y, color=hue),
        g.layer(
            "best",
            "cell",
            x=x,
            y=y,
            color=hue,
            shape=g.shape(view.families, legend=len(view.families) > 1),
            opacity=seen,
            tooltip=tips,
        ),
    ]
    pooled = {name: percent(n.sd, 2) for name, n in view.noise.items() if n.sd}
    title = f"Runs that differ only in their seed scatter by {g.of_each(view.families, pooled)}"
    subtitle = (
        "Bars are 95 % intervals of a standard deviation from so few seeds; dashed: pooled over the configurations."
    )
    return Figure(
        NAME,
        title,
        subtitle,
        f"Scatter over seeds at each scale. {title}.",
        g.single(layers, height=300, params=params),
        data,
    )


def _data(view: View) -> pd.DataFrame:
    """Configurations with several seeds, and each family's pooled value over their span."""
    from scipy.special import chdtri

    parts = []
    for family, noise in view.noise.items():
        cells = noise.cells[noise.cells["sd"] > 0] if len(noise.cells) else noise.cells
        if not noise.sd or cells.empty or "N" not in cells or "D" not in cells:
            continue
        cells = (
            cells[["N", "D", "n", "sd"]].astype(float).assign(x=6 * cells["N"].astype(float) * cells["D"].astype(float))
        )
        df = cells["n"] - 1
        # the interval of a standard deviation of normal residuals, by chi squared
        low, high = (100 * cells["sd"] * np.sqrt(df / chdtri(df, p)) for p in (0.025, 0.975))
        cells = cells.assign(sd=100 * cells["sd"], low=low, high=high, kind="cell", axis="C", family=family)
        ends = pd.DataFrame({"x": [cells["x"].min() / 1.3, cells["x"].max() * 1.3], "sd": 100 * noise.sd})
        parts += [cells, ends.assign(kind="pooled", family=family, axis="C")]
    if not parts:
        raise Unmet("no configuration has two seeds")
    return pd.concat(parts, ignore_index=True)
