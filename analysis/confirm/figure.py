"""The compute multiplier against C, with its band and the pairs of runs, up to the target."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.confirm.comparison import Confirmations
from isoflop.analysis.confirm.decide import Judgement
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure
from isoflop.analysis.report.plot import FORMATS
from isoflop.errors import FitError, UserError

NAME = "compute_multiplier"
# points of a line
POINTS = 40
TITLE = "compute multiplier: the baseline's compute over its own, for one loss"


def figure(found: Confirmations) -> Figure:
    """Draw each change's multiplier with its band, dotted beyond the largest C; FitError if none has enough runs."""
    parts = [_rows(c.decision).assign(family=c.change) for c in found.changes if c.decision]
    if not parts:
        raise FitError("no change has enough runs, so there is nothing to draw")
    data = pd.concat(parts, ignore_index=True)
    families = list(data["family"].unique())
    x = g.log("C", data)
    shown = pd.concat([data["multiplier"], data["low"], data["high"]]).to_frame("multiplier")
    y = g.log("multiplier", shown, TITLE)
    marks: dict[str, Any] = {"x": x, "y": y, "color": g.hue(families, legend=True)}
    band = marks | {"y": y | {"field": "low"}, "y2": {"field": "high"}}
    layers = [
        g.layer("area", ["line", "beyond"], **band),
        g.layer("zero", "even", y=y),
        g.layer("line", "line", **marks),
        g.layer("beyond", "beyond", **marks),
        g.layer("bar", "target", **band),
        g.layer("solid", "target", **marks),
        g.layer("point", "run", **marks, shape=g.shape(families)),
    ]
    title = f"Compute multiplier over {found.base} against C"
    subtitle = (
        "Points are losses of the change as multipliers, less what its partner was off; the line with its band, dotted "
        "beyond the data; the bar holds every way to go on up to the target. Dashed: no difference."
    )
    alt = g.along(title, data[data["kind"].isin(["line", "beyond"])], x, y)
    return Figure(NAME, title, subtitle, alt, g.single(layers), data)


def _rows(known: Judgement) -> pd.DataFrame:
    """Return the line inside and beyond the data, the target and the runs of one change."""
    points, risk, form = known.line.points, known.rule.now, known.allowed[0]
    rows = [{"kind": "even", "C": np.exp(points.x.min()), "multiplier": 1.0}]
    for kind, first, last in (("line", points.x.min(), points.top), ("beyond", points.top, known.goal)):
        for at in np.linspace(first, last, POINTS):
            value = form.at(at)
            low, high = (np.exp(x) if abs(x) < 700 else np.nan for x in value.ends(risk))
            rows.append({"kind": kind, "C": np.exp(at), "multiplier": np.exp(value.value), "low": low, "high": high})
    end = dict(vars(known.target))
    rows.append({"kind": "target", "C": np.exp(known.goal), "multiplier": end.pop("value"), **end})
    C, multipliers = np.exp(form.measured)
    rows += [{"kind": "run", "C": c, "multiplier": m} for c, m in zip(C, multipliers, strict=True)]
    return pd.DataFrame(rows)


def write(found: Confirmations, path: Path) -> None:
    """Write the figure into a file, whose ending is the format."""
    if path.suffix not in FORMATS:
        raise UserError(f"{path} ends in {path.suffix or 'nothing'}; a figure is written as {', '.join(FORMATS)}")
    figure(found).write(path)
