"""How a verb of the command line ends: an exit code, and for what went wrong one sentence on stderr.

sys.exit(run(app, ["fit", "runs.csv"]))
"""

import sys
from typing import Any

import typer

from isoflop.errors import UserError

# click may be typer's own copy; its base exception is found where typer's own derives from it
_Usage: type[Any] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def run(app: typer.Typer, arguments: list[str] | None = None) -> int:
    """Run a verb with its arguments; the exit code: 0 done, 1 the work failed, 2 bad usage or bad input."""
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="isoflop", standalone_mode=False)
    except UserError as error:
        return said(str(error), 2)
    except _Usage as error:
        return said(f"{error.format_message().rstrip('.')}; see isoflop --help", 2)
    except typer.Abort:
        return said("stopped", 130)
    except BrokenPipeError:  # the reader of our output has gone: nothing is left to say
        sys.stderr.close()
        return 0
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        return said(f"{what}{error.strerror or error}; make room, or name another place", 2)
    return code if isinstance(code, int) else 0


def said(sentence: str, code: int) -> int:
    """Say a sentence on stderr and pass the code on."""
    print(f"isoflop: {sentence}", file=sys.stderr)
    return code
