"""Fit published tables, each by one command, and write docs/others.md.

    ISOFLOP_REFERENCE_DATA=... python benchmarks/published.py

The folder holds the tables under owner__repository, as their authors published them. The text of the page, with the
source of each table, is benchmarks/pages/others.md.j2.
"""

import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curves import predicted
from pages import render

from isoflop.wording import number

PAGE = Path(__file__).parents[1] / "docs/others.md"
EPOCH = "epoch-research__analyzing-chinchilla/svg_extracted_data.csv"
BENCH = "PlanarG__active-sl"
# Muennighoff et al. 2023 (arXiv:2305.16264), the printed parameters without repetition
MUENNIGHOFF = {
    "E": math.exp(0.6254804),
    "A": math.exp(6.255414),
    "alpha": 0.3526596,
    "B": math.exp(7.3049974),
    "beta": 0.3526596,
}
PINS = " ".join(f"--pin {name}={value:.7g}" for name, value in MUENNIGHOFF.items())


@dataclass(frozen=True)
class Section:
    """The commands of a section, and the tables that they read."""

    commands: tuple[str, ...]
    """Verbs and options; {0}, {1} ... are the files."""
    files: tuple[str, ...]
    """Paths in the folder of published tables."""

    @property
    def shown(self) -> str:
        """Return the commands as the page shows them."""
        names = [Path(file).name for file in self.files]
        return "\n".join(["```", *("isoflop " + command.format(*names) for command in self.commands), "```"])

    def found(self, data: Path) -> list[Any]:
        """Return the documents that the commands print."""
        paths = [shlex.quote(str(data / file)) for file in self.files]
        return [_json(command.format(*paths)) for command in self.commands]


SECTIONS = {
    "chinchilla": Section(
        ('fit {0} --where "L < 3.446995"', 'fit {0} --where "L < 3.446995" --loss l1 --interval none', "frontier {0}"),
        (EPOCH,),
    ),
    "farseer": Section(
        tuple(f"predict {{0}} --law {law} --points {{1}}" for law in ("chinchilla", "multiplicative", "best")),
        (f"{BENCH}/farseer_train.csv", f"{BENCH}/farseer_test.csv"),
    ),
    "step_law": Section(
        ("fit {0} --law lr_rule", "fit {0} --law batch_rule"), ("step-law__steplaw/dense_lr_bs_loss.csv",)
    ),
    "porian": Section(
        ("""frontier {0} --where "file = 'summary_df' and dataset = 'rw' and hparams = 'tuned' and N > 0\"""",),
        ("formll__resolving-scaling-law-discrepancies/isoflop_points.csv",),
    ),
    "gemstones": Section(
        ("fit {0} --delta 1e-4",),
        ("mcleish7__gemstone-scaling-laws/wandb_dfs/wandb_df_for_fitting_hot_100b+.jsonl",),
    ),
    "repetition": Section(
        (
            f"fit {{0}} --law data_constrained {PINS}",
            "predict {1} --law chinchilla --points {2}",
            "predict {1} --law overfit_penalty --points {2}",
        ),
        (
            "huggingface__datablations/parametric_fit_outliers_removed_182.csv",
            f"{BENCH}/data_constrained_train.csv",
            f"{BENCH}/data_constrained_test.csv",
        ),
    ),
    "parallel": Section(("fit {0} --law parscale --by group",), (f"{BENCH}/parallel_train.csv",)),
}


def _json(command: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "isoflop.cli", *shlex.split(command), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise SystemExit(f"isoflop {command}\n{done.stderr}")
    return json.loads(done.stdout)


def interval(estimate: Mapping[str, float | None]) -> str:
    """Return a value with its interval; a missing end is open."""
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if low is None and high is None:
        return f"{number(value)} (no interval)"
    ends = ("any less" if low is None else number(low), "any more" if high is None else number(high))
    return f"{number(value)} ({ends[0]} to {ends[1]})"


def values(params: Mapping[str, Any], names: str = "") -> str:
    """Return parameters with their intervals: those that are named, or all."""
    return ", ".join(f"{name} {interval(params[name])}" for name in names.split() or params)


def points(params: Mapping[str, Any], names: str) -> str:
    """Return parameters without intervals."""
    return ", ".join(f"{name} {number(params[name]['value'])}" for name in names.split())


def error(document: Mapping[str, Any]) -> str:
    """Return the root mean square log error of predicted rows."""
    return f"{100 * document['score']['rmsle']:.2f} %"


def inside(document: Mapping[str, Any]) -> int:
    """Return how many predicted rows are inside their bands."""
    return round(document["score"]["coverage"] * document["score"]["banded"])


FILTERS = {"interval": interval, "values": values, "points": points, "error": error, "inside": inside}


def main() -> None:
    """Write the page."""
    data = Path(os.environ.get("ISOFLOP_REFERENCE_DATA", ""))
    if not data.is_dir() or not str(data).strip("."):
        sys.exit("ISOFLOP_REFERENCE_DATA must name the folder of published tables")
    found = {}
    for name, section in SECTIONS.items():
        print(name, file=sys.stderr)
        found[name] = section.found(data)
    shown = {name: section.shown for name, section in SECTIONS.items()}
    schedules = [predicted(size, {}) for size in ("25", "100")]
    PAGE.write_text(render("others", FILTERS, shown=shown, found=found, schedules=schedules), encoding="utf-8")


if __name__ == "__main__":
    main()
