"""From a table to what a fit stands on: the rows, those left out and why, the runs they belong to.

Which rows are usable is decided here, once, for fits, claims, frontiers, plans and reports alike. A row that failed is
left out with its reason; a number that cannot be (a loss of zero, a missing size) in any other row of a fit is an error
that names the file, the line and the column, for a fit must not choose its data in silence.

    rows = usable(read_runs("runs.csv").frame)                # finished, with a loss, each measured point once
    prepared = prepare(read_runs("runs.csv").frame, get_law("chinchilla"))
    prepared.excluded     # [('status is diverged', 2)]
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.laws.catalogue import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.laws.flops import TRAIN
from isoflop.analysis.runs.best_settings import best_settings, is_sweep
from isoflop.analysis.runs.recognise import RunCodes, is_circumstance, recognise_runs
from isoflop.errors import CellError, FitError
from isoflop.wording import MOST_SHOWN, cell, cut, printable

# columns that, where they differ inside one group, make it a mixture
MIXTURES = ("data", "family", "dataset", "val_dataset", "tokenizer", "tokeniser", "vocab_size", "data.tokenizer")
# repeating data up to so many times is nearly as good as new data (Muennighoff et al. 2023, arXiv:2305.16264)
REPEATED = 4
# N D in these units is that many times too small
_UNITS = {1e3: "thousands", 1e6: "millions", 1e9: "billions"}


@dataclass(frozen=True)
class Prepared:
    """The rows of a fit as columns of numbers.

    rows       the usable rows themselves
    columns    the columns of the law, in its order, (rows,) each
    target     what it predicts, (rows,)
    runs       the number of each row's run, (rows,)
    n_runs     how many runs there are
    excluded   (reason, rows) for each kind of row that was left out
    notes      what is odd about the rows
    scale      of each row's residual, (rows,), where rows are weighed
    """

    rows: pd.DataFrame
    columns: tuple[Array, ...]
    target: Array
    runs: NDArray[np.intp]
    n_runs: int
    excluded: list[tuple[str, int]]
    notes: list[str]
    scale: Array | None = None

    def part(self, most: int) -> "Prepared":
        """These rows, or `most` of them drawn at random: every so-manieth row of a grid may be one size."""
        if len(self.target) <= most:
            return self
        part = np.sort(np.random.default_rng(0).permutation(len(self.target))[:most])
        names, codes = np.unique(self.runs[part], return_inverse=True)
        columns = tuple(c[part] for c in self.columns)
        scale = None if self.scale is None else self.scale[part]
        return replace(self, columns=columns, target=self.target[part], runs=codes, n_runs=len(names), scale=scale)


def prepare(runs: pd.DataFrame, law: Law, run: str | None = None) -> Prepared:
    """Check the columns that `law` needs, leave out failed runs, number the runs; of a sweep over the very setting that
    the law predicts, the best of each cell."""
    needed = [*law.columns, law.target]
    sweep = is_sweep(runs, law.columns, law.target)
    rows, values, excluded = checked(runs, [*needed, "L"] if sweep else needed, law.name)
    if sweep:
        best, sentence = best_settings(rows.assign(**values), law.columns, law.target)
        best.attrs = rows.attrs | {"notes": [*rows.attrs.get("notes", ()), sentence]}
        rows, values = best, {c: best[c].to_numpy(float) for c in needed}
    codes, n_runs = number_runs(rows, run)
    columns = tuple(values[c] for c in law.columns)
    notes = [*map(str, rows.attrs.get("notes", ())), *mixtures(rows), *units(rows)]
    notes += [] if "D_unique" in law.columns or "D" not in law.columns else repeated(rows)
    if run is None and "run_id" not in rows and n_runs < len(rows):
        notes.append(recognise_runs(rows).note)
    return Prepared(rows, columns, values[law.target], codes, n_runs, excluded, notes)


def checked(
    runs: pd.DataFrame, needed: Sequence[str], what: str, *, blank: Sequence[str] = ()
) -> tuple[pd.DataFrame, dict[str, Array], list[tuple[str, int]]]:
    """THE check of a table, which every verb makes: the usable rows, their columns as numbers above 0, what was left
    out.

    needed   columns that must be there, with a number above 0 in every usable row
    what     what needs them, for the error
    blank    further columns whose numbers must be above 0 where there are any; the others are NaN

    C is taken as 6 N D, with a note, where it is needed and the table has none.
    """
    runs = with_compute(runs) if "C" in needed else runs
    missing = [c for c in dict.fromkeys(needed) if c not in runs]
    if missing:
        names = f"column{'s' * (len(needed) > 1)} {', '.join(needed)}"
        raise FitError(
            f"{what} needs the {names}; {_source(runs)} has no {' and no '.join(missing)}: "
            f"name it, as in --columns {missing[0]}=its_name (there are {_columns(runs)}){_one_axis(runs, missing)}"
        )
    rows, excluded = split_usable(runs)
    if rows.empty:
        raise FitError(no_rows(runs, excluded))
    values = {c: _positive(rows, c) for c in dict.fromkeys(needed)}
    return rows, values | {c: _positive(rows, c, blank=True) for c in blank if c in rows}, excluded


def _one_axis(runs: pd.DataFrame, missing: Sequence[str]) -> str:
    """What else can be fitted where a size, an amount of data or compute is all that a table has beside its loss."""
    there = [c for c in ("D", "N", "C") if c in runs and "L" in runs]
    hint = f"; a law of {there[0]} alone is fitted by --law 'power_offset({there[0]})'" if len(there) == 1 else ""
    return hint if {"N", "D"} & set(missing) else ""


def with_compute(runs: pd.DataFrame) -> pd.DataFrame:
    """The table with C = 6 N D, and a note that says so, where it has N and D and no C (Kaplan et al. 2020)."""
    if ("C" in runs and runs["C"].notna().any()) or not {"N", "D"} <= set(runs.columns):
        return runs
    N, D = (pd.to_numeric(runs[name], errors="coerce") for name in ("N", "D"))
    with np.errstate(over="ignore"):
        table = runs.assign(C=TRAIN * N * D)
    table.attrs = runs.attrs | {"notes": [*runs.attrs.get("notes", ()), "the table has no C: it is taken as 6 N D"]}
    return table


def no_rows(runs: pd.DataFrame, excluded: Sequence[tuple[str, int]]) -> str:
    """The sentence about a table none of whose rows can be used."""
    left = "; ".join(f"{n}: {reason}" for reason, n in excluded)
    return f"{_source(runs)} has no rows to fit{f' (left out {left})' if left else '; it is empty'}"


def finished(runs: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each row is of a run that left a result, (rows,): its status is ok, or blank as in a foreign table."""
    if "status" not in runs:
        return np.ones(len(runs), dtype=bool)
    ok = (runs["status"] == "ok").to_numpy(dtype=bool, na_value=False).copy()
    if not ok.all():
        others = runs["status"][~ok]
        words = others.where(others.notna(), "ok").astype(str).str.strip()
        ok[~ok] = words.isin(["", "ok"]).to_numpy()
    return ok


def usable(runs: pd.DataFrame, columns: Sequence[str] = ("L",)) -> pd.DataFrame:
    """The rows that count: finished (a blank status is ok), a value in each of `columns`, each measured point once.

    Index and attrs are those of `runs`; a column that is not there raises KeyError.
    """
    return split_usable(runs, columns)[0]


def split_usable(runs: pd.DataFrame, columns: Sequence[str] = ()) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    """The usable rows, and how many others there are for each reason.

    A point is known by (run_id, mark, N, D), whatever else a copy of its row says; where rows have no run_id, or
    neither mark nor D to tell the points of a run apart, only an exact copy is one.
    """
    excluded = []
    if "status" in runs:
        ok = finished(runs)
        if not ok.all():
            statuses = runs["status"][~ok].astype(str).value_counts().sort_index()
            excluded += [(f"status is {status}", int(count)) for status, count in statuses.items()]
            runs = runs[ok]
    empty = np.zeros(len(runs), dtype=bool)
    for name in columns:
        empty |= runs[name].isna().to_numpy()
    named = np.zeros(len(runs), dtype=bool)
    if "run_id" in runs and {"mark", "D"} & set(runs.columns):
        named = runs["run_id"].notna().to_numpy()
    key = [c for c in ("run_id", "mark", "N", "D") if c in runs]
    again = ~empty & named
    if again.any():
        again[again] = _repeated(runs[key] if again.all() else runs.loc[again, key])
    exact = ~empty & ~named
    # when and where a row was made does not make it another run
    if exact.any():
        exact[exact] = _repeated(runs.loc[exact, [c for c in runs if not is_circumstance(c)]])
    reasons = (
        (empty, f"no value of {' or '.join(columns)}"),
        (again, "repeats a point of the same run"),
        (exact, "repeats another row exactly"),
    )
    excluded += [(reason, int(rows.sum())) for rows, reason in reasons if rows.any()]
    left_out = empty | again | exact
    return runs[~left_out] if left_out.any() else runs.copy(deep=False), excluded


def _repeated(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each row repeats one above it, (rows,)."""
    try:
        return rows.duplicated().to_numpy()
    except TypeError:  # a column of lists or dicts cannot be compared
        return np.zeros(len(rows), dtype=bool)


def usable_numbers(runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The usable rows with these columns as numbers above zero; FitError that names the row where one is not."""
    rows, values, _ = checked(runs, columns, "this")
    return rows.assign(**values)


def groups(runs: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows of each group of equal `by`, with its label."""
    for name in by:
        if name not in runs:
            raise FitError(f"{_source(runs)} has no column {name!r} to group by; it has {_columns(runs)}")
    if not by:
        yield {}, runs
        return
    for key, rows in group_rows(runs, by).items():
        yield dict(zip(by, map(_label, key), strict=True)), rows


def as_families(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The table with groups of equal `by` in the place of families: 'mlp', or 'mlp, text' of two columns."""
    labels = pd.Series(index=runs.index, dtype=object)
    for label, rows in groups(runs, by):
        labels.loc[rows.index] = ", ".join("" if pd.isna(value) else str(value) for value in label.values())
    return runs.assign(family=labels)


def group_rows(runs: pd.DataFrame, by: Sequence[str]) -> dict[tuple[Any, ...], pd.DataFrame]:
    """The rows of each group by its key; lists and values of several kinds in one column group by their text."""
    keys = runs[list(by)].copy()
    for name in by:
        if keys[name].dtype == object and not keys[name].dropna().map(lambda value: isinstance(value, str)).all():
            keys[name] = keys[name].map(str, na_action="ignore")
    return {key: runs.iloc[places] for key, places in _places(keys, by)}


def _places(keys: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], NDArray[np.intp]]]:
    numbers = keys.groupby(list(by), sort=True, dropna=False).ngroup().to_numpy()
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    values = keys.iloc[order[starts]].itertuples(index=False, name=None)
    yield from zip(values, np.split(order, starts[1:]) if len(starts) else [], strict=True)


def _label(value: Any) -> Any:
    """A group's value as JSON can hold it: an infinity is its text, a missing one stays missing."""
    return str(value) if isinstance(value, float) and np.isinf(value) else value


def _source(runs: pd.DataFrame) -> str:
    return str(runs.attrs.get("source", "the table"))


def _columns(runs: pd.DataFrame) -> str:
    return ", ".join(cut(printable(str(name)), MOST_SHOWN) for name in list(runs.columns)[:30])


def where_is(runs: pd.DataFrame, label: Any) -> str:
    """Words for one row: 'runs.csv, line 7' where the table came from a file, else 'row 7'."""
    source = runs.attrs.get("source")
    return f"{source}, line {label}" if source and runs.index.name == "line" else f"row {label}"


def _positive(rows: pd.DataFrame, name: str, *, blank: bool = False) -> Array:
    """A column as numbers above 0, NaN for a blank where it may be; CellError that names the first that is none."""
    column = rows[name]
    numbers = as_floats(column).to_numpy()
    sound = np.isfinite(numbers) & (numbers > 0)
    bad = np.flatnonzero(~(sound | (column.isna().to_numpy() if blank else False)))
    if len(bad):
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        place, value = where_is(rows, rows.index[bad[0]]), column.iloc[bad[0]]
        shown = "empty" if pd.api.types.is_scalar(value) and pd.isna(value) else cell(value)
        need = "a law needs a number above 0; mend it or leave the row out with --where"
        if name not in ("N", "D", "C", "L") and numbers[bad[0]] < 0:  # a score, say, that has another bound than 0
            need = (
                "a law is of logarithms, so of numbers above 0; put its distance from a bound into a column, such as "
                "best - score, and give that as the target"
            )
        raise CellError(f"{place}: column {cut(printable(name), MOST_SHOWN)} is {shown}{more}, and {need}")
    return numbers


def recognised(rows: pd.DataFrame, run: str | None) -> RunCodes:
    """Return the run of each row: by the column `run`, else by run_id, else by what is recognised."""
    if run is not None and run not in rows:
        raise FitError(f"{_source(rows)} has no column {run!r} to tell runs apart; it has {_columns(rows)}")
    name = run or "run_id"
    if name not in rows:
        return recognise_runs(rows)
    codes, names = pd.factorize(rows[name])
    unnamed = codes < 0
    codes[unnamed] = len(names) + np.arange(unnamed.sum())
    return RunCodes(codes.astype(np.intp), len(names) + int(unnamed.sum()))


def number_runs(rows: pd.DataFrame, run: str | None) -> tuple[NDArray[np.intp], int]:
    """Return the number of each row's run, and how many there are."""
    runs = recognised(rows, run)
    return runs.codes, runs.count


def mixtures(rows: pd.DataFrame) -> list[str]:
    """A sentence for each column that makes the rows a mixture."""
    names = [name for name in MIXTURES if name in rows and rows[name].nunique() > 1]
    return [f"{name} mixes {', '.join(map(str, rows[name].unique()[:4]))}: group by it" for name in names]


def repeated(rows: pd.DataFrame) -> list[str]:
    """A sentence where targets are seen so often that a law which takes all of them for new ones is off."""
    if not {"D", "D_unique"} <= set(rows.columns):
        return []
    epochs = pd.to_numeric(rows["D"], errors="coerce") / pd.to_numeric(rows["D_unique"], errors="coerce")
    often = int((epochs > REPEATED).sum())
    if not often:
        return []
    return [
        f"in {often} of {len(rows)} rows targets are seen more than {REPEATED} times, up to {epochs.max():.3g}: a law "
        "without D_unique takes them for new ones, --law data_constrained does not"
    ]


def units(rows: pd.DataFrame) -> list[str]:
    """A sentence where C is not what N and D take, whatever they count."""
    if not {"N", "D", "C"} <= set(rows.columns):
        return []
    N, D, C = (pd.to_numeric(rows[name], errors="coerce") for name in ("N", "D", "C"))
    ratio = float((C / N / D).median())
    # attention and lookup move C/(N D) from 6 by less than this
    if 0.1 < ratio < 1000:
        return []
    return [f"C/(N D) is {ratio:.3g} where about {TRAIN:g} is expected: a column is in another unit{_unit(ratio)}"]


def _unit(ratio: float) -> str:
    """Which unit would explain C/(N D), where one does."""
    for factor, name in _UNITS.items():
        if 0.3 < ratio / TRAIN / factor < 3:
            return f", such as N or D in {name}"
    for one, first in _UNITS.items():
        for other, second in _UNITS.items():
            if one <= other and 0.3 < ratio / TRAIN / one / other < 3:
                return f", such as N in {first} and D in {second}"
    return ""


def joined(rows: pd.DataFrame, columns: Sequence[str], between: str = " ") -> pd.Series:
    """Each row's values of some columns as one text, `none` where there is no value."""
    cells = rows[list(columns)].astype(object)
    cells = cells.where(cells.notna(), "none")
    return pd.Series([between.join(map(str, row)) for row in cells.itertuples(index=False)], rows.index, dtype=object)


def as_floats(column: pd.Series) -> pd.Series:
    """A column as doubles: NaN for what is no number, an infinity for what is too large for a double."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.astype(float)
    return column.map(_as_float, na_action="ignore").astype(float)


def _as_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("inf")
    except ValueError:
        return float("nan")
