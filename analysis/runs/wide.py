"""Tables with a column of losses for each size: a row for each loss instead.

melted(pd.DataFrame({"tokens": [1e9, 2e9], "70M": [3.4, 3.2], "160M": [3.1, 2.9], "410M": [2.8, 2.7]}))
#    tokens       N    L
# 0   1e+09   7e+07  3.4 ...
"""

import pandas as pd
from pandas.api.types import is_numeric_dtype

from isoflop.analysis.runs.names import SIZE, has_size_or_loss, is_of_losses

# columns of losses from which a table is wide
FEWEST = 3
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9}


def melted(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The table with N and L in columns and a note, and as it is, with '', where it is not wide.

    The columns of losses are those whose names are alike but for one size: 70M, 160M or `loss (1.4B)`.
    """
    named = {str(c): SIZE.findall(str(c).replace("_", " ")) for c in table.columns if is_numeric_dtype(table[c])}
    one = {c: matches[0] for c, matches in named.items() if len(matches) == 1}
    sizes = pd.Series({c: float(number) * _UNITS[unit.lower()] for c, (number, unit) in one.items()}, dtype=float)
    stems = pd.Series({c: SIZE.sub("#", c.replace("_", " ")) for c in sizes.index}, dtype=object)
    stems = stems[stems.map(is_of_losses)]
    if not len(stems) or (most := stems.value_counts()).iloc[0] < FEWEST or has_size_or_loss(table):
        return table, ""
    columns = list(stems.index[stems == most.index[0]])
    long = table.melt(id_vars=[c for c in table if c not in columns], var_name="column", value_name="L")
    long["N"] = long.pop("column").map(sizes)
    alike = f"{columns[0]} and the {len(columns) - 1} columns like it"
    note = f"{alike} hold the losses of the sizes in their names: each becomes a row, with N and L"
    return long.dropna(subset=["L"], ignore_index=True), note
