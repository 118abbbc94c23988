"""Which files of a folder `predict` takes, and what it says of the others."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from ssl_bench.cards import Files, Volumes
from ssl_bench.errors import UserError
from ssl_bench.prediction.inputs import list_images
from ssl_bench.prediction.predictor import Reading

UNKNOWN = Reading(None, (), "unknown")


def reading(images: str, masks: str | None, channels: tuple[str, ...] = (), **fields: Any) -> Reading:
    """Of 2D files, or of volumes where the pattern has their suffix."""
    card = {"roots": ["data"], "images": images, "masks": masks, **fields}
    kind = Volumes if images.endswith(".nii.gz") else Files
    return Reading(kind.model_validate(card), channels, "unknown")


def put(*names: str) -> None:
    for name in names:
        path = Path("in", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)


def taken(how: Reading, *paths: str, pattern: str | None = None, dimensions: int = 2) -> list[str]:
    """The names of the images' files below `in`; those of one image are joined by +."""
    cases = list_images([Path("in", path) for path in paths or ("",)], how, dimensions, pattern)
    return ["+".join(path.relative_to("in").as_posix() for path in case.images) for case in cases]


def test_without_a_layout_a_folder_has_every_image_in_it(caplog: pytest.LogCaptureFixture) -> None:
    put("2.png", "10.JPG", "a.h5", "a_mask.png", "x.txt", ".b.png", "deep/er/c.png", "deep/er/d.png", ".git/e.png")
    assert taken(UNKNOWN) == ["2.png", "10.JPG", "a.h5", "a_mask.png"]
    assert caplog.messages == ["note: in: not predicted: 2 files in subfolders (--pattern 'deep/er/{id}' takes them)"]
    assert taken(UNKNOWN, pattern="deep/er/{id}") == ["deep/er/c.png", "deep/er/d.png"]
    assert len(caplog.messages) == 1
    put("deep/too/f.png")
    caplog.clear()
    taken(UNKNOWN)
    assert caplog.messages == ["note: in: not predicted: 3 files in subfolders (--pattern '*/*/{id}' takes them)"]
    assert len(taken(UNKNOWN, pattern="*/*/{id}")) == 3


@pytest.mark.parametrize(
    ("how", "files", "images"),
    [
        (reading("{id}", "{id}_mask"), "a.png a_mask.png b.png c_mask.png", "a.png b.png c_mask.png"),  # c has no image
        (reading("*/{id}", "*/{id}_mask*", masks_united=True), "a.png a_mask.png a_mask_1.png b.png", "a.png b.png"),
        (reading("{id}", "{id}", image_suffixes=[".jpg"], mask_suffixes=[".png"]), "a.jpg a.png b.png", "a.jpg b.png"),
        (reading("images/{id}", "masks/{id}"), "a.png b.png", "a.png b.png"),
        (reading("x/{id}_{id}", "x/{id}_gt", exclude=["*_4d.png"]), "a_a.png a_gt.png a_4d.png", "a_a.png"),
    ],
)
def test_masks_beside_their_images_and_excluded_files_are_left_out(
    how: Reading, files: str, images: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(*files.split())
    assert taken(how) == images.split()
    left = len(files.split()) - len(images.split())
    assert bool(caplog.messages) == bool(left)
    if left:
        word = "masks" if left > 1 else "mask"
        assert caplog.messages == [f"note: in: not predicted: {left} {word} or excluded by the run's card"]


@pytest.mark.parametrize(
    ("how", "files", "images"),
    [
        (reading("{id}_img.nii.gz", "{id}_seg.nii.gz"), "a_img.mhd a_seg.mhd b_img.mha", "a_img.mhd b_img.mha"),
        (reading("{id}.nii.gz", "{id}_seg.nii.gz"), "a.nrrd a_seg.nii c_seg.nrrd", "a.nrrd c_seg.nrrd"),
        (reading("im/{id}.nii.gz", "im/{id}_seg.nrrd"), "a.nii.gz a_seg.nii.gz", "a.nii.gz"),
        (reading("{id}.nii.gz", "{id}.nii"), "a.nii.gz a.nii b.nrrd", "a.nii.gz b.nrrd"),  # the suffix tells them apart
        (
            reading("{id}.nii.gz", "{id}_a.nii.gz", exclude=["*_b.nii.gz", "*.mha"]),
            "1.mhd 1_a.mhd 1_b.mhd 2.nii 3.mha",
            "1.mhd 2.nii",
        ),
        (reading("{id}", "{id}_gt", image_suffixes=[".jpg"]), "a.png a_gt.png b_gt.tif", "a.png b_gt.tif"),
        (reading("{id}", "{id}_gt", image_suffixes=[".jpg"], mask_suffixes=[".png"]), "a.bmp a_gt.bmp", "a.bmp"),
    ],
)
def test_masks_are_known_in_other_formats_than_the_cards(how: Reading, files: str, images: str) -> None:
    put(*files.split())
    assert taken(how, dimensions=3 if isinstance(how.layout, Volumes) else 2) == images.split()


@pytest.mark.parametrize("above", ["", "data/"])
def test_a_folder_in_the_cards_layout_is_read_by_the_card(above: str, caplog: pytest.LogCaptureFixture) -> None:
    put(*(f"{above}{part}/{kind}/{name}.png" for part in "ab" for kind in ("im", "gt") for name in "12"))
    how = reading("{folder}/im/{id}", "{folder}/gt/{id}")
    assert taken(how) == [f"{above}{part}/im/{name}.png" for part in "ab" for name in "12"]
    assert caplog.messages == ["note: in: not predicted: 4 masks or excluded by the run's card"]
    caplog.clear()
    assert taken(how, f"{above}a/im") == [f"{above}a/im/{name}.png" for name in "12"]
    assert caplog.messages == []


def test_channels_in_files_of_their_own_are_put_together(caplog: pytest.LogCaptureFixture) -> None:
    how = reading("im/{id}_{channel}", "gt/{id}", ("x", "y"))
    put("im/2_x.png", "im/2_y.png", "im/10_x.png", "im/10_y.png", "gt/2.png", "other/3.png")
    both = ["2_x.png+{0}2_y.png", "10_x.png+{0}10_y.png"]
    assert taken(how) == ["im/" + one.format("im/") for one in both]
    message = "note: in: not predicted: 1 mask or excluded by the run's card, 1 file in subfolders (name their folders"
    assert [one.partition(", or --pattern")[0] for one in caplog.messages] == [message]
    assert taken(how, "im") == ["im/" + one.format("im/") for one in both]
    put("im/7_y.png")
    with pytest.raises(UserError, match=r"7_y\.png: expected 2 channels of case '7', the first is missing"):
        taken(how)
    Path("in/im/7_y.png").rename("in/im/7_x.png")
    with pytest.raises(UserError, match=r"7_x\.png: expected 2 channels of case '7', found 1"):
        taken(how)
    for pattern in ("{id}", "{channel}"):
        with pytest.raises(UserError, match=r"--pattern .*: must contain"):
            taken(how, pattern=pattern)
    with pytest.raises(UserError, match=r"--pattern {id}_{channel}: must contain {channel} .* one file for an image"):
        taken(UNKNOWN, pattern="{id}_{channel}")


def test_volumes_of_a_card_are_found_in_its_folders() -> None:
    how = reading("im/{id}/{channel}.nii.gz", "im/{id}/seg.nii.gz", ("t1", "t2"))
    put("im/p/t1.nii.gz", "im/p/t2.nii.gz", "im/p/seg.nii.gz")
    assert taken(how, dimensions=3) == ["im/p/t1.nii.gz+im/p/t2.nii.gz"]
    for pattern in ("im/{id}/{channel}", "im/{id}/{channel}.nii.gz"):
        assert taken(how, pattern=pattern, dimensions=3) == ["im/p/t1.nii.gz+im/p/t2.nii.gz"]
    single = reading("{id}/mri.nii.gz", "{id}/seg.nii.gz")
    put("q/mri.nii.gz", "q/seg.nii.gz")
    assert taken(single, dimensions=3) == ["q/mri.nii.gz"]


def test_a_folder_without_images_says_where_there_are_some() -> None:
    put("deep/a.png", "deep/b.png")
    with pytest.raises(UserError, match=r"in: .*none in this folder; 2 files in subfolders: --pattern 'deep/{id}'"):
        taken(UNKNOWN)
    with pytest.raises(UserError, match=r"none of --pattern 'x/{id}'"):
        taken(UNKNOWN, pattern="x/{id}")
    with pytest.raises(UserError, match="--pattern: expected a folder"):
        taken(UNKNOWN, "deep/a.png", pattern="{id}")
    for wrong, said in (("/x/{id}", "below"), ("../{id}", "below"), ("*", "{id}")):
        with pytest.raises(UserError, match=f"--pattern .*{said}"):
            taken(UNKNOWN, pattern=wrong)


def test_a_folder_that_is_named_beside_the_one_above_is_not_said_to_be_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    put("a.png", "deep/b.png")
    assert taken(UNKNOWN, "", "deep") == ["a.png", "deep/b.png"]
    assert caplog.messages == []
