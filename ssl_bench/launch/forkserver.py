"""A process that imports torch and this package once, and forks a child for each task: `python -m` this module.

Its arguments are the descriptor of a socket and the module to import, `ssl_bench.launch.preload`. It reads requests
from the socket, one message each: JSON, with the descriptors of the task's log and of a pipe for its exit code. It
answers each with the child's process id and a descriptor of the process (pidfd). When the socket closes, the process
that asked has ended: the children get SIGTERM, write their checkpoints and exit.

Threads and CUDA do not survive a fork, so nothing here computes with torch, and no data is opened. Files of a user
(methods, launchers) are imported by the children alone.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass

MESSAGE = 1 << 16  # bytes of a request, at most
READY = b"ready"


@dataclass(frozen=True)
class Request:
    """A task for a child: arguments of `ssl-bench`, variables of its own, and descriptors of its log and exit code."""

    words: list[str]
    environment: dict[str, str]
    log: int
    status: int


def serve(control: socket.socket) -> Request | None:
    """Fork a child for each request. Returns the request in the child; None in the server when the socket closes."""
    children: dict[int, tuple[int, int]] = {}  # by pidfd: process id and pipe for the exit code
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready != control.fileno():
                poll.unregister(ready)
                _report(*children.pop(ready))
                os.close(ready)
                continue
            request = _receive(control)
            if request is None:
                _stop(children)
                return None
            pid = os.fork()
            if pid == 0:
                for pidfd, (_, status) in children.items():
                    os.close(pidfd)
                    os.close(status)  # else its reader would wait for this process, too
                return request
            pidfd = os.pidfd_open(pid)
            os.close(request.log)
            children[pidfd] = pid, request.status
            poll.register(pidfd, select.POLLIN)
            with suppress(OSError):  # closed: the next poll says so
                socket.send_fds(control, [str(pid).encode()], [pidfd])


def _receive(control: socket.socket) -> Request | None:
    """Return the next request; None if the socket is closed."""
    try:
        message, descriptors, _, _ = socket.recv_fds(control, MESSAGE, 2, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None
    return Request(**json.loads(message), log=descriptors[0], status=descriptors[1]) if message else None


def _report(pid: int, status: int) -> None:
    """Write the exit code of a child that has ended, or minus the number of the signal that ended it."""
    _, ended = os.waitpid(pid, 0)
    with suppress(OSError):  # nobody reads it any more
        os.write(status, f"={os.waitstatus_to_exitcode(ended)}\n".encode())
    os.close(status)


def _stop(children: dict[int, tuple[int, int]]) -> None:
    for pidfd in children:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)


def run_task(request: Request) -> None:
    """Do what a new process does with this command line, and exit.

    Raises:
        SystemExit: always, unless the command has a fault.
    """
    os.setsid()
    os.dup2(request.log, 1)
    os.dup2(request.log, 2)
    os.close(request.log)
    os.environ.update(request.environment)
    sys.argv = ["ssl-bench", *request.words]
    _draw_seeds()
    code = 1
    try:
        runpy.run_module("ssl_bench", run_name="__main__")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    finally:
        with suppress(OSError):  # for a reader whose server was killed
            os.write(request.status, f"{code}\n".encode())


def _draw_seeds() -> None:
    """Give numpy and torch seeds of their own, as in a new process; Python's module draws its own after a fork."""
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()


def main() -> None:
    """Serve until the socket closes; in a child, run its task and exit."""
    control = socket.socket(fileno=int(sys.argv[1]))
    importlib.import_module(sys.argv[2])
    gc.collect()
    gc.freeze()  # the garbage collector of a child would write to, and so copy, the pages that it shares
    with suppress(ConnectionError):
        control.send(READY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's threads; its library stops them at a fork
        request = serve(control)
    if request is None:
        os._exit(0)
    control.close()
    run_task(request)


if __name__ == "__main__":
    main()
