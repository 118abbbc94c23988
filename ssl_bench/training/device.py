"""The device of a run: its choice, deterministic settings, and peak memory."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ssl_bench.errors import UserError, first_line

_NO_DETERMINISTIC_FORM = r"(.+?) (?:does not have a deterministic implementation|defaults to a non-determ)"


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is the GPU if there is a GPU, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"--device: expected auto, cpu or cuda, found '{name}'")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device: '{name}' cannot be used: {first_line(error)}") from None
    return device


@functools.cache
def bf16_gradients_are_right() -> bool:
    """Return whether 3D convolutions in bf16 on this CPU have the weight gradients of float64, to rounding.

    oneDNN's kernel `jit_bf16:avx512_core_bf16` returns memory that it never wrote where the volume is 2 voxels deep
    and the kernel 3, as in the lowest level of a network for patches of 32. Seen with torch 2.14.1 on an AMD EPYC.
    """
    generator = torch.Generator().manual_seed(0)
    images, weights = (torch.randn(size, generator=generator) for size in ((2, 16, 2, 2, 2), (16, 16, 3, 3, 3)))
    gradients: list[torch.Tensor] = []
    for dtype in (torch.bfloat16, torch.float64):
        weight = weights.bfloat16().to(dtype).requires_grad_()
        outputs = torch.nn.functional.conv3d(images.bfloat16().to(dtype), weight, padding=1)
        gradients += torch.autograd.grad(outputs.sum(), weight)
    half, exact = (gradient.double() for gradient in gradients)
    return bool((half - exact).abs().max() < 0.02 * exact.abs().max())  # bf16 keeps 8 bits; False for NaN


def set_determinism() -> None:
    """Set torch to deterministic algorithms and full fp32."""
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    # fill_uninitialized_memory costs a tenth
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32


@contextmanager
def keeping_torch_state() -> Iterator[None]:
    """Within `with`, torch has the settings of a new process; afterwards its settings and random state are as before.

    A run in a user's process has the same bits as on the command line and changes no setting there. The number of
    threads stays the user's; it can change the last bits, and the run's provenance records it.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    cudnn = torch.backends.cudnn
    flags = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    in_use = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(in_use):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(precision)
        now = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        if now != (deterministic, warn_only):  # the call imports torch's compiler, which takes a second
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = flags


@contextmanager
def noting_nondeterminism(operations: set[str]) -> Iterator[None]:
    """Add the names of operations without a deterministic form on their device. Torch only warns of them.

    The warnings are shown once per run, whatever the user's filters.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("default", _NO_DETERMINISTIC_FORM)
        show = warnings.showwarning

        def note(message: Warning | str, *place: Any, **more: Any) -> None:
            match = re.match(_NO_DETERMINISTIC_FORM, str(message))
            if match:
                operations.add(match[1])
            show(message, *place, **more)

        warnings.showwarning = note
        yield


def peak_memory(device: torch.device) -> float | None:
    """Peak GPU memory of this run in MiB; None on a CPU, where a process's peak covers all of its runs."""
    return round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if device.type == "cuda" else None


def is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether memory ran out; the CPU allocator has no dedicated exception."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
