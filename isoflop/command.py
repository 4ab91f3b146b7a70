"""A command: its options in groups, each declared once as the fields of a dataclass, and how it ends.

    @dataclasses.dataclass(frozen=True)
    class Output:
        as_json: Annotated[bool, "Print one JSON document", "--json"] = False

    @expand
    def status(folder: str, output: Output) -> None:
        print(folder, output.as_json)

    status(folder="runs", as_json=True)         # runs True; Typer sees the options FOLDER and --json
    translate(UserError("budget.D=-3 is not a number above 0"))        # (2, the sentence)

The first text of an annotation is the help, further ones are the option's names; without any the name is the field's.
What went wrong is an exit code and one sentence that says what to do.
"""

import dataclasses
import difflib
import errno
import inspect
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from isoflop.errors import BusyError, UserError
from isoflop.extensions import CONF, blame
from isoflop.wording import printable

if TYPE_CHECKING:
    import typer

# exit code where a run that is watched left its band
ALARM = 3
# what a launcher or sweeper of Hydra's is called in a config -> the extra of isoflop that installs it
EXTRAS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray", "joblib": "joblib", "optuna": "optuna"}
# what Hydra says of the class of a launcher or sweeper that it cannot find
PLUGIN = re.compile(r"(?:Invalid plugin|Unknown plugin class :) '([^']*)'")
# what the system says of a disk, or of a user's share of it, that is full
FULL = (errno.ENOSPC, errno.EDQUOT)
# what OmegaConf says where a word of conf/, such as fingerprint, refuses what it is given
RESOLVED = re.compile(r"UserError raised while resolving interpolation: (.*)")
# what there is to do about a file or folder that cannot be used
ELSEWHERE = "name another place"
T = TypeVar("T")


class RunFailedError(Exception):
    """A run left no result; its record says why."""


class Stopped(KeyboardInterrupt):
    """A signal ended the run; its argument is the exit code."""


def translate(error: BaseException, elsewhere: str = ELSEWHERE) -> tuple[int, str]:
    """Return an error's exit code and sentence, or raise it if it is nobody's; elsewhere: what to do about a place."""
    match error:
        case UserError():
            return 2, str(error)
        case ValueError() if str(error).startswith("Config group override"):
            return 2, "a group takes the name of a choice, as in family=lstm; leave it out for the default"
        case RuntimeError() if plugin := PLUGIN.match(str(error)):
            what = "is not a launcher or sweeper that Hydra has; choose one by hydra/launcher= or hydra/sweeper="
            return 2, f"{plugin[1]} {what}"
        case RunFailedError() | BusyError():
            return 1, str(error)
        case Exception() if own := blame(error):
            return 2, own
        case Exception() if type(error).__module__.split(".")[0] in ("hydra", "omegaconf"):
            return 2, hydra_sentence(error)
        case KeyboardInterrupt():
            return (error.args[0] if isinstance(error, Stopped) else 130), "stopped; rerun the same command to resume"
        case BrokenPipeError():
            raise error  # the reader of our output has gone: main() ends quietly
        case OSError():
            what = f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}"
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return 2, f"{what}; allow more of them, as by ulimit -n 1024"
            return 2, f"{what}; {'make room, or ' if error.errno in FULL else ''}{elsewhere}"
    raise error


def run(app: "typer.Typer", arguments: list[str] | None = None) -> int:
    """Run a verb with its arguments; the exit code: 0 done, 1 the work failed, 2 bad usage or bad input."""
    import typer

    # click may be typer's own copy; its base exception is found where typer's own derives from it
    usage: type[Any] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="isoflop", standalone_mode=False)
    except usage as error:
        return report(2, f"{error.format_message().rstrip('.')}; see isoflop --help")
    except (typer.Abort, KeyboardInterrupt):
        return report(130, "stopped")
    except Exception as error:
        return report(*translate(error))
    return code if isinstance(code, int) else 0


def report(code: int, sentence: str) -> int:
    """Print a sentence on stderr, without what a terminal would obey, and pass the code on."""
    print(f"isoflop: {printable(sentence).replace(chr(10), ' ')}", file=sys.stderr)
    return code


def close_output() -> None:
    """Discard the output still to be printed, so that Python does not complain about a closed pipe when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def hydra_sentence(error: BaseException) -> str:
    """Return an error of Hydra or OmegaConf as one sentence: what was given, what is allowed."""
    from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    first, cause = str(error).split("\n")[0], error.__cause__
    while cause is not None and not isinstance(cause, UserError | ConfigAttributeError | ConfigKeyError):
        cause = cause.__cause__
    if isinstance(cause, UserError):
        return str(cause)
    if isinstance(error, OverrideParseException):
        return f"the override {error.override!r} cannot be read; the form is key=value, as in family.width=64"
    if isinstance(error, InstantiationException):
        return _instantiation_sentence(error)
    if isinstance(error, MissingConfigException):
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if name in EXTRAS and group.startswith("hydra/"):
            return f"{group}={name} is not installed; in a checkout of isoflop: pip install '.[{EXTRAS[name]}]'"
        # of a choice in a list Hydra gives no options
        options = error.options or [path.stem for path in (CONF / group).glob("*.yaml")]
        if options:
            return f"{group}={name} is not there; choose one of {', '.join(sorted(options))}"
    if (resolved := RESOLVED.match(first)) is not None:  # OmegaConf keeps no cause
        return resolved[1]
    if first.startswith("Ambiguous value"):
        return f"{first.split(chr(39))[1]} is several values; add -m to sweep over them"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return _key_sentence(cause) or f"{first} {cause}".replace("\n", " ")
    return f"{first} {cause or ''}".replace("\n", " ").strip()


def _instantiation_sentence(error: Exception) -> str:
    target = re.search(r"target '([^']+)'|resolving ([\w.]+)|instantiating '?([\w.]+)", str(error))
    name = next(filter(None, target.groups()), "") if target else ""
    where = re.search(r"full_key: (\S+)", str(error))
    cause = error.__cause__ or error
    why = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    key = f"{where[1]}: " if where else ""
    return f"{key}its _target_, {name}, cannot be built ({why.split(', set env var')[0]}); fix it"


def _key_sentence(error: Any) -> str:
    from omegaconf import OmegaConf

    if not OmegaConf.is_dict(error.parent_node):
        return ""
    if error.full_key in ("launcher", "sweeper"):
        return f"{error.full_key} is not a key; did you mean hydra/{error.full_key}=?"
    parent, key = str(error.full_key).rpartition(".")[0], str(error.key)
    keys = [str(k) for k in error.parent_node if k not in ("hydra", "names") and not str(k).startswith("_")]
    close = difflib.get_close_matches(key, keys, n=1)
    mean = f"did you mean {parent + '.' if parent else ''}{close[0]}=? " if close else ""
    return f"{error.full_key} is not a key; {mean}{parent or 'a run'} has {', '.join(keys)}"


def expand(command: Callable[..., T]) -> Callable[..., T]:
    """Give a Typer command an option for each field of those of its parameters that are dataclasses."""
    given = inspect.signature(command, eval_str=True).parameters.values()
    groups: dict[str, Any] = {one.name: one.annotation for one in given if dataclasses.is_dataclass(one.annotation)}

    def flat(**values: Any) -> T:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
        return command(**values)

    parameters: list[inspect.Parameter] = []
    for parameter in given:
        if group := groups.get(parameter.name):
            hints, panel = get_type_hints(group, include_extras=True), (group.__doc__ or "").rstrip(".")
            for f in dataclasses.fields(group):
                default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
                parameters.append(_parameter(f.name, hints[f.name], default, panel))
        else:
            parameters.append(_parameter(parameter.name, parameter.annotation, parameter.default))
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {one.name: one.annotation for one in parameters}
    flat.__name__, flat.__doc__ = command.__name__, command.__doc__
    return flat


def _parameter(name: str, annotation: Any, default: Any, panel: str | None = None) -> inspect.Parameter:
    import typer

    if get_origin(annotation) is Annotated and isinstance(get_args(annotation)[1], str):
        kind, sentence, *names = get_args(annotation)
        if kind is bool and not names:
            names = ["--" + name.replace("_", "-")]  # without it Typer adds --no-NAME
        shown = default not in ("", None, [], dataclasses.MISSING, inspect.Parameter.empty)
        option = typer.Option(*names, help=sentence, show_default=shown, rich_help_panel=panel)
        annotation = Annotated[kind, option]
    default = inspect.Parameter.empty if default is dataclasses.MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
