"""How a run is stopped: by a signal, between two steps, with a checkpoint kept; and a server by its parent's end.

SIGINT (Ctrl-C) and SIGTERM (kill, a launcher's stop, `isoflop cancel`) raise Terminated before and after training; in
training they are remembered until a step has ended, a checkpoint is kept and the run ends by 130 or 143. A second
SIGINT ends it at once. Signals that somebody else has a handler for are kept by `Deferred`. Standard library only.

    with terminable():
        ...                        # SIGTERM raises Terminated
        with between_steps():
            ...                    # SIGTERM is remembered
            stop_if_terminated()   # raises Terminated
"""

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

# the signals that stop a run, and the handlers that they have where nobody has set one
STOPPING = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Terminated(BaseException):
    """A signal came while a run was at work."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


# the signal that came: an exception may be raised where it is swallowed, as in an import, but this stays
_received: list[int] = []


def _terminate(number: int, _: object) -> None:
    _received.append(number)
    raise Terminated(number)


def _remember(number: int, frame: Any) -> None:
    if number == signal.SIGINT and _received:
        signal.default_int_handler(number, frame)
    _received.append(number)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into Terminated for a with-block, unless another handler is set, as by a scheduler."""
    main = threading.current_thread() is threading.main_thread()
    ours = {number: default for number, default in STOPPING.items() if main and signal.getsignal(number) == default}
    if not ours:
        yield
        return
    _received.clear()
    for number in ours:
        signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, default in ours.items():
            signal.signal(number, default)


@contextlib.contextmanager
def between_steps() -> Iterator[None]:
    """Remember signals for a with-block inside terminable(); `stop_if_terminated` then ends the run."""
    ours = [number for number in STOPPING if signal.getsignal(number) is _terminate]
    for number in ours:
        signal.signal(number, _remember)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, _terminate)


def stop_if_terminated() -> None:
    """Raise Terminated if a signal has come since the run began."""
    if _received:
        raise Terminated(_received[0])


def describe_exit(code: int | None) -> str:
    number = 0 if code is None else -code if code < 0 else code - 128
    return f"killed by {signal.Signals(number).name}" if number in signal.valid_signals() else f"exit code {code}"


class Deferred:
    """Signals that another has a handler for, such as a scheduler's, kept until a step has ended.

    with Deferred(signal.SIGUSR2) as deferred:
        ...
        deferred.handle(before=keep_a_checkpoint)       # between steps
    """

    def __init__(self, *signals: signal.Signals) -> None:
        self.signals, self.received = signals, list[tuple[int, Any]]()
        self.handlers: dict[int, Any] = {}
        self.handled = False

    def __enter__(self) -> "Deferred":
        if threading.current_thread() is threading.main_thread():
            self.handlers = {
                number: handler for number in self.signals if callable(handler := signal.getsignal(number))
            }
            for number in self.handlers:
                signal.signal(number, lambda number, frame: self.received.append((number, frame)))
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def handle(self, before: Callable[[], None]) -> None:
        """Call `before`, if a signal came, and then its own handler, which may not return."""
        if self.received:
            before()
            self.handled = True
            number, frame = self.received.pop(0)
            self.handlers[number](number, frame)


# the variable in which a server finds the process that started it
PARENT = "ISOFLOP_SERVER_OF"
# linux/prctl.h
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Kill this process when its parent ends; exit if it has ended already."""
    _on_death_of_parent(signal.SIGKILL)
    if os.environ.pop(PARENT, str(os.getppid())) not in (str(os.getppid()), str(os.getpid())):
        os._exit(1)


def outlive() -> None:
    _on_death_of_parent(0)


def _on_death_of_parent(number: int) -> None:
    """Set the signal that this process gets when its parent ends; do nothing if the system has none."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
