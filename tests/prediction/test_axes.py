"""On which axes a run saw its volumes, and how a new volume is turned to them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ssl_bench.cards import RunSpec, load_benchmark, load_protocol
from ssl_bench.errors import UserError
from ssl_bench.prediction.axes import Turn, require_array_axes, turn_of
from ssl_bench.prediction.predictor import reading_of

NIFTI, HDF5 = Path("a.nii.gz"), Path("a.h5")
CODES = ["".join(one) for order in itertools.permutations(["LR", "AP", "IS"]) for one in itertools.product(*order)]


def older(**changes: Any) -> RunSpec:
    """A run on LA of a version that recorded no layout."""
    card = load_benchmark("la")
    fields = {
        "benchmark": "la", "classes": card.classes, "label_values": (0, 1), "intensity": "as-is",
        "split": card.splits["uamt"], "data_fingerprint": "f" * 16, "train_count": 80, "test_count": 20, "labeled": 8,
        "protocol": load_protocol("paper", dimensions=3).resolved(card, 80, "cpu"), "method": "mt", "method_version": 1,
        "hyperparameters": {}, "seed": 1,
    }  # fmt: skip
    return RunSpec.read(RunSpec(**(fields | changes)).model_dump(exclude={"layout", "channel_names", "image_axes"}))


@pytest.mark.parametrize("code", CODES)
def test_a_turn_is_that_of_nibabel_and_its_reverse(code: str) -> None:
    array = np.arange(24.0).reshape(2, 3, 4)
    image = nib.Nifti1Image(array, np.eye(4))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(code))
    )
    expected = np.asarray(image.as_reoriented(turn).dataobj)
    both = Turn(seen=code).onto(np.stack([array, -array]))
    assert np.array_equal(both, [expected, -expected])
    assert np.array_equal(Turn(seen=code).back(expected), array)
    assert np.array_equal(Turn(read=code).onto(expected[None]), array[None])
    assert np.array_equal(Turn(read=code).back(array), expected)
    sides = np.diag([0.5, 1.0, 2.0, 1.0])
    turned = nib.Nifti1Image(array, sides).as_reoriented(turn)
    assert Turn(seen=code).sides((0.5, 1.0, 2.0)) == pytest.approx(turned.header.get_zooms())
    assert Turn(seen=code).sides(None) is None


def test_what_is_known_is_not_asked_for_and_what_is_not_known_is() -> None:
    for paths, axes in (([NIFTI], "RAS"), ([HDF5], "unknown"), ([], "RAS")):
        require_array_axes(None, axes, 3, paths)
        with pytest.raises(UserError, match="leave the option out"):
            require_array_axes("LPS", axes, 3, paths)
    with pytest.raises(UserError, match=r"a\.nii\.gz: nothing says on which axes .*--array-axes"):
        require_array_axes(None, "unknown", 3, [HDF5, NIFTI])
    with pytest.raises(UserError, match=r"a\.h5: the run was trained on axes RAS .*--array-axes"):
        require_array_axes(None, "RAS", 3, [NIFTI, HDF5])
    require_array_axes("as-stored", "unknown", 3, [HDF5, NIFTI])
    with pytest.raises(UserError, match="leave the option out"):
        require_array_axes("LPS", "unknown", 2, [Path("a.png")])
    for wrong in ("LPX", "LRS", "LP", "", "zyx", "AS STORED"):
        with pytest.raises(UserError, match=f"--array-axes: expected as-stored or .*; found '{wrong}'"):
            require_array_axes(wrong, "unknown", 3, [NIFTI])


def test_only_a_file_of_the_other_kind_is_turned() -> None:
    assert turn_of(NIFTI, "PSL", "RAS", "LPS") == turn_of(HDF5, "RAS", "unknown", "LPS") == Turn()
    assert turn_of(NIFTI, "PSL", "unknown", "as-stored") == Turn("RAS", "PSL")
    assert turn_of(NIFTI, "PSL", "unknown", "lps") == Turn("RAS", "LPS")
    assert turn_of(HDF5, "RAS", "RAS", "LPS") == Turn("LPS", "RAS")
    assert turn_of(HDF5, "RAS", "RAS", "as-stored") == Turn()


def test_what_older_runs_read_is_what_the_built_in_card_leaves_no_doubt_of() -> None:
    reading = reading_of(older())
    assert reading.axes == "unknown"
    assert reading.layout is not None
    assert reading.layout.images == "{id}/mri_norm2.h5"
    nifti = reading_of(older(intensity="zscore"))
    assert nifti.layout is not None
    assert (nifti.layout.images, nifti.axes) == ("{id}/lgemri.nii.gz", "RAS")
    nrrd = reading_of(older(intensity="zscore", label_values=(0, 255)))  # perhaps not turned
    assert nrrd.axes == "unknown"
    unlike: tuple[dict[str, Any], ...] = (
        {"benchmark": "somebodys"},
        {"classes": ("background", "a", "b"), "label_values": (0, 1, 2)},
    )
    for changes in unlike:
        reading = reading_of(older(**changes))
        assert (reading.layout, reading.axes) == (None, "unknown")
