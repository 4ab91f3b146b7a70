"""What a claim asks of the runs of a study, against those that are planned: columns, and a law that they identify.

refusal(load_claims()[0], runs, probes={})      # '' where nothing is wrong, else one sentence
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd

from isoflop import record
from isoflop.analysis.claims.claim import Claim, load_claims
from isoflop.analysis.claims.declare import Unmeasured
from isoflop.analysis.claims.judge import named_columns
from isoflop.analysis.claims.quantities.cells import DERIVED
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.subjects import compared, compared_names, scope
from isoflop.analysis.laws.catalogue import Law, get_law
from isoflop.analysis.runs.levels import level_index
from isoflop.schema import suggest

__all__ = ["load_claims", "refusal"]

# quantities of a law that need its parameters told apart; a prediction or a slope among the runs does not
IDENTIFY = ("law_parameter", "law_contrast")
# columns that only results have, by what they begin with
RESULTS = ("metric.", "L.", "L_se.", "L_bpb.")
# least share of the spread of the logarithms in their narrowest direction: budgets are rounded up to whole steps
LEAST_SPREAD = 0.02


def refusal(claim: Claim, planned: pd.DataFrame, probes: Mapping[str, Iterable[str]]) -> str:
    """Return a sentence about the first thing that a claim needs and these runs cannot give; empty where they can.

    planned  a row for each run, the columns that are known before it is made
    probes   the probes that the runs are asked for, each with the keys of its scalars (`ratio_*` for any ending)
    """
    for rule in claim.rules:
        name = f"claim {claim.id}{f' ({rule.name})' if rule.name else ''}"
        for column in sorted(named_columns(rule) | rule.needs.names):
            if lacking := _lacking(column, planned, probes):
                return f"{name} names the column {column}, which its runs will not have: {lacking}"
        if rule.law and rule.quantity in IDENTIFY and (sentence := _unidentified(rule, planned)):
            return f"{name} is over the law {rule.formula}, which its runs cannot identify: {sentence}"
    return ""


def _lacking(column: str, planned: pd.DataFrame, probes: Mapping[str, Iterable[str]]) -> str:
    """Return why the runs will not have a column, and what to do; empty where they will."""
    if column in record.COLUMNS or column in DERIVED or column in planned or column.startswith(RESULTS):
        return ""
    if column.startswith("probe."):
        probe, _, key = column.removeprefix("probe.").partition(".")
        requested = f"they ask for {', '.join(probes)}" if probes else "they ask for none"
        if probe not in probes:
            return f"it is measured by probe={probe}, and {requested}; add it to probe="
        keys = [*probes[probe], "wall_s", "version"]
        return (
            "" if any(fnmatchcase(key, one) for one in keys) else f"probe={probe} measures {', '.join(probes[probe])}"
        )
    return f"no run has it{suggest(column, map(str, planned.columns))}"


def _unidentified(rule: Rule, planned: pd.DataFrame) -> str:
    """Return why a group of the planned runs does not identify the law; empty where all do, or where there are none."""
    try:
        groups = scope(planned, rule)
        named = [*groups.items()]
        if rule.compare:
            names = compared_names(rule)
            pairs = [two for _, _, tables in compared(groups, rule) for two in tables]
            named = [side for two in pairs for side in zip(names, two, strict=True)]
    except Unmeasured:
        return ""
    law = get_law(rule.formula)
    lacking = ((name, _flat(law, group.frame)) for name, group in named)
    return next((f"{name} has {sentence}" for name, sentence in lacking if sentence), "")


def _flat(law: Law, rows: pd.DataFrame) -> str:
    """Return how these rows fail to span a law's columns; empty where they span them."""
    names = [c for c in law.columns if c in rows]
    logs = []
    for name in names:
        values = pd.to_numeric(rows[name], errors="coerce").to_numpy(float)
        wanted = 1 + sum(kind.low == 0 or kind.linear for kind in law.params.values()) // max(len(names), 1)
        levels = int(level_index(values[values > 0]).max()) + 1 if (values > 0).any() else 0
        if levels < min(wanted, 3):
            return f"{levels} value{'s' * (levels != 1)} of {name}, where at least {min(wanted, 3)} are needed"
        logs.append(np.log(values))
    if len(logs) > 1:
        table = np.array(logs)
        table = (table - table.mean(1, keepdims=True)) / table.std(1, keepdims=True)
        sizes = np.linalg.svd(table, compute_uv=False)
        if sizes[-1] < LEAST_SPREAD * sizes[0]:
            return (
                f"{' and '.join(names)} in proportion in all of its runs, so that their terms are one; vary them apart"
            )
    return ""
