"""Masks for new images through the command line: what is written, with which values, axes and headers, and refusals."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from conftest import assert_error, write_dataset
from handwritten import cases_of
from PIL import Image
from torch.nn.functional import interpolate

import ssl_bench
from ssl_bench import cli as cli_module
from ssl_bench import plugins
from ssl_bench.cards import Request, load_benchmark
from ssl_bench.launch.inprocess import Outcome, run_all
from ssl_bench.method import load_methods
from ssl_bench.method import registry as registry_module
from ssl_bench.store import Run, RunProgress, Store
from ssl_bench.training.job import Job
from ssl_bench.training.plan import plan_runs

CPU = torch.device("cpu")
CARD = """
name = "{name}"
title = "{name}"
dimensions = {dimensions}
classes = {classes}
cases = 6
labeled = ["2"]
metrics = ["dsc"]
protocol = "tiny"
source = "drawn"
license = "none"
citation = "none"

[splits.random]
test = 2

{layout}
"""
PIXELS = """
[files]
roots = ["."]
images = "images/{id}"
masks = "masks/{id}"
mask_values = [10, 100, 200]
"""
NIFTI = """
[[volumes]]
roots = ["."]
images = "{id}.nii.gz"
masks = "masks/{id}.nii.gz"
mask_values = [0, 7, 300]
"""
HDF5 = """
[[volumes]]
roots = ["."]
images = "{id}/mri_norm2.h5"
intensity = "as-is"
"""
STAINS = """
[files]
roots = ["."]
images = "{id}_{channel}"
masks = "{id}_truth"
image_suffixes = [".h5", ".npz"]
intensity_range = [-1, 3]
mask_values = [0, 1]
"""
SCANS = """
[files]
roots = ["."]
images = "{id}"
image_suffixes = [".npz"]
intensity_range = [-1, 3]
mask_values = [0, 1000]
"""
THREE = '["background", "left part", "b/c"]'
VALUES = np.array([0, 7, 300])
AXES = ("RAS", "LPS", "LAS", "RAS", "PSL", "IRA")  # of the six NIfTI cases' files; the last two test
Call = Callable[..., tuple[int, str, str]]


class Silent:
    """A display of nothing."""

    def begin_run(self, number: int, total: int, job: Job) -> None: ...

    def end_run(self, outcome: str) -> None: ...
    def wait(self, runs: int, job: Job, progress: RunProgress | None) -> None: ...

    def start(self, task: str, done: int, total: int) -> None: ...

    def step(self, text: str = "") -> None: ...


def draw_volume(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy volume (18, 20, 16) with a bright box and a dark one, and their class numbers."""
    rng = np.random.default_rng(index)
    labels = np.zeros((18, 20, 16), np.uint8)
    x, y, z = rng.integers(0, 3, 3)
    labels[2 + x : 8 + x, 3 + y : 12 + y, 2 + z : 9 + z] = 1
    labels[11 + x : 16 + x, 6 + y : 16 + y, 4 + z : 13 + z] = 2
    image = rng.normal(0, 0.3, labels.shape) + np.array([0.0, 2.0, -2.0])[labels]
    return image.astype(np.float32), labels


def write_nifti(path: Path, array: np.ndarray, axes: str = "RAS") -> None:
    """Write an array on (right, anterior, superior) axes as a file with other axes, voxels 0.8 x 0.9 x 1.5 mm."""
    affine = np.diag([0.8, 0.9, 1.5, 1.0])
    affine[:3, 3] = 5, -7, 11
    image = nib.Nifti1Image(array, affine)
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes))
    image = image.as_reoriented(turn)
    image.set_sform(image.affine, code=2)
    image.set_qform(image.affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def write_h5(path: Path, image: np.ndarray, label: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = image, label


def write_pixels(root: Path) -> None:
    """Six images of two squares, and masks with the values 10, 100 and 200."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(6):
        rng = np.random.default_rng(index)
        labels = np.zeros((40 + index, 50), np.uint8)
        labels[4 + index : 20 + index, 5:22] = 1
        labels[15:33, 28 + index : 43 + index] = 2
        grey = rng.normal(120, 12, labels.shape) + np.array([0, 90, -90])[labels]
        Image.fromarray(np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, 2)).save(
            root / f"images/{index}.png"
        )
        Image.fromarray(np.array([10, 100, 200], np.uint8)[labels]).save(root / f"masks/{index}.png")


def write_stains(root: Path) -> None:
    """Six images of two channels in HDF5 and NPZ files with levels from -1 to 3, and their masks beside them."""
    root.mkdir()
    for index in range(6):
        rng = np.random.default_rng(index)
        labels = np.zeros((40, 44 + index), np.uint8)
        labels[5 + index : 22 + index, 8:30] = 1
        near, far = (rng.normal(0, 0.2, labels.shape) + 2 * labels * sign for sign in (1, 0))
        for name, array in (("he", near), ("dapi", far)):
            with h5py.File(root / f"{index}_{name}.h5", "w") as file:
                file["image"] = array.clip(-1, 3)
        np.savez(root / f"{index}_truth.npz", label=labels)


def write_scans(root: Path) -> None:
    """Six arrays with levels from -1 to 3 in NPZ files, and labels with the values 0 and 1000."""
    root.mkdir()
    for index in range(6):
        labels = np.zeros((40, 44 + index), np.int16)
        labels[5 + index : 22 + index, 8:30] = 1000
        image = np.random.default_rng(index).normal(0, 0.2, labels.shape) + labels / 500
        np.savez(root / f"{index}.npz", image=image.clip(-1, 3), label=labels)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data sets and, in results, a run of each.

    discs and cells are 2D, scans 2D arrays and stains such of two channels, boxes NIfTI files, layers the same by
    slices, and hearts HDF5 files.
    """
    home = tmp_path_factory.mktemp("home")
    write_dataset(home / "discs", "kvasir", [f"c{number}" for number in range(10)])
    write_pixels(home / "cells")
    write_stains(home / "stains")
    write_scans(home / "scans")
    for index, axes in enumerate(AXES):
        image, labels = draw_volume(index)
        write_nifti(home / f"boxes/case{index}.nii.gz", image, axes)
        write_nifti(home / f"boxes/masks/case{index}.nii.gz", VALUES.astype(np.int16)[labels], axes)
        write_h5(home / f"hearts/p{index}/mri_norm2.h5", image, labels // 2)
    shutil.copytree(home / "boxes", home / "layers")
    layouts = {
        "cells": (2, THREE, PIXELS), "boxes": (3, THREE, NIFTI), "layers": (3, THREE, NIFTI),
        "hearts": (3, '["background", "heart"]', HDF5), "stains": (2, '["background", "cell"]', STAINS),
        "scans": (2, '["background", "organ"]', SCANS),
    }  # fmt: skip
    for name, (dimensions, classes, layout) in layouts.items():
        text = CARD.format(name=name, dimensions=dimensions, classes=classes, layout=layout)
        if name == "layers":
            text = text.replace("dimensions = 3", "dimensions = 3\nslices = true")
        if name == "scans":
            text = text.replace("cases = 6", "cases = 6\nchannels = 1")
        if name == "stains":
            text = text.replace("cases = 6", 'cases = 6\nchannels = ["dapi", "he"]')
        (home / f"{name}.toml").write_text(text)
    pictures = {"iterations": 12, "learning_rate": 1e-2, "ema_decay": 0.5, "aspp_dropout": 0.0}
    volumes = {"iterations": 30, "learning_rate": 1e-2, "filters": 4, "stride": (8, 8, 8), "largest_component": False}
    load_methods()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_BENCH_CACHE", str(home / "cache"))
        for name, method, settings in (
            ("discs", "mt", pictures), ("cells", "supervised", pictures), ("boxes", "supervised", volumes),
            ("layers", "supervised", pictures | {"iterations": 40}),
            ("stains", "supervised", pictures | {"iterations": 20}),
            ("scans", "supervised", pictures | {"iterations": 20}),
            ("hearts", "supervised", volumes | {"iterations": 12}),
        ):  # fmt: skip
            card = load_benchmark(str(home / f"{name}.toml") if name in layouts else "kvasir")
            request = Request(card, (method,), "2", "tiny", settings, (1,))
            jobs = plan_runs(request, CPU, home / name, allow_partial=True, advance=None)
            assert run_all(jobs, Store(home / "results"), CPU, Silent()) == Outcome(trained=1)
    return home


@pytest.fixture
def call(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Run `ssl-bench predict ARGS` in this process, an empty folder and the store of `home`; code, stdout, stderr."""
    monkeypatch.setattr(registry_module, "_REGISTRY", dict(registry_module._REGISTRY))
    monkeypatch.setattr(plugins, "_TEXTS", dict(plugins._TEXTS))
    monkeypatch.setenv("SSL_BENCH_RESULTS", str(home / "results"))
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")  # main sets it where it is not
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def predict(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ssl-bench", "predict", *map(str, arguments), "--output", "out"])
        with pytest.raises(SystemExit) as ended:
            cli_module.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return predict


def run_of(home: Path, dataset: str) -> Run:
    (run,) = (run for run in Store(home / "results").runs() if run.spec.benchmark == dataset)
    return run


def test_cases(run: Run) -> list[str]:
    return list(json.loads((run.path / "splits.json").read_text())["test"])


test_cases.__test__ = False  # type: ignore[attr-defined]


def succeed(answer: tuple[int, str, str]) -> str:
    code, out, err = answer
    assert (code, err) == (0, "")
    return out


def assert_refused(answer: tuple[int, str, str], *words: str) -> None:
    """Exit code 2, one line on stderr that holds the words, and nothing written."""
    assert_error(answer, *words)
    assert not list(Path().glob("out/*"))


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def voxels_of(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def dsc(predicted: np.ndarray, truth: np.ndarray) -> float:
    return 2 * np.count_nonzero(predicted & truth) / (np.count_nonzero(predicted) + np.count_nonzero(truth))


# ---------------------------------------------------------------------------------------------------- as it was scored


@pytest.mark.parametrize("network", [None, "student"])
def test_masks_of_the_test_images_have_the_runs_scores(network: str | None, home: Path, call: Call) -> None:
    run = run_of(home, "kvasir")
    ids = test_cases(run)
    folder = home / "discs/Kvasir-SEG"
    out = succeed(
        call(run.path, *(folder / f"images/{name}.jpg" for name in ids), *(["--network", network] if network else []))
    )
    scored = network or "teacher"
    expected = cases_of(run)[cases_of(run)["network"] == scored].set_index("case")["dsc"]
    assert set(expected.index) == set(ids)
    for name in ids:
        mask, truth = pixels_of(Path(f"out/{name}.png")), pixels_of(folder / f"masks/{name}.jpg")
        assert set(np.unique(mask)) == {0, 255}
        assert dsc(mask == 255, truth > 127) == pytest.approx(expected[name], abs=1e-12)
    assert f"{len(ids)} masks in out" in out
    assert all(word in out for word in (scored, "mt", "kvasir", str(run.path)))


@pytest.mark.parametrize("data", ["boxes", "layers"])
def test_masks_of_the_test_volumes_have_the_runs_scores_on_the_axes_of_their_files(
    data: str, home: Path, call: Call
) -> None:
    run = run_of(home, data)
    ids = test_cases(run)
    succeed(call(run.path, *(home / f"boxes/{name}.nii.gz" for name in ids)))
    expected = cases_of(run).set_index(["case", "class"])["dsc"]
    for name in ids:
        mask, truth = voxels_of(Path(f"out/{name}.nii.gz")), voxels_of(home / f"boxes/masks/{name}.nii.gz")
        assert set(np.unique(mask)) == set(VALUES)
        for label, value in (("left part", 7), ("b/c", 300)):
            assert dsc(mask == value, truth == value) == pytest.approx(expected[name, label], abs=1e-12)


def test_a_folders_images_keep_their_own_sizes_whatever_batch_they_are_in(home: Path, call: Call) -> None:
    folder = Path("many")
    (folder / "below").mkdir(parents=True)
    for index in range(18):  # two batches
        image = Image.open(home / f"cells/images/{index % 6}.png").resize((30 + index, 40))
        image.save(folder / f"i{index}.PNG")
    image.save(folder / "below/other.png")
    image.save(folder / ".hidden.png")
    (folder / "notes.txt").write_text("no image")
    code, out, err = call(run_of(home, "cells").path, folder)
    assert (code, "18 masks" in out) == (0, True)
    assert err == "note: many: not predicted: 1 file in subfolders (--pattern 'below/{id}' takes them)\n"
    masks = {path.name: pixels_of(path) for path in Path("out").iterdir()}
    assert {name: mask.shape for name, mask in masks.items()} == {f"i{n}.png": (40, 30 + n) for n in range(18)}
    assert set(np.unique(np.concatenate([mask.ravel() for mask in masks.values()]))) == {10, 100, 200}
    succeed(call(run_of(home, "cells").path, folder / "i17.PNG", folder, folder / "below", "--overwrite"))
    assert Path("out/other.png").exists()
    assert np.mean(pixels_of(Path("out/i17.png")) == masks["i17.png"]) > 0.999


def test_arrays_with_a_file_for_each_channel_are_found_and_read_as_in_training(home: Path, call: Call) -> None:
    run = run_of(home, "stains")
    code, out, err = call(run.path, home / "stains")
    assert (code, "6 masks" in out) == (0, True)
    assert err == f"note: {home / 'stains'}: not predicted: 6 masks or excluded by the run's card\n"
    assert sorted(path.name for path in Path("out").iterdir()) == [f"{index}.png" for index in range(6)]
    expected = cases_of(run).set_index("case")["dsc"]
    for name in test_cases(run):
        mask, truth = pixels_of(Path(f"out/{name}.png")), np.load(home / f"stains/{name}_truth.npz")["label"]
        assert set(np.unique(mask)) == {0, 1}
        assert dsc(mask == 1, truth == 1) == pytest.approx(expected[name], abs=1e-12)
    Path("new/a").mkdir(parents=True)
    for name in ("dapi", "he"):
        shutil.copy(home / f"stains/3_{name}.h5", f"new/a/{name}-3.h5")
    assert_error(
        call(run.path, "new", "--overwrite"), "new: expected images", "dapi, he", "{id}_{channel}", "--pattern"
    )
    before = Path("out/3.png").read_bytes()
    succeed(call(run.path, "new", "--pattern", "a/{channel}-{id}", "--overwrite"))
    assert Path("out/3.png").read_bytes() == before
    Path("new/a/he-3.h5").unlink()
    answer = call(run.path, "new", "--pattern", "a/{channel}-{id}", "--overwrite")
    assert_error(answer, "new/a/dapi-3.h5: expected 2 channels of case '3', found 1")
    Image.new("RGB", (40, 40)).save("one.png")
    assert_error(call(run.path, "one.png"), "one.png: expected a folder", "dapi, he", "--pattern")


def test_one_array_for_all_channels_has_each_of_them(home: Path, call: Call) -> None:
    run = run_of(home, "stains")
    answer = call(run.path, home / "stains/3_dapi.h5")
    assert_error(answer, "3_dapi.h5: image: expected (height, width, 2), the channels dapi, he; found (40, 47)")
    channels = [h5py.File(home / f"stains/3_{name}.h5")["image"][:] for name in ("dapi", "he")]
    np.savez("both.npz", image=np.stack(channels, axis=2))
    succeed(call(run.path, "both.npz"))
    assert call(run.path, home / "stains")[0] == 0
    assert Path("out/both.png").read_bytes() == Path("out/3.png").read_bytes()


def test_a_picture_is_refused_where_a_range_read_the_training_arrays(home: Path, call: Call) -> None:
    Image.new("L", (44, 40)).save("0-he.png")
    shutil.copy(home / "stains/0_dapi.h5", "0-dapi.h5")
    expected = ("0-he.png: expected an array", "intensity_range = [-1, 3]", "found a picture")
    assert_refused(call(run_of(home, "scans").path, "0-he.png"), *expected)
    assert_refused(call(run_of(home, "stains").path, ".", "--pattern", "{id}-{channel}"), *expected)
    layout = json.loads((run_of(home, "scans").path / "run.json").read_text())["spec"]["layout"]
    both = tampered(home, "scans", layout=layout | {"masks": "{id}_mask", "image_suffixes": [".npz", ".png"]})
    assert_refused(call(both, "0-he.png"), "0-he.png: expected more than 8 bits", "found 8")
    Image.fromarray(np.full((40, 44), 2, np.uint16)).save("0-he.png")
    succeed(call(both, "0-he.png"))


def test_a_value_above_255_is_written_with_16_bits(home: Path, call: Call) -> None:
    run = run_of(home, "scans")
    succeed(call(run.path, home / "scans"))
    expected = cases_of(run).set_index("case")["dsc"]
    for name in test_cases(run):
        mask, truth = pixels_of(Path(f"out/{name}.png")), np.load(home / f"scans/{name}.npz")["label"]
        assert set(np.unique(mask)) == {0, 1000}
        assert dsc(mask == 1000, truth == 1000) == pytest.approx(expected[name], abs=1e-12)


@pytest.mark.parametrize("value", [-1, 65536])
def test_a_value_that_png_cannot_hold_is_refused_before_anything_is_predicted(
    value: int, home: Path, call: Call
) -> None:
    folder = tampered(home, "scans", label_values=[0, value])
    answer = call(folder, home / "scans/0.npz")
    assert_refused(answer, f"{folder}: expected values in masks (mask_values) from 0 to 65535", f"found {value}")
    mask = ssl_bench.load_model(folder).predict(np.load(home / "scans/5.npz")["image"])
    assert set(np.unique(mask)) == {0, value}


# --------------------------------------------------------------------------------------------------- axes and headers


def test_another_orientation_of_a_volume_gives_the_same_mask_turned(home: Path, call: Call) -> None:
    image, _ = draw_volume(7)
    for axes in ("RAS", "LPS", "SAL"):
        write_nifti(Path(f"{axes}.nii.gz"), image, axes)
    shutil.move("LPS.nii.gz", "copy.nii.gz")
    nib.save(nib.load("copy.nii.gz"), "LPS.nii")
    succeed(call(run_of(home, "boxes").path, "RAS.nii.gz", "LPS.nii", "SAL.nii.gz", "--probabilities"))
    for part in ("", "_prob_left-part"):
        masks = {axes: voxels_of(Path(f"out/{axes}{part}.nii.gz")) for axes in ("RAS", "LPS", "SAL")}
        assert masks["RAS"].shape == (18, 20, 16)
        assert len(np.unique(masks["RAS"])) > 1
        assert not np.array_equal(masks["RAS"], masks["RAS"][::-1, ::-1])
        assert np.array_equal(masks["LPS"], masks["RAS"][::-1, ::-1])
        assert np.array_equal(masks["SAL"], masks["RAS"].transpose(2, 1, 0)[:, :, ::-1])
    for axes, suffix in (("RAS", ".nii.gz"), ("LPS", ".nii"), ("SAL", ".nii.gz")):
        assert np.array_equal(nib.load(f"out/{axes}.nii.gz").affine, nib.load(f"{axes}{suffix}").affine)


def test_a_mask_keeps_the_header_of_its_image_but_not_its_grey_values(home: Path, call: Call) -> None:
    write_nifti(Path("plain.nii.gz"), draw_volume(7)[0], "PSL")
    stored = np.asarray(nib.load("plain.nii.gz").dataobj)[..., None]
    image = nib.Nifti1Image((stored * 100).astype(np.int16), nib.load("plain.nii.gz").affine)  # (X, Y, Z, 1)
    turned = image.affine.copy()
    turned[:3, 3] += 0.5
    image.set_sform(image.affine, code=4)
    image.set_qform(turned, code=1)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_slope_inter(0.01, 3)
    image.header["descrip"], image.header["cal_max"] = b"scanner", 900
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"kept"))
    nib.save(image, "x.nii.gz")
    before = nib.load("x.nii.gz").header
    succeed(call(run_of(home, "boxes").path, "x.nii.gz", "--uncertainty"))
    for name, dtype in (("x", np.int16), ("x_uncertainty", np.float32)):
        found = nib.load(f"out/{name}.nii.gz")
        after = found.header
        assert found.shape == stored.shape[:3]
        assert found.get_data_dtype() == dtype
        assert (found.dataobj.slope, found.dataobj.inter, float(after["cal_max"])) == (1, 0, 0)
        assert np.array_equal(after["pixdim"], before["pixdim"])
        for code in ("sform_code", "qform_code", "xyzt_units", "descrip"):
            assert after[code] == before[code]
        assert (after["sform_code"], after["qform_code"]) == (4, 1)
        assert np.array_equal(after.get_sform(), before.get_sform())
        assert np.array_equal(after.get_qform(), before.get_qform())
        assert not np.array_equal(after.get_qform(), after.get_sform())
        assert after.extensions[0].get_content() == b"kept"


def test_hdf5_and_nrrd_volumes_become_nifti_masks_named_after_their_folders(home: Path, call: Call) -> None:
    import medpy.io

    folders = [home / "hearts/p0", home / "hearts/p1"]
    run = run_of(home, "hearts")
    image = draw_volume(1)[0]
    medpy.io.save(image[::-1, ::-1], "mri.nrrd")  # its axes are LPS
    succeed(call(run.path, *folders, "mri.nrrd", "--array-axes", "RAS"))
    names = ["mri.nii.gz", "p0_mri_norm2.nii.gz", "p1_mri_norm2.nii.gz"]
    assert sorted(path.name for path in Path("out").iterdir()) == names
    masks = {name: nib.load(f"out/{name}") for name in names}
    for name, mask in masks.items():
        assert np.array_equal(mask.affine, np.diag([-1, -1, 1, 1]) if name == "mri.nii.gz" else np.eye(4))
        assert (mask.shape, mask.get_data_dtype()) == ((18, 20, 16), np.uint8)
        assert set(np.unique(mask.dataobj)) == {0, 1}
    turned = np.asarray(masks["mri.nii.gz"].dataobj)[::-1, ::-1]
    assert np.array_equal(turned, masks["p1_mri_norm2.nii.gz"].dataobj)
    assert not np.array_equal(turned, masks["p0_mri_norm2.nii.gz"].dataobj)
    expected, truth = cases_of(run).set_index("case")["dsc"], draw_volume(int(test_cases(run)[0][1:]))[1] // 2
    succeed(call(run.path, home / f"hearts/{test_cases(run)[0]}", "--overwrite"))
    mask = voxels_of(Path("out/mri_norm2.nii.gz"))
    assert dsc(mask == 1, truth == 1) == pytest.approx(expected[test_cases(run)[0]], abs=1e-12)


def test_an_array_without_axes_for_a_run_that_saw_axes_is_refused_until_its_axes_are_named(
    home: Path, call: Call
) -> None:
    run, (image, _) = run_of(home, "boxes"), draw_volume(7)
    assert json.loads((run.path / "run.json").read_text())["spec"]["image_axes"] == "RAS"
    write_nifti(Path("x.nii.gz"), image)
    write_h5(Path("x.h5"), image, image)
    write_h5(Path("turned.h5"), image.transpose(2, 1, 0)[:, ::-1], image)
    assert_refused(call(run.path, "x.h5"), "x.h5", "axes RAS", "--array-axes", "as-stored")
    assert_refused(call(run.path, "x.nii.gz", "--array-axes", "LPS"), "--array-axes", "nothing is turned")
    masks, asked = [], "--array-axes"
    for path, words in (("x.nii.gz", ()), ("x.h5", (asked, "as-stored")), ("turned.h5", (asked, "SPR"))):
        succeed(call(run.path, path, *words, "--overwrite"))
        masks.append(voxels_of(Path("out") / f"{path.partition('.')[0]}.nii.gz"))
    assert len(np.unique(masks[0])) == 3
    assert np.array_equal(masks[1], masks[0])
    assert np.array_equal(masks[2], masks[0].transpose(2, 1, 0)[:, ::-1])


@pytest.mark.parametrize("suffix", ["nrrd", "mha", "nii", "nii.gz"])
def test_a_mask_overlays_its_image_in_simpleitk(suffix: str, home: Path, call: Call) -> None:
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(draw_volume(7)[0].T))
    image.SetSpacing((0.8, 0.9, 1.5))
    image.SetOrigin((5, -70, 110))
    image.SetDirection((-0.96, 0.28, 0, -0.28, -0.96, 0, 0, 0, 1))  # near RAS
    names = ("RAS", "LPS", "LAS", "SRP", "IAL")
    for axes in names:
        SimpleITK.WriteImage(SimpleITK.DICOMOrient(image, axes), f"{axes}.{suffix}")
    succeed(call(run_of(home, "boxes").path, *(f"{axes}.{suffix}" for axes in names), "--uncertainty"))
    expected = SimpleITK.ReadImage("out/RAS.nii.gz")
    assert len(np.unique(SimpleITK.GetArrayFromImage(expected))) > 1
    for axes in names:
        stored, mask = SimpleITK.ReadImage(f"{axes}.{suffix}"), SimpleITK.ReadImage(f"out/{axes}.nii.gz")
        assert mask.GetSize() == stored.GetSize()
        for index in itertools.product(*map(range, mask.GetSize())):
            place = mask.TransformIndexToPhysicalPoint(index)
            assert place == pytest.approx(stored.TransformIndexToPhysicalPoint(index), abs=1e-3)
            assert mask[index] == expected[expected.TransformPhysicalPointToIndex(place)]
        entropies = SimpleITK.ReadImage(f"out/{axes}_uncertainty.nii.gz")
        assert entropies.GetDirection() == pytest.approx(stored.GetDirection(), abs=1e-5)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_the_content_of_a_nifti_file_says_how_it_is_read(kind: Any, home: Path, call: Call) -> None:
    write_nifti(Path("x.nii.gz"), draw_volume(7)[0], "PSL")
    plain = nib.load("x.nii.gz")
    content = kind(np.asarray(plain.dataobj)[..., None, None], plain.affine).to_bytes()
    Path("packed.nii").write_bytes(gzip.compress(content))
    Path("plain.nii.gz").write_bytes(content)
    succeed(call(run_of(home, "boxes").path, "x.nii.gz", "packed.nii", "plain.nii.gz"))
    for name in ("packed", "plain"):
        mask = nib.load(f"out/{name}.nii.gz")
        assert isinstance(mask, kind)
        assert np.array_equal(mask.affine, plain.affine)
        assert np.array_equal(mask.dataobj, nib.load("out/x.nii.gz").dataobj)


# ---------------------------------------------------------------------------------- probabilities and uncertainty


def class_entropy(probabilities: np.ndarray) -> np.ndarray:
    """-sum p ln p over the first axis in float64, 0 ln 0 = 0, as a share of ln K."""
    safe = np.where(probabilities > 0, probabilities, 1.0).astype(np.float64)
    return np.asarray(-(safe * np.log(safe)).sum(0) / np.log(len(probabilities)))


@pytest.mark.parametrize(
    ("dataset", "case", "suffix", "rounding"),
    [("cells", "cells/images/3.png", ".png", 0.5 / 255), ("boxes", "boxes/case3.nii.gz", ".nii.gz", 1e-6)],
)
def test_probabilities_and_uncertainty_agree_with_the_mask(
    dataset: str, case: str, suffix: str, rounding: float, home: Path, call: Call
) -> None:
    run = run_of(home, dataset)
    succeed(call(run.path, home / case, "--probabilities", "--uncertainty"))
    stem = Path(case).name.removesuffix(suffix)
    parts = ("", "_prob_b-c", "_prob_left-part", "_uncertainty")
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(f"{stem}{part}{suffix}" for part in parts)
    mask, second, first, uncertainty = (
        (pixels_of if suffix == ".png" else voxels_of)(Path(f"out/{stem}{part}{suffix}")) for part in parts
    )
    if suffix == ".png":
        assert {first.dtype, second.dtype, uncertainty.dtype, mask.dtype} == {np.dtype(np.uint8)}
        first, second, uncertainty = (grey / 255 for grey in (first, second, uncertainty))
    assert first.shape == second.shape == uncertainty.shape == mask.shape
    assert min(first.min(), second.min(), (1 - first - second).min()) >= -2 * rounding
    probabilities = np.stack([1 - first - second, first, second]).clip(0, 1)  # softmax sums to one
    numbers = np.argsort(run.spec.label_values)[np.searchsorted(sorted(run.spec.label_values), mask)]
    ordered = np.sort(probabilities, 0)
    clear = ordered[-1] - ordered[-2] > 4 * rounding
    assert clear.mean() > 0.9
    assert np.array_equal(probabilities.argmax(0)[clear], numbers[clear])
    assert set(np.unique(numbers[clear])) == {0, 1, 2}
    assert uncertainty.max() > 0.5
    assert np.abs(class_entropy(probabilities) - uncertainty).max() < (0.03 if suffix == ".png" else 1e-4)


# ------------------------------------------------------------------------------------------------- images in memory


def array_of(home: Path, data: str, case: str) -> np.ndarray:
    """An image as libraries read it: 2D (H, W[, C]), a volume on canonical axes."""
    if data == "stains":
        channels = [h5py.File(home / f"stains/{case}_{name}.h5")["image"][:] for name in ("dapi", "he")]
        return np.stack(channels, axis=2)
    if data == "scans":
        return np.asarray(np.load(home / f"scans/{case}.npz")["image"])
    if data == "hearts":
        return np.asarray(h5py.File(home / f"hearts/{case}/mri_norm2.h5")["image"])
    if data in ("boxes", "layers"):
        return np.asarray(nib.as_closest_canonical(nib.load(home / f"boxes/{case}.nii.gz")).dataobj)
    return np.asarray(Image.open(home / case))


@pytest.mark.parametrize(
    ("data", "case", "words", "network"),
    [
        ("kvasir", "discs/Kvasir-SEG/images/c3.jpg", ["discs/Kvasir-SEG/images/c3.jpg"], None),
        ("kvasir", "discs/Kvasir-SEG/images/c3.jpg", ["discs/Kvasir-SEG/images/c3.jpg"], "student"),
        ("cells", "cells/images/2.png", ["cells/images/2.png"], None),
        ("stains", "3", ["stains", "--pattern", "{id}_{channel}"], None),
        ("scans", "3", ["scans/3.npz"], None),
        ("boxes", "case4", ["boxes/case4.nii.gz"], None),
        ("layers", "case5", ["boxes/case5.nii.gz"], None),
        ("hearts", "p1", ["hearts/p1/mri_norm2.h5"], None),
    ],
)
def test_a_loaded_model_predicts_from_memory_what_the_command_writes(
    data: str, case: str, words: list[str], network: str | None, home: Path, call: Call
) -> None:
    run = run_of(home, data)
    named = [] if network is None else ["--network", network]
    call(run.path, home / words[0], *words[1:], *named, "--probabilities")
    model, image = ssl_bench.load_model(run, network=network), array_of(home, data, case)
    before = image.copy()
    mask, probabilities = model.predict(image), model.probabilities(image)
    assert np.array_equal(image, before)
    stem = {"stains": "3", "hearts": "mri_norm2"}.get(data, Path(case).stem)
    labels = [label.replace("/", "-").replace(" ", "-") for label in model.classes[1:]]
    if run.spec.dimensions == 2:
        assert np.array_equal(mask, pixels_of(Path(f"out/{stem}.png")))
        for label, own in zip(labels, probabilities[1:], strict=True):
            assert np.array_equal((255 * own).round(), pixels_of(Path(f"out/{stem}_prob_{label}.png")))
    else:
        for name, own in zip(["", *(f"_prob_{label}" for label in labels)], [mask, *probabilities[1:]], strict=True):
            written = nib.load(f"out/{stem}{name}.nii.gz")
            written = written if data == "hearts" else nib.as_closest_canonical(written)
            assert np.array_equal(own, np.asarray(written.dataobj))
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)


def test_the_networks_input_and_output_are_the_models(home: Path) -> None:
    model, image = ssl_bench.load_model(run_of(home, "cells")), array_of(home, "cells", "cells/images/2.png")
    inputs = model.preprocess(image)
    assert inputs.shape == (1, 3, *model.sides) == (1, 3, 32, 32)
    small = Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)
    mean = std = 0.5  # of the protocol
    np.testing.assert_allclose(inputs[0].permute(1, 2, 0), (np.asarray(small) / 255 - mean) / std, atol=1e-6)
    with torch.no_grad():
        logits = interpolate(model(inputs), image.shape[:2], mode="bilinear")
    np.testing.assert_allclose(logits[0].softmax(0), model.probabilities(image), atol=1e-6)
    assert not any(module.training for module in model.modules())
    assert (model.classes, model.label_values) == (("background", "left part", "b/c"), (10, 100, 200))
    assert ssl_bench.load_model(run_of(home, "layers")).preprocess(draw_volume(0)[0]).shape == (16, 1, 32, 32)
    assert ssl_bench.load_model(run_of(home, "boxes")).preprocess(draw_volume(0)[0]).shape == (1, 1, 18, 20, 16)


def test_what_an_exported_file_says_makes_the_networks_input_of_an_arrays_values(home: Path) -> None:
    model, image = ssl_bench.load_model(run_of(home, "scans")), array_of(home, "scans", "4")
    described = json.loads(json.dumps(model.metadata))
    given = described["input"]
    black, white = given["intensity_range"]
    levels = np.rint(255 * (image - black) / (white - black)).astype(np.uint8)
    first, second = given["resize"]
    pixels = torch.from_numpy(np.array(Image.fromarray(levels).resize((first, first), Image.Resampling.BILINEAR)))
    pixels = interpolate(pixels[None, None].float(), (second, second), mode="bilinear", antialias=True)
    with torch.no_grad():
        logits = model((pixels / given["scale"] - given["mean"][0]) / given["std"][0])
    numbers = interpolate(logits, image.shape, mode="bilinear").softmax(1)[0].argmax(0).numpy()
    assert np.array_equal(np.array(described["label_values"])[numbers], model.predict(image))


def test_an_exported_file_says_how_stored_images_are_turned(home: Path) -> None:
    def said(data: str, **changes: object) -> dict[str, object]:
        folder = tampered(home, data, **changes)
        found = json.loads(json.dumps(ssl_bench.load_model(folder).metadata["input"]))
        shutil.rmtree(folder)
        return {key: found[key] for key in ("axes", "hdf5_axes", "slice_window", "exif_orientation") if key in found}

    assert said("layers") == {"axes": "RAS", "slice_window": "percentiles"}
    assert said("boxes") == {"axes": "RAS"}
    assert said("hearts") == {"axes": "unknown"}
    assert said("hearts", axes="zyx") == {"axes": "unknown", "hdf5_axes": "zyx"}
    assert said("cells") == {}
    layout = json.loads((run_of(home, "cells").path / "run.json").read_text())["spec"]["layout"]
    assert said("cells", layout=layout | {"exif_orientation": "apply"}) == {"exif_orientation": "apply"}


def test_a_models_use_leaves_torchs_settings_and_random_numbers_alone(home: Path) -> None:
    model = ssl_bench.load_model(run_of(home, "cells"))
    state, deterministic = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    model.predict(array_of(home, "cells", "cells/images/2.png"))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.are_deterministic_algorithms_enabled() == deterministic


def test_grey_and_colour_images_in_memory_are_read_as_their_files(home: Path, call: Call) -> None:
    grey = Image.open(home / "cells/images/1.png").convert("L")
    grey.save("grey.png")
    run = run_of(home, "cells")
    succeed(call(run.path, "grey.png"))
    model = ssl_bench.load_model(run)
    for image in (np.asarray(grey), np.asarray(grey)[..., None]):
        assert np.array_equal(model.predict(image), pixels_of(Path("out/grey.png")))


@pytest.mark.parametrize(
    ("data", "image", "words"),
    [
        ("cells", np.zeros((8, 8, 2), np.uint8), r"\(height, width, 3\), found \(8, 8, 2\)"),
        ("cells", np.zeros((8, 8, 3), np.float32), "expected 8 bits, found float32"),
        ("cells", np.array([["a"]]), "expected an array of numbers"),
        ("stains", np.zeros((8, 8)), "the channels dapi, he; found"),
        ("stains", np.full((8, 8, 2), 9.0), "intensity_range"),
        ("boxes", np.zeros((8, 8), np.float32), r"expected \(x, y, z\), found \(8, 8\)"),
        ("boxes", np.ones((8, 8, 8)), "every voxel has the value 1; zscore"),
        ("layers", np.ones((8, 8, 8)), "nearly every voxel has the value 1"),
        ("layers", np.full((8, 8, 8), np.nan), "finite"),
    ],
)
def test_arrays_that_are_no_images_of_the_run_are_refused(data: str, image: np.ndarray, words: str, home: Path) -> None:
    with pytest.raises(ssl_bench.UserError, match=words):
        ssl_bench.load_model(run_of(home, data)).predict(image)


def test_a_volume_in_thick_sagittal_slices_is_refused_by_a_model_of_axial_ones(home: Path) -> None:
    model, (image, _) = ssl_bench.load_model(run_of(home, "layers")), draw_volume(0)
    with pytest.raises(ssl_bench.UserError, match=r"voxels of \(5, 1, 1\) mm"):
        model.predict(image, spacing=(5, 1, 1))
    assert model.predict(image, spacing=(1, 1, 5)).shape == image.shape


@pytest.mark.parametrize(("changes", "words"), [({"status": "running"}, "finished run"), ({}, "no such file")])
def test_a_model_needs_a_finished_run_with_weights(changes: dict[str, str], words: str, home: Path, call: Call) -> None:
    folder = tampered(home, "cells", **changes)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ssl_bench.UserError, match=words):
        ssl_bench.load_model(folder)


# ------------------------------------------------------------------------------------------------------- which run


def test_a_run_is_named_by_its_folder_its_hash_or_the_beginning_of_it(
    home: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, image = run_of(home, "cells"), home / "cells/images/0.png"
    shutil.copytree(run.path, "elsewhere")
    monkeypatch.delenv("SSL_BENCH_RESULTS")
    shutil.copytree(home / "results", "results")
    copy = Path("results", run.path.relative_to(home / "results"))
    shutil.copytree(copy, f"{copy} (copy)")  # is not the store's
    unique = next(
        run.path.name[:n]
        for n in range(1, 17)
        if sum(other.path.name.startswith(run.path.name[:n]) for other in Store(Path("results")).runs()) == 1
    )
    masks = []
    for name in (run.path, "elsewhere", run.path.name, unique):
        succeed(call(name, image, "--overwrite"))
        masks.append(Path("out/0.png").read_bytes())
    assert len(set(masks)) == 1


def test_no_run_and_several_runs_are_refused(home: Path, call: Call) -> None:
    image = home / "cells/images/0.png"
    assert_refused(call("0123456789abcdef0", image), "RUN", str(home / "results"), "0123456789abcdef0", "none")
    assert_refused(call(home, image), "RUN", str(home), "none")
    assert_refused(call("", image), "RUN", "7 runs", str(run_of(home, "kvasir").path))


def tampered(home: Path, dataset: str, **changes: object) -> Path:
    """A copy of a run's folder whose run.json has other values; those of the spec by their names."""
    folder = Path("tampered")
    shutil.copytree(run_of(home, dataset).path, folder)
    data = json.loads((folder / "run.json").read_text())
    for key, value in changes.items():
        (data if key in data else data["spec"])[key] = value
    (folder / "run.json").write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize("status", ["running", "failed"])
def test_a_run_that_is_not_finished_is_refused(status: str, home: Path, call: Call) -> None:
    folder = tampered(home, "cells", status=status)
    assert_refused(call(folder, home / "cells/images/0.png"), str(folder), "finished", "ssl-bench run")


def test_another_version_of_the_method_is_refused(home: Path, call: Call) -> None:
    folder = tampered(home, "cells", method_version=99)
    assert_refused(call(folder, home / "cells/images/0.png"), str(folder), "version 99", "'supervised'", "version 1")


def test_a_run_of_another_format_is_refused(home: Path, call: Call) -> None:
    assert_refused(call(tampered(home, "cells", seed="one"), home / "cells/images/0.png"), "tampered/run.json")


def test_a_users_method_is_found_in_the_folder_that_is_named(home: Path, call: Call) -> None:
    folder, image = tampered(home, "cells", method="mine"), home / "cells/images/0.png"
    assert_refused(call(folder, image), "'mine'", "--methods-dir")
    Path("methods").mkdir()
    Path("methods/mine.py").write_text("""
from ssl_bench.method import SSLMethod, register


@register
class Mine(SSLMethod):
    name, title, reference = "mine", "Mine", "nobody"

    def __init__(self, setup, hyper):
        super().__init__(setup, hyper)
        self.network = self.new_student()

    @property
    def predictor(self):
        return self.network
""")
    assert "mine" in succeed(call(folder, image, "--methods-dir", "methods"))
    mine = Path("out/0.png").read_bytes()
    succeed(call(run_of(home, "cells").path, image, "--overwrite"))
    assert Path("out/0.png").read_bytes() == mine  # the same weights


def test_weights_that_are_missing_damaged_or_anothers_are_refused(home: Path, call: Call) -> None:
    folder, image = tampered(home, "cells"), home / "cells/images/0.png"
    weights = folder / "weights.safetensors"
    for content in (b"", weights.read_bytes()[:-100], (run_of(home, "kvasir").path / weights.name).read_bytes()):
        weights.write_bytes(content)
        assert_refused(call(folder, image), str(weights), "weights")
    weights.unlink()
    assert_refused(call(folder, image), f"{weights}: no such file", "an export without --weights")


def test_an_unknown_network_is_refused_with_those_there_are(home: Path, call: Call) -> None:
    answer = call(run_of(home, "kvasir").path, home / "cells/images", "--network", "student2")
    assert_refused(answer, "--network", "student, teacher", "'student2'")


# ----------------------------------------------------------------------------------------------------- which images


@pytest.mark.parametrize(
    ("dataset", "named", "words"),
    [
        ("boxes", "cells/images/0.png", ["cells/images/0.png", "volumes", "3D"]),
        ("cells", "boxes/case0.nii.gz", ["case0.nii.gz", "images", "2D"]),
        ("cells", "boxes", ["boxes", "images", "none"]),
        ("boxes", "hearts", ["hearts", "volumes", "none"]),  # which holds folders alone
        ("cells", "cells/images/9.png", ["cells/images/9.png", "no such file"]),
    ],
)
def test_a_path_without_images_of_the_runs_kind_is_refused(
    dataset: str, named: str, words: list[str], home: Path, call: Call
) -> None:
    good = home / ("cells/images/0.png" if dataset == "cells" else "boxes/case0.nii.gz")
    assert_refused(call(run_of(home, dataset).path, good, home / named), *words)


def test_images_that_cannot_be_read_are_refused(home: Path, call: Call) -> None:
    Path("cut.png").write_bytes((home / "cells/images/0.png").read_bytes()[:300])
    assert_refused(call(run_of(home, "cells").path, "cut.png"), "cut.png", "not a readable image")
    Path("cut.nii.gz").write_bytes((home / "boxes/case0.nii.gz").read_bytes()[:300])
    assert_refused(call(run_of(home, "boxes").path, "cut.nii.gz"), "cut.nii.gz", "not a readable volume")
    write_nifti(Path("flat.nii.gz"), np.ones((18, 20, 16), np.float32))
    assert_refused(call(run_of(home, "boxes").path, "flat.nii.gz"), "flat.nii.gz", "zscore")


def test_outputs_of_one_name_are_refused(home: Path, call: Call) -> None:
    image = Image.open(home / "cells/images/0.png")
    for path in ("a/x/1.png", "b/x/1.png", "1_prob_b-c.png", "1.png"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    run = run_of(home, "cells").path
    succeed(call(run, "a/x/1.png", "b/x/1.png"))
    assert {path.name for path in Path("out").iterdir()} == {"a_x_1.png", "b_x_1.png"}
    shutil.rmtree("out")
    assert_refused(call(run, "1.png", "1_prob_b-c.png", "--probabilities"), "1_prob_b-c.png", "different folders")
    succeed(call(run, "1.png", "1_prob_b-c.png", "a/x"))
    assert {path.name for path in Path("out").iterdir()} == {"here_1.png", "x_1.png", "1_prob_b-c.png"}


def test_a_file_that_is_there_is_replaced_only_when_told(home: Path, call: Call) -> None:
    run, images = run_of(home, "cells").path, home / "cells/images"
    Path("out").mkdir()
    Path("out/3.png").write_bytes(b"precious")
    code, _, err = call(run, images)
    assert code == 2
    assert err.splitlines() == ["error: --output: out/3.png exists; --overwrite replaces such files"]
    assert [path.read_bytes() for path in Path("out").iterdir()] == [b"precious"]
    succeed(call(run, images, "--overwrite"))
    assert sorted(path.name for path in Path("out").iterdir()) == [f"{n}.png" for n in range(6)]
    assert pixels_of(Path("out/3.png")).shape == (43, 50)


def test_an_image_is_never_replaced(home: Path, call: Call) -> None:
    shutil.copytree(home / "cells/images", "out")
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    code, _, err = call(run_of(home, "cells").path, Path("out").resolve() / "3.png", "--overwrite")
    assert code == 2
    assert err.splitlines() == ["error: --output: out/3.png is one of the images; name another folder"]
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before


def test_an_output_that_is_no_folder_is_refused(home: Path, call: Call) -> None:
    Path("out").write_text("a file")
    assert_refused(call(run_of(home, "cells").path, home / "cells/images/0.png"), "--output", "out")
    assert Path("out").read_text() == "a file"
