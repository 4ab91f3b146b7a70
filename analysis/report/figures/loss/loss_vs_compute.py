"""Loss against compute with each family's envelope and its law beyond the runs: what a budget buys."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from isoflop.analysis.laws.flops import TRAIN
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.replicates import cell_columns
from isoflop.wording import listed, number

NAME = "loss_vs_compute"
ORDER = 1
NEEDS = "finished runs with C and L at two or more C"
# the law is drawn so many times beyond the largest compute, and at so many points
BEYOND, POINTS = 10.0, 20
# a difference in loss counts from .5 % or two seed standard deviations, as in the claims
LEAST = 0.005


def draw(view: View) -> Figure:
    """Points are runs, the line of a family is its envelope, dotted is its law at the best split."""
    data = _data(view)
    direct = len(view.families) <= g.DIRECT
    families, unit = view.families, view.loss_unit
    params, seen = g.chosen(families)
    x, y = g.log("C", data, unit=unit), g.log("L", data, unit=unit)
    hue = g.hue(families, legend=not direct)
    place: dict[str, Any] = {"x": x, "y": y}
    band: dict[str, Any] = {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}, "color": hue}
    tips = g.tooltip(("family", "N", "D", "C", "L", "seed", "rung"), data, unit)
    layers = [
        g.layer("area", "law", **band),
        g.layer("beyond", "law", **place, color=hue, opacity=seen),
        g.layer("line", "envelope", **place, color=hue, opacity=seen),
        g.layer("text", "label", **place, color=hue, text="label"),
        g.layer(
            "point", "run", **place, color=hue, shape=g.shape(families, legend=not direct), opacity=seen, tooltip=tips
        ),
    ]
    sds = [noise.sd for noise in view.noise.values() if noise.sd is not None]
    title, alt = _finding(data.attrs["best"], max(LEAST, 2 * max(sds, default=0.0)), unit)
    drawn = [view.splits(str(family)) for family in data.loc[data["kind"] == "law", "family"].unique()]
    split = " at the best split of each C" if all(drawn) else ", at the best split where it has one"
    lawful = f" Dotted: the law{split if any(drawn) else ''}, with its 90 % band for a new run." if drawn else ""
    best = "best runs, seeds by their mean" if sds else "best runs"
    subtitle = f"A point is a run; the line joins the {best}, each better than all with less compute.{lawful}"
    return Figure(NAME, title, subtitle, alt, g.single(layers, params=params), data)


def _data(view: View) -> pd.DataFrame:
    """Runs, envelopes, laws beyond them, and the names at the ends."""
    if "C" not in view.rows or view.rows["C"].isna().all():
        raise Unmet("no run has a C")
    rows = view.rows[view.rows["C"].notna()]
    rows = rows.assign(level=level_index(rows["C"]), kind="run")
    if rows["level"].nunique() < 2:
        raise Unmet("all runs have the same C")
    # a compute and a size are an amount of data; of what else was set the best counts, and of seeds the mean
    alike = [c for c in cell_columns(view.rows) if c not in ("family", "C", "D")]
    means = rows.groupby(["family", "level", *alike], dropna=False)[["C", "L"]].mean().reset_index()
    best = means.loc[means.groupby(["family", "level"])["L"].idxmin()].assign(kind="envelope")
    # noise, and budgets of other sizes, make a best run that less compute had beaten: it is not on the envelope
    beaten = best.groupby("family")["L"].transform(lambda L: L.cummin().shift(fill_value=np.inf)) <= best["L"]
    columns = [c for c in ("kind", "family", "C", "L", "N", "D", "seed", "rung") if c in rows]
    parts = [rows[columns], best[~beaten].reindex(columns=columns), *_laws(view)]
    data = pd.concat(parts, ignore_index=True)
    if 1 < len(view.families) <= g.DIRECT:
        lines = data[data["kind"].isin(["envelope", "law"])]
        ends = lines.loc[lines.groupby("family")["C"].idxmax(), ["family", "C", "L"]]
        data = pd.concat([data, g.labels(ends, "C", "L")], ignore_index=True)
    data.attrs["best"] = best
    return data


def _laws(view: View) -> list[pd.DataFrame]:
    """The loss of each identified law of compute, or at its best split, within the compute of its runs and BEYOND times
    further."""
    parts = []
    for family, fit in view.laws.items():
        if not (view.splits(family) or fit.law.columns == ("C",)) or fit.status != "converged":
            continue
        C = view.compared(family)["C"]
        place = pd.DataFrame({"C": np.geomspace(C.min(), BEYOND * C.max(), POINTS)})
        if view.splits(family):
            N = np.array([float(fit.law.curve("N_opt", c, fit.values)) for c in place["C"]])
            place = place.assign(N=N, D=place["C"] / TRAIN / N)[np.isfinite(N) & (N > 0)]
        band = fit.predict_interval(place)
        about = {"family": family, "kind": "law", "C": place["C"], "L": band["value"]}
        parts.append(pd.DataFrame(about | {"low": band["low"], "high": band["high"]}))
    return parts


def _finding(data: pd.DataFrame, tolerance: float, unit: str) -> tuple[str, str]:
    """Who is lowest at the smallest and the largest compute that all families share, and what is seen."""
    best = data.assign(level=level_index(data["C"]))
    families = best["family"].nunique()
    shared = best.groupby("level").filter(lambda g: g["family"].nunique() == families)
    spans = [
        f"{name} from {part['L'].iloc[0]:.3g} to {part['L'].iloc[-1]:.3g}" for name, part in best.groupby("family")
    ]
    falls = [bool(part["L"].iloc[-1] < part["L"].iloc[0]) for _, part in best.groupby("family")]
    lead = "Loss falls with compute" if all(falls) else "The loss does not fall with compute everywhere"
    if families == 1:
        span = spans[0].removeprefix(f"{best['family'].iloc[0]} ")
        title = "The lowest loss goes" if all(falls) else "The loss does not fall with compute: the lowest goes"
        lead = lead.removesuffix(" everywhere")
        return f"{title} {span} {unit} as compute grows", f"{lead}: {spans[0]} {unit}."
    seen = f"{lead}: {'; '.join(spans)} {unit}."
    if shared.empty:
        return lead, seen
    ends = [shared[shared["level"] == end] for end in sorted({shared["level"].min(), shared["level"].max()})]
    first, *rest = (_lead(end, tolerance) for end in ends)
    if rest and rest[0].who == first.who:
        return f"At {first.at} and at {rest[0].at} FLOPs {first.who} ({first.L} and {rest[0].L} {unit})", seen
    return "A" + "; ".join(f"at {one.at} FLOPs {one.who} ({one.L} {unit})" for one in (first, *rest))[1:], seen


class _Lead(NamedTuple):
    """Who is lowest at a compute, in words, and how low that is."""

    at: str
    who: str
    L: str


def _lead(cell: pd.DataFrame, tolerance: float) -> _Lead:
    """Who is lowest at one C; families within the tolerance of the lowest are level with it."""
    lowest = float(cell["L"].min())
    level = sorted(
        str(name) for name, L in zip(cell["family"], cell["L"], strict=True) if np.log(L / lowest) <= tolerance
    )
    names = listed(level) if len(level) <= g.MOST_IN_TITLE else g.some(level)
    who = f"{names} {'are level' if level[1:] else 'is lowest'}"
    return _Lead(number(float(np.exp(np.log(cell["C"]).mean()))), who, f"{lowest:.3g}")
