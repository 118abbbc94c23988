"""MC-Net and MC-Net+: decoders that differ by their upsampling learn each other's sharpened predictions."""

from collections.abc import Iterator
from itertools import permutations
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import IGNORED, AuxiliaryDecoder, mean_of_parts

Way = Literal["transposed", "linear", "nearest"]
WAYS: dict[int, tuple[Way, Way]] = {2: ("transposed", "nearest"), 3: ("linear", "nearest")}  # of decoders 2 and 3


class MCNetHyperparameters(Hyperparameters):
    """How sharp targets are, and the weight of the labelled loss; defaults are those of the authors' code."""

    temperature: float = Field(0.1, ge=0.01, le=1, description="T of the sharpening; 1: predictions as they are")
    supervised_weight: float = Field(0.5, gt=0, description="weight of each decoder's labelled loss")


@register
class MCNet(SSLMethod):
    """Wu et al. 2021 as the authors released it (`mcnet2d_v1`, `mcnet3d_v1`), with the protocol's supervised loss.

    One encoder and two decoders with heads. Decoder 1 is the protocol's network and the only one that is tested, as the
    authors do: the other decoder serves training alone. Decoder 2 doubles the sides of its maps by transposed
    convolutions in 2D and by trilinear interpolation in 3D. These are the authors' networks where the protocol's
    network is the small U-Net (decoder 1: bilinear) or V-Net (decoder 1: transposed). Of a network that has no such
    choice (DeepLabV3+), or no transposed convolution (U-Net on an encoder), the decoders differ by their initial
    weights alone.

    As in the authors' code, the gradient flows through the sharpened targets too, and the squared distance is taken on
    labelled and unlabelled images. Their images go through the network as one batch; here each part is a batch. Their
    Dice loss is that of the whole batch, in 3D of the foreground alone, with the weight 0.5. In 2D it has the weight 1,
    but lacks the factor 2 of the numerator, so its gradient is that of a Dice loss with the weight 0.5.

    The weight of the authors' 3D script ramps up over the first 6 000 of its 15 000 iterations; `authors` has the whole
    run, as in the 2D script.
    """

    name = "mcnet"
    title = "MC-Net"
    reference = "Wu et al., Semi-supervised Left Atrium Segmentation with Mutual Consistency Training, MICCAI 2021"
    group = "consistency"
    year = 2021
    venue = "MICCAI"
    authors = {
        "rampup_epochs": "run", "views.labeled_student1": "weak", "views.student1": "weak",
        "2d": {"lambda_max": 0.1}, "3d": {"lambda_max": 1.0},
    }  # fmt: skip
    handles_ignored = True
    needs_parts = True
    wants_upsampling = True
    decoders: ClassVar[int] = 2
    hyperparameters = MCNetHyperparameters
    hyper: MCNetHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network: Any = self.new_student()
        ways = WAYS[len(self.protocol.sides)][: self.decoders - 1]
        self.auxiliary = nn.ModuleList(AuxiliaryDecoder(self.new_student(upsampling=way)) for way in ways)

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = w sum_i L_s(p_i) + lambda sum_{i != j} mean (p_i - s(p_j))^2."""
        on_labeled, on_unlabeled = self.logits(batch.labeled.student1), self.logits(batch.unlabeled.student1)
        losses = [self.segmentation_loss(z, batch.labels) for z in on_labeled]
        supervised = self.hyper.supervised_weight * torch.stack(losses).sum()
        consistency = self.consistency(on_labeled, batch.labels, on_unlabeled)
        yield Update({"supervised": (1.0, supervised), "consistency": (progress.lambda_u, consistency)})

    def logits(self, images: Tensor) -> list[Tensor]:
        """Logits (B, K, *spatial) of each decoder, the network's own first."""
        features = self.network.encoder(images)
        own = self.network.segmentation_head(self.network.decoder(features))
        return [own, *(decoder(features) for decoder in self.auxiliary)]

    def consistency(self, on_labeled: list[Tensor], labels: Tensor, on_unlabeled: list[Tensor]) -> Tensor:
        """Mean squared distance over the pixels of both parts and the classes, summed over pairs of decoders."""
        known = labels != IGNORED if self.ignores else None
        return mean_of_parts(self.distance(on_labeled), self.distance(on_unlabeled), known) / self.classes

    def distance(self, logits: list[Tensor]) -> Tensor:
        """|p_i - s(p_j)|^2 of each pixel, summed over the ordered pairs i != j of decoders: (B, *spatial)."""
        predictions = [z.float().softmax(1) for z in logits]
        targets = [self.sharpened(p) for p in predictions]
        pairs = permutations(range(len(predictions)), 2)
        return torch.stack([(predictions[i] - targets[j]).square().sum(1) for i, j in pairs]).sum(0)

    def sharpened(self, p: Tensor) -> Tensor:
        """p^(1/T) / (p^(1/T) + (1 - p)^(1/T)) for each class by itself; of K > 2 classes the sum need not be 1."""
        power, rest = p ** (1 / self.hyper.temperature), (1 - p) ** (1 / self.hyper.temperature)
        return power / (power + rest)

    @property
    def predictor(self) -> nn.Module:
        """The network, with decoder 1."""
        return self.networks["network"]

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The network alone. The other decoders are not scored."""
        return {"network": self.network}


@register
class MCNetPlus(MCNet):
    """Wu et al. 2022 (`mcnet2d_v2`, `mcnet3d_v2`): MC-Net with a third decoder, by nearest neighbour, and six pairs."""

    name = "mcnet+"
    title = "MC-Net+"
    reference = "Wu et al., Mutual consistency learning for semi-supervised medical image segmentation, MedIA 2022"
    year = 2022
    venue = "MedIA"
    authors = MCNet.authors
    decoders = 3
