"""Cross-consistency training: auxiliary decoders on perturbed features agree with the main decoder."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ssl_bench.method import Batch, Hyperparameters, Progress, Protocol, Setup, SSLMethod, Update, UserError, register
from ssl_bench.ops import (
    AuxiliaryDecoder,
    adversarial_noise,
    cutout_box,
    dropout_switched,
    feature_dropout,
    feature_noise,
    hard_labels,
    keep_only,
)

Perturbation = Literal[
    "vat", "spatial_dropout", "cutout", "context_masking", "object_masking", "feature_dropout", "feature_noise"
]
PERTURBATIONS: tuple[Perturbation, ...] = get_args(Perturbation)


class CCTHyperparameters(Hyperparameters):
    """How many auxiliary decoders see each perturbation, and its strength; defaults are the authors'.

    Where paper and code differ they are the paper's: the code draws F-Drop's thresholds from 0.7 to 0.9.
    """

    vat: int = Field(2, ge=0, description="decoders on adversarial noise (I-VAT)")
    vat_xi: float = Field(1e-6, gt=0, description="norm of I-VAT's random first step")
    vat_eps: float = Field(2.0, ge=0, description="norm of I-VAT's noise")
    spatial_dropout: int = Field(6, ge=0, description="decoders on features without some channels (DropOut)")
    spatial_dropout_rate: float = Field(0.5, ge=0, lt=1, description="share of the channels that DropOut drops")
    cutout: int = Field(6, ge=0, description="decoders on features with a box cut out of the object (G-Cutout)")
    cutout_share: float = Field(0.4, ge=0, le=1, description="the box's sides, as a share of the object's")
    context_masking: int = Field(2, ge=0, description="decoders on the predicted object's features alone (Con-Msk)")
    object_masking: int = Field(2, ge=0, description="decoders on the features around the object alone (Obj-Msk)")
    feature_dropout: int = Field(6, ge=0, description="decoders on features without the most active places (F-Drop)")
    feature_dropout_low: float = Field(0.6, ge=0, le=1, description="lowest threshold of F-Drop")
    feature_dropout_high: float = Field(0.9, ge=0, le=1, description="highest threshold of F-Drop")
    feature_noise: int = Field(6, ge=0, description="decoders on features with noise (F-Noise)")
    feature_noise_limit: float = Field(0.3, ge=0, description="largest relative noise of F-Noise")


@register
class CrossConsistencyTraining(SSLMethod):
    """Ouali et al. 2020 with the protocol's supervised loss.

    One network with K auxiliary decoders. Each has its own weights and reads one perturbed copy of the features; they
    serve training alone. The paper's decoders read one feature map, the encoder's last. Those here read finer ones too
    (skips), so every map that the encoder gives is perturbed, else the clean fine maps would show what the coarse one
    hides; the image itself, which some encoders pass on, is not a feature and stays. Guided cutout
    cuts from the bounding box of all that is predicted foreground, the authors' code from each contour's.
    I-VAT's noise has the norm `vat_eps`. The authors' code adds 1e-8 to a divisor that is smaller: it has next to none.
    The distance has the protocol's lambda_max for its weight, as every unsupervised loss here; the authors' has 30,
    beside a cross-entropy. Memory and time grow with K: where 30 decoders do not fit, set smaller counts.
    """

    name = "cct"
    title = "CCT"
    reference = "Ouali et al., Semi-Supervised Semantic Segmentation with Cross-Consistency Training, CVPR 2020"
    group = "consistency"
    year = 2020
    venue = "CVPR"
    authors = {"lambda_max": 30.0}  # their ramp-up takes a tenth of the run, which no protocol field says
    handles_ignored = True
    needs_parts = True
    hyperparameters = CCTHyperparameters
    hyper: CCTHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network: Any = self.new_student()
        self.perturbations = [kind for kind in PERTURBATIONS for _ in range(getattr(hyper, kind))]
        self.auxiliary = nn.ModuleList(AuxiliaryDecoder(self.new_student()) for _ in self.perturbations)

    @classmethod
    def check(cls, hyper: CCTHyperparameters, protocol: Protocol) -> None:  # noqa: ARG003
        """Raise UserError if there is no decoder or the range of thresholds is empty."""
        if not any(getattr(hyper, kind) for kind in PERTURBATIONS):
            raise UserError(f"cct: expected at least one decoder among {', '.join(PERTURBATIONS)}, found none")
        low, high = hyper.feature_dropout_low, hyper.feature_dropout_high
        if low > high:
            raise UserError(f"feature_dropout_low: expected at most feature_dropout_high = {high}, found {low}")

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda mean_k MSE(softmax of decoder k, softmax of the main decoder, a constant)."""
        supervised = self.segmentation_loss(self.network(batch.labeled.student1), batch.labels)
        images = batch.unlabeled.student1
        features = self.network.encoder(images)
        image, maps = ([images], features[1:]) if features[0] is images else ([], features)
        with torch.no_grad():
            target = self.network.segmentation_head(self.network.decoder(features)).float().softmax(1)
        foreground, distances = hard_labels(target) > 0, []
        for kind, decoder in zip(self.perturbations, self.auxiliary, strict=True):
            logits = decoder([*image, *self.perturbed(kind, decoder, image, maps, foreground)])
            distances.append(mse_loss(logits.float().softmax(1), target))
        consistency = torch.stack(distances).mean()
        yield Update({"supervised": (1.0, supervised), "consistency": (progress.lambda_u, consistency)})

    def perturbed(
        self, kind: Perturbation, decoder: nn.Module, image: list[Tensor], maps: list[Tensor], foreground: Tensor
    ) -> list[Tensor]:
        """Feature maps for one auxiliary decoder; `foreground` (B, *spatial) bool is the main decoder's prediction."""
        hyper = self.hyper
        match kind:
            case "vat":
                with dropout_switched(decoder, on=False):
                    noise = adversarial_noise(
                        lambda moved: decoder([*image, *moved]), maps, xi=hyper.vat_xi, eps=hyper.vat_eps
                    )
                return [z + n for z, n in zip(maps, noise, strict=True)]
            case "spatial_dropout":
                return [torch.feature_dropout(z, hyper.spatial_dropout_rate, train=True) for z in maps]
            case "cutout":
                box = cutout_box(foreground, hyper.cutout_share)
                return [keep_only(z, ~box) for z in maps]
            case "context_masking":
                return [keep_only(z, foreground) for z in maps]
            case "object_masking":
                return [keep_only(z, ~foreground) for z in maps]
            case "feature_dropout":
                return [feature_dropout(z, hyper.feature_dropout_low, hyper.feature_dropout_high) for z in maps]
            case "feature_noise":
                return [feature_noise(z, hyper.feature_noise_limit) for z in maps]

    @property
    def predictor(self) -> nn.Module:
        """The network, with its main decoder."""
        return self.networks["network"]

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The network alone. Auxiliary decoders are not scored."""
        return {"network": self.network}
