"""No iteration waits for the device: on torch's meta device there are no values to wait for, and asking raises."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_dataset
from small_runs import CHEAP, tiny_networks
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssl_bench.cards import Request, load_benchmark
from ssl_bench.data.batches import BatchStream
from ssl_bench.method import load_methods
from ssl_bench.store import Store
from ssl_bench.training.plan import plan_runs
from ssl_bench.training.trainer import Trainer

META = torch.device("meta")
METHODS = load_methods()
FORMS = [*((name, method.dimensions[0]) for name, method in sorted(METHODS.items())), ("ucmt", 3)]


class BlockingCopies(TorchDispatchMode):
    """Notes copies to the device that would wait until the device has taken them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and args[0].device != META and kwargs.get("device") == META:
            self.note(args[0], non_blocking=bool(kwargs.get("non_blocking")))
        if func is torch.ops.aten.copy_.default and args[0].device == META and args[1].device != META:
            self.note(args[1], non_blocking=len(args) > 2 and args[2])
        return func(*args, **kwargs)

    def note(self, tensor: Tensor, *, non_blocking: bool) -> None:
        if not non_blocking:
            self.found.append(f"a tensor of {tuple(tensor.shape)} is copied to the device")


class NewTensors(TorchFunctionMode):
    """Notes `torch.tensor(values, device=...)` and its like, which copy the values to the device and wait."""

    def __init__(self, noted: BlockingCopies) -> None:
        super().__init__()
        self.noted = noted

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        like = func in (Tensor.new_tensor, torch.unravel_index)  # the latter brings the sides to the device
        device = args[0].device if like else torch.device(kwargs.get("device") or "cpu")
        if (like or func in (torch.tensor, torch.as_tensor)) and device == META:
            self.noted.found.append("torch.tensor builds a tensor on the device")
        return func(*args, **kwargs)


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """No autocast, and optimisers without their fused form: there is none of either for tensors without values."""

    def without_fused(plain: Any, *arguments: Any, fused: bool, **options: Any) -> torch.optim.Optimizer:
        assert fused
        return plain(*arguments, foreach=True, **options)

    for name in ("AdamW", "Adam"):
        monkeypatch.setattr(torch.optim, name, partial(without_fused, getattr(torch.optim, name)))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with twelve images."""
    return write_dataset(tmp_path_factory.mktemp("discs"), "kvasir", [f"case{number}" for number in range(12)])


def opened(name: str, dimensions: int, data: Path, folder: Path, *, built: bool = False) -> tuple[Trainer, BatchStream]:
    """A run on the meta device after its first iteration, where values are checked, and its batches."""
    benchmark = load_benchmark({2: "kvasir", 3: "demo3d"}[dimensions])
    fields = METHODS[name].hyperparameters.model_fields
    settings = {"log_every": 3} | {key: value for key, value in CHEAP.items() if key in fields}
    request = Request(benchmark, (name,), "2", "tiny", settings, (1,))
    (job,) = plan_runs(request, torch.device("cpu"), data, allow_partial=True, advance=None)
    run = Store(folder).folder(job.spec)
    run.path.mkdir(parents=True)
    with tiny_networks(dimensions, built):
        trainer = Trainer(job, run, META)
    trainer.method.train()
    trainer.iteration = 1
    assert all(tensor.device == META for tensor in tree_leaves(trainer.method.state_dict()))
    return trainer, trainer.open_stream()


@pytest.mark.parametrize(
    ("name", "dimensions", "ignores"),
    [
        pytest.param(*form, ignores, marks=() if number % 4 == ignores else pytest.mark.slow)
        for number, form in enumerate(FORMS)
        for ignores in (False, True)
    ],
)
@pytest.mark.usefixtures("on_meta")
def test_no_iteration_waits_for_the_device_before_its_log_line(
    name: str, dimensions: int, ignores: bool, discs: Path, tmp_path: Path
) -> None:
    trainer, stream = opened(name, dimensions, discs, tmp_path)
    trainer.method.ignores = ignores
    copies = BlockingCopies()
    with NewTensors(copies), copies:
        trainer.iterate(stream)  # any value that is asked for raises
    assert copies.found == []
    with pytest.raises(NotImplementedError, match="meta"):
        trainer.iterate(stream)  # the log line reads the losses


@pytest.mark.parametrize(("name", "dimensions"), [("cct", 2), pytest.param("ucmt", 3, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("on_meta")
def test_no_network_of_a_protocol_waits_for_the_device(name: str, dimensions: int, discs: Path, tmp_path: Path) -> None:
    trainer, stream = opened(name, dimensions, discs, tmp_path, built=True)
    copies = BlockingCopies()
    with NewTensors(copies), copies:
        trainer.iterate(stream)
    assert copies.found == []


@pytest.mark.usefixtures("on_meta")
def test_the_meta_device_sees_a_method_that_asks_for_a_value(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, stream = opened("mt", 2, discs, tmp_path)
    updates = trainer.method.updates

    def asking(*arguments: Any) -> Iterator[Any]:
        for update in updates(*arguments):
            if float(update.total.detach()) > 0:
                yield update

    monkeypatch.setattr(trainer.method, "updates", asking)
    with pytest.raises(RuntimeError, match="meta"):
        trainer.iterate(stream)


def test_a_copy_that_waits_is_noted() -> None:
    copies = BlockingCopies()
    with NewTensors(copies), copies:
        torch.zeros(2).to(META, non_blocking=True)
        torch.zeros(3).to(META)
        torch.tensor([1.0], device=META)
        torch.empty(2, device=META).copy_(torch.zeros(2))
        torch.empty(2, device=META).new_tensor([1.0])
        torch.unravel_index(torch.empty(2, device=META, dtype=torch.long), (2, 3))
    assert len(copies.found) == 5
