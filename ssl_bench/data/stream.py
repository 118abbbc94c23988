"""Opens a run's training images: held on the device, or read from the cache as they are drawn."""

from __future__ import annotations

from functools import cached_property, partial

import torch
from torch import Tensor

from ssl_bench.cards import ImageProtocol, VolumeProtocol
from ssl_bench.data.batches import BatchStream, ImageStream, VolumeStream
from ssl_bench.data.dataset import Dataset
from ssl_bench.data.raw import Rows
from ssl_bench.data.reader import Reader, holds_all
from ssl_bench.data.split import Splits


def open_stream(
    dataset: Dataset,
    splits: Splits,
    protocol: ImageProtocol | VolumeProtocol,
    seed: int,
    device: torch.device,
    *,
    unlabeled: bool,
) -> BatchStream:
    """Open a run's training images, on the device or in the cache as `SSL_BENCH_MEMORY` says; the batches are the same.

    `unlabeled` says whether the method uses those without labels.
    """
    ids = splits.labeled + splits.unlabeled if unlabeled else splits.labeled
    count = len if isinstance(protocol, VolumeProtocol) else dataset.count_images
    labeled = list(range(count(splits.labeled)))
    pool = list(range(0 if protocol.unlabeled_pool == "all" else len(labeled), count(ids))) if unlabeled else []
    if isinstance(protocol, VolumeProtocol):
        volumes = list(map(torch.from_numpy, dataset.volumes(ids)))
        labels = list(map(torch.from_numpy, dataset.truths(ids)))
        if not holds_all(sum(one.nbytes for one in (*volumes, *labels)), device):
            return ReadVolumeStream(volumes, labels, labeled, pool, protocol, seed, device)
        volumes, labels = ([one.to(device, copy=True) for one in some] for some in (volumes, labels))
        return VolumeStream(volumes, labels, labeled, pool, protocol, seed, device)
    rows, (images, masks) = dataset.rows(ids), dataset.open_rows()
    if not holds_all(len(rows) * (images.row_bytes + masks.row_bytes), device):
        return ReadImageStream(images, masks, rows, labeled, pool, protocol, seed, device)
    pixels, numbers = (torch.from_numpy(array).to(device) for array in dataset.arrays(ids))
    return ImageStream(pixels, numbers, labeled, pool, protocol, seed)


class ReadAhead(BatchStream):
    """Batches of images that lie in the cache. A thread reads those of the next iteration."""

    @cached_property
    def reader(self) -> Reader:
        """The thread."""
        return Reader(self.device)

    def read_ahead(self, iteration: int) -> None:
        """Begin to read the images of an iteration."""
        for part, pool in self.pools.items():
            if len(pool):
                self.begin(*self.weak_draw(part, iteration))

    def close(self) -> None:
        """End the thread."""
        self.reader.close()

    def begin(self, rows: Tensor, generator: torch.Generator) -> None:
        """Begin to read what the weak view of these rows needs."""
        raise NotImplementedError


class ReadImageStream(ReadAhead, ImageStream):
    """2D: `images` and `masks` are raw files of the cache, `rows` the places in them; other arguments as above."""

    def __init__(
        self,
        images: Rows,
        masks: Rows,
        rows: list[int],
        labeled: list[int],
        pool: list[int],
        protocol: ImageProtocol,
        seed: int,
        device: torch.device,
    ) -> None:
        no_images, no_masks = (
            torch.empty((0, *one.shape), dtype=torch.uint8, device=device) for one in (images, masks)
        )
        super().__init__(no_images, no_masks, labeled, pool, protocol, seed)
        self.files, self.places = (images, masks), rows

    def chosen(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, S, S) and masks (B, S, S), on the device."""
        return self.reader.read(tuple(rows.tolist()), partial(self._read, rows))

    def begin(self, rows: Tensor, generator: torch.Generator) -> None:  # noqa: ARG002
        """Begin to read some images."""
        self.reader.begin(tuple(rows.tolist()), partial(self._read, rows))

    def _read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        places = [self.places[row] for row in rows.tolist()]
        images, masks = (torch.from_numpy(file.read(places)) for file in self.files)
        return images, masks


class ReadVolumeStream(ReadAhead, VolumeStream):
    """3D: `images` and `masks` lie in the cache. The voxels of a patch are read when it is cut."""

    def weak(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Turned, flipped and cropped, (B, C, *patch) float32 and (B, *patch) uint8."""
        if len(rows) == 0:
            return super().weak(rows, generator)
        return self.reader.read(_key(rows, generator), partial(super().weak, rows, generator))

    def begin(self, rows: Tensor, generator: torch.Generator) -> None:
        """Begin to cut some patches."""
        self.reader.begin(_key(rows, generator), partial(super().weak, rows, generator))


def _key(rows: Tensor, generator: torch.Generator) -> tuple[int, ...]:
    return generator.initial_seed(), *rows.tolist()
