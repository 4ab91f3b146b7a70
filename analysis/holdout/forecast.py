"""Write predictions with bands at named points down, before the runs that they are about.

    dated = forecast(runs, [{"N": 1e7, "D": 1e8}], law="chinchilla", by=["family"])
    dated.save("forecast.json")                     # commit it, then make the runs
    load_forecast("forecast.json").digest           # of the whole file: an edit is seen

The file holds hashes of the rows that were fitted, so that they are never counted as outcomes; what two naive lines
predict; and the slopes of the law, by which analysis/claims/forecasts.py moves a prediction to a run near a point.
"""

import hashlib
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.arguments import describe
from isoflop.analysis.fitting.fit import fit_groups
from isoflop.analysis.fitting.local import size_and_data
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.holdout.average import Average, average_groups, names_average
from isoflop.analysis.holdout.backtest import last_value, log_line
from isoflop.analysis.holdout.predict import check_place, predict, to_json
from isoflop.analysis.laws.declare import TRAIN, Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.errors import FitError, UserError
from isoflop.files import finite, read_mapping, write_text
from isoflop.wording import number, version

# of the file; a layout that is read differently gets another
FORMAT = "isoflop forecast 1"
# step of ln x in the slopes; a run counts as one of a point within ten times as much
STEP = 0.01
# options of the fits that rivals share; the others name parameters of one law
ALIKE = ("loss", "delta", "run", "weights")
HEX = 16  # digits of the hash of a row: two of 10^9 rows are alike with a chance of 3 in 100


@dataclass(frozen=True)
class Forecast:
    """Predictions that were written down; the fields are those of the file.

    law       the law, by its full name; `formula`, `columns` and `arguments` as it declares them
    target    the column that it predicts
    level     coverage of the bands
    by        columns by which the runs are grouped
    settings  the options of the fits, and the columns of a foreign table
    made      when, in UTC
    code      version and commit of isoflop
    rows      source and count of the fitted rows, one hash of all, `points` and `runs` the hashes of each
    points    an entry for each group and point: `place`, the entry of `isoflop predict --json`, `slopes` of ln of the
              target by each column of `place`, and in `naive` what the naive lines and the rivals predict
    curves    what curves of smaller runs say of a larger one's (holdout/watching/curves.py); None where none were given
    """

    law: str
    formula: str
    columns: tuple[str, ...]
    arguments: tuple[str, ...]
    target: str
    level: float
    by: tuple[str, ...]
    settings: dict[str, Any]
    made: str
    code: dict[str, Any]
    rows: dict[str, Any]
    points: tuple[dict[str, Any], ...]
    curves: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file, with its digest."""
        document: dict[str, Any] = finite({"format": FORMAT} | {k: v for k, v in vars(self).items() if v is not None})
        return document | {"digest": digest(document)}

    @property
    def axes(self) -> Law:
        """A law with these columns and target and no values, so that a forecast is read without its law."""
        return Law(self.law, _nothing, self.columns, {}, self.formula, "", target=self.target, arguments=self.arguments)

    @property
    def digest(self) -> str:
        """The hash of the whole file."""
        return str(self.to_json()["digest"])

    def save(self, path: str | Path) -> Path:
        """Write the file; UserError where it exists, since a forecast is written once, or cannot be written."""
        path = Path(path)
        if path.exists():
            raise UserError(f"{path} exists, and a forecast is written once; name another file with -o")
        try:
            write_text(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
        return path

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each point: the group, the place, value, low, high, the naive lines, the fit's status."""
        rows = [
            {**p["by"], "at": name_of(p["place"]), **(p[self.target] or dict.fromkeys(("value", "low", "high")))}
            | {"line": p["naive"]["line"], "last": p["naive"]["last"], "status": p["status"]}
            for p in self.points
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        points = self.to_frame()
        table = points.where(points.notna()).to_string(index=False, na_rep="-", float_format="{:.5g}".format)
        fitted = f"{self.rows['count']} rows, sha256 {self.rows['sha256'][:12]}"
        lines = [f"{self.formula}, fitted to {fitted}", table, f"{self.level:.0%} bands; made {self.made}"]
        notes = [f"note: {', '.join([*map(str, p['by'].values()), p['reason']])}" for p in self.points if p["reason"]]
        return "\n".join([*lines, *dict.fromkeys(notes)])


@describe(
    "runs",
    "law",
    "by",
    "rivals",
    at="points, {'C': 1e21}, or of one group {'family': 'mlp', 'N': 1e9}",
    level="coverage of the bands",
)
def forecast(
    runs: RunsLike,
    at: Sequence[Mapping[str, Any]],
    law: str | Law = "chinchilla",
    *,
    by: Sequence[str] = (),
    level: float = 0.9,
    rivals: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    **options: Any,
) -> Forecast:
    """Predict at named points for each group, by the fits of these runs; `options` go to the fits.

    A point that names columns of `by` is of the group with those values alone. A group that cannot be fitted has
    entries without values, and the reason. FitError where none can be, or where a point is of no group.
    """
    if not at:
        raise FitError("a forecast needs a point: --at C=1e21, or --at N=1e9,D=2e10")
    points = [({k: v for k, v in p.items() if k in by}, {k: float(v) for k, v in p.items() if k not in by}) for p in at]
    for _, place in points:
        check_place(place, level)
    table = as_runs(runs)
    fits = _fits(table, law, by, options)
    alike = {name: options[name] for name in ALIKE if name in options}
    others = {name: {str(fit.by): fit for fit in _fits(table, name, by, alike)} for name in rivals}
    if all(fit.objective is None for fit in fits):
        raise FitError(f"no group could be fitted: {fits[0].reason}")
    for group, _ in points:
        if not any(group.items() <= fit.by.items() for fit in fits):
            raise FitError(f"a point of the forecast is of {', '.join(map(str, group.values()))}, which has no runs")
    beside = [(fit, {name: others[name][str(fit.by)] for name in rivals}) for fit in fits]
    entries = [_entry(fit, p, level, more) for fit, more in beside for g, p in points if g.items() <= fit.by.items()]
    settings = {k: v for k, v in options.items() if v} | ({"columns": dict(columns)} if columns else {})
    code = {"isoflop": version(), "git": _commit()}
    made, of = datetime.now(UTC).isoformat(timespec="seconds"), fits[0].law
    about = of.name, of.formula, of.columns, of.arguments, of.target
    rows = {"source": table.source} | _fitted_rows(fits, str(options.get("run") or "run_id"))
    return Forecast(*about, level, tuple(by), settings, made, code, rows, tuple(entries))


def _fits(table: RunsLike, law: str | Law, by: Sequence[str], options: dict[str, Any]) -> Sequence[Fit | Average]:
    fit_all: Any = average_groups if names_average(law) else fit_groups
    fits: Sequence[Fit | Average] = fit_all(table, law, by=by, **options)
    return fits


def _fitted_rows(fits: Sequence[Fit | Average], run: str) -> dict[str, Any]:
    """Return the count of the fitted rows, one hash of all, and the hashes of each."""
    hashes = [row_hashes(fit.rows, fit.by, fit.law, run) for fit in fits]
    each, named = (sorted({h for group in hashes for h in group[i] if h}) for i in (0, 1))
    together = hashlib.sha256("".join(each).encode()).hexdigest()
    return {"count": sum(len(fit.rows) for fit in fits), "sha256": together, "points": each, "runs": named}


def load_forecast(path: str | Path) -> Forecast:
    """Read a forecast from a file; UserError in one sentence where it is another file, or was changed."""
    document = read_mapping(path)
    if not str(document.get("format", "")).startswith("isoflop forecast"):
        raise UserError(f"{path} is not a forecast, or was cut; give a file that isoflop forecast wrote")
    if document["format"] != FORMAT:
        raise UserError(f"{path} is of the format {document['format']!r}, and this isoflop reads {FORMAT!r}")
    stated = document.pop("digest", None)
    if stated != digest(document):
        raise UserError(f"{path} was changed after it was written: its digest does not match; restore what was written")
    del document["format"]
    try:
        tuples = {name: tuple(document[name]) for name in ("columns", "arguments", "by", "points")}
        return Forecast(**document | tuples)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not a whole forecast ({error}); give a file that isoflop forecast wrote") from None


def _nothing(*columns: Any, **params: Any) -> Any:
    raise FitError("a forecast does not hold its law, only its predictions at the points")


def digest(document: Mapping[str, Any]) -> str:
    """Return the hash of a document's content, whatever the layout of its text."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def name_of(place: Mapping[str, float]) -> str:
    """Return a point in words: C=10²¹."""
    return ", ".join(f"{name}={number(value)}" for name, value in place.items())


def row_hashes(rows: pd.DataFrame, by: Mapping[str, Any], law: Law, run: str) -> tuple[list[str], list[str]]:
    """Return for each row the hash of its group, place and outcome; and of its run and place, empty without a run."""
    places = rows[[*law.columns]].astype(float).to_numpy().tolist()
    outcomes = rows[law.target].astype(float).tolist()
    names = rows[run].tolist() if run in rows else [None] * len(rows)
    group = [str(value) for value in by.values()]
    each = [_hash([*group, *place, outcome]) for place, outcome in zip(places, outcomes, strict=True)]
    runs = [_hash([str(n), *place]) if pd.notna(n) else "" for n, place in zip(names, places, strict=True)]
    return each, runs


def _hash(values: Sequence[Any]) -> str:
    """Return a hash of texts and numbers; numbers to twelve digits, which any table keeps."""
    text = json.dumps([f"{x:.11e}" if isinstance(x, float) else x for x in values])
    return hashlib.sha256(text.encode()).hexdigest()[:HEX]


def _commit() -> str | None:
    """Return the commit of this code; None where it is not a git checkout of its own."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "rev-parse", "--show-toplevel", "HEAD"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    top, commit = done.stdout.splitlines()
    return commit if top == str(root) else None


def _entry(
    fit: Fit | Average, place: Mapping[str, float], level: float, rivals: Mapping[str, Fit | Average]
) -> dict[str, Any]:
    """Return what is written of one group at one point, with what other laws say there."""
    nothing: dict[str, Any] = {"at": {}, "reach": {}, fit.law.target: None}
    if fit.objective is None:
        naive: dict[str, Any] = {"line": None, "last": None, "slopes": {}}
        return {"place": dict(place), **to_json(fit, nothing), "slopes": {}, "naive": naive}
    prediction = predict(fit, place, level)
    at = prediction["at"]
    slopes = {name: _slope(fit.predict, fit.law, at, name) for name in place}
    naive = _naive(fit, at, place) | {name: _value(other, at) for name, other in rivals.items()}
    return {"place": dict(place), **to_json(fit, prediction), "slopes": slopes, "naive": naive}


def _value(fit: Fit | Average, at: Mapping[str, float]) -> float | None:
    """Return what another law says of a point; None where it has no fit."""
    return None if fit.objective is None else float(fit.predict(pd.DataFrame([at]))[0])


def _slope(predicted: Callable[[pd.DataFrame], Array], law: Law, at: Mapping[str, float], name: str) -> float:
    """Return d ln(target) / d ln of a column at a point; of C, which the law lacks, with N and D growing alike."""
    moved = [name] if name in law.columns else list(size_and_data(law) or law.columns)
    step = STEP / len(moved)
    frame = pd.DataFrame([{c: x * (np.exp(s * step) if c in moved else 1) for c, x in at.items()} for s in (-1, 1)])
    low, high = predicted(frame)
    return float(np.log(high / low) / (2 * STEP))


def _naive(fit: Fit | Average, at: Mapping[str, float], place: Mapping[str, float]) -> dict[str, Any]:
    """Return what the straight line through the logarithms and the last value say of a point, and the line's slopes."""
    law, both = fit.law, size_and_data(fit.law)
    train = fit.rows[[*law.columns, law.target]].astype(float).rename(columns={law.target: "L"})
    test = pd.DataFrame([at])
    axis = next((c for c in ("C", "D", "N") if c in law.columns), law.columns[0])
    if both and "C" not in law.columns:
        axis = "C"
        train, test = (frame.assign(C=TRAIN * frame[both[0]] * frame[both[1]]) for frame in (train, test))
    line, last = log_line(train, test, law.columns), last_value(train, test, law.columns, axis)
    slopes = {name: _slope(lambda frame: log_line(train, frame, law.columns), law, at, name) for name in place}
    return {"line": float(line[0]), "last": float(last[0]), "slopes": slopes}
