"""A law of cooled models on trunks too: at a constant rate a model is worse than cooled by a gap.

The gap is a power of the data, or of a law without D of its last column. It needs no theory of annealing: cooled marks
tell it where they are, and it is followed along the trunk between and around them (Hagele et al. 2024,
arXiv:2405.18392, train so, at a constant rate with cooldowns).

from isoflop.analysis.laws.catalogue import get_law

on_trunks(get_law("chinchilla")).columns     # ('N', 'D', 'heat')
"""

from dataclasses import replace
from typing import Any

from isoflop.analysis.laws.declare import Kind, Law

# 1 of a row on the trunk, of a cooled model nothing
HEAT = "heat"
# a gap is above zero; how it goes with the data is not known
GAP, GAP_POWER = Kind(low=0.0, log=True, linear=True), Kind(low=-10.0, high=10.0, start=(-1.0, 1.0))


def on_trunks(law: Law) -> Law:
    """Return the law of rows that have `heat` beside the law's own columns; without that column it is the law
    itself."""
    along = law.columns.index("D") if "D" in law.columns else len(law.columns) - 1
    power = f"gap_{law.arguments[along]}"

    def function(*columns: Any, **params: Any) -> Any:
        own = {name: params[name] for name in law.params}
        cooled = law(*columns[: len(law.columns)], **own)
        if len(columns) == len(law.columns):
            return cooled
        return cooled + params["gap"] * columns[along] ** params[power] * columns[-1]

    return replace(
        law,
        function=function,
        columns=(*law.columns, HEAT),
        arguments=(*law.arguments, HEAT),
        params=dict(law.params) | {"gap": GAP, power: GAP_POWER},
        formula=f"{law.formula}; on a trunk + gap {law.columns[along]}^{power}",
        name=f"{law.name} on trunks",
        log_linear=False,
    )
