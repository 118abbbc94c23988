"""What was found in the folder of a new data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_bench.cards import Benchmark, Files, Volumes
from ssl_bench.data.images import CaseFiles, list_cases
from ssl_bench.data.volumes import list_volumes


@dataclass(frozen=True)
class Found:
    """The layout of a data set.

    Attributes:
        layout: a card's [files] or [[volumes]].
        cases: that the card's reader finds.
        said: lines of the card's first comment.
        fields: of the card, as a description in the folder has them.
        labels: class name -> value in masks, where a description names them.
        named: files that are not used, and that `said` speaks of.
    """

    layout: Files | Volumes
    cases: list[CaseFiles]
    said: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, int] | None = None
    named: frozenset[Path] = frozenset()


def cases_of(layout: Files | Volumes, folder: Path, channels: Any = None) -> list[CaseFiles]:
    """List the cases of a layout in a folder."""
    words = tuple(channels) if isinstance(channels, list) else channels
    if isinstance(layout, Files):
        return list_cases(Benchmark.model_construct(title=folder.name, channels=words, files=layout), folder)
    return list_volumes(Benchmark.model_construct(title=folder.name, channels=words, volumes=(layout,)), folder)[1]
