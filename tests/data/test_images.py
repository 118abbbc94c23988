"""Reading the published layouts: which cases are found, and what their files decode to."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_case, write_dataset
from PIL import Image

from ssl_bench.cards import Benchmark, Files, load_benchmark
from ssl_bench.data import pictures
from ssl_bench.data.images import CaseFiles, list_cases, pair
from ssl_bench.data.pictures import read_image
from ssl_bench.errors import UserError

HERE = Path("folder/case.img")
FOLDERS = {  # as the data sets' own archives unpack
    "isic": ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth", "_segmentation"),
    "kvasir": ("images", "masks", ""),
    "cvc": ("Original", "Ground Truth", ""),
}
ROOTS = {
    "isic": ("isic", "ISIC2018", "."),
    "kvasir": ("kvasir/Kvasir-SEG", "Kvasir-SEG", "kvasir", "."),
    "cvc": ("cvc/CVC-ClinicDB", "CVC-ClinicDB", "cvc/PNG", "cvc", "PNG", "."),
}


def put(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def read_mask(path: Path, content: bytes, threshold: int) -> np.ndarray:
    """By a threshold."""
    return pictures.read_mask(
        path, content, Files(roots=(".",), images="{id}", masks="{id}", mask_threshold=threshold)
    )[0]


def put_case(root: Path, layout: str, name: str, image_suffix: str = ".png", mask_suffix: str = ".png") -> CaseFiles:
    images, masks, ending = FOLDERS[layout]
    image, mask = draw_case(0, (20, 16))
    return CaseFiles(
        name,
        put(root / images / f"{name}{image_suffix}", image),
        put(root / masks / f"{name}{ending}{mask_suffix}", mask),
    )


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def png_of_16_bits(colour_type: int, channels: int) -> bytes:
    """A 6x4 PNG with 16 bits a channel, byte by byte as the PNG specification says."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    values = np.arange(4 * 6 * channels).reshape(4, -1).astype(">u2") * 900
    header = struct.pack(">IIBBBBB", 6, 4, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def card(tmp_path: Path, **files: object) -> Benchmark:
    """Kvasir's card with another layout."""
    benchmark = load_benchmark("kvasir")
    layout = {"roots": (".",), "images": "images/{id}", "masks": "masks/{id}"} | files
    return benchmark.model_copy(update={"files": Files.model_validate(layout)})


# ------------------------------------------------------------------------------------------------------ finding cases


@pytest.mark.parametrize(("layout", "root"), [(layout, root) for layout, roots in ROOTS.items() for root in roots])
def test_a_published_layout_is_found_wherever_people_unpack_it(tmp_path: Path, layout: str, root: str) -> None:
    expected = [put_case(tmp_path / root, layout, name) for name in ("1", "2")]
    assert list_cases(load_benchmark(layout), tmp_path) == expected


@pytest.mark.parametrize(
    ("image_suffix", "mask_suffix"), [(".tif", ".tif"), (".png", ".png"), (".jpg", ".jpg"), (".PNG", ".tiff")]
)
def test_cvc_is_read_in_each_format_that_it_is_passed_around_in(
    tmp_path: Path, image_suffix: str, mask_suffix: str
) -> None:
    case = put_case(tmp_path, "cvc", "17", image_suffix, mask_suffix)
    assert list_cases(load_benchmark("cvc"), tmp_path) == [case]
    assert case.mask is not None
    files = load_benchmark("cvc").files
    assert files is not None
    pixels = pair(case, [case.image.read_bytes()], [case.mask.read_bytes()], files)
    image, mask = draw_case(0, (20, 16))
    assert pixels.image.shape == image.shape
    if image_suffix != ".jpg":
        assert np.array_equal(pixels.image, image)
        assert np.array_equal(pixels.mask, mask > 0)


def test_the_first_root_with_images_is_used(tmp_path: Path) -> None:
    (tmp_path / "kvasir" / "Kvasir-SEG" / "images").mkdir(parents=True)
    case = put_case(tmp_path / "Kvasir-SEG", "kvasir", "later")
    put_case(tmp_path, "kvasir", "last")
    assert list_cases(load_benchmark("kvasir"), tmp_path) == [case]


def test_ids_are_ordered_by_their_numbers(tmp_path: Path) -> None:
    ordered = ["1", "2", "9", "10", "99", "100", "612"]
    write_dataset(tmp_path, "cvc", sorted(ordered))
    assert [case.id for case in list_cases(load_benchmark("cvc"), tmp_path)] == ordered


def test_the_order_is_that_of_numbers_within_words_too(tmp_path: Path) -> None:
    ordered = ["a2_1", "a2_10", "a10_2", "b1"]
    write_dataset(tmp_path, "kvasir", ordered[::-1])
    assert [case.id for case in list_cases(load_benchmark("kvasir"), tmp_path)] == ordered


def test_a_superscript_digit_in_a_name_is_no_number(tmp_path: Path) -> None:
    write_dataset(tmp_path, "kvasir", ["area5²", "area5"])
    assert {case.id for case in list_cases(load_benchmark("kvasir"), tmp_path)} == {"area5²", "area5"}


def test_a_missing_mask_is_none_and_only_its_own(tmp_path: Path) -> None:
    write_dataset(tmp_path, "isic", ["ISIC_1", "ISIC_2", "ISIC_3"])
    (tmp_path / FOLDERS["isic"][1] / "ISIC_2_segmentation.png").unlink()
    assert [case.mask is None for case in list_cases(load_benchmark("isic"), tmp_path)] == [False, True, False]


def test_masks_pair_with_images_by_their_whole_name(tmp_path: Path) -> None:
    for name in ("case1", "case11"):
        put(tmp_path / "images" / f"{name}.png", draw_case(0, (8, 8))[0])
    put(tmp_path / "masks" / "case11.png", draw_case(0, (8, 8))[1])
    put(tmp_path / "masks" / "case2.png", draw_case(0, (8, 8))[1])  # of no image
    masks = {case.id: case.mask for case in list_cases(card(tmp_path), tmp_path)}
    assert masks == {"case1": None, "case11": tmp_path / "masks" / "case11.png"}


def test_without_a_mask_folder_every_mask_is_missing(tmp_path: Path) -> None:
    put(tmp_path / "images" / "1.png", draw_case(0, (8, 8))[0])
    assert [case.mask for case in list_cases(load_benchmark("kvasir"), tmp_path)] == [None]


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_two_files_of_one_id_are_refused_and_both_named(tmp_path: Path, kind: str) -> None:
    put_case(tmp_path, "kvasir", "twice")
    twin = put(tmp_path / kind / "twice.jpg", draw_case(1, (20, 16))[0])
    with pytest.raises(UserError, match="twice") as caught:
        list_cases(load_benchmark("kvasir"), tmp_path)
    assert str(twin) in str(caught.value)
    assert str(twin.with_suffix(".png")) in str(caught.value)


def test_hidden_files_and_other_kinds_of_file_are_passed_over(tmp_path: Path) -> None:
    case = put_case(tmp_path, "kvasir", "1")
    for folder in ("images", "masks"):
        for name in ("._1.png", ".DS_Store", "Thumbs.db", "LICENSE.txt", "ATTRIBUTION.txt"):
            (tmp_path / folder / name).write_bytes(b"Mac OS X")
    assert list_cases(load_benchmark("kvasir"), tmp_path) == [case]


def test_no_data_root_is_one_line_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--data-root") as caught:
        list_cases(load_benchmark("kvasir"), tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)


@pytest.mark.parametrize("layout", ROOTS)
def test_a_folder_without_images_says_where_they_were_looked_for(tmp_path: Path, layout: str) -> None:
    images, masks, _ = FOLDERS[layout]
    (tmp_path / images).mkdir()
    put(tmp_path / masks / "1.png", draw_case(0, (8, 8))[1])
    (tmp_path / images / "notes.txt").write_text("no image")
    with pytest.raises(UserError) as caught:
        list_cases(load_benchmark(layout), tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for root in ROOTS[layout]:
        assert str(tmp_path / root / images) in message


@pytest.mark.real
@pytest.mark.parametrize(("name", "count"), [("isic", 2594), ("kvasir", 1000), ("cvc", 612)])
def test_the_real_data_sets_are_found_whole(real_data: Path, name: str, count: int) -> None:
    cases = list_cases(load_benchmark(name), real_data)
    assert len(cases) == load_benchmark(name).cases == count
    assert len({case.id for case in cases}) == count
    assert all(case.mask is not None and case.id in case.mask.stem for case in cases)


@pytest.mark.real
def test_the_real_frames_of_cvc_are_in_the_order_of_the_videos(real_data: Path) -> None:
    assert [case.id for case in list_cases(load_benchmark("cvc"), real_data)] == [str(n) for n in range(1, 613)]


@pytest.mark.real
@pytest.mark.parametrize("name", ["isic", "kvasir", "cvc"])
def test_a_few_real_cases_decode_to_images_with_something_to_segment(real_data: Path, name: str) -> None:
    files = load_benchmark(name).files
    assert files is not None
    for case in list_cases(load_benchmark(name), real_data)[::200]:
        assert case.mask is not None
        pixels = pair(case, [case.image.read_bytes()], [case.mask.read_bytes()], files)
        assert pixels.image.std() > 5
        assert 0 < pixels.mask.mean() < 1


# ----------------------------------------------------------------------------------------------------------- images


def test_colour_images_decode_to_their_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 11, 3)).astype(np.uint8)
    for kind in ("PNG", "TIFF", "BMP"):
        decoded = read_image(HERE, encoded(Image.fromarray(pixels), kind))
        assert decoded.dtype == np.uint8
        assert np.array_equal(decoded, pixels)


def test_a_jpeg_decodes_to_what_was_encoded() -> None:
    y, x = np.mgrid[:40, :60]
    smooth = np.stack([4 * x, 6 * y, 255 - 2 * x - 3 * y], axis=-1).astype(np.uint8)
    decoded = read_image(HERE, encoded(Image.fromarray(smooth), "JPEG", quality=95, subsampling=0))
    assert decoded.shape == (40, 60, 3)
    assert np.abs(decoded.astype(int) - smooth).max() <= 6


def test_grey_images_have_three_equal_channels() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (7, 11)).astype(np.uint8)
    expected = np.stack([grey] * 3, axis=-1)
    assert np.array_equal(read_image(HERE, encoded(Image.fromarray(grey))), expected)
    with_alpha = Image.merge("LA", (Image.fromarray(grey), Image.new("L", (11, 7), 255)))
    assert np.array_equal(read_image(HERE, encoded(with_alpha)), expected)


def test_black_and_white_images_are_0_and_255() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (7, 11)).astype(bool)
    assert np.array_equal(read_image(HERE, encoded(Image.fromarray(bits)))[..., 1], 255 * bits)


def test_an_alpha_channel_is_dropped() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 11, 4)).astype(np.uint8)
    assert np.array_equal(read_image(HERE, encoded(Image.fromarray(pixels))), pixels[..., :3])


def test_palette_images_take_their_palettes_colours() -> None:
    colours = np.array([[10, 20, 30], [200, 0, 7], [255, 255, 255]], np.uint8)
    numbers = np.random.default_rng(0).integers(0, 3, (7, 11)).astype(np.uint8)
    image = Image.fromarray(numbers).convert("L")
    image.putpalette(colours.tobytes())
    assert image.mode == "P"
    assert np.array_equal(read_image(HERE, encoded(image)), colours[numbers])


@pytest.mark.parametrize("channels", ["grey", "grey and alpha", "colour", "colour and alpha"])
def test_images_and_masks_of_16_bits_a_channel_are_refused(channels: str) -> None:
    colour_type, count = {"grey": (0, 1), "grey and alpha": (4, 2), "colour": (2, 3), "colour and alpha": (6, 4)}[
        channels
    ]
    content = png_of_16_bits(colour_type, count)
    assert Image.open(io.BytesIO(content)).size == (6, 4)  # a sound PNG
    with pytest.raises(UserError, match="8 bits"):
        read_image(HERE, content)
    with pytest.raises(UserError, match="8 bits"):
        read_mask(HERE, content, 127)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_images_of_32_bits_are_refused(mode: str) -> None:
    with pytest.raises(UserError, match=f"{HERE}.*8 bits"):
        read_image(HERE, encoded(Image.new(mode, (4, 4)), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_a_truncated_file_is_refused_by_name_wherever_it_ends(kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    content = encoded(Image.fromarray(pixels), kind)
    end_marker = 16 if kind in {"JPEG", "PNG"} else 0  # without it every pixel is still there
    for length in np.linspace(0, len(content) - end_marker - 40, 40).astype(int):
        with pytest.raises(UserError, match=str(HERE)):
            read_image(HERE, content[:length])


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"<html>404 Not Found</html>"])
def test_what_is_no_image_is_refused_by_name(content: bytes) -> None:
    for read in (lambda: read_image(HERE, content), lambda: read_mask(HERE, content, 127)):
        with pytest.raises(UserError, match=f"{HERE}: not a readable image"):
            read()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_damaged_bytes_never_give_another_error_than_the_users(kind: str) -> None:
    rng = np.random.default_rng(0)
    content = encoded(Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)), kind)
    messages = []
    for _ in range(200):
        damaged = bytearray(content)
        for place in rng.integers(0, min(400, len(content)), 3):
            damaged[place] = rng.integers(0, 256)
        try:
            assert read_image(HERE, bytes(damaged)).dtype == np.uint8
        except UserError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all(message.startswith(f"{HERE}: ") for message in messages)


# ------------------------------------------------------------------------------------------------------------ masks


@pytest.mark.parametrize("threshold", [0, 127, 200, 254])
def test_a_mask_is_what_lies_above_the_threshold(threshold: int) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mask = read_mask(HERE, encoded(Image.fromarray(ramp)), threshold)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, ramp > threshold)


def test_a_jpeg_mask_is_freed_of_its_artefacts() -> None:
    _, disc = draw_case(5, (90, 80))
    content = encoded(Image.fromarray(disc), "JPEG", quality=60)
    grey = np.asarray(Image.open(io.BytesIO(content)))
    assert ((grey > 5) & (grey < 250)).any()  # there are artefacts
    mask = read_mask(HERE, content, 127)
    assert np.count_nonzero(mask != (disc > 0)) < 0.005 * disc.size


def test_masks_decode_alike_from_every_colour_model() -> None:
    _, disc = draw_case(2, (30, 24))
    truth = Image.fromarray(disc)
    palette = Image.fromarray((disc > 0).astype(np.uint8))
    palette.putpalette([0, 0, 0, 255, 255, 255])
    opaque = Image.new("L", truth.size, 255)
    models = {
        "1": truth.convert("1"), "L": truth, "P": palette, "RGB": truth.convert("RGB"),
        "LA": Image.merge("LA", (truth, opaque)), "RGBA": Image.merge("RGBA", (truth, truth, truth, opaque)),
    }  # fmt: skip
    for mode, image in models.items():
        assert image.mode == mode
        assert np.array_equal(read_mask(HERE, encoded(image), 127), disc > 0), mode


@pytest.mark.parametrize("threshold", [1, 127, 254])
def test_a_mask_of_0_and_1_is_refused_rather_than_read_as_empty(threshold: int) -> None:
    _, disc = draw_case(2, (30, 24))
    content = encoded(Image.fromarray((disc > 0).astype(np.uint8)))
    with pytest.raises(UserError, match=f"{HERE}.*mask_threshold = {threshold}, found 0 and 1"):
        read_mask(HERE, content, threshold)


def test_a_mask_of_0_and_1_is_read_under_a_threshold_of_0() -> None:
    _, disc = draw_case(2, (30, 24))
    content = encoded(Image.fromarray((disc > 0).astype(np.uint8)))
    assert np.array_equal(read_mask(HERE, content, 0), disc > 0)


def test_an_empty_mask_is_empty_and_no_error() -> None:
    assert not read_mask(HERE, encoded(Image.new("L", (5, 4))), 127).any()


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path: Path) -> None:
    case = put_case(tmp_path, "kvasir", "1")
    assert case.mask is not None
    put(case.mask, draw_case(0, (16, 20))[1])
    files = load_benchmark("kvasir").files
    assert files is not None
    with pytest.raises(UserError, match=r"20x16.*16x20") as caught:
        pair(case, [case.image.read_bytes()], [case.mask.read_bytes()], files)
    assert str(case.mask) in str(caught.value)


def test_a_file_of_no_known_format_is_refused_without_the_librarys_words(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture at all")
    with pytest.raises(UserError) as caught:
        read_image(tmp_path / "a.png", b"no picture at all", 3, "refuse")
    assert str(caught.value) == f"{tmp_path / 'a.png'}: not a readable image: the content has no format that is read"
