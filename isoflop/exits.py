"""How `isoflop train` ends: an exit code, and for what went wrong one sentence that says what to do.

verdict(UserError("budget.D=-3 is not a number above 0"))        # (2, the sentence)
"""

import difflib

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from isoflop.errors import UserError
from isoflop.scaling.process.lock import BusyError

# what a launcher or sweeper of Hydra's is called in a config -> the extra of isoflop that installs it
EXTRAS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray", "joblib": "joblib", "optuna": "optuna"}


class RunFailedError(Exception):
    """A run left no result; its record says why."""


class Stopped(KeyboardInterrupt):
    """A signal ended the run; its argument is the exit code."""


class Ending(BaseException):
    """Carries an error of a single run past Hydra, which would print it its own way."""


def verdict(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence of an error; what is neither the user's nor a run's is raised again."""
    match error:
        case UserError():
            return 2, str(error)
        case HydraException() | OmegaConfBaseException():
            return 2, sentence(error)
        case ValueError() if str(error).startswith("Config group override"):
            return 2, "a group takes the name of a choice, as in family=lstm; leave it out for the default"
        case RunFailedError() | BusyError():
            return 1, str(error)
        case KeyboardInterrupt():
            return (error.args[0] if isinstance(error, Stopped) else 130), "stopped; the same command goes on from here"
        case OSError():
            what = f"{error.filename}: " if error.filename else ""
            return 2, f"{what}{error.strerror or error}; make room, or give another folder with out=DIR"
    raise error


def sentence(error: Exception) -> str:
    """What Hydra has to say, in one sentence: what was given, what is allowed."""
    first, cause = str(error).split("\n")[0], error.__cause__
    while cause is not None and not isinstance(cause, UserError | ConfigAttributeError | ConfigKeyError):
        cause = cause.__cause__
    if isinstance(cause, UserError):
        return str(cause)
    if isinstance(error, OverrideParseException):
        return f"the override {error.override!r} cannot be read; the form is key=value, as in family.width=64"
    if isinstance(error, MissingConfigException):
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if name in EXTRAS and group.startswith("hydra/"):
            return f"{group}={name} is not installed; pip install 'isoflop[{EXTRAS[name]}]'"
    if isinstance(error, MissingConfigException) and error.options:
        return f"{group}={name} is not there; choose one of {', '.join(sorted(error.options))}"
    if first.startswith("Ambiguous value"):
        return f"{first.split(chr(39))[1]} is several values; add -m to sweep over them"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and OmegaConf.is_dict(cause.parent_node):
        parent, key = str(cause.full_key).rpartition(".")[0], str(cause.key)
        keys = [str(k) for k in cause.parent_node if k not in ("hydra", "names") and not str(k).startswith("_")]
        close = difflib.get_close_matches(key, keys, n=1)
        mean = f"did you mean {parent + '.' if parent else ''}{close[0]}=? " if close else ""
        return f"{cause.full_key} is not a key; {mean}{parent or 'a run'} has {', '.join(keys)}"
    return f"{first} {cause or ''}".replace("\n", " ").strip()
