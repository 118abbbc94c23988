"""`--launcher local`: this process for one run at a time, a pool of processes for several."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ssl_bench.errors import UserError
from ssl_bench.launch.contract import Launcher, LaunchOptions, PlannedRun, register_launcher
from ssl_bench.launch.task import Outcome

if TYPE_CHECKING:
    from ssl_bench.store import Store

# Training code is imported where it is used: `status` imports every launcher to read its queue.


@register_launcher("local", takes=("jobs", "minutes"))
class Local(Launcher):
    """Trains on this machine, for at most `minutes` from now: in this process if it has one slot.

    Raises:
        UserError: a device cannot be used, or devices are of several kinds.
    """

    def __init__(self, options: LaunchOptions) -> None:
        import torch

        from ssl_bench.launch.pool import deal

        devices = _devices(options.device, options.jobs)
        self.slots = tuple(deal(devices, options.jobs or len(devices)))
        self.device = torch.device(self.slots[0])
        self.console, self.observe = options.console, options.observe
        self.deadline = None if options.minutes is None else time.monotonic() + 60 * options.minutes

    def run(self, planned: Sequence[PlannedRun], store: Store) -> Outcome:
        """Train every run that is not finished, one at a time per slot."""
        from ssl_bench.launch.inprocess import run_all
        from ssl_bench.launch.pool import run_pool
        from ssl_bench.launch.progress import PoolDisplay, RunDisplay

        if len(self.slots) == 1:
            display = RunDisplay(self.console)
            try:
                jobs = [one.job for one in planned]
                return run_all(jobs, store, self.device, display, self.deadline, self.observe)
            finally:
                display.close()
        pool_display = PoolDisplay(self.console, store)
        try:
            return run_pool([one.task for one in planned], store, self.slots, pool_display, self.deadline)
        finally:
            pool_display.close()


def _devices(text: str, jobs: int | None) -> list[str]:
    """Devices by name. `auto` is one device, or every GPU if several runs at a time are requested."""
    import torch

    from ssl_bench.training.device import choose_device

    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["auto"] and (jobs or 1) > 1 and torch.cuda.device_count() > 1:
        names = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if not names or len(set(names)) < len(names):
        raise UserError(f"--device: expected different devices, separated by commas; found '{text}'")
    devices = [choose_device(name) for name in names]
    if len({device.type for device in devices}) > 1:
        raise UserError(f"--device: expected devices of one kind, found '{text}'")
    return [str(device) for device in devices]
