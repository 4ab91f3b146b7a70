"""Printing what a verb found: as text, or with --json as one document; and the exit code 1 if nothing was found.

from isoflop.analysis.runs.quality import check
show(check(read_runs("runs.csv")), as_json=False)
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from isoflop import files
from isoflop.analysis.options import names
from isoflop.errors import CellError, FitError, UserError
from isoflop.wording import printable, spreadsheet


def echo(text: str, *, err: bool = False) -> None:
    """Print text, with the control characters of a table written out: a terminal would obey them."""
    typer.echo(printable(text), err=err)


def emit(document: Any) -> None:
    """Print one JSON document, NaN and infinities as null."""
    sys.stdout.write(json.dumps(files.finite(document), indent=1, allow_nan=False, default=str) + "\n")


def show(result: Any, as_json: bool) -> None:
    emit(result.to_json()) if as_json else echo(str(result))


def show_fits(fits: Any, quantities: list[Any], share: list[str], as_json: bool) -> None:
    """Print fits with their local quantities; exit with 1 if no group could be fitted."""
    whole(fits)
    if as_json:
        about = {"law": fits[0].law.name, "loss": fits[0].loss, "delta": fits[0].delta, "shared": share}
        extra = [{} if q is None else {"local": q.to_json()} for q in quantities]
        emit(about | {"fits": [fit.to_json() | more for fit, more in zip(fits, extra, strict=True)]})
    else:
        texts = [str(fit) if q is None else f"{fit}\n{q}" for fit, q in zip(fits, quantities, strict=True)]
        echo("\n\n".join(texts))
    if all(fit.objective is None for fit in fits):
        echo(f"isoflop: no group could be fitted: {fits[0].reason}", err=True)
        raise typer.Exit(1)


def local_quantities(fits: Any, local: bool, at: dict[str, float]) -> list[Any]:
    """Return for each fit its local quantities, or None where nobody asked or the fit shows them by itself."""
    wanted = [fit.objective is not None and (bool(at) or (local and not fit.unidentified)) for fit in fits]
    return [fit.local(at, bent=True) if is_wanted else None for fit, is_wanted in zip(fits, wanted, strict=True)]


def show_each(table: Any, by: str, work: Callable[[Any], Any], as_json: bool) -> None:
    """Print the result of `work` for each group; name the groups that are refused, and exit with 1 if all are."""
    if not by:
        return show(work(table), as_json)
    results, refused = [], []
    for group, rows in table.by(names(by)).items():
        label = group.by
        try:
            results.append((label, work(rows)))
        except CellError:  # a bad cell is bad input whichever group it is in
            raise
        except FitError as error:
            refused.append((label, str(error)))
    reasons = {reason for _, reason in refused}
    if not results and len(reasons) == 1:  # the request is at fault, not the groups
        raise FitError(reasons.pop())
    if as_json:
        documents = [{"by": label} | result.to_json() for label, result in results]
        emit({"groups": documents, "refused": [{"by": label, "reason": reason} for label, reason in refused]})
    else:
        name = "  ".join
        echo("\n\n".join(f"{name(f'{k}={v}' for k, v in label.items())}\n{text}" for label, text in results))
    for label, reason in refused:
        echo(f"isoflop: {', '.join(f'{k}={v}' for k, v in label.items())}: {reason}", err=True)
    if not results:
        raise typer.Exit(1)


def whole(fits: Any) -> None:
    """Refuse a table that is not grouped and cannot be fitted: there is no other group that could be."""
    if not fits[0].by and fits[0].objective is None:
        raise FitError(fits[0].reason)


def fitted(fits: Any) -> list[Any]:
    """Return the fits that have values, and name the others with the reason; exit with 1 if there are none."""
    whole(fits)
    for fit in fits:
        if fit.objective is None:
            group = "".join(f" {k}={v}" for k, v in fit.by.items())
            echo(f"isoflop: not fitted{group}: {fit.reason}", err=True)
    have = [fit for fit in fits if fit.objective is not None]
    if not have:
        raise typer.Exit(1)
    return have


def show_predictions(fits: Any, place: dict[str, float], level: float, as_json: bool, then: Any = ()) -> None:
    """Print each fit's prediction at a place, speed-ups at a compute or loss, and fits of a second law of that loss."""
    from isoflop.analysis.holdout.predict import as_text, predict, predict_then, to_json
    from isoflop.analysis.holdout.speedup import least_compute, speedups

    target, average = fits[0].law.target, not fits[0].law.params
    if list(place) == [target] and average:
        raise UserError(f"an average of laws is not inverted for {target}; name one law, such as --law multiplicative")
    if list(place) == [target]:
        needs = [least_compute(fit, place[target], level) for fit in fits]
        rows = [
            {"by": f.by, "status": str(f.status), "at": place, "C": vars(C), "note": note}
            for f, (C, note) in zip(fits, needs, strict=True)
        ]
        notes = [f"\n  note       {note}" if note else "" for _, note in needs]
        texts = [
            f"{fit.heading}\n  C          {C}\n  fit        {fit.standing}{note}"
            for fit, (C, _), note in zip(fits, needs, notes, strict=True)
        ]
    else:
        if then:
            seconds = {tuple(fit.by.items()): fit for fit in then}
            fits = [fit for fit in fits if tuple(fit.by.items()) in seconds]
            predictions = [predict_then(fit, seconds[tuple(fit.by.items())], place, level) for fit in fits]
        else:
            predictions = [predict(fit, place, level) for fit in fits]
        rows = [to_json(fit, prediction) for fit, prediction in zip(fits, predictions, strict=True)]
        texts = [as_text(fit, prediction, level) for fit, prediction in zip(fits, predictions, strict=True)]
    if len(fits) > 1 and not average and list(place) in ([target], ["C"]):
        ratios = speedups(fits, place, level)
        rows = [row | {"speedup": ratio and ratio.to_json()} for row, ratio in zip(rows, ratios, strict=True)]
        texts = [f"{text}\n  speedup    {ratio or 'the slowest'}" for text, ratio in zip(texts, ratios, strict=True)]
    if as_json:
        emit({"law": fits[0].law.name, "level": level, "predictions": rows})
    else:
        echo("\n\n".join(texts))


def show_points(fits: Any, points: Any, level: float, out: Path | None, as_json: bool, then: Any = ()) -> None:
    """Write or print a table of predictions, and score them where the target is known; then: as above."""
    from isoflop.analysis.holdout.predict import predict_points, score, then_points

    by = list(fits[0].by)
    table = predict_points(fits, points, by, level)
    if then:
        table = then_points(table, fits, {tuple(fit.by.items()): fit for fit in then}, level)
    result = score(table, fits[0].law.target, level)
    if out is not None:
        files.write_text(out, table.map(spreadsheet).rename(columns=spreadsheet).to_csv(index=False))
    said = [*notes(points, mixes=False), *unread([*fits[0].law.columns, fits[0].law.target, *by], points)]
    if as_json:
        about = {"score": result and vars(result), "notes": [line.removeprefix("note: ") for line in said]}
        emit({"law": fits[0].law.name, "level": level, "predictions": table.to_dict("records"), **about})
    else:
        echo(f"{out}: {len(table)} rows" if out else table.to_string(index=False))
        echo("\n".join([str(result or f"no row has {fits[0].law.target} to compare with"), *said]), err=out is None)
    if table["value"].isna().all():
        raise typer.Exit(1)


def unread(known: list[str], points: Any) -> list[str]:
    """Return a line that names the settings that vary in points and are not `known` to the law, under any name."""
    from isoflop.analysis.runs.cells import SEARCHED
    from isoflop.analysis.runs.names import amounts
    from isoflop.analysis.runs.observations import MIXTURES
    from isoflop.analysis.runs.recognise import is_setting
    from isoflop.analysis.runs.rows import as_floats

    rows, core = points.frame, [c for c in ("N", "D", "C", "L") if c in points]
    settings = [c for c in rows if is_setting(rows, c) or (c in (*MIXTURES, *SEARCHED) and rows[c].nunique() > 1)]
    # what our column was made from, in its own unit
    ratios = {c: rows[core].div(as_floats(amounts(rows[c])), axis=0) for c in settings if c not in (*known, *core)}
    named = ", ".join(str(c) for c, r in ratios.items() if not (r.max() - r.min() < 1e-9 * r.max()).any())
    return [f"note: the points differ in {named}, which the law does not know"] if named else []


def notes(runs: Any, *, mixes: bool = True) -> list[str]:
    """Return what was assumed of a table, what is odd about its units, and what it mixes, as lines."""
    from isoflop.analysis.runs.observations import mixed, units

    said = (*runs.notes, *runs.left_out, *units(runs.frame), *(mixed(runs) if mixes else ()))
    return [f"note: {note}" for note in said if note]


def since(rows: Any, verdicts: Any) -> list[str]:
    """Return what changed since verdicts were written beside a table, where all of it is judged as it is."""
    from isoflop.analysis.claims.provenance import since as changes

    chosen = rows.columns or rows.where or rows.by or rows.tune
    return [] if chosen else [f"note: {change}" for change in changes(rows.runs, verdicts)]
