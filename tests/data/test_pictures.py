"""What makes a 2D file ambiguous: palettes, colours, orientation, transparency, pages, levels on one side."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Call
from PIL import Image, ImageCms

from ssl_bench.cards import Benchmark, Files
from ssl_bench.data import pictures
from ssl_bench.data.cache import prepare
from ssl_bench.data.check import check
from ssl_bench.data.describe.card import describe
from ssl_bench.data.pictures import Palettes, palette_colors, read_image
from ssl_bench.errors import UserError
from ssl_bench.store import Store

HERE = Path("folder/case.png")
DISC = np.add.outer((np.arange(20) - 8) ** 2, (np.arange(30) - 12) ** 2) < 40  # (H, W)
TURNS = {  # EXIF orientation: what a viewer makes of the stored pixels
    2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1], 5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1], 7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}  # fmt: skip


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def files(**fields: Any) -> Files:
    return Files.model_validate({"roots": ["."], "images": "images/{id}", "masks": "masks/{id}", **fields})


def read_mask(path: Path, content: bytes, files: Files) -> np.ndarray:
    """The class numbers alone."""
    return pictures.read_mask(path, content, files)[0]


def palette(indices: np.ndarray, *colors: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), mode="P")
    image.putpalette([channel for color in colors for channel in color])
    return image


def painted(*colors: tuple[int, int, int]) -> Image.Image:
    """A colour image: colour 0 outside the disc, colour 1 inside, colour 2 (if given) in its first columns."""
    numbers = DISC.astype(int)
    if len(colors) > 2:
        numbers[:, :12] *= 2
    return Image.fromarray(np.array(colors, np.uint8)[numbers])


NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
BLACK, WHITE, RED, GREEN = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 130, 0)


def folder_of(root: Path, masks: dict[str, bytes], suffix: str = ".png") -> Path:
    for number, (name, content) in enumerate(masks.items()):
        for part in ("images", "masks"):
            (root / part).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 255, (*DISC.shape, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / "images" / f"{name}.png")
        (root / "masks" / f"{name}{suffix}").write_bytes(content)
    return root


def card(classes: int = 2, cases: int = 4, **fields: Any) -> Benchmark:
    return Benchmark.model_validate(
        {
            "name": "mine", "title": "Mine", "classes": [f"c{i}" for i in range(classes)], "cases": cases,
            "files": files(**fields).model_dump(exclude_defaults=True), "splits": {"random": {"test": 1}},
            "labeled": ["1"], "metrics": ["dsc"], "source": "", "license": "", "citation": "",
        }
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- palettes


def test_a_white_lesion_is_the_lesion_whatever_its_index(tmp_path: Path) -> None:
    """A palette of [white, black] shows a white lesion of index 0."""
    masks = {f"p{i}": encoded(palette(~DISC, WHITE, BLACK)) for i in range(6)}
    root = folder_of(tmp_path / "data", masks)
    text = describe(root)
    assert "mask_values" not in text
    (tmp_path / "card.toml").write_text(text)
    content = (root / "masks/p0.png").read_bytes()
    assert np.array_equal(read_mask(HERE, content, files()), DISC)
    assert palette_colors(Image.open(io.BytesIO(content))) == {0: "#ffffff", 1: "#000000"}


def test_an_index_counts_only_where_every_palette_gives_it_one_colour(tmp_path: Path) -> None:
    alike = {f"p{i}": encoded(palette(DISC, BLACK, RED)) for i in range(3)}
    root = folder_of(tmp_path, {**alike, "p3": encoded(palette(~DISC, RED, BLACK))})
    by_index = card(mask_values=[0, 1])
    with pytest.raises(UserError) as raised:
        prepare(by_index, root, 8)
    message = str(raised.value)
    assert f"{root / 'masks/p3.png'}: palette index 0 is #ff0000, but #000000 in {root / 'masks/p0.png'}" in message
    assert [finding.kind for finding in check(by_index, root).findings if finding.level == "error"] == ["palette"]
    by_color = card(mask_colors=["#000000", "#ff0000"])
    _, read = prepare(by_color, root, 20).arrays(("p0", "p3"))
    assert np.array_equal(read[0], read[1])
    assert check(by_color, root).errors == 0
    assert 'mask_colors = ["#000000", "#ff0000"]' in describe(root)


def test_palettes_that_agree_are_read_by_index() -> None:
    colors = BLACK, RED, GREEN
    numbers = DISC.astype(int) * np.where(np.arange(30) < 12, 2, 1)
    content = encoded(palette(numbers, *colors))
    assert np.array_equal(read_mask(HERE, content, files(mask_values=[0, 1, 2])), numbers)
    both = Palettes()
    both.note(HERE, palette_colors(Image.open(io.BytesIO(content))))
    both.note(HERE, {2: "#008200"})
    with pytest.raises(UserError, match="index 2 is #008201, but #008200"):
        both.note(HERE, {2: "#008201"})


# ----------------------------------------------------------------------------------------------------------- colours


@pytest.mark.parametrize("reading", [{}, {"mask_values": [0, 76]}, {"mask_threshold": 20}])
def test_two_colours_of_one_grey_level_do_not_merge(reading: dict[str, Any]) -> None:
    content = encoded(painted(BLACK, RED, GREEN))
    assert np.asarray(Image.open(io.BytesIO(content)).convert("L")).max() == 76
    with pytest.raises(UserError, match=r"expected grey levels, found colours \(#000000, #ff0000, #008200\)"):
        read_mask(HERE, content, files(**reading))


@pytest.mark.parametrize("form", ["RGB", "RGBA", "P"])
def test_classes_are_read_by_colour(form: str) -> None:
    wanted = files(mask_colors=["#000000", "#FF0000", "#008200"])
    image = painted(BLACK, RED, GREEN)
    expected = DISC.astype(int) * np.where(np.arange(30) < 12, 2, 1)
    content = encoded(image.convert(form) if form != "P" else image.quantize(3))
    assert np.array_equal(read_mask(HERE, content, wanted), expected)


@pytest.mark.parametrize(("first", "second"), [(RED, GREEN), ((30, 0, 0), (0, 15, 1))])
def test_a_few_coloured_pixels_and_dark_colours_do_not_merge(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[:5, :5], pixels[9:14, 9:14] = first, second
    level = round(sum(np.multiply(first, (0.299, 0.587, 0.114))))
    for reading in ({"mask_threshold": 5}, {"mask_values": [0, level]}):
        with pytest.raises(UserError, match="expected grey levels, found colours"):
            read_mask(HERE, encoded(Image.fromarray(pixels)), files(**reading))


def test_jpeg_noise_is_no_colour() -> None:
    content = encoded(Image.fromarray(255 * np.repeat(DISC[..., None], 3, axis=2).astype(np.uint8)), "JPEG", quality=60)
    assert (read_mask(HERE, content, files()) == DISC).mean() > 0.95


def test_a_faint_jpeg_is_not_read_as_empty() -> None:
    content = encoded(Image.fromarray(10 * DISC.astype(np.uint8)), "JPEG", quality=100)
    with pytest.raises(UserError, match="both sides of mask_threshold"):
        read_mask(HERE, content, files())


def test_a_colour_of_no_class_is_named() -> None:
    with pytest.raises(UserError, match="expected mask colours #000000, #ff0000, found also #008200"):
        read_mask(HERE, encoded(painted(BLACK, RED, GREEN)), files(mask_colors=["#000000", "#ff0000"]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mask_colors": ["red", "#000000"]}, 'expected colours such as "#ff0000"'),
        ({"mask_colors": ["#000000", "#ff0000"], "mask_values": [0, 1]}, "exclude each other"),
        ({"mask_colors": ["#000000", "#000000"]}, "mask_colors must be 2 different values"),
    ],
)
def test_a_card_with_wrong_colours_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        card(**fields)


# ------------------------------------------------------------------------------------------- levels, alpha, and pages


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [(0, 1, "0 and 1"), (2, 127, "2 and 127"), (0, 100, "0 and 100"), (128, 255, "128 and 255")],
)
def test_levels_on_one_side_of_the_threshold_are_refused(low: int, high: int, found: str) -> None:
    content = encoded(Image.fromarray(np.where(DISC, high, low).astype(np.uint8)))
    with pytest.raises(UserError, match=f"both sides of mask_threshold = 127, found {found}; mask_values"):
        read_mask(HERE, content, files())
    assert np.array_equal(read_mask(HERE, content, files(mask_values=[low, high])), DISC)


def test_many_levels_on_one_side_are_refused_with_their_range() -> None:
    with pytest.raises(UserError, match="found levels from 2 to 127"):
        read_mask(HERE, encoded(Image.fromarray(np.arange(2, 128, dtype=np.uint8)[None])), files())


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_empty_and_full_masks_are_read_and_so_is_their_jpeg(level: int, kind: str) -> None:
    content = encoded(Image.new("RGB", (30, 20), (level,) * 3), kind)
    assert (read_mask(HERE, content, files()) == level // 255).all()


def test_a_drawing_in_the_alpha_channel_is_refused() -> None:
    pixels = np.zeros((*DISC.shape, 4), np.uint8)
    pixels[..., 3] = 255 * DISC
    with pytest.raises(UserError, match="expected an opaque mask, found one colour whose alpha channel is the drawing"):
        read_mask(HERE, encoded(Image.fromarray(pixels)), files())


@pytest.mark.parametrize(("kind", "pages"), [("TIFF", 3), ("GIF", 2)])
def test_several_pages_are_refused(kind: str, pages: int) -> None:
    images = [Image.fromarray(np.full(DISC.shape, 60 * i, np.uint8)) for i in range(pages)]
    content = encoded(images[0], kind, save_all=True, append_images=images[1:])
    for read in (lambda: read_image(HERE, content), lambda: read_mask(HERE, content, files())):
        with pytest.raises(UserError, match=f"expected one page, found {pages}"):
            read()


def test_a_gif_is_a_mask(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(255 * DISC.astype(np.uint8)), "GIF")
    root = folder_of(tmp_path, {f"p{i}": content for i in range(4)}, suffix=".gif")
    _, masks = prepare(card(), root, 20).arrays(("p0",))
    assert masks.any()
    assert "6 images" not in describe(root)


def test_a_mask_of_two_suffixes_is_chosen_by_the_card(tmp_path: Path) -> None:
    bmp = encoded(Image.fromarray(255 * DISC.astype(np.uint8)), "BMP")
    root = folder_of(tmp_path, {f"p{i}": bmp for i in range(4)}, suffix=".bmp")
    (root / "masks/p1.jpg").write_bytes(encoded(Image.fromarray(255 * DISC.astype(np.uint8)), "JPEG"))
    with pytest.raises(UserError, match=r"two masks have the id .p1.; .*mask_suffixes in the card"):
        prepare(card(), root, 8)
    assert check(card(mask_suffixes=[".bmp"]), root).errors == 0


# ------------------------------------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_an_exif_orientation_is_applied_as_viewers_do(turn: int, kind: str) -> None:
    exif = Image.Exif()
    exif[274] = turn
    stored = np.zeros((24, 40, 3), np.uint8)
    stored[:8, :16] = 255
    options: dict[str, Any] = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    content = encoded(Image.fromarray(stored), kind, exif=exif, **options)
    expected = TURNS[turn](stored)
    found = read_image(HERE, content, exif="apply")
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() < 30  # JPEG
    if kind == "TIFF":  # Pillow turns it by itself
        return
    assert np.array_equal(read_image(HERE, content, exif="ignore").shape, stored.shape)
    with pytest.raises(UserError, match=f"has EXIF orientation {turn}, so viewers show it turned"):
        read_image(HERE, content)


def turned_set(root: Path, turn: int) -> Path:
    """Images that are stored turned; masks drawn as a viewer shows them."""
    root = folder_of(root, {f"p{i}": encoded(Image.fromarray(255 * DISC.astype(np.uint8))) for i in range(4)})
    exif = Image.Exif()
    exif[274] = turn
    for i in range(2):
        image = Image.fromarray(np.repeat(100 * DISC.astype(np.uint8)[::-1, ::-1, None], 3, axis=2).copy())
        image.save(root / "images" / f"p{i}.png", exif=exif)
    return root


def test_a_data_set_says_how_orientation_is_read(tmp_path: Path) -> None:
    root = turned_set(tmp_path, 3)
    with pytest.raises(UserError, match=r"p0\.png: has EXIF orientation 3"):
        prepare(card(), root, 8)
    applied, ignored = (prepare(card(exif_orientation=way), root, 30) for way in ("apply", "ignore"))
    assert applied.fingerprint != ignored.fingerprint
    for way, fits in ((applied, True), (ignored, False)):
        images, masks = way.arrays(("p0",))
        shown, drawn = images[0, 0] > 50, masks[0] > 0
        assert ((shown & drawn).sum() > 0.9 * (shown | drawn).sum()) == fits
    (finding,) = [one for one in check(card(exif_orientation="apply"), root).findings if one.kind == "EXIF orientation"]
    assert finding.text == "2 images, such as p0.png; exif_orientation = apply on the card"
    assert check(card(), root).errors == 1


def test_predict_turns_or_refuses_and_reads_one_page(call: Call, tmp_path: Path) -> None:
    run = ["run", "--methods", "supervised", "--dataset", "demo", "--protocol", "tiny", "--device", "cpu"]
    assert call(*run)[0] == 0
    (finished,) = Store(tmp_path / "results").runs()
    exif = Image.Exif()
    exif[274] = 6
    pixels = np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(TURNS[6](pixels)).save(tmp_path / "upright.png")
    code, _, err = call("predict", finished.path, "turned.png", "--output", "masks")
    assert (code, err.count("\n")) == (2, 1)
    assert "turned.png: has EXIF orientation 6" in err
    words = ["--output", "masks", "--exif-orientation", "apply"]
    assert call("predict", finished.path, "turned.png", "upright.png", *words)[0] == 0
    turned, upright = (Image.open(tmp_path / "masks" / f"{name}.png") for name in ("turned", "upright"))
    assert turned.size == (24, 40)
    assert np.array_equal(np.asarray(turned), np.asarray(upright))
    record = finished.path / "run.json"
    data = json.loads(record.read_text())
    assert data["spec"]["layout"] is None  # drawn
    data["spec"]["layout"] = card(exif_orientation="apply").files.model_dump(mode="json")  # type: ignore[union-attr]
    record.write_text(json.dumps(data))
    assert call("predict", finished.path, "turned.png", "--output", "as_the_card_says")[0] == 0
    assert (tmp_path / "as_the_card_says/turned.png").read_bytes() == (tmp_path / "masks/turned.png").read_bytes()
    code, _, err = call("predict", finished.path, "turned.png", "--output", "no", "--exif-orientation", "refuse")
    assert (code, "turned.png: has EXIF orientation 6" in err) == (2, True)
    code, _, err = call("predict", finished.path, "upright.png", "--output", "new", "--exif-orientation", "x")
    assert (code, err) == (2, "error: --exif-orientation: expected one of refuse, apply, ignore; found 'x'\n")
    pages = [Image.fromarray(pixels)] * 2
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    code, _, err = call("predict", finished.path, "pages.tif", "--output", "new")
    assert (code, "expected one page, found 2" in err) == (2, True)


def test_cielab_is_read_as_the_rgb_that_pillow_makes_of_it(tmp_path: Path) -> None:
    plain = painted(BLACK, WHITE)
    profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
    content = encoded(ImageCms.profileToProfile(plain, *profiles, outputMode="LAB"), "TIFF")
    assert Image.open(io.BytesIO(content)).mode == "LAB"
    rgb = read_image(HERE, content)
    assert abs(rgb.astype(int) - np.asarray(plain)).max() <= 2
    assert np.array_equal(read_image(HERE, content, channels=1)[..., 0], np.asarray(Image.fromarray(rgb).convert("L")))
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for name in "abcde":
            (tmp_path / folder / f"{name}.tif").write_bytes(
                content if folder == "masks" else encoded(Image.fromarray(NOISE), "TIFF")
            )
    assert 'mask_colors = ["#010001", "#fefffe"]' in describe(tmp_path)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_data_init_keeps_the_white_of_grey_masks_beside_a_coloured_one(tmp_path: Path, mode: str) -> None:
    masks = {f"p{i}": encoded(Image.fromarray(DISC.astype(np.uint8) * 255).convert(mode)) for i in range(5)}
    root = folder_of(tmp_path / "data", masks | {"p5": encoded(painted(BLACK, RED))})
    assert 'mask_colors = ["#000000", "#ff0000", "#ffffff"]' in describe(root)
