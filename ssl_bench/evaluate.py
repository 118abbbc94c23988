"""Scoring: predictions of every network at the test images' original size, and per-case metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from medpy.metric.binary import asd, hd95
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ssl_bench.data.stream import normalise
from ssl_bench.spec import Metric, Protocol

BATCH = 16
Row = tuple[str, str, str, *tuple[float | None, ...]]  # network, case, class, a value per metric


def score_case(prediction: np.ndarray, truth: np.ndarray, metrics: Sequence[Metric]) -> list[float | None]:
    """Compare two masks (*spatial) bool by each metric.

    DSC = 2|A & B| / (|A| + |B|) and Jaccard = |A & B| / |A | B|, as fractions; 95HD and ASD in pixels, by medpy
    (hd95, asd). Both masks empty: DSC and Jaccard are 1, distances undefined (None); one empty:
    DSC and Jaccard 0, distances undefined.
    """
    overlap = np.count_nonzero(prediction & truth)
    predicted, true = np.count_nonzero(prediction), np.count_nonzero(truth)
    values: dict[str, float | None] = {
        "dsc": 2 * overlap / (predicted + true) if predicted + true else 1.0,
        "jaccard": overlap / (predicted + true - overlap) if predicted + true else 1.0,
        "95hd": None,
        "asd": None,
    }
    if predicted and true:
        distances = {"95hd": hd95, "asd": asd}
        values |= {name: float(distances[name](prediction, truth)) for name in metrics if name in distances}
    return [values[metric] for metric in metrics]


@torch.no_grad()
def predict(
    network: nn.Module, images: Tensor, sizes: Iterable[tuple[int, int]], protocol: Protocol, device: torch.device
) -> Iterator[np.ndarray]:
    """Yield each image's mask: logits at the network's size, brought to (H, W) bilinearly, then the largest class.

    Args:
        network: in evaluation mode while this runs.
        images: (N, 3, A, A) uint8.
        sizes: (H, W) of each mask to yield.
        protocol: the resolved protocol.
        device: where the network is.

    Yields:
        (H, W) uint8 class numbers.

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
            full = interpolate(one[None], size=next(size_of), mode="bilinear", align_corners=False)
            yield full[0].argmax(0).to(torch.uint8).cpu().numpy()


def score_networks(
    networks: dict[str, nn.Module],
    images: Tensor,
    truths: Callable[[], Iterable[np.ndarray]],
    sizes: Sequence[tuple[int, int]],
    ids: tuple[str, ...],
    classes: tuple[str, ...],
    protocol: Protocol,
    device: torch.device,
    advance: Callable[[int], None] | None = None,
) -> list[Row]:
    """Score every network on every test case and foreground class, in order.

    Args:
        networks: by name.
        images: the test images, (N, 3, A, A) uint8.
        truths: called once per network, gives the masks (H, W) at the size where they are compared.
        sizes: their (H, W).
        ids: the cases' ids.
        classes: names, background first.
        protocol: the resolved protocol; its `metrics` are the columns.
        device: where the networks are.
        advance: told 1 after each case.

    """
    assert protocol.metrics != "auto"
    rows: list[Row] = []
    for name, network in networks.items():
        predictions = predict(network, images, sizes, protocol, device)
        for case, truth, predicted in zip(ids, truths(), predictions, strict=True):
            for number, label in enumerate(classes[1:], start=1):
                values = score_case(predicted == number, truth == number, protocol.metrics)
                rows.append((name, case, label, *values))
            if advance is not None:
                advance(1)
    return rows


def summary(rows: list[Row], metrics: tuple[Metric, ...]) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Mean over cases per network and metric, and how many cases were undefined (they are not averaged in)."""
    result: dict[str, dict[str, dict[str, float | int | None]]] = {}
    for network in dict.fromkeys(row[0] for row in rows):
        own = [row[3:] for row in rows if row[0] == network]
        result[network] = {}
        for column, metric in enumerate(metrics):
            defined = [value for values in own if (value := values[column]) is not None]
            mean = math.fsum(defined) / len(defined) if defined else None
            result[network][metric] = {"mean": mean, "undefined": len(own) - len(defined)}
    return result
