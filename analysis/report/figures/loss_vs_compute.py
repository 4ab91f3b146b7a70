"""Loss against compute with each family's envelope: what a budget buys."""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures.base import Figure, Unmet, family_scales, log_axis
from isoflop.analysis.report.view import View
from isoflop.analysis.tables.replicates import level_index
from isoflop.wording import listed, number

NAME = "loss_vs_compute"
ORDER = 1
NEEDS = "finished runs with C and L at two or more C"


def draw(view: View) -> Figure:
    """Points are runs, the line of a family joins its best size at each C."""
    import altair as alt

    data = _data(view)
    colour, shape = family_scales(view.families)
    chosen = alt.selection_point(fields=["family"], bind="legend")
    seen = alt.condition(chosen, alt.value(1.0), alt.value(0.12))
    x = alt.X("C:Q", **log_axis("C", data["C"], loss_unit=view.loss_unit))
    y = alt.Y("L:Q", **log_axis("L", data["L"], loss_unit=view.loss_unit))
    legend = alt.Legend(title=None, orient="top")
    hue = alt.Color("family:N", scale=colour, legend=legend)
    base = alt.Chart(data).encode(x=x, y=y, color=hue)
    dots = base.transform_filter("datum.kind == 'run'").mark_point(filled=True, size=38, opacity=0.55)
    dots = dots.encode(shape=alt.Shape("family:N", scale=shape, legend=legend), opacity=seen, tooltip=_tooltip(data))
    line = base.transform_filter("datum.kind == 'envelope'").mark_line(strokeWidth=2.5).encode(opacity=seen)
    chart = (line + dots.add_params(chosen)).properties(width=680, height=380)
    sds = [noise.sd for noise in view.noise.values() if noise.sd is not None]
    # a difference in loss counts from .5 % or two seed standard deviations, as in the claims
    title, alt_text = _finding(data, max(0.005, 2 * max(sds, default=0.0)), view.loss_unit)
    subtitle = "A point is a run; the line joins each family's best size at each C."
    return Figure(NAME, title, subtitle, alt_text, chart, data)


def _data(view: View) -> pd.DataFrame:
    if "C" not in view.rows or view.rows["C"].isna().all():
        raise Unmet("no run has a C")
    rows = view.rows[view.rows["C"].notna()]
    rows = rows.assign(level=level_index(rows["C"]), kind="run")
    if rows["level"].nunique() < 2:
        raise Unmet("all runs have the same C")
    size = "N" if "N" in rows else "C"
    means = rows.groupby(["family", "level", size])[["C", "L"]].mean().reset_index() if size != "C" else rows
    best = means.loc[means.groupby(["family", "level"])["L"].idxmin()].assign(kind="envelope")
    columns = [c for c in ("kind", "family", "C", "L", "N", "D", "seed", "rung") if c in rows]
    return pd.concat([rows[columns], best.reindex(columns=columns)], ignore_index=True)


def _tooltip(data: pd.DataFrame) -> list[str]:
    return [c for c in ("family", "N", "D", "C", "L", "seed", "rung") if c in data]


def _finding(data: pd.DataFrame, tolerance: float, unit: str) -> tuple[str, str]:
    """Who is lowest at the smallest and the largest compute that all families share, and what is seen."""
    best = data[data["kind"] == "envelope"].assign(level=lambda d: level_index(d["C"]))
    families = best["family"].nunique()
    shared = best.groupby("level").filter(lambda g: g["family"].nunique() == families)
    spans = [
        f"{name} from {part['L'].iloc[0]:.3g} to {part['L'].iloc[-1]:.3g}" for name, part in best.groupby("family")
    ]
    seen = f"Loss falls with compute: {'; '.join(spans)} {unit}."
    if shared.empty:
        return "Loss falls with compute", seen
    ends = [shared[shared["level"] == end].sort_values("L") for end in (shared["level"].min(), shared["level"].max())]
    if families == 1 or len(ends[0]) == 0:
        return f"{spans[0]} {unit} over the range of C", seen
    lead = f"{_lead(ends[0], tolerance, unit)}; {_lead(ends[1], tolerance, unit)}"
    return lead[0].upper() + lead[1:], seen


def _lead(cell: pd.DataFrame, tolerance: float, unit: str) -> str:
    """Who is lowest at one C; families within the tolerance of the lowest are level with it."""
    lowest = float(cell["L"].iloc[0])
    level = [str(name) for name, L in zip(cell["family"], cell["L"], strict=True) if np.log(L / lowest) <= tolerance]
    at = number(float(np.exp(np.log(cell["C"]).mean())))
    return f"at {at} FLOPs {listed(level)} {'are level' if level[1:] else 'is lowest'} ({lowest:.3g} {unit})"
