"""`data check`: report all errors of a data set on disk, and its near-duplicates, in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import imagehash
import numpy as np
from PIL import Image

from ssl_bench.cards import Benchmark, Files, Volumes
from ssl_bench.data.images import CaseFiles, folder_of
from ssl_bench.data.sources import decode, find_cases, missing_mask
from ssl_bench.errors import UserError

NEAR_DUPLICATE_BITS = 4  # of the 64 of a perceptual hash; an encoder's artefacts flip 0 to 2


@dataclass(frozen=True)
class Finding:
    """A finding: an "error" makes the data set unusable, a "warning" does not."""

    level: Literal["error", "warning"]
    kind: str
    text: str


@dataclass
class CheckReport:
    """Result of `check`: number of cases, their location and sizes, and the findings."""

    folder: Path
    cases: int
    sizes: set[tuple[int, ...]] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Number of findings that keep the data set from being used."""
        return sum(finding.level == "error" for finding in self.findings)


@dataclass(frozen=True)
class _Seen:
    """One decoded case: either an error, or what the comparisons between cases need."""

    id: str
    error: str | None = None
    size: tuple[int, ...] = ()
    foreground: float | None = None
    content: str = ""
    perceptual: int | None = None
    was_turned: bool = False


def check(
    benchmark: Benchmark, data_root: Path | None, advance: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Read every file of a data set and report what is missing, unreadable, of the wrong size, empty or doubled.

    Raises:
        UserError: no folder of the card's layout exists.
    """
    files, cases = find_cases(benchmark, data_root)
    report = CheckReport(folder_of(cases), len(cases))
    if len(cases) != benchmark.cases:
        text = f"expected {benchmark.cases} cases, found {len(cases)}"
        report.findings.append(Finding("error", "count", text))
    seen = []
    with ThreadPoolExecutor() as pool:
        for i, one in enumerate(pool.map(partial(_look, files=files, benchmark=benchmark), cases)):
            seen.append(one)
            if advance is not None:
                advance(i + 1, len(cases))
    readable = [one for one in seen if one.error is None]
    report.sizes = {one.size for one in readable}
    report.findings += [Finding("error", "file", one.error) for one in seen if one.error is not None]
    report.findings += [Finding("warning", "empty mask", one.id) for one in readable if one.foreground == 0]
    report.findings += [Finding("warning", "full mask", one.id) for one in readable if one.foreground == 1]
    report.findings += _turned(readable) + _doubles(readable)
    return report


def _look(case: CaseFiles, files: Files | Volumes, benchmark: Benchmark) -> _Seen:
    if case.mask is None and not files.masks_optional:
        return _Seen(case.id, error=missing_mask(case, files))
    try:
        read, _ = decode(case, files, benchmark)
    except UserError as error:
        return _Seen(case.id, error=str(error))
    perceptual, sides = None, read.image.shape[-3:]
    if isinstance(files, Files):
        shown = read.image if read.image.shape[2] == 3 else read.image[..., 0]
        bits = imagehash.phash(Image.fromarray(shown)).hash.flatten()
        perceptual, sides = int.from_bytes(np.packbits(bits).tobytes(), "big"), read.image.shape[1::-1]
    return _Seen(
        case.id,
        size=sides,
        foreground=None if read.mask is None else float((read.mask > 0).mean()),
        content=hashlib.sha256(read.image.tobytes() + str(read.image.shape).encode()).hexdigest(),
        perceptual=perceptual,
        was_turned=read.was_turned,
    )


def _turned(cases: list[_Seen]) -> list[Finding]:
    """Say once that versions which did not turn NRRD and MHA files read these cases on other axes."""
    turned = [case.id for case in cases if case.was_turned]
    if not turned:
        return []
    text = (
        f"{len(turned)} of {len(cases)} cases, such as {turned[0]}, are NRRD or MHA files whose axes are not right, "
        "anterior, superior; earlier versions did not turn them, so train runs from those versions again"
    )
    return [Finding("warning", "axes", text)]


def _doubles(cases: list[_Seen]) -> list[Finding]:
    """Pairs with the same pixels, and (2D) whose perceptual hashes differ in at most NEAR_DUPLICATE_BITS bits."""
    findings: list[Finding] = []
    first: dict[str, _Seen] = {}
    for case in cases:
        twin = first.setdefault(case.content, case)
        if twin is not case:
            findings.append(Finding("warning", "duplicate", f"{twin.id} and {case.id} have the same pixels"))
    cases = [case for case in cases if case.perceptual is not None]
    hashes = np.array([case.perceptual for case in cases], dtype=np.uint64)
    for i, case in enumerate(cases):
        distances = np.bitwise_count(hashes[i + 1 :] ^ hashes[i])
        for j in np.flatnonzero(distances <= NEAR_DUPLICATE_BITS):
            other = cases[i + 1 + int(j)]
            if other.content != case.content:
                text = (
                    f"{case.id} and {other.id} look alike (perceptual hashes differ in {int(distances[j])} of 64 bits)"
                )
                findings.append(Finding("warning", "near-duplicate", text))
    return findings
