"""Where runs run: one interface for this process, a local pool, and a Slurm cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch

from ssl_bench.errors import UserError
from ssl_bench.launch import slurm
from ssl_bench.launch.pool import deal
from ssl_bench.training.device import choose_device

LAUNCHERS = ("local", "slurm")


@dataclass(frozen=True)
class Launcher:
    """What `--launcher`, `--jobs`, `--device` and `--slurm` say.

    `slots` holds a device per run at a time: one for this process alone, several for a local pool. On Slurm, `device`
    is what the nodes' processes are told, and `at_once` bounds how many of them run. Locally, all of it stops at
    `deadline`, a value of the monotonic clock.
    """

    name: str
    slots: tuple[str, ...] = ()
    device: str = "auto"
    at_once: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    deadline: float | None = None

    @property
    def planned(self) -> torch.device:
        """The kind of device that runs are planned for, which decides their precision."""
        return torch.device(self.device if self.name == "slurm" else self.slots[0])


def choose_launcher(
    name: str, jobs: int | None, device: str, options: str | None, minutes: float | None = None
) -> Launcher:
    """Read the options of a command that trains; `minutes` from now it stops.

    Raises:
        UserError: a device cannot be used, devices are of several kinds, or options do not go together.
    """
    if name not in LAUNCHERS:
        raise UserError(f"--launcher: expected {' or '.join(LAUNCHERS)}, found '{name}'")
    if name == "slurm":
        if minutes is not None:
            raise UserError("--minutes: needs --launcher local; on Slurm the limit is --slurm time=...")
        parsed = slurm.parse_options(options or "")
        wanted = device if device != "auto" else ("cuda" if slurm.wants_gpu(parsed) else "cpu")
        if wanted not in ("cpu", "cuda"):
            raise UserError(f"--device: expected auto, cpu or cuda with --launcher slurm, found '{device}'")
        return Launcher(name, device=wanted, at_once=jobs, options=parsed)
    if options is not None:
        raise UserError("--slurm: needs --launcher slurm")
    devices = _devices(device, jobs)
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    return Launcher(name, slots=tuple(deal(devices, jobs or len(devices))), deadline=deadline)


def _devices(text: str, jobs: int | None) -> list[str]:
    """Devices by name; `auto` is one, or every GPU where several runs are wanted."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["auto"] and (jobs or 1) > 1 and torch.cuda.device_count() > 1:
        names = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if not names or len(set(names)) < len(names):
        raise UserError(f"--device: expected devices between commas, each once, found '{text}'")
    devices = [choose_device(name) for name in names]
    if len({device.type for device in devices}) > 1:
        raise UserError(f"--device: expected devices of one kind, found '{text}'")
    return [str(device) for device in devices]
