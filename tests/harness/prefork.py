"""`isoflop` without its imports: each call is a fork of one server that has imported torch and the other libraries.

    with serve(folder) as command:                          # folder/isoflop, a program like any other
        subprocess.run([command, "train", "family=mlp"])    # a process of its own, in 0.1 s instead of 5

A call has its own arguments, environment, working directory, standard streams, signals and exit code. Only what depends
on how the interpreter starts (its import path, what is imported, when) wants a real process:
`[sys.executable, "-m", "isoflop.cli"]`. Beside it lies `python`, which takes -c CODE, -m MODULE or a file.

The program is a client (client.py): it hands its streams over, passes signals on and ends as the fork ends; where it is
killed, the server kills the fork. The forkserver that a sweep starts for its runs is a fork too.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import itertools
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import util
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

LIBRARIES = (
    "hydra._internal.utils",
    "hydra.core.plugins",
    "hydra.main",
    "pytorch_lightning.loggers",
    "rich.live",
    "scipy.optimize",
    "scipy.stats",
    "pandas",
    "torch.utils.flop_counter",
    "typer",
    "wandb",
)
# the verbs that start a forkserver; another would only start it more slowly
RUNNING = frozenset({"train", "plan", "study", "demo", "retry", "confirm"})
# what acts as it is imported
ACT = ("isoflop.__main__", "isoflop.cli", "isoflop.scaling.process.preload")


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Path]:
    """Start a server that ends with this process; gives the program that asks it, which waits until it is ready."""
    address = folder / "socket"
    for name in PROGRAMS:
        program = folder / name
        program.write_text(f"#!{sys.executable} -IS\n{Path(__file__).with_name('client.py').read_text()}")
        program.chmod(0o755)
    command = [sys.executable, __file__, str(address)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        while not address.exists():
            if server.poll() is not None:
                raise RuntimeError(f"the server of the command line ended with {server.returncode}")
            time.sleep(0.01)
        yield folder / "isoflop"
    finally:
        server.kill()
        server.wait()
        assert server.stdin is not None
        server.stdin.close()


class Server:
    """Forks a process for each connection, and tells it how that process ended."""

    def __init__(self, address: str) -> None:
        self.forks: dict[int, socket.socket] = {}  # by process
        self.events = selectors.DefaultSelector()
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind(address + ".new")
        self.door.listen()
        os.rename(address + ".new", address)
        ended, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for source, action in ((0, sys.exit), (ended, self.reap), (self.door, self.accept)):
            self.events.register(source, selectors.EVENT_READ, action)
        self.ended = ended

    def run(self) -> None:
        """Answer until our standard input ends, as it does with the process that started us."""
        while True:
            for key, _ in self.events.select():
                key.data()

    def accept(self) -> None:
        """Fork a process for a new connection."""
        connection, _ = self.door.accept()
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        asked = connection.makefile("rb")
        request = os.fsdecode(asked.read(int.from_bytes(asked.read(8), "big")))
        name, folder, given, *words = request.split("\0")
        arguments, environment = words[: int(given)], dict(word.split("=", 1) for word in words[int(given) :])
        process = os.fork()
        if process == 0:
            become(lambda: PROGRAMS[name](arguments), environment, folder, streams)
        for stream in streams:
            os.close(stream)
        self.forks[process] = connection
        self.events.register(connection, 1, lambda: self.kill(process))
        connection.sendall(b"%d\n" % process)

    def kill(self, process: int) -> None:
        """End a process whose caller has gone."""
        self.events.unregister(self.forks[process])
        os.kill(process, signal.SIGKILL)

    def reap(self) -> None:
        """Tell callers how their processes ended."""
        os.read(self.ended, 4096)
        for process in list(self.forks):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                connection = self.forks.pop(process)
                with contextlib.suppress(KeyError):
                    self.events.unregister(connection)
                with contextlib.suppress(OSError):
                    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
                connection.close()


class Fork:
    """A process forked from this one, which has imported the libraries; asked and ended as a subprocess.Popen is.

    run: what it calls, with an environment, a working directory and standard streams of its own, in its own session.
    """

    def __init__(
        self, run: Callable[[], Any], environment: Mapping[str, str], folder: Path, streams: Sequence[int] = (0, 1, 2)
    ) -> None:
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            become(run, environment, str(folder), streams)

    def poll(self) -> int | None:
        """Its exit code, that of a signal as a negative number; None while it is at work."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._wait(0)

    def _wait(self, how: int) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, how)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def load() -> None:
    """Import the libraries and every module of isoflop that does nothing but define, for forks of this process."""
    for name in LIBRARIES:
        importlib.import_module(name)
    package = importlib.import_module("isoflop")
    for module in pkgutil.walk_packages(package.__path__, "isoflop."):
        if module.name not in ACT:
            importlib.import_module(module.name)
    gc.freeze()


def become(run: Callable[[], Any], environment: Mapping[str, str], folder: str, streams: Sequence[int]) -> NoReturn:
    """Make of a fork the process that a new interpreter would be, call something in it and exit."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    as_after_exec()
    # a copy: what was given may be os.environ itself
    environment = dict(environment)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    try:
        code: Any = run() or 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    # what an interpreter does at its end, without taking apart what has been imported
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def isoflop(arguments: Sequence[str]) -> None:
    """What `python -m isoflop.cli` does, in the process that a fork has become."""
    sys.path[0] = os.getcwd()
    sys.argv = ["isoflop", *arguments]
    import_anew(arguments)
    if RUNNING.intersection(arguments):
        util.spawnv_passfds = Spawner().spawn  # type: ignore[attr-defined]
    runpy.run_module("isoflop.cli", run_name="__main__", alter_sys=True)


def python(arguments: Sequence[str]) -> None:
    """What `python -c CODE`, `python -m MODULE` and `python FILE` do, in the process that a fork has become."""
    import_anew(arguments)
    util.spawnv_passfds = Spawner().spawn  # type: ignore[attr-defined]
    kind, *rest = arguments
    sys.argv = arguments if kind not in ("-c", "-m") else [kind, *rest[1:]]
    sys.path[0] = os.getcwd() if kind in ("-c", "-m") else str(Path(kind).resolve().parent)
    if kind == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(main))
    else:
        runpy.run_path(kind, run_name="__main__")


def import_anew(arguments: Sequence[str]) -> None:
    """Forget isoflop where extensions are declared: what they add is found as its modules are imported."""
    if "ISOFLOP_EXTENSIONS" in os.environ or any("extensions" in argument for argument in arguments):
        for name in [name for name in sys.modules if name.partition(".")[0] == "isoflop"]:
            del sys.modules[name]


def as_after_exec(keep: Sequence[int] = ()) -> None:
    """Close what a new program would not inherit, and take the default action for signals."""
    edges = sorted({2, *keep, os.sysconf("SC_OPEN_MAX")})
    for below, above in itertools.pairwise(edges):
        os.closerange(below + 1, above)
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


class Spawner:
    """Starts Python programs as util.spawnv_passfds does; the first forkserver is a fork that was put by for it."""

    def __init__(self) -> None:
        self.original = util.spawnv_passfds
        self.ours, theirs = socket.socketpair()
        self.spare: int | None = os.fork()
        if self.spare == 0:
            try:
                wait_to_be_a_forkserver(theirs)
            finally:
                os._exit(0)
        theirs.close()

    def spawn(self, path: bytes, args: Sequence[str | bytes], passfds: Sequence[int]) -> int:
        """Start the program; its process id."""
        code, spare = os.fsdecode(args[-1]), self.spare
        if "multiprocessing.forkserver" not in code or spare is None:
            return self.original(path, args, passfds)
        self.spare, passed = None, sorted(passfds)
        request = {"code": code, "passed": passed, "folder": os.getcwd(), "environment": dict(os.environ)}
        socket.send_fds(self.ours, [b"!"], passed)
        self.ours.sendall(json.dumps(request).encode() + b"\n")
        return spare


def wait_to_be_a_forkserver(launcher: socket.socket) -> None:
    """Wait until the launcher wants one, and end with it."""
    as_after_exec([launcher.fileno()])
    _, received, _, _ = socket.recv_fds(launcher, 1, 16)
    if not received:
        return
    request = json.loads(launcher.makefile().readline())
    # out of the way of the numbers that they have in the launcher
    apart = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 512) for descriptor in received]
    for descriptor, number in zip(apart, request["passed"], strict=True):
        os.dup2(descriptor, number, inheritable=False)
    as_after_exec(request["passed"])
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    exec(request["code"], {})


PROGRAMS = {"isoflop": isoflop, "python": python}


def main() -> None:
    """Serve."""
    server = Server(sys.argv[1])  # who asks already waits at the door
    load()
    server.run()


if __name__ == "__main__":
    main()
