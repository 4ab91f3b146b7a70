"""What a table of runs is worth before a law is fitted to it: rows that cannot count, rows that look wrong, what its
layout can tell.

    check(read_runs("runs.csv")).layout.kind
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.laws.declare import TRAIN
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.cells import cells_of, searched_notes, tune
from isoflop.analysis.runs.levels import LEVELS, SPAN, Layout, layout, level_index
from isoflop.analysis.runs.observations import mixtures, repeated, unfinished, units
from isoflop.analysis.runs.recognise import unnamed
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.errors import FitError

_CORE = ("N", "D", "C", "L")
# C of a row against the median C/(N D): attention and lookup make differences of less than this factor
_OFF = 1.5
# rows that a finding names
_MOST = 5
# an outlier by the quantile of Student's t at this level, for all rows together (Bonferroni), ...
_RARE = 0.01
# ... and at the least so many standard deviations: a quadratic of logarithms is no law
_FAR = 5.0
# rows for each coefficient of the surface that outliers are measured from
_ROWS_PER_TERM = 3
# rounds of reweighting towards least absolute deviations (Schlossmacher 1973)
_ROUNDS = 40


@dataclass(frozen=True)
class Finding:
    """Something odd about rows of a table: what it is, and what to do about it."""

    kind: str  # numbers, duplicates, columns, units, mixture, compute, runs, repeats, tuning, edges, outlier or span
    sentence: str
    rows: tuple[Any, ...] = ()  # labels (lines of the file); none where it is about the table


@dataclass(frozen=True)
class Quality:
    """What a table of runs is worth; usable rows finished, with a number above 0 in each column, each point once."""

    source: str
    n_rows: int
    n_usable: int
    n_runs: int  # that the usable rows belong to
    layout: Layout
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        findings = [vars(f) | {"rows": [str(row) for row in f.rows]} for f in self.findings]
        counts = {"rows": self.n_rows, "usable": self.n_usable, "runs": self.n_runs}
        return {"source": self.source, **counts, "layout": vars(self.layout), "findings": findings}

    def __str__(self) -> str:
        runs = "" if self.n_runs == self.n_usable else f" of {self.n_runs} runs"
        first = f"{self.source}: {self.n_usable} of {self.n_rows} rows usable{runs}"
        lines = [first, f"layout: {self.layout.sentence}"]
        return "\n".join(lines + ([f"{f.kind}: {f.sentence}" for f in self.findings] or ["nothing odd"]))


def check(runs: RunsLike, run: str | None = None) -> Quality:
    """Examine a table of runs; FitError where no row can be used, or it has no loss and no size, data or compute.

    runs   a table, as read_runs gives it
    run    the column whose equal values are one run, where it is not run_id
    """
    runs = as_runs(runs, run)
    columns = [c for c in _CORE if c in runs]
    if "L" not in columns or len(columns) < 2:
        needed = [] if "L" in columns else ["a loss L"]
        needed += [] if set(columns) - {"L"} else ["one of N, D and C"]
        raise FitError(
            f"{runs.called} needs {' and '.join(needed)}; it has "
            f"{runs.listed}: name them, as in --columns N=params,D=tokens,L=loss"
            f"{_wide(runs.frame) if 'L' not in columns else ''}"
        )
    if not runs.frame.index.is_unique:  # findings name rows by their labels
        runs = replace(runs.with_frame(runs.frame.reset_index(drop=True)), lines=False)
    numbers = runs.counted.frame[columns].apply(pd.to_numeric, errors="coerce")
    sound = (np.isfinite(numbers) & (numbers > 0)).all(axis=1).to_numpy()
    good = runs.counted.take(sound).with_columns(**{c: numbers[c][sound] for c in columns})
    if not len(good):
        why = f"no number above 0 of {' or '.join(columns)}"
        raise FitError(runs.no_rows([*runs.excluded, (why, int((~sound).sum()))]))
    short = [
        Finding("span", f"{name} spans {decades:.3g} decades; an exponent needs {SPAN}")
        for name, decades in good.layout.decades.items()
        if 0 < decades < SPAN and good.layout.levels[name] >= LEVELS
    ]
    findings = [*_unusable(runs, numbers, sound), *_odd(good), *short]
    return Quality(runs.called, len(runs), len(good), good.count, good.layout, tuple(findings))


def _wide(runs: pd.DataFrame) -> str:
    stems = pd.Series([re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", "#", str(c), flags=re.I) for c in runs.columns])
    alike = stems[stems.str.contains("#")].value_counts()
    if not len(alike) or alike.iloc[0] < LEVELS:
        return ""
    first = runs.columns[int((stems == alike.index[0]).to_numpy().argmax())]
    others = alike.iloc[0] - 1
    return f"; where {first} and the {others} columns like it are losses, write a row for each, its number a column"


def _unusable(runs: Runs, numbers: pd.DataFrame, sound: np.ndarray) -> Iterator[Finding]:
    for reason, count in runs.excluded:
        yield Finding("duplicates" if "repeats" in reason else "numbers", f"{_rows(count)} left out: {reason}")
    for name in numbers:
        wrong = numbers.index[~(np.isfinite(numbers[name]) & (numbers[name] > 0)).to_numpy()]
        if len(wrong):
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            value = runs.frame[name].loc[wrong[0]]
            shown = "empty" if pd.isna(value) else f"{value}"
            sentence = f"{runs.where_is(wrong[0])}: {name} is {shown}{more}; a law needs a number above 0"
            yield Finding("numbers", sentence, tuple(wrong))


def _odd(runs: Runs) -> Iterator[Finding]:
    """Report what is odd about rows that can be used, several of which may be points of one curve."""
    rows = runs.frame
    kinds = mixtures(rows)
    said = {
        "columns": [*runs.notes, *unnamed(rows)], "mixture": [*kinds.values()],
        "epochs": repeated(rows), "units": units(rows),
    }  # fmt: skip
    yield from (Finding(kind, note) for kind, notes in said.items() for note in notes)
    yield from _compute(runs)
    yield from (Finding("runs", note) for note in (runs.recognised.note, *unfinished(runs)) if note)
    if not kinds:
        yield from _repeats(runs)
    best, edges = _tuned(runs)
    yield from edges
    parts = [part for _, part in best.groupby(list(kinds), dropna=False, sort=False)] if kinds else [best]
    for part in parts:
        yield from _edge_budgets(part)
    yield from _outliers(runs, best, parts)


def _compute(runs: Runs) -> Iterator[Finding]:
    rows = runs.frame
    if not {"N", "D", "C"} <= set(rows.columns):
        return
    ratio = rows["C"] / rows["N"] / rows["D"]
    middle = float(ratio.median())
    off = rows.index[(np.abs(np.log(ratio / middle)) > np.log(_OFF)).to_numpy()]
    if len(off):
        at = f"{runs.where_is(off[0])}: C/(N D) is {ratio.loc[off[0]]:.3g}, {middle:.3g} in the middle of the table"
        yield Finding("compute", f"{at} ({_rows(len(off))} so far from it): look at C, N and D there", tuple(off))
    elif abs(middle / TRAIN - 1) > _OFF - 1 and not units(rows):
        yield Finding("compute", f"C/(N D) is {middle:.3g} in the middle where {TRAIN:g} is usual: which N is it?")


def _repeats(runs: Runs) -> Iterator[Finding]:
    rows = runs.frame
    if not {"N", "D"} <= set(rows.columns) or runs.searched:
        return
    # neighbouring points of one curve may share a cell: a run counts once in it
    by_run = np.log(rows["L"]).groupby([cells_of(rows), runs.codes]).mean().groupby(level=0)
    counts, spreads = by_run.count(), by_run.std()
    several = counts > 1
    if several.any():
        spare = counts[several] - 1
        sd = float(np.sqrt((spare * spreads[several] ** 2).sum() / spare.sum()))
        yield Finding("repeats", f"{several.sum()} cells hold several runs, whose losses differ by {sd:.2%} (sd)")


def _tuned(runs: Runs) -> tuple[pd.DataFrame, list[Finding]]:
    """Return the rows at the best of every searched knob, and what to say of the search."""
    if not runs.searched:
        return runs.frame, []
    best, cells = tune(runs.frame, list(runs.searched))
    edges, searched = int((cells["edge"] != "").sum()), int((cells["tried"] > 1).sum())
    sentence = f"{edges} of {searched} searched cells have their best knob on the edge of what was tried: widen it"
    tuning = [Finding("tuning", note) for note in searched_notes(runs.searched)]
    return best, tuning + ([Finding("edges", sentence)] if edges else [])


def _edge_budgets(rows: pd.DataFrame) -> Iterator[Finding]:
    """Report budgets whose least loss is at their smallest or largest size."""
    if not {"N", "C"} <= set(rows.columns) or layout(rows).kind != "isoflop":
        return
    at_edge, budgets = [], 0
    for _, part in rows.groupby(level_index(rows["C"])):
        if part["N"].nunique() < LEVELS:
            continue
        budgets += 1
        if part["N"].iloc[int(part["L"].argmin())] in (part["N"].min(), part["N"].max()):
            at_edge.append(float(part["C"].mean()))
    if at_edge:
        shown = ", ".join(f"{C:.2g}" for C in at_edge[:_MOST])
        yield Finding(
            "edges",
            f"{len(at_edge)} of {budgets} budgets have their least loss at their smallest or largest size (C {shown}): "
            "add sizes beyond it",
        )


def _outliers(runs: Runs, rows: pd.DataFrame, parts: Sequence[pd.DataFrame]) -> Iterator[Finding]:
    far = pd.concat([_distances(part, curves=runs.count < len(runs)) for part in parts])
    far = far[far != 0].sort_values(key=np.abs, ascending=False)
    for label, distance in far.head(_MOST).items():
        row, side = rows.loc[label], "above" if distance > 0 else "below"
        at = ", ".join(f"{c}={row[c]:.3g}" for c in ("N", "D", "C") if c in rows)
        yield Finding(
            "outlier",
            f"{runs.where_is(label)}: L={row['L']:.4g} lies {abs(distance):.0f} sd {side} runs of like size and data "
            f"({at}); look at the run, or leave it out with --where",
            (label,),
        )
    if len(far) > _MOST:
        rest = tuple(far.index[_MOST:])
        yield Finding("outlier", f"{_rows(len(rest))} more lie that far from runs of like size and data", rest)


def _distances(rows: pd.DataFrame, *, curves: bool) -> pd.Series:
    """Return by how many standard deviations each row is an outlier; 0 for none."""
    axes = [c for c in ("N", "D", "D_unique") if c in rows and rows[c].nunique() >= LEVELS and (rows[c] > 0).all()]
    if "D" not in rows:  # points along a curve without its axis are no repeats
        axes = [c for c in ("C",) if c in rows and rows[c].nunique() >= LEVELS]
    x, y = np.log(rows[axes].to_numpy(float)), np.log(rows["L"].to_numpy(float))
    return pd.Series(_outlying(x, y, curves=curves or len(axes) == 1) if axes else 0.0, index=rows.index)


def _rows(count: int) -> str:
    return f"{count} row{'s' if count != 1 else ''}"


def _outlying(x: Array, y: Array, *, curves: bool = False) -> Array:
    """Return by how many standard deviations each row lies off a quadratic surface of x (rows, axes), logarithms of
    size and data, in the logarithm y (rows,) of the loss, signed; 0 for no outlier.

    curves: rows are points of curves, whose beginnings lie together off any quadratic, and an outlier is off what its
    neighbours say, too.
    """
    from scipy.special import stdtrit

    z = (x - x.mean(0)) / x.std(0)
    ones, crossed = np.ones((len(z), 1)), [z[:, i] * z[:, k] for i in range(z.shape[1]) for k in range(i + 1)]
    design = np.column_stack([ones, z, *crossed])
    if len(y) < _ROWS_PER_TERM * design.shape[1]:
        design = np.column_stack([ones, z])
    spare = len(y) - design.shape[1]
    if spare < design.shape[1]:
        return np.zeros(len(y))
    surface, sd = _least_absolute(design, y)
    limit = max(_FAR, float(stdtrit(spare, 1 - _RARE / 2 / len(y))))
    far: Array = (y - design @ surface) / max(sd, 1e-9)
    for row in np.flatnonzero(np.abs(far) > limit) if curves else ():
        # by a plane through the rows of like size and data
        count = min(_ROWS_PER_TERM * (z.shape[1] + 1), len(z) - 1)
        near = np.argpartition(((z - z[row]) ** 2).sum(1), count)[: count + 1]
        near = near[near != row]
        plane, scatter = _least_absolute(np.column_stack([np.ones(len(near)), z[near] - z[row]]), far[near])
        alone = (far[row] - float(plane[0])) / max(scatter, 1.0)
        far[row] = far[row] if abs(alone) > limit and alone * far[row] > 0 else 0.0
    return np.where(np.abs(far) > limit, far, 0.0)


def _least_absolute(design: Array, y: Array) -> tuple[Array, float]:
    """Return the coefficients (terms,) of least absolute deviations of y (rows,), and the Gaussian sd about them."""
    weights = np.ones(len(y))
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)[:, None]
        coefficients = np.asarray(np.linalg.lstsq(design * root, y * root[:, 0], rcond=None)[0], dtype=float)
        r = y - design @ coefficients
        weights = 1 / np.maximum(np.abs(r), 1e-3 * np.median(np.abs(r)) + 1e-12)
    # least absolute deviations pass through as many rows as there are terms: these say nothing of the scatter; 1.4826
    # makes the median size of the others the sd of a Gaussian
    return coefficients, 1.4826 * float(np.median(np.sort(np.abs(r))[design.shape[1] :]))
