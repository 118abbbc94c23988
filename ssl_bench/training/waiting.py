"""The interface through which training and scoring report progress."""

from __future__ import annotations

from typing import Protocol


class Display(Protocol):
    """Shows how far a run is."""

    def start(self, task: str, done: int, total: int) -> None:
        """Begin a task (training, scoring); `done` of its `total` steps are done."""

    def step(self, text: str = "") -> None:
        """Count one step of the task; `text` is its latest loss."""
