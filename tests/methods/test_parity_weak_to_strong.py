"""One iteration beside the authors' code: FixMatch, UniMatch, UniMatch V2, CrossMatch, BCP and AD-MT.

`THEIRS` is what the authors' loops gave from the same weights on the same batch (docs/parity.md says how). Here the
methods have the authors' losses in the place of this package's Dice loss, and channels are dropped by a fixed pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from laboratory import Laboratory, TinyNetwork, laboratory, protocol_of, replace_dice
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from ssl_bench.method import Progress, Update
from ssl_bench.testing import laboratory as bench

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # of logits, labels and the pixels that count
MIXED = {"confidence": 0.6, "mix_probability": 1.0, "low": 0.2, "high": 0.5}
WITH_ENTROPY = {"unsupervised_loss": "cross-entropy"}
BOXED = {"pretrain_share": 0.0, "filter_rounds": 20}
TURNS = {"confidence": 0.6, "longest_period": 1, "copy_share": 0.2, **WITH_ENTROPY}


# ------------------------------------------------------------------------------------------- the losses of the authors


def whole_batch_dice(logits: Tensor, labels: Tensor, keep: Tensor, smooth: float = 1e-5) -> Tensor:
    """Of all samples at once, with squares in the denominator; mean over the classes."""
    p, y = logits.softmax(1), one_hot(labels, logits.shape[1]).movedim(-1, 1)
    kept = keep.unsqueeze(1)
    p, y = p * kept, y * kept
    overlap, size = ((p * y).transpose(0, 1).flatten(1).sum(1), (p * p + y * y).transpose(0, 1).flatten(1).sum(1))
    return 1 - ((2 * overlap + smooth) / (size + smooth)).mean()


def foreground_dice(logits: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
    """Of class 1 alone, of all samples at once."""
    p, y = logits.softmax(1)[:, 1] * keep, (labels == 1) * keep
    return 1 - (2 * (p * y).sum() + 1e-5) / ((p * p).sum() + y.sum() + 1e-5)


def sample_dice(logits: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
    """Of each sample and class, without squares."""
    p, y = logits.softmax(1), one_hot(labels, logits.shape[1]).movedim(-1, 1)
    kept = keep.unsqueeze(1)
    overlap, size = (p * y * kept).flatten(2).sum(2), ((p + y) * kept).flatten(2).sum(2)
    return 1 - ((2 * overlap + 1e-5) / (size + 1e-5)).mean()


def entropy_of(logits: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
    """Cross-entropy, mean over the pixels that count."""
    return (cross_entropy(logits, labels, reduction="none") * keep).sum() / keep.sum()


def with_entropy(dice: Loss) -> Loss:
    """The mean of Dice and cross-entropy."""
    return lambda logits, labels, keep: (dice(logits, labels, keep) + entropy_of(logits, labels, keep)) / 2


def as_ours(loss: Loss, labeled: Loss) -> Callable[..., Tensor]:
    """With the arguments of `ssl_bench.ops.dice_loss`; labelled images have a loss of their own."""

    def dice_loss(
        logits: Tensor, labels: Tensor, smooth: float, *, ignores: bool | None = None, keep: Tensor | None = None
    ) -> Tensor:
        assert smooth == 1e-5
        whole = torch.ones_like(labels, dtype=torch.bool)
        return labeled(logits, labels, whole) if keep is None else loss(logits, labels, keep)

    return dice_loss


# ------------------------------------------------------------------------------------------------------- what they gave


@dataclass(frozen=True)
class Theirs:
    """A case and the authors' loss, and how far the weights moved in a step of SGD (the norm of the difference).

    Attributes:
        scale: of our loss, where theirs is a half or a multiple of it.
        batch: labelled images, and as many unlabelled ones.

    """

    method: str
    dimensions: int
    classes: int
    loss: float
    moved: float
    dice: Loss
    labeled: Loss
    hyper: dict[str, Any] = field(default_factory=dict)
    iteration: int = 7
    scale: float = 0.5
    weight: float = 1.0
    batch: int = 4


ACDC, LA = with_entropy(whole_batch_dice), with_entropy(foreground_dice)


def acdc_region(logits: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
    return whole_batch_dice(logits, labels, keep, 1e-10)


THEIRS = {
    "FixMatch": Theirs("fixmatch", 2, 4, 1.46659434, 0.061598370, acdc_region, entropy_of, MIXED | WITH_ENTROPY),
    "UniMatch, ACDC": Theirs("unimatch", 2, 4, 0.98500085, 0.027832757, whole_batch_dice, ACDC, MIXED),
    "UniMatch V2": Theirs(
        "unimatch-v2", 2, 4, 1.62418675, 0.088224867, acdc_region, entropy_of, MIXED | WITH_ENTROPY, batch=2
    ),
    "CrossMatch, ACDC": Theirs("crossmatch", 2, 4, 1.04167771, 0.031263166, whole_batch_dice, ACDC, MIXED),
    "CrossMatch, LA": Theirs("crossmatch", 3, 2, 1.03879607, 0.048549563, foreground_dice, LA, MIXED),
    "BCP, ACDC": Theirs(
        "bcp", 2, 4, 1.90329373, 0.075793304, with_entropy(acdc_region), ACDC, BOXED, weight=0.5, scale=1.0, batch=2
    ),
    "BCP, LA": Theirs(
        "bcp", 3, 2, 1.31944799, 0.110341755, with_entropy(sample_dice), LA, BOXED, weight=0.5, scale=1.0, batch=2
    ),
    "AD-MT, teacher 1": Theirs(
        "admt", 3, 3, 4.50366402, 0.191467457, ACDC, ACDC, TURNS, weight=2.0, scale=1.0, batch=2
    ),
    "AD-MT, teacher 2": Theirs(
        "admt", 3, 3, 4.06408691, 0.226064361, ACDC, ACDC, TURNS, iteration=8, weight=2.0, scale=1.0, batch=2
    ),
}


def halves(channels: int) -> Tensor:
    return torch.arange(channels) % 2 * 2.0


def fixed_dropout(z: Tensor, rate: float, train: bool) -> Tensor:
    """Drop channels by a pattern that both codes were given."""
    assert train
    number = torch.arange(z.shape[1])
    factors = {0.5: halves(z.shape[1]), 0.25: (number % 4 != 0) * 4 / 3, 0.75: (number % 4 == 1) * 4.0}[rate]
    return z * factors.view(1, -1, *(1 for _ in z.shape[2:]))


def fixed_complement(features: list[Tensor]) -> list[Tensor]:
    changed = []
    for z in features:
        first = halves(z.shape[1]).view(1, -1, *(1 for _ in z.shape[2:]))
        one, other = z.chunk(2)
        changed.append(torch.cat([one * first, other * (2 - first)]))
    return changed


def still(dimensions: int, classes: int) -> nn.Module:
    """A network without dropout and batch norm, through which images may go together or apart."""
    network = TinyNetwork(dimensions, classes)
    network.encoder.fine[1] = nn.Identity()
    network.decoder.dropout = nn.Identity()
    return network


def opened(theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> Laboratory:
    monkeypatch.setattr(bench, "LABELED", theirs.batch)
    monkeypatch.setattr(bench, "UNLABELED", theirs.batch)
    protocol = protocol_of(
        "paper", theirs.dimensions, ema_decay=0.99, ema_warmup=theirs.method != "bcp", teacher_start="own"
    )
    build = lambda: still(theirs.dimensions, theirs.classes)  # noqa: E731
    lab = laboratory(theirs.method, protocol, theirs.classes, build=build, **theirs.hyper)
    if theirs.method == "bcp":  # there the teacher labels what the student sees
        lab.unlabeled[protocol.views.teacher].copy_(lab.unlabeled[protocol.views.student1])
    return lab


@pytest.mark.parametrize("name", THEIRS)
def test_an_iteration_is_that_of_the_authors_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = THEIRS[name]
    lab = opened(theirs, monkeypatch)
    names = type(lab.method).updates.__globals__
    replace_dice(monkeypatch, type(lab.method), as_ours(theirs.dice, theirs.labeled))
    monkeypatch.setitem(names, "complementary_dropout", fixed_complement)
    monkeypatch.setattr(torch, "feature_dropout", fixed_dropout)
    student: Any = getattr(lab.method, "student", None) or lab.method.network
    before = [p.detach().clone() for p in student.parameters()]
    torch.manual_seed(5)
    update: Update
    (update,) = lab.method.updates(lab.batch, Progress(theirs.iteration, 20, theirs.weight))
    total = theirs.scale * update.total
    assert total.item() == pytest.approx(theirs.loss, rel=1e-5)
    total.backward()
    torch.optim.SGD(student.parameters(), lr=0.05).step()
    moved = torch.cat([(p.detach() - old).flatten() for p, old in zip(student.parameters(), before, strict=True)])
    assert moved.double().norm().item() == pytest.approx(theirs.moved, rel=1e-5)
