"""Training batches: an index draw, then views of the whole batch at once on the training device."""

from __future__ import annotations

from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ssl_bench.data.augment import strong_view, weak_view
from ssl_bench.method import Batch, Images
from ssl_bench.random import derive_seed
from ssl_bench.spec import Protocol


class BatchStream:
    """Batches as a function of (seed, iteration): there is no loader whose state a resume could lose.

    Labelled and unlabelled images are two endless streams, each a row of permutations of its pool; a batch larger than
    its pool repeats it.

    Args:
        images: all training images, (N, 3, S, S) uint8, on the device where views are to be made.
        masks: (N, S, S) uint8, with them.
        labeled: rows of the labelled images.
        pool: rows of the images of the unlabelled stream; empty for a method that does not use them.
        protocol: the resolved protocol.
        seed: the run's.

    """

    def __init__(
        self, images: Tensor, masks: Tensor, labeled: list[int], pool: list[int], protocol: Protocol, seed: int
    ) -> None:
        self.images, self.masks, self.protocol, self.seed = images, masks, protocol, seed
        self.pools = {"labeled": torch.tensor(labeled), "unlabeled": torch.tensor(pool)}
        self.mean = torch.tensor(protocol.input_mean, device=images.device).view(1, 3, 1, 1)
        self.std = torch.tensor(protocol.input_std, device=images.device).view(1, 3, 1, 1)
        self._permutation = lru_cache(maxsize=8)(self._draw_permutation)

    def batch(self, iteration: int) -> Batch:
        """Return the batch of a 0-based iteration."""
        protocol, views = self.protocol, self.protocol.views
        labeled = _Views(self, "labeled", iteration, protocol.labeled_batch)
        unlabeled = _Views(self, "unlabeled", iteration, protocol.unlabeled_batch)
        students = views.labeled_students
        return Batch(
            labeled=Images(labeled.network_input, students, students, views.labeled_teacher, views.mixed),
            labels=self._labels(labeled.weak[1]),
            unlabeled=Images(unlabeled.network_input, views.student1, views.student2, views.teacher, views.mixed),
        )

    def rows(self, part: str, iteration: int, size: int) -> Tensor:
        """Rows of the images in a part's batch."""
        pool = self.pools[part]
        places = range(iteration * size, (iteration + 1) * size)
        return torch.stack([pool[self._permutation(part, place // len(pool))[place % len(pool)]] for place in places])

    def generator(self, *purpose: int | str) -> torch.Generator:
        """Return a CPU generator whose state is a function of the run's seed and the purpose."""
        return torch.Generator().manual_seed(derive_seed(self.seed, *purpose))

    def normalised(self, images: Tensor) -> Tensor:
        """Bring uint8 images (B, 3, A, A) to the networks' size and input range: float32 (B, 3, S, S)."""
        return normalise(images, self.protocol.image_size, self.mean, self.std, self.protocol.channels_last)

    def _labels(self, masks: Tensor) -> Tensor:
        size = self.protocol.image_size
        if masks.shape[-1] != size:
            masks = interpolate(masks.unsqueeze(1), size=(size, size), mode="nearest-exact").squeeze(1)
        return masks.long()

    def _draw_permutation(self, part: str, epoch: int) -> Tensor:
        return torch.randperm(len(self.pools[part]), generator=self.generator("order", part, epoch))


class _Views:
    """The views of one part's batch, each drawn once and from its own stream, so that asking for one moves no other."""

    def __init__(self, stream: BatchStream, part: str, iteration: int, size: int) -> None:
        self.stream = stream
        self.generator = partial(stream.generator, "augment", part, iteration)
        rows = stream.rows(part, iteration, size) if len(stream.pools[part]) else torch.empty(0, dtype=torch.long)
        rows = rows.to(stream.images.device, non_blocking=True)
        self.drawn: dict[str, Tensor] = {}
        self.weak = weak_view(
            stream.images.index_select(0, rows), stream.masks.index_select(0, rows), stream.protocol.augmentation,
            self.generator("weak"),
        ) if len(rows) else (stream.images[:0], stream.masks[:0])  # fmt: skip
        self.drawn["weak"] = self.weak[0]
        self.inputs: dict[str, Tensor] = {}

    def network_input(self, name: str) -> Tensor:
        if name not in self.inputs:
            self.inputs[name] = self.stream.normalised(self.raw(name))
        return self.inputs[name]

    def raw(self, name: str) -> Tensor:
        if name not in self.drawn:
            settings = self.stream.protocol.augmentation
            source = settings.strong2_from if name == "strong2" else "weak"
            self.drawn[name] = strong_view(self.raw(source), settings, self.generator(name))
        return self.drawn[name]


def normalise(images: Tensor, size: int, mean: Tensor, std: Tensor, channels_last: bool) -> Tensor:
    """(x / 255 - mean) / std of uint8 images (B, 3, A, A), brought to `size` by antialiased bilinear interpolation."""
    scaled = images.float().div_(255)
    if images.shape[-1] != size:
        scaled = interpolate(scaled, size=(size, size), mode="bilinear", antialias=True)
    scaled = scaled.sub_(mean).div_(std)
    return scaled.contiguous(memory_format=torch.channels_last) if channels_last else scaled
