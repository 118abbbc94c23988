"""Errors that are shown to users. The command line prints each as one clear message, never a traceback."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's class if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class UserError(ValueError):
    """Bad input: the message names the file or option, what was expected and what was found. Exit code 2."""


class UnfitError(UserError):
    """Methods, networks and a protocol that are each right do not fit each other."""


class UnreadableFileError(UserError):
    """The content of a file cannot be decoded: it is damaged, of another format, or closed to this user."""


class RunFailedError(Exception):
    """A run that had begun cannot continue (the loss is not finite, memory ran out). Recorded as failed."""


class MethodError(RunFailedError, UserError):
    """A method breaks its contract. The message names its file and line. Recorded as failed; exit code 2."""


class InterruptedRunError(Exception):
    """A run was stopped and has written its checkpoint. `signal_number` is of Ctrl-C, SIGTERM or the time limit."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"interrupted by signal {signal_number}")
        self.signal_number = signal_number
