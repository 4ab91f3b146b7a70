"""The one exception for what a user can mend, shared by all rooms (standard library only).

Its message is one sentence: what was given, what is allowed, what to do. The command line prints it alone and exits
with 2.

    raise UserError("budget.D=-3 is not a number of targets above 0; give budget.D=1e6, say")
"""


class UserError(ValueError):
    """Bad usage or bad input; the message is the whole answer, no traceback is shown."""
