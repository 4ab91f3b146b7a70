"""What a value may be: of a knob, refused in one sentence, and of a cell of a record, by itself and beside the others.

whole_number("family.width", 64)
one_of("recipe.schedule", "cosine", ("cooldown", "cosine"))
Checker({"D": Range(CellKind.COUNT, least=0)}).problem({"D": -5})       # 'D=-5 is below 0'
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

from isoflop.errors import UserError

# what a knob may be: a least whole number, one of these values, or what a check lets pass
Limits = Mapping[str, int | tuple[object, ...] | Callable[[str, object], None]]


def is_number(value: object) -> bool:
    """Return whether a value is a finite number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(name: str, value: object, instead: str = "") -> None:
    """Refuse anything but a finite number; instead: what to give, as the end of the sentence."""
    if not is_number(value):
        raise UserError(f"{name}={value!r} is not a number{instead}")


def positive(name: str, value: object, instead: str = "") -> None:
    """Refuse anything but a finite number above 0; instead: what to give, as the end of the sentence."""
    if not is_number(value) or not value > 0:  # type: ignore[operator]
        raise UserError(f"{name}={value!r} is not a number above 0{instead}")


def not_negative(name: str, value: object, instead: str = "") -> None:
    """Refuse anything but a finite number of at least 0."""
    if not is_number(value) or not value >= 0:  # type: ignore[operator]
        raise UserError(f"{name}={value!r} is not a number of at least 0{instead}")


def share(name: str, value: object) -> None:
    """Refuse anything but a number from 0 up to, but excluding, 1."""
    if not is_number(value) or not 0 <= value < 1:  # type: ignore[operator]
        raise UserError(f"{name}={value!r} is not a number from 0 up to 1")


def whole_number(name: str, value: object, least: int = 1) -> None:
    """Refuse anything but a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name}={value!r} is not a whole number of at least {least}")


def one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    """Refuse anything but the allowed values; 0 and 1 are not false and true."""
    if not any(value == good and isinstance(value, bool) == isinstance(good, bool) for good in allowed):
        typed = (json.dumps(good) if good is None or isinstance(good, bool) else str(good) for good in allowed)
        raise UserError(f"{name}={value!r} is not one of {', '.join(typed)}")


def knobs(prefix: str, choice: object) -> None:
    """Refuse knobs beyond the `limits` of a choice's class and its bases; what is None by default may be None."""
    kinds = reversed(type(choice).__mro__)
    for knob, limit in {k: v for kind in kinds for k, v in vars(kind).get("limits", {}).items()}.items():
        name, value, default = f"{prefix}.{knob}", getattr(choice, knob), getattr(type(choice), knob, 0)
        for each in value if isinstance(default, tuple) else () if value is default is None else (value,):
            if isinstance(limit, int):
                whole_number(name, each, limit)
            elif isinstance(limit, tuple):
                one_of(name, each, limit)
            else:
                limit(name, each)


def multiple(name: str, value: int, of: str, unit: int) -> None:
    """Refuse a size that does not divide into whole units."""
    if value % unit:
        raise UserError(f"{name}={value} is not a multiple of {of}={unit}; give {unit}, {2 * unit}, {3 * unit} ...")


def price(text: str, *, speed: bool = False) -> tuple[float, float] | None:
    """Return what a device-hour costs, '2.5/h' or '2.5', and with `speed` its FLOP/s, '2.5/h@4e14'; None for ''."""
    if not text:
        return None
    of = r"(\d+\.?\d*|\.\d+)"
    match = re.fullmatch(rf"{of}(?:/h(?:our)?)?(?:@{of}(e\+?\d\d?)?)?", re.sub(r"\s", "", text))
    flops = float(match[2] + (match[3] or "")) if match and match[2] else 0.0
    if match is None or bool(flops) != speed:
        wanted = " at a speed; write --price 2.5/h@4e14 [FLOP/s]" if speed else "; write --price 2.5/h"
        raise UserError(f"--price {text!r} is not a price per hour{wanted}")
    return float(match[1]), flops


class CellKind(StrEnum):
    """What a cell of a column is, where it is not null."""

    TEXT = "text"
    FLAG = "true or false"
    NUMBER = "a number"
    COUNT = "a whole number"


# true and false are no numbers, 100000.0 is a whole one
TYPES: dict[CellKind, tuple[type, ...]] = {
    CellKind.TEXT: (str,),
    CellKind.FLAG: (bool,),
    CellKind.NUMBER: (int, float),
    CellKind.COUNT: (int, float),
}
# what a dotted column holds by its first word; else it is a knob, of any of these types
DOTTED = {"budget": TYPES[CellKind.NUMBER], "metric": TYPES[CellKind.NUMBER]}
KNOB: tuple[type, ...] = (str, bool, int, float, list)
# of a product taken in another order: a few roundings of 2^-53 each (Higham 2002, lemma 3.1), with room to spare
SAME = 1e-12


class Range(NamedTuple):
    """CellKind of a column, and the numbers that it may hold."""

    kind: CellKind
    least: float = -math.inf
    above: float = -math.inf


class Checker:
    """Finds what is wrong with rows of these columns, as JSON holds them: its numbers are finite."""

    def __init__(self, columns: Mapping[str, Range]) -> None:
        self.columns = columns
        self.bounds = [(name, r.least, r.above) for name, r in columns.items() if math.isfinite(max(r.least, r.above))]
        self.counts = [name for name, r in columns.items() if r.kind is CellKind.COUNT]
        self.layout_problem = cache(self._layout_problem)  # rows of one version have few layouts

    def problem(self, row: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a row as a sentence; None if nothing is."""
        return self.type_problem(row) or self.value_problem(row)

    def type_problem(self, row: Mapping[str, Any]) -> str | None:
        """Return the first column that a row may not have, or not with a value of that type; None if there is none."""
        return self.layout_problem(tuple(row), tuple(map(type, row.values())))

    def _layout_problem(self, names: tuple[str, ...], types: tuple[type, ...]) -> str | None:
        for name, cell in zip(names, types, strict=True):
            if name in self.columns:
                kind = self.columns[name].kind
                allowed, wanted = TYPES[kind], str(kind)
            elif "." in name:
                allowed = DOTTED.get(name.split(".")[0], KNOB)
                wanted = "a number" if allowed is not KNOB else "a value of a knob"
            else:
                return f"{name[:80]} is not a column of a record"
            if cell is not type(None) and cell not in allowed:
                return f"{name[:80]} is not {wanted} but of type {cell.__name__}"
        return None

    def value_problem(self, row: Mapping[str, Any]) -> str | None:
        """Return the first number that cannot be, by itself or beside the others."""
        get = row.get
        for name, least, above in self.bounds:
            value = get(name)
            if value is not None and (value < least or value <= above):
                return f"{name}={value!r} is {f'not above {above:g}' if above >= least else f'below {least:g}'}"
        for name in self.counts:
            if isinstance(value := get(name), float) and not value.is_integer():
                return f"{name}={value!r} is not a whole number"
        return _contradiction(row)


def _contradiction(row: Mapping[str, Any]) -> str | None:
    """Return the identity between columns that a row breaks; None if it breaks none, or lacks the columns."""
    N, D, C, n_total = (row.get(name) for name in ("N", "D", "C", "n_total"))
    if _differ(C, row.get("flops_per_target"), D, product=True):
        return f"C={C!r} is not flops_per_target * D"
    if _differ(N, row.get("n_body"), row.get("n_readout")):
        return f"N={N!r} is not n_body + n_readout"
    if _differ(n_total, N, row.get("n_embed")):
        return f"n_total={n_total!r} is not N + n_embed"
    if n_total is not None and _differ(row.get("C_6nd"), 6 * n_total, D, product=True):
        return f"C_6nd={row['C_6nd']!r} is not 6 * n_total * D"
    for part, of in (("n_active", "n_total"), ("C_attention", "C"), ("D_unique", "D")):
        if (most := row.get(of)) is not None and (row.get(part) or 0) > most * (1 + SAME):
            return f"{part}={row[part]!r} is above {of}={most!r}"
    L, bits = row.get("L"), row.get("L_bpb")
    # a target stands for a byte or more, but for the end of a document, of which no two follow one another
    if L and bits and bits * math.log(2) * (1 - SAME) > 2 * L:
        return f"L_bpb={bits!r} is above twice L={L!r} in bits"
    return None


def disagreement(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return what contradicts itself in the rows of one run; None if nothing does."""
    if len({row.get("run_id") for row in rows}) > 1:
        return "its rows are of several runs"
    marks = [row.get("mark") for row in rows]
    if len(set(marks)) < len(marks):
        return "two rows are of one mark"
    bytes_per_target = [row["L"] / row["L_bpb"] for row in rows if row.get("L") and row.get("L_bpb")]
    if any(not math.isclose(one, bytes_per_target[0], rel_tol=SAME) for one in bytes_per_target):
        return "its rows differ in L over L_bpb"
    return None


def _differ(total: float | None, one: float | None, other: float | None, product: bool = False) -> bool:
    if total is None or one is None or other is None:
        return False
    return not math.isclose(total, one * other if product else one + other, rel_tol=SAME)
