"""The cards of the field's data sets find a folder as it is downloaded, and split it as its literature does."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import h5py
import layouts
import numpy as np
import pytest
import SimpleITK
import torch
from layouts import box, organs, photo, picture, scan, volume

from ssl_bench.cards import Benchmark, Request, load_benchmark, share_of
from ssl_bench.data.check import check
from ssl_bench.method import load_methods
from ssl_bench.training.job import Job
from ssl_bench.training.plan import plan_runs


def plan(card: Benchmark, root: Path, labeled: str, **settings: Any) -> Job:
    """The job of a method, after a check that finds nothing but another number of cases."""
    found = check(card, root)
    assert [one.text for one in found.findings if one.level == "error"] == [
        f"expected {card.cases} cases, found {found.cases}"
    ]
    load_methods()
    request = Request(card, ("supervised",), labeled, "tiny", {"iterations": 2, **settings}, (1,))
    (job,) = plan_runs(request, torch.device("cpu"), root, allow_partial=True, advance=None)
    return job


def listed(card: Benchmark, part: str) -> list[str]:
    """The ids or groups of a part, in the order of the default split's file."""
    with Path(str(next(iter(card.splits.values())).file)).open() as file:
        return [key for key, own in list(csv.reader(file))[1:] if own == part]


def write_h5(path: Path, image: np.ndarray, label: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = image.astype(np.float32), label.astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "train", "test", "counts"),
    [("pancreas-ct", 62, 20, {"20%": 12, "10%": 6}), ("brats2019", 250, 60, {"10%": 25, "20%": 50})],
)
def test_lists_of_scans_have_the_literatures_numbers(name: str, train: int, test: int, counts: dict[str, int]) -> None:
    card = load_benchmark(name)
    assert (len(listed(card, "train")), len(listed(card, "test"))) == (train, test)
    assert {share: share_of(share, train, "--labeled", "image") for share in card.labeled} == counts


def test_pancreas_as_mc_net_writes_it(tmp_path: Path) -> None:
    card = load_benchmark("pancreas-ct")
    ids = [*listed(card, "train")[:8], *listed(card, "test")[:2]]
    for seed, name in enumerate(ids):
        write_h5(tmp_path / f"Pancreas/Pancreas_h5/{name}_norm.h5", scan(seed), organs(seed, 2))
    job = plan(card, tmp_path, "2")
    assert job.splits.labeled == tuple(ids[:2])
    assert job.splits.test == tuple(ids[8:])


@pytest.mark.parametrize("layout", ["SSL4MIS", "challenge"])
def test_brats_in_both_layouts(layout: str, tmp_path: Path) -> None:
    card = load_benchmark("brats2019")
    ids = [*listed(card, "train")[:8], *listed(card, "test")[:2]]
    values = np.array([0, 1, 2, 4], np.uint8)
    for seed, name in enumerate(ids):
        labels = values[organs(seed, 4)]
        if layout == "SSL4MIS":
            write_h5(tmp_path / f"BraTS2019/data/{name}.h5", scan(seed), labels)
        else:
            folder = tmp_path / "MICCAI_BraTS_2019_Data_Training" / ("HGG" if seed % 2 else "LGG") / name
            for channel in ("flair", "t1", "t1ce", "t2"):
                volume(folder / f"{name}_{channel}.nii.gz", scan(seed) * (2 if channel == "t1" else 1))
            volume(folder / f"{name}_seg.nii.gz", labels)
    job = plan(card, tmp_path, "2")
    assert job.splits.labeled == tuple(ids[:2])
    assert job.splits.test == tuple(ids[8:])
    (truth,) = job.dataset.truths([ids[3]])
    assert truth.sum() == (organs(3, 4) > 0).sum()


def test_acdc_as_downloaded_is_grouped_by_patient(tmp_path: Path) -> None:
    truth = layouts.acdc(tmp_path / "acdc")
    job = plan(load_benchmark("acdc"), tmp_path, "1", split="ssl4mis-random")
    assert {name.split("_")[0] for name in (*job.splits.labeled, *job.splits.unlabeled, *job.splits.test)} <= {
        "patient001", "patient002", "patient003"
    }  # fmt: skip
    assert set(job.dataset.ids) == {name.split("/")[1] for name in truth if name.startswith("training/")}
    for name, mask in zip(job.dataset.ids, job.dataset.truths(job.dataset.ids), strict=True):
        assert (mask == truth[f"training/{name}"]).all()
    groups = job.splits.groups or {}
    assert {groups[name] for name in job.splits.labeled} == {job.splits.labeled[0][7:10]}


def test_busi_unites_masks_and_leaves_normal_images_out(tmp_path: Path) -> None:
    truth = layouts.busi(tmp_path / "busi")
    job = plan(load_benchmark("busi"), tmp_path, "2")
    assert set(job.dataset.ids) == {name for name in truth if not name.startswith("normal")}
    for name, mask in zip(job.dataset.ids, job.dataset.truths(job.dataset.ids), strict=True):
        assert (mask == truth[name]).all()


def test_drive_reads_the_first_annotator_and_the_publishers_split(tmp_path: Path) -> None:
    truth = layouts.drive(tmp_path / "DRIVE")
    job = plan(load_benchmark("drive"), tmp_path, "2")
    assert set(job.splits.test) == {name for name in truth if name.startswith("test/")}
    for name, mask in zip(job.dataset.ids, job.dataset.truths(job.dataset.ids), strict=True):
        assert (mask == truth[name]).all()


def test_isic_2017_trains_and_tests_on_the_challenges_parts(tmp_path: Path) -> None:
    for start, part in ((0, "Training"), (100, "Validation"), (200, "Test_v2")):
        for number in range(start, start + 4):
            name = f"ISIC_{number:07d}"
            folder = tmp_path / f"isic2017/ISIC-2017_{part}_Data"
            picture(folder / f"{name}.jpg", photo(number))
            picture(folder / f"{name}_superpixels.png", photo(number))
            picture(folder.parent / f"ISIC-2017_{part}_Part1_GroundTruth/{name}_segmentation.png", 255 * box(number))
    job = plan(load_benchmark("isic2017"), tmp_path, "2")
    assert set(job.splits.test) == {f"Test_v2/ISIC_{number:07d}" for number in range(200, 204)}
    assert len(job.splits.labeled) + len(job.splits.unlabeled) == 4
    assert all(name.startswith("Training/") for name in job.splits.labeled)


@pytest.mark.parametrize("folder", ["promise12/training_data", "promise12/TrainingData_Part1"])
def test_promise12_as_downloaded(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir(parents=True)
    for seed in range(12):
        for name, voxels in ((f"Case{seed:02d}", scan(seed)), (f"Case{seed:02d}_segmentation", organs(seed, 2))):
            image = SimpleITK.GetImageFromArray(voxels.T)
            image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
            SimpleITK.WriteImage(image, str(tmp_path / folder / f"{name}.mhd"))
    job = plan(load_benchmark("promise12"), tmp_path, "1")
    assert (len(job.splits.test), job.spec.train_slices) == (10, 2 * 4)
    (truth,) = job.dataset.truths(["Case07"])
    assert (truth == organs(7, 2)).all()
