"""Map columns of any table to our names, by what they are usually called.

A column that we call N, D, C or L and that is not there is the one of a usual name (`params`, `tokens (B)`,
`flops_1e18`, `log10_params`, `val_loss`), in the unit that the name states; where two columns bear usual names of one,
neither is taken. What was taken for what is reported in a note of every result, and `--columns` wins.

    table, notes = by_usual_names(pd.DataFrame({"params_m": [70.0], "tokens (B)": [1.4], "loss": [3.1]}))
    table["N"][0], table["D"][0]      # (7e7, 1.4e9)
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from isoflop import record, schema
from isoflop.analysis.runs.rows import as_floats
from isoflop.wording import MOST_SHOWN, cut, printable
from isoflop.yaml_file import read_yaml


@dataclass(frozen=True)
class _PublicTable:
    """A table that was published, recognised by its columns."""

    what: str
    columns: Mapping[str, str]
    """Our name -> the table's."""
    also: tuple[str, ...] = ()
    """Further columns that must be there."""
    ours: tuple[str, ...] = ()
    """Columns of ours that it has by itself."""
    units: Mapping[str, float] = field(default_factory=dict)
    """The unit of a column, in ours."""
    D_of_C: bool = False
    """Whether D is C/(6 N)."""
    alone: bool = False
    """Whether it has no other columns."""

    def fits(self, columns: Collection[str]) -> bool:
        """Return whether a table of these columns is this one: it has all of them, and none of ours besides."""
        needed = {*self.columns.values(), *self.also, *self.ours}
        clash = ({*_CORE} - {*self.ours}) & {*columns}
        return needed <= {*columns} and not clash and (not self.alone or needed == {*columns})


@dataclass(frozen=True)
class _ForeignNames:
    """The words of names.yaml, where each is explained."""

    usual: Mapping[str, tuple[str, ...]]
    of_a_part: tuple[str, ...]
    counts: Mapping[str, float]
    in_brackets: Mapping[str, float]
    flops: Mapping[str, float]
    amounts: tuple[str, ...]
    loss: tuple[str, ...]
    measured_on: tuple[tuple[str, ...], ...]
    about: tuple[str, ...]
    perplexity: tuple[str, ...]
    units_of_loss: Mapping[str, tuple[str, ...]]
    parts: Mapping[str, tuple[str, ...]]
    state: tuple[str, ...]
    ended: tuple[str, ...]
    cut_short: tuple[str, ...]
    sizes: tuple[str, ...]
    model: tuple[str, ...]
    tables: tuple[_PublicTable, ...]


_FILE = Path(__file__).with_name("names.yaml")
NAMES = schema.read(_ForeignNames, read_yaml(_FILE, "list of names")[0], _FILE)
_CORE = ("N", "D", "C", "L")
# `params (M)`, `tokens [billions]`
_BRACKETS = re.compile(r"(?P<name>.+?)[\s_]*[(\[]\s*(?P<unit>[^)\]]*?)\s*[)\]]")
_LOG10 = re.compile(r"log_?10[\s_]*[(\[]?\s*(?P<name>.*?)\s*[)\]]?", re.IGNORECASE)
# a factor or a function of a column, as notes print it and --columns takes it: `1e6*params`, `10^log_n`, `ln ppl`
_GIVEN = re.compile(
    r"(?:(?P<factor>\d[\d.]*(?:e[-+]?\d+)?)(?:\s*\*\s*|\s+))?(?P<kind>10\^|ln\s+)?(?P<name>.+)", re.IGNORECASE
)
_FACTOR_AFTER = re.compile(r"(.+?)\s*\*\s*(\d[\d.]*(?:e[-+]?\d+)?)$", re.IGNORECASE)
_AMOUNT = re.compile(r"\s*(?P<number>\d[\d.]*(?:e\+?\d+)?)\s*(?P<unit>[^\W\d]+)\.?(?:\s+(?P<of>[^\W\d]+))?\s*", re.I)
# where a tracker or a nested record keeps a column
_BELOW = re.compile(r"(?:args|cfg|config|hparams|summary)[./](?=.)")
# a size in the name of a model or of a column: 70M, 1.4b
SIZE = re.compile(r"(?<![\w.])(?P<number>\d+(?:\.\d+)?)\s?(?P<unit>[kKmMbB])(?![A-Za-z0-9])")


class Reading(NamedTuple):
    """How a column becomes one of ours."""

    column: str
    factor: float = 1.0
    """Its unit in ours."""
    kind: str = ""
    """log10 where it holds logarithms, ln where ours is the logarithm of it (a perplexity)."""

    def of(self, table: pd.DataFrame) -> pd.Series:
        """Return the column in our unit."""
        column = table[self.column]
        if not self.kind:
            return column if self.factor == 1 else amounts(column, self.factor)
        with np.errstate(all="ignore"):
            numbers = pd.to_numeric(column, errors="coerce").astype(float)
            values: pd.Series = self.factor * 10.0**numbers if self.kind == "log10" else numbers.map(np.log)
        return values

    def __str__(self) -> str:
        name = cut(printable(self.column), MOST_SHOWN)
        named = {"log10": f"10^{name}", "ln": f"ln {name}"}.get(self.kind, name)
        return named if self.factor == 1 else f"{self.factor:g} {named}"


def by_usual_names(table: pd.DataFrame, taken: Collection[str] = ()) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with the columns of ours that it lacks and whose names are clear, and a note if any were taken;
    taken: columns that the user has given another name, and that are nothing else."""
    readings, free = {}, table[[c for c in table if c not in taken]]
    for ours, names in NAMES.usual.items():
        # our own letter counts beside a unit or a logarithm: `N (millions)`, `log10(N)`
        called = (*names, ours) if ours in _CORE else names
        if ours not in table and (match := _surest(free, called)):
            readings[ours] = match
    if "L" not in table and (loss := loss_of(free)):
        readings["L"] = loss
    elif "L" not in table and (loss := loss_of(free, _mostly_numbers)):
        readings["L"] = Reading(loss.column)  # as it is, so that reading names the cell that is no number
    if not {*readings, *table.columns} & set(_CORE):
        return table, []
    words = [f"{ours}={reading}" for ours, reading in readings.items()]
    notes = [f"columns by their usual names: {', '.join(words)}; --columns takes others"] if words else []
    data = readings["D"].column if "D" in readings else ""
    for other in {*NAMES.of_a_part} & {*plain(data).split("_")}:
        notes.append(f"D is {data}, counted in {other}: give the targets of one, as in --columns D='1024*{data}'")
    table = table.assign(**{ours: reading.of(table) for ours, reading in readings.items()})
    return in_its_unit(table, readings["L"].column if "L" in readings else ""), notes


def given(table: pd.DataFrame, ours: str, text: str) -> Reading | None:
    """Return how --columns `ours`=`text` is read, with a unit, a factor or a function; None without a column."""
    if text in table:
        return _in_unit_of_name(table, ours, text)
    match = _GIVEN.fullmatch(_FACTOR_AFTER.sub(r"\2*\1", text))
    if match is None or match["name"] not in table:
        return None
    kind = {"1": "log10", "l": "ln"}.get((match["kind"] or "")[:1].lower(), "")
    return Reading(match["name"], float(match["factor"] or 1), kind)


def _in_unit_of_name(table: pd.DataFrame, ours: str, column: str) -> Reading:
    if ours == "L":
        return loss_of(table[[column]]) or Reading(column)
    if ours not in NAMES.amounts:
        return Reading(column)
    # whatever the column is called, a unit in brackets or of more than one letter is one
    any_name = {plain(name) for name, unit in _splits(column) if len(unit) > 1}
    bare = _BRACKETS.fullmatch(column.strip())
    logs = _LOG10.fullmatch(column.strip())
    any_name |= {plain(match["name"]) for match in (bare, logs) if match}
    return _reading(column, {*NAMES.usual.get(ours, ()), ours, *any_name}) or Reading(column)


def amounts(column: pd.Series, factor: float = 1.0) -> pd.Series:
    """Return a column times a factor, where a cell such as 4.2B or 70 Mio. has a unit of its own; other text stays."""
    if is_numeric_dtype(column):
        return column * factor

    counted = {*NAMES.usual["N"], *NAMES.usual["D"]}  # 4.2B tokens

    def amount(cell: object) -> object:
        try:
            return float(cell) * factor  # type: ignore[arg-type]
        except OverflowError:  # a whole number beyond every float
            return float("inf")
        except (TypeError, ValueError):
            match = _AMOUNT.fullmatch(str(cell))
            unit = match and (not match["of"] or plain(match["of"]) in counted) and _factor(match["unit"])
            return float(match["number"]) * unit if match and unit and match["number"].count(".") < 2 else cell

    values: pd.Series = column.map(amount, na_action="ignore")
    return values.infer_objects()


def in_its_unit(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the table with the unit of L, if the name of the column that L was says another than nats."""
    words = set(plain(name).split("_"))
    units = [
        unit
        for unit, terms in NAMES.units_of_loss.items()
        if words & set(terms) or any("_" in t and t in plain(name) for t in terms)
    ]
    return table.assign(**{record.LOSS: units[0]}) if units and record.LOSS not in table else table


def _surest(table: pd.DataFrame, names: Collection[str]) -> Reading | None:
    """Return the one column that bears one of these names, a plain name before one of a part (`params` before
    `active_params`, `tokens` before `samples`); None where there is none, or several are as good."""
    matches = readings_of(table, names)
    simple = [r for r in matches if not set(NAMES.of_a_part) & set(plain(r.column).split("_"))]
    best = simple or matches
    return best[0] if len(best) == 1 else None


def readings_of(table: pd.DataFrame, names: Collection[str]) -> list[Reading]:
    """Return the columns that bear one of these names."""
    readings = [_reading(str(column), names) for column in table.columns]
    # a word in a column of numbers is an error that names its cell; not so in one of logarithms
    return [
        r
        for r in readings
        if r and (r == Reading(r.column) or (is_numeric_dtype if r.kind else _mostly_numbers)(table[r.column]))
    ]


def _reading(column: str, names: Collection[str]) -> Reading | None:
    """Return how a column of one of these names is read; None for any other column, or an unknown unit."""
    kind, name = "", _BELOW.sub("", column.strip())
    if logs := _LOG10.fullmatch(name):
        kind, name = "log10", logs["name"]
    unit, bare = "", name
    if brackets := _BRACKETS.fullmatch(name):
        bare, unit = brackets["name"], brackets["unit"]
        if plain(unit) == "log10":
            kind, unit = "log10", ""
    for split, suffix in _splits(bare) if not unit else [(bare, unit)]:
        factor = _factor(suffix) if suffix else 1.0
        factor = _factor_in_brackets(suffix) if factor is None and brackets else factor
        # `D_m` is the width of a model, `D (M)` and `D_millions` are amounts of data
        sure = kind or brackets or len(suffix) > 1
        if factor is not None and (plain(split) in names or (split in names and sure and (kind or factor != 1))):
            return Reading(column, factor, kind)
    # `exaflops` is an amount of compute by its unit alone
    if "flops" in names and (factor := NAMES.flops.get(plain(name).removesuffix("s"))):
        return Reading(column, factor, kind)
    return None


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Return the ways to split a name from the unit at its end: `params_in_millions`, `compute pf days`."""
    yield name, ""
    words = re.split(r"[\s_]+", name)
    for place in range(len(words) - 1, 0, -1):
        yield "_".join(words[: place - (words[place - 1].lower() == "in" and place > 1)]), "_".join(words[place:])


def _factor(unit: str) -> float | None:
    word = plain(unit)
    if power := re.fullmatch(r"(?:1?e|10\^)(\d{1,2})", unit.lower()):
        return float(10.0 ** int(power[1]))
    known = {**NAMES.counts, **NAMES.flops}
    return known.get(word) or known.get(word.removesuffix("s"))


def _factor_in_brackets(text: str) -> float | None:
    """Return the one unit of `in M`, `Mio. Parameter`, `billions of tokens`; a letter is one only by itself."""
    words = [word for word in plain(text).split("_") if word != "in"]
    known = {NAMES.in_brackets.get(word, _factor(word)) for word in words if len(word) > 1 or len(words) == 1} - {None}
    return known.pop() if len(known) == 1 else None


def _mostly_numbers(column: pd.Series) -> bool:
    return bool(as_floats(column).notna().sum() > 0.5 * column.notna().sum())


def loss_of(table: pd.DataFrame, able: Callable[[pd.Series], bool] = is_numeric_dtype) -> Reading | None:
    """Return the column that is the loss: of those on held-out data the one whose name has the fewest words, else of
    the others, of those `able` to be one; None where there is none, or several are as good."""
    ranked = []
    # ours have a meaning of their own, as L_bpb does
    for column in (c for c in map(str, table.columns) if c not in record.COLUMNS):
        kind, name = "", column.strip()
        if logs := _LOG10.fullmatch(name):
            kind, name = "log10", logs["name"]
        elif (brackets := _BRACKETS.fullmatch(name)) and not plain(brackets["unit"]).startswith(("ln", "log")):
            name = brackets["name"]
        words = set(plain(name).split("_"))
        is_loss = bool(words & {*NAMES.loss}) or any("_" in term and term in plain(name) for term in NAMES.loss)
        if words & {*NAMES.perplexity} and not is_loss:
            kind, is_loss = "ln" if kind == "" else "both", True
        is_loss |= kind == "log10" and name == "L"
        if not is_loss or kind == "both" or words & {*NAMES.about} or not able(table[column]):
            continue
        rank = next(i for i, on in enumerate(NAMES.measured_on) if not on or words & {*on})
        rank = len(NAMES.measured_on) - 1 if words & {*NAMES.measured_on[-1]} and rank else rank
        ranked.append((kind == "ln", rank, len(words), Reading(column, 1.0, kind)))
    ranked.sort(key=lambda one: one[:3])
    alone = len(ranked) == 1 or (len(ranked) > 1 and ranked[0][:3] != ranked[1][:3])
    return ranked[0][3] if alone else None


def plain(name: str) -> str:
    """Return a name in small letters with _ between words; nParams is n_params."""
    name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()  # paramètres: parametres
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
