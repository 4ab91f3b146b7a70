"""The exceptions that all rooms share; the message of a UserError is one sentence, and the exit code is 2.

raise UserError("budget.D=-3 is not a number of targets above 0; give budget.D=1e6, say")
"""


class UserError(ValueError):
    """Bad usage or bad input; the message is the whole answer, no traceback is shown."""


class BusyError(Exception):
    """Another process is at work in the run's folder."""


class FitError(UserError):
    """Runs that cannot be fitted: what was given, what is needed, what to do."""


class CellError(FitError):
    """A cell that no verb can use: the same whichever group or law was asked for."""


class TooFewRowsError(FitError):
    """Fewer rows than parameters: no fit of this group, though others may have one."""
