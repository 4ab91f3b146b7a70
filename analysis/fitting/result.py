"""What a fit is: estimates with bounds that may not exist, a status in words, and the rows it stands on.

result = fit(runs, "chinchilla")
print(result)                                   # a table
result.params["alpha"].value, result.status     # 0.347, 'converged'
result.predict_interval(pd.DataFrame({"N": [1e9], "D": [2e10]}))
result.save("chinchilla.json"); load_fit("chinchilla.json")
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.local import Local, local_quantities
from isoflop.analysis.fitting.optimum import Optimum, Starts
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.declare import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.errors import FitError

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True, repr=False)
class Fit:
    """The estimate of a law on some rows; soft trouble is in `status`, `reason` and `notes`.

    law             the law that was fitted
    by              the label of the group, {'family': 'mlp'}; empty for all rows
    loss            huber, l1, l2, raw_huber, raw_l1 or raw_l2
    delta           where Huber's loss turns linear; None for a loss without one
    status          how far the fit may be believed, a FitStatus (a str)
    reason          why the status; empty where it is converged
    params          the parameters of the law by name
    derived         quantities that follow from them by name, such as the exponents a and b of the best split
    objective       the sum over rows of the loss of residuals, as it is published; None without a fit
    gradient_norm   what a full step would still lower the objective by, as a share of it; None without a fit
    starts          how many starts were tried, and how many reached the best objective
    n_rows          rows that were fitted
    n_runs          runs they belong to
    rows            the rows themselves, with the index of the table they came from
    excluded        (reason, rows) for each kind of row that was left out
    interval        the method of the intervals: jackknife, bootstrap or none
    level           their coverage
    notes           what else should be known of the rows, the options, the intervals
    no_interval     the first reason why an interval is missing; empty where all are there
    lack            words for a law that misses its runs along a trend; empty for any other; among the notes, too
    optimum         what predictions are made from; None without a fit
    """

    law: Law
    by: dict[str, Any]
    loss: str
    delta: float | None
    status: FitStatus
    reason: str
    params: dict[str, Estimate]
    derived: dict[str, Estimate]
    objective: float | None
    gradient_norm: float | None
    starts: Starts
    n_rows: int
    n_runs: int
    rows: pd.DataFrame
    excluded: list[tuple[str, int]]
    interval: str
    level: float
    notes: tuple[str, ...] = ()
    no_interval: str = ""
    lack: str = ""
    optimum: Optimum | None = field(default=None, repr=False)

    @property
    def heading(self) -> str:
        """The law and the group in words."""
        return f"{self.law.formula}{''.join(f'  {k}={v}' for k, v in self.by.items())}"

    @property
    def standing(self) -> str:
        """The status and its reason in words."""
        return f"{self.status}: {self.reason}" if self.reason else str(self.status)

    @property
    def explanation(self) -> str:
        """The reason of the status and the notes, as one text."""
        return "; ".join(filter(None, [self.reason, *self.notes]))

    @property
    def unidentified(self) -> bool:
        """Whether the parameters are not identified, so that what the runs tell is read off at a point among them."""
        return self.status is FitStatus.NOT_IDENTIFIED and self.optimum is not None

    @property
    def splits(self) -> bool:
        """Whether it says how to split a compute: the exponent of its best size is identified."""
        a = self.derived.get("a")
        return a is None or self.status is FitStatus.CONVERGED or a.low is not None

    @property
    def draws(self) -> dict[str, Array] | None:
        """Resampled parameters by name, (draws,) each; None where the intervals are not from resampling."""
        return None if self.optimum is None else self.optimum.draws

    @property
    def values(self) -> dict[str, float]:
        """The parameters as numbers."""
        return {name: float(e.value) for name, e in self.params.items() if e.value is not None}

    def quantity(self, function: Callable[..., Any], *, level: float | None = None, log: bool = False) -> Estimate:
        """Measure any function of the parameters, with an interval by this fit's method.

        function   takes the parameters by name, as numbers or as arrays of draws
        level      coverage of the interval; that of the fit by default
        log        whether the interval is of the logarithm, for a positive quantity
        """
        if self.optimum is None:
            return Estimate(None)
        return self.optimum.measure(function, level or self.level, log=log)[0]

    def local(self, at: Mapping[str, float] | None = None, level: float | None = None, *, bent: bool = False) -> Local:
        """Return slopes, loss and best split at a point among the runs, which may be known even if the parameters are
        not.

        at      columns of the law and numbers above 0, {"N": 1e8}; by default the geometric centre of the rows
        level   coverage of the intervals; that of the fit by default
        bent    whether also with the intervals that hold if terms of the law bend
        """
        local = local_quantities(self.law, self.rows, self.optimum, at, level or self.level)
        if not bent or self.optimum is None:
            return local
        from isoflop.analysis.fitting.bent import bend

        return bend(self.optimum, self.rows, local, self.params)

    def curve(self, name: str, C: Any, level: float | None = None) -> pd.DataFrame:
        """Return a derived curve of the law ('N_opt', 'D_opt') at compute C [FLOPs], with its interval."""
        C = np.atleast_1d(np.asarray(C, dtype=float))
        points = [self.quantity(lambda c=c, **p: self.law.curve(name, c, p), level=level, log=True) for c in C]
        columns = {side: [getattr(e, side) for e in points] for side in ("value", "low", "high")}
        return pd.DataFrame({"C": C} | columns, dtype=float)

    def predict(self, frame: pd.DataFrame) -> Array:
        """Return the law at the rows of `frame`, in the units of its target."""
        columns = self._columns(frame)
        with np.errstate(all="ignore"):
            return np.asarray(np.broadcast_to(self.law(*columns, **self.values), len(frame)), dtype=float)

    def predict_interval(self, frame: pd.DataFrame, level: float = 0.9) -> pd.DataFrame:
        """Return value, low and high for a new run at the rows of `frame`, by the fit's uncertainty and the scatter of
        runs together; NaN bounds if the fit has no draws."""
        value, columns = self.predict(frame), self._columns(frame)
        bounds = np.full((2, len(frame)), np.nan)
        if self.optimum is not None:
            # rows at one place have one band, and a long table has few places
            places, first, back = np.unique(np.stack(columns), axis=1, return_index=True, return_inverse=True)
            band = self.optimum.band(value[first], list(places), level, by_run=self.n_runs == self.n_rows)
            bounds = band[:, back.reshape(-1)]
        return pd.DataFrame({"value": value, "low": bounds[0], "high": bounds[1]}, index=frame.index)

    def _columns(self, frame: pd.DataFrame) -> list[Array]:
        if len(self.values) < len(self.params):
            raise FitError(f"{self.law.name} could not be fitted ({self.explanation}), so it predicts nothing")
        missing = [c for c in self.law.columns if c not in frame]
        if missing:
            raise FitError(
                f"{self.law.name} predicts from {', '.join(self.law.columns)}; {', '.join(missing)} not given"
            )
        return [np.asarray(frame[c], dtype=float) for c in self.law.columns]

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each parameter and derived quantity: name, value, low, high."""
        rows = [{**self.by, "name": k, "value": e.value, "low": e.low, "high": e.high} for k, e in self._all().items()]
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """Return one entry of `fits` in the JSON of `isoflop fit --json`; its `reason` is the reason and the notes, and
        it has `local` if the parameters are not identified."""
        local = self.local(bent=True)
        return ({"local": local.to_json()} if self.unidentified else {}) | {
            "by": {k: v.item() if hasattr(v, "item") else v for k, v in self.by.items()},
            "status": str(self.status),
            "reason": self.explanation,
            "n_rows": self.n_rows,
            "n_runs": self.n_runs,
            "objective": self.objective,
            "gradient_norm": self.gradient_norm,
            "params": {k: vars(e) for k, e in self.params.items()},
            "derived": {k: vars(e) for k, e in self.derived.items()},
            "interval": self.interval,
            "level": self.level,
            "bent": {k: vars(e) for k, e in local.bent.items()},
            "starts": self.starts._asdict(),
            "excluded": [{"reason": reason, "rows": rows} for reason, rows in self.excluded],
        }

    def save(self, path: str | Path) -> None:
        """Write the fit as JSON, from which `load_fit` makes one that predicts the same numbers and intervals.

        path   the file; of `rows` it holds the columns of the law and its target
        """
        from isoflop.analysis.fitting.saved import write_document

        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        write_document(Path(path), **fields)

    def chart(self, column: str | None = None, level: float = 0.9) -> "alt.LayerChart | alt.FacetChart":
        """Draw an Altair chart: the observed points, the law through them, and its band for a new run.

        column   the column of the law along the axis, by default the first that varies; other columns as in the rows
        level    coverage of the band
        """
        from isoflop.analysis.fitting.chart import draw_fit

        return draw_fit(self.law, self.rows, self.predict_interval, column, level)

    def _repr_html_(self) -> str:
        group = ", ".join(f"{k}={v}" for k, v in self.by.items())
        why = f": {self.reason}" if self.reason else ""
        cells = (
            (name, *(f"{x:.5g}" if x is not None else "" for x in (e.value, e.low, e.high)))
            for name, e in self._all().items()
        )
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
        intervals = "no intervals" if self.interval == "none" else f"{self.level:.0%} intervals by {self.interval}"
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return (
            f"<p><code>{escape(self.law.formula)}</code> {escape(group)}<br><b>{self.status}</b>{escape(why)}; "
            f"{self.n_rows} rows of {self.n_runs} runs, {intervals}</p><table><thead><tr><th></th><th>value</th>"
            f"<th>low</th><th>high</th></tr></thead><tbody>{rows}</tbody></table>"
            + (f"<ul>{notes}</ul>" if notes else "")
            + "".join(f"<pre>{escape(line)}</pre>" for line in self._conditional())
        )

    def _all(self) -> Mapping[str, Estimate]:
        return self.params | self.derived

    def __str__(self) -> str:
        loss = self.loss if self.delta is None else f"{self.loss}({self.delta:g})"
        lines = [self.heading, f"  status     {self.standing}"]
        free = set(self._all()) - set(self.optimum.problem.fixed if self.optimum else ())
        for name, e in self._all().items():  # a value that is not known does not stand there as if it were
            unknown = self.unidentified and name in free and e.value is not None and e.low is e.high is None
            lines.append(f"  {name:<10} {e}{' (- to -)' if unknown else ''}")
        if self.objective is not None:
            reached = f"{self.starts.at_optimum} of {self.starts.tried} starts reach it"
            lines.append(f"  objective  {self.objective:.10g} ({loss}), {reached}")
        runs = "" if self.n_runs == self.n_rows else f" of {self.n_runs} runs"
        by = "no intervals" if self.interval == "none" else f"{self.level:.0%} intervals by {self.interval}"
        lines.append(f"  rows       {self.n_rows}{runs}; {by}")
        said = " ".join(self.notes)
        lines += [f"  excluded   {rows}: {reason}" for reason, rows in self.excluded if reason not in said]
        lines += [f"  note       {note}" for note in self.notes]
        return "\n".join([*lines, *self._conditional()])

    def _conditional(self) -> list[str]:
        """Return lines of what is identified at a point if the parameters are not, and of E if terms bend."""
        local = self.local(bent=True)
        return [str(local)] if self.unidentified else local.if_bent("E")

    __repr__ = __str__


def load_fit(path: str | Path) -> Fit:
    """Read the fit that `Fit.save` wrote.

    path   the JSON file; UserError in one sentence where it is another file
    """
    from isoflop.analysis.fitting.saved import read_document

    return Fit(**read_document(Path(path)))
