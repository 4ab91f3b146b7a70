"""The columns of a record that are known from a run's config, before it starts, and the row of a run that failed.

columns(config)["recipe.warmup"]
failure(config, "failed", "it rained")
"""

from collections.abc import Mapping
from typing import Any

from isoflop import record
from isoflop.exits import FULL
from isoflop.scaling.config import identity
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.config.sections import Knobs

# knobs that have a column of their own; the family's rate is the recipe's unless that says otherwise
OWN = {*(f"family.{dial}" for dial in (*record.DIALS, "lr")), "data.seq_len", "recipe.batch", "recipe.lr"}


def columns(config: FrozenConfig) -> dict[str, Any]:
    """Return the columns that are known before the run starts."""
    # a rule's value is not known before the run is assembled
    batch, lr = (None if isinstance(config.recipe[n], Mapping) else config.recipe[n] for n in ("batch", "lr"))
    return _knobs(config) | {
        "run_id": config.run_id,
        "sweep": config.sweep,
        "mark": 1,
        "seed": config.seed,
        "family": config.names.family,
        "width": config.width,
        "depth": config.depth,
        "data": config.names.data,
        "seq_len": config.data.get("seq_len"),
        "batch": batch,
        "lr": lr,
        "rung": config.rung,
        "run_id_rule": config.run_id_rule,
        **config.code.to_json(),
    }


def _knobs(config: FrozenConfig) -> dict[str, Any]:
    """Return knobs as dotted columns, named as the override that sets them, except those with a column of their own."""
    dotted: dict[str, Any] = {}

    def walk(prefix: str, node: Knobs) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                walk(f"{prefix}.{key}", value)
            elif f"{prefix}.{key}" not in OWN:
                dotted[f"{prefix}.{key}"] = value

    for group in identity.CHOICES:
        walk(group, config.knobs(group))
    return dotted


def rung_of_mark(config: FrozenConfig, value: float) -> dict[str, Any]:
    """Return the rung of one of several marks: that of the equivalent separate run."""
    if not config.budget.several:
        return {}
    return {"rung": f"budget.{config.budget.name}={value:.12g} {config.rung}".strip()}


def failure(config: FrozenConfig, status: str, reason: str) -> record.Row:
    """Return the row of a run that left no result."""
    budget = config.budget
    value = {} if budget.several else {f"budget.{budget.name}": budget.values[0]}
    return record.row(**columns(config), **value, status=status, reason=reason)


def status_and_reason(error: Exception) -> tuple[str, str]:
    """Return the status and reason of a run that an error ended."""
    name, first = type(error).__name__, (str(error).strip().splitlines() or [""])[0]
    if name == "UncompletedJobError":  # submitit's, after the last time limit
        return record.RunStatus.TIMEOUT, first
    again = "; make room and rerun the command to resume" if isinstance(error, OSError) and error.errno in FULL else ""
    return record.RunStatus.FAILED, f"{name}: {first}{again}"


def rounded(row: record.Row) -> float:
    """Return the factor by which a row's whole steps exceed its budget; 1 if the row does not say."""
    taken = {"D": row["D"], "C": row["C"], "epochs": row["epochs"]}
    taken["D_per_N"] = row["D"] / row["N"] if row["D"] and row["N"] else None
    ratios = [taken[n] / row[f"budget.{n}"] for n in taken if row.get(f"budget.{n}") and taken[n] is not None]
    return max(ratios, default=1.0)
