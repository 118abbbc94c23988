"""Files of a new data set that cannot be read: they are noted, and the card is proposed from the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from ssl_bench.command import listed, quantity
from ssl_bench.data.images import CaseFiles
from ssl_bench.data.patterns import literal
from ssl_bench.errors import UnreadableFileError, UserError

FEWEST = 0.5  # share of the cases that must be readable
Content = TypeVar("Content")


class Unreadable:
    """The files that could not be read, with the error of each."""

    def __init__(self) -> None:
        self.errors: dict[Path, str] = {}

    def read(self, path: Path, how: Callable[[Path], Content]) -> Content | None:
        """Return what `how` reads from a file; None, and a note of the error, if the file cannot be read."""
        try:
            return how(path)
        except UnreadableFileError as error:
            self.errors[path] = str(error)
            return None

    def each(self, paths: Iterable[Path], how: Callable[[Path], Content]) -> Iterator[tuple[Path, Content]]:
        """Yield each file that can be read with what `how` reads from it."""
        for path in paths:
            content = self.read(path, how)
            if content is not None:
                yield path, content

    def without(self, cases: Sequence[CaseFiles], folder: Path) -> tuple[list[CaseFiles], tuple[str, ...]]:
        """Return the cases whose files can be read, and patterns that exclude the files of the others.

        Raises:
            UserError: fewer than half of the cases, or fewer than two of those with a mask, can be read.
        """
        good, bad = list[CaseFiles](), list[CaseFiles]()
        for case in cases:
            (bad if self.errors.keys() & {*case.images, *case.masks} else good).append(case)
        if not bad:
            return good, ()
        if len(good) < FEWEST * len(cases) or sum(case.mask is not None for case in good) < 2:
            raise UserError(
                f"{next(iter(self.errors.values()))}; only {len(good)} of {quantity(len(cases), 'case')} can be read, "
                "too few to propose a card"
            )
        files = dict.fromkeys(path for case in bad for path in (*case.images, *case.masks))
        return good, tuple(literal(path.relative_to(folder).as_posix()) for path in files)

    def said(self, cases: Sequence[CaseFiles], folder: Path) -> list[str]:
        """Lines of a card's first comment about the files of these cases that cannot be read."""
        used = {path for case in cases for path in (*case.images, *case.masks)}
        names = [path.relative_to(folder).as_posix() for path in self.errors if path in used]
        if not names:
            return []
        return [
            f"# Cannot be read: {quantity(len(names), 'file')}, {listed(names)}.",
            "# They are left out by exclude, each with the image or the mask that belongs to it.",
        ]
