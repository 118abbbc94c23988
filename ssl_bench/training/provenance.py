"""Records the software, hardware and command of a run."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ssl_bench.command import quantity, typed_command
from ssl_bench.data.extra import Augmentation, chosen_extras
from ssl_bench.method import SSLMethod, base_hashes, source_hash
from ssl_bench.networks.registry import NetworkEntry, find_network
from ssl_bench.training.job import Job
from ssl_bench.version import current_version

PACKAGES = ("torch", "torchvision", "segmentation-models-pytorch", "timm", "numpy", "pillow", "medpy", "scipy", "h5py")


LIMITS = {"ONEDNN_MAX_CPU_ISA": "oneDNN", "MKL_ENABLE_INSTRUCTIONS": "MKL", "MKL_CBWR": "MKL CBWR"}


def origin_of(job: Job, device: torch.device) -> dict[str, Any]:
    """Describe this process as the origin of a job's run."""
    protocol = job.spec.protocol
    further = [protocol.changed(changes).network for changes in job.method.architectures(job.hyper)]
    network, *others = (find_network(name, protocol.dimensions) for name in (protocol.network, *further))
    return provenance(job.method, device, network, others, [one for one, _ in chosen_extras(protocol)])


def provenance(
    method: type[SSLMethod],
    device: torch.device,
    network: NetworkEntry | None = None,
    others: Sequence[NetworkEntry] = (),
    augmentations: Sequence[Augmentation] = (),
) -> dict[str, Any]:
    """Describe this process as the origin of a run.

    Networks, augmentations and base classes of the method from a user's file are identified by the file's hash.

    Args:
        method: the run's.
        device: it is trained on.
        network: the protocol's.
        others: the method's further architectures.
        augmentations: the protocol's extra ones.

    """
    on_gpu = device.type == "cuda"
    networks = [] if network is None else [network, *others]
    sources = {f"network {one.name}": one.source for one in others if not one.is_built_in}
    sources |= {f"base class in {module}": source for module, source in base_hashes(method).items()}
    sources |= {f"augmentation {one.name}": one.source for one in augmentations}
    packages = dict.fromkeys([*PACKAGES, *(name for one in networks for name in one.packages)])
    return {
        "ssl_bench": current_version(),
        "method_source_sha256": source_hash(method),
        **({} if network is None or network.is_built_in else {"network_source_sha256": network.source}),
        **({"further_sources_sha256": sources} if sources else {}),
        "command": typed_command(),
        "device": torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        "cuda": torch.version.cuda if on_gpu else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
    }


def edited_files(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Which of a run's files have another text now than in an earlier provenance: "method", "network NAME" and so on.

    A text that the earlier provenance does not name counts as the same.
    """
    keys = {what: f"{what}_source_sha256" for what in ("method", "network")}
    edited = [what for what, key in keys.items() if before.get(key) not in (None, now.get(key))]
    known, current = (one.get("further_sources_sha256", {}) for one in (before, now))
    return edited + [what for what, source in known.items() if source != current.get(what)]


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Name the properties of the CPU that decide rounding: "CPU (AMD EPYC, family 25, model 17, AVX512), 1 thread".

    Virtual machines give many processors one name, and libraries choose kernels by more than the instruction set, so
    family and model are included (on Linux). Limits set by environment variables are included too.
    """
    first = cpuinfo.read_text().partition("\n\n")[0] if cpuinfo.is_file() else ""
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    details = [said.get("model name") or platform.processor() or platform.machine()]
    details += [f"{key.removeprefix('cpu ')} {said[key]}" for key in ("cpu family", "model") if key in said]
    details.append(torch.backends.cpu.get_cpu_capability())
    details += [f"{title} {os.environ[name]}" for name, title in LIMITS.items() if os.environ.get(name)]
    return f"CPU ({', '.join(details)}), {quantity(torch.get_num_threads(), 'thread')}"


@functools.cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
