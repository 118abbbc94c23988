"""2D arrays in HDF5 and NPZ files: read as the card says, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import Call
from PIL import Image

from ssl_bench.cards import Benchmark, load_benchmark, parse_card
from ssl_bench.data.check import check
from ssl_bench.data.describe.card import describe
from ssl_bench.data.sources import find_source
from ssl_bench.errors import UserError
from ssl_bench.labels import IGNORED
from ssl_bench.store import Store


def card(suffix: str = ".h5", **changes: Any) -> Benchmark:
    fields = {
        "roots": ["."], "images": "slices/{id}", "image_suffixes": [suffix], "intensity_range": [0, 1],
        "mask_values": [0, 1, 2, 3], **changes.pop("files", {}),
    }  # fmt: skip
    data = {
        "name": "mine", "title": "Mine", "classes": ["background", "rv", "myo", "lv"], "cases": 1, "channels": 1,
        "splits": {"random": {"test": 1}}, "labeled": ["50%"], "metrics": ["dsc"], "source": "s", "license": "l",
        "citation": "c", "files": {key: value for key, value in fields.items() if value is not None},
    } | changes  # fmt: skip
    return parse_card(Benchmark, data, "card")


def put(path: Path, **arrays: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array


def read(root: Path, benchmark: Benchmark) -> tuple[np.ndarray, np.ndarray]:
    ((case, _),) = find_source(benchmark, root, False).decoded()
    return case.image, case.mask


IMAGE = np.array([[0, 0.1, 0.25], [0.5, 0.998, 1]], np.float32)
LABEL = np.array([[0, 1, 2], [3, 3, 0]], np.uint8)
LEVELS = [[0, 26, 64], [128, 254, 255]]  # 255 times the values, by hand; halves to the even number: 127.5 is 128


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".npz"])
def test_image_and_label_of_one_file(tmp_path: Path, suffix: str) -> None:
    put(tmp_path / "slices" / f"a{suffix}", image=IMAGE, label=LABEL)
    image, mask = read(tmp_path, card(suffix))
    assert (image[..., 0].tolist(), mask.tolist()) == (LEVELS, LABEL.tolist())
    rgb, _ = read(tmp_path, card(suffix, channels=3))
    assert (rgb == image).all()
    assert rgb.shape == (2, 3, 3)


def test_labels_that_are_nearly_whole_and_axes_of_one(tmp_path: Path) -> None:
    put(tmp_path / "slices" / "a.h5", image=IMAGE[..., None], label=LABEL[..., None] * np.float32(0.99999994))
    image, mask = read(tmp_path, card())
    assert (image[..., 0].tolist(), mask.tolist()) == (LEVELS, LABEL.tolist())


def test_keys_ranges_and_masks_of_their_own(tmp_path: Path) -> None:
    put(tmp_path / "slices" / "a.npz", x=np.array([[-100, 0, 300]], np.int16))
    put(tmp_path / "masks" / "a.npz", y=np.array([[0, 255, 0]], np.uint8))
    fields = {
        "masks": "masks/{id}",
        "image_key": "x",
        "mask_key": "y",
        "intensity_range": [-100, 300],
        "mask_values": None,
    }
    benchmark = card(".npz", files=fields, classes=["background", "organ"])
    image, mask = read(tmp_path, benchmark)
    assert (image[..., 0].tolist(), mask.tolist()) == ([[0, 64, 255]], [[0, 1, 0]])  # 63.75
    wider = card(".npz", files={**fields, "intensity_range": [-100, 400]}, classes=["background", "organ"])
    first, second = (find_source(one, tmp_path, False) for one in (benchmark, wider))
    assert first.reading != second.reading
    assert read(tmp_path, wider)[0][..., 0].tolist() == [[0, 51, 204]]


def test_pictures_may_be_masks_of_arrays(tmp_path: Path) -> None:
    put(tmp_path / "slices" / "a.h5", image=np.array([[3, 200]], np.uint8))
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "masks" / "a.png")
    fields = {"masks": "masks/{id}", "mask_suffixes": [".png"], "intensity_range": None, "mask_values": None}
    image, mask = read(tmp_path, card(files=fields, classes=["background", "organ"]))
    assert (image[..., 0].tolist(), mask.tolist()) == ([[3, 200]], [[0, 1]])


@pytest.mark.parametrize(
    ("arrays", "changes", "message"),
    [
        ({"image": IMAGE + 0.01}, {}, r"a.h5: image: expected .*intensity_range = \[0, 1\], found 0.01 to 1.01"),
        ({"image": IMAGE}, {"files": {"intensity_range": None}}, r"image: expected 8 bits, found float32 from 0 to 1;"),
        ({"image": IMAGE * np.nan}, {}, r"a.h5: image: expected finite values"),
        ({"image": np.stack([IMAGE] * 4)}, {}, r"image: expected \(height, width\) or .*found \(4, 2, 3\); volumes"),
        ({"label": np.stack([LABEL] * 2)}, {}, r"a.h5: label: expected \(height, width\), found \(2, 2, 3\)"),
        ({"label": LABEL[:, :2]}, {}, r"a.h5: expected the size of its image, 3x2 pixels, found 2x2"),
        ({"label": LABEL + 1}, {}, r"a.h5: expected mask values 0, 1, 2, 3, found also 4"),
        ({"label": LABEL + 0.5}, {}, r"a.h5: expected mask values 0, 1, 2, 3, found also 0.5"),
        ({}, {"files": {"mask_key": "mask"}}, r"a.h5: expected the key 'mask', found image, label"),
        (
            {"label": LABEL.astype(np.int64)}, {"files": {"mask_values": None}, "classes": ["background", "organ"]},
            r"a.h5: label: expected mask_values on the card",
        ),
        (
            {"label": LABEL % 2}, {"files": {"mask_values": None}, "classes": ["background", "organ"]},
            r"a.h5: expected mask levels on both sides of mask_threshold = 127, found 0 and 1",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_card_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], changes: dict[str, Any], message: str
) -> None:
    put(tmp_path / "slices" / "a.h5", **{"image": IMAGE, "label": LABEL, **arrays})
    with pytest.raises(UserError, match=message):
        read(tmp_path, card(**changes))


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str) -> None:
    put(tmp_path / "slices" / f"a{suffix}", image=IMAGE, label=LABEL)
    path = tmp_path / "slices" / f"a{suffix}"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=rf"a{suffix}: not a readable array"):
        read(tmp_path, card(suffix))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"image_suffixes": [".png"]}, "masks must be given: only an HDF5 or NPZ file"),
        ({"masks_optional": True}, "masks_optional needs masks in files of their own"),
        ({"intensity_range": [1, 1]}, "intensity_range must be increasing"),
    ],
)
def test_a_card_that_cannot_be_meant_is_refused(files: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        card(files=files)


def test_real_slices_of_acdc(real_data: Path) -> None:
    """SSL4MIS's slices, without the volumes beside them, against plain arithmetic on a few."""
    root = real_data / "acdc" / "ACDC" / "data"
    if not root.is_dir():
        pytest.skip(f"no ACDC at {root}")
    names = sorted(path.stem for path in (root / "slices").glob("*.h5"))
    benchmark = card(cases=len(names), group="patient{group}_*")
    source = find_source(benchmark, root, False)
    assert len(source) == len(names)
    some = set(names[:: len(names) // 7])
    for case, _ in source.decoded():
        if case.id in some:
            with h5py.File(root / "slices" / f"{case.id}.h5") as file:
                image, label = file["image"][()].astype(float), file["label"][()]
            assert abs(case.image[..., 0] - 255 * image).max() <= 0.5 + 1e-9
            assert np.array_equal(case.mask, label)


def test_init_finds_slices(tmp_path: Path) -> None:
    for number in range(6):
        name = f"patient{number // 2:03d}_slice_{number % 2}"
        put(tmp_path / "data" / "slices" / f"{name}.h5", image=IMAGE / 2, label=np.roll(LABEL, number))
    text = describe(tmp_path)
    (tmp_path / "card.toml").write_text(text)
    benchmark = load_benchmark(str(tmp_path / "card.toml"))
    assert benchmark.files is not None
    assert (benchmark.files.intensity_range, benchmark.files.mask_values) == ((0, 1), (0, 1, 2, 3))
    assert (benchmark.channels, benchmark.group) == (1, "patient{group}_*")
    masks = [case.mask.tolist() for case, _ in find_source(benchmark, tmp_path, False).decoded()]
    assert masks == [np.roll(LABEL, number).tolist() for number in range(6)]


def test_init_of_npz_names_the_range_of_all_images(tmp_path: Path) -> None:
    for number in range(4):
        put(tmp_path / f"{number}.npz", image=IMAGE * 100 * number - 5, label=LABEL)
    text = describe(tmp_path)
    assert "intensity_range = [-5.0, 295.0]" in text
    (tmp_path / "card.toml").write_text(text)
    assert check(load_benchmark(str(tmp_path / "card.toml")), tmp_path).errors == 0


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sides", [(6, 5), (6, 5, 1)])  # of the label: no volume, though it has three axes
def test_init_finds_arrays_with_channels(tmp_path: Path, channels: int, suffix: str, sides: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    images = [rng.random((6, 5, channels)).astype(np.float32) for _ in range(4)]
    for number, image in enumerate(images):
        put(tmp_path / f"{number}{suffix}", image=image, label=(image[..., 0] > 0.5).astype(np.uint8).reshape(sides))
    (tmp_path / "card.toml").write_text(describe(tmp_path))
    benchmark = load_benchmark(str(tmp_path / "card.toml"))
    assert benchmark.channel_count == channels
    for (case, _), image in zip(find_source(benchmark, tmp_path, False).decoded(), images, strict=True):
        assert np.array_equal(case.image, np.rint(255 * image))


def test_init_takes_255_in_labels_for_pixels_without_a_known_class(tmp_path: Path) -> None:
    for number in range(4):
        put(tmp_path / f"{number}.npz", image=IMAGE, label=np.where(LABEL == 3, 255, LABEL))
    text = describe(tmp_path)
    assert "# 255 is taken for pixels without a known class: ignore = 255." in text
    (tmp_path / "card.toml").write_text(text)
    benchmark = load_benchmark(str(tmp_path / "card.toml"))
    assert benchmark.files is not None
    assert (benchmark.files.ignore, benchmark.files.mask_values) == (255, (0, 1, 2))
    for case, _ in find_source(benchmark, tmp_path, False).decoded():
        assert np.array_equal(case.mask == IGNORED, LABEL == 3)


def test_init_says_which_arrays_it_cannot_use(tmp_path: Path) -> None:
    for number in range(4):
        put(tmp_path / f"{number}.npz", image=np.zeros((3, 6, 5)), label=LABEL)
    wanted = r"0\.npz: expected an image \(height, width\) or .* found \(3, 6, 5\) and \(2, 3\)$"
    with pytest.raises(UserError, match=wanted):
        describe(tmp_path)


def test_arrays_train(tmp_path: Path, call: Call) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        label = np.zeros((24, 20), np.uint8)
        label[4:12, 3:9] = 1 + number % 3
        put(tmp_path / "data" / "slices" / f"p{number}.h5", image=rng.random((24, 20)).astype(np.float32), label=label)
    benchmark = card(cases=6)
    assert check(benchmark, tmp_path / "data").errors == 0
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\ntitle = "Mine"\nclasses = ["background", "rv", "myo", "lv"]\ncases = 6\nchannels = 1\n'
        'labeled = ["2"]\nmetrics = ["dsc"]\nsource = "s"\nlicense = "l"\ncitation = "c"\n[files]\nroots = ["."]\n'
        'images = "slices/{id}"\nimage_suffixes = [".h5"]\nintensity_range = [0, 1]\nmask_values = [0, 1, 2, 3]\n'
        "[splits.random]\ntest = 2\n"
    )
    words = ["--iterations", "2", "--device", "cpu", "--protocol", "tiny", "--data-root", "data"]
    code, _, err = call("run", "--methods", "mt", "--dataset", "mine.toml", *words)
    assert code == 0, err
    assert Store(Path("results")).runs()[0].status == "finished"
