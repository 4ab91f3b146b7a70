"""The client of prefork.py: `serve` writes it beside its socket under the name of each program.

It hands over its streams, arguments, environment and folder, passes signals on and ends as the fork ends. It is
started a thousand times, so it imports what is built into the interpreter.
"""

import os
import sys
from _signal import SIG_BLOCK, SIG_DFL, SIG_UNBLOCK, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, pthread_sigmask, signal
from _socket import AF_UNIX, SCM_RIGHTS, SOL_SOCKET, socket
from array import array

PASSED_ON = (SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2)


def main(program: str, *arguments: str) -> None:
    """Ask the server for a fork with our streams; end as it ends."""
    pthread_sigmask(SIG_BLOCK, PASSED_ON)
    folder, name = os.path.split(program)
    environment = [f"{key}={value}" for key, value in os.environ.items()]
    request = os.fsencode("\0".join([name, os.getcwd(), str(len(arguments)), *arguments, *environment]))
    server = socket(AF_UNIX)
    server.connect(f"{folder}/socket")
    server.sendmsg([b"!"], [(SOL_SOCKET, SCM_RIGHTS, array("i", [0, 1, 2]))])
    server.sendall(len(request).to_bytes(8, "big") + request)
    answers = os.fdopen(server.detach())
    fork = int(answers.readline())
    for number in PASSED_ON:
        signal(number, lambda number, _: os.kill(fork, number))
    pthread_sigmask(SIG_UNBLOCK, PASSED_ON)
    code = int(answers.readline())
    if code < 0:  # a signal ended it
        signal(-code, SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main(*sys.argv)
