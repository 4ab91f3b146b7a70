"""The record: one tidy row per (run, mark), the table at which training and analysis meet (standard library only).

A run writes its rows to its folder (folder.py), all at once or not at all; `isoflop.sweeps.collect` joins the
folders into runs.csv. Knobs are further columns named as the override that sets them (`family.n_heads`,
`recipe.warmup`).

    write(folder, [row(run_id="a1b2", status="ok", N=1e5, D=1e6, L=1.9)])
    read(folder)[0]["L"]
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from isoflop import files
from isoflop.errors import UserError
from isoflop.folder import RunFolder

Row = dict[str, Any]

STATUSES = ("ok", "diverged", "failed", "timeout")
# the family's dials, and what tells a run from others of a sweep where a person reads it
DIALS = ("width", "depth")
WHO = ("family", *DIALS, "seed")
# what every row has, whatever became of the run and whichever version wrote it
IDENTITY = {*WHO, "run_id", "mark", "status", "reason", "data", "D", "L", "git", "dirty"}

# name -> what it is [unit]; the order is the order of the columns in runs.csv
COLUMNS: dict[str, str] = {
    "run_id": "hash of what determines the result",
    "sweep": "name of the planned set this run belongs to",
    "mark": "position along the run at which the row was measured, 1 the first",
    "seed": "seed of initialisation and data order",
    "status": "one of " + " | ".join(STATUSES),
    "reason": "why a run that is not ok ended",
    "family": "name of the family's yaml",
    "width": "the family's width dial",
    "depth": "the family's depth dial",
    "data": "name of the data's yaml",
    "seq_len": "positions per example",
    "batch": "examples per optimiser step",
    "lr": "peak learning rate",
    "rung": "place in the ladder, the same for every family and seed compared",
    "N": "parameters that multiply: body + readout",
    "n_body": "parameters of the body",
    "n_embed": "parameters of embedding tables",
    "n_readout": "parameters of the readout",
    "n_total": "all parameters",
    "n_active": "parameters used per target",
    "D": "training targets seen",
    "D_unique": "distinct training targets seen",
    "epochs": "passes over the distinct targets",
    "flops_per_target": "training FLOPs per target, counted (multiply-add = 2)",
    "C": "training FLOPs: flops_per_target * D",
    "C_attention": "the part of C that is quadratic in seq_len",
    "C_6nd": "6 * n_total * D; empty where not every position is a target",
    "L": "held-out loss [nats per target]",
    "L_se": "standard error of L over held-out examples [nats per target]",
    "L_train": "training loss, mean over the last twentieth of the steps [nats per target]",
    "L_bpb": "held-out loss [bits per byte]; empty where targets are not bytes",
    "floor": "irreducible loss where it is known [nats per target]",
    "wall_s": "time of training and evaluation [s]",
    "targets_per_s": "training throughput [targets/s]",
    "mfu": "model FLOPs utilisation of the device's dense peak; empty where the peak is unknown",
    "peak_memory": "largest memory held [bytes]",
    "device": "what it ran on",
    "torch": "torch version",
    "git": "commit of the code",
    "dirty": "whether the code had uncommitted changes",
    "sources": "hash of the sources that the result follows from",
    "run_id_rule": "version of the rule that run_id was made by",
}


def row(**values: Any) -> Row:
    """A full row in column order: every column of the schema, None where not given; dotted knobs after, sorted."""
    unknown = sorted(k for k in values if k not in COLUMNS and "." not in k)
    if unknown:
        raise KeyError(f"not columns of a record: {', '.join(unknown)}")
    return {name: values.get(name) for name in COLUMNS} | {k: values[k] for k in sorted(values) if "." in k}


def order(names: Iterable[str]) -> list[str]:
    """Column names in the order of the schema, everything else after it, sorted."""
    names = set(names)
    return [c for c in COLUMNS if c in names] + sorted(names - COLUMNS.keys())


def write(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of one run, atomically; the file's presence is what makes a run finished."""
    files.write_json(RunFolder(folder).records, list(rows), indent=1)


def has_result(row: Mapping[str, Any]) -> bool:
    """Whether a row's run ended with a result: ok, or diverged, as it would again."""
    return row["status"] in ("ok", "diverged")


def finished(folder: Path) -> bool:
    """Whether the folder holds a whole record that need not be made again."""
    try:
        return has_result(read(folder)[0])
    except (FileNotFoundError, UserError):
        return False


def whole(row: Mapping[str, Any]) -> bool:
    """Whether a row has a status and says which run it is of."""
    return row.get("status") in STATUSES and row.keys() >= IDENTITY


def read(folder: Path) -> list[Row]:
    """Read the rows of one run; FileNotFoundError where there are none, UserError where the file is not whole."""
    path = RunFolder(folder).records
    try:
        rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not a whole record ({error}); delete it and give the command that made it again"
        ) from None
    sound = isinstance(rows, list) and rows and all(isinstance(r, dict) and whole(r) for r in rows)
    if not sound:
        raise UserError(f"{path} is not a list of rows with a status ({', '.join(STATUSES)}); delete it and run again")
    return rows
