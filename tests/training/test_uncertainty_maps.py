"""Moments of training: what Figure 5 shows of UCMT, against equation 8 in float64, and that training never notices."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_dataset

from ssl_bench.cards import Request, load_benchmark
from ssl_bench.method import SSLMethod, load_methods
from ssl_bench.training.job import Job, build_method
from ssl_bench.training.plan import plan_runs
from ssl_bench.training.uncertainty_maps import moment_iterations, take_moments

CPU = torch.device("cpu")
load_methods()


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("discs"), "kvasir", [f"c{i}" for i in range(12)])


def job_of(data: Path, name: str, **settings: Any) -> Job:
    request = Request(load_benchmark("kvasir"), (name,), "3", "tiny", settings, (1,))
    return plan_runs(request, CPU, data, allow_partial=True, advance=None)[0]


def method_of(job: Job) -> SSLMethod:
    return build_method(job.spec, job.method, job.hyper, CPU).train()


def moments_of(method: SSLMethod, job: Job) -> list[Any]:
    return take_moments(method, job.dataset, job.splits, job.spec, 5, CPU)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    return -(probabilities * np.log(probabilities)).sum(0)


def softmax(logits: torch.Tensor) -> np.ndarray:
    values = np.exp(logits.double().numpy() - logits.double().numpy().max(0))
    return values / values.sum(0)  # type: ignore[no-any-return]


def test_a_map_is_the_mean_of_both_students_entropies_with_the_teacher(discs: Path) -> None:
    job = job_of(discs, "ucmt")
    method = method_of(job)
    moments = moments_of(method, job)
    assert len(moments) == 2
    protocol = job.spec.protocol
    method.eval()
    for moment in moments:
        assert moment.case in job.splits.unlabeled
        (stored,) = job.dataset.images([moment.case])
        assert np.abs(moment.image.astype(int) - stored.astype(int)).max() <= 1  # as it is: no augmentation
        pixels = torch.from_numpy(stored.copy()).permute(2, 0, 1)[None].float() / 255
        inputs = (pixels - torch.tensor(protocol.input_mean).view(1, 3, 1, 1)) / torch.tensor(protocol.input_std).view(
            1, 3, 1, 1
        )
        with torch.no_grad():
            y1, y2, y0 = (softmax(method.networks[name](inputs)[0]) for name in ("student1", "student2", "teacher"))
        expected = (entropy((y1 + y0) / 2) + entropy((y2 + y0) / 2)) / 2 / math.log(2)
        assert moment.uncertainty.astype(float) == pytest.approx(expected, abs=2e-3)  # float16
        assert moment.uncertainty_mixed.max() <= 1.001


def test_the_mixed_image_has_its_most_uncertain_regions_replaced_by_regions_of_itself(discs: Path) -> None:
    job = job_of(discs, "ucmt", r=4, k=3)
    for moment in moments_of(method_of(job), job):
        side = moment.image.shape[0] // 4
        before, after = (
            [image[y : y + side, x : x + side].tobytes() for y in range(0, 32, side) for x in range(0, 32, side)]
            for image in (moment.image, moment.mixed)
        )
        assert set(after) <= set(before)
        assert 1 <= sum(a != b for a, b in zip(before, after, strict=True)) <= 6


def test_of_a_volume_the_patch_in_its_middle_is_shown() -> None:
    request = Request(load_benchmark("demo3d"), ("ucmt",), "10%", "tiny", {}, (1,))
    (job,) = plan_runs(request, CPU, None, allow_partial=False, advance=None)
    for moment in moments_of(method_of(job), job):
        ((volume,),) = job.dataset.volumes([moment.case])
        starts = [(side - 16) // 2 for side in volume.shape]
        patch = volume[tuple(slice(start, start + 16) for start in starts)]
        low, high = np.percentile(patch, (1, 99))
        expected = np.clip((patch[:, :, 8].T - low) / (high - low), 0, 1) * 255
        assert moment.image.astype(float) == pytest.approx(expected, abs=1)
        assert moment.uncertainty.shape == moment.mixed.shape == (16, 16)


def test_training_does_not_notice(discs: Path) -> None:
    job = job_of(discs, "ucmt", teacher_mode="eval", teacher_buffers="ema")
    method = method_of(job)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    modes = {name: module.training for name, module in method.named_modules()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    moments_of(method, job)
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: module.training for name, module in method.named_modules()} == modes
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())


@pytest.mark.parametrize("name", ["supervised", "mt", "cps", "cmtv3", "ucmt-cutmix"])
def test_a_method_that_mixes_nothing_by_uncertainty_has_none(name: str, discs: Path) -> None:
    job = job_of(discs, name)
    assert moments_of(method_of(job), job) == []


@pytest.mark.parametrize(("iterations", "expected"), [(1, (1, 1)), (3, (1, 3)), (30, (3, 30)), (5675, (567, 5675))])
def test_moments_are_a_tenth_of_training_and_its_end(iterations: int, expected: tuple[int, int]) -> None:
    assert moment_iterations(iterations) == expected
