"""Read the logs of a source, whatever format they are in, and write the table of its runs, and their curves.

    Path("run.jsonl").write_text('{"step": 1, "loss": 2.5}')
    print(import_logs("run.jsonl", Path("runs.csv"), Path("curves.csv")))     # what was taken for what

The next runs are read while one is written: rows wait in a file until the names of all columns are known.
"""

import importlib
import json
import pkgutil
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from types import ModuleType

from isoflop import files, record
from isoflop import wording as words
from isoflop.errors import UserError
from isoflop.scaling.hardware import cores
from isoflop.sweeps import collect
from isoflop.sweeps.importing import formats
from isoflop.sweeps.importing.log import Found, Log
from isoflop.sweeps.importing.table import CURVE, FIRST, Naming, Tabled, tabled

# runs that are named one by one
MOST_NAMED = 5
# characters of an error that says why each run cannot be read
MOST_SAID = 400
NOTHING = Naming()
# a run as a table, or the log of one of ours, or why it cannot be read; None for what is no run
Read = Tabled | Log | str | None


@dataclass
class Imported:
    """What was read of the runs."""

    title: str
    """The format that was taken."""
    others: list[str]
    """Other formats that are there too."""
    records: dict[str, list[record.Row]] = field(default_factory=dict)
    """The records of runs of ours, by run_id."""
    statuses: list[str] = field(default_factory=list)
    """How each other run ended."""
    losses: Counter[str] = field(default_factory=Counter)
    """How many runs each column gives L of."""
    notes: Counter[str] = field(default_factory=Counter)
    """What was taken for what, with the number of runs."""
    unread: dict[str, str] = field(default_factory=dict)
    """Runs that could not be read, or not whole, with the reason."""
    unfinished: list[str] = field(default_factory=list)
    """Runs of ours that are at work, which have no row before they end."""
    left_out: set[str] = field(default_factory=set)
    """Columns that hold no number or word."""

    def __str__(self) -> str:
        ends = [*self.statuses, *(rows[-1]["status"] for rows in self.records.values())]
        lost_runs = sum(status != "ok" for status in ends)
        state = f" ({lost_runs} not finished, which fits leave out)" if lost_runs else ""
        lines = [f"{len(ends)} runs{state}, from {self.title}"]
        lines += [f"  {', '.join(self.others)} are there too: --format chooses"] if self.others else []
        lines += [f"  L is {name}" for name in self.losses]
        several = len(self.statuses) > 1
        lines += [f"  {note}{f' ({runs} runs)' if several else ''}" for note, runs in self.notes.items()]
        lines += [f"could not read {name}: {words.one_line(reason)}" for name, reason in self.unread.items()]
        if self.left_out:
            names = ", ".join(sorted(self.left_out))
            lines.append(f"left out {len(self.left_out)} columns that hold no number or word: {names}")
        if self.unfinished:
            named = ", ".join(self.unfinished[:MOST_NAMED])
            lines.append(f"left out {len(self.unfinished)} that are at work: {named}")
        return "\n".join(lines)


def import_logs(
    source: str,
    out: Path,
    curves: Path | None = None,
    naming: Naming = NOTHING,
    form: str = "",
) -> Imported:
    """Write a table of the runs that a source has, and return what was read; UserError where none can be."""
    from rich.console import Console
    from rich.progress import track

    (taken, sources, others), console = _recognised(source, form), Console(stderr=True)
    sources = track(sources, "runs", console=console, transient=True, disable=not console.is_terminal)
    imported = Imported(taken.TITLE, others)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as waiting:
        names = dict[str, None]()
        with files.replacing(curves) if curves else nullcontext() as draft:
            if draft:
                draft.write_text(",".join(CURVE) + "\n", encoding="utf-8")
            for name, read in _each(sources, naming, cores() if Path(source).exists() else 1):
                _remember(name, read, imported)
                if isinstance(read, Tabled):
                    names |= dict.fromkeys(name for row in read.rows for name in row)
                    waiting.writelines(json.dumps(row, default=float) + "\n" for row in read.rows)
                    if draft:
                        read.curve.reindex(columns=[*CURVE]).to_csv(draft, mode="a", header=False, index=False)
            _refuse(imported, source)
        waiting.seek(0)
        ours = sorted((row for of_run in imported.records.values() for row in of_run), key=collect.sort_key)
        if not imported.statuses:  # it is the table of `isoflop collect`
            files.write_text(out, collect.csv_text(ours))
            return imported
        every = {*names} | {name for row in ours for name in row}
        header = [*(name for name in FIRST if name in every), *sorted(every - {*FIRST})]
        with files.replacing(out) as table, table.open("w", newline="", encoding="utf-8") as file:
            words.write_csv(file, header, chain(ours, map(json.loads, waiting)))
    return imported


def read_curve(source: str, naming: Naming = NOTHING, form: str = "") -> Tabled:
    """Return the one run of a source; UserError where there is none, or several."""
    found = list(islice(_recognised(source, form)[1], 2))
    if len(found) > 1:
        raise UserError(f"{source} holds several runs, {found[0].name}, {found[1].name}, ...; name the log of one")
    if isinstance(read := _read(found[0], naming), Tabled):
        return read
    why = read if isinstance(read, str) else "it is a mirror of a run of ours: name its folder, with --format own_runs"
    raise UserError(f"{source} cannot be watched: {words.one_line(why)}")


def _recognised(source: str, form: str) -> tuple[ModuleType, Iterable[Found], list[str]]:
    """Return the format of a source, its runs, and the titles of other formats that are there too."""
    names = [module.name for module in pkgutil.iter_modules(formats.__path__)]
    if form and form not in names:
        raise UserError(f"--format {form!r} is unknown; choose one of {', '.join(names)}")
    modules = {name: importlib.import_module(f"{formats.__name__}.{name}") for name in names}
    there: list[tuple[ModuleType, Iterable[Found]]] = []
    for name in sorted(modules, key=lambda name: modules[name].RANK):
        if form in ("", name):
            runs = iter(modules[name].find(source))
            if (first := next(runs, None)) is not None:
                there.append((modules[name], chain([first], runs)))
    if there:
        return *there[0], [taken.TITLE for taken, _ in there[1:]]
    titles = ", ".join(modules[name].TITLE for name in ([form] if form else names))
    if not Path(source).exists():
        raise UserError(f"{source!r} is neither a file nor a folder nor a project of W&B with runs; write me/project")
    raise UserError(f"{source} holds no log that can be read ({titles}); name the folder of the runs")


def _each(sources: Iterable[Found], naming: Naming, threads: int) -> Iterator[tuple[str, Read]]:
    """Read runs in their order, a few ahead: the programs of W&B work beside Python, and each other."""
    ahead = deque[tuple[str, Future[Read]]]()
    with ThreadPoolExecutor(threads) as pool:
        for found in sources:
            ahead.append((found.name, pool.submit(_read, found, naming)))
            if len(ahead) > threads:
                name, read = ahead.popleft()
                yield name, read.result()
        yield from ((name, read.result()) for name, read in ahead)


def _read(found: Found, naming: Naming) -> Read:
    """Return a run as a table, the log of one of ours, or why it cannot be read."""
    try:
        log = found.read()
        return log if log is None or log.at_work or log.records is not None else tabled(log, naming)
    except ModuleNotFoundError as error:  # the library of the format: an extra bears its name
        library = str(error.name).partition(".")[0]
        raise UserError(f"{found.name} is read by {library}: pip install 'isoflop[{library}]'") from None
    except Exception as error:  # of one run: network, permissions, a log that is torn or is none
        expected = isinstance(error, ValueError | UserError) and str(error)
        return expected or f"{type(error).__name__}: {error}".removesuffix(": ")


def _remember(name: str, read: Read, imported: Imported) -> None:
    """Keep what is said of a run, and the records of one of ours."""
    match read:
        case str():
            imported.unread[name] = read
        case Log(at_work=True):
            imported.unfinished.append(read.run_id)
        case Log():
            imported.records[read.run_id] = read.records or []
        case Tabled():
            if read.log.damage:
                imported.unread[f"all of {name}"] = read.log.damage
            imported.left_out |= read.log.left_out
            imported.statuses.append(read.rows[-1]["status"])
            imported.losses[read.loss] += 1
            imported.notes.update(read.notes)


def _refuse(imported: Imported, source: str) -> None:
    """Refuse a source without a run, and one whose runs measure different losses; UserError."""
    if not (imported.statuses or imported.records):
        why = "; ".join(f"{name}: {words.one_line(reason)}" for name, reason in imported.unread.items())
        lost = f"{source} has no run that can be read{': ' + words.cut(why, MOST_SAID) if why else ''}"
        raise UserError(f"{lost}; name ENTITY/PROJECT or a folder")
    if len(imported.losses) > 1:
        each = words.listed([f"{name} in {count} runs" for name, count in imported.losses.items()])
        best = imported.losses.most_common(1)[0][0]
        raise UserError(f"{source} mixes runs of different losses ({each}); choose one by --columns L={best}")
