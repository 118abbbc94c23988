"""(d) Scoring volumes: windows in batches against one at a time, metrics against medpy on whole volumes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
from medpy.metric import binary
from timing import Ratio, Settings, compare
from torch import Tensor, nn

from ssl_bench.cards import Measurement, VolumeProtocol, load_protocol
from ssl_bench.networks import build_network
from ssl_bench.scoring.inference import predict_windows, window_positions
from ssl_bench.scoring.metrics import score_case

VOLUME = (120, 112, 88)  # about a scan of LA
METRICS = ("dsc", "jaccard", "95hd", "asd")


def ratios(settings: Settings) -> Iterator[Ratio]:
    """Inference, then metrics."""
    protocol = load_protocol(settings.protocol, dimensions=3)
    torch.manual_seed(0)
    network = build_network(protocol).to(settings.device).eval()
    volume = torch.randn(1, *VOLUME, device=settings.device)

    def in_batches() -> Tensor:
        with torch.no_grad():
            return predict_windows(
                network, volume, patch=protocol.patch_size, stride=protocol.stride, batch=protocol.window_batch
            )

    target = ">= 3" if settings.device.type == "cuda" else ">= 0.95"
    what = f"a volume of {'x'.join(map(str, VOLUME))} by windows, {settings.protocol}"
    others = "one at a time"
    yield compare(
        "volumes", what, (f"{protocol.window_batch} at a time", in_batches),
        (others, lambda: one_by_one(network, volume, protocol)), settings, target,
    )  # fmt: skip
    yield compare(
        "volumes", f"{what}: the network's share", ("all of it", in_batches),
        ("network alone", lambda: network_alone(network, volume, protocol)), settings, "<= 1.15",
    )  # fmt: skip
    truth, prediction = masks()
    measurement = Measurement(metrics=METRICS)
    yield compare(
        "volumes", f"{', '.join(METRICS)} of a mask of {int(truth.sum())} voxels",
        ("score_case", lambda: score_case(prediction, truth, measurement, None)),
        ("medpy", lambda: by_medpy(prediction, truth)), settings, ">= 2",
    )  # fmt: skip


@torch.no_grad()
def network_alone(network: nn.Module, volume: Tensor, protocol: VolumeProtocol) -> None:
    """The forward passes of all windows in batches: what no way of adding them up can do without."""
    count = len(list(product(*map(window_positions, volume.shape[1:], protocol.patch_size, protocol.stride))))
    patches = torch.randn(protocol.window_batch, 1, *protocol.patch_size, device=volume.device)
    for first in range(0, count, protocol.window_batch):
        network(patches[: count - first])


@torch.no_grad()
def one_by_one(network: nn.Module, volume: Tensor, protocol: VolumeProtocol) -> Tensor:
    """What the literature's test code does: a loop over windows, sums and counts of their softmax."""
    sides, patch = volume.shape[1:], protocol.patch_size
    total = torch.zeros(2, *sides, device=volume.device)
    count = torch.zeros(sides, device=volume.device)
    for corner in product(*map(window_positions, sides, patch, protocol.stride)):
        box = tuple(slice(at, at + side) for at, side in zip(corner, patch, strict=True))
        total[(slice(None), *box)] += network(volume[(slice(None), *box)][None])[0].softmax(0)
        count[box] += 1
    return total / count


def masks() -> tuple[np.ndarray, np.ndarray]:
    """A bumpy body of an atrium's size, and the same a little off."""
    grid = np.indices(VOLUME, dtype=float)
    both = []
    for shift in (0.0, 2.5):
        centre = np.array(VOLUME)[:, None, None, None] / 2 + shift
        offset = (grid - centre) / np.array([34.0, 28.0, 22.0])[:, None, None, None]
        both.append((offset**2).sum(0) + 0.1 * np.sin(grid / 4 + shift).sum(0) < 1)
    return both[0], both[1]


def by_medpy(prediction: np.ndarray, truth: np.ndarray) -> list[float]:
    """Four calls on the whole volume."""
    return [call(prediction, truth) for call in (binary.dc, binary.jc, binary.hd95, binary.asd)]
