"""Predicted costs of an iteration: against the CPU allocator's own peak, loops that count, and numbers by hand."""

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY
from torch import nn

from ssl_bench.cards import load_benchmark
from ssl_bench.data.batches import ImageStream, VolumeStream
from ssl_bench.data.stream import open_stream
from ssl_bench.errors import MethodError
from ssl_bench.method import Batch, Hyperparameters, Progress, SSLMethod, Update, load_methods
from ssl_bench.ops import dice_loss
from ssl_bench.training.costs import RunOperations, UnknownCostError, image_bytes, iteration_cost, job_cost
from ssl_bench.training.counting import Counter
from ssl_bench.training.job import Job, build_method

SPEC = importlib.util.spec_from_file_location("costs_tool", REPOSITORY / "tools" / "costs.py")
assert SPEC is not None
assert SPEC.loader is not None
TOOL = importlib.util.module_from_spec(SPEC)
sys.modules["costs_tool"] = TOOL
SPEC.loader.exec_module(TOOL)

METHODS = load_methods()
CPU = torch.device("cpu")
ONE_OF_EACH = dict.fromkeys(
    ("vat", "spatial_dropout", "cutout", "context_masking", "object_masking", "feature_dropout", "feature_noise"), 1
)


def planned(name: str, dimensions: int, **settings: Any) -> Job:
    job: Job = TOOL.planned(name, dimensions, "tiny", **settings)
    return job


# ------------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize(
    ("name", "dimensions", "settings"),
    [
        ("mt", 2, {"precision": "bf16"}), ("cct", 2, ONE_OF_EACH),
        ("abd", 3, {}),  # whose iteration is dearer in the first two thirds
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (
            ("ucmt", 3, {}), ("cps", 2, {}), ("supervised", 3, {}), ("mt", 3, {}), ("cct", 3, ONE_OF_EACH),
        )),
    ],
)  # fmt: skip
def test_the_memory_is_the_allocators_peak_to_a_tenth(
    name: str, dimensions: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    job = planned(name, dimensions, **settings)
    cost = job_cost(job)
    measured = TOOL.measured_memory(job, tmp_path)
    assert abs(cost.memory / measured - 1) < TOOL.MOST
    method = build_method(job.spec, job.method, job.hyper, CPU, pretrained=False)
    assert cost.parameters == sum(parameter.numel() for parameter in method.parameters())
    assert cost.updates == method.updates_per_iteration


def test_a_storage_counts_from_its_first_tensor_to_its_last() -> None:
    with Counter() as counter:
        first = torch.ones(100)  # 400 bytes
        view = first[:50]
        second = first + 1  # 800
        del second
        third = first.double()  # 1,200
        assert (counter.live, counter.peak) == (1200, 1200)
        del first
        assert counter.live == 1200
        del view
        assert (counter.live, counter.peak) == (800, 1200)
        counter.restart()
        assert counter.peak == 800
    counter.hold([third, third[3:]])
    assert counter.live == 800


def test_what_a_backward_pass_saves_counts_until_it_is_done() -> None:
    weights = torch.ones(100, requires_grad=True)  # not made within
    with Counter() as counter:
        total = weights.exp().sin().sum()
        assert counter.live == 400 + 4  # exp(weights), which both backward formulas read, and the sum
        total.backward()
        del total
        assert counter.live == 400  # the gradient


# --------------------------------------------------------------------------------------------------------- operations


def multiplications(layer: Any, sides: tuple[int, int], samples: int) -> int:
    """Count each multiplication of a convolution in a loop over output (or input, if transposed) and kernel."""
    transposed = isinstance(layer, nn.ConvTranspose2d)
    settings = zip(sides, layer.padding, layer.kernel_size, layer.stride, strict=True)
    outputs = [(side + 2 * padding - size) // stride + 1 for side, padding, size, stride in settings]
    count = 0
    for _ in itertools.product(range(samples), *map(range, sides if transposed else outputs)):
        for _ in range(layer.groups):
            for _ in itertools.product(
                range(layer.in_channels // layer.groups), range(layer.out_channels // layer.groups),
                *map(range, layer.kernel_size),
            ):  # fmt: skip
                count += 1
    return count


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Conv2d(4, 6, 3, stride=2, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2),
    ],
)
@pytest.mark.parametrize("of_images", [False, True])
def test_a_convolution_has_two_operations_a_multiplication_and_as_many_for_each_gradient(
    layer: nn.Module, of_images: bool
) -> None:
    images = torch.ones(2, 4, 5, 7, requires_grad=of_images)
    with Counter() as counter:
        total = layer(images).sum()
        forward = counter.flops
        total.backward()
    assert forward == 2 * multiplications(layer, (5, 7), samples=2)
    assert counter.flops == forward * (3 if of_images else 2)


def test_operations_of_layers_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 4, 5))
    with Counter() as counter, torch.no_grad():
        network(torch.ones(2, 3, 4, 4))
    assert counter.flops == 2 * (2 * 16 * 8 * 27) + 2 * (2 * 128 * 5)


def test_supervised_learning_makes_a_forward_pass_and_all_gradients() -> None:
    job = planned("supervised", 3)
    method = build_method(job.spec, job.method, job.hyper, CPU)
    with Counter() as counter:
        method.predictor(torch.ones(2, 1, 16, 16, 16))
    # the first layer has no gradient of the images: a convolution of 2 filters of 27 weights over 2 x 16^3 places
    first = next(p for p in method.parameters() if p.dim() == 5)
    assert job_cost(job).flops == 3 * counter.flops - 2 * first.numel() * 2 * 16**3


# ------------------------------------------------------------------------------------------------------------- limits


class Asking(SSLMethod):
    """Reads the loss."""

    name = "asking"
    uses_unlabeled = False
    reads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.network = self.new_student()

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        loss = dice_loss(self.network(batch.labeled.student1), batch.labels, 1.0)
        yield Update({"supervised": (1.0, loss if not self.reads or float(loss.detach()) > 0 else 2 * loss)})

    @property
    def predictor(self) -> nn.Module:
        return self.network


def cost_of(method: type[SSLMethod]) -> Any:
    job = planned("supervised", 3)
    return iteration_cost(method, job.hyper, job.spec.protocol, channels=1, classes=2)


def test_a_method_that_reads_a_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownCostError, match=r"^asking: .* cannot be predicted.*DataDependentOutput"):
        cost_of(Asking)
    monkeypatch.setattr(Asking, "reads", False)
    assert cost_of(Asking).memory == job_cost(planned("supervised", 3)).memory


@pytest.mark.parametrize("error", [KeyError("gone"), AssertionError(), NotImplementedError("no")])
def test_whatever_a_method_raises_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(Asking, "new_student", failing)
    with pytest.raises(UnknownCostError, match=rf"^asking: .* ends with {type(error).__name__}: .+$"):
        cost_of(Asking)


def test_the_operations_of_a_run_are_those_of_all_its_iterations() -> None:
    card, predicted = load_benchmark("demo"), RunOperations()
    for method in ("supervised", "ucmt"):  # an iteration of UCMT has two updates, and it does half as many
        job = planned(method, 2)
        operations = predicted(card, method, job.spec.hyperparameters, job.spec.protocol)
        assert operations == job_cost(job).flops * job.iterations
    job = planned("supervised", 2)
    assert predicted(card, "nobody", {}, job.spec.protocol) is None


class Idle(Asking):
    """Has a network that no loss reads."""

    name = "idle"
    reads = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.idle = self.new_student()


def test_a_parameter_without_a_gradient_needs_neither_gradient_nor_state() -> None:
    cost = cost_of(Idle)
    one = job_cost(planned("supervised", 3))
    network = build_method(planned("supervised", 3).spec, METHODS["supervised"], Hyperparameters(), CPU)
    assert cost.parameters == 2 * one.parameters
    assert cost.memory - one.memory == sum(t.nbytes for t in (*network.parameters(), *network.buffers()))


def test_a_method_that_breaks_its_contract_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Asking, "reads", False)
    monkeypatch.setattr(Asking, "updates_per_iteration", 2)
    with pytest.raises(MethodError, match="1 update"):
        cost_of(Asking)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", ["supervised", "mt"])
def test_the_images_on_the_device_have_the_bytes_that_are_said(
    name: str, dimensions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_BENCH_MEMORY", "all")
    job = planned(name, dimensions)
    unlabeled = job.method.uses_unlabeled
    stream = open_stream(job.dataset, job.splits, job.spec.protocol, 1, CPU, unlabeled=unlabeled)
    assert isinstance(stream, ImageStream | VolumeStream)
    assert image_bytes(job) == sum(one.nbytes for one in (*stream.images, *stream.masks))
