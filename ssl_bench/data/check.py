"""`data check`: report all errors of a data set on disk, and its near-duplicates, in one pass."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image

from ssl_bench.cards import Benchmark, Files, Volumes, card_names, load_protocol, members_of
from ssl_bench.command import listed, quantity
from ssl_bench.data.arrays import holds_arrays
from ssl_bench.data.check_splits import doubles_of, labeled_shares, sides_of_splits, suggested_groups
from ssl_bench.data.edges import Edges, brightness
from ssl_bench.data.finding import Finding, Seen
from ssl_bench.data.groups import groups_of
from ssl_bench.data.images import CaseFiles, folder_of, masks_without_image
from ssl_bench.data.leaks import straddling_groups, thumbnail
from ssl_bench.data.pictures import Palettes, exif_orientation
from ssl_bench.data.slices import to_bytes
from ssl_bench.data.sources import decode, find_cases, missing_mask
from ssl_bench.errors import UserError
from ssl_bench.folders import BENCHMARKS_DIR
from ssl_bench.labels import IGNORED

MOST = 64  # masks in which edges are looked for
FEW_LEVELS = 32  # of an image, below which its contrast is lost
FEW = 5  # masks, from which on a class that only one of them has is worth a look


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


def check(
    benchmark: Benchmark, data_root: Path | None, advance: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Read every file of a data set and report what is missing, unreadable, of the wrong size, empty or doubled.

    Raises:
        UserError: no folder of the card's layout exists.
    """
    files, cases = find_cases(benchmark, data_root)
    report = CheckReport(folder_of(cases), len(cases), findings=_card(benchmark))
    if len(cases) != benchmark.cases:
        text = f"expected {quantity(benchmark.cases, 'case')}, found {len(cases)}"
        report.findings.append(Finding("error", "count", text))
    seen = []
    with ThreadPoolExecutor() as pool:
        for i, one in enumerate(pool.map(partial(_look, files=files, benchmark=benchmark), cases)):
            seen.append(one)
            if advance is not None:
                advance(i + 1, len(cases))
    readable = [one for one in seen if one.error is None and one.content]
    report.findings += (
        _exif(seen, files) + _palettes(readable) + _white_backgrounds(readable, files) + _framed(readable)
    )
    report.findings += _turned(readable) + _dull(readable)
    if benchmark.ignores:
        report.ignored = sum(one.ignored for one in readable) / max(sum(one.pixels for one in readable), 1)
    report.findings += _slicing(readable) if benchmark.slices else []
    report.sizes = {one.size for one in readable}
    report.findings += [Finding("error", "file", one.error) for one in seen if one.error is not None]
    names = [one.id for one in readable]
    try:
        groups = dict(zip(names, groups_of(benchmark, names), strict=True))
        sides, unsplit = sides_of_splits(benchmark, readable, complete=not report.errors)
    except UserError as error:
        groups, sides, unsplit = dict(zip(names, names, strict=True)), {}, [Finding("error", "group", str(error))]
    report.groups = None if len(set(groups.values())) == len(names) else len(set(groups.values()))
    straddling, doubles = doubles_of(readable, groups, sides)
    parted = [*straddling_groups(groups, sides), *suggested_groups(benchmark, names, sides)]
    torn = [Finding("warning", "group in training and test", line) for line in parted]
    if not report.errors:
        unsplit += labeled_shares(benchmark, sides, groups, {one.id for one in readable if one.foreground is not None})
    report.findings = [*torn, *straddling, *report.findings, *unsplit]
    report.findings += _masks(benchmark, readable) + _masks_alone(files, cases)
    report.findings += [Finding("warning", "empty mask", one.id) for one in readable if one.foreground == 0]
    report.findings += [Finding("warning", "full mask", one.id) for one in readable if one.foreground == 1]
    report.findings += doubles
    report.findings += _edges(benchmark, files, cases)
    return report


def _card(benchmark: Benchmark) -> list[Finding]:
    """Say that the card names no protocol that there is, or is a file with the name of a built-in data set."""
    findings = list[Finding]()
    try:
        load_protocol(benchmark.protocol, dimensions=benchmark.network_dimensions)
    except UserError as error:
        findings.append(Finding("error", "protocol", str(error)))
    built_in = BENCHMARKS_DIR / "datasets" / f"{benchmark.name}.toml"
    is_file = benchmark.option.endswith(".toml") and Path(benchmark.option).resolve() != built_in.resolve()
    if is_file and benchmark.name in card_names("datasets"):
        text = f"{benchmark.name} is also a built-in data set, whose runs tables cannot tell from this one's by name"
        findings.append(Finding("warning", "name", f"{text}; change name on the card"))
    return findings


def _look(case: CaseFiles, files: Files | Volumes, benchmark: Benchmark) -> Seen:
    if case.mask is None and not files.masks_optional:
        return Seen(case.id, error=missing_mask(case, files))
    exif = _with_exif(case) if isinstance(files, Files) else ()
    if exif and isinstance(files, Files) and files.exif_orientation == "refuse":
        return Seen(case.id, mask=case.mask, exif=exif)
    try:
        read, _ = decode(case, files, benchmark)
        if benchmark.slices and isinstance(files, Volumes):
            to_bytes(read.image, files.slice_window, case.image)
    except UserError as error:
        return Seen(case.id, error=str(error))
    perceptual, small, sides = None, np.zeros(0), read.image.shape[-3:]
    if isinstance(files, Files):
        shown = read.image if read.image.shape[2] == 3 else read.image[..., 0]
        bits, small = imagehash.phash(Image.fromarray(shown)).hash.flatten(), thumbnail(Image.fromarray(shown))
        perceptual, sides = int.from_bytes(np.packbits(bits).tobytes(), "big"), read.image.shape[1::-1]
    known = None if read.mask is None else read.mask[read.mask != IGNORED]
    return Seen(
        case.id,
        size=sides,
        foreground=None if known is None else float((known > 0).mean()),
        classes=frozenset() if known is None else frozenset(np.unique(known).tolist()),
        ignored=0 if read.mask is None or known is None else read.mask.size - known.size,
        pixels=0 if read.mask is None else read.mask.size,
        content=hashlib.sha256(read.image.tobytes() + str(read.image.shape).encode()).hexdigest(),
        perceptual=perceptual,
        thumbnail=small,
        mask=case.mask,
        palette=read.palette,
        exif=exif,
        framed=isinstance(files, Files) and len(benchmark.classes) == 2 and _is_framed(read.mask),
        was_turned=read.was_turned,
        levels=len(np.unique(read.image)) if isinstance(files, Files) and files.intensity_range else None,
    )


def _dull(cases: Sequence[Seen]) -> list[Finding]:
    """Warn of images that `intensity_range` leaves few of 256 levels."""
    dull = [case.id for case in cases if case.levels is not None and case.levels < FEW_LEVELS]
    if not dull:
        return []
    images = quantity(len(dull), "image")
    text = (
        f"{images} with fewer than {FEW_LEVELS} of 256 levels, such as {dull[0]}; a smaller intensity_range on the card"
    )
    return [Finding("warning", "few levels", f"{text} keeps more")]


def _is_framed(mask: np.ndarray | None) -> bool:
    """Whether most known pixels along the border of a mask (H, W) are foreground, and others are background."""
    if mask is None:
        return False
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    known = border[border != IGNORED]
    return len(known) > 0 and float((known > 0).mean()) > 0.5 and bool((mask == 0).any())


def _with_exif(case: CaseFiles) -> tuple[Path, ...]:
    """The pictures of a case that have an EXIF orientation; a file that cannot be read is reported elsewhere."""
    found = []
    for path in {*case.images, *case.masks}:
        with contextlib.suppress(Exception):  # Pillow raises various exceptions for a damaged file
            if not holds_arrays(path) and exif_orientation(path) != 1:
                found.append(path)
    return tuple(sorted(found))


def _exif(cases: Sequence[Seen], files: Files | Volumes) -> list[Finding]:
    """The number of images and masks with an EXIF orientation: an error where the card does not say what it means."""
    turned = [path for case in cases for path in case.exif]
    if not turned or not isinstance(files, Files):
        return []
    masks = len({case.mask for case in cases} & set(turned))
    counts = [quantity(count, word) for count, word in ((len(turned) - masks, "image"), (masks, "mask")) if count]
    found = f"{' and '.join(counts)}, such as {turned[0].name}"
    if files.exif_orientation == "refuse":
        text = f"{found}; exif_orientation = apply (as viewers show them) or ignore is missing on the card"
        return [Finding("error", "EXIF orientation", text)]
    return [Finding("warning", "EXIF orientation", f"{found}; exif_orientation = {files.exif_orientation} on the card")]


def _white_backgrounds(cases: Sequence[Seen], files: Files | Volumes) -> list[Finding]:
    """Say if palettes show the background white and the foreground black, as in masks whose classes are exchanged."""
    if not isinstance(files, Files) or files.mask_values is None or len(files.mask_values) != 2:
        return []
    background, foreground = members_of(files.mask_values)
    white = [
        case.id for case in cases
        if {case.palette.get(value) for value in background} == {"#ffffff"}
        and {case.palette.get(value) for value in foreground} <= {"#000000", None}
    ]  # fmt: skip
    if not white:
        return []
    text = (
        f"{quantity(len(white), 'mask')}, such as that of {white[0]}: viewers show palette index {background[0]}, the "
        "background of mask_values, white; without mask_values, white is the foreground"
    )
    return [Finding("warning", "white background", text)]


def _framed(cases: Sequence[Seen]) -> list[Finding]:
    """Say if most masks have foreground all along their border, as masks do whose classes are exchanged."""
    framed, masked = [case.id for case in cases if case.framed], [case for case in cases if case.foreground is not None]
    if 2 * len(framed) <= len(masked):
        return []
    text = (
        f"{len(framed)} of {quantity(len(masked), 'mask')}, such as that of {framed[0]}, have foreground along most "
        "of the border; if the background is white, other mask_values on the card, such as [255, 0], exchange "
        "the two"
    )
    return [Finding("warning", "foreground around", text)]


def _palettes(cases: Sequence[Seen]) -> list[Finding]:
    """The first mask whose palette contradicts another one's."""
    palettes = Palettes()
    try:
        for case in cases:
            palettes.note(case.mask, case.palette)
    except UserError as error:
        return [Finding("error", "palette", str(error))]
    return []


def _slicing(cases: Sequence[Seen]) -> list[Finding]:
    """Say that slices may be cut along another axis than the images were taken along."""
    thin = [case.id for case in cases if case.size[2] > min(case.size[:2])]
    if not thin:
        return []
    text = (
        f"{len(thin)} of {quantity(len(cases), 'volume')}, such as {thin[0]}: more samples along z than along x "
        "or y; slices are cut along z (HDF5 files with the slices first need axes = 'zyx')"
    )
    return [Finding("warning", "slices", text)]


def _turned(cases: list[Seen]) -> list[Finding]:
    """Say once that versions which did not turn NRRD and MHA files read these cases on other axes."""
    turned = [case.id for case in cases if case.was_turned]
    if not turned:
        return []
    text = (
        f"{len(turned)} of {quantity(len(cases), 'case')}, such as {turned[0]}: NRRD or MHA files whose axes are "
        "not right, anterior, superior; earlier versions did not turn them, so train runs from those versions again"
    )
    return [Finding("warning", "axes", text)]


def _masks(benchmark: Benchmark, cases: Sequence[Seen]) -> list[Finding]:
    """Classes that no mask or a single one has, and how many cases have no mask."""
    masked = [case for case in cases if case.foreground is not None]
    findings = []
    for number, label in enumerate(benchmark.classes):
        having = [case.id for case in masked if number in case.classes]
        if masked and (not having or (len(having) == 1 and len(masked) >= FEW)):
            where = f"one mask of {len(masked)}, {having[0]}" if having else "no mask"
            findings.append(Finding("warning", "class", f"{label} occurs in {where}"))
    without = [case.id for case in cases if case.foreground is None]
    if without and masked:
        text = f"{len(without)} of {quantity(len(cases), 'case')}, such as {without[0]}; they train unlabelled"
        findings.append(Finding("warning", "no mask", text))
    return findings


def _edges(benchmark: Benchmark, files: Files | Volumes, cases: Sequence[CaseFiles]) -> list[Finding]:
    """Say which values of classes occur only along borders, as the edges of smoothed or resized masks do."""
    colors = files.mask_colors if isinstance(files, Files) else None
    firsts: list[int | str] = [own[0] for own in members_of(files.mask_values or ())]
    firsts += [own[0] for own in members_of(colors or ())]
    if len(firsts) < 3:
        return []
    masked = [case for case in cases if case.mask is not None]
    labels = [f"{label} ({one})" for label, one in zip(benchmark.classes, firsts, strict=True)]
    edges, names = Edges(), dict[int, str]()
    for case in masked[:: -(-len(masked) // MOST) or 1]:
        with contextlib.suppress(UserError):  # which is reported elsewhere
            read, _ = decode(case, files, benchmark)
            assert read.mask is not None, "it has one"
            levels = [brightness(read.palette.get(one, one) if isinstance(one, int) else one) for one in firsts]
            names |= dict(zip(levels, labels, strict=True))
            edges.note(np.array(levels)[np.where(read.mask == IGNORED, 0, read.mask)])
        if edges.inside >= names.keys() > set():
            break
    if not edges.values:
        return []
    text = (
        f"{listed([names[value] for value in edges.values])}: only along borders, as the edges of smoothed or resized "
        "masks; if these are no classes, merge each value with a class beside it, such as [[0, 64], [255, 192]]"
    )
    return [Finding("warning", "edges", text)]


def _masks_alone(files: Files | Volumes, cases: Sequence[CaseFiles]) -> list[Finding]:
    """Masks that fit no image: an error for each whose id is that of an image without a mask in other letter case."""
    kind, alone = "mask without image", masks_without_image(files, cases)
    without = {case.id.casefold(): case.id for case in cases if case.mask is None}
    named_alike = [(name, path) for name, path in alone if name.casefold() in without]
    findings = [
        Finding(
            "error", kind, f"{path}: its id '{name}' differs from '{without[name.casefold()]}' in letter case alone"
        )
        for name, path in named_alike
    ]
    others = [one for one in alone if one not in named_alike]
    if others:
        name, path = others[0]
        closest = difflib.get_close_matches(name, [*without.values()], 1)
        hint = f"; the closest id of an image without a mask is '{closest[0]}'" if closest else ""
        text = f"{quantity(len(others), 'mask')}, such as {path}: the id '{name}' is no image's{hint}"
        findings.append(Finding("warning", kind, text))
    return findings
