"""Channels: grey images, a file for each channel, volumes with a fourth axis; from the card to a trained run."""

from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as oracle

from ssl_bench.cards import Benchmark, ImageProtocol, RunSpec, VolumeAugmentation, load_protocol, parse_card
from ssl_bench.data.augment import strong_view
from ssl_bench.data.augment3d import random_patches
from ssl_bench.data.batches import input_statistics
from ssl_bench.data.cache import prepare
from ssl_bench.data.check import check
from ssl_bench.data.dataset import Dataset
from ssl_bench.data.describe.card import describe
from ssl_bench.data.photometry import (
    adjust_brightness,
    adjust_contrast,
    autocontrast,
    equalize,
    gaussian_blur,
    posterize,
)
from ssl_bench.errors import UserError
from ssl_bench.store import Store

COUNT, SIZE = 6, (20, 16)  # cases; (W, H)
SIDES = (18, 16, 17)
COMMON = {
    "name": "mine", "title": "Mine", "classes": ["background", "disc"], "cases": COUNT, "metrics": ["dsc"],
    "labeled": ["2"], "protocol": "tiny", "source": "-", "license": "-", "citation": "-",
    "splits": {"random": {"test": 2, "seed": 0}},
}  # fmt: skip
PICTURES = {"roots": ["."], "images": "images/{id}", "masks": "masks/{id}"}
VOLUMES = {"roots": ["."], "images": "images/{id}.nii.gz", "masks": "masks/{id}.nii.gz", "intensity": "zscore"}


def picture_card(images: str = "images/{id}", **changes: Any) -> Benchmark:
    return parse_card(Benchmark, {**COMMON, "files": {**PICTURES, "images": images}, **changes}, "card")


def volume_card(images: str = "images/{id}.nii.gz", **changes: Any) -> Benchmark:
    return parse_card(
        Benchmark, {**COMMON, "dimensions": 3, "volumes": [{**VOLUMES, "images": images}], **changes}, "card"
    )


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def picture(case: int, channel: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A grey image (H, W) with a bright box, and the box."""
    rng, mask = np.random.default_rng([case, channel]), np.zeros(SIZE[::-1], bool)
    mask[3 + case : 9 + case, 4:12] = True
    return (rng.integers(0, 99, mask.shape) + 120 * mask).astype(np.uint8), mask


def write_pictures(root: Path, names: tuple[str, ...] = ("",)) -> Path:
    for case in range(COUNT):
        for channel, name in enumerate(names):
            save(picture(case, channel)[0], root / "images" / f"{case}{name}.png")
        save(255 * picture(case)[1].astype(np.uint8), root / "masks" / f"{case}.png")
    return root


def volume(case: int, channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y, Z, C) float32, the channels of different ranges, and a mask (X, Y, Z)."""
    rng, mask = np.random.default_rng(case), np.zeros(SIDES, np.uint8)
    mask[4 : 9 + case, 3:10, 5:12] = 1
    voxels = np.stack([rng.normal(10 * c, 1 + 5 * c, SIDES) + 9 * mask for c in range(channels)], axis=3)
    return voxels.astype(np.float32), mask


FLIPPED = np.diag([-1.5, 2.0, 3.0, 1.0])  # x runs from right to left


def save_volume(voxels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, FLIPPED), path)


def write_volumes(root: Path, names: tuple[str, ...] = (), channels: int = 2) -> Path:
    for case in range(COUNT):
        voxels, mask = volume(case, channels)
        for channel, name in enumerate(names):
            save_volume(voxels[..., channel], root / "images" / f"{case}_{name}.nii.gz")
        if not names:
            save_volume(voxels, root / "images" / f"{case}.nii.gz")
        save_volume(mask, root / "masks" / f"{case}.nii.gz")
    return root


# ---------------------------------------------------------------------------------------------------------- the card


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channels": 2}, "expected 1 or 3 in a 2D file, found 2"),
        ({"channels": ["a", "b"]}, "must contain {channel}"),
        ({"images": "images/{id}_{channel}", "channels": 3}, "must contain {channel}"),
        ({"images": "images/{id}_{channel}", "channels": ["a", "a"]}, "different words"),
        ({"images": "images/{id}_{channel}", "channels": []}, "different words"),
        ({"channels": 0}, "channels"),
    ],
)
def test_channels_that_a_card_cannot_have_are_an_error(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        picture_card(**changes)


def test_a_generator_draws_its_own_number() -> None:
    drawn = {**COMMON, "generator": "demo"}
    assert parse_card(Benchmark, drawn, "card").channel_count == 3
    with pytest.raises(UserError, match="expected 3 with a generator, found 1"):
        parse_card(Benchmark, {**drawn, "channels": 1}, "card")


def test_the_number_of_channels_is_the_cards_or_that_of_its_dimensions() -> None:
    assert picture_card().channel_count == 3
    assert volume_card().channel_count == 1
    assert picture_card(channels=1).channel_count == 1
    assert volume_card(channels=4).channel_count == 4
    assert volume_card("images/{id}_{channel}.nii.gz", channels=["t1", "t2"]).channel_count == 2


# ------------------------------------------------------------------------------------------------------------- in 2D


def test_grey_images_stay_grey(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "data")
    grey, coloured = prepare(picture_card(channels=1), data, 8), prepare(picture_card(), data, 8)
    images, _ = grey.arrays(grey.ids)
    assert images.shape == (COUNT, 1, 8, 8)
    for case in range(COUNT):
        expected = Image.fromarray(picture(case)[0]).resize((8, 8), Image.Resampling.BILINEAR)
        assert np.array_equal(images[case, 0], np.asarray(expected))
    assert np.array_equal(coloured.arrays(grey.ids)[0], np.repeat(images, 3, axis=1))
    assert grey.fingerprint != coloured.fingerprint
    (one,) = grey.images(grey.ids[:1])
    assert one.shape == (8, 8, 1)


def test_a_colour_image_is_turned_to_grey_where_the_card_says_so(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "data")
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    save(pixels, data / "images" / "0.png")
    images, _ = prepare(picture_card(channels=1), data, 8).arrays(("0",))
    expected = Image.fromarray(pixels).convert("L").resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(images[0, 0], np.asarray(expected))


def test_a_file_for_each_channel(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "data", ("_dapi", "_actin"))
    card = picture_card("images/{id}_{channel}", channels=["dapi", "actin"])
    images, _ = prepare(card, data, 8).arrays(("0", "3"))
    assert images.shape == (2, 2, 8, 8)
    for row, case in enumerate((0, 3)):
        for channel in range(2):
            expected = Image.fromarray(picture(case, channel)[0]).resize((8, 8), Image.Resampling.BILINEAR)
            assert np.array_equal(images[row, channel], np.asarray(expected))
    turned = prepare(picture_card("images/{id}_{channel}", channels=["actin", "dapi"]), data, 8)
    assert np.array_equal(turned.arrays(("0", "3"))[0], images[:, ::-1])
    assert turned.fingerprint != prepare(card, data, 8).fingerprint
    assert check(card, data).errors == 0


def test_a_channel_that_is_missing_or_of_another_size_is_named(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "data", ("_a", "_b"))
    card = picture_card("images/{id}_{channel}", channels=["a", "b"])
    save(np.zeros((5, 7), np.uint8), data / "images" / "2_b.png")
    with pytest.raises(UserError, match=r"2_b\.png: expected the size of the first channel, 20x16 pixels, found 7x5"):
        prepare(card, data, 8)
    (data / "images" / "2_b.png").unlink()
    with pytest.raises(UserError, match=r"2_a\.png: expected 2 channels of case '2', found 1"):
        prepare(card, data, 8)


# ------------------------------------------------------------------------------------------------------------- in 3D


def expected_volume(case: int) -> np.ndarray:
    """Channels first, on canonical axes, each with zero mean and unit deviation."""
    voxels = volume(case)[0][::-1].astype(np.float64)
    return np.stack([(voxels[..., c] - voxels[..., c].mean()) / voxels[..., c].std() for c in range(2)])


def volumes_of(dataset: Dataset) -> list[np.ndarray]:
    return list(dataset.volumes(dataset.ids))


def test_a_fourth_axis_and_a_file_each_are_the_same_channels(tmp_path: Path) -> None:
    whole = prepare(volume_card(channels=2), write_volumes(tmp_path / "whole"), None)
    parts = prepare(
        volume_card("images/{id}_{channel}.nii.gz", channels=["t1", "t2"]),
        write_volumes(tmp_path / "parts", ("t1", "t2")), None,
    )  # fmt: skip
    for dataset in (whole, parts):
        for case, (found, truth) in enumerate(zip(volumes_of(dataset), dataset.truths(dataset.ids), strict=True)):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected_volume(case), atol=1e-5)
            assert np.array_equal(truth, volume(case)[1][::-1])
        assert dataset.spacings(dataset.ids)[0] == (1.5, 2.0, 3.0)
        assert dataset.sides(dataset.ids) == {"smallest": list(SIDES), "largest": list(SIDES)}
    assert all(np.array_equal(a, b) for a, b in zip(volumes_of(whole), volumes_of(parts), strict=True))
    assert check(volume_card(channels=2), tmp_path / "whole").errors == 0


def test_an_hdf5_file_has_its_channels_on_the_fourth_axis(tmp_path: Path) -> None:
    for case in range(COUNT):
        with h5py.File(tmp_path / f"{case}.h5", "w") as file:
            file["image"], file["label"] = volume(case)
    layout = {"roots": ["."], "images": "{id}.h5", "intensity": "as-is"}
    card = parse_card(Benchmark, {**COMMON, "dimensions": 3, "channels": 2, "volumes": [layout]}, "card")
    dataset = prepare(card, tmp_path, None)
    for case, found in enumerate(volumes_of(dataset)):
        assert np.array_equal(found, np.moveaxis(volume(case)[0], 3, 0))


@pytest.mark.parametrize(("said", "found"), [(1, 2), (3, 2), (2, 1)])
def test_another_number_of_channels_than_the_cards_is_named(said: int, found: int, tmp_path: Path) -> None:
    data = write_volumes(tmp_path, channels=found)
    words = "" if said == 1 else f" and {said} channels on a fourth"
    with pytest.raises(UserError, match=rf"0\.nii\.gz: expected a volume of three axes{words}, found shape"):
        prepare(volume_card(channels=said), data, None)


def test_channels_of_different_shapes_are_named(tmp_path: Path) -> None:
    data = write_volumes(tmp_path, ("t1", "t2"))
    save_volume(np.zeros((3, 4, 5), np.float32), data / "images" / "1_t2.nii.gz")
    with pytest.raises(UserError, match=r"1_t2\.nii\.gz: expected the shape of the first channel, .*, found"):
        prepare(volume_card("images/{id}_{channel}.nii.gz", channels=["t1", "t2"]), data, None)


# ------------------------------------------------------------------------------------------------------------- views


def noise(channels: int, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    return torch.randint(0, 256, (count, channels, 24, 24), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_every_operation_treats_each_channel_as_torchvision_a_grey_image(channels: int) -> None:
    images = noise(channels)
    factors = torch.tensor([0.6, 1.0, 1.4])
    pairs = [
        (adjust_brightness(images, factors), lambda x, f: oracle.adjust_brightness(x, f)),
        (adjust_contrast(images, factors), lambda x, f: oracle.adjust_contrast(x, f)),
        (posterize(images, 5), lambda x, _: oracle.posterize(x, 5)),
        (autocontrast(images), lambda x, _: oracle.autocontrast(x)),
        (equalize(images), lambda x, _: oracle.equalize(x)),
        (gaussian_blur(images, factors, 3), lambda x, f: oracle.gaussian_blur(x, [3, 3], [f, f])),
    ]  # fmt: skip
    for found, namesake in pairs:
        for row, factor in enumerate(factors.tolist()):
            for channel in range(channels):
                expected = namesake(images[row, channel : channel + 1], factor)
                difference = found[row, channel : channel + 1].int() - expected.int()
                assert difference.abs().max() <= 1  # a blend's last bit


def test_saturation_and_hue_need_three_channels() -> None:
    everything = load_protocol("paper").augmentation.model_copy(
        update={"jitter": 1.0, "posterize": 0.0, "autocontrast": 0.0, "equalize": 0.0, "blur": 0.0}
    )
    only_colours = everything.model_copy(update={"brightness": 0.0, "contrast": 0.0})
    for channels in (1, 2, 4):
        images = noise(channels)
        assert torch.equal(strong_view(images, only_colours, torch.Generator().manual_seed(1)), images)
        assert not torch.equal(strong_view(images, everything, torch.Generator().manual_seed(1)), images)
    assert not torch.equal(strong_view(noise(3), only_colours, torch.Generator().manual_seed(1)), noise(3))


def test_a_strong_view_is_of_each_channel_and_draws_as_many_numbers() -> None:
    settings = load_protocol("paper").augmentation
    generators = [torch.Generator().manual_seed(4) for _ in range(4)]
    images = noise(2, count=12)
    both = strong_view(images, settings, generators[0])
    for channel in range(2):
        one = strong_view(images[:, channel : channel + 1], settings, generators[1 + channel])
        assert torch.equal(both[:, channel : channel + 1], one)
    strong_view(noise(3, count=12), settings, generators[3])
    assert len({generator.get_state().numpy().tobytes() for generator in generators}) == 1


def test_the_channels_of_a_volume_are_turned_and_cropped_alike() -> None:
    image = torch.arange(6 * 7 * 5, dtype=torch.float32).reshape(6, 7, 5) + 1
    settings = VolumeAugmentation(rotate_flip=0.5, blur=0, blur_sigma=(0.5, 1), strong2_from="weak")
    views, masks = random_patches(
        [torch.stack([image, -image, 2 * image])] * 40, [(image % 2).byte()] * 40, (4, 4, 4), settings,
        torch.Generator().manual_seed(2),
    )  # fmt: skip
    assert views.shape == (40, 3, 4, 4, 4)
    assert torch.equal(views[:, 1], -views[:, 0])
    assert torch.equal(views[:, 2], 2 * views[:, 0])
    assert torch.equal(masks, (views[:, 0] % 2).byte())
    alone, _ = random_patches(
        [image[None]] * 40, [(image % 2).byte()] * 40, (4, 4, 4), settings, torch.Generator().manual_seed(2)
    )
    assert torch.equal(alone[:, 0], views[:, 0])


def test_other_channels_are_normalised_by_the_mean_of_the_three() -> None:
    card = load_protocol("paper", {"input_mean": [0.2, 0.3, 0.7], "input_std": [0.1, 0.2, 0.6]})
    assert isinstance(card, ImageProtocol)
    for channels, means, deviations in (
        (3, [0.2, 0.3, 0.7], [0.1, 0.2, 0.6]), (1, [0.4], [0.3]), (2, [0.4] * 2, [0.3] * 2),
    ):  # fmt: skip
        mean, std = input_statistics(card, channels, torch.device("cpu"))
        assert mean.shape == std.shape == (1, channels, 1, 1)
        torch.testing.assert_close(mean.flatten(), torch.tensor(means))
        torch.testing.assert_close(std.flatten(), torch.tensor(deviations))


# --------------------------------------------------------------------------------------------------------- data init


def test_data_init_finds_grey_images(tmp_path: Path) -> None:
    assert "channels = 1  # grey images stay grey\n" in describe(write_pictures(tmp_path / "grey"))
    data = write_pictures(tmp_path / "colour")
    for case in range(COUNT):
        save(np.repeat(picture(case)[0][..., None], 3, axis=2), data / "images" / f"{case}.png")
    assert "channels" not in describe(data)


def test_data_init_finds_a_fourth_axis(tmp_path: Path) -> None:
    assert "channels = 2  # of each image's fourth axis\n" in describe(write_volumes(tmp_path / "two"))
    assert "channels" not in describe(write_volumes(tmp_path / "one", channels=1))
    data = write_volumes(tmp_path / "mixed")
    save_volume(volume(1, channels=3)[0], data / "images" / "1.nii.gz")
    with pytest.raises(UserError, match=r"1\.nii\.gz: expected 2 channels as in .*0\.nii\.gz, found 3"):
        describe(data)


# --------------------------------------------------------------------------------------------------- from end to end


def test_the_default_number_of_channels_is_no_part_of_a_runs_identity() -> None:
    (field,) = [RunSpec.model_fields["channels"]]
    assert field.default is None


@pytest.mark.parametrize("kind", ["grey", "two files", "volumes"])
def test_images_of_other_channels_are_trained_scored_shown_and_predicted(kind: str, call: Any, tmp_path: Path) -> None:
    data, channels = tmp_path / "data", 1 if kind == "grey" else 2
    if kind == "two files":
        write_pictures(data, ("_a", "_b"))
        text = describe(write_pictures(tmp_path / "plain"))
        text = text.replace("channels = 1", 'channels = ["a", "b"]').replace("images/{id}", "images/{id}_{channel}")
    else:
        text = describe(write_pictures(data) if kind == "grey" else write_volumes(data))
    Path("mine.toml").write_text(text)
    code, out, err = call("data", "check", "mine.toml", "--data-root", data)
    assert code == 0, out + err
    words = [
        "run", "--methods", "ucmt", "--dataset", "mine.toml", "--protocol", "tiny", "--labeled", "2", "--iterations",
        "4", "--device", "cpu", "--data-root", data, "--set", "labeled_batch=2", "--set", "unlabeled_batch=2",
    ]  # fmt: skip
    code, out, err = call(*words)
    assert code == 0, err
    (run,) = Store(Path("results")).runs()
    assert (run.status, run.spec.channels) == ("finished", channels)
    identity = run.spec.identity()
    assert identity["channels"] == channels
    assert "channels" not in run.spec.model_copy(update={"channels": None}).identity()
    code, out, err = call("score", str(run.path), "--metrics", "jaccard", "--dataset", "mine.toml", "--data-root", data)
    assert code == 0, err
    code, out, err = call("predict", str(run.path), data / "images", "--output", "out")
    assert code == 0, err
    assert len(list(Path("out").iterdir())) == COUNT
