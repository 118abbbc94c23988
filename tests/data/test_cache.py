"""The cache: its pixels against Pillow and numpy, when it is built anew, and that nothing can leave it broken."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
import pytest
from conftest import REPOSITORY, draw_case, write_dataset
from PIL import Image

from ssl_bench.cards import Benchmark, load_benchmark
from ssl_bench.data import cache as cache_module
from ssl_bench.data.cache import prepare
from ssl_bench.data.dataset import Dataset
from ssl_bench.data.images import list_cases
from ssl_bench.errors import UserError

IDS = ["frame1", "frame2", "frame3", "frame4", "frame10", "frame11"]
SIZES = [(37, 53), (32, 32), (61, 20), (9, 7), (64, 64), (101, 33)]
Everything = tuple[object, ...]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SSL_BENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six cases in CVC's lossless layout, most with odd sizes."""
    return write_dataset(tmp_path / "data", "cvc", IDS, SIZES)


def card(cases: int = len(IDS), layout: str = "cvc", **files: object) -> Benchmark:
    benchmark = load_benchmark(layout)
    assert benchmark.files is not None
    return benchmark.model_copy(update={"cases": cases, "files": benchmark.files.model_copy(update=files)})


def everything(dataset: Dataset) -> Everything:
    """All that can be read from a data set."""
    images, masks = dataset.arrays(dataset.ids)
    truths = [(truth.shape, truth.tobytes()) for truth in dataset.truths(dataset.ids)]
    sizes = dataset.truth_sizes(dataset.ids)
    return dataset.fingerprint, dataset.ids, dataset.contents, images.tobytes(), masks.tobytes(), truths, sizes


def left_over(cache: Path) -> list[str]:
    """Files in the cache that are neither data, index, digest nor lock."""
    known = {".h5", ".image", ".mask", ".json", ".lock", ".sha256", ".checked"}
    return [p.name for p in cache.rglob("*") if p.is_file() and (p.suffix not in known or p.name.startswith("."))]


class Decoding:
    """Counts decoded cases."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.told.append((done, total))


class StopAt:
    """Stops the building of a cache after some cases, as Ctrl-C does."""

    def __init__(self, case: int) -> None:
        self.case = case

    def __call__(self, done: int, total: int) -> None:
        if done == self.case:
            raise KeyboardInterrupt


# ----------------------------------------------------------------------------------------------------------- content


@pytest.mark.parametrize("size", [16, 32, 64, 100])
def test_images_are_pillows_antialiased_resize(data: Path, size: int) -> None:
    images, _ = prepare(card(), data, size).arrays(tuple(IDS))
    assert images.dtype == np.uint8
    assert images.shape == (len(IDS), 3, size, size)
    for index, original in enumerate(SIZES):
        image = Image.fromarray(draw_case(index, original)[0])
        assert np.array_equal(
            images[index].transpose(1, 2, 0), np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
        )


@pytest.mark.parametrize("size", [16, 32, 64, 100])
def test_masks_are_the_nearest_pixels_as_0_and_1(data: Path, size: int) -> None:
    _, masks = prepare(card(), data, size).arrays(tuple(IDS))
    assert masks.dtype == np.uint8
    for index, (width, height) in enumerate(SIZES):
        truth = draw_case(index, (width, height))[1] > 0
        rows = np.floor((np.arange(size) + 0.5) * height / size).astype(int)
        columns = np.floor((np.arange(size) + 0.5) * width / size).astype(int)
        assert np.array_equal(masks[index], truth[np.ix_(rows, columns)].astype(np.uint8))


def test_original_masks_come_back_bit_for_bit(data: Path) -> None:
    dataset = prepare(card(), data, 16)
    truths = list(dataset.truths(tuple(IDS)))
    for index, (width, height) in enumerate(SIZES):
        assert truths[index].dtype == np.uint8
        assert truths[index].shape == (height, width)
        assert np.array_equal(truths[index], draw_case(index, (width, height))[1] > 0)
    assert dataset.truth_sizes(tuple(IDS)) == [(height, width) for width, height in SIZES]


def test_original_masks_of_full_empty_and_one_pixel_sizes_come_back(tmp_path: Path) -> None:
    sizes = [(1, 1), (8, 8), (3, 5), (7, 1), (17, 16)]
    rng = np.random.default_rng(0)
    truths = [np.ones((1, 1), bool), np.zeros((8, 8), bool), *(rng.random((h, w)) < 0.5 for w, h in sizes[2:])]
    write_dataset(tmp_path / "data", "cvc", list("12345"), sizes)
    for name, truth in zip("12345", truths, strict=True):
        mask = Image.fromarray(255 * truth.astype(np.uint8))
        mask.save(tmp_path / "data" / "CVC-ClinicDB" / "Ground Truth" / f"{name}.tif")
    dataset = prepare(card(5), tmp_path / "data", 8)
    for found, truth in zip(dataset.truths(tuple("12345")), truths, strict=True):
        assert np.array_equal(found, truth)


def test_cases_are_given_in_the_order_asked_for(data: Path) -> None:
    dataset = prepare(card(), data, 16)
    images, masks = dataset.arrays(tuple(IDS))
    order = [4, 0, 5, 0]
    some = tuple(IDS[i] for i in order)
    for found, expected in zip(dataset.arrays(some), (images, masks), strict=True):
        assert np.array_equal(found, expected[order])
    assert dataset.truth_sizes(some) == [SIZES[i][::-1] for i in order]
    assert [truth.shape for truth in dataset.truths(some)] == [SIZES[i][::-1] for i in order]


def test_more_cases_than_are_decoded_at_a_time_keep_their_order(tmp_path: Path) -> None:
    ids = [str(number) for number in range(1, 51)]
    write_dataset(tmp_path / "data", "cvc", ids, [(16, 16)] * 50)
    dataset = prepare(card(50), tmp_path / "data", 16)
    assert dataset.ids == tuple(ids)
    images, _ = dataset.arrays(dataset.ids)
    assert np.array_equal(
        images.transpose(0, 2, 3, 1), np.stack([draw_case(index, (16, 16))[0] for index in range(50)])
    )


def test_contents_are_equal_for_equal_pixels_alone(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", "cvc", ["1", "2", "3"], [(20, 10), (20, 10), (20, 10)])
    folder = data / "CVC-ClinicDB" / "Original"
    Image.fromarray(draw_case(0, (20, 10))[0]).save(folder / "3.tif", compression="tiff_lzw")  # 1 in other bytes
    assert (folder / "1.tif").read_bytes() != (folder / "3.tif").read_bytes()
    first, second, third = prepare(card(3), data, 16).contents
    assert first == third != second


def test_contents_tell_apart_equal_pixels_in_another_shape(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", "cvc", ["1", "2"], [(20, 10), (10, 20)])
    image, _ = draw_case(0, (20, 10))
    Image.fromarray(image.reshape(20, 10, 3)).save(data / "CVC-ClinicDB" / "Original" / "2.tif")
    first, second = prepare(card(2), data, 16).contents
    assert first != second


def test_the_drawn_data_set_is_cached_as_it_is_drawn() -> None:
    from ssl_bench.data.demo import draw

    dataset = prepare(load_benchmark("demo").model_copy(update={"cases": 3}), None, 32)
    for name, truth in zip(dataset.ids, dataset.truths(dataset.ids), strict=True):
        assert np.array_equal(truth, draw(int(name))[1])


def test_another_drawing_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ssl_bench.data import demo

    few = load_benchmark("demo").model_copy(update={"cases": 3})
    before = prepare(few, None, 32)
    assert prepare(few, None, 32) == before
    changed = tmp_path / "demo.py"
    changed.write_text(Path(demo.__file__).read_text() + "# changed\n")
    monkeypatch.setattr(demo, "__file__", str(changed))
    monkeypatch.setattr(demo, "draw", lambda index: (np.full((40, 30, 3), index, np.uint8), np.eye(40, 30, dtype=bool)))
    after = prepare(few, None, 32)
    assert after.fingerprint != before.fingerprint
    assert all(np.array_equal(truth, np.eye(40, 30)) for truth in after.truths(after.ids))


# ------------------------------------------------------------------------------------------------- when it is built


def test_a_second_preparing_decodes_nothing_and_gives_the_same(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(card(), data, 32)
    written = first.path.stat().st_mtime_ns

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("an image is decoded again")

    monkeypatch.setattr(Image, "open", refuse)
    decoding = Decoding()
    second = prepare(card(), data, 32, advance=decoding)
    assert second == first
    assert everything(second) == everything(first)
    assert decoding.told == []
    assert second.path.stat().st_mtime_ns == written


def test_progress_counts_every_decoded_case(data: Path) -> None:
    decoding = Decoding()
    prepare(card(), data, 32, advance=decoding)
    assert decoding.told == [(number, 6) for number in range(1, 7)]


def test_another_size_has_the_same_fingerprint_in_another_file(data: Path) -> None:
    small, large = prepare(card(), data, 16), prepare(card(), data, 48)
    assert small.fingerprint == large.fingerprint
    assert small.path != large.path
    assert everything(prepare(card(), data, 16)) == everything(small)


@pytest.mark.parametrize("kind", ["Original", "Ground Truth"])
def test_a_changed_file_changes_the_fingerprint_and_the_pixels(data: Path, kind: str) -> None:
    before = prepare(card(), data, 32)
    image, mask = draw_case(77, SIZES[1])
    Image.fromarray(image if kind == "Original" else mask).save(data / "CVC-ClinicDB" / kind / "frame2.tif")
    after = prepare(card(), data, 32)
    assert after.fingerprint != before.fingerprint
    pixels, masks = after.arrays(("frame2",))
    if kind == "Original":
        assert np.array_equal(pixels[0].transpose(1, 2, 0), image)
    else:
        assert np.array_equal(masks[0], mask > 0)


@pytest.mark.parametrize("way", ["written", "replaced"])
def test_another_file_of_the_same_size_and_time_of_modification_is_read(data: Path, tmp_path: Path, way: str) -> None:
    before = prepare(card(), data, 32)
    file, other = data / "CVC-ClinicDB" / "Ground Truth" / "frame2.tif", tmp_path / "other.tif"
    Image.fromarray(draw_case(77, SIZES[1])[1]).save(other)
    old = file.stat()
    assert other.stat().st_size == old.st_size
    if way == "written":
        file.write_bytes(other.read_bytes())
    else:
        other.replace(file)
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))  # as cp -p, rsync -t and tar do
    after = prepare(card(), data, 32)
    assert after.fingerprint != before.fingerprint
    assert np.array_equal(after.arrays(("frame2",))[1][0], draw_case(77, SIZES[1])[1] > 0)


def test_a_touched_but_equal_file_keeps_the_fingerprint(data: Path) -> None:
    before = everything(prepare(card(), data, 32))
    os.utime(data / "CVC-ClinicDB" / "Original" / "frame2.tif", (1, 1))
    assert everything(prepare(card(), data, 32)) == before


def test_both_unicode_forms_of_names_are_one_data_set(tmp_path: Path) -> None:
    ids = [f"lésion_{number}" for number in range(20)]
    composed, decomposed = (
        prepare(
            card(20), write_dataset(tmp_path / form, "cvc", [unicodedata.normalize(form, name) for name in ids]), 32
        )
        for form in ("NFC", "NFD")
    )
    assert everything(decomposed) == everything(composed)
    assert decomposed.ids == tuple(ids)


def test_the_fingerprint_is_of_contents_and_ids_and_not_of_the_place(data: Path, tmp_path: Path) -> None:
    here = prepare(card(), data, 32)
    elsewhere = tmp_path / "elsewhere" / "cvc"
    shutil.copytree(data / "CVC-ClinicDB", elsewhere / "CVC-ClinicDB")
    assert everything(prepare(card(), elsewhere.parent, 32)) == everything(here)
    for folder in ("Original", "Ground Truth"):
        (elsewhere / "CVC-ClinicDB" / folder / "frame11.tif").rename(
            elsewhere / "CVC-ClinicDB" / folder / "frame12.tif"
        )
    renamed = prepare(card(), elsewhere.parent, 32)
    assert renamed.ids == (*IDS[:-1], "frame12")
    assert renamed.fingerprint != here.fingerprint


def test_swapped_names_change_the_fingerprint(data: Path) -> None:
    before = prepare(card(), data, 32)
    for folder in (data / "CVC-ClinicDB" / "Original", data / "CVC-ClinicDB" / "Ground Truth"):
        (folder / "frame1.tif").rename(folder / "swap.tif")
        (folder / "frame2.tif").rename(folder / "frame1.tif")
        (folder / "swap.tif").rename(folder / "frame2.tif")
    after = prepare(card(), data, 32)
    assert after.fingerprint != before.fingerprint
    assert np.array_equal(after.arrays(("frame1",))[0], before.arrays(("frame2",))[0])


def test_renamed_links_to_the_same_files_are_other_cases(data: Path, tmp_path: Path) -> None:
    """Data sets under git-annex are links to files named by their content."""
    linked = tmp_path / "linked"
    for folder in ("Original", "Ground Truth"):
        (linked / folder).mkdir(parents=True)
        for name in IDS:
            (linked / folder / f"{name}.tif").symlink_to(data / "CVC-ClinicDB" / folder / f"{name}.tif")
    before = prepare(card(), linked, 32)
    for folder in ("Original", "Ground Truth"):
        (linked / folder / "frame11.tif").rename(linked / folder / "frame12.tif")
    after = prepare(card(), linked, 32)
    assert after.ids == (*IDS[:-1], "frame12")
    assert after.fingerprint != before.fingerprint


def test_another_mask_threshold_is_other_data(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", "kvasir", ["a", "b"])
    grey = np.linspace(0, 255, 36 * 40).reshape(36, 40).astype(np.uint8)
    Image.fromarray(grey).save(data / "Kvasir-SEG" / "masks" / "a.png")
    (data / "Kvasir-SEG" / "masks" / "a.jpg").unlink()
    usual = prepare(card(2, "kvasir"), data, 16)
    lower = prepare(card(2, "kvasir", mask_threshold=50), data, 16)
    assert usual.fingerprint != lower.fingerprint
    assert np.array_equal(next(lower.truths(("a",))), grey > 50)
    assert np.array_equal(next(usual.truths(("a",))), grey > 127)


def test_nothing_is_written_beside_the_data(data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    prepare(card(), data, 32)
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_data_root_is_read(data: Path) -> None:
    folders = [path for path in (data, *data.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert prepare(card(), data, 32).ids == tuple(IDS)
    finally:
        for folder in folders:
            folder.chmod(0o755)


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("published", [5, 7])
def test_another_number_of_cases_needs_to_be_allowed(data: Path, cache: Path, published: int) -> None:
    with pytest.raises(UserError, match=f"expected the {published} cases .* found 6; --allow-partial"):
        prepare(card(published), data, 32)
    assert not list(cache.rglob("*.h5"))
    assert prepare(card(published), data, 32, allow_partial=True).ids == tuple(IDS)


def test_a_part_of_the_data_is_other_data(data: Path) -> None:
    whole = prepare(card(), data, 32)
    (data / "CVC-ClinicDB" / "Original" / "frame11.tif").unlink()
    part = prepare(card(), data, 32, allow_partial=True)
    assert part.ids == tuple(IDS[:-1])
    assert part.fingerprint != whole.fingerprint


def test_missing_masks_are_all_named_and_allowed_by_nothing(data: Path) -> None:
    for name in ("frame2", "frame10"):
        (data / "CVC-ClinicDB" / "Ground Truth" / f"{name}.tif").unlink()
    with pytest.raises(UserError) as caught:
        prepare(card(), data, 32, allow_partial=True)
    messages = str(caught.value).splitlines()
    assert len(messages) == 2
    for line, name in zip(messages, ("frame2", "frame10"), strict=True):
        assert line.startswith(str(data / "CVC-ClinicDB" / "Original" / f"{name}.tif"))


def test_no_data_root_names_the_option(cache: Path) -> None:
    with pytest.raises(UserError, match="--data-root"):
        prepare(card(), None, 32)


@pytest.mark.parametrize("kind", ["Original", "Ground Truth"])
@pytest.mark.parametrize("damage", ["truncated", "folder", "dangling link"])
def test_an_unreadable_file_is_named_and_leaves_no_cache(data: Path, cache: Path, kind: str, damage: str) -> None:
    path = data / "CVC-ClinicDB" / kind / "frame4.tif"
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[:40])
    elif damage == "folder":
        path.mkdir()
    else:
        path.symlink_to(data / "nowhere.tif")
    with pytest.raises(UserError, match="frame4") as caught:
        prepare(card(), data, 32)
    assert str(path) in str(caught.value)
    assert not list(cache.rglob("*.h5"))
    assert left_over(cache) == []


def test_masks_without_any_foreground_are_refused(tmp_path: Path, cache: Path) -> None:
    data = write_dataset(tmp_path / "data", "cvc", ["1", "2"])
    for name in "12":
        Image.new("L", (40, 36)).save(data / "CVC-ClinicDB" / "Ground Truth" / f"{name}.tif")
    for case in list_cases(card(2), data):
        assert case.mask is not None
        Image.new("L", Image.open(case.image).size).save(case.mask)
    with pytest.raises(UserError, match="every mask is empty"):
        prepare(card(2), data, 32)
    assert not list(cache.rglob("*.h5"))
    assert left_over(cache) == []


# -------------------------------------------------------------------------------------- interruptions and damage


def test_an_interrupted_building_leaves_nothing_and_the_next_one_is_whole(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        prepare(card(), data, 32, advance=StopAt(3))
    except KeyboardInterrupt:
        pass
    else:
        pytest.fail("was not interrupted")
    assert not list(cache.rglob("*.h5"))
    assert left_over(cache) == []
    after = everything(prepare(card(), data, 32))
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "another"))
    assert after == everything(prepare(card(), data, 32))


def test_a_failed_preparing_lets_go_of_the_cache_at_once(data: Path) -> None:
    """Also while somebody still holds its exception, whose traceback holds every local of `prepare`."""
    with pytest.raises(KeyboardInterrupt) as caught:
        prepare(card(), data, 32, advance=StopAt(3))
    assert prepare(card(), data, 32).ids == tuple(IDS)
    assert caught.value is not None


def test_an_interrupted_rebuilding_keeps_the_old_cache(data: Path, tmp_path: Path) -> None:
    before = prepare(card(), data, 32)
    kept = everything(before)
    path = data / "CVC-ClinicDB" / "Original" / "frame2.tif"
    old = path.read_bytes(), path.stat()
    Image.fromarray(draw_case(77, SIZES[1])[0]).save(path)
    with pytest.raises(KeyboardInterrupt):
        prepare(card(), data, 32, advance=StopAt(3))
    path.write_bytes(old[0])
    os.utime(path, ns=(old[1].st_atime_ns, old[1].st_mtime_ns))
    assert everything(before) == kept


PARTS = ["truth_bits", "shape", "truth_end", "id", "content", "masked"]


def place_of(path: Path, part: str, dataset: Dataset) -> int:
    """Where the second case's value (or, in one chunk, the first bytes) of a part lies in the file."""
    if part in {"id", "content"}:
        value = dataset.contents[1] if part == "content" else dataset.ids[4]
        return path.read_bytes().rindex(value.encode())
    with h5py.File(path) as file:
        stored = file[part]
        if stored.chunks:
            return int(stored.id.get_chunk_info(min(1, stored.id.get_num_chunks() - 1)).byte_offset) + 5
        return int(stored.id.get_offset()) + stored.dtype.itemsize


@pytest.mark.parametrize("part", PARTS)
def test_a_cache_with_a_flipped_bit_is_built_anew(data: Path, part: str) -> None:
    dataset = prepare(card(), data, 32)
    expected = everything(dataset)
    content = bytearray(dataset.path.read_bytes())
    content[place_of(dataset.path, part, dataset)] ^= 1
    dataset.path.write_bytes(content)
    again = prepare(card(), data, 32)
    assert everything(again) == expected
    assert bytes(content) != again.path.read_bytes()


FILES = ["h5", "image", "mask"]


@pytest.mark.parametrize("kind", FILES)
def test_no_single_byte_of_the_cache_can_change_what_is_read(data: Path, kind: str) -> None:
    dataset = prepare(card(), data, 16)
    expected = everything(dataset)
    path = dataset.path.with_suffix(f".{kind}")
    sound = path.read_bytes()
    for place in np.linspace(0, len(sound) - 1, 80 if kind == "h5" else 20).astype(int):
        damaged = bytearray(sound)
        damaged[place] ^= 255
        path.write_bytes(damaged)
        assert everything(prepare(card(), data, 16)) == expected, f"byte {place} of {len(sound)}"


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("length", [0, 100, 0.5, -1])
def test_a_truncated_cache_is_built_anew(data: Path, length: float, kind: str) -> None:
    dataset = prepare(card(), data, 32)
    expected = everything(dataset)
    path = dataset.path.with_suffix(f".{kind}")
    content = path.read_bytes()
    end = int(length * len(content)) if 0 < length < 1 else int(length)
    path.write_bytes(content[:end])
    assert everything(prepare(card(), data, 32)) == expected


def test_files_that_were_found_whole_are_read_again_only_if_touched(
    data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = prepare(card(), data, 32)
    (stamp,) = cache.rglob("*.checked")
    digested: list[str] = []
    digest = hashlib.file_digest

    def noting(file: BinaryIO, name: str) -> object:
        digested.append(Path(file.name).suffix)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", noting)
    prepare(card(), data, 32)
    assert digested == [".image", ".mask", ".h5"]  # as young as their check
    later = time.time() + 5
    os.utime(stamp, (later, later))
    digested.clear()
    prepare(card(), data, 32)
    assert digested == []
    os.utime(dataset.path.with_suffix(".mask"))
    prepare(card(), data, 32)
    assert digested == [".image", ".mask", ".h5"]


def test_a_cache_file_that_shrinks_while_it_is_read_is_named(data: Path) -> None:
    images, _ = prepare(card(), data, 32).open_rows()
    assert len(images) == len(IDS)
    os.truncate(images.path, 4 * 3 * 32 * 32 + 7)
    assert images.read([3]).any()
    with pytest.raises(UserError, match=r"32\.image: ends before row 4"):
        images.read([0, 4])
    os.close(images._file.fileno())
    with pytest.raises(UserError, match=r"32\.image: cannot be read: Bad file descriptor"):
        images.read([0])
    images._file = images.path.open("rb", buffering=0)


def test_a_removed_cache_file_is_built_anew(data: Path) -> None:
    dataset = prepare(card(), data, 32)
    expected = everything(dataset)
    for kind in ("h5", "image", "mask", "sha256"):
        dataset.path.with_suffix(f".{kind}").unlink()
        assert everything(prepare(card(), data, 32)) == expected


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"fingerprint": 3}'])
def test_a_damaged_index_is_built_anew(data: Path, cache: Path, text: str) -> None:
    expected = everything(prepare(card(), data, 32))
    (index,) = cache.rglob("cvc-*.json")
    index.write_text(text)
    assert everything(prepare(card(), data, 32)) == expected
    assert json.loads(index.read_text())["fingerprint"] == expected[0]


def test_a_cache_folder_that_is_a_file_is_one_clear_line(data: Path, cache: Path) -> None:
    cache.write_text("no folder")
    with pytest.raises(UserError, match="SSL_BENCH_CACHE") as caught:
        prepare(card(), data, 32)
    assert str(cache) in str(caught.value)


# --------------------------------------------------------------------------------------------------- other processes

PREPARE = """
import resource, signal, sys, time
from pathlib import Path
from ssl_bench.data.cache import prepare
from ssl_bench.errors import UserError
from ssl_bench.cards import load_benchmark

cases, root, pause, limit = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
if limit:  # no file may grow beyond it, as on a full disk
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
benchmark = load_benchmark("cvc").model_copy(update={"cases": cases})
decoded = []

def advance(done, total):
    decoded.append(done)
    print("decoded", done, flush=True)
    time.sleep(pause)

print("ready", flush=True)
sys.stdin.readline()
try:
    print("prepared", prepare(benchmark, root, 32, advance=advance).fingerprint, len(decoded), flush=True)
except UserError as error:
    print("error", str(error).splitlines()[0], flush=True)
"""


def start(cases: int, root: Path, pause: float = 0.0, limit: int = 0) -> subprocess.Popen[str]:
    """A process that prepares a data set as soon as it reads a line."""
    command = [sys.executable, "-c", PREPARE, str(cases), str(root), str(pause), str(limit)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def lines(process: subprocess.Popen[str]) -> Iterator[list[str]]:
    assert process.stdout is not None
    return (line.split(maxsplit=1) for line in process.stdout)


def test_two_processes_at_once_decode_once_and_end_with_the_same(data: Path, cache: Path) -> None:
    processes = [start(6, data, pause=0.05) for _ in range(2)]
    for process in processes:
        go(process)
    last = [list(lines(process))[-1] for process in processes]
    assert [process.wait(30) for process in processes] == [0, 0]
    fingerprints, decoded = zip(*(words[1].split() for words in last), strict=True)
    assert fingerprints[0] == fingerprints[1] == prepare(card(), data, 32).fingerprint
    assert sorted(map(int, decoded)) == [0, 6]
    assert left_over(cache) == []


def test_a_killed_building_blocks_nobody_and_its_remains_are_cleared(data: Path, cache: Path) -> None:
    process = start(6, data, pause=10)
    go(process)
    assert next(lines(process)) == ["decoded", "1\n"]
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    assert not list(cache.rglob("*.h5"))
    dataset = prepare(card(), data, 32)
    images, _ = dataset.arrays(("frame2",))
    assert np.array_equal(images[0].transpose(1, 2, 0), draw_case(1, SIZES[1])[0])
    assert left_over(cache) == []  # gigabytes, for a real data set


def test_only_old_remains_are_cleared(data: Path, cache: Path) -> None:
    """A young one may be another data set, which another process writes at the moment."""
    folder = cache / f"v{cache_module.LAYOUT}" / "0123456789abcdef"
    folder.mkdir(parents=True)
    young, old = folder / ".32.h5.1.partial", folder / ".64.h5.2.partial"
    for path, age in ((young, 600), (old, 7200)):
        path.write_bytes(b"a part")
        os.utime(path, (time.time() - age,) * 2)
    prepare(card(), data, 32)
    assert (young.exists(), old.exists()) == (True, False)


@pytest.mark.parametrize("limit", [10_000, 70_000])
def test_a_full_disk_is_one_clear_line_and_no_crash(tmp_path: Path, cache: Path, limit: int) -> None:
    data = write_dataset(tmp_path / "data", "cvc", [str(number) for number in range(1, 26)])
    process = start(25, data, limit=limit)  # 25 images of 32x32 pixels are 76800 bytes
    go(process)
    last = list(lines(process))[-1]
    assert process.wait(60) == 0
    assert last[0] == "error"
    assert "SSL_BENCH_CACHE" in last[1]
    assert not list(cache.rglob("*.h5"))
    assert left_over(cache) == []
    assert len(prepare(card(25), data, 32).ids) == 25
