"""Make a baseline's and a change's runs of one table into points to compare: in one unit, at matching places, paired.

A run of the change and one of the baseline are a pair where they share their place in the ladder and their seed. Of a
searched knob each side's best counts; where several sizes spend one C, only the best of each side.

    from isoflop.analysis.runs.runs import as_runs

    two = sides(as_runs(runs), ["family"], "lstm", "transformer")
    two.points, two.pairs        # Points(...), and how many pairs they hold
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from isoflop import record
from isoflop.analysis.confirm.multiplier import Points
from isoflop.analysis.runs.cells import searched_knobs, tune
from isoflop.analysis.runs.levels import SAME_LEVEL, level_index
from isoflop.analysis.runs.names import plain
from isoflop.analysis.runs.rows import as_floats
from isoflop.analysis.runs.runs import Runs
from isoflop.errors import UserError
from isoflop.wording import cell

# names of columns that say of which text a loss is, trained on and held out, and in which tokens
_TEXT = re.compile("(train(ing)?_)?(text|data|dataset|corpus)(_(name|version|content))?")
_HELD_OUT = re.compile("(held|hold)_?out|(val(id(ation)?)?|eval(uation)?|test)_?(text|data|dataset|set|corpus)")
_TOKENS = re.compile("(data_)?(tokeni[sz](er|ation)|n_vocab|vocab(ulary)?)(_(name|type|version))?(_size)?")
# columns that name a place in a ladder, the surest first; amounts of one level are one
PLACES = (("rung", "mark"), ("width", "depth", "D"), ("N", "D"), ("C",))
AMOUNTS = ("N", "D", "C")
BITS = "L_bpb"


@dataclass(frozen=True)
class Sides:
    """The runs of a baseline and of a change, ready to be compared: their losses, and notes of what was assumed."""

    points: Points
    notes: tuple[str, ...]

    @cached_property
    def _by_side(self) -> tuple[set[int], set[int]]:
        new = self.points.new
        return set(self.points.unit[~new].tolist()), set(self.points.unit[new].tolist())

    @property
    def pairs(self) -> int:
        """How many units hold runs of both."""
        return len(self._by_side[0] & self._by_side[1])

    @property
    def alone(self) -> int:
        """How many units hold runs of one side alone."""
        return len(self._by_side[0] ^ self._by_side[1])

    @property
    def units(self) -> int:
        """How many units there are."""
        return self.pairs + self.alone

    @property
    def fewest(self) -> int:
        """How many units the side has that has fewer."""
        return min(map(len, self._by_side))

    @property
    def levels(self) -> int:
        """The number of levels of C within the range of both sides, on the side that has fewer."""
        C, new = np.exp(self.points.x), self.points.new
        low, high = max(C[new].min(), C[~new].min()), min(C[new].max(), C[~new].max())
        inside = (low <= C * (1 + SAME_LEVEL)) & (high * (1 + SAME_LEVEL) >= C)
        return min(len(set(level_index(C[side & inside]))) for side in (new, ~new))


def sides(runs: Runs, by: Sequence[str], base: str, change: str) -> Sides:
    """Return the points of the groups called `base` and `change` by the values of the columns `by`; UserError where a
    name is of no group, both are the same runs, or their losses do not compare."""
    old, new = _group(runs, by, base, "--base"), _group(runs, by, change, "--change")
    if base == change:
        raise UserError(f"--base and --change are both {cell(base)}, the same runs; name two groups")
    old, new, notes = _in_one_unit(old, new, (base, change))
    notes += _searched_alone(old, new, by, (base, change))
    (old, searched), (new, also) = (_tuned(side, by, name) for side, name in ((old, base), (new, change)))
    notes += [*searched, *also]
    needed = ["C", "L"]
    old, new = (side.numbers(needed, "a compute multiplier", blank=("N", "D")) for side in (old, new))
    frame = pd.concat([old.frame, new.frame], ignore_index=True)
    is_new = np.arange(len(frame)) >= len(old)
    run = np.concatenate([old.codes, old.count + new.codes])
    partner = _partners(frame, is_new)
    _refuse_same_runs(frame, partner, (base, change))
    keep = _best(frame, is_new)
    keep |= (partner >= 0) & keep[partner]
    if not keep.all():
        notes.append(f"{int((~keep).sum())} of {len(keep)} rows left out: not among the best of their side at their C")
    unit = _units(run, partner)
    x, y = (np.log(frame[c].to_numpy(float))[keep] for c in needed)
    points = Points(x, y, is_new[keep], unit[keep])
    return Sides(points, (*old.notes, *notes))


def _group(runs: Runs, by: Sequence[str], name: str, option: str) -> Runs:
    groups = {str(label): rows for label, rows in runs.by(by).items()}
    if name not in groups:
        listed = ", ".join(cell(label).strip("'") for label in groups)
        raise UserError(f"{option} {name} is not a value of {', '.join(by)}; choose one of {listed}")
    return groups[name]


def _searched_alone(old: Runs, new: Runs, by: Sequence[str], names: tuple[str, str]) -> list[str]:
    """Return a warning of each knob that one side had more values of to choose from: the luckiest is an advantage."""
    tried = [searched_knobs(side.usable.frame) for side in (old, new)]
    found = []
    for knob in sorted({*tried[0], *tried[1]} - {*by}):
        counts = [side.get(knob, 1) for side in tried]
        if counts[0] != counts[1]:
            more, fewer = sorted(zip(counts, names, strict=True), reverse=True)
            found.append(
                f"{knob} was not searched alike: {more[0]} values for {more[1]}, {fewer[0]} for {fewer[1]}, so that "
                f"luck favours {more[1]}; give both as many"
            )
    return found


def _tuned(side: Runs, by: Sequence[str], name: str) -> tuple[Runs, list[str]]:
    """Return a side's rows at the best value of each knob that was searched, and a note of it."""
    knobs = [knob for knob in searched_knobs(side.usable.frame) if knob not in by]
    if not knobs:
        return side, []
    best, cells = tune(side.usable.frame, knobs)
    note = f"{name}: of {' and '.join(knobs)}, searched, the best at each size and D counts"
    if edges := int((cells["edge"] != "").sum()):
        note += f"; at {edges} of {len(cells)} it lies on the edge of what was tried: widen the search"
    return side.with_frame(best.drop(columns="edges")), [note]


def _in_one_unit(old: Runs, new: Runs, names: tuple[str, str]) -> tuple[Runs, Runs, list[str]]:
    """Return both sides with losses that compare; of two tokenisers or texts, bits per byte."""
    rows = [side.counted.frame for side in (old, new)]
    columns = [c for c in rows[0] if isinstance(c, str)]
    held = [c for c in columns if _HELD_OUT.match(plain(c)) and not is_numeric_dtype(rows[0][c])]
    differ = [c for c in columns if (c in held or c == record.LOSS or _TOKENS.fullmatch(plain(c))) and _apart(rows, c)]
    hint = ""
    if not differ and not (held and all(side[held].notna().all(axis=None) for side in rows)):
        differ = [c for c in columns if _TEXT.fullmatch(plain(c)) and _apart(rows, c)]
        hint = ", or a column held_out that names the one text of all losses"
    if not differ:
        return old, new, []
    what = f"the runs of {names[0]} and {names[1]} differ in {differ[0]}"
    if not all(BITS in side and (as_floats(side.usable[BITS]) > 0).all() for side in (old, new)):
        add = f"add a column {BITS} with a number above 0 a row{hint}"
        raise UserError(f"{what}, so that only losses in bits per byte compare; {add}")
    both = [side.with_columns(L=side[BITS]) for side in (old, new)]
    return both[0], both[1], [f"{what}: losses are compared in bits per byte"]


def _apart(sides: Sequence[pd.DataFrame], column: str) -> bool:
    """Return whether rows differ in a column; a blank is a value too, unless both sides have some."""
    blank = record.NATS if column == record.LOSS else ""
    old, new = (set(side[column].astype(object).where(side[column].notna(), blank)) for side in sides)
    return old != new or len(old - {""}) > 1


def _partners(frame: pd.DataFrame, new: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each row the row of the other side at its place with its seed, -1 where there is none."""
    best = np.full(len(frame), -1, dtype=np.intp)
    for columns in PLACES:
        if columns == ("rung", "mark") and "mark" not in frame:
            columns = ("rung",)
        if not all(c in frame and frame[c].notna().all() for c in columns):
            continue
        key = pd.DataFrame({c: level_index(frame[c]) if c in AMOUNTS else frame[c].astype(str) for c in columns})
        if "seed" in frame:
            key["seed"] = frame["seed"]
        code = key.groupby(list(key), sort=False, dropna=False).ngroup().to_numpy()
        counts = np.stack([np.bincount(code[side], minlength=code.max() + 1) for side in (~new, new)])
        paired = (counts == 1).all(0)[code]
        found = np.full(len(frame), -1, dtype=np.intp)
        order = np.argsort(code, kind="stable")
        of_old, of_new = (order[(side & paired)[order]] for side in (~new, new))
        found[of_old], found[of_new] = of_new, of_old
        if (found >= 0).sum() > (best >= 0).sum():
            best = found
    return best


def _units(run: NDArray[np.intp], partner: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the unit of each row: its run, joined with the runs of its partners."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    paired = np.flatnonzero(partner >= 0)
    links = coo_array((np.ones(len(paired)), (run[paired], run[partner[paired]])), shape=(run.max() + 1,) * 2)
    return np.asarray(connected_components(links, directed=False)[1][run], dtype=np.intp)


def _best(frame: pd.DataFrame, new: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return whether no other place of its side beats each row's with as little C; all where each C has one size."""
    level = level_index(frame["C"])
    if "N" not in frame or frame["N"].isna().any():
        return np.ones(len(frame), dtype=bool)
    place = pd.DataFrame({"new": new, "level": level, "size": level_index(frame["N"]), "loss": np.log(frame["L"])})
    if not (place.groupby(["new", "level"])["size"].nunique() > 1).any():
        return np.ones(len(frame), dtype=bool)
    means = place.groupby(["new", "level", "size"])["loss"].mean().reset_index()
    least = means.loc[means.groupby(["new", "level"])["loss"].idxmin()]
    before = least.groupby("new")["loss"].transform(lambda loss: loss.cummin().shift(fill_value=np.inf))
    kept = pd.MultiIndex.from_frame(least.loc[least["loss"] < before, ["new", "level", "size"]])
    inside: NDArray[np.bool_] = pd.MultiIndex.from_frame(place[["new", "level", "size"]]).isin(kept)
    return inside


def _refuse_same_runs(frame: pd.DataFrame, partner: NDArray[np.intp], names: tuple[str, str]) -> None:
    loss, C = frame["L"].to_numpy(), frame["C"].to_numpy()
    paired = np.flatnonzero(partner >= 0)
    same = (loss[paired] == loss[partner[paired]]) & (C[paired] == C[partner[paired]])
    if len(paired) and same.all():
        raise UserError(f"{names[0]} and {names[1]} are the same runs: every loss is equal; name two different groups")
