"""What is left to do in a run's folder: which marks are missing, which rows of an earlier run stand (no torch).

if not is_done(folder, config):
    missing(reusable(folder, config), config)       # [1e6, 2e6], values of the budget
"""

from collections.abc import Sequence
from pathlib import Path

from isoflop import record
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.config.provenance import Code


class OtherCodeError(Exception):
    """A run was frozen for other code than would run it."""


def is_done(folder: Path, config: FrozenConfig) -> bool:
    """Return whether a folder's run is complete: every mark finished, and by this code if that is asked for."""
    return record.finished(folder) and not missing(reusable(folder, config), config)


def reusable(folder: Path, config: FrozenConfig) -> list[record.Row]:
    """Return the rows of a finished run that need not be made again."""
    if not record.finished(folder):
        return []
    return [row for row in record.read(folder) if not config.redo_other_code or made_by(row, config.code)]


def missing(rows: Sequence[record.Row], config: FrozenConfig) -> list[float]:
    """Return the values of the budget, one a mark, for which no row has every probe that is asked for."""
    probed = [row for row in rows if all(f"probe.{name}.version" in row for name in config.probe)]
    measured = {row.get(f"budget.{config.budget.name}") for row in probed}
    return [value for value in config.budget.values if value not in measured]


def _with_earlier_probes(rows: Sequence[record.Row], earlier: Sequence[record.Row]) -> list[record.Row]:
    """Add to the rows the probes that earlier rows of the same mark and loss have and these were not asked for."""
    by_mark = {(row["D"], row["L"]): row for row in earlier if record.has_result(row)}
    before = [by_mark.get((row["D"], row["L"]), {}) for row in rows]
    probes = [{key: value for key, value in old.items() if key.startswith("probe.")} for old in before]
    return [record.row(**old | row) for row, old in zip(rows, probes, strict=True)]


def whole(rows: Sequence[record.Row], folder: Path, config: FrozenConfig, values: Sequence[float]) -> list[record.Row]:
    """Return the rows of a record: the new ones, at these values of the budget, and the earlier ones that remain."""
    earlier = record.read(folder) if record.finished(folder) else []
    other_marks = [row for row in earlier if row.get(f"budget.{config.budget.name}") not in (*values, None)]
    joined = [*_with_earlier_probes(rows, earlier), *other_marks]
    return [row | {"mark": n} for n, row in enumerate(sorted(joined, key=lambda row: row["D"]), start=1)]


def made_by(row: record.Row, code: Code) -> bool:
    """Return whether a row was made by the same sources as these."""
    return Code.of(row).same(code)


def refuse_other_code(config: FrozenConfig) -> None:
    """Refuse to run what was frozen for other code: its record would name the wrong sources."""
    now = config.present_code()
    if not config.code.same(now):
        raise OtherCodeError(f"frozen for the code of commit {config.code}, but this is {now}; rerun the command")
