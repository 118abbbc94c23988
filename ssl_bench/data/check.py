"""`data check`: report all errors of a data set on disk, and its near-duplicates, in one pass."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import imagehash
import numpy as np
from PIL import Image

from ssl_bench.cards import Benchmark, Files, Volumes
from ssl_bench.command import quantity, quoted
from ssl_bench.data.describe.grouping import propose_group
from ssl_bench.data.groups import groups_of
from ssl_bench.data.images import CaseFiles, folder_of
from ssl_bench.data.leaks import Sides, equal_pairs, near_pairs, sides_of, splits_between, straddling_groups
from ssl_bench.data.pictures import Palettes, exif_orientation
from ssl_bench.data.sources import decode, find_cases, missing_mask
from ssl_bench.errors import UserError
from ssl_bench.ops import IGNORED


@dataclass(frozen=True)
class Finding:
    """A finding: an "error" makes the data set unusable, a "warning" does not."""

    level: Literal["error", "warning"]
    kind: str
    text: str


@dataclass
class CheckReport:
    """Result of `check`: number of cases, their location and sizes, and the findings.

    The findings begin with what stands in training and in test. `groups` is their number, where groups have several
    cases. `ignored` is the share of ignored pixels in all masks, on a card with `ignore`.
    """

    folder: Path
    cases: int
    sizes: set[tuple[int, ...]] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)
    groups: int | None = None
    ignored: float | None = None

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
    foreground: float | None = None  # share of the mask's known pixels
    ignored: int = 0  # pixels
    pixels: int = 0  # of the mask
    content: str = ""
    perceptual: int | None = None
    mask: Path | None = None
    palette: Mapping[int, str] = field(default_factory=dict)
    has_exif: bool = False
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
    report.findings += _exif(readable) + _palettes(readable) + _turned(readable)
    if benchmark.ignores:
        report.ignored = sum(one.ignored for one in readable) / max(sum(one.pixels for one in readable), 1)
    report.sizes = {one.size for one in readable}
    report.findings += [Finding("error", "file", one.error) for one in seen if one.error is not None]
    names = [one.id for one in readable]
    try:
        groups = dict(zip(names, groups_of(benchmark, names), strict=True))
        sides, unsplit = _sides(benchmark, readable, complete=not report.errors)
    except UserError as error:
        groups, sides, unsplit = dict(zip(names, names, strict=True)), {}, [Finding("error", "group", str(error))]
    report.groups = None if len(set(groups.values())) == len(names) else len(set(groups.values()))
    straddling, doubles = _doubles(readable, groups, sides)
    parted = [*straddling_groups(groups, sides), *_suggested(benchmark, names, sides)]
    torn = [Finding("warning", "group in training and test", line) for line in parted]
    report.findings = [*torn, *straddling, *report.findings, *unsplit]
    report.findings += [Finding("warning", "empty mask", one.id) for one in readable if one.foreground == 0]
    report.findings += [Finding("warning", "full mask", one.id) for one in readable if one.foreground == 1]
    report.findings += doubles
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
    known = None if read.mask is None else read.mask[read.mask != IGNORED]
    return _Seen(
        case.id,
        size=sides,
        foreground=None if known is None else float((known > 0).mean()),
        ignored=0 if read.mask is None or known is None else read.mask.size - known.size,
        pixels=0 if read.mask is None else read.mask.size,
        content=hashlib.sha256(read.image.tobytes() + str(read.image.shape).encode()).hexdigest(),
        perceptual=perceptual,
        mask=case.mask,
        palette=read.palette,
        has_exif=isinstance(files, Files) and _has_exif(case, files),
        was_turned=read.was_turned,
    )


def _has_exif(case: CaseFiles, files: Files) -> bool:
    """Whether an image has an EXIF orientation; one that was to be refused has not been decoded."""
    return files.exif_orientation != "refuse" and any(exif_orientation(path) != 1 for path in case.images)


def _exif(cases: Sequence[_Seen]) -> list[Finding]:
    """The number of images with an EXIF orientation; the card says how they are read."""
    turned = [case.id for case in cases if case.has_exif]
    if not turned:
        return []
    text = f"{quantity(len(turned), 'image')}, such as {turned[0]}; exif_orientation in the card says how they are read"
    return [Finding("warning", "EXIF orientation", text)]


def _palettes(cases: Sequence[_Seen]) -> list[Finding]:
    """The first mask whose palette contradicts another one's."""
    palettes = Palettes()
    try:
        for case in cases:
            palettes.note(case.mask, case.palette)
    except UserError as error:
        return [Finding("error", "palette", str(error))]
    return []


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


def _sides(benchmark: Benchmark, cases: list[_Seen], complete: bool) -> tuple[Sides, list[Finding]]:
    """The sides of the card's splits. A split that cannot be made is a finding, if every case is there."""
    if not cases:
        return {}, []
    masked = {case.id for case in cases if case.foreground is not None}
    try:
        return sides_of(benchmark, [case.id for case in cases], [case.content for case in cases], masked), []
    except UserError as error:
        return {}, [Finding("error", "split", str(error))] if complete else []


def _suggested(benchmark: Benchmark, names: list[str], sides: Sides) -> list[str]:
    """A line for each split that parts groups which the names suggest, on a card that says nothing about groups."""
    says = benchmark.group is not None or any(split.sequence_starts for split in benchmark.splits.values())
    proposed = None if says or not names else propose_group(names)
    if proposed is None:
        return []
    pattern, _ = proposed
    groups = dict(zip(names, groups_of(benchmark.model_copy(update={"group": pattern}), names), strict=True))
    advice = f"the names suggest group = {quoted(pattern)} on the card"
    return [f"{line}; {advice}" for line in straddling_groups(groups, sides)]


def _doubles(cases: list[_Seen], groups: dict[str, str], sides: Sides) -> tuple[list[Finding], list[Finding]]:
    """Pairs that have the same pixels or (2D) look alike: those in training and test of a split, then the others.

    Pairs inside a group of several cases are one finding that counts them.
    """
    contents = {case.id: case.content for case in cases}
    near = near_pairs({case.id: case.perceptual for case in cases if case.perceptual is not None}, contents)
    straddling, others, inside = list[Finding](), list[Finding](), Counter[str]()
    for pair in (*equal_pairs(contents, sides), *near):
        kind = "duplicate" if pair.bits is None else "near-duplicate"
        splits = splits_between(pair, sides)
        if splits:
            text = f"{pair.text}; one trains, one tests (split {', '.join(splits)})"
            straddling.append(Finding("warning", f"{kind} in training and test", text))
        elif groups[pair.first] == groups[pair.second]:
            inside[kind] += 1
        else:
            others.append(Finding("warning", kind, pair.text))
    counted = (f"{quantity(count, 'pair')} of cases of one group" for count in inside.values())
    return straddling, others + [Finding("warning", kind, text) for kind, text in zip(inside, counted, strict=True)]
