"""Make docs/gallery.md and its pictures from public tables, which are not part of isoflop.

    ISOFLOP_REFERENCE_DATA=/path/to/data python docs/gallery/make.py

Each entry is what `isoflop report` says first of a table: the question, the finding, its figure, and one more.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

from isoflop.analysis import options
from isoflop.analysis.report.figures.base import Figure, Unmet, draw_all
from isoflop.analysis.report.finding import finding, question
from isoflop.analysis.report.plot import named
from isoflop.analysis.report.report import headline
from isoflop.analysis.report.view import look

HERE = Path(__file__).parent
# maximum size of a picture [bytes]
MOST = 200_000


class Entry(NamedTuple):
    """One table: name, file, options, and a second figure."""

    name: str
    title: str
    path: str
    where: str = ""
    by: str = ""
    more: str = ""


ENTRIES = (
    Entry(
        "chinchilla",
        "The points digitised from Hoffmann et al. 2022",
        "epoch-research__analyzing-chinchilla/svg_extracted_data.csv",
        more="allocation",
    ),
    Entry(
        "porian",
        "The isoFLOP points of Porian et al. 2024, tuned",
        "formll__resolving-scaling-law-discrepancies/isoflop_points.csv",
        "hparams = 'tuned' and param_count = 'standard'",
        "dataset",
        "allocation",
    ),
    Entry(
        "gemstones",
        "The Gemstones of McLeish et al. 2025",
        "mcleish7__gemstone-scaling-laws/wandb_dfs/wandb_df_for_fitting_hot_100b+.jsonl",
        more="loss_vs_compute",
    ),
    Entry(
        "farseer",
        "Farseer's grid (Li et al. 2025), from ScaleBench",
        "PlanarG__active-sl/farseer_train.csv",
        more="loss_vs_data",
    ),
    Entry(
        "step_law",
        "The sweep over rate and batch of the Step Law (Li et al. 2025)",
        "step-law__steplaw/dense_lr_bs_loss.csv",
        more="rates",
    ),
)


def section(entry: Entry, data: Path) -> str:
    """Return the lines of one table, its pictures written."""
    table = options.grouped(options.table(data / entry.path, where=entry.where), entry.by)
    view = look(table, [])
    drawn = {name: figure for name, figure in draw_all(view) if isinstance(figure, Figure)}
    first = headline(view, drawn)
    pictures = [first] if first else []
    if entry.more:
        try:
            pictures.append(named(entry.more).draw(view))
        except Unmet as lack:
            print(f"{entry.name}: {entry.more} not drawn, {lack}", file=sys.stderr)
    extra = "".join(f" --{key} {value!r}" for key, value in (("where", entry.where), ("by", entry.by)) if value)
    extra = extra.replace("'hparams", '"hparams').replace("standard''", "standard'\"")
    file = Path(entry.path).name
    lines = [
        f"## {entry.title}",
        "",
        f"    isoflop report {file}{extra}",
        "",
        f"*{question(view)}* {finding(view)}",
        "",
    ]
    if view.layout:
        lines += [f"Layout: {view.layout.sentence}.", ""]
    for old in HERE.glob(f"{entry.name}_*.svg"):
        old.unlink()
    for figure in pictures:
        path = HERE / f"{entry.name}_{figure.name}.svg"
        figure.write(path)
        if path.stat().st_size > MOST:
            raise SystemExit(f"{path} has {path.stat().st_size} bytes, more than {MOST}")
        lines += [f"![{figure.alt}](gallery/{path.name})", ""]
    lines += [f"- {note}." for note in view.notes]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Make the page, or the entries that are named."""
    root = os.environ.get("ISOFLOP_REFERENCE_DATA")
    if not root:
        raise SystemExit("ISOFLOP_REFERENCE_DATA names no folder: give that of the public tables")
    head = (
        "# A gallery of reports\n\nWhat `isoflop report` says first of five public tables. Made by "
        "`docs/gallery/make.py`; the tables are not part of isoflop, and are recognised by their columns.\n\n"
    )
    sections = [section(entry, Path(root)) for entry in ENTRIES]
    (HERE.parent / "gallery.md").write_text(head + "\n".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
