"""Ratios that say what the harness costs: python tools/speed.py [--methods mt,ucmt] [--repeats 5].

Each ratio's two sides are timed in turn, in one process, and the median of the pairs is printed, so that a machine that
drifts or is shared does not decide it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from ssl_bench.data.augment import strong_view, weak_view
from ssl_bench.data.stream import BatchStream
from ssl_bench.method import Batch, Images, Progress, Setup, load_methods, parse_hyperparameters
from ssl_bench.networks import build_network
from ssl_bench.ops import umix
from ssl_bench.spec import load_protocol

PROTOCOL = load_protocol("mini")
ITEMS = 64


def ratio(name: str, first: Callable[[], object], second: Callable[[], object], repeats: int) -> None:
    """Time first and second in turn and print the median of first / second."""
    pairs = []
    for _ in range(repeats + 1):  # the first pair warms up
        times = []
        for work in (first, second):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
        pairs.append(times)
    ratios = [a / b for a, b in pairs[1:]]
    medians = [1000 * statistics.median(column) for column in zip(*pairs[1:], strict=True)]
    print(f"{name:62s} {statistics.median(ratios):6.2f}  ({medians[0]:.1f} ms / {medians[1]:.1f} ms)")


def iteration(name: str, repeats: int) -> None:
    """One iteration through the harness (batch, views, loss, step, average) against the same on a ready batch."""
    method_class = load_methods()[name]
    torch.manual_seed(0)
    method = method_class(Setup(PROTOCOL, lambda: build_network(PROTOCOL)), parse_hyperparameters(method_class, {}))
    method = method.to(memory_format=torch.channels_last)
    method.train()
    parameters = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    size = PROTOCOL.image_size
    images = torch.randint(0, 256, (ITEMS, 3, size, size), dtype=torch.uint8)
    masks = torch.randint(0, 2, (ITEMS, size, size), dtype=torch.uint8)
    stream = BatchStream(images, masks, list(range(8)), list(range(8, ITEMS)), PROTOCOL, seed=1)
    counter = iter(range(10**9))

    def step(batch: Batch) -> None:
        progress = Progress(100, 300, 0.05)
        for update in method.updates(batch, progress):
            optimizer.zero_grad(set_to_none=True)
            update.total.backward()
            optimizer.step()
            method.after_update(progress)

    ready = Batch(_ready(stream, "labeled"), stream.batch(0).labels, _ready(stream, "unlabeled"))
    ratio(
        f"{name}: iteration with its batch / on a ready batch",
        lambda: step(stream.batch(next(counter))),
        lambda: step(ready),
        repeats,
    )


def _ready(stream: BatchStream, part: str) -> Images:
    """The first batch's views, all drawn."""
    images = getattr(stream.batch(0), part)
    views = {name: getattr(images, name) for name in ("student1", "student2", "teacher", "mixed")}
    return Images(views.__getitem__, *views)


def augmentation(repeats: int) -> None:
    """A strong view of a batch at once against torchvision image by image."""
    images = torch.randint(0, 256, (8, 3, 128, 128), dtype=torch.uint8)
    masks = torch.zeros(8, 128, 128, dtype=torch.uint8)
    settings = PROTOCOL.augmentation.model_copy(update=dict.fromkeys(
        ("jitter", "posterize", "autocontrast", "equalize", "blur", "rotation"), 1.0))  # fmt: skip
    generator = torch.Generator().manual_seed(0)

    def one_by_one() -> None:
        for image in images:
            image = tv.adjust_hue(
                tv.adjust_saturation(tv.adjust_contrast(tv.adjust_brightness(image, 1.2), 0.8), 1.1), 0.1
            )
            image = tv.equalize(tv.autocontrast(tv.posterize(image, 5)))
            tv.gaussian_blur(image, [3, 3], [1.0, 1.0])

    ratio(
        "strong view: torchvision image by image / batched",
        one_by_one,
        lambda: strong_view(images, settings, generator),
        repeats,
    )
    ratio(
        "weak view: torchvision image by image / batched",
        lambda: [tv.rotate(tv.horizontal_flip(image), 33.0) for image in images],
        lambda: weak_view(images, masks, settings, generator),
        repeats,
    )


def region_mix(repeats: int) -> None:
    """UMIX of a batch at once against a loop over samples and regions."""
    images, maps = torch.randn(8, 3, 128, 128), torch.rand(2, 8, 128, 128)

    def loop() -> Tensor:
        side, out = 8, images.clone()
        for b in range(8):
            means = [
                [
                    (float(m[b, y : y + side, x : x + side].mean()), y, x)
                    for y in range(0, 128, side)
                    for x in range(0, 128, side)
                ]
                for m in maps
            ]
            order = [sorted(own, reverse=True) for own in means]
            for i in range(2):
                for uncertain, certain in ((order[0], order[1]), (order[1], order[0])):
                    (_, y, x), (_, v, u) = uncertain[i], certain[-1 - i]
                    out[b, :, y : y + side, x : x + side] = images[b, :, v : v + side, u : u + side]
        return out

    ratio(
        "UMIX: loop / batched", loop, lambda: umix(maps[0], maps[1], k=2, r=16, order="simultaneous")(images), repeats
    )


def main() -> None:
    """Print every ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="supervised,mt,ucmt")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, protocol mini, medians of {arguments.repeats}"
    )
    for name in arguments.methods.split(","):
        iteration(name, arguments.repeats)
    augmentation(arguments.repeats)
    region_mix(arguments.repeats)


if __name__ == "__main__":
    main()
