"""Damage to the folder of a finished sweep, and to what plan remembers, and whether every verb takes it in its stride.

    python tests/harness/mutate.py --runs runs/small --mutations 500 --out /tmp/mutated

Every mutation is made on a fresh copy of the folder: a file is cut off, emptied, flipped in a bit, made a folder, a
FIFO or a link to nowhere; a value in it becomes another type, NaN, markup, a control sequence, a thing nested ten
thousand deep; a file is lost. Then each verb is called in this process. None may raise, hang, print a control
character, or leave a run out without a word.
"""

import argparse
import contextlib
import copy
import functools
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

# what a value may become, as JSON writes it
VALUES = (
    "null", "5", "-1", "0", "1e999", "NaN", "1" + "0" * 400, "true", '"x"', '""', '"[/x]"', '"[red]"', "[]", "{}",
    '"\\u001b[31m"', '"\\u0000"', '"${oc.env:HOME}"', '"../../x"', '"=cmd"', '"\\ud800"', "[[1]]", '{"a": {"b": 1}}',
    '"' + "y" * 5000 + '"', "[" * 10_000 + "]" * 10_000,
)  # fmt: skip
# a place in plain data that a value of VALUES is written to
HOLE = "\x00hole\x00"
FILES = ("frozen.json", "records.json", "heartbeat.json", "spent.json", "curve.csv", "lock", "log.txt", "cancel")
# a heartbeat as a run of another host leaves it
BEAT = {"step": 3, "steps": 9, "host": "elsewhere", "pid": 1, "beat": 4, "every_s": 0.01, "time": 1.7e9}
VERBS = ("status", "status --all", "status --json", "collect", "report", "plan", "retry", "train", "cancel")
# half a second each: they go through Hydra, or fit
SLOW_VERBS = ("plan", "retry", "train", "report")
# the share of mutations after which each of them is called
SLOW_SHARE = 0.2
# time that a verb may take on a busy machine, by the clock: one that waits for ever uses none of the processor [s]
PATIENCE_S = 60
# what a verb prints besides text: line ends
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


class Late(BaseException):
    """A verb took too long; no error of the system that a verb may pass over."""


@dataclass
class Mutation:
    """What was done to which file, and how a verb took it: its exit code, what it printed, what went wrong.

    number: that of the mutation in its round.
    """

    what: str
    file: str
    number: int = 0
    folder: Path | None = None
    verb: str = ""
    code: int | None = None
    output: str = ""
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.verb} after {self.what} of {self.file}: {self.problem}"


def cut(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content) + 1)])


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes() or b"\n")
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def garble(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    at = chance.randrange(len(content) + 1)
    path.write_bytes(content[:at] + chance.choice((b"\xff\xfe", b"\x00", b"\x1b[2J", b"\r\n")) + content[at:])


def replace(path: Path, chance: random.Random) -> None:
    path.write_text(chance.choice(VALUES), errors="surrogatepass")


def lose(path: Path, chance: random.Random) -> None:
    path.unlink()


def become_folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def become_fifo(path: Path, chance: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def become_link(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to(chance.choice(("nowhere", path.name, "/dev/zero", "..")))


def edit(path: Path, chance: random.Random) -> None:
    """Give a value of a JSON file, at any depth, another type or value; drop a member, or add one."""
    data = json.loads(path.read_bytes())
    places = list(walk(data))
    parent, key = chance.choice(places)
    how = chance.choice(("set", "set", "set", "drop", "add"))
    if how == "drop":
        del parent[key]
    elif how == "add" and isinstance(parent, dict):
        parent[chance.choice(("x", "", "[/x]", "family.x", "_target_"))] = HOLE
    else:
        parent[key] = HOLE
    path.write_text(json.dumps(data, indent=1).replace(json.dumps(HOLE), chance.choice(VALUES)))


def walk(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in plain data: what it is in, and its key or index."""
    for key, value in list(data.items() if isinstance(data, dict) else enumerate(data)):
        yield data, key
        if isinstance(value, dict | list):
            yield from walk(value)


WAYS: tuple[Callable[[Path, random.Random], None], ...] = (
    edit, edit, edit, edit, cut, flip, garble, replace, replace, lose, become_folder, become_fifo, become_link,
)  # fmt: skip


def mutate(sweep: Path, cache: Path, chance: random.Random) -> Mutation:
    """Damage one file of a run of the sweep, or of what plan remembers."""
    run = chance.choice(sorted(path for path in sweep.iterdir() if path.is_dir()))
    caches = sorted(cache.rglob("*.json"))
    name = chance.choice((*FILES, "frozen.json", "records.json", "heartbeat.json", *(["cache"] if caches else [])))
    path = chance.choice(caches) if name == "cache" else run / name
    if name == "heartbeat.json":
        path.write_text(json.dumps(BEAT))
    if name in ("heartbeat.json", "frozen.json") and chance.random() < 0.5:  # such a run has no record
        (run / "records.json").unlink()
    if not path.exists():
        path.touch()
    way = chance.choice(WAYS)
    if way is edit and (path.suffix != ".json" or not path.stat().st_size):
        way = garble
    way(path, chance)
    return Mutation(way.__name__, path.name)


def arguments(verb: str, sweep: Path, grid: list[str]) -> list[str]:
    """The command line of a verb."""
    name, *options = verb.split()
    table = sweep.parent / "runs.csv"
    if name == "collect":
        return [name, str(sweep), "-o", str(table)]
    if name == "report":
        return [name, str(table), "-o", str(sweep.parent / "report")]
    if name in ("plan", "train"):
        return [name, *(["--device", "H100"] if name == "plan" else []), "-m", *grid, f"out={sweep}"]
    return [name, str(sweep), *options]


@functools.cache
def read_claim_once() -> Callable[..., Any]:
    """A claim from its yaml, read the first time that it is asked for."""
    from isoflop.analysis.claims import claim

    return functools.cache(claim.read_claim)


@contextlib.contextmanager
def in_process(cache: Path) -> Iterator[None]:
    """Let the verbs of sweeps run here: no run is started, and what a run costs is asked in this process."""
    from isoflop.analysis.claims import claim
    from isoflop.analysis.report.figures.base import Figure
    from isoflop.sweeps import costs, sweeper, workers

    def calls(function: str, given: Any) -> Iterator[Any]:
        from isoflop.scaling import estimate  # torch

        assert function.endswith("estimate:describe")
        return (estimate.describe(*one) for one in given)

    patches = (
        mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(cache)}),
        mock.patch.object(workers, "calls", calls),
        mock.patch.object(workers, "warm", return_value=None),
        mock.patch.object(sweeper, "launch", return_value=None),
        # half a second for those that ship, which nothing here changes
        mock.patch.object(claim, "read_claim", read_claim_once()),
        # a second for each picture
        mock.patch.object(Figure, "save", lambda figure, folder, *_: figure.spec() and None),
    )
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        costs.cache.cache_clear()
        yield
    costs.cache.cache_clear()


def call(verb: str, sweep: Path, grid: list[str], done: Mutation, patience_s: int = PATIENCE_S) -> Mutation:
    """Call a verb in this process, and say what is wrong with how it ended."""
    from isoflop.cli import call as isoflop

    def late(*_: object) -> None:
        raise Late(f"not done after {patience_s} s")

    output, errors = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(patience_s)
    code: int | None = None
    problem = ""
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = isoflop(arguments(verb, sweep, grid))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        problem = traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    printed, complaints = output.getvalue(), errors.getvalue()
    problem = problem or complaint(verb, sweep, code, printed, complaints)
    return Mutation(done.what, done.file, done.number, sweep, verb, code, printed + complaints, problem)


def complaint(verb: str, sweep: Path, code: int | None, text: str, errors: str) -> str:
    """What is wrong with an exit code and an output; empty where nothing is."""
    if "Traceback" in text + errors:
        return text + errors
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if control := CONTROL.search(text + errors):
        return f"printed {control[0]!r}"
    if code == 2 and not errors.strip():
        return "refused without a sentence"
    if verb.startswith("status"):
        runs = sum(1 for path in sweep.iterdir() if path.is_dir() and not path.name.startswith("."))
        there = json.loads(text)["states"].values() if "--json" in verb and code == 0 else ()
        counted = sum(there) == runs if "--json" in verb else f"{runs} runs" in text
        if code != 0 or not counted:
            return f"{runs} folders, and it says {text[:300]!r}"
    return ""


def rounds(
    sweep: Path, cache: Path, grid: list[str], mutations: int, seed: int, verbs: tuple[str, ...] = VERBS
) -> Iterator[Mutation]:
    """Mutate fresh copies of a finished sweep, and call the verbs on each: some of them, chosen by the seed."""
    with tempfile.TemporaryDirectory(prefix="isoflop-mutate-") as folder:
        copied, remembered = Path(folder, "runs"), Path(folder, "cache")
        for number in range(mutations):
            chance = random.Random(f"{seed} {number}")
            (copied.parent / "runs.csv").unlink(missing_ok=True)
            for source, target in ((sweep, copied), (cache, remembered)):
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(source, target)
            with in_process(remembered):
                done = mutate(copied, remembered, chance)
                done.number = number
                for verb in verbs:
                    if verb == "report" and not (copied.parent / "runs.csv").exists():
                        continue
                    if verb not in SLOW_VERBS or done.file == "grid.json" or chance.random() < SLOW_SHARE:
                        yield call(verb, copied, grid, copy.copy(done))


def prepare(sweep: Path, cache: Path, grid: list[str]) -> None:
    """Let plan remember what it does of the sweep, and report its drawing library."""
    from isoflop.analysis.report.report import _drawing_library

    with in_process(cache):
        _drawing_library()
        done = call("plan", sweep, grid, Mutation("nothing", "nothing"), patience_s=120)  # it imports torch
    assert done.code == 0, done


def main() -> None:
    """Mutate, and print what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="a finished sweep")
    parser.add_argument("--mutations", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("grid", nargs="*", help="the overrides that made it")
    given = parser.parse_args()
    counts, wrong = Counter[str](), list[Mutation]()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "cache")
        prepare(given.runs, cache, given.grid)
        for done in rounds(given.runs, cache, given.grid, given.mutations, given.seed):
            counts[f"{done.verb} exits {done.code}"] += 1
            if done.problem:
                wrong.append(done)
                print(done, flush=True)
    print(f"{given.mutations} mutations, {counts.total()} calls: {dict(sorted(counts.items()))}")
    print(f"{len(wrong)} went wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
