"""How the runs that were asked for ended, whoever trained them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """How many runs ended how; `user_error` says that a failure is for the user to mend (exit code 2).

    `time_is_up` says that it stopped at its time limit; what is not finished has its checkpoint.
    """

    trained: int = 0
    already_finished: int = 0
    failures: list[str] = field(default_factory=list)
    user_error: bool = False
    time_is_up: bool = False
