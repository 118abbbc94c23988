"""A method on a tiny network and random images in 2D or 3D, every forward pass recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ssl_bench.cards import CHANNELS, Protocol, load_protocol
from ssl_bench.method import Batch, Hyperparameters, Images, Progress, Setup, SSLMethod, Update
from ssl_bench.ops import ExponentialMovingAverage

LABELED, UNLABELED = 3, 2  # images in a batch
SIDES = {2: (16, 16), 3: (8, 16, 8)}
VIEWS = ("weak", "strong1", "strong2")
PROGRESS = Progress(iteration=7, iterations=20, lambda_u=0.0625)
LEARNING_RATE = 0.05


class TinyEncoder(nn.Module):
    """Images (B, C, *sides) -> maps (B, 6, *sides) and (B, 6, *sides / 2); batch norm after the first convolution."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.out_channels = (6, 6)
        convolution, norm = (nn.Conv2d, nn.BatchNorm2d) if dimensions == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.fine = nn.Sequential(convolution(CHANNELS[dimensions], 6, 3, padding=1), norm(6), nn.Tanh())
        self.coarse = nn.Sequential(convolution(6, 6, 2, stride=2), nn.Tanh())

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the fine and the coarse map."""
        fine = self.fine(images)
        return [fine, self.coarse(fine)]


class TinyDecoder(nn.Module):
    """The two maps -> (B, 6, *sides), with dropout; `pyramid` also gives the coarse map."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.out_channels = 6
        self.pyramid_channels = (6, 6)
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.fine, self.coarse = convolution(6, 6, 1), convolution(6, 6, 1)
        self.dropout = nn.Dropout(0.2)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the fine map alone."""
        return self.pyramid(features)[0]

    def pyramid(self, features: list[Tensor]) -> list[Tensor]:
        """Return the maps of the decoder, the finest first."""
        fine, coarse = features[0], self.coarse(features[1])
        upsampled = nn.functional.interpolate(coarse, size=fine.shape[2:])
        return [self.dropout(torch.tanh(self.fine(fine) + upsampled)), coarse]


class TinyNetwork(nn.Module):
    """The three parts of a network of `build_network`; it predicts about as much of each class, and is mostly sure."""

    def __init__(self, dimensions: int = 2, classes: int = 2) -> None:
        super().__init__()
        self.encoder, self.decoder = TinyEncoder(dimensions), TinyDecoder(dimensions)
        self.segmentation_head = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(6, classes, 1, bias=False)
        nn.init.normal_(self.segmentation_head.weight, std=2)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, *sides) -> logits (B, classes, *sides)."""
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(images)))
        return logits


@dataclass
class Call:
    """One forward pass of one of a method's networks."""

    network: str
    images: Tensor
    logits: Tensor


@dataclass
class Laboratory:
    """A method on random images, with every forward pass of its networks recorded.

    Attributes:
        method: in training mode.
        protocol: whose images have the sides of `SIDES`.
        classes: their number.
        batch: what `updates` is given.
        labeled: the labelled images by view, each (LABELED, C, *sides).
        unlabeled: the unlabelled ones, each (UNLABELED, C, *sides).
        asked: which views the method asked for, such as "unlabeled strong1".
        calls: the forward passes in their order.

    """

    method: SSLMethod
    protocol: Protocol
    classes: int
    batch: Batch
    labeled: dict[str, Tensor]
    unlabeled: dict[str, Tensor]
    asked: set[str]
    calls: list[Call] = field(default_factory=list)

    def logits(self, network: str, images: Tensor) -> Tensor:
        """Return the output of the one pass of a network over just these images."""
        (call,) = [c for c in self.calls if c.network == network and c.images is images]
        return call.logits

    def calls_of(self, network: str, since: int = 0) -> list[Call]:
        """Return the passes of a network, without the first `since` passes of all networks."""
        return [call for call in self.calls[since:] if call.network == network]

    def trained(self) -> dict[str, nn.Module]:
        """Return the networks that the optimiser moves."""
        networks = self.method.networks.items()
        return {name: net for name, net in networks if any(p.requires_grad for p in net.parameters())}

    def teachers(self) -> list[nn.Module]:
        """Return the networks that are moving averages."""
        return [network for network in self.method.networks.values() if isinstance(network, ExponentialMovingAverage)]

    def updates(self, learning_rate: float = LEARNING_RATE) -> Iterator[Update]:
        """Run one iteration as the training loop does, with plain gradient descent."""
        adversaries = [p for one in self.method.adversaries.values() for p in one.parameters()]
        apart = set(adversaries)
        learning = {
            "networks": [p for p in self.method.parameters() if p.requires_grad and p not in apart],
            "adversaries": adversaries,
        }
        for update in self.method.updates(self.batch, PROGRESS):
            yield update
            self.method.zero_grad()
            update.total.backward()  # type: ignore[no-untyped-call]
            torch.optim.SGD(learning[update.trains], lr=learning_rate).step()
            if update.trains == "networks":
                self.method.after_update(PROGRESS)


def small_protocol(name: str, dimensions: int = 2, settings: Mapping[str, Any] | None = None) -> Protocol:
    """Return a protocol on small images; in 3D they are smaller than V-Net's, which a card would not take."""
    sides = SIDES[dimensions]
    if dimensions == 2:
        return load_protocol(name, {"image_size": sides[0], "augment_size": sides[0], **(settings or {})})
    small = load_protocol(name, dict(settings or {}), dimensions=3)
    return small.model_copy(update={"patch_size": sides, "stride": sides})


def set_up(
    kind: type[SSLMethod],
    hyper: Hyperparameters,
    protocol: Protocol,
    classes: int = 2,
    *,
    seed: int = 0,
    build: Callable[[], nn.Module] | None = None,
) -> Laboratory:
    """Return a method under a protocol, on random images of the protocol's sides.

    Args:
        kind: the method's class.
        hyper: its hyperparameters, resolved.
        protocol: see `small_protocol`.
        classes: their number.
        seed: of weights and images.
        build: makes the networks; default: tiny ones.

    Raises:
        UserError: the method refuses the protocol.
    """
    dimensions = len(protocol.sides)
    torch.manual_seed(seed)
    kind.check(hyper, protocol)
    chosen = build or (lambda: TinyNetwork(dimensions, classes))
    channels = CHANNELS[dimensions]
    method = kind(Setup(protocol, lambda **_: chosen(), classes, channels), hyper)
    method.train()
    generator = torch.Generator().manual_seed(seed + 1)
    labeled, unlabeled = (
        {view: torch.randn(count, channels, *protocol.sides, generator=generator) for view in VIEWS}
        for count in (LABELED, UNLABELED)
    )
    labels = torch.randint(0, classes, (LABELED, *protocol.sides), generator=generator)
    asked = set[str]()
    batch = batch_of(protocol, labeled, labels, unlabeled, asked)
    lab = Laboratory(method, protocol, classes, batch, labeled, unlabeled, asked)
    for network_name, network in method.networks.items():

        def record(_: nn.Module, inputs: tuple[Tensor], output: Tensor, network_name: str = network_name) -> None:
            lab.calls.append(Call(network_name, inputs[0], output))

        network.register_forward_hook(record)
    return lab


def batch_of(
    protocol: Protocol, labeled: dict[str, Tensor], labels: Tensor, unlabeled: dict[str, Tensor], asked: set[str]
) -> Batch:
    """Return a batch of images by view, in the views that the protocol gives to each network."""
    views = protocol.views
    return Batch(
        labeled=images_of(
            labeled, asked, "labeled", student1=views.labeled_student1, student2=views.labeled_student2,
            teacher=views.labeled_teacher, mixed=views.labeled_mixed, as_labeled=views.labeled_student1,
        ),
        labels=labels,
        unlabeled=images_of(
            unlabeled, asked, "unlabeled", student1=views.student1, student2=views.student2, teacher=views.teacher,
            mixed=views.mixed, as_labeled=views.labeled_student1,
        ),
    )  # fmt: skip


def images_of(views: dict[str, Tensor], asked: set[str], part: str, **names: str) -> Images:
    """Return images whose views are noted in `asked` as they are asked for."""

    def view(name: str) -> Tensor:
        asked.add(f"{part} {name}")
        return views[name]

    return Images(view, **names)
