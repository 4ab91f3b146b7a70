"""Tables of other tools: public ones recognised by their columns, wide ones made long, N and D formed from others.

A table is a public one only if every column of a preset is there and none of ours is; any other is read by usual names
(names.py). Every step is reported in a note of every result.

    preset_of(table)   # (table with N, C, L, D, 'columns as in the points digitised from Hoffmann et al. 2022 ...')
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from isoflop.analysis.laws.declare import TRAIN
from isoflop.analysis.runs.names import NAMES, SIZE, Reading, loss_of, plain, readings_of
from isoflop.wording import listed, printable

# columns of losses from which a table is wide
_FEWEST = 3


def preset_of(table: pd.DataFrame) -> tuple[pd.DataFrame, str] | None:
    """Return a public table under our names, and a sentence that says which it is; None for any other table."""
    preset = next((preset for preset in NAMES.tables if preset.fits(table.columns)), None)
    if preset is None:
        return None
    units = {ours: preset.units.get(ours, 1.0) for ours in preset.columns}
    named = table.assign(**{
        ours: table[name] if units[ours] == 1 else table[name] * units[ours] for ours, name in preset.columns.items()
    })  # fmt: skip
    words = [f"{ours}={name}" if units[ours] == 1 else f"{ours}={units[ours]:g} {name}"
             for ours, name in preset.columns.items()]  # fmt: skip
    if preset.D_of_C:
        # training takes 6 FLOPs for each parameter and target (Kaplan et al. 2020, arXiv:2001.08361, section 2.1)
        named["D"] = named["C"] / (6 * named["N"])
        words.append("D=C/(6 N)")
    return named, f"columns as in {preset.what}: {', '.join(words)}"


def melted(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return a wide table of losses by size (70M, `loss (1.4B)`) with N and L in columns, and a note; else it and
    ''."""
    named = {str(c): SIZE.findall(str(c).replace("_", " ")) for c in table.columns if is_numeric_dtype(table[c])}
    one = {c: matches[0] for c, matches in named.items() if len(matches) == 1}
    sizes = pd.Series({c: float(number) * NAMES.counts[unit.lower()] for c, (number, unit) in one.items()}, dtype=float)
    stems = pd.Series({c: SIZE.sub("#", c.replace("_", " ")) for c in sizes.index}, dtype=object)
    stems = stems[stems.map(_is_of_losses)]
    if not len(stems) or (most := stems.value_counts()).iloc[0] < _FEWEST or _has_size_or_loss(table):
        return table, ""
    columns = list(stems.index[stems == most.index[0]])
    long = table.melt(id_vars=[c for c in table if c not in columns], var_name="column", value_name="L")
    long["N"] = long.pop("column").map(sizes)
    alike = f"{columns[0]} and the {len(columns) - 1} columns like it"
    note = f"{alike} hold the losses of the sizes in their names: each becomes a row, with N and L"
    return long.dropna(subset=["L"], ignore_index=True), note


def _has_size_or_loss(table: pd.DataFrame) -> bool:
    """Return whether a table has a column for N or L by any name; a size in the name does not count."""
    unsized = table[[c for c in table if not SIZE.search(str(c).replace("_", " "))]]
    return bool({"N", "L"} & set(table.columns) or readings_of(unsized, NAMES.usual["N"]) or loss_of(unsized))


def _is_of_losses(stem: str) -> bool:
    """Return whether a column may hold the losses of one size, by its name without it: `#`, `loss (#)`, `model #`."""
    words = set(plain(stem).split("_")) - {""}
    return words <= {"model", "params", "parameters", "size", "n"} or bool(
        words & {*NAMES.loss} and not words & {*NAMES.about}
    )


class _Formed(NamedTuple):
    """A way to form a column of ours from others, which must all be there."""

    ours: str
    parts: tuple[str, ...]
    value: Callable[..., Any]
    words: str
    without: tuple[str, ...] = ()
    """Parts of which no column may be there."""


_OTHER = " (no such column in the table)"
# the first whose parts are there is taken
_FORMED = (
    # training takes 6 FLOPs for each parameter and target (Kaplan et al. 2020, section 2.1)
    _Formed("N", ("C", "D"), lambda C, D: C / TRAIN / D, "N is C/(6 D)" + _OTHER),
    _Formed("D", ("step", "per_step"), lambda step, targets: step * targets, "D is {step} x {per_step}" + _OTHER),
    _Formed(
        "D", ("step", "examples", "length"), lambda step, batch, length: step * batch * length,
        "D is {step} x {examples} x {length}" + _OTHER,
    ),
    _Formed("D", ("per_parameter", "N"), lambda ratio, N: ratio * N, "D is {per_parameter} x N" + _OTHER),
    _Formed("D", ("epochs", "D_unique"), lambda epochs, U: epochs * U, "D is {epochs} x D_unique" + _OTHER),
    _Formed("D_unique", ("D", "epochs"), lambda D, epochs: D / epochs, "D_unique is D / {epochs}" + _OTHER),
    _Formed("D", ("C", "N"), lambda C, N: C / TRAIN / N, "D is C/(6 N)" + _OTHER),
    # targets of one length: the exponents are the same in any unit
    _Formed(
        "D", ("step", "examples"), lambda step, batch: step * batch,
        "D is {step} x {examples}, counted in examples: no column gives the sequence length; multiply it in, as in "
        "--columns D=1024*its_name", ("length",),
    ),
    _Formed(
        "D", ("step",), lambda step: step,
        "D is {step}, counted in steps: no column gives the batch; give the targets of a step, as in "
        "--columns D=524288*{step}", ("examples", "per_step"),
    ),
)  # fmt: skip


def with_status(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the table with our status, by a column that says in another tool's words how runs ended, and a note."""
    for column in table.columns[~table.dtypes.map(is_numeric_dtype)]:
        if plain(str(column)) not in NAMES.state or ("status" in table and column != "status"):
            continue
        words = table[column].map(lambda cell: str(cell).strip().lower(), na_action="ignore")
        said, ended, short = set(words.dropna()), {*NAMES.ended}, {*NAMES.cut_short}
        # a word of either kind says that the column is of how runs ended; or one kind, and no other word
        if said & ended and "ok" not in said and (said & short or said <= ended):
            note = f"status is {printable(str(column))}"
            if odd := sorted(said - ended - short):
                note += f" (no known word: {listed([printable(word) for word in odd])})"
            return table.assign(status=words.where(~words.isin(NAMES.ended), "ok")), note
    return table, ""


def completed(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with N and D formed from other columns if it lacks them, and a note for each."""
    notes: list[str] = []
    if "L" not in table and not {"N", "D", "C"} & set(table.columns):
        return table, notes
    if "N" not in table and (size := next((c for c in NAMES.sizes if c in table and is_numeric_dtype(table[c])), None)):
        table, notes = table.assign(N=table[size]), [f"N is {size}, for there is no other size"]
    for formed in _FORMED:
        # where several columns bear its usual names one of them is meant
        if formed.ours in table or readings_of(table, NAMES.usual[formed.ours]):
            continue
        if (values := _formed(table, formed)) is not None:
            table, notes = table.assign(**{formed.ours: values[0]}), [*notes, values[1]]
    unnamed = "N" not in table and not readings_of(table, NAMES.usual["N"])
    if unnamed and (named := _sizes_in_names(table)) is not None:
        table, notes = table.assign(N=named), [*notes, f"N is what the names in {named.name} say"]
    return table, notes


def _formed(table: pd.DataFrame, formed: _Formed) -> tuple[pd.Series, str] | None:
    """Return the values that a way gives, and words for it; None without a part, or if nothing varies."""
    readings = {part: _part(table, part) for part in formed.parts}
    unsure = any(readings_of(table, NAMES.parts[part]) for part in formed.without)
    if unsure or any(reading is None for reading in readings.values()):
        return None
    with np.errstate(all="ignore"):
        values = formed.value(*(pd.to_numeric(r.of(table), errors="coerce") for r in readings.values() if r))
    if len(formed.parts) == 1 and values.nunique() < 2:
        return None
    return values, formed.words.format(**readings)


def _part(table: pd.DataFrame, part: str) -> Reading | None:
    """Return the one column of numbers that is this part."""
    if part not in NAMES.parts:
        return Reading(part) if part in table and is_numeric_dtype(table[part]) else None
    # a column that bears one of our names is there under its own as well: once is enough
    readings = [r for r in readings_of(table, NAMES.parts[part]) if is_numeric_dtype(table[r.column])]
    columns: Mapping[bytes, Reading] = {r.of(table).to_numpy(float).tobytes(): r for r in reversed(readings)}
    return next(iter(columns.values())) if len(columns) == 1 else None


def _sizes_in_names(table: pd.DataFrame) -> pd.Series | None:
    """Return the sizes in a column of names, each of which holds one, as in pythia-160m; None without such a column."""
    for name in table.columns[~table.dtypes.map(is_numeric_dtype)]:
        if not {*NAMES.model} & set(plain(str(name)).split("_")):
            continue
        texts = table[name].map(str, na_action="ignore")
        sizes = {text: SIZE.findall(text.replace("_", " ")) for text in texts.dropna().unique()}
        if len(sizes) > 1 and all(len(matches) == 1 for matches in sizes.values()):
            return texts.map({text: float(n) * NAMES.counts[u.lower()] for text, [(n, u)] in sizes.items()}).rename(
                name
            )
    return None
