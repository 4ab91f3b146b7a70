"""The `isoflop` command: a verb is the name of a module, imported when it is called, so that `--help` answers at once.

isoflop train -m family=mlp,lstm family.width=16,32
isoflop fit runs.csv --law chinchilla
"""

import contextlib
import importlib
import io
import os
import sys

from isoflop.errors import UserError
from isoflop.verbs import VERBS

EXAMPLES = """examples:
  isoflop demo
  isoflop train family=lstm family.width=32 data.size=1e6
  isoflop train -m family=mlp,lstm,transformer family.width=16,32 data.size=1e5,1e6 out=runs/first
  isoflop plan --price 2.5/h -m family=lstm,transformer study=isoflop
  isoflop collect runs/first -o runs.csv
  isoflop fit runs.csv --law chinchilla --by family
  isoflop fit theirs.csv --law chinchilla --columns N=params,D=tokens,L=loss
  isoflop report runs.csv -o report"""


def usage() -> str:
    """Return the help text."""
    verbs = "\n".join(f"  {verb:14}{text}" for verb, (_, text) in VERBS.items())
    head = "isoflop: a laboratory for scaling laws\n\nusage: isoflop VERB ...      (isoflop VERB --help says more)"
    shell = 'completion of verbs, choices and options: eval "$(isoflop --completion bash)", or zsh, fish'
    return f"{head}\n\n{verbs}\n\n{EXAMPLES}\n\n{shell}"


def call(arguments: list[str]) -> int:
    """Do what the command line says and return the exit code."""
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if verb in ("-h", "--help", "help"):
        print(usage())
    elif verb in ("-V", "--version"):
        from isoflop.wording import version

        print(version())
    elif verb in ("--completion", "--complete"):
        from isoflop.completion import complete, script

        print(script(rest) if verb == "--completion" else complete(rest))
    elif verb not in VERBS:
        from difflib import get_close_matches

        close = get_close_matches(verb, VERBS, n=1)
        mean = f"did you mean {close[0]}? " if close else ""
        print(f"isoflop: {verb!r} is not a verb; {mean}choose one of {', '.join(VERBS)}", file=sys.stderr)
        return 2
    else:
        module = importlib.import_module(VERBS[verb][0])
        # a module of several verbs gets the verb too; a module of one verb gets only its arguments
        code: int = module.main([verb, *rest] if module.__name__.endswith(".verbs") else rest)
        return code
    return 0


def leave_working_directory() -> None:
    """Import nothing from where the user happens to be: a random.py there is not Python's, nor is it for children.

    What PYTHONPATH names stays; so does a checkout that is used without being installed.
    """
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    here = os.getcwd()
    if sys.path[0] in ("", here) and not os.path.samefile(here, os.path.dirname(os.path.dirname(__file__))):
        del sys.path[0]


def one_thread() -> None:
    """Give numpy's matrices one thread, unless OMP_NUM_THREADS says how many: those of a fit are small, and the threads
    that wait for the next one take another core all the while (a report: half as much CPU time again, no sooner)."""
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def open_streams() -> None:
    """Discard output to a stream that is closed already, and escape what a terminal cannot show.

    The lowest free descriptor goes to the next file that is opened (open(2)): with stderr closed, as in `train 2>&-`,
    what a library prints there would end in a record or a checkpoint.
    """
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
    open_streams()
    leave_working_directory()
    one_thread()
    try:
        code = call(sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        from isoflop.exits import report

        code = report(2, str(error))
    except KeyboardInterrupt:  # while a verb is imported
        from isoflop.exits import report

        code = report(130, "stopped")
    except (BrokenPipeError, SystemExit) as error:
        # the reader has seen enough, as in `| head`; Typer and rich say so by an exit of their own
        if not isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError):
            raise
        from isoflop.exits import close_output

        close_output()
        code = 0
    except OSError as error:  # what was still to be printed cannot be: a full disk behind `> file`
        from isoflop.exits import close_output, report, translate

        code = report(*translate(error))
        close_output()
    sys.exit(code)


if __name__ == "__main__":
    main()
