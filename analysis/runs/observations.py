"""What a law is fitted to: rows as columns of numbers; for a law of a knob its best value in each cell of a sweep.

In each cell of such a law's columns the least loss over all other knobs is taken for each value of this one; a parabola
in its logarithm through the values about the least gives the best. A cell whose least lies at the edge of what was
tried has no minimum and is left out.

    sweep = pd.DataFrame({"N": 1e8, "D": 1e9, "lr": [1e-3, 2e-3, 4e-3], "L": [3.1, 3.0, 3.2]})
    best_settings(sweep, ("N", "D"), "lr")     # (a row for each cell: N, D, lr, L; the sentence that says so)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop import record
from isoflop.analysis.laws.declare import TRAIN
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.recognise import is_setting
from isoflop.analysis.runs.runs import Runs
from isoflop.errors import UserError

# columns that, where they differ inside one group, make it a mixture
MIXTURES = (
    "data",
    "family",
    "dataset",
    "val_dataset",
    "tokenizer",
    "tokeniser",
    "vocab_size",
    "data.tokenizer",
    record.LOSS,
)
# rows that a kind in a column of words needs, and more kinds than this are names
_ROWS_PER_KIND, _MOST_KINDS = 4, 12
# repeating data up to this many times is nearly as good as new data (Muennighoff et al. 2023, arXiv:2305.16264)
_REPEATED = 4
# ln of a vocabulary of a million is 13.8: a loss per token above that is of no language model [nats]
_HIGHEST_LOSS = 14.0
# fewer parameters and targets than this in every row: a column in millions or billions
_FEWEST = 1e4
# targets for each parameter of a best split: about 20 for text (Hoffmann et al. 2022), and what lies far outside is odd
_D_PER_N = (1e-2, 1e5)
_MULTIPLY = "multiply it out, as in --columns N=1e6*its_name"
# N D in these units is this many times too small
_UNITS = {1e3: "thousands", 1e6: "millions", 1e9: "billions"}
_KNOBS = ("lr", "batch", "weight_decay")
# values on either side of the least that the parabola sees, and how many values a cell needs
_SIDE, _FEWEST_VALUES = 2, 3


@dataclass(frozen=True)
class Observations:
    """What a law is fitted to: rows as columns of numbers.

    table      the usable rows themselves
    columns    the columns of the law, in its order, (rows,) each
    target     what it predicts, (rows,)
    runs       the number of each row's run, (rows,)
    n_runs     how many runs there are
    excluded   (reason, rows) for each kind of row that was left out
    notes      what is odd about the rows
    scale      of each row's residual, (rows,), where rows are weighed
    powers     exponents of the noise in the columns (columns,), and their standard errors, where replicates tell them
    """

    table: Runs
    columns: tuple[Array, ...]
    target: Array
    runs: NDArray[np.intp]
    n_runs: int
    excluded: list[tuple[str, int]]
    notes: list[str]
    scale: Array | None = None
    powers: tuple[Array, Array] | None = None

    @property
    def rows(self) -> pd.DataFrame:
        return self.table.frame

    def part(self, most: int) -> "Observations":
        """Return these rows, or `most` of them drawn at random: every k-th row of a grid could be of a single size."""
        if len(self.target) <= most:
            return self
        drawn = np.sort(np.random.default_rng(0).permutation(len(self.target))[:most])
        names, codes = np.unique(self.runs[drawn], return_inverse=True)
        columns = tuple(c[drawn] for c in self.columns)
        scale = None if self.scale is None else self.scale[drawn]
        return replace(self, columns=columns, target=self.target[drawn], runs=codes, n_runs=len(names), scale=scale)


def is_sweep(runs: pd.DataFrame, columns: Sequence[str], knob: str) -> bool:
    """Return whether a table tries several values of a knob in a cell, with a loss for each."""
    if knob not in _KNOBS or not {knob, "L", *columns} <= set(runs.columns):
        return False
    return bool((runs.groupby(_levels(runs, _cell(runs, columns, knob)))[knob].nunique() > 1).any())


def best_settings(runs: pd.DataFrame, columns: Sequence[str], knob: str) -> tuple[pd.DataFrame, str]:
    """Return a row for each cell that has a minimum, and a sentence; UserError if none has."""
    rows, edges, few = [], 0, 0
    columns = _cell(runs, columns, knob)
    for _, part in runs.groupby(_levels(runs, columns)):
        cell = [float(part[c].iloc[0] if part[c].nunique() == 1 else np.exp(np.log(part[c]).mean())) for c in columns]
        least = part.groupby(knob)["L"].min()
        x, L = np.log(least.index.to_numpy(float)), least.to_numpy(float)
        at = int(L.argmin())
        if len(x) < _FEWEST_VALUES:
            few += 1
        elif at in (0, len(x) - 1):
            edges += 1
        else:
            near = slice(max(at - _SIDE, 0), at + _SIDE + 1)
            curve, slope, height = np.polyfit(x[near] - x[at], L[near], 2)
            # outside its neighbours a vertex is noise
            vertex = -slope / (2 * curve) if curve > 0 else 0.0
            vertex = float(np.clip(vertex, x[at - 1] - x[at], x[at + 1] - x[at]))
            values = np.exp(x[at] + vertex), height + slope * vertex + curve * vertex**2
            rows.append(dict(zip(columns, cell, strict=True)) | dict(zip((knob, "L"), values, strict=True)))
    if not rows:
        raise UserError(
            f"no cell of {', '.join(columns)} has a least loss between two other values of {knob} "
            f"({edges} have it at an edge, {few} have fewer than {_FEWEST_VALUES} values); add values of {knob}"
        )
    left = f"; left out: {edges} cells at an edge, {few} of fewer than {_FEWEST_VALUES} values" if edges or few else ""
    sentence = f"{knob} is the best of each cell of {', '.join(columns)}, by a parabola, in {len(rows)} cells{left}"
    return pd.DataFrame(rows), sentence


def _levels(runs: pd.DataFrame, columns: Sequence[str]) -> list[pd.Series]:
    """Return what rows of one cell have in common; amounts of data of one level are one, whatever their last digits."""
    return [pd.Series(level_index(runs[c]), runs.index) if c == "D" else runs[c] for c in columns]


def _cell(runs: pd.DataFrame, columns: Sequence[str], knob: str) -> list[str]:
    """Return the columns of a cell: N and D too, or the largest N would speak for each D under a law of D alone."""
    return list(dict.fromkeys([*columns, *(c for c in ("N", "D") if c in runs and c != knob)]))


def mixtures(rows: pd.DataFrame, *, words: bool = True) -> dict[str, str]:
    """Return a sentence for each column that makes the rows a mixture: MIXTURES, with `words` settings in words."""
    shown = {c: ", ".join(map(str, rows[c].dropna().unique()[:4])) for c in MIXTURES if c in rows}
    notes = {c: f"{c} mixes {kinds}: group by it" for c, kinds in shown.items() if rows[c].nunique() > 1}
    texts = rows.select_dtypes(exclude="number") if words else rows.iloc[:, :0]
    for name in (c for c in texts if c not in (*MIXTURES, *record.COLUMNS)):
        values = texts[name].dropna().astype(str)
        if not 1 < values.nunique() <= min(_MOST_KINDS, len(rows) / _ROWS_PER_KIND) or not is_setting(rows, name):
            continue
        if "N" not in rows or values.groupby(rows["N"]).nunique().max() > 1:
            kinds = ", ".join(values.unique()[:4])
            notes[str(name)] = f"{name} mixes {kinds} at one size: --by {name} separates them"
    return notes


def mixed(runs: Runs) -> list[str]:
    """Return a sentence for each column that makes a group of these runs a mixture; our own claims compare knobs."""
    foreign = not set(runs.frame) >= record.IDENTITY
    found = [mixtures(part.frame, words=foreign) for part in runs.usable.groups.values()]
    return [*dict.fromkeys(note for notes in found for note in notes.values())]


def repeated(rows: pd.DataFrame) -> list[str]:
    """Return a sentence if targets are seen so often that a law which takes all of them for new ones is off."""
    if not {"D", "D_unique"} <= set(rows.columns):
        return []
    epochs = pd.to_numeric(rows["D"], errors="coerce") / pd.to_numeric(rows["D_unique"], errors="coerce")
    often = int((epochs > _REPEATED).sum())
    if not often:
        return []
    return [
        f"in {often} of {len(rows)} rows targets are seen more than {_REPEATED} times, up to {epochs.max():.3g}: a law "
        "without D_unique takes them for new ones, --law data_constrained does not"
    ]


def unfinished(table: Runs) -> list[str]:
    """Return a warning of points before the end of their run; a mark is one that a cooldown finished."""
    if "D" not in table or "mark" in table or "rung" in table:
        return []
    early = int((table["D"] < table["D"].groupby(table.codes).transform("max")).sum())
    text = (
        f"{early} of {len(table)} rows are points before the end of their run: under a rate that falls their losses "
        "are too high, for its schedule is not finished (Hoffmann et al. 2022, appendix B): keep the last row of each"
    )
    return [text] if early else []


def units(rows: pd.DataFrame) -> list[str]:
    """Return a question for each column that may be in another unit; our own records state theirs."""
    if set(rows.columns) >= record.IDENTITY:
        return []
    numbers = {name: pd.to_numeric(rows[name], errors="coerce") for name in ("N", "D", "C", "L") if name in rows}
    notes = []
    if {"N", "D", "C"} <= set(numbers):
        ratio = float((numbers["C"] / numbers["N"] / numbers["D"]).median())
        if not 0.1 < ratio < 1000:  # attention and lookup move C/(N D) from 6 by less than this
            what = f"C/(N D) is {ratio:.3g} where about {TRAIN:g} is expected"
            notes.append(f"{what}: a column is in another unit{_unit(ratio)}")
    if "L" in numbers and record.loss_unit(rows) == record.NATS and (numbers["L"] > _HIGHEST_LOSS).mean() > 0.5:
        notes.append(f"L is {numbers['L'].median():.3g} in the middle: a perplexity? take its logarithm")
    small = [c for c in ("N", "D") if "N" in numbers and c in numbers and numbers[c].max() < _FEWEST]
    if small:
        notes.append(f"{' and '.join(small)} below {_FEWEST:g} in every row: in millions or billions? {_MULTIPLY}")
    return notes


def odd_split(rows: pd.DataFrame, N: float, D: float) -> str:
    """Return a question about units where the best D/N is such as no training has; empty for a usual one."""
    if set(rows.columns) >= record.IDENTITY or _D_PER_N[0] <= D / N <= _D_PER_N[1]:
        return ""
    return f"D/N is {D / N:.3g} at the best split: are both in units, not thousands or millions? {_MULTIPLY}"


def _unit(ratio: float) -> str:
    for factor, name in _UNITS.items():
        if 0.3 < ratio / TRAIN / factor < 3:
            return f", such as N or D in {name}"
    for of_size, size_name in _UNITS.items():
        for of_data, data_name in _UNITS.items():
            if of_size <= of_data and 0.3 < ratio / TRAIN / of_size / of_data < 3:
                return f", such as N in {size_name} and D in {data_name}"
    return ""
