"""The device that a run is trained on: which one, the same bits on it every time, and the memory used."""

from __future__ import annotations

import torch

from ssl_bench.errors import UserError, first_line


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is the GPU where there is one."""
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


def set_determinism() -> None:
    """Ask torch for the same bits every time on the same machine."""
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    # fill_uninitialized_memory costs a tenth
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32


def peak_memory(device: torch.device) -> float | None:
    """Peak memory of this run on a GPU, in MiB; a process's own peak cannot be told apart by runs, so None on a CPU."""
    return round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if device.type == "cuda" else None
