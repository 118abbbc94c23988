"""Where a number came from: software, hardware and command, recorded with every run."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import torch

from ssl_bench import __version__
from ssl_bench.launch.task import typed_command
from ssl_bench.method import SSLMethod, source_hash
from ssl_bench.wording import quantity

PACKAGES = ("torch", "torchvision", "segmentation-models-pytorch", "timm", "numpy", "pillow", "medpy", "scipy", "h5py")


def provenance(method: type[SSLMethod], device: torch.device) -> dict[str, Any]:
    """Describe this process as the origin of a run of `method` on `device`."""
    on_gpu = device.type == "cuda"
    return {
        "ssl_bench": __version__,
        "method_source_sha256": source_hash(method),
        "command": typed_command(),
        "device": torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        "cuda": torch.version.cuda if on_gpu else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def cpu_name() -> str:
    """Name what of a CPU decides how it rounds: instruction set and threads, as in "CPU (AVX512), 1 thread"."""
    threads = torch.get_num_threads()
    return f"CPU ({torch.backends.cpu.get_cpu_capability()}), {quantity(threads, 'thread')}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
