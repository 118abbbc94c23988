"""Entropy minimisation against a loop over pixels and entropies computed by hand, in 2D and 3D."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from laboratory import PROGRESS, laboratory, protocol_of
from torch import Tensor

from ssl_bench.ops import IGNORED


def naive_mean(parts: list[Tensor], known: list[Tensor]) -> float:
    """Mean of -sum p ln p / ln K over the known pixels of all parts, one pixel at a time in float64."""
    total, count = 0.0, 0
    for logits, counts in zip(parts, known, strict=True):
        classes = logits.shape[1]
        for b, *place in itertools.product(*(range(n) for n in (len(logits), *logits.shape[2:]))):
            if not counts[(b, *place)]:
                continue
            values = [math.exp(v) for v in logits[(b, slice(None), *place)].double().tolist()]
            total -= sum(v / sum(values) * math.log(v / sum(values)) for v in values) / math.log(classes)
            count += 1
    return total / count


@pytest.mark.parametrize("ignores", [False, True])
@pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])
def test_the_term_is_the_mean_entropy_of_labelled_and_unlabelled_pixels(
    dimensions: int, classes: int, ignores: bool
) -> None:
    lab = laboratory("entmin", protocol_of("paper", dimensions), classes)
    known = torch.ones_like(lab.batch.labels, dtype=torch.bool)
    if ignores:
        lab.method.ignores = True
        known[0], known[1, :3] = False, False
        lab.batch = lab.batch._replace(labels=lab.batch.labels.masked_fill(~known, IGNORED))
    (update,) = lab.updates()
    on_labeled, on_unlabeled = (call.logits.detach() for call in lab.calls)
    expected = naive_mean([on_labeled, on_unlabeled], [known, torch.ones_like(on_unlabeled[:, 0])])
    assert update.terms["entropy"][0] == PROGRESS.lambda_u
    assert update.terms["entropy"][1].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([0.0, 0.0, 0.0], 1.0),  # uniform
        ([50.0, 0.0, 0.0], 0.0),  # certain
        ([-80.0, 0.0, 0.0], 0.6309297536),  # two of three classes: ln 2 / ln 3
        ([math.log(2), 0.0, 0.0], 0.9463946304),  # 1/2, 1/4, 1/4: 1.5 ln 2 / ln 3
    ],
)
def test_entropies_by_hand(logits: list[float], expected: float) -> None:
    method = laboratory("entmin", protocol_of("paper"), 3).method
    pixels = torch.tensor(logits).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    labels = torch.zeros(2, 4, 4, dtype=torch.long)
    assert method.mean_entropy(pixels, labels, pixels).item() == pytest.approx(expected, abs=1e-6)


def test_the_gradient_is_finite_where_the_network_is_certain_beyond_rounding() -> None:
    method = laboratory("entmin", protocol_of("paper")).method
    logits = torch.tensor([500.0, -500.0]).view(1, 2, 1, 1).requires_grad_()
    value = method.mean_entropy(logits, torch.zeros(1, 1, 1, dtype=torch.long), logits)
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_parts_count_by_their_pixels() -> None:
    """Three certain images and one uniform image have the mean entropy 1/4, whichever part they are in."""
    method = laboratory("entmin", protocol_of("paper")).method
    certain, uniform = torch.tensor([90.0, 0.0]).view(1, 2, 1, 1).expand(3, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    assert method.mean_entropy(certain, torch.zeros(3, 4, 4), uniform).item() == pytest.approx(0.25)
    assert method.mean_entropy(uniform, torch.zeros(1, 4, 4), certain).item() == pytest.approx(0.25)
