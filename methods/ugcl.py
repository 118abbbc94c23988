"""UGCL: two decoders agree, and pixels of which they are certain are drawn to their class in a contrastive loss."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import (
    IGNORED,
    AuxiliaryDecoder,
    FeatureQueue,
    MaskedBatchNorm,
    cross_entropy_loss,
    gaussian_ramp_up,
    hard_labels,
    mean_prediction_entropy,
    nearest_labels,
    quarter_turns,
    queue_contrast,
    random_turns,
)

STRIDE, WIDTH = 8, 256  # of the encoder's map that is embedded; length of a vector


class UGCLHyperparameters(Hyperparameters):
    """Weights, the contrast and its uncertainty threshold; defaults are those of the authors' code.

    At lambda = 0.1 the weights of the unsupervised losses are the authors': 0.01, 0.1 and 0.1.
    """

    second_decoder_weight: float = Field(0.4, ge=0, description="weight of the second decoder's supervised loss")
    consistency_weight: float = Field(0.1, ge=0, description="weight of the decoders' consistency")
    rotation_weight: float = Field(1.0, ge=0, description="weight of the rotation classifier's cross-entropy")
    contrast_weight: float = Field(1.0, ge=0, description="weight of the contrastive loss")
    contrast_start: float = Field(0.1, ge=0, le=1, description="share of the run before the contrastive loss begins")
    temperature: float = Field(0.07, gt=0, description="of the contrastive loss")
    queue_size: int = Field(500, ge=1, description="remembered vectors of each class")
    threshold_start: float = Field(
        0.75, ge=0, le=1, description="first threshold of the uncertainty, as a share of ln 2"
    )


class Embedding(nn.Module):
    """Linear, batch norm, ReLU, linear: rows (N, channels) -> unit vectors (N, 256); statistics are of kept rows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(channels, channels), MaskedBatchNorm(channels)
        self.last = nn.Linear(channels, WIDTH)

    def forward(self, rows: Tensor, kept: Tensor) -> Tensor:
        """Embed all rows; those that are not kept have no effect on the others."""
        return normalize(self.last(self.norm(self.first(rows), kept).relu()).float(), dim=1)


@register
class UncertaintyGuidedContrast(SSLMethod):
    """Wang et al. 2022 (released as UGPCL), with a second decoder of convolutions in the place of their transformer.

    One encoder, the network's own decoder, and a second one. Every image is turned by a random multiple of 90 degrees
    (in 3D in the x-y plane; only half turns where its sides differ), and a classifier of the deepest map tells by how
    much. On unlabelled images the decoders' softmaxes should be equal. The contrastive loss is of the encoder's map of
    1/8 of the image's sides, or the coarsest if there are fewer maps: each image gives an anchor of each class that it
    has at two pixels or more, by its label or, where the entropy of the decoders' mean softmax is at most the
    threshold, by its prediction. Of these pixels one is drawn, if possible among those that the network predicts right.
    Anchors are compared with the queues of all classes, each with the latest class means of an image. All this follows
    the authors' code.

    Further facts of their code, which hold here too:

    - The threshold is (0.75 + 0.25 ramp) ln 2 for any number of classes.
    - The background has no queue. Its keys are zero vectors, so its anchors are driven away from the other queues.
    - Queues of the other classes start with random unit vectors. A second queue, of pixels, is never read: it is
      not here.

    What differs here:

    - Their second decoder is a Swin transformer, for images of 224 x 224 alone. Here it is the protocol's decoder, and
      differs from the first by its initial weights alone.
    - The supervised loss is the protocol's; theirs is the mean of cross-entropy and Dice of the foreground alone.
    - They give the rotation and the contrastive loss their full weight at once; here all unsupervised losses ramp up.
    - They turn images by up to 20 degrees more. Here the protocol augments images.
    - In their code a mask meant for another form leaves out the key whose place in the queues is the anchor's number.
    - Labelled and unlabelled images go through encoder and decoders apart; the embedding sees them as one batch.
    """

    name = "ugcl"
    version = 2
    title = "UGCL"
    reference = (
        "Wang et al., Uncertainty-Guided Pixel Contrastive Learning for Semi-Supervised Medical Image Segmentation, "
        "IJCAI 2022"
    )
    group = "contrastive"
    year = 2022
    venue = "IJCAI"
    authors = {"lambda_max": 0.1, "rampup_epochs": "run", "supervised_loss": "dice+cross-entropy"}
    handles_ignored = True
    needs_parts = True
    hyperparameters = UGCLHyperparameters
    hyper: UGCLHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        network: Any = self.new_student()
        self.network: Any = network
        self.auxiliary = AuxiliaryDecoder(self.new_student())
        channels = list(network.encoder.out_channels)
        finest = getattr(network.encoder, "factor", 1)  # the stride of the first map
        self.level = min(int(math.log2(STRIDE // finest)), len(channels) - 1)
        self.classifier = nn.Linear(channels[-1], len(quarter_turns(self.protocol.sides)))
        self.embedding = Embedding(channels[self.level])
        self.queue = FeatureQueue(self.classes, self.hyper.queue_size, WIDTH)
        self.queue.features[1:].normal_()
        self.queue.features.copy_(normalize(self.queue.features, dim=2))
        self.queue.count.fill_(self.hyper.queue_size)

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s(p_1) + 0.4 L_s(p_2) + lambda (0.1 mean (p_1 - p_2)^2 + L_rotation + L_contrast)."""
        hyper = self.hyper
        turns, turns_u = random_turns(batch.labeled.student1), random_turns(batch.unlabeled.student1)
        labels = turns(batch.labels.unsqueeze(1)).squeeze(1)
        features, z1, z2 = self.features_and_logits(turns(batch.labeled.student1))
        features_u, y1, y2 = self.features_and_logits(turns_u(batch.unlabeled.student1))
        first, second = (self.segmentation_loss(z, labels) for z in (z1, z2))
        known = labels != IGNORED if self.ignores else None
        turned = self.classifier(torch.cat([self.pooled(features[-1], known), self.pooled(features_u[-1], None)]))
        rotation = cross_entropy_loss(turned, torch.cat([turns.choice, turns_u.choice]))
        p1, p2 = y1.float().softmax(1), y2.float().softmax(1)
        terms = {
            "supervised": (1.0, first + hyper.second_decoder_weight * second),
            "consistency": (progress.lambda_u, hyper.consistency_weight * mse_loss(p1, p2)),
            "rotation": (progress.lambda_u, hyper.rotation_weight * rotation),
        }
        if progress.iteration > round(hyper.contrast_start * progress.iterations):
            certain = mean_prediction_entropy(y1, y2) <= self.threshold(progress)
            truth = torch.cat([labels, hard_labels(p1 + p2).where(certain, IGNORED)])
            maps = torch.cat([features[self.level], features_u[self.level]])
            contrast = self.contrast(maps, truth, torch.cat([hard_labels(z1), hard_labels(y1)]), known)
            terms["contrast"] = (progress.lambda_u, hyper.contrast_weight * contrast)
        yield Update(terms, selectable="contrast" in terms)

    def features_and_logits(self, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """The encoder's maps, finest first, and the logits (B, K, *spatial) of both decoders."""
        features = self.network.encoder(images)
        return features, self.network.segmentation_head(self.network.decoder(features)), self.auxiliary(features)

    def pooled(self, maps: Tensor, known: Tensor | None) -> Tensor:
        """Mean of maps (B, C, *sides) over their pixels, or over those that are known, (B, *spatial) bool: (B, C)."""
        if known is None:
            return maps.flatten(2).mean(2)
        kept = nearest_labels(known.long(), maps).bool().flatten(1).unsqueeze(1)
        return maps.flatten(2).where(kept, 0).sum(2) / kept.sum(2).clamp(min=1)

    def threshold(self, progress: Progress) -> float:
        """Largest uncertainty of a certain pixel, in nats."""
        start, t = self.hyper.threshold_start, self.protocol.ramp_time(progress.iteration)
        return (start + (1 - start) * gaussian_ramp_up(t, progress.iterations)) * math.log(2)

    def contrast(self, maps: Tensor, labels: Tensor, predicted: Tensor, known: Tensor | None) -> Tensor:
        """The mean loss of all anchors; 0 without any. The queue takes the class means afterwards.

        Args:
            maps: (B, C, *sides), of labelled and unlabelled images.
            labels: (B, *spatial) int64; pixels that are IGNORED serve neither as anchors nor in the class means.
            predicted: (B, *spatial) int64, the network's own predictions.
            known: (B', *spatial) bool, of the labelled images; None if all are known.

        """
        labels, predicted = (nearest_labels(one, maps).flatten(1) for one in (labels, predicted))
        rows = maps.flatten(2).transpose(1, 2)
        kept = torch.ones_like(labels, dtype=torch.bool)
        if known is not None:
            kept[: len(known)] = nearest_labels(known.long(), maps).flatten(1).bool()
        embedded = self.embedding(rows.flatten(0, 1), kept.flatten()).view(*rows.shape[:2], WIDTH)

        member = labels.unsqueeze(1) == torch.arange(self.classes, device=labels.device).unsqueeze(1)
        draws = torch.empty(member.shape, device=labels.device).uniform_()
        drawn = (draws + (labels == predicted).unsqueeze(1)).where(member, -1).argmax(2)  # rightly predicted ones first
        anchors = embedded.gather(1, drawn.unsqueeze(2).expand(-1, -1, WIDTH))
        counts = member.sum(2) > 1
        losses = queue_contrast(anchors, self.queue.features.clone(), self.hyper.temperature)
        self.remember(embedded.detach(), member)
        return losses.where(counts, 0).sum() / counts.sum().clamp(min=1)

    def remember(self, embedded: Tensor, member: Tensor) -> None:
        """Push the mean of each image's pixels (B, N, 256) of each foreground class, where member (B, K, N) is true."""
        means = torch.stack([(embedded * own.unsqueeze(2)).sum(1) for own in member.unbind(1)], 1)
        classes = torch.arange(self.classes, device=member.device)
        given = member.any(2) & (classes > 0)
        self.queue.push(normalize(means, dim=2).flatten(0, 1), classes.where(given, -1).flatten())

    @property
    def predictor(self) -> nn.Module:
        """The network, with its own decoder."""
        return self.networks["network"]

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The network alone. All else serves training, and is not scored."""
        return {"network": self.network}
