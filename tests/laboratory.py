"""A method on a tiny network and random images in 2D or 3D, every forward pass recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ssl_bench.cards import Protocol, load_protocol
from ssl_bench.method import Batch, Hyperparameters, Images, Progress, Setup, SSLMethod, Update, load_methods
from ssl_bench.ops import ExponentialMovingAverage

METHODS = load_methods()
NAMES = sorted(METHODS)
LABELED, UNLABELED = 3, 2
SIDES = {2: (16, 16), 3: (8, 16, 8)}
R = 4  # UMIX's regions a side
VIEWS = ("weak", "strong1", "strong2")
PROGRESS = Progress(iteration=7, iterations=20, lambda_u=0.0625)
# Every perturbation of CCT once, and narrow discriminators, so that no method is slow. A confidence that some pixels of
# a tiny network reach; BCP without its first phase, which does less; AD-MT's teachers in turns of one iteration.
CHEAP = {"r": R, "adversary_filters": 4, "confidence": 0.6, "pretrain_share": 0.0, "longest_period": 1} | dict.fromkeys(
    ["vat", "spatial_dropout", "cutout", "context_masking", "object_masking", "feature_dropout", "feature_noise"], 1
)


class TinyEncoder(nn.Module):
    """Images (B, C, *sides) -> maps (B, 6, *sides) and (B, 6, *sides / 2); batch norm after the first convolution."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.out_channels = (6, 6)
        convolution, norm = (nn.Conv2d, nn.BatchNorm2d) if dimensions == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.fine = nn.Sequential(convolution(channels(dimensions), 6, 3, padding=1), norm(6), nn.Tanh())
        self.coarse = nn.Sequential(convolution(6, 6, 2, stride=2), nn.Tanh())

    def forward(self, images: Tensor) -> list[Tensor]:
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
        return self.pyramid(features)[0]

    def pyramid(self, features: list[Tensor]) -> list[Tensor]:
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
        return self.segmentation_head(self.decoder(self.encoder(images)))


@dataclass
class Call:
    """One forward pass of one of a method's networks."""

    network: str
    images: Tensor
    logits: Tensor


@dataclass
class Laboratory:
    """A method on random images, with every forward pass of its networks recorded."""

    method: SSLMethod
    protocol: Protocol
    classes: int
    batch: Batch
    labeled: dict[str, Tensor]
    unlabeled: dict[str, Tensor]
    asked: set[str]
    calls: list[Call] = field(default_factory=list)

    def logits(self, network: str, images: Tensor) -> Tensor:
        """The output of the one pass of a network over just these images."""
        (call,) = [c for c in self.calls if c.network == network and c.images is images]
        return call.logits

    def calls_of(self, network: str, since: int = 0) -> list[Call]:
        return [call for call in self.calls[since:] if call.network == network]

    def trained(self) -> dict[str, nn.Module]:
        """The networks that the optimiser moves."""
        networks = self.method.networks.items()
        return {name: net for name, net in networks if any(p.requires_grad for p in net.parameters())}

    def teachers(self) -> list[nn.Module]:
        return [network for network in self.method.networks.values() if isinstance(network, ExponentialMovingAverage)]

    def updates(self, learning_rate: float = 0.05) -> Iterator[Update]:
        """Run one iteration as the training loop does."""
        adversaries = [p for one in self.method.adversaries.values() for p in one.parameters()]
        apart = set(adversaries)
        learning = {
            "networks": [p for p in self.method.parameters() if p.requires_grad and p not in apart],
            "adversaries": adversaries,
        }
        for update in self.method.updates(self.batch, PROGRESS):
            yield update
            self.method.zero_grad()
            update.total.backward()
            torch.optim.SGD(learning[update.trains], lr=learning_rate).step()
            if update.trains == "networks":
                self.method.after_update(PROGRESS)


def channels(dimensions: int) -> int:
    """Of an image: colours in 2D, one in 3D."""
    return 3 if dimensions == 2 else 1


def images_of(views: dict[str, Tensor], asked: set[str], part: str, **names: str) -> Images:
    def view(name: str) -> Tensor:
        asked.add(f"{part} {name}")
        return views[name]

    return Images(view, **names)


def protocol_of(name: str, dimensions: int = 2, **settings: Any) -> Protocol:
    """A protocol on small images; in 3D they are smaller than V-Net's, which the card would not take."""
    sides = SIDES[dimensions]
    if dimensions == 2:
        return load_protocol(name, {"image_size": sides[0], "augment_size": sides[0], **settings})
    return load_protocol(name, settings, dimensions=3).model_copy(update={"patch_size": sides, "stride": sides})


def hyper_of(method: type[SSLMethod], **values: Any) -> Hyperparameters:
    """A method's hyperparameters; those that `values` leaves out are cheap ones."""
    cheap = {key: value for key, value in CHEAP.items() if key in method.hyperparameters.model_fields}
    return method.hyperparameters(**(cheap | values))


def laboratory(
    name: str,
    protocol: Protocol,
    classes: int = 2,
    *,
    seed: int = 0,
    build: Callable[[], nn.Module] | None = None,
    **hyper: Any,
) -> Laboratory:
    """A method under a protocol, on random images of the protocol's sides; `build` makes other networks than tiny."""
    dimensions = len(protocol.sides)
    torch.manual_seed(seed)
    hyperparameters = hyper_of(METHODS[name], **hyper).resolved(dimensions)
    METHODS[name].check(hyperparameters, protocol)
    chosen = build or (lambda: TinyNetwork(dimensions, classes))
    method = METHODS[name](Setup(protocol, lambda **_: chosen(), classes, channels(dimensions)), hyperparameters)
    method.train()
    generator = torch.Generator().manual_seed(seed + 1)
    labeled, unlabeled = (
        {view: torch.randn(count, channels(dimensions), *protocol.sides, generator=generator) for view in VIEWS}
        for count in (LABELED, UNLABELED)
    )
    labels = torch.randint(0, classes, (LABELED, *protocol.sides), generator=generator)
    views, asked = protocol.views, set()
    batch = Batch(
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
    lab = Laboratory(method, protocol, classes, batch, labeled, unlabeled, asked)
    for network_name, network in method.networks.items():

        def record(_: nn.Module, inputs: tuple[Tensor], output: Tensor, network_name: str = network_name) -> None:
            lab.calls.append(Call(network_name, inputs[0], output))

        network.register_forward_hook(record)
    return lab
