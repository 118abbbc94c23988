"""`--launcher local`: this process for one run at a time, a pool of processes for several."""

from __future__ import annotations

import time

import torch

from ssl_bench.errors import UserError
from ssl_bench.launch.contract import Launcher, LaunchOptions, register_launcher
from ssl_bench.launch.inprocess import InProcess
from ssl_bench.launch.pool import LocalPool, deal
from ssl_bench.training.device import choose_device


@register_launcher("local", takes=("jobs", "minutes"))
def local(options: LaunchOptions) -> Launcher:
    """Run on this machine, for at most `minutes` from now.

    Raises:
        UserError: a device cannot be used, or devices are of several kinds.
    """
    devices = _devices(options.device, options.jobs)
    slots = tuple(deal(devices, options.jobs or len(devices)))
    deadline = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    made = InProcess if len(slots) == 1 else LocalPool
    return made(slots, options.console, deadline)


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
