"""A forecast judged: its score on the runs that were made since, beside two naive lines, and whether it came first.

    print(judge_forecast("forecast.json", runs))      # UserError where it was changed, or no run was made since

A band is scored by the interval score, which penalises width, and misses more (Gneiting and Raftery 2007,
Strictly proper scoring rules, J. Am. Stat. Assoc. 102, eq. 43).
"""

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from isoflop.analysis.claims.provenance import changed_since, committed
from isoflop.analysis.fitting.fit import observe
from isoflop.analysis.fitting.local import size_and_data
from isoflop.analysis.fitting.noise_trend import noise_trend
from isoflop.analysis.holdout.forecast import Forecast, load_forecast, name_of, row_hashes
from isoflop.analysis.laws.declare import TRAIN, Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import SAME_LEVEL, level_index
from isoflop.analysis.runs.read import read_runs
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.errors import FitError
from isoflop.files import records
from isoflop.wording import listed

# the naive lines, as the file of a forecast names them
LINES = {"line": "straight line", "last": "last value"}


@dataclass(frozen=True)
class ForecastScore:
    """The outcome of a forecast.

    target   the column that was forecast
    level    coverage of the bands
    rows     a row for each run at each point: the group, `at`, `times` the largest fitted compute, `sd` of its noise,
             observed, predicted, low, high, `inside`, the errors `error`, `error_line` and `error_last` in ln of the
             target, and `interval_score` of that logarithm
    seen     rows left out, since the forecast was fitted to them
    open     points that have no run yet
    runs     the row of each in the table of runs
    """

    target: str
    level: float
    rows: pd.DataFrame
    seen: int
    open: tuple[str, ...]
    runs: pd.DataFrame

    @property
    def summary(self) -> dict[str, float | None]:
        """Over all rows: rmsle, worst, coverage and interval_score of the law; rmsle of each line."""
        banded = self.rows.dropna(subset=["low", "high"])
        figures: dict[str, float | None] = {"rmsle": _rms(self.rows["error"])}
        figures["worst"] = float(self.rows["error"].abs().max())
        figures["coverage"] = float(banded["inside"].mean()) if len(banded) else None
        figures["interval_score"] = float(banded["interval_score"].mean()) if len(banded) else None
        for line in self.lines:
            figures[f"rmsle_{line}"] = _rms(self.rows[f"error_{line}"])
        cells = self.cells
        ratio = (cells["error"].abs() / cells["floor"]).median()
        figures["cell_error"] = float(cells["error"].abs().median())
        return figures | {"cell_error_by_floor": float(ratio) if np.isfinite(ratio) else None}

    @property
    def lines(self) -> list[str]:
        """What stands beside the law: `line`, `last`, and the rivals by their names."""
        return [name.removeprefix("error_") for name in map(str, self.rows) if name.startswith("error_")]

    @property
    def cells(self) -> pd.DataFrame:
        """A row for each group and point: `runs`, mean `times` and errors, the `floor` of the absolute `error`, which
        is what seeds alone leave in the median, .67 sd / sqrt(runs); NaN without replicates."""
        names = [*takewhile(lambda name: name != "at", self.rows), "at"]
        groups = self.rows.groupby(names, sort=False, dropna=False)
        means = groups[["times", "sd", *(name for name in map(str, self.rows) if name.startswith("error"))]].mean()
        table = means.assign(runs=groups.size()).reset_index()
        return table.assign(floor=ndtri(0.75) * table.pop("sd") / np.sqrt(table["runs"]))

    @property
    def headline(self) -> str:
        """The score of the law, in one line."""
        s = self.summary
        count = f"{len(self.rows)} run{'s' if len(self.rows) > 1 else ''}"
        covered = "no bands" if s["coverage"] is None else f"{s['coverage']:.0%} inside their {self.level:.0%} band"
        score = "" if s["interval_score"] is None else f", interval score {s['interval_score']:.3g}"
        return f"RMSLE {s['rmsle']:.3%} on {count}, {covered}{score}"

    def to_json(self) -> dict[str, Any]:
        """Return the document of `isoflop judge --forecast --json`, without the state of git."""
        about = {"target": self.target, "level": self.level, "summary": self.summary, "rows": records(self.rows)}
        about |= {"cells": records(self.cells)}
        return about | {"fitted_rows_left_out": self.seen, "open": list(self.open)}

    def __str__(self) -> str:
        shown = self.rows.drop(columns=["interval_score", "times", "sd"])
        percents = dict.fromkeys(("error", *(f"error_{line}" for line in self.lines)), "{:+.2%}".format)
        lines = [shown.to_string(index=False, na_rep="-", float_format="{:.5g}".format, formatters=percents)]
        s = self.summary
        lines.append(f"law: {self.headline}")
        lines += [f"{LINES.get(k, k)}: RMSLE {s[f'rmsle_{k}']:.3%}" for k in self.lines]
        if (times := s["cell_error_by_floor"]) is not None:
            cells = f"{len(self.cells)} cell{'s' * (len(self.cells) > 1)}"
            error = f"means of {cells}: median |error| {s['cell_error']:.2%}"
            lines.append(f"{error}, {times:.2g} times what the noise of seeds leaves")
        lines += [f"left out: {self.seen} rows to which the forecast was fitted"] if self.seen else []
        lines += [f"no run yet at {listed(list(self.open))}"] if self.open else []
        return "\n".join(lines)


def score_forecast(forecast: Forecast, runs: RunsLike) -> ForecastScore:
    """Set the runs at each point of a forecast against it; FitError where no new run lies at any.

    A run belongs to a point where it differs from the named place by at most SAME_LEVEL; the prediction is moved to the
    run by the slopes of the law. At a compute, the best size there counts, with all its seeds.
    """
    table, law = as_runs(runs), forecast.axes
    if missing := [c for c in (*forecast.by, *law.columns, law.target) if c not in table]:
        raise FitError(f"the forecast is of {law.name}, and the runs have no column {listed(missing)}; see --columns")
    with_outcome = table.with_frame(table.frame[table[law.target].notna()])
    rows = with_outcome.numbers([*law.columns, law.target]).frame.reset_index(drop=True)
    rows = rows.assign(sd=_noise(with_outcome.with_frame(rows), forecast))
    parts, still_open, seen = [], [], pd.Series(False, index=rows.index)
    for point in forecast.points:
        group = rows
        for name, label in point["by"].items():
            same = (group[name] == label) | (group[name].astype(str) == str(label))
            group = group[group[name].isna() if label is None else same]
        known = _fitted(group, point["by"], law, forecast)
        seen[group.index[known]] = True
        matched = _at_point(group[~known], point["place"], law)
        if point[law.target] is None or matched.empty:
            still_open.append(", ".join([*map(str, point["by"].values()), name_of(point["place"])]))
        else:
            times = (_compute(matched, law) / _compute(group[known], law).max()).round(9)  # one place for a budget
            parts.append(_scored(matched.assign(times=times), point, law, forecast.level))
    if not parts:
        used = f"; {int(seen.sum())} rows were part of its own fit" if seen.any() else ""
        raise FitError(f"no new run lies at a point of the forecast ({'; '.join(still_open)}){used}")
    scored = pd.concat(parts)
    made = rows.loc[scored.index]
    scored = scored.reset_index(drop=True)
    return ForecastScore(law.target, forecast.level, scored, int(seen.sum()), tuple(still_open), made)


def _noise(runs: Runs, forecast: Forecast) -> Array:
    """Return the sd of ln of the target between seeds at each row, by its group; NaN where that has no seeds."""
    law, rows, sd = forecast.axes, runs.frame, np.full(len(runs.frame), np.nan)
    codes = rows.groupby([*forecast.by], dropna=False).ngroup() if forecast.by else np.zeros(len(rows))
    places = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    parts = [runs.with_frame(rows.iloc[place]) for place in places]
    trend = noise_trend([observe(part, law) for part in parts], law.columns)
    if trend is None:  # too few replicates for a group of its own
        return np.full(len(rows), np.nan if runs.seed_noise.sd is None else runs.seed_noise.sd)
    for group, (place, part) in enumerate(zip(places, parts, strict=True)):
        sd[place] = trend.sd({name: part[name].to_numpy(float) for name in trend.names}, group)
    return sd


def _fitted(rows: pd.DataFrame, by: dict[str, Any], law: Law, forecast: Forecast) -> NDArray[np.bool_]:
    """Return whether the forecast was fitted to each row: the same outcome at a place, or a run's same place."""
    points, runs = set(forecast.rows["points"]), set(forecast.rows["runs"])
    each, named = row_hashes(rows, by, law, str(forecast.settings.get("run") or "run_id"))
    return np.array([a in points or b in runs for a, b in zip(each, named, strict=True)], dtype=bool)


def _at_point(rows: pd.DataFrame, place: dict[str, float], law: Law) -> pd.DataFrame:
    """Return the rows at a place of the forecast; at a compute alone, those of the best size."""
    near = np.ones(len(rows), dtype=bool)
    for name, value in place.items():
        columns = [rows[name]] if name in rows else []
        if name not in law.columns:
            columns.append(_named_compute(rows, law))
        gaps = np.min([np.abs(np.log(c.astype(float) / value)) for c in columns], axis=0)
        near &= gaps <= np.log1p(SAME_LEVEL)
    rows = rows[near]
    if set(place) != {"C"} or "C" in law.columns or rows.empty:
        return rows
    size = (size_and_data(law) or law.columns)[0]
    level = pd.Series(level_index(rows[size]), index=rows.index)
    means = rows[law.target].astype(float).map(np.log).groupby(level).mean()
    best: pd.DataFrame = rows[level == means.idxmin()]
    return best


def _compute(rows: pd.DataFrame, law: Law) -> pd.Series:
    """Return the compute of each row, 6 N D where the table has none."""
    return rows["C"].astype(float) if "C" in rows else _named_compute(rows, law)


def _named_compute(rows: pd.DataFrame, law: Law) -> pd.Series:
    """Return the compute by which the law is placed: 6 N D."""
    both = size_and_data(law) or law.columns[:1] * 2
    product: pd.Series = TRAIN * rows[both[0]].astype(float) * rows[both[1]].astype(float)
    return product


def _scored(rows: pd.DataFrame, point: dict[str, Any], law: Law, level: float) -> pd.DataFrame:
    """Return each row beside its prediction, moved to the row, and the scores."""
    law_moved, line_moved = (
        _moved(rows, point["place"], slopes, law) for slopes in (point["slopes"], point["naive"]["slopes"])
    )
    ends = {k: np.nan if (x := point[law.target][k]) is None else x for k in ("value", "low", "high")}
    value, low, high = (np.log(ends[k]) + law_moved for k in ("value", "low", "high"))
    observed = np.log(rows[law.target].to_numpy(float))
    table = pd.DataFrame(
        {**{k: [v] * len(rows) for k, v in point["by"].items()}, "at": name_of(point["place"])}, rows.index
    )
    table = table.assign(
        times=rows["times"],
        sd=rows["sd"],
        observed=np.exp(observed),
        predicted=np.exp(value),
        low=np.exp(low),
        high=np.exp(high),
    )
    banded = np.isfinite(low) & np.isfinite(high)
    inside = pd.Series((low <= observed) & (observed <= high), rows.index, dtype=object).where(banded, None)
    table = table.assign(inside=inside, error=value - observed)
    moves = {"line": line_moved, "last": 0.0}  # a rival is as steep as the law, all but
    for line, guess in point["naive"].items():
        if line != "slopes":
            table[f"error_{line}"] = np.log(np.nan if guess is None else guess) + moves.get(line, law_moved) - observed
    return table.assign(interval_score=_interval_score(observed, low, high, level))


def _moved(rows: pd.DataFrame, place: dict[str, float], slopes: dict[str, float], law: Law) -> Array:
    """Return how far ln of a prediction moves from a point to each row."""
    move = np.zeros(len(rows))
    for name, slope in slopes.items():
        here = rows[name] if name in law.columns else _named_compute(rows, law)
        move += slope * np.log(here.to_numpy(float) / place[name])
    return move


def _interval_score(x: Array, low: Array, high: Array, level: float) -> Array:
    """Return the interval score (Gneiting and Raftery 2007, eq. 43): width + 2/alpha of a miss; NaN without a band."""
    alpha = 1 - level
    score: Array = (high - low) + 2 / alpha * (np.maximum(low - x, 0) + np.maximum(x - high, 0))
    return score


def _rms(error: pd.Series) -> float:
    return float(np.sqrt((error.astype(float) ** 2).mean()))


@dataclass(frozen=True)
class JudgedForecast:
    """A forecast, what came of it, and what git says of its date."""

    file: Path
    """The file that it was read from."""
    forecast: Forecast
    """What was written down."""
    score: ForecastScore
    """What came of it."""
    first: bool | None
    """Whether it stood before the runs that it is scored by; None where git cannot tell."""
    provenance: str
    """The same in words."""

    def to_json(self) -> dict[str, Any]:
        """Return the document of `isoflop judge --forecast --json`."""
        about = {"file": str(self.file), "digest": self.forecast.digest, "made": self.forecast.made}
        return about | {"first": self.first, "provenance": self.provenance} | self.score.to_json()

    def __str__(self) -> str:
        about = f"{self.file}: {self.forecast.law}, made {self.forecast.made}, digest {self.forecast.digest[:12]}"
        return f"{about}\n{self.score}\n{self.provenance}"


def runs_for(path: str | Path, runs: str | Path) -> Runs:
    """Return a table of runs, its columns named as in the table that the forecast was made from."""
    names = load_forecast(path).settings.get("columns", {})
    return read_runs(runs, columns=names or None)


def judge_forecast(path: str | Path, runs: RunsLike) -> JudgedForecast:
    """Score the forecast of a file on the runs at its points; UserError where there are none, or it was changed."""

    path = Path(path)
    forecast = load_forecast(path)
    score = score_forecast(forecast, runs)
    changed, sentence = changed_since(path, score.runs, "forecast")
    since = committed(path) or "not committed as it is now, so its date is only what it says itself"
    return JudgedForecast(path, forecast, score, None if changed is None else not changed, f"{sentence}; it is {since}")
