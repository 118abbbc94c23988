"""Processes forked from a server that has imported torch and this package: see `ssl_bench.launch.forkserver`."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from ssl_bench.launch.forkserver import MESSAGE, READY

UNKNOWN = 255  # exit code of a process that was killed after its server
log = logging.getLogger("ssl_bench")


class Process(Protocol):
    """A process as `subprocess.Popen` shows it: minus the number of a signal is the code of a killed one."""

    @property
    def pid(self) -> int:
        """The process id."""

    def poll(self) -> int | None:
        """Return the exit code; None while the process runs."""

    def wait(self) -> int:
        """Wait for the exit code."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless the process has ended."""

    def kill(self) -> None:
        """End the process at once."""


class Forked:
    """A process that a server has forked. It outlives a server that is killed.

    Args:
        pid: process id.
        pidfd: descriptor of the process.
        status: read end of the pipe for its exit code. The server writes `=CODE` after it has waited for the process.
            The process itself writes `CODE` before it exits; that counts if the server is gone.

    """

    def __init__(self, pid: int, pidfd: int, status: int) -> None:
        self.pid, self.status, self._pidfd = pid, status, pidfd
        self.returncode: int | None = None
        self._said = b""

    def poll(self) -> int | None:
        """Return the exit code, UNKNOWN if nobody saw it; None while the process runs."""
        return self._look(0)

    def wait(self) -> int:
        """Wait for the exit code."""
        while (code := self._look(None)) is None:
            pass
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, sig)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)

    def _look(self, milliseconds: int | None) -> int | None:
        if self.returncode is None and _is_ready([self.status], milliseconds):
            text = os.read(self.status, 64)
            self._said += text
            last = self._said.decode().split()[-1:]
            if last and last[0].startswith("="):
                self._end(int(last[0][1:]))
            elif not text:  # every holder of the pipe has ended
                self._end(int(last[0]) if last else UNKNOWN)
        return self.returncode

    def _end(self, code: int) -> None:
        self.returncode = code
        os.close(self.status)
        os.close(self._pidfd)


class ForkServer:
    """Starts the server with the first process that it is asked for, and again if it was killed.

    Args:
        environment: of the server and, with each request's own variables, of its processes. Libraries read variables
            such as OMP_NUM_THREADS when they are loaded.
        module: what the server imports.

    """

    def __init__(self, environment: Mapping[str, str], module: str = "ssl_bench.launch.preload") -> None:
        self._environment, self._module = dict(environment), module
        self._server: subprocess.Popen[bytes] | None = None
        self._can_start = True
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the server; None if it does not run."""
        return None if self._server is None else self._server.pid

    def fork(self, words: Sequence[str], environment: Mapping[str, str], output: int) -> Forked | None:
        """Start a process; None if there can be no server.

        Args:
            words: arguments of `ssl-bench`.
            environment: variables of this process alone.
            output: descriptor of the file for what it prints.

        """
        message = json.dumps({"words": list(words), "environment": dict(environment)}).encode()
        if len(message) > MESSAGE or not self._can_start:
            return None
        for _ in range(2):  # an idle server may have been killed
            forked = self._ask(message, output)
            if forked is not None:
                return forked
            self.close()
            if not self._can_start:
                break
        log.warning("the server of processes ended; runs start in new processes, which takes seconds longer")
        return None

    def close(self) -> None:
        """End the server."""
        if self._control is not None:
            self._control.close()
        if self._server is not None:
            self._server.wait()
        self._control = self._server = None

    def _ask(self, message: bytes, output: int) -> Forked | None:
        reader, writer = os.pipe()
        try:
            control = self._control or self._start()
            socket.send_fds(control, [message], [output, writer])
            answer, descriptors, _, _ = socket.recv_fds(control, 64, 1, socket.MSG_CMSG_CLOEXEC)
            if answer:
                return Forked(int(answer), descriptors[0], reader)
        except OSError:  # the server was killed, or the message is too long for the socket
            pass
        finally:
            os.close(writer)
        os.close(reader)
        return None

    def _start(self) -> socket.socket:
        """Start the server and wait until it has imported everything.

        Raises:
            ConnectionError: it ended before.
        """
        self._control, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._server = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", "ssl_bench.launch.forkserver", str(its.fileno()), self._module],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self._environment,
                pass_fds=[its.fileno()], start_new_session=True,
            )  # fmt: skip
        if self._control.recv(len(READY)) != READY:
            self._can_start = False
            raise ConnectionResetError
        return self._control


def wait_for_any(processes: Sequence[Process], seconds: float) -> None:
    """Wait until a forked process has something to say, and for at most `seconds`."""
    descriptors = [
        process.status for process in processes if isinstance(process, Forked) and process.returncode is None
    ]
    if descriptors:
        _is_ready(descriptors, int(1000 * seconds))
    else:
        time.sleep(seconds)


def _is_ready(descriptors: Sequence[int], milliseconds: int | None) -> bool:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(milliseconds))


def can_fork() -> bool:
    """Whether this system has processes that can be forked safely and be named by a descriptor: Linux 5.3 or later."""
    if not (sys.platform == "linux" and hasattr(os, "pidfd_open")):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True
