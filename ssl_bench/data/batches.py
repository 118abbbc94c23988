"""Training batches: an index draw, then views of the whole batch at once on the training device."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ssl_bench.cards import ImageProtocol, VolumeProtocol
from ssl_bench.data.augment import strong_view, weak_view
from ssl_bench.data.augment3d import random_patches, strong_patches
from ssl_bench.data.extra import chosen_extras
from ssl_bench.data.portions import portions
from ssl_bench.method import Batch, Images
from ssl_bench.seeds import derive_seed


def _generator(seed: int, *purpose: int | str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


# Of a function, since a cached method would hold its stream, and so all images, until garbage is collected.
@lru_cache(maxsize=8)
def _permutation(seed: int, part: str, epoch: int, count: int) -> Tensor:
    return torch.randperm(count, generator=_generator(seed, "order", part, epoch))


class BatchStream:
    """Batches as a function of (seed, iteration), so that a resumed run needs no loader state.

    Labelled and unlabelled images are two endless streams, each a row of permutations of its pool; a batch larger than
    its pool repeats it. Subclasses make the views.

    Args:
        labeled: rows of the labelled images.
        pool: rows of the images of the unlabelled stream; empty for a method that does not use them.
        protocol: the resolved protocol.
        seed: the run's.
        device: where the views are made.

    """

    def __init__(
        self,
        labeled: list[int],
        pool: list[int],
        protocol: ImageProtocol | VolumeProtocol,
        seed: int,
        device: torch.device,
    ) -> None:
        self.batch_sizes = {"labeled": protocol.labeled_batch, "unlabeled": protocol.unlabeled_batch}
        self.views, self.seed, self.device = protocol.views, seed, device
        self.strong2_from, self.extras = protocol.augmentation.strong2_from, chosen_extras(protocol)
        self.pools = {"labeled": torch.tensor(labeled), "unlabeled": torch.tensor(pool)}

    def batch(self, iteration: int) -> Batch:
        """Return the batch of a 0-based iteration, and begin to read that of the next."""
        views = self.views
        labeled, unlabeled = PartViews(self, "labeled", iteration), PartViews(self, "unlabeled", iteration)
        self.read_ahead(iteration + 1)
        return Batch(
            labeled=Images(
                labeled.network_input, views.labeled_student1, views.labeled_student2, views.labeled_teacher,
                views.labeled_mixed, views.labeled_student1,
            ),
            labels=self.labels(labeled.weak[1]),
            unlabeled=Images(
                unlabeled.network_input, views.student1, views.student2, views.teacher, views.mixed,
                views.labeled_student1,
            ),
        )  # fmt: skip

    def rows(self, part: str, iteration: int) -> Tensor:
        """Rows of the images in a part's batch."""
        pool, size = self.pools[part], self.batch_sizes[part]
        if len(pool) == 0:
            return torch.empty(0, dtype=torch.long)
        places = range(iteration * size, (iteration + 1) * size)
        orders = {epoch: _permutation(self.seed, part, epoch, len(pool)) for epoch in {i // len(pool) for i in places}}
        return torch.stack([pool[orders[place // len(pool)][place % len(pool)]] for place in places])

    def generator(self, *purpose: int | str) -> torch.Generator:
        """Return a CPU generator whose state is a function of the run's seed and the purpose."""
        return _generator(self.seed, *purpose)

    def weak_draw(self, part: str, iteration: int) -> tuple[Tensor, torch.Generator]:
        """Rows and generator of a part's weak view, which `weak` takes."""
        return self.rows(part, iteration), self.generator("augment", part, iteration, "weak")

    def weak(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the weak view of some images, and the same view of their masks."""
        raise NotImplementedError

    def read_ahead(self, iteration: int) -> None:
        """Begin to read the images of an iteration; nothing where all are on the device."""

    def close(self) -> None:
        """Free what is not freed with the stream: it draws no more batches."""

    def strong(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a strong view on top of another view."""
        raise NotImplementedError

    def normalised(self, images: Tensor) -> Tensor:
        """Bring a view to the networks' size and input range: float32 (B, C, *sides)."""
        raise NotImplementedError

    def labels(self, masks: Tensor) -> Tensor:
        """Bring masks to the networks' size: int64 (B, *sides)."""
        raise NotImplementedError


class ImageStream(BatchStream):
    """2D: `images` (N, C, S, S) uint8 and `masks` (N, S, S) uint8 are all on the device; other arguments as above."""

    def __init__(
        self, images: Tensor, masks: Tensor, labeled: list[int], pool: list[int], protocol: ImageProtocol, seed: int
    ) -> None:
        super().__init__(labeled, pool, protocol, seed, images.device)
        self.images, self.masks, self.protocol = images, masks, protocol
        self.mean, self.std = input_statistics(protocol, images.shape[1], images.device)

    def weak(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Flipped and rotated, (B, C, S, S) and (B, S, S) uint8."""
        if len(rows) == 0:
            return self.images[:0], self.masks[:0]
        images, masks = self.chosen(rows)
        return weak_view(images, masks, self.protocol.augmentation, generator)

    def chosen(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, S, S) and masks (B, S, S), on the device."""
        rows = rows.to(self.device, non_blocking=True)
        return self.images.index_select(0, rows), self.masks.index_select(0, rows)

    def strong(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change colours and sharpness."""
        return strong_view(images, self.protocol.augmentation, generator)

    def normalised(self, images: Tensor) -> Tensor:
        """From uint8 (B, C, A, A)."""
        return normalise(images, self.protocol.image_size, self.mean, self.std, self.protocol.channels_last)

    def labels(self, masks: Tensor) -> Tensor:
        """By the nearest pixel."""
        size = self.protocol.image_size
        if masks.shape[-1] != size:
            masks = interpolate(masks.unsqueeze(1), size=(size, size), mode="nearest-exact").squeeze(1)
        return masks.long()


class VolumeStream(BatchStream):
    """3D: `images` (C, X, Y, Z) float32 and `masks` (X, Y, Z) uint8, of any sizes, are all on the device."""

    def __init__(
        self,
        images: list[Tensor],
        masks: list[Tensor],
        labeled: list[int],
        pool: list[int],
        protocol: VolumeProtocol,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(labeled, pool, protocol, seed, device)
        self.images, self.masks, self.protocol = images, masks, protocol

    def weak(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Turned, flipped and cropped, (B, C, *patch) float32 and (B, *patch) uint8."""
        patch = self.protocol.patch_size
        if len(rows) == 0:
            images = torch.empty(0, self.images[0].shape[0], *patch, device=self.device)
            return images, images[:, 0].byte()
        volumes, labels = ([arrays[row] for row in rows.tolist()] for arrays in (self.images, self.masks))
        return random_patches(volumes, labels, patch, self.protocol.augmentation, generator)

    def strong(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Blurred, and changed in brightness, contrast and noise."""
        return strong_patches(images, self.protocol.augmentation, generator)

    def normalised(self, images: Tensor) -> Tensor:
        """Unchanged: a volume's intensities are scaled to the networks' range when it is read."""
        return images

    def labels(self, masks: Tensor) -> Tensor:
        """Unchanged."""
        return masks.long()


class PartViews:
    """Views of one part's batch, each drawn once from a separate random stream, so their order has no effect."""

    def __init__(self, stream: BatchStream, part: str, iteration: int) -> None:
        self.stream = stream
        self.generator = partial(stream.generator, "augment", part, iteration)
        self.weak = stream.weak(*stream.weak_draw(part, iteration))
        self.drawn: dict[str, Tensor] = {"weak": self.weak[0]}
        self.inputs: dict[str, Tensor] = {}

    def network_input(self, name: str) -> Tensor:
        """A view in the network's size and input range."""
        if name not in self.inputs:
            self.inputs[name] = self.stream.normalised(self.raw(name))
        return self.inputs[name]

    def raw(self, name: str) -> Tensor:
        """A view as drawn, before conversion for the network."""
        if name not in self.drawn:
            source = self.stream.strong2_from if name == "strong2" else "weak"
            view = self.stream.strong(self.raw(source), self.generator(name))
            for extra, settings in self.stream.extras:
                view = extra.apply(view, settings, self.generator(name, extra.name))
            self.drawn[name] = view
        return self.drawn[name]


def channels_first(images: np.ndarray) -> Tensor:
    """(N, H, W, C) to (N, C, H, W)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def input_statistics(protocol: ImageProtocol, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (1, C, 1, 1) that images are normalised by, of values from 0 to 1.

    The protocol's are those of red, green and blue. Images of another number of channels have the mean of the three in
    every channel.
    """
    both = (protocol.input_mean, protocol.input_std)
    rows = [one if channels == len(one) else (sum(one) / len(one),) * channels for one in both]
    mean, std = (torch.tensor(row, device=device).view(1, channels, 1, 1) for row in rows)
    return mean, std


def normalise(images: Tensor, size: int, mean: Tensor, std: Tensor, channels_last: bool) -> Tensor:
    """(x / 255 - mean) / std of uint8 images (B, C, A, A), brought to `size` by antialiased bilinear interpolation."""
    if images.shape[-1] == size:
        scaled = images.float().div_(255)
    else:
        scaled = torch.cat([_resized(images[portion], size) for portion in portions(len(images), images[:1])])
    scaled = scaled.sub_(mean).div_(std)
    return scaled.contiguous(memory_format=torch.channels_last) if channels_last else scaled


def _resized(images: Tensor, size: int) -> Tensor:
    """x / 255 at the size."""
    return interpolate(images.float().div_(255), size=(size, size), mode="bilinear", antialias=True)
