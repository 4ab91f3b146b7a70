"""Blows to sweeps, damage to folders and hostile tables, as many as asked for: what docs/safety.md promises, counted.

    python tests/harness/safety.py --out /tmp/safety --blows 1000 --folders 2000 --tables 5000 --hours 1

The work is cut into parts, each a process of its own with its own home, TMPDIR and working directory, and its own seed.
What each part counted is a line of OUT/parts.jsonl; the same command goes on with the parts that are missing there. It
prints a line as it goes and a summary, and exits with 0 where nothing went wrong and as many were made as asked for.

    python tests/harness/safety.py --out /tmp/safety --part folders 17     # one part again, by its seed
"""

import argparse
import csv
import importlib
import json
import os
import random
import shutil
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import prefork
import torture

# what goes wrong, as the issue of a part counts it
WRONG = ("tracebacks", "otherwise wrong", "results changed", "files outside", "processes alive")
KINDS = ("blows", "folders", "tables")
# how many a part has: a minute's work or so
# how many a part makes, where so many are asked for
SIZE = {"blows": 20, "folders": 50, "tables": 180}
# time for a part, beyond which it counts as hung [s]
PATIENCE_S = 1800
GRID = ["family=mlp,lstm", "family.width=8", "family.depth=1", "budget.D=2e3"]
TINY = ["data.seq_len=16", "data.eval_size=256", "recipe.batch=4", "trainer.accelerator=cpu"]
# the longest time between two blows, by sweep [s]; the share of launchers that are forks, not interpreters
LONGEST_S, FORKED = (0.5, 1.0, 3.0), 0.9
# the folder of what plan and report remember
REMEMBERED = "remembered"
# what a part may write, beside what it was told to: the cache, where the environment says it is
OWN = ("runs", "runs.csv", "complaints.txt", "clock", "cache", "table", "problems.txt")


def prepare(out: Path) -> None:
    """Make what the parts damage: a small finished sweep, what is remembered of it, and an undisturbed table."""
    if not (out / "expected.json").exists():
        (out / "expected.json").write_text(json.dumps(torture.undisturbed(out, forked=True)))
    if not (out / "small.done").exists():
        for path in (out / "small", out / REMEMBERED):
            shutil.rmtree(path, ignore_errors=True)
        make = ["train", "-m", *GRID, *TINY, f"out={out / 'small'}"]
        code = torture.start(make, out / "small", forked=True).wait()
        assert code == 0, torture.complaints(out / "small").read_text()
        assert prefork.Fork(lambda: remember(out), os.environ, out).wait() == 0, "what plan remembers was not made"
        (out / "small.done").touch()


def remember(out: Path) -> None:
    """Let plan and report remember what they do."""
    import mutate

    mutate.prepare(out / "small", out / REMEMBERED, [*GRID, *TINY])


def sandbox(out: Path, kind: str, seed: int) -> dict[str, str]:
    """A fresh folder for a part, and the environment in which all that is not told where to write writes into it."""
    # a short path: that of a socket has 107 bytes
    place = out / f"{kind[0]}{seed}"
    shutil.rmtree(place, ignore_errors=True)
    for name in ("home", "tmp", "here", "cache"):
        (place / name).mkdir(parents=True)
    if kind != "blows":
        shutil.copytree(out / REMEMBERED, place / "cache", dirs_exist_ok=True)
    own = {
        "HOME": "home",
        "TMPDIR": "tmp",
        "XDG_CACHE_HOME": "cache",
        "XDG_CONFIG_HOME": "home",
        "XDG_DATA_HOME": "home",
    }
    return {name: str(place / folder) for name, folder in own.items()}


def outside(place: Path) -> list[str]:
    """The files in a sandbox that nobody asked for; a socket, as one whose owner was killed leaves, holds no bytes."""
    files = (path for path in sorted(place.rglob("*")) if path.is_file() and path.stat().st_size)
    paths = (path.relative_to(place) for path in files)
    return [str(path) for path in paths if path.parts[0] not in OWN]


def blows(place: Path, out: Path, seed: int) -> dict[str, Any]:
    """Strike one sweep, finish it, and compare its table."""
    chance, runs = random.Random(seed), place / "runs"
    expected = json.loads((out / "expected.json").read_text())
    struck = torture.torture(runs, SIZE["blows"], chance, chance.choice(LONGEST_S), FORKED)
    torture.finish(runs, forked=True)
    texts = [torture.complaints(runs), *runs.glob("*/log.txt")]
    tracebacks = [f"{path}: {path.read_text()[-3000:]}" for path in texts if "Traceback" in path.read_text()]
    same = torture.table(runs, forked=True) == expected
    changed = [] if same else ["the table is another than that of an undisturbed sweep"]
    wrong = {"tracebacks": tracebacks, "results changed": changed, "processes alive": struck.outlived}
    return {"counts": struck.counts} | wrong


def folders(place: Path, out: Path, seed: int) -> dict[str, Any]:
    """Damage copies of a finished sweep, call every verb on each, and compare what is collected."""
    import mutate

    from isoflop.sweeps.collect import csv_text, rows

    whole = cells(csv_text(rows(out / "small")))
    cache = place / "cache"
    counts, wrong = Counter[str](), {name: list[str]() for name in WRONG}
    last = -1
    for done in mutate.rounds(out / "small", cache, [*GRID, *TINY], SIZE["folders"], seed):
        counts[done.what] += done.number != last
        counts[f"call of {done.verb}"] += 1
        last = done.number
        if done.problem:
            wrong["tracebacks" if "Traceback" in done.problem else "otherwise wrong"].append(str(done))
        if done.verb == "collect" and done.code != 2 and done.folder:
            wrong["results changed"] += changes(done, whole)
    return {"counts": counts} | wrong


def cells(table: str) -> dict[tuple[str, str], dict[str, str]]:
    """What the cells of a table hold, by run and mark; a column that the others do not have is one of blanks."""
    rows = csv.DictReader(table.splitlines())
    return {(row["run_id"], row["mark"]): {name: cell for name, cell in row.items() if cell} for row in rows}


def changes(done: Any, whole: dict[tuple[str, str], dict[str, str]]) -> list[str]:
    """The rows of a collected table that differ, and those that are missing without a word."""
    table = done.folder.parent / "runs.csv"
    rows = cells(table.read_text())
    changed = [f"{done}: {key} is {row}" for key, row in rows.items() if row != whole.get(key)]
    lost = {run for run, _ in whole.keys() - rows.keys()}
    said = (
        f"{len(lost)} broken" in done.output
        or f"{len(lost)} planned" in done.output
        or any(f"{len(lost)} {state}" in done.output for state in ("stale", "cancelled", "running"))
    )
    return changed + ([f"{done}: {lost} is missing without a word: {done.output}"] if lost and not said else [])


def tables(place: Path, out: Path, seed: int) -> dict[str, Any]:
    """Call every verb on made-up tables, as often each."""
    import hostile_tables
    import hypothesis
    from hypothesis.configuration import set_hypothesis_home_dir

    set_hypothesis_home_dir(place / "cache")
    counts, wrong = Counter[str](), {name: list[str]() for name in WRONG}
    warnings.simplefilter("error")

    def try_verb(verb: str) -> None:
        @hypothesis.seed(seed)
        @hypothesis.settings(max_examples=SIZE["tables"] // len(hostile_tables.VERBS), **hostile_tables.FUZZ)
        @hypothesis.given(content=hostile_tables.files())
        def attempt(content: str) -> None:
            counts[verb] += 1
            folder = place / "table"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                hostile_tables.check_answer(verb, content, folder)
            except AssertionError:
                wrong["otherwise wrong"].append(f"{verb} of {content[:2000]!r}: {traceback.format_exc()}")
            except BaseException:
                wrong["tracebacks"].append(f"{verb} of {content[:2000]!r}: {traceback.format_exc()}")

        attempt()

    with hostile_tables.few_starts():
        for verb in hostile_tables.VERBS:
            try_verb(verb)
    return {"counts": counts} | wrong


def part(kind: str, seed: int, out: Path) -> None:
    """Do one part in this process, and write what it counted beside it."""
    place = out / f"{kind[0]}{seed}"
    os.chdir(place / "here")
    try:
        outcome = {"blows": blows, "folders": folders, "tables": tables}[kind](place, out, seed)
    except BaseException:
        outcome = {"counts": {}, "otherwise wrong": [f"the part itself: {traceback.format_exc()}"]}
    outcome["files outside"] = outside(place)
    (place / "problems.txt").write_text("\n\n".join(f"{w}: {text}" for w in WRONG for text in outcome.get(w, [])))
    numbers = {name: len(outcome.get(name, [])) for name in WRONG}
    (place / "part.json").write_text(json.dumps({"kind": kind, "seed": seed, "counts": outcome["counts"]} | numbers))


def total(parts: list[dict[str, Any]], kind: str) -> int:
    """How many blows, mutations or tables these parts had."""
    return sum(
        count for one in parts if one["kind"] == kind for name, count in one["counts"].items() if "call of" not in name
    )


class Safety:
    """The parts that were made and those at work."""

    def __init__(self, out: Path, goals: dict[str, int], first: int) -> None:
        self.out, self.goals, self.first = out, goals, first
        self.log = out / "parts.jsonl"
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.parts: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.at_work: dict[prefork.Fork, tuple[str, int, float]] = {}

    def next(self) -> tuple[str, int] | None:
        """The kind that is furthest from its goal, and a seed that it has not had; None where all are reached."""
        share = {}
        for kind, goal in self.goals.items():
            coming = SIZE[kind] * sum(k == kind for k, *_ in self.at_work.values())
            if goal and total(self.parts, kind) + coming < goal:
                share[kind] = (total(self.parts, kind) + coming) / goal
        if not share:
            return None
        kind = min(share, key=lambda k: share[k])
        used = {p["seed"] for p in self.parts if p["kind"] == kind}
        used |= {seed for k, seed, _ in self.at_work.values() if k == kind}
        return kind, next(seed for seed in range(self.first, sys.maxsize) if seed not in used)

    def start(self, kind: str, seed: int) -> None:
        """Start a part in a process of its own."""
        env = os.environ | sandbox(self.out, kind, seed) | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        one = prefork.Fork(lambda: part(kind, seed, self.out), env, self.out)
        self.at_work[one] = kind, seed, time.monotonic()

    def gather(self) -> None:
        """Take in the parts that have ended, or that hang."""
        for process, (kind, seed, since) in list(self.at_work.items()):
            if process.poll() is None and time.monotonic() - since < PATIENCE_S:
                continue
            process.kill()
            del self.at_work[process]
            place = self.out / f"{kind[0]}{seed}"
            try:
                one = json.loads((place / "part.json").read_text())
            except OSError:
                ended = (
                    f"was killed after {PATIENCE_S} s"
                    if process.returncode is None
                    else f"ended by {process.returncode}"
                )
                one = {"kind": kind, "seed": seed, "counts": {}, "otherwise wrong": 1}
                (place / "problems.txt").write_text(f"the process of the part {ended}")
            self.parts.append(one)
            with self.log.open("a") as file:
                file.write(json.dumps(one) + "\n")
            wrong = {name: one[name] for name in WRONG if one.get(name)}
            if wrong:
                print(f"{kind} {seed}: {wrong}, see {place / 'problems.txt'}", flush=True)
            else:
                shutil.rmtree(place, ignore_errors=True)
            made = ", ".join(f"{total(self.parts, k)} of {goal} {k}" for k, goal in self.goals.items() if goal)
            print(f"{time.strftime('%H:%M:%S')} {made}", flush=True)

    def run(self, jobs: int, until: float) -> None:
        """Make parts, so many at a time, until the goals are reached or the time is over."""
        while True:
            while len(self.at_work) < jobs and time.monotonic() < until and (part := self.next()):
                self.start(*part)
            if not self.at_work:
                return
            time.sleep(0.2)
            self.gather()

    def summary(self) -> int:
        """Print what was counted; the exit code."""
        print("| what | made | " + " | ".join(WRONG) + " |")
        print("|---|--:|" + "--:|" * len(WRONG))
        for kind in (k for k in KINDS if self.goals[k]):
            parts = [one for one in self.parts if one["kind"] == kind]
            numbers = [sum(one.get(name, 0) for one in parts) for name in WRONG]
            print(f"| {kind} | {total(parts, kind)} | " + " | ".join(map(str, numbers)) + " |")
            counts = sum((Counter(one["counts"]) for one in parts), Counter[str]())
            print(f"  {', '.join(f'{count} × {name}' for name, count in sorted(counts.items()))}", file=sys.stderr)
        short = [kind for kind, goal in self.goals.items() if total(self.parts, kind) < goal]
        if short:
            print(f"fewer than asked for of {', '.join(short)}: the same command goes on")
        return int(bool(short) or any(one.get(name) for one in self.parts for name in WRONG))


def main() -> None:
    """Make the parts that are missing, and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0, help=f"how many; in parts of {SIZE[kind]}")
    parser.add_argument("--hours", type=float, default=1e6, help="no part is begun after these")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="parts at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the first part of each kind")
    parser.add_argument("--part", nargs=2, metavar=("KIND", "SEED"), help="do one part")
    given = parser.parse_args()
    out = given.out.resolve()
    sys.path.insert(1, torture.CHECKOUT)
    prefork.load()
    importlib.import_module("hypothesis")
    out.mkdir(parents=True, exist_ok=True)
    prepare(out)
    if given.part:
        kind, seed = given.part
        safety = Safety(out, {other: int(other == kind) for other in KINDS}, 0)
        safety.start(kind, int(seed))
        safety.run(0, 0.0)
        sys.exit(safety.summary())
    asked = {kind: getattr(given, kind) for kind in KINDS}
    SIZE.update({kind: min(SIZE[kind], most) for kind, most in asked.items() if most})
    safety = Safety(out, asked, given.seed)
    safety.run(given.jobs, time.monotonic() + 3600 * given.hours)
    sys.exit(safety.summary())


if __name__ == "__main__":
    main()
