"""Select rows by a text: clauses joined by `and`, each a column, a comparison, and a number or a 'text'.

conditions("family = 'mlp' and C < 1e20")[1].column      # 'C'
"""

import operator
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd

from isoflop.analysis.runs.rows import listed_columns
from isoflop.errors import UserError

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
# `and` outside of quotes and backticks
_AND = re.compile(r"\s+and\s+(?=(?:[^']*'[^']*')*[^']*$)(?=(?:[^`]*`[^`]*`)*[^`]*$)", re.IGNORECASE)
# a name of letters, digits, dots and underscores stands bare, any other in backticks: `val loss`
_CLAUSE = re.compile(rf"\s*(?:`([^`]+)`|([\w.]+))\s*(<=|>=|!=|==|=|<|>)\s*(?:'([^']*)'|\"([^\"]*)\"|({_NUMBER}))\s*")


class _Condition(NamedTuple):
    column: str
    sign: str
    value: float | str
    shown: str  # the value as it was written


def conditions(where: str) -> list[_Condition]:
    """Return the clauses of `where`, joined by `and`; none for an empty text. UserError if one is not sound."""
    clauses = _AND.split(where.strip())
    return [_condition(clause) for clause in clauses if where.strip()]


def keeps(rows: pd.DataFrame, where: str) -> pd.Series:
    """Return whether each row meets every clause of `where`, (rows,); never evaluated as code."""
    keep = pd.Series(True, index=rows.index)
    for condition in conditions(where) or [_condition(where)]:
        if condition.column not in rows:
            raise UserError(f"no column {condition.column!r} to select on; there are {listed_columns(rows.columns)}")
        keep &= _compare(rows[condition.column], condition)
    return keep


def _condition(clause: str) -> _Condition:
    match = _CLAUSE.fullmatch(clause)
    if match is None and re.search(r"\bor\b(?=(?:[^']*'[^']*')*[^']*$)", clause, re.IGNORECASE):
        raise UserError(f"{clause!r} joins by or, and only `and` joins conditions; select each part by itself")
    if match is None:
        raise UserError(
            f"{clause!r} is not a condition; write column, comparison, number or 'text': family = 'mlp' and C<1e20, "
            "a column's name with spaces in backticks"
        )
    quoted, bare, sign, single, double, number = match.groups()
    name = quoted or bare
    text = single if single is not None else double
    return _Condition(name, sign, float(number), number) if text is None else _Condition(name, sign, text, text)


def _compare(column: pd.Series, condition: _Condition) -> pd.Series:
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    _, sign, value, shown = condition
    if isinstance(value, str) and numeric:
        raise UserError(f"column {column.name!r} holds numbers, not the text {shown!r}; write it without quotes")
    if not isinstance(value, str) and not numeric:
        raise UserError(f"column {column.name!r} holds text; put the number in quotes: {column.name} = '{shown}'")
    result: pd.Series = _OPERATORS[sign](column if numeric else column.astype(str), value)
    return result
