"""What a table of runs is worth before a law is fitted to it: rows that cannot count, rows that look wrong, what its
layout can tell.

    quality = check(read_runs("theirs.csv"))
    quality.layout.kind, [finding.sentence for finding in quality.findings]
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.laws.flops import TRAIN
from isoflop.analysis.tables.layout import SPAN, Layout, layout
from isoflop.analysis.tables.read import where_is
from isoflop.analysis.tables.replicates import LEVELS, level_index, seed_noise
from isoflop.analysis.tables.rows import mixtures, no_rows, number_runs, split_usable, units
from isoflop.analysis.tables.runs import recognise_runs
from isoflop.analysis.tables.tune import searched_knobs, searched_notes, tune
from isoflop.errors import FitError

CORE = ("N", "D", "C", "L")
# ln of a vocabulary of a million is 13.8: a loss per token above that is of no language model [nats]
HIGHEST_LOSS = 14.0
# fewer parameters and targets than this in every row: a column in millions or billions
FEWEST = 1e4
# C of a row against the median C/(N D): attention and lookup make differences of less than this factor
OFF = 1.5
# an outlier by the quantile of Student's t at this level, for all rows together (Bonferroni), ...
RARE = 0.01
# ... and at the least so many standard deviations: a quadratic of logarithms is no law
FAR = 5.0
# rows for each coefficient of the surface that outliers are measured from
ROWS_PER_TERM = 3
# rounds of reweighting towards least absolute deviations (Schlossmacher 1973)
ROUNDS = 40
# rows that a finding names
MOST = 5


@dataclass(frozen=True)
class Finding:
    """Something odd about rows of a table.

    kind       numbers, duplicates, columns, units, mixture, compute, runs, repeats, tuning, edges, outlier or span
    sentence   what it is, and what to do about it
    rows       labels of the rows (lines of the file) that it is about; empty where it is about the table
    """

    kind: str
    sentence: str
    rows: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Quality:
    """What a table of runs is worth.

    source     its file
    n_rows     its rows
    n_usable   those that finished, with a number above 0 in each column, each measured point once
    n_runs     the runs that the usable rows belong to
    layout     where they stand
    findings   what is odd about them
    """

    source: str
    n_rows: int
    n_usable: int
    n_runs: int
    layout: Layout
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of `isoflop check --json`."""
        findings = [vars(f) | {"rows": [str(row) for row in f.rows]} for f in self.findings]
        counts = {"rows": self.n_rows, "usable": self.n_usable, "runs": self.n_runs}
        return {"source": self.source, **counts, "layout": vars(self.layout), "findings": findings}

    def __str__(self) -> str:
        runs = "" if self.n_runs == self.n_usable else f" of {self.n_runs} runs"
        first = f"{self.source}: {self.n_usable} of {self.n_rows} rows usable{runs}"
        lines = [first, f"layout: {self.layout.sentence}"]
        return "\n".join(lines + ([f"{f.kind}: {f.sentence}" for f in self.findings] or ["nothing odd"]))


def check(runs: pd.DataFrame, run: str | None = None) -> Quality:
    """Examine a table of runs; FitError where no row can be used, or it has no loss and no size, data or compute.

    runs   a table, as read_runs gives it
    run    the column whose equal values are one run, where it is not run_id
    """
    columns = [c for c in CORE if c in runs]
    if "L" not in columns or len(columns) < 2:
        raise FitError(
            f"{runs.attrs.get('source', 'the table')} needs a loss L and one of N, D and C; it has "
            f"{', '.join(map(str, list(runs.columns)[:30]))}: name them, as in --columns N=params,D=tokens,L=loss"
        )
    rows, excluded = split_usable(runs)
    numbers = rows[columns].apply(pd.to_numeric, errors="coerce")
    sound = (np.isfinite(numbers) & (numbers > 0)).all(axis=1).to_numpy()
    good = rows[sound].assign(**{c: numbers[c][sound] for c in columns})
    if good.empty:
        raise FitError(no_rows(runs, [*excluded, ("a number that is not above 0", int((~sound).sum()))]))
    good.attrs = runs.attrs
    codes, n_runs = number_runs(good, run)
    place = layout(good, codes if n_runs < len(good) else None)
    findings = [*_unusable(rows, numbers, sound, excluded), *_odd(good, run), *_spans(place)]
    return Quality(str(runs.attrs.get("source", "the table")), len(runs), len(good), n_runs, place, tuple(findings))


def _unusable(
    rows: pd.DataFrame, numbers: pd.DataFrame, sound: np.ndarray, excluded: Sequence[tuple[str, int]]
) -> Iterator[Finding]:
    for reason, count in excluded:
        yield Finding("duplicates" if "repeats" in reason else "numbers", f"{_rows(count)} left out: {reason}")
    for name in numbers:
        wrong = rows.index[~(np.isfinite(numbers[name]) & (numbers[name] > 0)).to_numpy()]
        if len(wrong):
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            place = where_is(rows, wrong[0])
            value = rows[name].loc[wrong[0]]
            shown = "empty" if pd.isna(value) else f"{value}"
            yield Finding("numbers", f"{place}: {name} is {shown}{more}; a law needs a number above 0", tuple(wrong))


def _odd(rows: pd.DataFrame, run: str | None) -> Iterator[Finding]:
    """What is odd about rows that can be used."""
    for note in rows.attrs.get("notes", ()):
        yield Finding("columns", str(note))
    for note in mixtures(rows):
        yield Finding("mixture", note)
    yield from _units(rows)
    yield from _compute(rows)
    if run is None and "run_id" not in rows and (note := recognise_runs(rows).note):
        yield Finding("runs", note)
    yield from _repeats(rows)
    best, edges = _tuned(rows)
    yield from edges
    yield from _edge_budgets(best)
    yield from _outliers(best)


def _units(rows: pd.DataFrame) -> Iterator[Finding]:
    for note in units(rows):
        yield Finding("units", note)
    if (rows["L"] > HIGHEST_LOSS).mean() > 0.5:
        yield Finding("units", f"L is {rows['L'].median():.3g} in the middle: a perplexity? take its logarithm")
    small = [c for c in ("N", "D") if c in rows and rows[c].max() < FEWEST]
    if small:
        yield Finding(
            "units", f"{' and '.join(small)} below {FEWEST:g} in every row: in millions or billions? multiply it out"
        )


def _compute(rows: pd.DataFrame) -> Iterator[Finding]:
    """Rows whose C is not what their N and D take."""
    if not {"N", "D", "C"} <= set(rows.columns):
        return
    ratio = rows["C"] / rows["N"] / rows["D"]
    middle = float(ratio.median())
    off = rows.index[(np.abs(np.log(ratio / middle)) > np.log(OFF)).to_numpy()]
    if len(off):
        at = f"{where_is(rows, off[0])}: C/(N D) is {ratio.loc[off[0]]:.3g}, {middle:.3g} in the middle of the table"
        yield Finding("compute", f"{at} ({_rows(len(off))} so far from it): look at C, N and D there", tuple(off))
    elif abs(middle / TRAIN - 1) > OFF - 1:
        yield Finding("compute", f"C/(N D) is {middle:.3g} in the middle where {TRAIN:g} is usual: which N is it?")


def _repeats(rows: pd.DataFrame) -> Iterator[Finding]:
    """Cells with several runs, and what their losses differ by."""
    if not {"N", "D"} <= set(rows.columns):
        return
    noise = seed_noise(rows)
    if noise.sd is not None:
        cells = len(noise.cells)
        yield Finding("repeats", f"{cells} cells hold several runs, whose losses differ by {noise.sd:.2%} (sd)")


def _tuned(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    """The rows at the best of every searched knob, and what is to be said of the search."""
    knobs = list(searched_knobs(rows))
    if not knobs:
        return rows, []
    best, cells = tune(rows, knobs)
    edges, searched = int((cells["edge"] != "").sum()), int((cells["tried"] > 1).sum())
    findings = [Finding("tuning", note) for note in searched_notes(rows)]
    if edges:
        sentence = f"{edges} of {searched} searched cells have their best knob on the edge of what was tried: widen it"
        findings.append(Finding("edges", sentence))
    best.attrs = rows.attrs
    return best, findings


def _edge_budgets(rows: pd.DataFrame) -> Iterator[Finding]:
    """Budgets whose least loss is at their smallest or largest size."""
    if not {"N", "C"} <= set(rows.columns) or layout(rows).kind != "isoflop":
        return
    at_edge, budgets = [], 0
    for _, part in rows.groupby(level_index(rows["C"])):
        if part["N"].nunique() < LEVELS:
            continue
        budgets += 1
        if part.loc[part["L"].idxmin(), "N"] in (part["N"].min(), part["N"].max()):
            at_edge.append(float(part["C"].mean()))
    if at_edge:
        shown = ", ".join(f"{C:.2g}" for C in at_edge[:MOST])
        yield Finding(
            "edges",
            f"{len(at_edge)} of {budgets} budgets have their least loss at their smallest or largest size (C {shown}): "
            "add sizes beyond it",
        )


def _outliers(rows: pd.DataFrame) -> Iterator[Finding]:
    """Rows far from what runs of like size and data have, by a quadratic surface of the logarithms."""
    axes = [c for c in ("N", "D") if c in rows and rows[c].nunique() >= LEVELS]
    axes = axes or [c for c in ("C",) if c in rows and rows[c].nunique() >= LEVELS]
    if not axes:
        return
    far = outlying(np.log(rows[axes].to_numpy(float)), np.log(rows["L"].to_numpy(float)))
    for i in np.argsort(-np.abs(far))[:MOST]:
        if far[i] == 0:
            return
        label, side = rows.index[i], "above" if far[i] > 0 else "below"
        at = ", ".join(f"{c}={rows[c].iloc[i]:.3g}" for c in axes)
        yield Finding(
            "outlier",
            f"{where_is(rows, label)}: L={rows['L'].iloc[i]:.4g} lies {abs(far[i]):.0f} sd {side} runs of like "
            f"{' and '.join(axes)} ({at}); look at the run, or leave it out with --where",
            (label,),
        )


def outlying(x: Array, y: Array) -> Array:
    """By how many standard deviations each row is an outlier, (rows,), signed; 0 for those that are none.

    x   (rows, axes) logarithms of size and data
    y   (rows,) logarithm of the loss
    """
    from scipy.special import stdtrit

    z = (x - x.mean(0)) / x.std(0)
    ones, crossed = np.ones((len(z), 1)), [z[:, i] * z[:, k] for i in range(z.shape[1]) for k in range(i + 1)]
    design = np.column_stack([ones, z, *crossed])
    if len(y) < ROWS_PER_TERM * design.shape[1]:
        design = np.column_stack([ones, z])
    spare = len(y) - design.shape[1]
    if spare < design.shape[1]:
        return np.zeros(len(y))
    weights = np.ones(len(y))
    for _ in range(ROUNDS):
        root = np.sqrt(weights)[:, None]
        r = y - design @ np.linalg.lstsq(design * root, y * root[:, 0], rcond=None)[0]
        weights = 1 / np.maximum(np.abs(r), 1e-3 * np.median(np.abs(r)) + 1e-12)
    # 1.4826 makes the median size of a residual the sd of a Gaussian
    sd = 1.4826 * float(np.median(np.abs(r))) * np.sqrt(len(y) / spare)
    limit = max(FAR, float(stdtrit(spare, 1 - RARE / 2 / len(y))))
    far: Array = r / max(sd, 1e-9)
    return np.where(np.abs(far) > limit, far, 0.0)


def _spans(place: Layout) -> Iterator[Finding]:
    """Axes that vary, but too little to tell an exponent."""
    for name, decades in place.decades.items():
        if 0 < decades < SPAN and place.levels[name] >= LEVELS:
            yield Finding("span", f"{name} spans {decades:.1f} decades; an exponent needs {SPAN}")


def _rows(count: int) -> str:
    return f"{count} row{'s' if count != 1 else ''}"
