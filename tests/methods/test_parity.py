"""Losses of one iteration equal those that the authors' released code gives on the same arrays and weights.

The constants were computed once by the authors' own functions and loop bodies, outside this repository; docs/parity.md
says from which commit and how. All is in float64. Where the supervised loss differs from the authors' by design, theirs
takes its place here: it is written down below.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
import torch
from laboratory import METHODS, images_of, protocol_of, replace_dice
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, normalize, one_hot
from torch.nn.modules.dropout import _DropoutNd

from ssl_bench.method import Batch, Progress, Setup, SSLMethod
from ssl_bench.ops import IGNORED, BoxMix, LinearMix, Turn, class_maps

VIEWS = ("weak", "strong1", "strong2")
SIDE = {2: 32, 3: 16}
WIDTH = 4
PROGRESS = Progress(iteration=7, iterations=20, lambda_u=0.5)


class Encoder(nn.Module):
    """Images (B, 1, *sides) -> maps (B, 4, *sides) and (B, 4, *sides / 2)."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.out_channels = (WIDTH, WIDTH)
        self.fine, self.coarse = convolution(1, WIDTH, 3, padding=1), convolution(WIDTH, WIDTH, 2, stride=2)

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = torch.tanh(self.fine(images))
        return [fine, torch.tanh(self.coarse(fine))]


class Decoder(nn.Module):
    """The two maps -> (B, 4, *sides); `pyramid` also gives the coarse map and two that are coarser."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.out_channels, self.pyramid_channels = WIDTH, (WIDTH,) * 4
        self.fine, self.coarse = convolution(WIDTH, WIDTH, 1), convolution(WIDTH, WIDTH, 1)
        self.coarser = nn.ModuleList(convolution(WIDTH, WIDTH, 2, stride=2) for _ in range(2))

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.pyramid(features)[0]

    def pyramid(self, features: list[Tensor]) -> list[Tensor]:
        fine, coarse = features[0], self.coarse(features[1])
        maps = [torch.tanh(self.fine(fine) + interpolate(coarse, size=fine.shape[2:])), coarse]
        for halved in self.coarser:
            maps.append(torch.tanh(halved(maps[-1])))
        return maps


class Network(nn.Module):
    """Plain convolutions, without normalisation or dropout."""

    def __init__(self, dimensions: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(dimensions), Decoder(dimensions)
        self.segmentation_head = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(WIDTH, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(images)))
        return logits


@dataclass(frozen=True)
class AuthorsDice:
    """The authors' Dice loss: over all pixels of a batch at once, mean over classes.

    1 - (2 sum(p y) + smooth) / (sum(p^power) + sum(y) + smooth). With `cross_entropy` it is the mean of Dice and
    cross-entropy: "on labels", for true labels alone, or "always", for pseudo labels too.
    """

    power: int = 2
    first_class: int = 0
    smooth: float = 1e-5
    cross_entropy: Literal["never", "on labels", "always"] = "never"

    def __call__(
        self, logits: Tensor, labels: Tensor, _: float, *, ignores: bool | None = None, keep: Tensor | None = None
    ) -> Tensor:
        assert not ignores  # given for true labels alone
        counts = torch.ones_like(labels, dtype=torch.bool) if keep is None else keep
        p = logits.softmax(1).movedim(1, 0)[:, counts]
        y = one_hot(labels, logits.shape[1]).movedim(-1, 0)[:, counts].to(p.dtype)
        dice = (2 * (p * y).sum(1) + self.smooth) / ((p**self.power).sum(1) + y.sum(1) + self.smooth)
        loss = (1 - dice)[self.first_class :].mean()
        if self.cross_entropy == "never" or (self.cross_entropy == "on labels" and ignores is None):
            return loss
        return (loss + cross_entropy(logits, labels, reduction="none")[counts].mean()) / 2


@dataclass(frozen=True)
class Case:
    """One iteration of a method.

    Attributes:
        name: of the method.
        repository: of the authors' code that gave `losses`.
        losses: by term, of all updates of the iteration.
        supervised: the authors' loss on labelled images, in the place of `dice_loss`.
        settings: of the protocol.
        hyper: of the method.
        names: of the method's file, with what they are replaced by: draws without chance.
        one_view: whether all views of the unlabelled images are equal.
        tolerance: largest difference of a loss, where the authors' code rounds in a way that ours does not.

    """

    name: str
    repository: str
    losses: dict[str, float]
    supervised: Callable[..., Tensor]
    dimensions: int = 2
    classes: int = 4
    settings: dict[str, Any] = field(default_factory=dict)
    hyper: dict[str, Any] = field(default_factory=dict)
    names: Callable[[], dict[str, Any]] = dict
    one_view: bool = True
    tolerance: float = 1e-8  # signed distances are in float32


def draws(name: str) -> np.random.Generator:
    """A generator of its own for each name, so that no order of calls counts."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def images(name: str, dimensions: int) -> Tensor:
    """Two images (2, 1, *sides)."""
    return torch.from_numpy(draws(name).normal(size=(2, 1, *[SIDE[dimensions]] * dimensions)))


def blobs(dimensions: int, classes: int) -> Tensor:
    """Two label maps (2, *sides): balls, one inside the other."""
    places = np.indices([SIDE[dimensions]] * dimensions)
    labels = np.zeros((2, *places.shape[1:]), dtype=np.int64)
    for label, centre in zip(labels, draws("centres").uniform(0.4, 0.6, (2, dimensions)), strict=True):
        centred = places - (SIDE[dimensions] * centre).reshape(-1, *[1] * dimensions)
        distance = np.sqrt((centred**2).sum(0))
        for c in range(1, classes):
            label[distance < SIDE[dimensions] * 0.35 * (classes - c) / (classes - 1)] = c
    return torch.from_numpy(labels)


def batch_of(dimensions: int, classes: int, *, one_view: bool = True) -> Batch:
    """Two labelled and two unlabelled images; views of the labelled ones are equal."""
    labeled = dict.fromkeys(VIEWS, images("labeled", dimensions))
    unlabeled = {view: images(VIEWS[0] if one_view else view, dimensions) for view in VIEWS}
    names = {"student1": "strong1", "student2": "strong2", "teacher": "weak", "mixed": "strong1"}
    names["as_labeled"] = "strong1"
    return Batch(
        images_of(labeled, set(), "labeled", **names), blobs(dimensions, classes),
        images_of(unlabeled, set(), "unlabeled", **names),
    )  # fmt: skip


def method_of(case: Case, build: Callable[[], nn.Module] | None = None) -> SSLMethod:
    """The method with weights that its parameters' names decide, in float64."""
    cls = METHODS[case.name]
    hyper = cls.hyperparameters(**case.hyper).resolved(case.dimensions)
    chosen = build or (lambda: Network(case.dimensions, case.classes))
    protocol = protocol_of("paper", case.dimensions, **case.settings)
    method = cls(Setup(protocol, lambda **_: chosen(), case.classes, 1), hyper).double()
    if build is None:
        for name, parameter in method.named_parameters():
            coming = parameter[0].numel() if parameter.dim() > 1 else 100
            scale = (3.0 if "segmentation_head" in name else 1.5) / coming**0.5
            parameter.data = torch.from_numpy(draws(name).normal(scale=scale, size=parameter.shape))
    for module in method.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
    return method.train()


def without_first_channels(features: Tensor, rate: float, train: bool) -> Tensor:
    """In the place of channel dropout."""
    assert train
    channels = torch.arange(features.shape[1])
    return features * (channels >= rate * len(channels)).view(-1, 1, 1) / (1 - rate)


def directions() -> Callable[[Tensor], Tensor]:
    """In the place of `rand_like`, for adversarial noise: one draw for four images, two of them in each call."""
    halves = iter(torch.from_numpy(draws("directions").uniform(size=(4, 1, 32, 32))).chunk(2))
    return lambda _: next(halves)


def patched(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    """Compute in float64, without chance, and with the authors' supervised loss."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(torch, "feature_dropout", without_first_channels)
    monkeypatch.setattr(torch, "rand_like", directions())
    replace_dice(monkeypatch, METHODS[case.name], case.supervised)
    namespace = METHODS[case.name].updates.__globals__
    for name, replacement in case.names().items():
        assert name in namespace
        monkeypatch.setitem(namespace, name, replacement)


def measured(method: SSLMethod, batch: Batch) -> dict[str, float]:
    """All losses of one iteration, without a step of an optimiser."""
    values = {}
    for update in method.updates(batch, PROGRESS):
        values |= {term: value.item() for term, (_, value) in update.terms.items()}
    return values


def cross_entropy_alone(logits: Tensor, labels: Tensor, _: float, *, ignores: bool) -> Tensor:
    """In the place of `dice_loss`, where the authors have no Dice loss."""
    assert not ignores
    return cross_entropy(logits, labels)


def cross_entropy_on_pseudo_labels(
    logits: Tensor, labels: Tensor, smooth: float, *, ignores: bool | None = None
) -> Tensor:
    """In the place of `dice_loss`, where the authors have cross-entropy for pseudo labels and both for true ones."""
    return cross_entropy(logits, labels) if ignores is None else MIXED(logits, labels, smooth, ignores=ignores)


def two_boxes() -> dict[str, Any]:
    """In the place of `cutmix`: one mix for the first strong view, and another one for the second."""
    places = [([3, 4], [15, 20]), ([8, 2], [20, 30])], [([10, 0], [32, 12]), ([0, 0], [0, 0])]
    mixes = iter(
        BoxMix(*(torch.tensor([[corner] for corner in corners]) for corners in zip(*boxes, strict=True)), (32, 32))
        for boxes in places
    )
    return {"cutmix": lambda *_, **__: next(mixes)}


def box(*_: Any) -> Tensor:
    """In the place of `random_box`."""
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[5:26, 0:21] = True
    return inside


def unchanged(features: Tensor, *_: float) -> Tensor:
    """In the place of a perturbation."""
    return features


RAMPS_FROM_0 = {"ramp_start": 0}
BINARY = AuthorsDice(first_class=1)  # of the foreground's probability
MIXED = AuthorsDice(cross_entropy="always")
CASES = [
    Case(
        "dtc", "HiLab-git/DTC",
        {"supervised": 0.6773050888159372, "consistency": 0.34537495319172307},
        BINARY, dimensions=3, classes=2,
    ),
    Case(
        "sassnet", "kleinzcy/SASSnet",
        {"supervised": 0.6773050888159372, "adversarial": 0.5951269999492923, "discriminator": 0.8571027591625142},
        BINARY, dimensions=3, classes=2, hyper={"adversary_filters": WIDTH, "adversarial_weight": 1.0},
    ),
    Case(
        "mcnet", "ycwu1997/MC-Net",
        {"supervised": 0.7468374949186203, "consistency": 0.7066151506480691},
        AuthorsDice(power=1, first_class=1, smooth=1e-8), dimensions=3, classes=2,
    ),
    Case(
        "mcnet+", "ycwu1997/MC-Net",
        {"supervised": 1.1086746683050688, "consistency": 2.538339274631797},
        AuthorsDice(power=1, first_class=1, smooth=1e-8), dimensions=3, classes=2,
    ),
    Case(
        "urpc", "HiLab-git/SSL4MIS",
        {"supervised": 1.2379645197064897, "consistency": 0.26594782830855707},
        MIXED, names=lambda: dict.fromkeys(["feature_noise", "feature_dropout", "dropout"], unchanged),
    ),
    Case(
        "entmin", "HiLab-git/SSL4MIS",
        {"supervised": 1.5288058819298724, "entropy": 0.6196366054681237},
        MIXED, tolerance=4e-6,  # theirs has 1e-6 beside the probability in the logarithm: 4e-6 / ln 4 at most
    ),
    Case(
        "ict", "HiLab-git/SSL4MIS",
        {"supervised": 1.6509852959785483, "consistency": 0.09951725288936356},
        MIXED, names=lambda: {"mixup": lambda *_: LinearMix(torch.tensor([0.3125, 0.6875], dtype=torch.float64))},
    ),
    Case(
        "rotation", "HiLab-git/SSL4MIS",
        {"supervised": 1.5288058819298724, "consistency": 0.12046929216419448},
        MIXED, names=lambda: {"random_turn": lambda _: Turn(torch.tensor([1]), (0, 1, 2, 3))},
    ),
    Case(
        "uamt", "HiLab-git/SSL4MIS",
        {"supervised": 1.0840456237984253, "consistency": 0.2853572712855462},
        MIXED, classes=2, settings=RAMPS_FROM_0, names=lambda: {"image_noise": unchanged},
    ),
    Case(
        "cps", "HiLab-git/SSL4MIS",
        {"supervised": 3.921276294532905, "cps": 5.596075106725973},
        cross_entropy_on_pseudo_labels,
    ),
    Case(
        "ctct", "HiLab-git/SSL4MIS",
        {"supervised": 3.921276294532905, "cps": 1.4143055980035253},
        AuthorsDice(cross_entropy="on labels"),
    ),
    Case(
        "dan", "HiLab-git/SSL4MIS",
        {"supervised": 0.5436496538607186, "adversarial": 0.8170678800754676, "evaluator": 0.8297619889805486},
        MIXED, dimensions=3, classes=2, hyper={"adversary_filters": WIDTH},
    ),
    Case(
        "bcp", "DeepMed-Lab-ECNU/BCP",
        {"supervised": 1.6445572053660835, "mixed": 1.5339041270498242},
        AuthorsDice(cross_entropy="always", smooth=1e-10), hyper={"pretrain_share": 0.0},
        names=lambda: {"random_box": box},
    ),
    Case(
        "fixmatch", "LiheYoung/UniMatch",
        {"supervised": 2.2743486502944474, "strong": 1.4270577179125379},
        cross_entropy_alone, hyper={"confidence": 0.5, "unsupervised_loss": "cross-entropy"},
        names=two_boxes, one_view=False,
    ),
    Case(
        "unimatch", "LiheYoung/UniMatch",
        {"supervised": 1.5288058819298724, "strong": 0.3556476624620988, "features": 0.24623144000571345},
        AuthorsDice(cross_entropy="on labels"), hyper={"confidence": 0.5}, names=two_boxes, one_view=False,
    ),
    Case(
        "crossmatch", "AiEson/CrossMatch",
        {"supervised": 1.5288058223085557, "strong": 0.35564738932147666, "distillation": 0.3317574100004182},
        AuthorsDice(cross_entropy="on labels", smooth=1e-4), hyper={"confidence": 0.5}, names=two_boxes,
        one_view=False,
    ),
    Case(
        "advsemseg", "hfslyc/AdvSemiSeg",
        {
            "supervised": 2.2743486502944474, "adversarial": 0.07565939306708538, "semi": 0.4372675112074351,
            "discriminator": 0.6589412967294392,
        },
        cross_entropy_alone, hyper={"adversary_filters": WIDTH, "semi_threshold": 0.49},
        names=lambda: {"class_maps": lambda *arguments: class_maps(*arguments).double()},
    ),
    Case(
        "acmt", "lemoshu/AC-MT",
        {"supervised": 1.1195552142253788, "consistency": 0.1145188086514229},
        MIXED, dimensions=3, classes=2, settings=RAMPS_FROM_0,
        names=lambda: {"image_noise": unchanged},
    ),
    Case(
        "acmt", "lemoshu/AC-MT",
        {"supervised": 1.1195552142253788, "consistency": 0.2320821869792936 / 2},  # theirs is a sum over two classes
        MIXED, dimensions=3, classes=2, settings=RAMPS_FROM_0, hyper={"form": "uncertainty"},
        names=lambda: {"image_noise": unchanged},
    ),
    Case(
        "ssnet", "ycwu1997/SS-Net",
        {"supervised": 0.7832631268143493, "smoothness": 0.06279789817238018, "separation": 0.11133510607183224},
        AuthorsDice(smooth=1e-10), settings={"dice_smooth": 1e-10}, hyper={"samples": 2 * 32 * 32},
        tolerance=5e-6,  # the authors search for the noise of all images by one Dice loss; here each part has its own
    ),
    Case(
        "admt", "ZhenZHAO/AD-MT",
        {"supervised": 1.6509852959785483, "pseudo": 0.6817168452446425},
        AuthorsDice(cross_entropy="on labels"), hyper={"confidence": 0.5},
        names=lambda: {"whose_turn": lambda *_, **__: 0}, one_view=False,
    ),
    Case(
        "dct", "AlanChou/Deep-Co-Training-for-Semi-Supervised-Image-Recognition",
        {"supervised": 6.291124664908958, "cot": 3.092981957350207, "dif": 2.713944593347888},
        lambda logits, labels, *_, **__: cross_entropy(logits, labels), settings={"supervised_reduction": "sum"},
    ),
    Case(
        "abd", "chy-upc/ABD",
        {"supervised": 11.785660661399369, "cps": 1.4248056463563357, "displaced": 1.3932617368182574},
        AuthorsDice(cross_entropy="on labels"), hyper={"labeled_chance": 1.0}, one_view=False,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_losses_are_those_of_the_authors_code(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    patched(monkeypatch, case)
    found = measured(method_of(case), batch_of(case.dimensions, case.classes, one_view=case.one_view))
    assert found == pytest.approx(case.losses, rel=0, abs=case.tolerance), case.repository


@pytest.mark.parametrize("name", ["acmt", "uamt"])
def test_their_thresholds_begin_as_the_authors_do(name: str) -> None:
    assert METHODS[name].authors["ramp_start"] == RAMPS_FROM_0["ramp_start"]


@pytest.mark.parametrize(("classes", "expected"), [(2, 1.9167612007870987), (4, 3.1201049807405745)])
def test_ugcls_contrast_is_that_of_the_authors_code(
    classes: int, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pixel of each class is predicted right, so that nothing is drawn. taovv/UGPCL, without its leave-out."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    case = Case("ugcl", "taovv/UGPCL", {}, AuthorsDice(), classes=classes, hyper={"queue_size": 5})
    method: Any = method_of(case)
    queue = torch.from_numpy(draws("queue").normal(size=(classes, 5, 256)))
    queue[0] = 0
    method.queue.features = normalize(queue, dim=2)
    maps = torch.from_numpy(draws("maps").normal(size=(5, WIDTH, 6, 6)))
    labels = torch.full((5, 36), IGNORED)
    predicted = torch.zeros_like(labels)
    for b, c in itertools.product(range(5), range(classes)):
        count = (b + c) % 4  # pixels of class c in image b
        labels[b, 6 * c : 6 * c + count] = c
        predicted[b, 6 * c : 6 * c + 6] = (c + 1) % classes
        if count:
            predicted[b, 6 * c + (b + 2 * c) % count] = c
    loss = method.contrast(maps, labels.view(5, 6, 6), predicted.view(5, 6, 6), None)
    theirs = loss.item() * 5 / (5 + 1e-5)  # their number of keys of a class is 1e-5 larger
    assert theirs == pytest.approx(expected, rel=0, abs=5e-9)  # shares in batch norm are float32
