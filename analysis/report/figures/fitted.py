"""The fitted laws: their parameters, residuals and predictions; and a forecast beside its outcome."""

from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, figure
from isoflop.analysis.report.figures.grammar import shortened, values
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import LEVELS, level_index
from isoflop.analysis.runs.rows import joined
from isoflop.wording import listed, percent

SHOWN = ("E", "alpha", "beta")
TOOLTIP = ("family", "part", "N", "D", "C", "L", "predicted", "low", "high", "off", "seed")


@figure(order=6, needs="a fitted law with an interval for at least one family")
def parameters(view: View) -> Figure:
    """Interval plot of the fitted laws' parameters by family; values that are not identified are hollow."""
    data = _parameters_data(view)
    rows: g.Spec = {"y": g.family_names(view.families), "color": g.hue(view.families)}
    kinds = list(data["kind"].unique())
    x = g.linear("value", None, ticks=5)
    tips = g.tooltip(("family", "parameter", "value", "low", "high", "status"), data)
    marks: g.Spec = rows | {"x": x, "shape": g.shape(view.families), "tooltip": tips}
    layers = [
        g.layer("bar", kinds, x=x | {"field": "low"}, x2={"field": "high"}, **rows),
        # a layer without a row would have no extent
        *(g.layer(mark, kind, **marks) for mark, kind in (("solid", "sound"), ("hollow", "doubtful")) if kind in kinds),
    ]
    chart = g.faceted(layers, data, "parameter", width=225, height=34 * data["family"].nunique())
    chart |= {"resolve": {"scale": {"x": "independent"}}}
    doubtful = dict(zip(data["family"], data["status"], strict=True))
    open_fits = [f"{name} is {status.replace('_', ' ')}" for name, status in doubtful.items() if status != "converged"]
    hollow = f" Hollow: {', '.join(open_fits)}; not an estimate." if open_fits else ""
    level = percent(next(iter(view.laws.values())).level, 0)
    title = "Parameters of the laws, by family" if len(view.families) > 1 else "Parameters of the law"
    subtitle = f"Point and {level} interval over runs; a missing bar is a bound that does not exist.{hollow}"
    return Figure("parameters", title, subtitle, values(title, data, ["family", "parameter"]), chart, data)


def _parameters_data(view: View) -> pd.DataFrame:
    # alpha of a law of D is not comparable with alpha of a law of N and D
    laws = pd.Series({name: fitted.law.name for name, fitted in view.laws.items()}, dtype=object)
    common = laws.mode().iloc[0] if len(laws) else ""
    rows = [
        {"family": name, "parameter": p, "value": e.value, "low": e.low, "high": e.high, "status": fitted.status}
        for name, fitted in view.laws.items()
        for p, e in fitted.params.items()
        if p in SHOWN and e.value is not None and fitted.law.name == common
    ]
    bounded = {r["parameter"] for r in rows if r["low"] is not None and r["high"] is not None}
    if not bounded:
        raise Unmet("no parameter has an interval")
    data = pd.DataFrame([r for r in rows if r["parameter"] in bounded])
    data["kind"] = np.where(data["status"] == "converged", "sound", "doubtful")
    return data.sort_values("parameter", key=lambda names: names.map(SHOWN.index), kind="stable")


@figure(order=21, needs="a fitted law, more runs than it has parameters, and runs that vary in N, D or C")
def residuals(view: View) -> Figure:
    """Residuals of the fitted law against N, D and C: a pattern is a law of the wrong form, not noise."""
    data = _residuals_data(view)
    runs = data[data["kind"] == "run"]
    axes = [
        c for c in ("N", "D", "C") if c in runs and runs[c].notna().all() and level_index(runs[c]).max() + 1 >= LEVELS
    ]
    if not axes:
        raise Unmet("neither N nor D nor C takes three values")
    hue, shape = g.hue(view.families, legend=True), g.shape(view.families, legend=True)
    tips = g.tooltip(("family", "N", "D", "C", "L", "off", "seed"), runs, view.loss_unit)
    views = []
    for axis in axes:
        y = g.linear("off", "observed above the law, ln L [%]" if axis == axes[0] else None)
        point = g.layer("point", "run", x=g.log(axis, runs), y=y, color=hue, shape=shape, tooltip=tips)
        views.append([g.layer("zero", "zero", y=y), point])
    spread = runs.groupby("family")["off"].apply(lambda off: float(np.sqrt((off**2).mean())) / 100)
    scatter = [f"{name} {percent(value, 2)}" for name, value in spread.items()]
    title = f"Residuals of the law{'s' if len(spread) > 1 else ''} against {listed(axes)}"
    subtitle = f"Root mean square: {shortened(scatter)}. A trend along an axis means a wrong form of the law."
    return Figure("residuals", title, subtitle, f"{title}. {subtitle}", g.beside(views, height=220), data)


def _residuals_data(view: View) -> pd.DataFrame:
    parts = []
    for family, fit in view.laws.items():
        if fit.n_rows <= len(fit.params):  # the law goes through every run
            continue
        rows = fit.rows.assign(family=family, off=100 * np.log(fit.rows["L"] / fit.predict(fit.rows)), kind="run")
        parts.append(rows[[c for c in ("family", "kind", "N", "D", "C", "L", "off", "seed") if c in rows]])
    if not parts:
        raise Unmet("no law could be fitted to more runs than it has parameters")
    return pd.concat([*parts, pd.DataFrame([{"kind": "zero", "off": 0.0}])], ignore_index=True)


@figure(order=4, needs="a family that can be fitted without its largest C")
def observed_vs_predicted(view: View) -> Figure:
    """Predicted against observed loss, held-out runs apart, and the residuals: whether a law predicts."""
    data = _observed_vs_predicted_data(view)
    runs = data[data["part"].notna()]
    loss = g.log("L", data, unit=view.loss_unit)
    predicted = loss | {"field": "predicted", "title": f"predicted {loss['title']}"}
    # a band may be far wider than the points spread: the axis fits the points and cuts the band off
    reach = 2 * float(runs["off"].abs().max()) or 1.0
    off = g.linear("off", "predicted less observed, ln L [%]") | {"scale": {"domain": [-reach, reach]}}
    rows: g.Spec = {"y": g.family_names(view.families), "yOffset": "part"}
    hue, shape = g.hue(view.families, legend=True), g.shape(view.families, legend=True)
    marks: g.Spec = {"color": hue, "shape": shape, "tooltip": g.tooltip(TOOLTIP, runs, view.loss_unit)}
    left = [g.layer("guide", "diagonal", x=loss, y=predicted), *_dots(x=loss, y=predicted, **marks)]
    bands = g.layer("bar", "held out", x=off | {"field": "off_low"}, x2={"field": "off_high"}, color=hue, **rows)
    bands["mark"] |= {"strokeWidth": 6, "opacity": 0.15, "clip": True}
    right = [bands, g.layer("zero", "zero", x=off), *_dots(x=off, **rows, **marks)]
    chart = g.beside([left, right], width=330, height=max(320, 24 * len(view.families)))
    title = "Predicted loss against observed loss, largest C held out"
    subtitle = (
        "Filled: held out (the largest C of each family, not seen by the fit), with 90 % bands of noise, parameters "
        "and form. Hollow: the runs that were fitted."
    )
    held = runs[runs["part"] == "held out"].assign(value=runs["off"], low=runs["off_low"], high=runs["off_high"])
    alt = values(f"{title}. Predicted less observed, ln L [%]", held, "family")
    return Figure("observed_vs_predicted", title, subtitle, alt, chart, data)


def _dots(**encoding: Any) -> list[g.Spec]:
    return [g.layer("hollow", "run", **encoding), g.layer("solid", "held out", **encoding)]


def _observed_vs_predicted_data(view: View) -> pd.DataFrame:
    if not view.held:
        reasons = "; ".join(f"{name}: {why}" for name, why in {**view.refused, **view.unheld}.items())
        raise Unmet(reasons or "no family has three C")
    rows = pd.concat([fold.errors for fold in view.held.values()], ignore_index=True)
    # the band is that of a new loss; relative to the observed one it runs from low/L to high/L
    rows = rows.assign(
        part=np.where(rows["held"].astype(bool), "held out", "fitted"),
        off=100 * rows["error"],
        off_low=_off(rows["low"], rows["L"]),
        off_high=_off(rows["high"], rows["L"]),
    )
    rows = rows[[c for c in (*TOOLTIP, "off_low", "off_high") if c in rows]]
    rows = rows.assign(kind=rows["part"].where(rows["part"] != "fitted", "run"))
    both = rows[["L", "predicted"]].to_numpy(float)
    ends = [{"kind": "diagonal", "L": end, "predicted": end} for end in (np.nanmin(both), np.nanmax(both))]
    return pd.concat([rows, pd.DataFrame([*ends, {"kind": "zero", "off": 0.0}])], ignore_index=True)


def _off(bound: pd.Series, L: pd.Series) -> pd.Series:
    """Return how far off a bound is [%]; missing where it overflowed."""
    bound = bound.astype(float)
    positive = bound.where((bound > 0) & (bound < np.inf)).to_numpy()
    return pd.Series(100 * (np.log(positive) - np.log(L.to_numpy(float))), bound.index)


@figure(order=4, needs="a forecast (--forecast) and runs at its points")
def forecast_outcome(view: View) -> Figure:
    """A forecast beside its outcome: the band that was written down, and the loss that came."""
    if view.forecast is None:
        raise Unmet("no forecast was given")
    rows = view.forecast.score.rows
    if rows.empty:
        raise Unmet("no run was made at a point of the forecast")
    by = [c for c in view.forecast.forecast.by if c in rows]
    named = joined(rows, by, ", ") + " " if by else ""
    data = rows.assign(point=named + rows["at"].astype(str), kind="point").reset_index(drop=True)
    y, colour = g.text("point"), {"value": "#0072B2"}
    x = {"type": "quantitative", "title": f"loss [{view.loss_unit}]", "scale": {"zero": False}}
    tips = g.tooltip(("point", "observed", "predicted", "low", "high", "error"), data, view.loss_unit)
    band = {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y, "color": colour}
    layers = [
        g.layer("bar", "point", where="isValid(datum.low)", **band),
        g.layer("hollow", "point", x=x | {"field": "predicted"}, y=y, color=colour, tooltip=tips),
        g.layer("best", "point", x=x | {"field": "observed"}, y=y, color={"value": "#D55E00"}, tooltip=tips),
    ]
    level = percent(view.forecast.score.level, 0)
    title = "Forecast and outcome"
    subtitle = f"Hollow: predicted, with its {level} band; filled: observed."
    predicted = data.assign(value=data["predicted"])
    alt = values(f"{title}: predicted losses with their {level} bands", predicted, "point")
    return Figure("forecast_outcome", title, subtitle, alt, g.single(layers, height=max(60, 26 * len(data))), data)


@figure(order=5, needs="a forecast (--forecast), runs at its points, and the runs that it was fitted to")
def forecast_error(view: View) -> Figure:
    """The error of a forecast by how far it lies beyond the fitted compute, beside what the noise of seeds leaves."""
    if view.forecast is None or (cells := view.forecast.score.cells)["times"].isna().all():
        raise Unmet("no forecast was given, or the runs that it was fitted to are not in the table")
    cells = cells.assign(family=cells["family"].astype(str) if "family" in cells else "all runs")
    families = sorted(cells["family"].unique())
    parts = [
        cells.assign(kind=kind, percent=100 * cells[column])
        for kind, column in (("law", "error"), ("line", "error_line"))
    ]
    floor = 100 * float(cells["floor"].max())
    ends = cells["times"].min() / 1.1, cells["times"].max() * 1.1
    noise = pd.DataFrame({"kind": "floor", "times": ends, "low": -floor, "high": floor, "percent": 0.0})
    data = pd.concat([*parts, noise], ignore_index=True)
    x, y = g.log("times", data, "compute, in times of the largest fitted"), g.linear("percent", "error of the loss [%]")
    tips = g.tooltip(("family", "at", "times", "percent", "runs"), data)
    look: g.Spec = {"color": g.hue(families, legend=True), "shape": g.shape(families, legend=True)}
    layers = [
        g.layer("area", "floor", x=x, y=y | {"field": "low"}, y2={"field": "high"}),
        g.layer("guide", "floor", x=x, y=y),
        g.layer("hollow", "line", x=x, y=y, tooltip=tips, **look),
        g.layer("best", "law", x=x, y=y, tooltip=tips, **look),
    ]
    title = "Error of the forecast against compute"
    known = f"Shaded: the median error that the noise of seeds leaves, {floor:.2f} %. " if np.isfinite(floor) else ""
    subtitle = f"Filled: the forecast; hollow: a straight line. {known}Means of the runs at each point."
    return Figure("forecast_error", title, subtitle, g.along(title, parts[0], x, y), g.single(layers), data)
