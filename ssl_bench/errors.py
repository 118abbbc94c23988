"""The errors that a user can cause or meet; the command line prints each as one clear message, never a traceback."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class UserError(ValueError):
    """Bad input: the message names the file or option, what was expected and what was found. Exit code 2."""


class RunFailedError(Exception):
    """A run that had begun cannot go on (a loss that is not finite, memory that ran out). Recorded as failed."""


class InterruptedRunError(Exception):
    """A run was asked to stop and has written its checkpoint; `signal_number`: by Ctrl-C, SIGTERM, its time limit."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"interrupted by signal {signal_number}")
        self.signal_number = signal_number
