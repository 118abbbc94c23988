"""PLACEHOLDER until the site module arrives; same interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssl_bench.report.table import Table


@dataclass(frozen=True)
class Picture:
    alt: str
    name: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Exhibit:
    slug: str
    title: str
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunPage:
    hash: str
    title: str
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()


def write_site(folder: Path, title: str, overview: Table, exhibits: Sequence[Exhibit], runs: Sequence[RunPage]) -> None:
    raise NotImplementedError
