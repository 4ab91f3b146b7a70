"""Where a run of a table is: its folder, and its mirror online, where they are known.

links({"run_id": "0f3a9c2b7d11", "url": "https://wandb.ai/me/p"}, Path("runs.csv"), Path("report"))
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from isoflop import record
from isoflop.folder import RunFolder

# a table's column that holds the address of each run, as isoflop import-wandb writes it
URL = "url"


def links(row: Mapping[Any, Any], source: Path, out: Path) -> dict[str, str]:
    """Return the addresses of a run by name; those of files are relative to `out`, the folder of the page.

    row     a row of the table
    source  the table's file, beside which runs are looked for
    """
    addresses = {}
    folder = folder_of(row, source)
    if folder is not None:
        addresses["folder"] = quote(os.path.relpath(folder.path, out)) + "/"
    online = (folder and folder.read_mirror()) or row.get(URL)
    if isinstance(online, str) and is_web(online):
        addresses["W&B" if "wandb" in (urlsplit(online).hostname or "") else "online"] = online
    return addresses


def folder_of(row: Mapping[Any, Any], source: Path) -> RunFolder | None:
    """Find the folder of a run: beside its table or in runs/ there, or in a folder of its sweep's name in either."""
    run_id, sweep = str(row.get("run_id")), str(row.get("sweep"))
    if not record.RUN_ID.fullmatch(run_id):
        return None
    parents = [source.parent, source.parent / "runs"]
    if sweep == Path(sweep).name:
        parents += [parent / sweep for parent in parents]
    folders = (RunFolder(parent / run_id) for parent in parents if (parent / run_id).is_dir())
    return next((folder for folder in folders if folder.config.is_file()), None)


def is_web(address: str) -> bool:
    """Return whether an address is on the web, and not a script."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and address.isprintable()
