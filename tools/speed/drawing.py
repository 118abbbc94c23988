"""(b) Drawing batches against a DataLoader that reads files, the iteration, the data's size, and resizing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from iteration import harness
from PIL import Image
from timing import Ratio, Settings, compare, of_times, seconds
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from ssl_bench.cards import ImageProtocol, load_protocol
from ssl_bench.data import demo
from ssl_bench.data.batches import BatchStream, ImageStream, PartViews

FILES, SIZE = 64, (622, 529)  # JPEG files of the size that most of Kvasir-SEG's have
WORKERS, BATCH, BLOCK = 2, 8, 12
SMALL, LARGE = 64, 4096
RESIZED = ((512, 128), (512, 256))  # drawn at, brought to


def ratios(settings: Settings) -> Iterator[Ratio]:
    """Drawing against files, its share of an iteration, many images against few, drawing at 512 against resizing."""
    protocol = load_protocol(settings.protocol, settings.overrides)
    yield against_files(protocol, settings)
    for dimensions in settings.dimensions:
        for name in settings.methods:
            yield share(name, dimensions, settings)
    few, many = (views_of(stream(count, protocol, settings)) for count in (SMALL, LARGE))
    what = f"a batch's three views out of {LARGE} images"
    yield compare("drawing", what, (f"{LARGE} images", many), (f"{SMALL} images", few), settings, "<= 1.25")
    for drawn, brought in RESIZED:
        sides = {**settings.overrides, "augment_size": drawn, "image_size": brought}
        source = stream(SMALL, load_protocol(settings.protocol, sides), settings)
        what = f"three views of {BATCH} images drawn at {drawn}, brought to {brought}"
        yield compare("drawing", what, ("drawn", views_of(source)), ("resized alone", resized(source)), settings)


def stream(count: int, protocol: ImageProtocol, settings: Settings) -> ImageStream:
    """A stream over images drawn by repeating a few."""
    drawn = [demo.draw(index)[0] for index in range(8)]
    size = protocol.augment_size
    few = torch.stack([tv.resize(torch.from_numpy(image).permute(2, 0, 1), [size, size]) for image in drawn])
    images = few[torch.arange(count) % len(few)].to(settings.device)
    masks = torch.zeros(count, size, size, dtype=torch.uint8, device=settings.device)
    return ImageStream(images, masks, list(range(BATCH)), list(range(BATCH, count)), protocol, seed=1)


def views_of(batches: ImageStream) -> Callable[[], object]:
    """Draw the next unlabelled batch: its weak view and both strong ones, as networks take them."""
    numbers = iter(range(10**9))

    def draw() -> list[Tensor]:
        views = PartViews(batches, "unlabeled", next(numbers))
        return [views.network_input(name) for name in ("weak", "strong1", "strong2")]

    return draw


def resized(batches: ImageStream) -> Callable[[], object]:
    """Bring three views that are drawn already to the networks' size: what no way of drawing can save."""
    views = [batches.images[:BATCH].clone() for _ in range(3)]
    return lambda: [batches.normalised(view) for view in views]


def against_files(protocol: ImageProtocol, settings: Settings) -> Ratio:
    """Three views of 8 images: ours, and by workers that read, decode, resize and augment image by image."""
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        loader = DataLoader(
            FileViews(Path(folder), protocol), batch_size=BATCH, num_workers=WORKERS, shuffle=True, drop_last=True,
            persistent_workers=True,
        )  # fmt: skip
        batches = endless(loader)
        drawn = stream(FILES, protocol, settings)
        ours, pairs = views_of(drawn), []

        def read() -> None:
            for _ in range(BLOCK):
                for view in next(batches):
                    drawn.normalised(view.to(settings.device))

        for _ in range(settings.repeats):
            for _ in range(2 * WORKERS + 1):  # what the workers had ready
                next(batches)
            theirs = seconds(read, settings.device) / BLOCK
            time.sleep(3 * theirs * WORKERS + 0.2)  # until the workers have nothing left to do
            own = seconds(lambda: [ours() for _ in range(BLOCK)], settings.device) / BLOCK
            pairs.append((own, theirs))
    target = ">= 20" if settings.device.type == "cuda" else ">= 3"
    what = f"three views of {BATCH} images at {protocol.image_size} x {protocol.image_size}"
    return of_times("drawing", what, "drawn at once", f"DataLoader, {WORKERS} workers", pairs, settings, target)


def write_files(folder: Path) -> None:
    """JPEG images and PNG masks."""
    for number in range(FILES):
        image, mask = demo.draw(number)
        Image.fromarray(image).resize(SIZE).save(folder / f"{number}.jpg", quality=90)
        Image.fromarray(mask.astype(np.uint8) * 255).resize(SIZE).save(folder / f"{number}.png")


def endless(loader: DataLoader[Any]) -> Iterator[Any]:
    """Batches, epoch after epoch."""
    while True:
        yield from loader


class FileViews(Dataset[Any]):
    """Weak, strong and second strong view of one image, by torchvision's transforms with the protocol's settings."""

    def __init__(self, folder: Path, protocol: ImageProtocol) -> None:
        settings = protocol.augmentation
        self.folder, self.protocol = folder, protocol
        self.weak = v2.Compose(
            [
                v2.RandomHorizontalFlip(settings.horizontal_flip),
                v2.RandomVerticalFlip(settings.vertical_flip),
                v2.RandomApply([v2.RandomRotation(settings.rotation_degrees)], settings.rotation),
            ]
        )
        jitter = v2.ColorJitter(settings.brightness, settings.contrast, settings.saturation, settings.hue)
        self.strong = v2.Compose([
            v2.RandomApply([jitter], settings.jitter),
            v2.RandomPosterize(settings.posterize_bits, settings.posterize),
            v2.RandomAutocontrast(settings.autocontrast),
            v2.RandomEqualize(settings.equalize),
            v2.RandomApply([v2.GaussianBlur(settings.blur_kernel, settings.blur_sigma)], settings.blur),
        ])  # fmt: skip

    def __len__(self) -> int:
        return FILES

    def __getitem__(self, number: int) -> list[Tensor]:
        """Read, decode and resize one image and its mask; no normalisation, which is done by batches."""
        size = [self.protocol.augment_size] * 2
        image = Image.open(self.folder / f"{number}.jpg").convert("RGB")
        mask = Image.open(self.folder / f"{number}.png")
        pixels = tv.resize(tv.pil_to_tensor(image), size)
        truth = tv.resize(tv.pil_to_tensor(mask), size, interpolation=v2.InterpolationMode.NEAREST)
        weak, _ = self.weak(pixels, truth)
        strong1 = self.strong(weak)
        return [weak, strong1, self.strong(strong1)]


def share(name: str, dimensions: int, settings: Settings) -> Ratio:
    """How much of a method's iterations goes into its batches; on a GPU the clock's waiting is in both."""
    with harness(name, dimensions, settings.precisions[0], settings) as trainer:
        batches, spent = trainer.open_stream(), [0.0]

        def timed(work: Callable[..., Any]) -> Callable[..., Any]:
            def noting(*arguments: Any) -> Any:
                result: list[Any] = []
                spent[0] += seconds(lambda: result.append(work(*arguments)), settings.device)
                return result[0]

            return noting

        originals = BatchStream.batch, PartViews.network_input
        BatchStream.batch, PartViews.network_input = map(timed, originals)  # type: ignore[method-assign]
        try:
            pairs = []
            for _ in range(settings.repeats + 1):
                spent[0] = 0.0
                whole = seconds(lambda: trainer.iterate(batches), settings.device)
                pairs.append((spent[0], whole))
        finally:
            BatchStream.batch, PartViews.network_input = originals  # type: ignore[method-assign]
    what = f"{name} {dimensions}D {settings.protocol}: its batch, of its iteration"
    return of_times("drawing", what, "its batch", "its iteration", pairs[1:], settings, "<= 0.10")
