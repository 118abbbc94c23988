"""Training, scoring and prediction of every method on a GPU that is not there, in bf16 (`fake_gpu`).

The networks are tiny. With SSL_BENCH_BUILT_NETWORKS=1 those of protocol `tiny` take part too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conftest import write_dataset
from fake_gpu import CUDA, ValueReadError, fake_gpu, leaf_gradients
from laboratory import TinyNetwork, laboratory, protocol_of
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ssl_bench.cards import Request, load_benchmark
from ssl_bench.data.images import CaseFiles
from ssl_bench.method import load_methods
from ssl_bench.prediction.masks import predict
from ssl_bench.prediction.predictor import Predictor, reading_of
from ssl_bench.store import Store
from ssl_bench.training import job as job_module
from ssl_bench.training.plan import plan_runs
from ssl_bench.training.trainer import Trainer
from ssl_bench.training.uncertainty_maps import take_moments

METHODS = load_methods()
FORMS = [(name, dimensions) for name, method in sorted(METHODS.items()) for dimensions in method.dimensions]
NETWORKS = ["tiny", *(["built"] if os.environ.get("SSL_BENCH_BUILT_NETWORKS") else [])]
ONE_OF_EACH = dict.fromkeys(
    ("vat", "spatial_dropout", "cutout", "context_masking", "object_masking", "feature_dropout", "feature_noise"), 1
)
# Every change of a view is drawn.
ALL_CHANGES: dict[int, dict[str, Any]] = {
    2: {
        f"augmentation.{name}": 1.0
        for name in ("horizontal_flip", "rotation", "jitter", "posterize", "autocontrast", "equalize", "blur")
    },
    3: {"augmentation.rotate_flip": 1.0, "augmentation.blur": 1.0},
}
MakeTrainer = Callable[..., Trainer]


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with twelve images."""
    return write_dataset(tmp_path_factory.mktemp("discs"), "kvasir", [f"case{number}" for number in range(12)])


@pytest.fixture
def opened(discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeTrainer:
    """Open a run on the fake GPU after its first iteration, in which values are checked."""

    def make(name: str, dimensions: int, network: str = "tiny", **settings: Any) -> Trainer:
        if network == "tiny":
            monkeypatch.setattr(
                job_module, "build_network", lambda _, classes, **more: TinyNetwork(dimensions, classes)
            )
        benchmark = load_benchmark({2: "kvasir", 3: "demo3d"}[dimensions])
        settings = {"log_every": 3, "precision": "bf16", **settings} | (ONE_OF_EACH if name == "cct" else {})
        request = Request(benchmark, (name,), "2", "tiny", settings, (1,))
        (job,) = plan_runs(request, CUDA, discs, allow_partial=True, advance=None)
        run = Store(tmp_path).folder(job.spec)
        run.path.mkdir(parents=True)
        trainer = Trainer(job, run, CUDA)
        trainer.method.train()
        trainer.iteration = 1
        return trainer

    return make


def devices_of(state: Any) -> set[str]:
    return {leaf.device.type for leaf in tree_leaves(state) if isinstance(leaf, Tensor)}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("name", "dimensions"), FORMS)
def test_an_iteration_runs_on_a_gpu_and_reads_nothing_from_it(
    name: str, dimensions: int, network: str, opened: MakeTrainer
) -> None:
    with fake_gpu() as gpu:
        trainer = opened(name, dimensions, network, **ALL_CHANGES[dimensions])
        trainer.iterate(trainer.open_stream())
        assert gpu.half  # some operation ran in bf16
        assert devices_of(trainer.method.state_dict()) == {"cuda"}
        assert devices_of(trainer.optimizer.state_dict()) == {"cuda"}
        learning = trainer.optimizer.param_groups[0]["params"]
        assert {(p.grad.device.type, p.grad.dtype) for p in learning} == {("cuda", torch.float32)}
        assert all(trainer.optimizer.state[p] for p in learning)


@pytest.mark.parametrize("protocol", ["paper", "released-code"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_switches_of_both_protocols_run_on_a_gpu(dimensions: int, protocol: str, opened: MakeTrainer) -> None:
    given = protocol_of(protocol, dimensions)
    names = ("uncertainty_from", "step2_teacher", "umix_order", "teacher_mode", "teacher_buffers", "teacher_start")
    with fake_gpu():
        trainer = opened("ucmt", dimensions, **{name: getattr(given, name) for name in names})
        trainer.iterate(trainer.open_stream())
        assert devices_of(trainer.method.state_dict()) == {"cuda"}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_scoring_and_pictures_run_on_a_gpu(dimensions: int, network: str, opened: MakeTrainer) -> None:
    with fake_gpu(reads_allowed=True):
        trainer = opened("ucmt", dimensions, network)
        job = trainer.job
        predictions = list(trainer.test.predictions(trainer.method.networks))
        assert len(predictions) == 3 * len(job.splits.test)
        assert all(one.mask.shape == one.truth.shape and not one.mask.any() for one in predictions)
        assert len(trainer.test.rows(predictions[0])) == 1
        assert take_moments(trainer.method, job.dataset, job.splits, job.spec, 1, CUDA)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_prediction_runs_on_a_gpu(dimensions: int, opened: MakeTrainer, discs: Path, tmp_path: Path) -> None:
    with fake_gpu(reads_allowed=True):
        trainer = opened("mt", dimensions)
        spec, method = trainer.job.spec, trainer.method
        predictor = Predictor(tmp_path, spec, "teacher", method.predictor, CUDA, reading_of(spec))
        if dimensions == 2:
            file = discs / "Kvasir-SEG" / "images" / "case1.jpg"
        else:
            file = tmp_path / "volume.nii.gz"
            nibabel.save(nibabel.Nifti1Image(np.ones((20, 18, 22), np.float32), np.eye(4)), file)
        image = CaseFiles(file.stem, file, None)
        axes = None if dimensions == 2 else "as-stored"
        folder = tmp_path / "masks"
        (mask,) = predict(predictor, [image], folder, probabilities=True, uncertainty=True, array_axes=axes)
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


def test_a_tensor_that_a_method_makes_on_the_cpu_is_refused(
    opened: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(METHODS["uamt"], "noisy", lambda self, images: images + torch.randn(images.shape))
    with fake_gpu():
        trainer = opened("uamt", 2)
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
