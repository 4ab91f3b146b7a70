"""`metrics.csv` of Lightning's CSVLogger with the hyperparameters beside it: a folder is a run.

Lightning counts the steps from 0: a value at step 9 was logged after ten.
"""

import csv
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from isoflop.sweeps.importing.log import Found, Log, numbers, plain

TITLE, RANK, NAME = "Lightning metrics.csv", 3, "metrics.csv"
# what its LearningRateMonitor calls the rate of an optimizer, and of its first group of parameters
RATE = re.compile(r"^lr-[^/]+(/pg1)?$")


class _PlainLoader(yaml.SafeLoader):
    """Reads plain values; an object of Python becomes nothing, and is never built."""


_PlainLoader.add_multi_constructor("", lambda loader, suffix, node: None)


def find(source: str) -> Iterator[Found]:
    """Find the runs of a folder, or of one file."""
    path = Path(source)
    for file in [path] if path.name == NAME and path.is_file() else sorted(path.rglob(NAME)):
        folder = file.parent
        inside = path.is_dir() and folder != path
        name = str(folder.relative_to(path)) if inside else folder.resolve().name
        yield Found(name, partial(_read, name, file))


def _read(name: str, file: Path) -> Log:
    left_out: set[str] = set()
    beside = file.with_name("hparams.yaml")
    facts = yaml.load(beside.read_text(encoding="utf-8"), _PlainLoader) if beside.is_file() else None
    config = plain(facts, left_out) if isinstance(facts, dict) else {}
    log = Log(name, name, config=config, left_out=left_out)
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if None in row or None in row.values():
                log.damage = f"{file.name} ends in a line that is cut"
                continue
            point = numbers({RATE.sub("lr", key): x for key, x in row.items() if x != ""}, log.left_out)
            if "step" not in point:
                raise ValueError("it has no column step, as the CSVLogger writes it")
            log.points.append(point | {"step": point["step"] + 1})
    return log
