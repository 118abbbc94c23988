"""Volumes by slices: how they are cut, brought to 8 bits, drawn for training, put together and scored."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import h5py
import medpy.metric.binary as medpy_metrics
import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import Call, assert_error
from PIL import Image
from torch import Tensor, nn

from ssl_bench.cards import Benchmark, Request, load_benchmark, load_protocol, measurement_of
from ssl_bench.data import demo3d
from ssl_bench.data.cache import prepare
from ssl_bench.data.check import check
from ssl_bench.data.dataset import Dataset
from ssl_bench.data.slices import to_bytes, to_slices, to_volume
from ssl_bench.data.stream import open_stream
from ssl_bench.errors import UserError
from ssl_bench.method import load_methods
from ssl_bench.scoring.scorer import Scorer
from ssl_bench.training.job import Job
from ssl_bench.training.plan import plan_runs

CPU = torch.device("cpu")
SIDE = 32  # of protocol tiny
CARD = """
name = "hearts"
title = "Hearts"
dimensions = 3
slices = true
classes = ["background", "wall", "cavity"]
cases = 6
group = "p{group}_f*"
labeled = ["1"]
metrics = ["dsc", "95hd"]
protocol = "tiny"
source = "drawn"
license = "none"
citation = "none"

[[volumes]]
roots = ["."]
images = "data/{id}.h5"
slice_files = "data/slices/{id}_slice_{slice}.h5"
axes = "zyx"
intensity = "as-is"
slice_window = [0, 1]

[splits.listed]
file = "split.csv"
labeled = "first"
"""


@pytest.fixture(scope="module")
def demo_slices(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return prepare(load_benchmark("demo-slices"), None, SIDE)


def draw_case(index: int) -> tuple[np.ndarray, np.ndarray]:
    """An image (X, Y, Z) of 0 to 1 and labels 0 to 2."""
    rng = np.random.default_rng(index)
    image = rng.random((12, 10, 3 + index % 3)).astype(np.float32)
    return image, rng.integers(0, 3, image.shape, np.uint8)


def write_h5(path: Path, image: np.ndarray, label: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = image, label


@pytest.fixture
def hearts(tmp_path: Path) -> Benchmark:
    """Four cases of two patients as slices along the first axis, in files numbered from 1, and two whole cases."""
    names = ["p1_f1", "p1_f2", "p2_f1", "p2_f2", "p3_f1", "p3_f2"]
    for index, name in enumerate(names):
        image, label = (array.T for array in draw_case(index))
        if index >= 4:
            write_h5(tmp_path / f"data/{name}.h5", image, label)
        for number in range(1, len(image) + 1):
            if index < 4:
                write_h5(tmp_path / f"data/slices/{name}_slice_{number}.h5", image[number - 1], label[number - 1])
    rows = [f"{name},{'test' if name.startswith('p3') else 'train'}" for name in sorted(names, reverse=True)]
    (tmp_path / "split.csv").write_text("\n".join(["id,part", *rows]))
    (tmp_path / "hearts.toml").write_text(CARD)
    return load_benchmark(str(tmp_path / "hearts.toml"))


def plan(benchmark: Benchmark, root: Path | None, labeled: str, **settings: Any) -> Job:
    load_methods()
    request = Request(benchmark, ("mt",), labeled, "tiny", {"iterations": 2, **settings}, (1,))
    (job,) = plan_runs(request, CPU, root, allow_partial=True, advance=None)
    return job


# ------------------------------------------------------------------------------------------------------------- 8 bits


@pytest.mark.parametrize("window", ["range", "percentiles", (-1.0, 2.5)])
def test_8_bits_are_the_naive_loop(window: Any) -> None:
    image = np.random.default_rng(1).normal(0, 2, (2, 5, 4, 3)).astype(np.float32)
    found = to_bytes(image, window, "x")
    assert found.dtype == np.uint8
    for channel, own in zip(image.astype(np.float64), found, strict=True):
        if window == "range":
            low, high = channel.min(), channel.max()
        elif window == "percentiles":
            ordered = np.sort(channel.ravel())  # linear between the order statistics around (n - 1) q
            low, high = (
                ordered[math.floor(place)] + (place % 1) * (ordered[math.ceil(place)] - ordered[math.floor(place)])
                for place in ((ordered.size - 1) * 0.005, (ordered.size - 1) * 0.995)
            )
        else:
            low, high = window
        for value, bits in zip(channel.ravel(), own.ravel(), strict=True):
            assert abs(min(max(255 * (value - low) / (high - low), 0), 255) - bits) <= 0.5 + 1e-9


@pytest.mark.parametrize("window", ["range", "percentiles"])
def test_a_flat_volume_is_refused_by_name(window: Any) -> None:
    with pytest.raises(UserError, match=r"^case 7: nearly every voxel has the value 3; "):
        to_bytes(np.full((4, 4, 4), 3.0, np.float32), window, "case 7")


def test_slices_are_axial_with_x_to_the_right_and_back() -> None:
    mask = np.arange(24).reshape(2, 3, 4)
    slices = to_slices(mask)
    assert slices.shape == (4, 3, 2)
    assert slices[3, 2, 1] == mask[1, 2, 3]
    assert (to_volume(slices) == mask).all()
    assert to_slices(mask[None].repeat(5, 0)).shape == (4, 3, 2, 5)


# -------------------------------------------------------------------------------------------------------- the data set


def test_the_cache_holds_every_slice_and_whole_truths(demo_slices: Dataset) -> None:
    ids = ["0031", "0002"]
    stacks, truths = list(demo_slices.stacks(ids)), list(demo_slices.truths(ids))
    arrays, masks = demo_slices.arrays(ids)
    place = 0
    for name, stack, truth, size in zip(ids, stacks, truths, demo_slices.truth_sizes(ids), strict=True):
        image, mask = demo3d.draw(int(name))
        assert (truth == mask).all()
        assert size == (image.shape[1], image.shape[0])
        assert len(stack) == image.shape[2]
        low, high = np.percentile(image.astype(np.float64), (0.5, 99.5))
        grey = np.rint(255 * (image.astype(np.float64).clip(low, high) - low) / (high - low)).astype(np.uint8)
        for z, shown in enumerate(stack):
            expected = Image.fromarray(grey[:, :, z].T).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            assert (shown[..., 0] == np.asarray(expected)).all()
            assert (arrays[place, 0] == shown[..., 0]).all()
            nearest = Image.fromarray(mask[:, :, z].T).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            assert (masks[place] == np.asarray(nearest)).all()
            place += 1
    assert place == demo_slices.count_images(ids) == len(arrays)
    assert (next(demo_slices.images(ids)) == stacks[0][len(stacks[0]) // 2]).all()


def test_volumes_by_slices_are_other_data_than_volumes(demo_slices: Dataset) -> None:
    whole = prepare(load_benchmark("demo3d"), None, None)
    assert whole.fingerprint != demo_slices.fingerprint
    assert whole.contents == demo_slices.contents


def test_slices_in_files_of_their_own_are_the_volume(hearts: Benchmark, tmp_path: Path) -> None:
    assert check(hearts, tmp_path).errors == 0
    dataset = prepare(hearts, tmp_path, SIDE)
    assert dataset.ids == ("p1_f1", "p1_f2", "p2_f1", "p2_f2", "p3_f1", "p3_f2")
    for index, (truth, stack) in enumerate(zip(dataset.truths(dataset.ids), dataset.stacks(dataset.ids), strict=True)):
        image, label = draw_case(index)
        assert (truth == label).all()
        for z, shown in enumerate(stack):
            grey = np.rint(255 * image[:, :, z].T.astype(np.float64)).astype(np.uint8)
            resized = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            assert (shown[..., 0] == np.asarray(resized)).all()


def test_slices_that_do_not_make_a_volume_are_named(hearts: Benchmark, tmp_path: Path) -> None:
    folder = tmp_path / "data/slices"
    content = (folder / "p1_f2_slice_2.h5").read_bytes()
    (folder / "p1_f2_slice_2.h5").unlink()
    with pytest.raises(UserError, match=r"p1_f2_slice_1\.h5: case 'p1_f2' lacks slice 2 of 4$"):
        prepare(hearts, tmp_path, SIDE)
    for name in ("p1_f2_slice_2.h5", "p1_f2_slice_02.h5"):
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=r"p1_f2_slice_2\.h5: two files are slice 2 of 'p1_f2'; the other is .*_02\.h5"):
        prepare(hearts, tmp_path, SIDE)
    (folder / "p1_f2_slice_02.h5").unlink()
    write_h5(folder / "p1_f2_slice_2.h5", np.zeros((9, 9)), np.zeros((9, 9)))
    with pytest.raises(UserError, match=r"p1_f2_slice_2\.h5: image: expected the shape of the first slice, \(10, 12\)"):
        prepare(hearts, tmp_path, SIDE)
    write_h5(folder / "p1_f2_slice_2.h5", np.zeros((1, 10, 12)), np.zeros((10, 12)))
    with pytest.raises(UserError, match=r"p1_f2_slice_2\.h5: image: expected numbers along two axes, found float64 of"):
        prepare(hearts, tmp_path, SIDE)
    (folder / "p1_f2_slice_2.h5").write_bytes(b"no slice")
    with pytest.raises(UserError, match=r"p1_f2_slice_2\.h5: not a readable slice: "):
        prepare(hearts, tmp_path, SIDE)


# ------------------------------------------------------------------------------------------------------------ training


def test_whole_patients_are_labelled_and_their_slices_are_drawn(
    hearts: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_BENCH_MEMORY", "all")
    job = plan(hearts, tmp_path, "1", labeled_batch=4)
    assert job.splits.labeled == ("p2_f2", "p2_f1")  # the first patient of the list
    assert set(job.splits.unlabeled) == {"p1_f1", "p1_f2"}
    assert (job.spec.train_count, job.spec.train_groups, job.spec.labeled) == (4, 2, 1)
    assert job.spec.train_slices == 3 + 4 + 5 + 3
    assert (job.spec.slice_window, job.spec.axes, job.spec.dimensions) == ((0.0, 1.0), "zyx", 3)
    stream = open_stream(job.dataset, job.splits, job.spec.protocol, 1, CPU, unlabeled=True)
    labeled, unlabeled = stream.pools["labeled"], stream.pools["unlabeled"]
    assert (labeled.tolist(), unlabeled.tolist()) == (list(range(8)), list(range(8, 15)))
    images, masks = job.dataset.arrays(("p2_f2", "p2_f1", *job.splits.unlabeled))
    assert (stream.images.numpy() == images).all()  # type: ignore[attr-defined]
    assert (stream.masks.numpy() == masks).all()  # type: ignore[attr-defined]
    drawn = torch.cat([stream.rows("labeled", iteration) for iteration in range(2)])
    assert sorted(drawn.tolist()) == list(range(8))  # every slice once an epoch


def test_an_epoch_passes_over_slices(hearts: Benchmark, tmp_path: Path) -> None:
    job = plan(hearts, tmp_path, "1", iterations=None, epochs=3, unlabeled_batch=4, rampup_epochs=2)
    assert job.iterations == 3 * math.ceil(15 / 4)
    assert job.rampup_length == 2 * math.ceil(15 / 4)


def test_a_run_on_whole_volumes_or_images_names_no_slices() -> None:
    for name in ("demo", "demo3d"):
        job = plan(load_benchmark(name), None, "10%")
        assert not {"train_slices", "slice_window", "axes"} & job.spec.identity().keys()
        assert job.spec.train_images == job.spec.train_count


# ------------------------------------------------------------------------------------------------------------- scoring


class Threshold(nn.Module):
    """Calls bright pixels the atrium."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(images), images - images.mean()], 1)


def test_a_volume_is_scored_as_a_whole() -> None:
    job = plan(load_benchmark("demo-slices"), None, "10%")
    ids = job.splits.test[:2]
    scorer = Scorer(job.dataset, ids, job.spec, job.measurement, CPU)
    found = list(scorer.predictions({"network": Threshold()}))
    assert [one.case for one in found] == list(ids)
    protocol = job.spec.protocol
    for one in found:
        _, truth = demo3d.draw(int(one.case))
        assert (one.truth == truth).all()
        (stack,) = job.dataset.stacks([one.case])
        predicted = np.zeros_like(truth)
        for first in range(0, len(stack), 16):  # the mean of Threshold is that of a batch
            chunk = torch.from_numpy(stack[first : first + 16]).permute(0, 3, 1, 2).float() / 255
            mean, std = sum(protocol.input_mean) / 3, sum(protocol.input_std) / 3
            logits = Threshold()((chunk - mean) / std)
            whole = nn.functional.interpolate(logits, truth.shape[1::-1], mode="bilinear", align_corners=False)
            for z, slice_logits in enumerate(whole, first):
                predicted[:, :, z] = (slice_logits[1] > slice_logits[0]).numpy().T
        assert (one.mask == predicted).mean() > 0.9999  # rounding at the threshold
        (row,) = scorer.rows(one)
        assert row[3] == pytest.approx(medpy_metrics.dc(one.mask, truth))
        assert row[5] == pytest.approx(medpy_metrics.hd95(one.mask, truth))
        per_slice = [medpy_metrics.dc(one.mask[:, :, z], truth[:, :, z]) for z in range(truth.shape[2])]
        assert abs(np.mean(per_slice) - float(row[3] or 0)) > 0.01  # another number
    again = list(scorer.predictions({"network": Threshold()}, skip=scorer.repeatable(1)))
    assert [(one.case, one.mask.tobytes()) for one in again] == [(found[1].case, found[1].mask.tobytes())]


def test_a_score_size_is_that_of_slices() -> None:
    job = plan(load_benchmark("demo-slices"), None, "10%", score_size=20)
    (one,) = Scorer(job.dataset, job.splits.test[:1], job.spec, job.measurement, CPU).predictions(
        {"network": Threshold()}
    )
    _, truth = demo3d.draw(int(one.case))
    assert one.mask.shape == one.truth.shape == (20, 20, truth.shape[2])
    shrunk = Image.fromarray(truth[:, :, 9].T).resize((20, 20), Image.Resampling.NEAREST)
    assert (np.asarray(shrunk) == one.truth[:, :, 9].T).all()


def test_distances_are_those_of_volumes() -> None:
    card = load_benchmark("demo-slices")
    measurement = measurement_of(load_protocol("tiny", dimensions=2), card)
    assert measurement.heading("95hd") == card.heading("95hd") == "95HD [voxel]"
    flat = measurement_of(load_protocol("tiny", dimensions=2), load_benchmark("demo"))
    assert measurement.model_copy(update={"slices": None, "metrics": flat.metrics}).key == flat.key


def test_mm_need_the_original_size(tmp_path: Path) -> None:
    text = CARD.replace("data/{id}.h5", "{id}.nii.gz").replace('slice_files = "data/slices/{id}_slice_{slice}.h5"', "")
    text = text.replace('axes = "zyx"', 'masks = "{id}_mask.nii.gz"').replace("dsc", 'dsc", "asd')
    (tmp_path / "split.csv").write_text("id,part\n")
    (tmp_path / "mm.toml").write_text(text.replace('protocol = "tiny"', 'protocol = "tiny"\ndistance_unit = "mm"'))
    card = load_benchmark(str(tmp_path / "mm.toml"))
    with pytest.raises(UserError, match=r"^--set score_size: expected original on .*mm\.toml, .* in mm, found 64$"):
        measurement_of(load_protocol("tiny", {"score_size": 64}, dimensions=2), card)


# --------------------------------------------------------------------------------------------------------------- cards


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("dimensions = 3", "dimensions = 2", "slices needs dimensions = 3"),
        ('"data/slices/{id}_slice_{slice}.h5"', '"data/slices/{id}.h5"', "must contain {id} and {slice} once each"),
        ('"data/slices/{id}_slice_{slice}.h5"', '"data/{id}_{slice}.png"', "slice_files must be HDF5 files"),
        ("slice_window = [0, 1]", "slice_window = [1, 1]", "must be two intensities, the lower one first"),
        ('axes = "zyx"', 'axes = "yxz"', "axes"),
    ],
)
def test_a_wrong_card_is_one_line(old: str, new: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("id,part\n")
    (tmp_path / "wrong.toml").write_text(CARD.replace(old, new))
    with pytest.raises(UserError) as caught:
        load_benchmark(str(tmp_path / "wrong.toml"))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_method_for_volumes_alone_is_not_for_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_methods()["mt"], "dimensions", (3,))
    with pytest.raises(UserError, match=r"^--methods: mt does not support 2D data$"):
        plan(load_benchmark("demo-slices"), None, "10%")


# ---------------------------------------------------------------------------------------------------------------- acdc


def test_acdc_counts_labelled_slices_as_its_literature_does(real_data: Path) -> None:
    for patients, slices in ((3, 68), (7, 136), (14, 256)):
        job = plan(load_benchmark("acdc"), real_data, str(patients))
        assert job.dataset.count_images(job.splits.labeled) == slices
        assert job.splits.labeled[0] == "patient099_frame01"
    assert len(job.splits.test) == 20  # of the 40 that the data set has


def test_acdc_splits_whole_patients(real_data: Path) -> None:
    job = plan(load_benchmark("acdc"), real_data, "3", split="ssl4mis-random")
    groups = job.splits.groups or {}
    assert len({groups[name] for name in job.splits.labeled}) == 3
    assert not {groups[name] for name in job.splits.test} & {groups[name] for name in job.splits.unlabeled}
    first = plan(load_benchmark("acdc"), real_data, "3").splits
    assert {groups[name] for name in job.splits.labeled} != {groups[name] for name in first.labeled}
    table = Path(str(load_benchmark("acdc").splits["ssl4mis"].file)).read_text().split()[1:]
    parts = [row.split(",") for row in table]
    assert [sum(part == one for _, part in parts) for one in ("train", "test")] == [70, 20]
    assert len({name for name, _ in parts}) == 90


# ------------------------------------------------------------------------------------- slices that would be cut wrongly


def nifti_card(folder: Path, **layout: str) -> Benchmark:
    text = CARD[: CARD.index("[[volumes]]")].replace('group = "p{group}_f*"\n', "")
    fields = {"roots": '["."]', "images": '"{id}.nii.gz"', "masks": '"masks/{id}.nii.gz"'} | layout
    table = "\n".join(f"{key} = {value}" for key, value in fields.items())
    (folder / "own.toml").write_text(f"{text}\n[[volumes]]\n{table}\n\n[splits.random]\ntest = 2\n")
    return load_benchmark(str(folder / "own.toml"))


def write_niftis(folder: Path, axes: str, scale: float = 1.0) -> None:
    (folder / "masks").mkdir()
    turn = nib.orientations.axcodes2ornt(axes)
    for index in range(3):
        image, label = draw_case(index)
        for path, array in ((folder / f"c{index}.nii.gz", scale * image), (folder / f"masks/c{index}.nii.gz", label)):
            affine = nib.orientations.inv_ornt_aff(turn, array.shape) @ np.diag([1.0, 1.0, 8.0, 1.0])
            nib.save(nib.Nifti1Image(array, affine), path)


@pytest.mark.parametrize("axes", ["AIL", "RIA"])
def test_slices_that_are_not_axial_are_refused(axes: str, tmp_path: Path) -> None:
    write_niftis(tmp_path, axes)
    message = r"c0\.nii\.gz: expected slices along superior-inferior \(z\), found voxels of \(.*8.*\) mm along"
    with pytest.raises(UserError, match=message):
        prepare(nifti_card(tmp_path), tmp_path, SIDE, allow_partial=True)


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PLI"])
def test_axial_slices_of_any_orientation_are_cut(axes: str, tmp_path: Path) -> None:
    write_niftis(tmp_path, axes)
    dataset = prepare(nifti_card(tmp_path), tmp_path, SIDE, allow_partial=True)
    assert [len(stack) for stack in dataset.stacks(dataset.ids)] == [3, 4, 5]


def test_a_window_beside_all_intensities_is_refused_and_checked(tmp_path: Path) -> None:
    write_niftis(tmp_path, "RAS")
    card = nifti_card(tmp_path, slice_window="[100, 200]")
    said = "expected intensities in the slice_window from 100 to 200, found them from"
    with pytest.raises(UserError, match=said):
        prepare(card, tmp_path, SIDE, allow_partial=True)
    assert sum(said in one.text for one in check(card, tmp_path).findings if one.level == "error") == 3


def test_check_names_volumes_with_many_slices(hearts: Benchmark, tmp_path: Path) -> None:
    assert not [one for one in check(hearts, tmp_path).findings if one.kind == "slices"]
    turned = CARD.replace('axes = "zyx"\n', "").replace('slice_files = "data/slices/{id}_slice_{slice}.h5"\n', "")
    (tmp_path / "hearts.toml").write_text(turned)
    (found,) = (
        one for one in check(load_benchmark(str(tmp_path / "hearts.toml")), tmp_path).findings if one.kind == "slices"
    )
    assert found.text.startswith("2 of 2 volumes, such as p3_f1: more samples along z than along x or y")


def test_a_stack_without_its_first_slice_is_named(hearts: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "data/slices/p1_f2_slice_1.h5").unlink()
    with pytest.raises(UserError, match=r"p1_f2_slice_2\.h5: case 'p1_f2' lacks slice 1 of 4$"):
        prepare(hearts, tmp_path, SIDE)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('axes = "zyx"\n', "", "slice_files needs axes = 'zyx'"),
        ("slices = true\n", "slices = true\nchannels = 2\n", "channels: expected 1 with slice_files, found 2"),
        ("data/slices/{id}", "data/*/{id}", "must contain no wildcard"),
    ],
)
def test_stacks_that_would_be_read_wrongly_are_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("id,part\n")
    (tmp_path / "wrong.toml").write_text(CARD.replace(old, new))
    with pytest.raises(UserError, match=said):
        load_benchmark(str(tmp_path / "wrong.toml"))


@pytest.mark.parametrize("slices", [True, False])
@pytest.mark.usefixtures("hearts")
def test_predict_asks_on_which_axes_arrays_lie_that_do_not_say_it(slices: bool, tmp_path: Path, call: Call) -> None:
    if not slices:
        (tmp_path / "hearts.toml").write_text(CARD.replace("slices = true\n", ""))
    words = ("--dataset", tmp_path / "hearts.toml", "--data-root", tmp_path, "--protocol", "tiny", "--iterations", "2")
    assert call("run", "--methods", "supervised", "--seeds", "1", *words)[0] == 0
    (run,) = (tmp_path / "results/runs/hearts/supervised").iterdir()
    assert json.loads((run / "run.json").read_text())["spec"]["image_axes"] == "unknown"
    image, _ = draw_case(4)
    files = {"lps": (image, (-1.0, -1.0, 1.0, 1.0)), "ras": (image[::-1, ::-1], (1.0, 1.0, 1.0, 1.0))}
    for name, (array, sides) in files.items():  # one image in two ways
        nib.save(nib.Nifti1Image(array, np.diag(sides)), tmp_path / f"{name}.nii.gz")
    for name in files:
        answer = call("predict", run, tmp_path / f"{name}.nii.gz", "--output", "out")
        assert_error(answer, f"{name}.nii.gz: nothing says on which axes", "--array-axes", "as-stored", "LPS")
    assert call("predict", run, tmp_path / "data/p3_f1.h5", "--output", "h5", "--uncertainty")[0] == 0
    h5 = np.asarray(nib.load(tmp_path / "h5/p3_f1_uncertainty.nii.gz").dataobj)
    assert not np.array_equal(h5, h5[::-1, ::-1])
    for axes, name, expected in (
        ("as-stored", "lps", h5), ("lps", "lps", h5), ("LPS", "ras", h5[::-1, ::-1]), ("RAS", "lps", None),
    ):  # fmt: skip
        path = tmp_path / f"{name}.nii.gz"
        words = ("--output", "out", "--overwrite", "--uncertainty", "--array-axes", axes)
        assert call("predict", run, path, *words)[0] == 0
        found = nib.load(tmp_path / f"out/{name}_uncertainty.nii.gz")
        assert np.array_equal(found.affine, nib.load(path).affine)
        assert np.array_equal(found.dataobj, h5) == (expected is h5)
        assert expected is None or np.array_equal(found.dataobj, expected)
