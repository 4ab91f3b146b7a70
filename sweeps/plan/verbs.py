"""`isoflop confirm`: whether a change scales, by a table of runs or by training them.

isoflop confirm runs.csv --by recipe --base old --change new --target-C 1e18
isoflop confirm family=transformer --change recipe=muon --budget 30min --target-C 1e16
"""

import contextlib
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isoflop import files
from isoflop.analysis import options as o
from isoflop.analysis import output
from isoflop.analysis.arguments import ARGUMENTS
from isoflop.command import expand, run
from isoflop.errors import FitError, UserError
from isoflop.extensions import take
from isoflop.scaling.limits import refuse_words, renamed
from isoflop.wording import quoted

if TYPE_CHECKING:
    from isoflop.analysis.confirm.comparison import Confirmations
    from isoflop.analysis.confirm.decide import Criterion
    from isoflop.sweeps.plan.ladder import Price

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
PLAN, ROOM = "confirm.json", Path("confirm")
UNITS = {"": 60, "s": 1, "min": 60, "h": 3600}
# what the ladder says, and not the overrides
OWN = ("family.width", "budget", "seed", "out", "sweep", "rung", "study", "hydra/launcher", "hydra/sweeper")
Words = Annotated[list[str], typer.Argument(help="A table of runs; or overrides of the baseline", show_default=False)]


@dataclass(frozen=True)
class _TableForm:
    """With a table."""

    columns: Annotated[str, ARGUMENTS["columns"]] = ""
    where: Annotated[str, ARGUMENTS["where"]] = ""
    by: Annotated[str, ARGUMENTS["by"]] = "family"


@dataclass(frozen=True)
class Training:
    """By training."""

    budget: Annotated[str, "Time here for the runs: 30min, 2h"] = ""
    dry_run: Annotated[bool, "Price the ladder and say what it could decide; train nothing"] = False


@app.callback()
def _verbs() -> None:
    """Decide whether a change scales."""


@app.command("confirm")
@expand
def confirm_command(
    words: Words,
    verdict: o.ConfirmOptions,
    table: _TableForm,
    training: Training,
    out: Annotated[
        Path | None, "A table's figure, .svg, .png, .pdf, .json, .csv; else the runs' folder", "--out", "-o"
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Confirm that a change scales: by how much less compute it reaches the baseline's loss, now and at a target.

    - `isoflop confirm runs.csv --by recipe --base old --change new --target-C 1e18` - the verdict on one screen
    - `isoflop confirm runs.csv --base transformer --change lstm --change mamba --target-C 1e15 -o multiplier.svg`
    - `isoflop confirm runs.csv --by recipe --base old --change new --target-C 1e18 --look 2 --looks 4` - more will come
    - `isoflop confirm family=transformer --change recipe=muon --budget 30min --target-C 1e15` - make the runs for it

    The verdict is `scales` where the lower bound of the multiplier at the target is above 1, `does_not` where the upper
    bound is below --worth, else `undecided`. The exit code is 0, 3 or 4 for them.
    """
    from isoflop.analysis.confirm.decide import Criterion

    rule = Criterion(verdict.worth, verdict.risk, verdict.look, verdict.looks)
    if len(words) == 1 and ("=" not in words[0] or Path(words[0]).is_file()):
        found: Confirmations | Price = _by_table(Path(words[0]), table, verdict, training, rule, out)
    else:
        found = _by_training(words, verdict, training, rule, out)
    output.show(found, as_json)
    raise typer.Exit(found.code)


def _by_table(
    path: Path, table: _TableForm, verdict: o.ConfirmOptions, training: Training, rule: "Criterion", out: Path | None
) -> "Confirmations":
    from isoflop.analysis.confirm.comparison import confirm

    if training.budget or training.dry_run:
        raise UserError("--budget and --dry-run are of runs to make; give overrides of the baseline, or leave them out")
    if not verdict.base:
        raise UserError("no baseline is named; write --base NAME, a value of the columns of --by")
    rows = o.table(path, table.columns, table.where)
    found = confirm(rows, o.names(table.by), verdict.base, verdict.change, verdict.goal, rule)
    if out is not None:
        from isoflop.analysis.confirm.figure import write

        write(found, out)
    return found


def _by_training(
    words: Sequence[str], verdict: o.ConfirmOptions, training: Training, rule: "Criterion", out: Path | None
) -> "Confirmations | Price":
    from isoflop.analysis.confirm.figure import write
    from isoflop.sweeps.plan.buying import buy
    from isoflop.sweeps.plan.ladder import Ladder, Price, plan_ladder, refuse_sides

    if rule.looks > 1:
        raise UserError("--look and --looks are of a table; where confirm makes the runs it plans its looks")
    budget, out = _seconds(training.budget), out or ROOM / "+".join(verdict.change).replace("/", "_")[:100]
    sides = _sides(words, verdict.change, out)
    asked = {"sides": sides, "budget": budget, "target_C": verdict.goal, "worth": rule.worth, "risk": rule.risk}
    if before := files.read_json(out / PLAN):
        if before["asked"] != asked:
            raise UserError(f"{out} holds the runs of another question ({PLAN} says which); name another --out")
        ladder = Ladder(**before["ladder"])
    else:
        refuse_sides(sides)
        ladder = plan_ladder(sides, budget, verdict.goal)
    price = Price(ladder, verdict.goal, rule)
    if training.dry_run:
        return price
    if not before:
        price.refuse()
        print(price, file=sys.stderr, flush=True)
        files.write_json(out / PLAN, {"asked": asked, "ladder": asdict(ladder)}, indent=1)
    found = buy(ladder, out, verdict.goal, budget, rule)
    with contextlib.suppress(FitError):  # nothing to draw: the text says why
        write(found, out / "multiplier.svg")
    return found


def _sides(words: Sequence[str], changes: Sequence[str], out: Path) -> dict[str, list[str]]:
    """Return each side's overrides, a change's in place of the baseline's, without what another family lacks."""
    from isoflop.scaling.config import choices
    from isoflop.sweeps.plan.ladder import BASE

    base = renamed(take(words))
    sides = {BASE: base}
    for change in changes:
        new = dict(word.partition("=")[::2] for word in _parts(change))
        kept = [word for word in base if word.partition("=")[0] not in new]
        if family := new.get("family"):
            known = choices.knobs("family", family)
            kept = [w for w in kept if not w.startswith("family.") or w[7:].partition("=")[0] in known]
        sides[change] = [*kept, *_parts(change)]
    if len(sides) <= len(changes):
        raise UserError("--change names one change twice; name it once")
    for word in (word for given in sides.values() for word in given):
        refuse_words([word])
        key = word.partition("=")[0].lstrip("+~")
        if any(key == own or key.startswith(f"{own}.") for own in OWN):
            raise UserError(f"{word}: the ladder chooses {key}, the same for all sides; leave it out")
    return {side: [*given, f"out={quoted(out)}"] for side, given in sides.items()}


def _parts(change: str) -> list[str]:
    """Return the overrides of a change: a comma outside brackets and before a KEY= stands between two."""
    return re.split(r",(?=[+~]*[\w./@]+=)(?![^\[{(]*[\]})])", change)


def _seconds(text: str) -> float:
    """Return a length of time [s]: 30min, 2h, 90s, or minutes."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(s|min|h|)\s*", text)
    if not match or not float(match[1]):
        given = f"--budget {text!r} is no length of time" if text else "no budget is named"
        raise UserError(f"{given}; write --budget 30min")
    return float(match[1]) * UNITS[match[2]]


def main(arguments: list[str]) -> int:
    """Run the verb and return its exit code; bad input is one sentence and 2."""
    return run(app, arguments)
