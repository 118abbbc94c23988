"""Training, scoring and prediction on a GPU that is not there, in bf16 (`fake_gpu`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from displays import Silent
from fake_gpu import CUDA, FakeGPU, ValueReadError, fake_gpu, leaf_gradients
from laboratory import laboratory, protocol_of
from small_runs import FORMS, ONE_FORM_EACH, open_run, tiny_networks
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ssl_bench.data.images import CaseFiles
from ssl_bench.data.stream import ReadImageStream, ReadVolumeStream
from ssl_bench.errors import InterruptedRunError
from ssl_bench.method import load_methods
from ssl_bench.prediction.masks import predict
from ssl_bench.prediction.predictor import Predictor, reading_of
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.train import train
from ssl_bench.training.trainer import Trainer

# Every change of a view is drawn.
ALL_CHANGES: dict[int, dict[str, Any]] = {
    2: {
        f"augmentation.{name}": 1.0
        for name in ("horizontal_flip", "rotation", "jitter", "posterize", "autocontrast", "equalize", "blur")
    },
    3: {f"augmentation.{name}": 1.0 for name in ("rotate_flip", "blur", "jitter", "noise")},
}
SWITCHES = ("uncertainty_from", "step2_teacher", "umix_order", "teacher_mode", "teacher_buffers", "teacher_start")


def opened(folder: Path, name: str, dimensions: int, **settings: Any) -> Trainer:
    """A run on the fake GPU after its first iteration, in which values are checked."""
    trainer = open_run(folder, name, dimensions, CUDA, **{"precision": "bf16", **settings})
    trainer.iteration = 1
    return trainer


def devices_of(state: Any) -> set[str]:
    return {leaf.device.type for leaf in tree_leaves(state) if isinstance(leaf, Tensor)}


def assert_an_iteration_runs(trainer: Trainer, gpu: FakeGPU) -> None:
    trainer.iterate(trainer.open_stream())
    assert gpu.half  # some operation ran in bf16
    assert devices_of(trainer.method.state_dict()) == {"cuda"}
    for optimizer in trainer.optimizers.all:
        assert devices_of(optimizer.state_dict()) == {"cuda"}
        assert all(optimizer.state[p] for p in optimizer.param_groups[0]["params"])
    learning = trainer.optimizers.all[-1].param_groups[0]["params"]  # the first one's gradients may be cleared by then
    assert {(p.grad.device.type, p.grad.dtype) for p in learning} == {("cuda", torch.float32)}


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [form if turn % 3 == 0 else pytest.param(*form, marks=pytest.mark.slow) for turn, form in enumerate(ONE_FORM_EACH)],
)
def test_an_iteration_runs_on_a_gpu_and_reads_nothing_from_it(name: str, dimensions: int, tmp_path: Path) -> None:
    with fake_gpu() as gpu:
        assert_an_iteration_runs(opened(tmp_path, name, dimensions, **ALL_CHANGES[dimensions]), gpu)


@pytest.mark.parametrize(("name", "dimensions"), [("mt", 2), ("mt", 3), ("supervised", 3)])
def test_images_come_from_the_cache_to_a_gpu(
    name: str, dimensions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_BENCH_MEMORY", "stream")
    with fake_gpu() as gpu:
        trainer = opened(tmp_path, name, dimensions, **ALL_CHANGES[dimensions])
        assert isinstance(trainer.open_stream(), ReadImageStream | ReadVolumeStream)
        assert_an_iteration_runs(trainer, gpu)


@pytest.mark.slow
@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize(("name", "dimensions"), FORMS)
def test_every_form_runs_on_a_gpu(name: str, dimensions: int, built: bool, tmp_path: Path) -> None:
    with fake_gpu() as gpu:
        assert_an_iteration_runs(opened(tmp_path, name, dimensions, built=built, **ALL_CHANGES[dimensions]), gpu)


@pytest.mark.parametrize(
    ("dimensions", "protocol"),
    [
        (2, "released-code"),
        (3, "paper"),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ((2, "paper"), (3, "released-code"))),
    ],
)
def test_the_switches_of_both_protocols_run_on_a_gpu(dimensions: int, protocol: str, tmp_path: Path) -> None:
    given = protocol_of(protocol, dimensions)
    with fake_gpu() as gpu:
        trainer = opened(tmp_path, "ucmt", dimensions, **{name: getattr(given, name) for name in SWITCHES})
        assert_an_iteration_runs(trainer, gpu)


@pytest.mark.parametrize(
    ("name", "dimensions", "built"),
    [
        ("ucmt", 2, False),
        pytest.param("mt", 3, False, marks=pytest.mark.slow),
        *(pytest.param(*form, True, marks=pytest.mark.slow) for form in FORMS),
    ],
)
def test_a_run_is_stopped_resumed_and_scored_on_a_gpu(name: str, dimensions: int, built: bool, tmp_path: Path) -> None:
    """The checks of the first iteration, log lines, validation, checkpoints, maps, scores and weights."""
    settings = {
        "iterations": 4, "log_every": 1, "select": "train-loss", "validation": "labeled", "validate_every": 1,
        "precision": "bf16", **({"stride": [16, 16, 16]} if dimensions == 3 else {}),
    }  # fmt: skip
    with fake_gpu(reads_allowed=True):
        trainer = open_run(tmp_path, name, dimensions, CUDA, built=built, **settings)
        job = replace(trainer.job, splits=replace(trainer.job.splits, test=trainer.job.splits.test[:2]))
        stop = StopSignal()
        with tiny_networks(dimensions, built), pytest.raises(InterruptedRunError):
            train(job, trainer.folder, CUDA, stop, Silent(stop, ("training", job.iterations - 1)), {})
        checkpoint = trainer.folder.read_checkpoint()
        assert checkpoint is not None
        trainer.restore(checkpoint)
        assert trainer.iteration == job.iterations - 1
        assert devices_of(trainer.method.state_dict()) == {"cuda"}
        assert devices_of(trainer.optimizers.state()) == {"cuda"}
        assert devices_of(trainer.selection.epoch_loss) == {"cuda"}
        with tiny_networks(dimensions, built):
            train(job, trainer.folder, CUDA, StopSignal(), Silent(), {})
    record = trainer.folder.read()
    assert record is not None
    assert record["status"] == "finished"
    assert trainer.folder.weights.exists()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_prediction_runs_on_a_gpu(dimensions: int, tmp_path: Path) -> None:
    with fake_gpu(reads_allowed=True):
        trainer = opened(tmp_path, "mt", dimensions)
        spec, method = trainer.job.spec, trainer.method
        predictor = Predictor(tmp_path, spec, "teacher", method.predictor, CUDA, reading_of(spec))
        if dimensions == 2:
            file = tmp_path / "discs" / "Kvasir-SEG" / "images" / "case1.jpg"
        else:
            file = tmp_path / "volume.nii.gz"
            nibabel.save(nibabel.Nifti1Image(np.ones((20, 18, 22), np.float32), np.eye(4)), file)
        image = CaseFiles(file.stem, file, None)
        axes = None if dimensions == 2 else "as-stored"
        folder = tmp_path / "masks"
        (mask,) = predict([predictor], [image], folder, probabilities=True, uncertainty=True, array_axes=axes)
        assert mask.exists()


# --------------------------------------------------------------------------------------- what the fake GPU refuses


def test_an_operation_on_two_devices_is_refused() -> None:
    with fake_gpu(), pytest.raises(RuntimeError, match="device"):
        torch.zeros(2, device=CUDA) + torch.zeros(2)


def test_a_read_of_a_value_is_refused() -> None:
    with fake_gpu():
        there = torch.zeros(2, device=CUDA)
        for read in (
            lambda: there.sum().item(),
            lambda: bool(there[0] > 0),
            lambda: there.cpu(),
            lambda: torch.zeros(2).copy_(there),
            lambda: there.tolist(),
        ):
            with pytest.raises(ValueReadError):
                read()
        with pytest.raises(RuntimeError):
            there.nonzero()  # its shape depends on values


def test_a_tensor_that_a_method_makes_on_the_cpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_methods()["uamt"], "noisy", lambda self, images: images + torch.randn(images.shape))
    with fake_gpu():
        trainer = opened(tmp_path, "uamt", 2)
        with pytest.raises(RuntimeError, match="device"):
            trainer.iterate(trainer.open_stream())


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", ["cct", "ucmt"])
def test_the_backward_pass_of_the_fake_gpu_is_torchs(name: str, dimensions: int) -> None:
    lab = laboratory(name, protocol_of("paper", dimensions))
    for update in lab.updates():
        found = leaf_gradients(update.total)
        learning = [p for p in lab.method.parameters() if p.requires_grad]
        expected = torch.autograd.grad(update.total, learning, retain_graph=True)
        for parameter, gradient in zip(learning, expected, strict=True):
            torch.testing.assert_close(found[parameter], gradient, rtol=1e-5, atol=1e-7)
