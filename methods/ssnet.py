"""SS-Net: predictions stay the same under adversarial noise, and features stay near those of their class."""

from collections.abc import Iterator
from typing import Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update, register
from ssl_bench.ops import (
    IGNORED,
    MaskedBatchNorm,
    adversarial_noise,
    batch_norm_paused,
    evaluating,
    hard_labels,
    nearest_labels,
)

MEMORY, WIDTH = 32, 32  # vectors of each class that are remembered, and their length


class SSNetHyperparameters(Hyperparameters):
    """The noise and the separation; defaults are those of the authors' code."""

    magnitude: float | Literal["auto"] = Field(
        "auto",
        ge=0,
        description="norm of the adversarial noise on a normalised image, over all values; auto: 6 in 2D, 10 in 3D",
    )
    first_step: float = Field(
        10.0, gt=0, description="norm of the random noise whose gradient is the noise's direction"
    )
    agreement: Literal["squared", "linear", "auto"] = Field(
        "auto", description="Dice loss of two predictions: squared (2D) or linear (3D) denominators"
    )
    separation_weight: float = Field(0.1, ge=0, description="weight of the class separation beside the smoothness")
    remembered: Literal["lowest", "highest"] = Field(
        "lowest", description="which scores of its class's selector a remembered vector has"
    )
    samples: int = Field(1024, ge=2, description="pixels of each class and part of the batch whose features are read")

    def resolved(self, dimensions: int) -> Self:
        """Replace `auto` by the authors' value for 2D or 3D."""
        magnitude, agreement = (6.0, "squared") if dimensions == 2 else (10.0, "linear")
        return self.model_copy(
            update={
                "magnitude": magnitude if self.magnitude == "auto" else self.magnitude,
                "agreement": agreement if self.agreement == "auto" else self.agreement,
            }
        )


class Perceptron(nn.Module):
    """Linear, batch norm, activation, linear: rows (N, coming) -> (N, going); statistics are of the kept rows."""

    def __init__(self, coming: int, going: int, activation: nn.Module) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(coming, WIDTH), MaskedBatchNorm(WIDTH), nn.Linear(WIDTH, going)
        self.activation = activation

    def forward(self, rows: Tensor, kept: Tensor) -> Tensor:
        """Transform all rows; those that are not kept have no effect on the others."""
        transformed: Tensor = self.last(self.activation(self.norm(self.first(rows), kept)))
        return transformed.float()


class ClassSeparation(nn.Module):
    """Pulls the features of each foreground class towards its memory: vectors of correctly predicted pixels.

    Attributes:
        memory: (K - 1, 32, 32), the latest vectors of each foreground class, projected.
        filled: (K - 1, 32) bool, the places that hold one.

    """

    memory: Tensor
    filled: Tensor

    def __init__(self, channels: int, classes: int, *, samples: int, highest: bool) -> None:
        super().__init__()
        self.samples, self.highest = samples, highest
        self.projection = Perceptron(channels, WIDTH, nn.ReLU())
        self.prediction = Perceptron(WIDTH, WIDTH, nn.ReLU())
        self.selectors = nn.ModuleList(Perceptron(WIDTH, 1, nn.LeakyReLU(0.2)) for _ in range(1, classes))
        self.register_buffer("memory", torch.zeros(classes - 1, MEMORY, WIDTH))
        self.register_buffer("filled", torch.zeros(classes - 1, MEMORY, dtype=torch.bool))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Sum over classes c of the mean of a_i (1 - cos(f_i, m_j)) over pixels i and memory j of c, divided by K.

        a_i is the sigmoid of the class's selector, divided by its mean. A class with less than two pixels or vectors in
        memory counts 0.

        Args:
            features: (B, C, *sides).
            labels: (B, *sides) int64; pixels of no class are left out.

        """
        rows, kept = self.drawn(features, labels, first=0)
        classes, count, _ = rows.shape
        flat, all_kept = rows.flatten(0, 1), kept.flatten()
        predicted = self.prediction(self.projection(flat, all_kept), all_kept).view(classes, count, WIDTH)
        losses = []
        for c, selector in enumerate(self.selectors, start=1):
            own, counts = predicted[c], self.filled[c - 1]
            weights = selector(own.detach(), kept[c]).sigmoid().squeeze(1) * kept[c]
            mean = (normalize(self.memory[c - 1], dim=1) * counts.unsqueeze(1)).sum(0) / counts.sum().clamp(min=1)
            distances = 1 - normalize(own, dim=1) @ mean
            loss = (weights * distances).sum() / weights.sum().clamp(min=1e-8)
            losses.append(loss * ((kept[c].sum() > 1) & (counts.sum() > 1)))
        return torch.stack(losses).sum() / classes

    @torch.no_grad()
    def remember(self, features: Tensor, labels: Tensor, predicted: Tensor) -> None:
        """Replace the memory of each class that has correctly predicted pixels; arguments as in `forward`."""
        rows, kept = self.drawn(features, labels.where(labels == predicted, IGNORED), first=1)
        with evaluating(self.projection):
            projected = self.projection(rows.flatten(0, 1), kept.flatten()).view(*rows.shape[:2], WIDTH)
        worst = -torch.inf if self.highest else torch.inf
        for c, selector in enumerate(self.selectors):
            scores = selector(projected[c], kept[c]).squeeze(1).where(kept[c], worst)
            chosen = scores.topk(min(MEMORY, len(scores)), largest=self.highest).indices
            vectors, filled = torch.zeros_like(self.memory[c]), torch.zeros_like(self.filled[c])
            filled[: len(chosen)] = kept[c][chosen]
            vectors[: len(chosen)] = projected[c][chosen].where(kept[c][chosen].unsqueeze(1), 0)
            has_any = kept[c].any()
            self.memory[c] = vectors.where(has_any, self.memory[c])
            self.filled[c] = filled.where(has_any, self.filled[c])

    def drawn(self, features: Tensor, labels: Tensor, *, first: int) -> tuple[Tensor, Tensor]:
        """Draw pixels of each class from `first` on: their features (classes, n, C), and (classes, n) bool.

        All pixels of a class that has at most n are there. The rest of its rows is False, and of other pixels.
        """
        labels = labels.flatten()
        keys = torch.empty(labels.shape, device=labels.device).uniform_()
        classes = torch.arange(first, len(self.selectors) + 1, device=labels.device)
        keys = keys.where(labels == classes.unsqueeze(1), -1)
        found = keys.topk(min(self.samples, len(labels)), dim=1)
        pixels = features.flatten(2)
        side = pixels.shape[2]
        return pixels[found.indices // side, :, found.indices % side].float(), found.values >= 0


@register
class SmoothnessSeparation(SSLMethod):
    """Wu et al. 2022 as the authors released it, with the protocol's supervised loss.

    Smoothness: the Dice loss between the predictions of an image and of the image under adversarial noise of a fixed
    norm, on labelled and unlabelled images. Class separation: perceptrons project the decoder's last map, and the loss
    pulls the vectors of a class's pixels towards the class's memory. The class of a pixel is that of its label or, in
    unlabelled images, of the network's own prediction.

    As in the authors' code, the memory of a class keeps the vectors with the lowest scores, though a comment there says
    the highest. It is replaced in each iteration in which a pixel of the class is predicted correctly. The background
    has none, and adds 0 to the loss. That code has selectors for the memory's vectors too, but divides each of their
    weights by itself, so that all are 1; here there are none. The Dice loss of two equal predictions is 0 in the
    authors' 2D form; in their 3D form it is 0 for certain predictions alone, so there the smoothness lowers the entropy
    too.

    What differs here:

    - The authors read the features of all pixels. Here up to `samples` of each class are drawn from each part of the
      batch, and for the memory from the correctly predicted ones. Batch norm sees these pixels, so each class counts
      about as much as any other in it. With as many samples as there are pixels, the loss is the authors'.
    - The authors' target of the smoothness is a second pass over the images, with dropout of its own. Here it is the
      pass of the other losses, so batch norm's running statistics move once in an iteration. Passes under noise have
      dropout and leave the running statistics as they are, as the authors' do.
    - Labelled and unlabelled images go through the network apart, and so do searches for noise.
    - Where the decoder's last map is smaller than the image (DeepLabV3+), labels are taken at its pixels by nearest
      neighbour.

    The weight of the authors' 3D script ramps up over the first 6 000 of its 15 000 iterations; `authors` has the whole
    run, as in the 2D script.
    """

    name = "ssnet"
    title = "SS-Net"
    reference = (
        "Wu et al., Exploring Smoothness and Class-Separation for Semi-supervised Medical Image Segmentation, "
        "MICCAI 2022"
    )
    group = "contrastive"
    year = 2022
    venue = "MICCAI"
    authors = {
        "rampup_epochs": "run", "views.labeled_student1": "weak", "views.student1": "weak",
        "2d": {"lambda_max": 0.1}, "3d": {"lambda_max": 1.0},
    }  # fmt: skip
    handles_ignored = True
    needs_parts = True
    hyperparameters = SSNetHyperparameters
    hyper: SSNetHyperparameters

    def __init__(self, setup: Setup, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        network: Any = self.new_student()
        self.network = network
        self.separation = ClassSeparation(
            network.decoder.out_channels, self.classes, samples=self.hyper.samples,
            highest=self.hyper.remembered == "highest",
        )  # fmt: skip

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        """L = L_s + lambda (L_smooth + 0.1 (L_separate on labelled + on unlabelled images))."""
        images, labels = (batch.labeled.student1, batch.unlabeled.student1), batch.labels
        (features, y), (features_u, y_u) = (self.features_and_logits(part) for part in images)
        supervised = self.segmentation_loss(y, labels)
        known = (labels != IGNORED).unsqueeze(1) if self.ignores else None
        smoothness = self.disagreement(self.under_noise(images[0], y, known), self.under_noise(images[1], y_u, None))
        full = (labels, hard_labels(y), hard_labels(y_u))
        small, predicted, predicted_u = (nearest_labels(one, features) for one in full)
        self.separation.remember(features, small, predicted)
        separation = self.separation(features, small) + self.separation(features_u, predicted_u)
        yield Update(
            {
                "supervised": (1.0, supervised),
                "smoothness": (progress.lambda_u, smoothness),
                "separation": (progress.lambda_u, self.hyper.separation_weight * separation),
            }
        )

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's last map (B, C, *sides) and the logits (B, K, *spatial)."""
        features = self.network.decoder(self.network.encoder(images))
        return features, self.network.segmentation_head(features)

    def under_noise(self, images: Tensor, logits: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor]:
        """Predictions of images under the noise that moves them most, and the target; 0 where pixels are not known."""

        def masked(p: Tensor) -> Tensor:
            return p if known is None else p.where(known, 0)

        target = masked(logits.detach().float().softmax(1))
        with batch_norm_paused(self.network):
            (noise,) = adversarial_noise(
                lambda moved: self.network(moved[0]), [images], xi=self.hyper.first_step,
                eps=float(self.hyper.magnitude), prediction=target,
                distance=lambda z, p: self.disagreement((masked(z.softmax(1)), p)),
            )  # fmt: skip
            moved = self.network(images + noise)
        return masked(moved.float().softmax(1)), target

    def disagreement(self, *parts: tuple[Tensor, Tensor]) -> Tensor:
        """Dice loss between two predictions (B, K, *spatial) of each part of the batch, over all of its pixels at once.

        Squared: 1 - 2 sum(p q) / (sum(p^2) + sum(q^2)), mean over classes. Linear: 1 - 2 sum(p q) / (sum(p) + sum(q))
        with sums over classes too.
        """
        smooth, is_squared = self.protocol.dice_smooth, self.hyper.agreement == "squared"
        power = 2 if is_squared else 1
        overlap = torch.stack([(p * q).transpose(0, 1).flatten(1).sum(1) for p, q in parts]).sum(0)
        size = torch.stack([(p**power + q**power).transpose(0, 1).flatten(1).sum(1) for p, q in parts]).sum(0)
        if not is_squared:
            overlap, size = overlap.sum(), size.sum()
        return 1 - ((2 * overlap + smooth) / (size + smooth)).mean()

    @property
    def predictor(self) -> nn.Module:
        """The network."""
        return self.networks["network"]

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The network alone. What separates classes serves training, and is not scored."""
        return {"network": self.network}
