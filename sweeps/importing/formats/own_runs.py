"""Folders of runs of our own, by the curve.csv that each writes as it goes; finished ones are `isoflop collect`'s."""

import csv
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from isoflop.folder import RunFolder
from isoflop.scaling.config.frozen import FrozenConfig, columns
from isoflop.sweeps.importing.log import Found, Log, numbers, plain

TITLE, RANK = "curves of isoflop's runs", 6


def find(source: str) -> Iterator[Found]:
    """Find the runs of a folder."""
    for file in sorted(Path(source).rglob(RunFolder(Path()).curve.name)):
        if (folder := RunFolder(file.parent)).config.exists():
            yield Found(file.parent.name, partial(_read, folder))


def _read(folder: RunFolder) -> Log:
    config = FrozenConfig.from_json(folder.read_config() or {})
    log = Log(config.run_id, folder.path.name)
    log.config = plain(columns(config), log.left_out)
    if config.plan:
        log.config["N"] = config.plan.N
    elif folder.records.exists():
        log.config["N"] = json.loads(folder.records.read_text(encoding="utf-8"))[0]["N"]
    with folder.curve.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            kept = {name: row[name] for name in ("step", "D", "lr")} | {"train_loss": row["L_train"]}
            log.points.append(numbers(kept, log.left_out))
    return log
