"""Runs on volumes, in process and as a user gives them: same bits after a stop, right scores, several classes."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import Call
from medpy.metric import binary as medpy
from PIL import Image
from safetensors.torch import load_file

from ssl_bench.cards import Request, load_benchmark
from ssl_bench.data.batches import VolumeStream
from ssl_bench.data.stream import open_stream
from ssl_bench.errors import InterruptedRunError, UserError
from ssl_bench.launch.inprocess import Outcome, run_all
from ssl_bench.method import load_methods
from ssl_bench.scoring.inference import predict_windows
from ssl_bench.store import RunProgress, Store
from ssl_bench.training.device import bf16_gradients_are_right
from ssl_bench.training.job import Job, build_method
from ssl_bench.training.plan import plan_runs
from ssl_bench.training.provenance import provenance
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.train import train

CPU = torch.device("cpu")
CARD = """
name = "organs"
title = "organs"
dimensions = 3
classes = ["background", "liver", "spleen"]
cases = 9
labeled = ["3"]
metrics = ["dsc", "jaccard", "95hd", "asd"]
source = "s"
license = "l"
citation = "c"

[[volumes]]
roots = ["."]
images = "images/{id}.nii.gz"
masks = "labels/{id}.nii.gz"
masks_optional = true

[splits.random]
test = 2
"""
FEW_DECODERS = {"spatial_dropout": 1, "cutout": 1, "feature_dropout": 1, "feature_noise": 1, "vat": 1} | {
    "context_masking": 1, "object_masking": 1,
}  # fmt: skip
load_methods()


class Silent:
    """A display that says nothing, and sets a stop signal after some steps."""

    def __init__(self, stop: StopSignal | None = None, after: int = 0) -> None:
        self.stop, self.left = stop, after

    def begin_run(self, number: int, total: int, job: Job) -> None: ...
    def end_run(self, outcome: str) -> None: ...
    def wait(self, runs: int, job: Job, progress: RunProgress | None) -> None: ...
    def start(self, task: str, done: int, total: int) -> None: ...

    def step(self, text: str = "") -> None:
        self.left -= 1
        if self.stop is not None and self.left == 0:
            self.stop.signal_number = signal.SIGTERM


def organ_case(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    shape = tuple(int(side) for side in rng.integers(14, 25, 3))
    mask = np.zeros(shape, np.uint8)
    mask[2:8, 3:9, 2:10] = 1
    mask[9:13, 4:11, 3:9] = 2
    return (rng.normal(0, 20, shape) + 60.0 * mask).astype(np.float32), mask


@pytest.fixture(scope="session")
def organs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with nine volumes of three classes, two of them without a mask, and its card."""
    return write_organs(tmp_path_factory.mktemp("organs"), np.eye(4), CARD)


def write_organs(root: Path, affine: np.ndarray, card: str) -> Path:
    (root / "images").mkdir()
    (root / "labels").mkdir()
    for number in range(9):
        image, mask = organ_case(number)
        nib.save(nib.Nifti1Image(image, affine), root / "images" / f"c{number}.nii.gz")
        if number < 7:
            nib.save(nib.Nifti1Image(mask, affine), root / "labels" / f"c{number}.nii.gz")
    (root / "card.toml").write_text(card)
    return root


def plan(root: Path, *methods: str, **settings: Any) -> list[Job]:
    own = {key: value for key, value in FEW_DECODERS.items() if "cct" in methods} | settings
    request = Request(load_benchmark(str(root / "card.toml")), methods, "3", "tiny", own, (1,))
    return plan_runs(request, CPU, root, allow_partial=False, advance=None)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ucmt", "ucmt-cutmix", "cct", "uamt"])
def test_a_stopped_run_on_volumes_goes_on_in_the_same_bits(method: str, organs: Path, tmp_path: Path) -> None:
    (job,) = plan(organs, method, iterations=8, dropout=0.3)
    whole, parts = Store(tmp_path / "whole").folder(job.spec), Store(tmp_path / "parts").folder(job.spec)
    for folder in (whole, parts):
        folder.path.mkdir(parents=True)
    train(job, whole, CPU, StopSignal(), Silent(), provenance(job.method, CPU))
    stop = StopSignal()
    with pytest.raises(InterruptedRunError):
        train(job, parts, CPU, stop, Silent(stop, after=3), provenance(job.method, CPU))
    train(job, parts, CPU, StopSignal(), Silent(), provenance(job.method, CPU))
    for name in ("weights.safetensors", f"cases-{job.measurement.key}.csv", "curves.csv"):
        assert (whole.path / name).read_bytes() == (parts.path / name).read_bytes(), name


IN_3D = {name: method for name, method in sorted(load_methods().items()) if 3 in method.dimensions}
ONE_OF_EACH_GROUP = {method.group: name for name, method in IN_3D.items()}.values()


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(tuple(ONE_OF_EACH_GROUP), id="one of each group"),
        pytest.param(tuple(IN_3D), id="all", marks=pytest.mark.slow),
    ],
)
def test_methods_train_and_are_scored_on_three_classes(names: tuple[str, ...], organs: Path, tmp_path: Path) -> None:
    jobs = plan(organs, *names, iterations=2, boxes=2)
    assert run_all(jobs, Store(tmp_path), CPU, Silent()) == Outcome(trained=len(jobs))
    for job in jobs:
        run = Store(tmp_path).find(job.spec)
        assert run is not None
        for network, metrics in run.headline.summary.items():
            own = run.headline.cases[run.headline.cases["network"] == network]
            assert list(zip(own["case"], own["class"], strict=True)) == [
                (case, label) for case in job.splits.test for label in ("liver", "spleen")
            ]
            for metric, summary in metrics.items():
                for part, rows in [(summary, own), *((summary["classes"][c], own[own["class"] == c]) for c in
                                                     ("liver", "spleen"))]:  # fmt: skip
                    values = rows[metric].dropna()
                    assert part["undefined"] == len(rows) - len(values)
                    assert part["mean"] == (pytest.approx(values.mean()) if len(values) else None)


@pytest.mark.parametrize("spacing", [None, (0.5, 1.25, 3.0)], ids=["voxel", "mm"])
def test_scores_are_those_of_the_largest_component_of_each_class(
    spacing: tuple[float, ...] | None, organs: Path, tmp_path: Path
) -> None:
    if spacing is not None:
        (tmp_path / "in mm").mkdir()
        card = CARD.replace("cases = 9", 'cases = 9\ndistance_unit = "mm"')
        organs = write_organs(tmp_path / "in mm", np.diag([*spacing, 1.0]), card)
    (job,) = plan(organs, "supervised", iterations=25, labeled_batch=4, learning_rate=1e-2)
    assert run_all([job], Store(tmp_path), CPU, Silent()).trained == 1
    run = Store(tmp_path).find(job.spec)
    assert run is not None
    method = build_method(job.spec, job.method, job.hyper, CPU).eval()
    method.load_state_dict(load_file(run.path / "weights.safetensors"))
    compared = 0
    for case in job.splits.test:
        image, mask = organ_case(int(case[1:]))
        scaled = (image - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)
        volume = torch.from_numpy(scaled.astype(np.float32))[None]
        with torch.no_grad():
            scores = predict_windows(method.predictor, volume, patch=(16, 16, 16), stride=(16, 16, 8), batch=4)
        labels = scores.argmax(0).numpy()
        for number, name in ((1, "liver"), (2, "spleen")):
            predicted = labels == number
            if predicted.any():
                from scipy.ndimage import label  # another implementation than the package's

                pieces, _ = label(predicted, np.ones((3, 3, 3)))
                predicted = pieces == 1 + np.bincount(pieces[predicted])[1:].argmax()
            (row,) = run.headline.cases[
                (run.headline.cases["case"] == case) & (run.headline.cases["class"] == name)
            ].itertuples(index=False)
            truth = mask == number
            assert row[3] == pytest.approx(medpy.dc(predicted, truth))
            if predicted.any():
                distances = [metric(predicted, truth, voxelspacing=spacing) for metric in (medpy.hd95, medpy.asd)]
                expected = [medpy.jc(predicted, truth), *distances]
                assert list(row[4:]) == pytest.approx(expected)
                compared += 1
    assert compared >= 3
    assert run.headline.measurement.heading("asd") == ("ASD [voxel]" if spacing is None else "ASD [mm]")


# ------------------------------------------------------------------------------------------------------ the stream


def test_batches_of_volumes_are_a_function_of_seed_and_iteration(organs: Path) -> None:
    (job,) = plan(organs, "mt")
    streams = [open_stream(job.dataset, job.splits, job.spec.protocol, seed, CPU, unlabeled=True) for seed in (1, 1, 2)]
    assert isinstance(streams[0], VolumeStream)
    first, again, other = ([stream.batch(i) for i in (3, 0)] for stream in streams)
    for mine, same, differing in zip(first, again, other, strict=True):
        assert mine.unlabeled.student1.shape == (2, 1, 16, 16, 16)
        assert mine.labels.dtype == torch.int64
        assert set(mine.labels.unique().tolist()) <= {0, 1, 2}
        for name in ("student1", "student2", "teacher", "mixed"):
            assert torch.equal(getattr(mine.unlabeled, name), getattr(same.unlabeled, name))
        assert not torch.equal(mine.unlabeled.teacher, differing.unlabeled.teacher)


def test_labels_lie_voxel_for_voxel_on_the_weak_view(organs: Path) -> None:
    (job,) = plan(organs, "mt", **{"augmentation.blur": 0.0})
    stream = open_stream(job.dataset, job.splits, job.spec.protocol, 1, CPU, unlabeled=True)
    contrasts: list[float] = []
    for iteration in range(6):
        batch = stream.batch(iteration)
        image, labels = batch.labeled.teacher[:, 0], batch.labels
        assert torch.equal(batch.labeled.student1, batch.labeled.teacher)
        means = [float(image[labels == number].mean()) for number in range(3)]
        contrasts += [means[1] - means[0], means[2] - means[1]]
    assert min(contrasts) > 0.5


def test_volumes_without_a_mask_are_unlabelled_images(organs: Path) -> None:
    (job,) = plan(organs, "mt")
    assert {"c7", "c8"} <= set(job.splits.unlabeled)
    assert len(job.splits.labeled + job.splits.unlabeled + job.splits.test) == 9


# ------------------------------------------------------------------------------- a data set that nobody has seen yet


def test_volumes_of_three_classes_go_from_init_to_predict(organs: Path, call: Call, tmp_path: Path) -> None:
    card = ("--data-root", organs)
    assert call("data", "init", organs, "--output", "mine.toml")[0] == 0
    assert call("data", "check", "mine.toml", *card)[0] == 0
    code, out, err = call(
        "run", "--methods", "mt", "--dataset", "mine.toml", *card, "--protocol", "tiny", "--labeled", "3"
    )
    assert code == 0, err
    assert "class2" in out
    (run,) = (tmp_path / "results" / "runs" / "mine" / "mt").iterdir()
    code, _, err = call("predict", run.name[:8], organs / "images", "--output", "masks", "--uncertainty")
    assert code == 0, err
    assert len(list((tmp_path / "masks").iterdir())) == 18
    mask = nib.load(tmp_path / "masks" / "c8.nii.gz")
    assert mask.shape == organ_case(8)[0].shape
    assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1, 2}


def test_pictures_of_two_classes_go_from_init_to_predict(call: Call, tmp_path: Path) -> None:
    for number in range(10):
        rng = np.random.default_rng(number)
        mask = np.zeros((40, 50), np.uint8)
        mask[10:30, 5 + number : 30] = 255
        image = (rng.integers(0, 100, (40, 50, 3)) + mask[..., None] // 2).astype(np.uint8)
        for folder, pixels in (("photos", image), ("truth", mask)):
            (tmp_path / "own" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "own" / folder / f"p{number}.png")
    card = ("--data-root", tmp_path / "own")
    assert call("data", "init", tmp_path / "own", "--output", "mine.toml")[0] == 0
    code, _, err = call(
        "run", "--methods", "cps", "--dataset", "mine.toml", *card, "--protocol", "tiny", "--labeled", "3"
    )
    assert code == 0, err
    (run,) = (tmp_path / "results" / "runs" / "mine" / "cps").iterdir()
    code, _, err = call("predict", run, tmp_path / "own" / "photos" / "p3.png", "--output", "masks")
    assert code == 0, err
    with Image.open(tmp_path / "masks" / "p3.png") as mask:
        assert mask.size == (50, 40)
        assert set(np.unique(np.asarray(mask))) <= {0, 255}


def bf16_request() -> Request:
    return Request(load_benchmark("demo3d"), ("supervised",), "10%", "tiny", {"precision": "bf16"}, (1,))


def test_bf16_is_refused_on_a_cpu_whose_gradients_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl_bench.training.plan.bf16_gradients_are_right", lambda: False)
    with pytest.raises(UserError, match="bf16 on this CPU gives 3D convolutions wrong gradients"):
        plan_runs(bf16_request(), CPU, None, allow_partial=False, advance=None)
    monkeypatch.setattr("ssl_bench.training.plan.bf16_gradients_are_right", lambda: True)
    assert plan_runs(bf16_request(), CPU, None, allow_partial=False, advance=None)[0].spec.protocol.precision == "bf16"


def test_the_check_of_bf16_tells_right_convolutions_from_wrong_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    convolve = torch.nn.functional.conv3d

    def rounded(images: torch.Tensor, weight: torch.Tensor, padding: int) -> torch.Tensor:
        return convolve(images.float(), weight.float(), padding=padding).to(images.dtype)

    def wrong(images: torch.Tensor, weight: torch.Tensor, padding: int) -> torch.Tensor:
        return rounded(images, weight * (1.03 if images.dtype == torch.bfloat16 else 1.0), padding)

    for function, is_right in ((rounded, True), (wrong, False)):
        monkeypatch.setattr(torch.nn.functional, "conv3d", function)
        assert bf16_gradients_are_right.__wrapped__() is is_right
