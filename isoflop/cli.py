"""The `isoflop` command: a verb is the name of a module, imported when it is called, so that `--help` answers at once.

isoflop train -m family=mlp,lstm family.width=16,32
isoflop fit runs.csv --law chinchilla
"""

import contextlib
import importlib
import io
import os
import sys
from pathlib import Path

from isoflop.errors import UserError

SWEEPS, ANALYSIS = "isoflop.sweeps.verbs", "isoflop.analysis.verbs"
IMPORTING = "isoflop.sweeps.importing.verbs"
# verb -> (module whose main(arguments) returns an exit code, what the verb does)
VERBS = {
    "demo": (SWEEPS, "a small real study, end to end, on the embedded data, with a report"),
    "study": (SWEEPS, "answer a question by name: train, collect, judge, report; lists them without one"),
    "train": ("isoflop.scaling.app", "train one run, or with -m a sweep; rerun the command to resume it"),
    "prepare": ("isoflop.scaling.verbs", "tokenise a corpus once, into shards that runs map into memory"),
    "new": ("isoflop.scaling.verbs", "begin a family of your own: code, yaml and tests in your folder"),
    "plan": (SWEEPS, "what a sweep would run, how long it takes, what it costs, and what its laws could resolve"),
    "status": (SWEEPS, "status of the runs in a folder: running, failed, time left, lowest losses"),
    "retry": (SWEEPS, "re-run failed or missing runs of a folder with their original configs"),
    "cancel": (SWEEPS, "stop the runs of a folder, on whichever machine they run"),
    "collect": (SWEEPS, "join a folder's records into a runs.csv"),
    "import": (IMPORTING, "make a table of the runs that another tool logged"),
    "import-wandb": (IMPORTING, "the older name of import"),
    "watch": (IMPORTING, "watch a run against its forecast: inside its band or not, and where it will end"),
    "dashboard": (SWEEPS, "save a W&B report of mirrored runs"),
    "check": (ANALYSIS, "examine a table of runs: odd rows, units, runs recognised, layout"),
    "fit": (ANALYSIS, "fit a law to a CSV of losses, with intervals"),
    "predict": (ANALYSIS, "predict a run that was not made, with a band"),
    "compare": (ANALYSIS, "rank laws by how well they predict held-out runs, beside naive guesses"),
    "frontier": (ANALYSIS, "compute-optimal size and data, by three approaches side by side"),
    "forecast": (ANALYSIS, "write predictions down before the runs are made"),
    "confirm": (
        "isoflop.sweeps.plan.verbs",
        "does a change scale? its compute multiplier now and at a target, a verdict",
    ),
    "judge": (ANALYSIS, "test claims and forecasts written down beforehand"),
    "report": (ANALYSIS, "one page: the finding, verdicts, figures, laws, every run"),
    "plot": (ANALYSIS, "one figure into a file: SVG, PNG, PDF, Vega-Lite or its data"),
}
EXAMPLES = """examples:
  isoflop demo
  isoflop train family=lstm family.width=32 data.size=1e6
  isoflop train -m family=mlp,lstm,transformer family.width=16,32 data.size=1e5,1e6 out=runs/first
  isoflop plan --price 2.5/h -m family=lstm,transformer study=isoflop
  isoflop collect runs/first -o runs.csv
  isoflop fit runs.csv --law chinchilla --by family
  isoflop fit theirs.csv --law chinchilla --columns N=params,D=tokens,L=loss
  isoflop report runs.csv -o report"""

# those that completion.bash and so on are for
SHELLS = ("bash", "zsh", "fish")

# options whose value is a column of the table on the same line, or several with a comma between
OF_COLUMNS = ("--by", "--run", "--axis", "--where", "--columns")
# verbs that take what Hydra can override
OVERRIDES = ("train", "prepare", "plan", "retry", "confirm")


def _usage() -> str:
    verbs = "\n".join(f"  {verb:14}{text}" for verb, (_, text) in VERBS.items())
    head = "isoflop: a laboratory for scaling laws\n\nusage: isoflop VERB ...      (isoflop VERB --help says more)"
    shell = 'completion of verbs, choices and options: eval "$(isoflop --completion bash)", or zsh, fish'
    return f"{head}\n\n{verbs}\n\n{EXAMPLES}\n\n{shell}"


def call(arguments: list[str]) -> int:
    """Do what the command line says and return the exit code."""
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if verb in ("-h", "--help", "help"):
        print(_usage())
    elif verb in ("-V", "--version"):
        if rest:
            raise UserError(f"{verb} takes no argument, and {rest[0]!r} was given; leave it out")
        from isoflop.wording import version

        print(version())
    elif verb in ("--completion", "--complete"):
        print(script(rest) if verb == "--completion" else complete(rest))
    elif verb not in VERBS:
        from isoflop.wording import did_you_mean

        print(f"isoflop: {verb!r} is not a verb{did_you_mean(verb, VERBS)}", file=sys.stderr)
        return 2
    else:
        module = importlib.import_module(VERBS[verb][0])
        # a module of several verbs gets the verb too; a module of one verb gets only its arguments
        code: int = module.main([verb, *rest] if module.__name__.endswith(".verbs") else rest)
        return code
    return 0


def script(arguments: list[str]) -> str:
    """Return what a shell evaluates at its start; UserError for an unknown shell."""
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        raise UserError(f"--completion {' '.join(arguments)}: give one of {', '.join(SHELLS)}")
    return Path(__file__).with_name(f"completion.{arguments[0]}").read_text(encoding="utf-8")


def complete(arguments: list[str]) -> str:
    """Return candidates for the last word of a command line, one a line."""
    words = " ".join(arguments).lstrip().split(" ")[1:]
    words = [word for word in words[:-1] if word] + words[-1:]
    if not words:
        return ""
    *before, last = words
    return "\n".join(word for word in _candidates(before, last) if word.startswith(last))


def _candidates(before: list[str], last: str) -> list[str]:
    if not before:
        return [*VERBS, "--help", "--version", "--completion"]
    if before[-1] in OF_COLUMNS:
        head = last.rpartition(",")[0]
        return [f"{head},{name}" if head else name for name in _columns(before)]
    if last.startswith("-"):
        return _options(before[0])
    return _overrides(before[1:], last) if before[0] in OVERRIDES else []


def _columns(words: list[str]) -> list[str]:
    import csv

    table = next((word for word in words if word.endswith(".csv") and os.path.isfile(word)), None)
    if table is None:
        return []
    with open(table, newline="", encoding="utf-8", errors="replace") as file:
        return next(csv.reader(file), [])


def _options(verb: str) -> list[str]:
    if verb == "train":
        return ["-m", "--multirun", "--cfg", "--config-dir", "--help"]
    import typer

    module = __import__(VERBS[verb][0], fromlist=["app"])
    command = typer.main.get_command(module.app).commands[verb]  # type: ignore[attr-defined]
    return [name for option in command.params for name in option.opts if name.startswith("--")] + ["--help"]


def _overrides(before: list[str], last: str) -> list[str]:
    from hydra import initialize_config_module
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra.core.global_hydra import GlobalHydra

    head, comma, tail = last.rpartition(",")
    word = f"{last.partition('=')[0]}={tail}" if comma else last
    given = [other for other in before if not other.startswith("-") and "=" in other]
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        words = BashCompletion(loader)._query("train", " ".join([*given, word]))
    words = [name for name in words if "=" in name or name.endswith((".", "/"))]
    return [f"{head},{name.partition('=')[2]}" for name in words] if comma else words


def _leave_working_directory() -> None:
    """Import nothing from where the user happens to be: a random.py there is not Python's, nor is it for children."""
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    here = os.getcwd()
    if sys.path[0] in ("", here) and not os.path.samefile(here, os.path.dirname(os.path.dirname(__file__))):
        del sys.path[0]


def _open_streams() -> None:
    """Discard output to a stream that is closed, or it would end in the next file that is opened (open(2))."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = open(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, nowhere)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # of a stream that another program set up and that cannot be configured
                stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Hand the rest of the command line to the verb's module and exit with its code."""
    _open_streams()
    _leave_working_directory()
    # the matrices of a fit are small: threads that wait for the next one take another core (a report: half as much CPU
    # time again, no sooner)
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        code = call(sys.argv[1:])
        sys.stdout.flush()
    except BaseException as error:
        from isoflop.command import close_output, report, translate

        # Typer and rich say by an exit of their own that the reader has seen enough, as in `| head`
        if isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError):
            close_output()
            code = 0
        elif isinstance(error, KeyboardInterrupt):  # while a verb is imported
            code = report(130, "stopped")
        elif isinstance(error, UserError):
            code = report(2, str(error))
        elif isinstance(error, OSError):  # what was still to be printed cannot be: a full disk behind `> file`
            code = report(*translate(error))
            close_output()
        else:
            raise
    sys.exit(code)


if __name__ == "__main__":
    main()
