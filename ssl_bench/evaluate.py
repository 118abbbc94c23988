"""Scoring: predictions of every network at the test cases' original size, and per-case metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ssl_bench.data.stream import normalise
from ssl_bench.metrics import keep_largest_components, score_case
from ssl_bench.spec import ImageProtocol, Metric, VolumeProtocol
from ssl_bench.windows import predict_windows

BATCH = 16
Seen = Callable[[str, str, np.ndarray, np.ndarray], None]  # network, case, truth, prediction
Row = tuple[str, str, str, *tuple[float | None, ...]]  # network, case, class, a value per metric


@torch.no_grad()
def image_scores(
    network: nn.Module, images: Tensor, sizes: Iterable[tuple[int, int]], protocol: ImageProtocol, device: torch.device
) -> Iterator[Tensor]:
    """Yield each 2D image's logits (K, H, W) float32, brought from the network's size to (H, W) bilinearly.

    Args:
        network: in evaluation mode while this runs.
        images: (N, 3, A, A) uint8.
        sizes: (H, W) of each result.
        protocol: the resolved protocol.
        device: where the network is.

    """
    mean = torch.tensor(protocol.input_mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(protocol.input_std, device=device).view(1, 3, 1, 1)
    network.eval()
    size_of = iter(sizes)
    for chunk in torch.split(images, BATCH):
        inputs = normalise(chunk.to(device), protocol.image_size, mean, std, protocol.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=protocol.precision == "bf16"):
            logits = network(inputs)
        for one in logits.float():
            yield interpolate(one[None], size=next(size_of), mode="bilinear", align_corners=False)[0]


@torch.no_grad()
def volume_scores(
    network: nn.Module, volumes: Iterable[np.ndarray], protocol: VolumeProtocol, device: torch.device
) -> Iterator[Tensor]:
    """Yield each volume's mean softmax (K, X, Y, Z) float32 over sliding windows.

    Args:
        network: in evaluation mode while this runs.
        volumes: (X, Y, Z) float32 each.
        protocol: the resolved protocol; its patch, stride and windows at once.
        device: where the network is.

    """
    network.eval()
    for volume in volumes:
        with torch.autocast(device.type, torch.bfloat16, enabled=protocol.precision == "bf16"):
            scores = predict_windows(
                network, torch.from_numpy(volume)[None].to(device), patch=protocol.patch_size, stride=protocol.stride,
                batch=protocol.window_batch,
            )  # fmt: skip
        yield scores


def class_map(scores: Tensor, protocol: ImageProtocol | VolumeProtocol) -> np.ndarray:
    """Turn logits or probabilities (K, *spatial) into class numbers (*spatial) uint8 as the protocol says."""
    labels: np.ndarray = scores.max(0).indices.to(torch.uint8).cpu().numpy()
    if isinstance(protocol, VolumeProtocol) and protocol.largest_component:
        return keep_largest_components(labels, classes=len(scores))
    return labels


def score_networks(
    networks: dict[str, nn.Module],
    predictions: Callable[[nn.Module], Iterable[np.ndarray]],
    truths: Callable[[], Iterable[np.ndarray]],
    ids: Sequence[str],
    classes: Sequence[str],
    metrics: Sequence[Metric],
    seen: Seen | None = None,
) -> list[Row]:
    """Score every network on every test case and foreground class, in order.

    Args:
        networks: by name.
        predictions: gives a network's class numbers (*spatial) for each case.
        truths: called once per network, gives the masks, likewise.
        ids: the cases' ids.
        classes: names, background first.
        metrics: the columns.
        seen: told after each case.

    """
    rows: list[Row] = []
    for name, network in networks.items():
        for case, truth, predicted in zip(ids, truths(), predictions(network), strict=True):
            for number, label in enumerate(classes[1:], start=1):
                values = score_case(predicted == number, truth == number, metrics)
                rows.append((name, case, label, *values))
            if seen is not None:
                seen(name, case, truth, predicted)
    return rows


def summary(rows: list[Row], metrics: Sequence[Metric]) -> dict[str, dict[str, Any]]:
    """Mean over cases and classes per network and metric, and how many were undefined (they are not averaged in).

    Where there are several foreground classes, `classes` holds the same for each of them.
    """
    result: dict[str, dict[str, Any]] = {}
    labels = list(dict.fromkeys(row[2] for row in rows))
    for network in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == network]
        result[network] = {}
        for column, metric in enumerate(metrics, start=3):
            result[network][metric] = _mean([row[column] for row in own])
            if len(labels) > 1:
                result[network][metric]["classes"] = {
                    label: _mean([row[column] for row in own if row[2] == label]) for label in labels
                }
    return result


def _mean(values: Sequence[Any]) -> dict[str, Any]:
    defined = [value for value in values if value is not None]
    mean = math.fsum(defined) / len(defined) if defined else None
    return {"mean": mean, "undefined": len(values) - len(defined)}
