"""Batches: a pure function of seed and iteration, from the right images, in the views that the protocol names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ssl_bench.cards import ImageProtocol, Measurement, RunSpec, load_benchmark, load_protocol
from ssl_bench.data.batches import ImageStream, normalise
from ssl_bench.data.split import Splits
from ssl_bench.method import Batch, Hyperparameters, Images, Progress, SSLMethod, Update
from ssl_bench.store import RunFolder
from ssl_bench.training.job import Job
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.train import train

ROLES = ("student1", "student2", "teacher", "mixed")
PLAIN = {
    f"augmentation.{change}": 0.0
    for change in ("horizontal_flip", "vertical_flip", "rotation", "jitter", "posterize", "autocontrast", "equalize",
                   "blur")
}  # fmt: skip
SIZES = {"image_size": 32, "augment_size": 32, "labeled_batch": 2, "unlabeled_batch": 2}


def protocol(**settings: Any) -> ImageProtocol:
    """The test protocol; a key's double underscore is the dot of a table."""
    return load_protocol("tiny", SIZES | {key.replace("__", "."): value for key, value in settings.items()})


def plain(**settings: Any) -> ImageProtocol:
    """No augmentation at all, but for what is set."""
    return protocol(**(PLAIN | settings))


def numbered(count: int, side: int = 32) -> tuple[Tensor, Tensor]:
    """Images of one value each, 2 n + 1 for image n, with empty masks."""
    values = torch.arange(count, dtype=torch.uint8) * 2 + 1
    images = values.view(-1, 1, 1, 1).expand(count, 3, side, side).contiguous()
    return images, torch.zeros((count, side, side), dtype=torch.uint8)


def numbers(images: Tensor, settings: ImageProtocol) -> list[int]:
    """The numbers of normalised `numbered` images."""
    value = (images[:, 0, 0, 0] * settings.input_std[0] + settings.input_mean[0]) * 255
    return [int(n) for n in ((value - 1) / 2).round()]


def noise(count: int, side: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 2, (count, side, side), generator=generator, dtype=torch.uint8)


def views(batch: Batch) -> list[Tensor]:
    parts = (batch.labeled, batch.unlabeled)
    return [batch.labels, *(getattr(part, role) for part in parts for role in ROLES)]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def uint8(images: Tensor, settings: ImageProtocol) -> Tensor:
    """Undo the normalisation."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (settings.input_mean, settings.input_std))
    return ((images * std + mean) * 255).round().to(torch.uint8)


# ------------------------------------------------------------------------------------------- a function of iteration


def test_a_batch_is_a_function_of_seed_and_iteration_alone() -> None:
    data, settings = noise(9), protocol(labeled_batch=3, unlabeled_batch=4)
    in_order = ImageStream(*data, [0, 1], list(range(2, 9)), settings, seed=3)
    for iteration in range(7):
        views(in_order.batch(iteration))
    torch.manual_seed(99)
    torch.rand(10)
    directly = ImageStream(*data, [0, 1], list(range(2, 9)), settings, seed=3)
    assert equal(views(directly.batch(7)), views(in_order.batch(7)))
    assert equal(views(in_order.batch(0)), views(directly.batch(0)))


@pytest.mark.parametrize("view", ["weak", "strong1"])
def test_both_parts_can_be_seen_as_labelled_images_are(view: str) -> None:
    settings = protocol(**{"views.labeled_student1": view, "views.student1": "strong2"})
    batch = ImageStream(*noise(6), [0, 1], [2, 3, 4, 5], settings, seed=3).batch(0)
    assert batch.labeled.as_labeled is batch.labeled.student1
    assert batch.unlabeled.as_labeled is batch.unlabeled._view(view)


def test_a_batch_leaves_the_global_generator_and_the_images_alone() -> None:
    images, masks = noise(6)
    kept = images.clone(), masks.clone()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    views(ImageStream(images, masks, [0, 1], [2, 3, 4, 5], protocol(), seed=3).batch(0))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, kept[0])
    assert torch.equal(masks, kept[1])


def test_other_seeds_and_iterations_give_other_batches() -> None:
    data = noise(9)
    streams = {seed: ImageStream(*data, [0, 1, 2], list(range(3, 9)), protocol(), seed) for seed in (1, 2, 3)}
    batches = [streams[seed].batch(iteration).unlabeled.student1 for seed in streams for iteration in range(3)]
    for i, first in enumerate(batches):
        assert not any(torch.equal(first, other) for other in batches[i + 1 :])


def test_augmentation_differs_between_iterations_on_the_same_images() -> None:
    stream = ImageStream(*noise(2), [0], [1], protocol(labeled_batch=1, unlabeled_batch=1), seed=1)
    drawn = [stream.batch(iteration).unlabeled.student1 for iteration in range(4)]
    assert not torch.equal(drawn[0], drawn[1])
    assert len({view.numpy().tobytes() for view in drawn}) == 4


# ------------------------------------------------------------------------------------------------------- which images


@pytest.mark.parametrize(("pool", "size"), [(12, 4), (10, 4), (7, 3), (5, 5), (6, 1)])
def test_each_epoch_of_a_stream_sees_every_image_once(pool: int, size: int) -> None:
    settings = plain(unlabeled_batch=size, labeled_batch=1)
    stream = ImageStream(*numbered(pool + 2), [0, 1], list(range(2, pool + 2)), settings, seed=1)
    iterations = pool * 3
    seen = [n for i in range(iterations) for n in numbers(stream.batch(i).unlabeled.teacher, settings)]
    assert len(seen) == iterations * size
    epochs = [seen[start : start + pool] for start in range(0, len(seen), pool)]
    assert all(sorted(epoch) == list(range(2, pool + 2)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1  # in another order each time


def test_the_labelled_stream_sees_every_image_once_an_epoch_too() -> None:
    settings = plain(labeled_batch=2)
    stream = ImageStream(*numbered(9), [1, 4, 5, 7, 8], [0, 2, 3, 6], settings, seed=1)
    seen = [n for i in range(20) for n in numbers(stream.batch(i).labeled.student1, settings)]
    assert all(sorted(seen[start : start + 5]) == [1, 4, 5, 7, 8] for start in range(0, 40, 5))


@pytest.mark.parametrize(("pool", "size"), [(1, 4), (3, 8), (2, 40)])
def test_a_batch_larger_than_its_pool_repeats_it_evenly(pool: int, size: int) -> None:
    settings = plain(labeled_batch=size)
    stream = ImageStream(*numbered(pool + 1), list(range(pool)), [pool], settings, seed=1)
    seen: Counter[int] = Counter()
    for iteration in range(6):
        batch = stream.batch(iteration)
        assert batch.labeled.student1.shape == (size, 3, 32, 32)
        assert batch.labels.shape == (size, 32, 32)
        seen.update(numbers(batch.labeled.student1, settings))
        assert set(seen) == set(range(pool))
        assert max(seen.values()) - min(seen.values()) <= 1


def test_repeated_images_are_augmented_each_for_itself() -> None:
    stream = ImageStream(*noise(2), [0], [1], protocol(unlabeled_batch=8), seed=1)
    strong = stream.batch(0).unlabeled.student1
    assert len({view.numpy().tobytes() for view in strong}) > 4


def test_the_labelled_and_unlabelled_streams_are_drawn_apart() -> None:
    settings = plain(labeled_batch=4, unlabeled_batch=4)
    rows = list(range(20))
    stream = ImageStream(*numbered(20), rows, rows, settings, seed=1)
    batches = [stream.batch(iteration) for iteration in range(5)]
    labeled, unlabeled = (
        [n for batch in batches for n in numbers(getattr(batch, part).student1, settings)]
        for part in ("labeled", "unlabeled")
    )
    assert sorted(labeled) == sorted(unlabeled) == rows
    assert labeled != unlabeled


def test_the_same_images_are_augmented_apart_in_the_two_streams() -> None:
    settings = protocol(labeled_batch=1, unlabeled_batch=1, views__labeled_student1="strong1")
    stream = ImageStream(*noise(1), [0], [0], settings, seed=1)
    same = [torch.equal(b.labeled.student1, b.unlabeled.student1) for b in map(stream.batch, range(6))]
    assert not any(same)


def test_an_unlabelled_stream_without_images_disturbs_nothing() -> None:
    data, settings = noise(4), protocol()
    without = ImageStream(*data, [0, 1], [], settings, seed=1).batch(5)
    with_pool = ImageStream(*data, [0, 1], [2, 3], settings, seed=1).batch(5)
    assert torch.equal(without.labeled.student1, with_pool.labeled.student1)
    assert torch.equal(without.labels, with_pool.labels)


class Seen(Exception):  # noqa: N818
    """Raised by the spy when it has seen enough."""


class Spy(SSLMethod):
    """A method that looks at batches and learns nothing."""

    name, title, reference = "spy", "Spy", "none"
    batches: list[Batch]

    def __init__(self, setup: Any, hyper: Hyperparameters) -> None:
        super().__init__(setup, hyper)
        self.network = nn.Conv2d(3, 2, 1)

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        self.batches.append(batch)
        if progress.iteration == 40:
            raise Seen
        yield Update({"nothing": (1.0, self.network.weight.sum())})

    @property
    def predictor(self) -> nn.Module:
        return self.network


class FakeRows:
    """Stands for a raw file of the cache."""

    row_bytes = 1

    def __init__(self, values: Tensor) -> None:
        self.values, self.shape = values.numpy(), values.shape[1:]

    def read(self, rows: list[int]) -> np.ndarray:
        return self.values[rows]


class NumberedDataset:
    """Stands for a prepared data set: case n is the n-th of `numbered`."""

    ignores = False

    def rows(self, ids: tuple[str, ...]) -> list[int]:
        return [int(name) for name in ids]

    def open_rows(self) -> tuple[FakeRows, FakeRows]:
        images, masks = numbered(30)
        return FakeRows(images), FakeRows(masks)

    def count_images(self, ids: tuple[str, ...]) -> int:
        return len(ids)


class Silent:
    def start(self, task: str, done: int, total: int) -> None: ...

    def step(self, text: str = "") -> None: ...


@pytest.mark.parametrize("pool", ["unlabeled", "all"])
def test_the_unlabelled_stream_of_a_run_is_the_pool_that_the_protocol_names(tmp_path: Path, pool: str) -> None:
    cards = load_benchmark("kvasir"), plain(unlabeled_pool=pool, iterations=50, unlabeled_batch=3)
    settings = cards[1].resolved(cards[0], 14, "cpu")
    labeled, unlabeled, test = ("3", "20", "7"), tuple(map(str, range(8, 19))), ("0", "1", "2")
    spec = RunSpec(
        benchmark="kvasir", split=cards[0].splits["random"], data_fingerprint="0", classes=cards[0].classes,
        label_values=(0, 255), intensity="rgb", train_count=14, test_count=3,
        labeled=3, protocol=settings, method="spy", method_version=1, hyperparameters={}, seed=1,
    )  # fmt: skip
    Spy.batches = []
    job = Job(
        spec, Spy, Hyperparameters(), NumberedDataset(), Splits(labeled, unlabeled, test),  # type: ignore[arg-type]
        Measurement(metrics=settings.metrics),
    )  # fmt: skip
    with pytest.raises(Seen):
        train(job, RunFolder(tmp_path / "run"), torch.device("cpu"), StopSignal(), Silent(), {})
    seen = {
        part: {str(n) for batch in Spy.batches for n in numbers(getattr(batch, part).student1, settings)}
        for part in ("labeled", "unlabeled")
    }
    assert seen["labeled"] == set(labeled)
    assert seen["unlabeled"] == (set(unlabeled) if pool == "unlabeled" else set(labeled + unlabeled))


# ------------------------------------------------------------------------------------------------------------- views


def mirrored(**settings: Any) -> ImageProtocol:
    """Weak: mirrored left to right. Strong 1 and 2: also only the values' highest bit."""
    strong = {"augmentation__posterize": 1.0, "augmentation__posterize_bits": 1}
    return plain(augmentation__horizontal_flip=1.0, **strong, **settings)


def shown(images: Images, role: str, settings: ImageProtocol) -> Tensor:
    return uint8(getattr(images, role), settings)


def test_each_network_sees_the_view_that_the_card_names() -> None:
    images, masks = noise(4)
    settings = mirrored()
    stream = ImageStream(images, masks, [0, 1], [2, 3], settings, seed=1)
    batch = stream.batch(0)
    weak = images[stream.rows("unlabeled", 0)].flip(-1)
    assert torch.equal(shown(batch.unlabeled, "teacher", settings), weak)
    for role in ("student1", "student2", "mixed"):
        assert torch.equal(shown(batch.unlabeled, role, settings), weak & 128), role
    labeled_weak = images[stream.rows("labeled", 0)].flip(-1)
    for role in ("student1", "student2", "teacher"):
        assert torch.equal(shown(batch.labeled, role, settings), labeled_weak), role
    assert torch.equal(shown(batch.labeled, "mixed", settings), labeled_weak & 128)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_takes_another_view_without_moving_the_others(role: str) -> None:
    data = noise(6)
    usual = ImageStream(*data, [0, 1], [2, 3, 4, 5], protocol(), seed=1).batch(4).unlabeled
    named = {"weak": usual.teacher, "strong1": usual.student1, "strong2": usual.student2}
    assert not any(torch.equal(a, b) for a, b in ((usual.teacher, usual.student1), (usual.student1, usual.student2)))
    assert torch.equal(usual.mixed, usual.student1)
    for view, pixels in named.items():
        settings = protocol(**{f"views__{role}": view})
        changed = ImageStream(*data, [0, 1], [2, 3, 4, 5], settings, seed=1).batch(4).unlabeled
        assert torch.equal(getattr(changed, role), pixels), view
        for other in set(ROLES) - {role}:
            assert torch.equal(getattr(changed, other), getattr(usual, other)), other


def test_labelled_roles_take_the_views_named_for_them() -> None:
    settings = mirrored(
        views__labeled_student1="strong1", views__labeled_student2="strong1", views__labeled_teacher="weak",
        views__labeled_mixed="weak",
    )  # fmt: skip
    images, masks = noise(2)
    stream = ImageStream(images, masks, [0, 1], [0, 1], settings, seed=1)
    batch = stream.batch(0)
    weak = images[stream.rows("labeled", 0)].flip(-1)
    assert torch.equal(shown(batch.labeled, "student1", settings), weak & 128)
    assert torch.equal(shown(batch.labeled, "student2", settings), weak & 128)
    assert torch.equal(shown(batch.labeled, "teacher", settings), weak)
    assert torch.equal(shown(batch.labeled, "mixed", settings), weak)


def test_strong_view_2_augments_the_view_that_the_card_names() -> None:
    """Only the brightness of a grey of 60 changes, by a factor of 0 to 2 in each strong view: nothing is clipped."""
    only_brightness = {f"augmentation__{change}": 0.0 for change in ("contrast", "saturation", "hue")}
    images, masks = torch.full((1, 3, 32, 32), 60, dtype=torch.uint8), torch.zeros((1, 32, 32), dtype=torch.uint8)
    seen: dict[str, list[tuple[int, int]]] = {}
    for source in ("weak", "strong1"):
        settings = plain(
            unlabeled_batch=1, augmentation__jitter=1.0, augmentation__brightness=1.0, **only_brightness,
            augmentation__strong2_from=source,
        )  # fmt: skip
        stream = ImageStream(images, masks, [0], [0], settings, seed=1)
        unlabeled = [stream.batch(iteration).unlabeled for iteration in range(20)]
        assert all(int(shown(view, "teacher", settings)[0, 0, 0, 0]) == 60 for view in unlabeled)
        seen[source] = [
            (int(shown(view, "student1", settings)[0, 0, 0, 0]), int(shown(view, "student2", settings)[0, 0, 0, 0]))
            for view in unlabeled
        ]
    for (first, second), (same_first, second_of_first) in zip(seen["weak"], seen["strong1"], strict=True):
        assert same_first == first
        assert abs(second_of_first - first * second / 60) <= 3  # the factors multiply, but for rounding down
    assert any(abs(a[1] - b[1]) > 10 for a, b in zip(seen["weak"], seen["strong1"], strict=True))


@pytest.mark.parametrize("first", ROLES)
def test_the_order_of_asking_changes_no_pixel(first: str) -> None:
    data = noise(6)
    usual = views(ImageStream(*data, [0, 1], [2, 3, 4, 5], protocol(), seed=1).batch(2))
    batch = ImageStream(*data, [0, 1], [2, 3, 4, 5], protocol(), seed=1).batch(2)
    for part in (batch.unlabeled, batch.labeled):
        getattr(part, first)
    assert equal(views(batch), usual)
    backwards = ImageStream(*data, [0, 1], [2, 3, 4, 5], protocol(), seed=1).batch(2)
    for role in ROLES[::-1]:
        for part in (backwards.unlabeled, backwards.labeled):
            getattr(part, role)
    assert equal(views(backwards), usual)


def test_a_view_that_two_roles_share_is_drawn_once() -> None:
    batch = ImageStream(*noise(4), [0, 1], [2, 3], protocol(), seed=1).batch(0)
    assert batch.unlabeled.mixed is batch.unlabeled.student1


# ------------------------------------------------------------------------------------------------------------ labels


def discs(count: int, side: int) -> tuple[Tensor, Tensor]:
    """Images that show their own masks: 255 in a disc off the centre, 0 elsewhere."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    radius, centre = side // 6, [(side // 4 + n, side // 2 + 2 * n) for n in range(count)]
    masks = torch.stack([((y - row) ** 2 + (x - column) ** 2 <= radius**2).to(torch.uint8) for row, column in centre])
    return (masks * 255)[:, None].repeat(1, 3, 1, 1), masks


@pytest.mark.parametrize("view", ["weak", "strong1"])
def test_labels_lie_on_the_labelled_images_pixel_for_pixel(view: str) -> None:
    geometry = {f"augmentation__{change}": 0.7 for change in ("horizontal_flip", "vertical_flip", "rotation")}
    settings = plain(labeled_batch=8, views__labeled_student1=view, **geometry)
    stream = ImageStream(*discs(3, 32), [0, 1, 2], [0], settings, seed=1)
    moved = set()
    for iteration in range(5):
        batch = stream.batch(iteration)
        assert batch.labels.dtype == torch.int64
        image = uint8(batch.labeled.student1, settings)
        assert torch.equal(image[:, 0] > 127, batch.labels == 1)
        assert batch.labels.unique().tolist() == [0, 1]
        moved.update(label.numpy().tobytes() for label in batch.labels)
    assert len(moved) > 20  # the labels do turn


def test_labels_lie_on_the_images_after_they_are_made_smaller() -> None:
    settings = plain(augment_size=64, labeled_batch=6, augmentation__rotation=1.0, augmentation__vertical_flip=0.5)
    images, masks = discs(3, 64)
    batch = ImageStream(images, masks, [0, 1, 2], [0], settings, seed=1).batch(0)
    assert batch.labels.shape == (6, 32, 32)
    shown_at = uint8(batch.labeled.student1, settings)[:, 0].float() / 255
    inside, outside = shown_at > 0.999, shown_at < 0.001
    assert inside.sum() > 50
    assert (batch.labels[inside] == 1).all()
    assert (batch.labels[outside] == 0).all()
    places = torch.arange(32).float()
    for image, label in zip(shown_at, batch.labels.float(), strict=True):  # no systematic shift
        for axis in (0, 1):
            centres = [float((m.sum(axis) * places).sum() / m.sum()) for m in (image, label)]
            assert abs(centres[0] - centres[1]) < 0.5


def test_labels_made_smaller_keep_whole_classes() -> None:
    settings = plain(augment_size=64)
    images, masks = noise(2, 64)
    stream = ImageStream(images, masks, [0, 1], [0], settings, seed=1)
    labels = stream.batch(0).labels
    chosen = masks[stream.rows("labeled", 0)]
    nearest = [chosen[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    assert any(torch.equal(labels, pixels.long()) for pixels in nearest)


# ----------------------------------------------------------------------------------------------------- normalisation

IMAGENET = {"input_mean": [0.485, 0.456, 0.406], "input_std": [0.229, 0.224, 0.225]}


def test_images_are_normalised_by_channel() -> None:
    images, masks = noise(2)
    stream = ImageStream(images, masks, [0, 1], [0, 1], plain(**IMAGENET), seed=1)
    found = stream.batch(0).labeled.student1
    chosen = images[stream.rows("labeled", 0)].numpy().astype(np.float64)
    mean, std = (np.array(IMAGENET[key]).reshape(1, 3, 1, 1) for key in ("input_mean", "input_std"))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), (chosen / 255 - mean) / std, atol=1e-5)


@pytest.mark.parametrize(("large", "small"), [(64, 32), (48, 32), (96, 32), (512, 256)])
def test_images_are_made_smaller_as_by_pillows_antialiased_filter(large: int, small: int) -> None:
    settings = plain(image_size=small, augment_size=large, labeled_batch=1, **IMAGENET)
    images, masks = noise(1, large)
    found = ImageStream(images, masks, [0], [0], settings, seed=1).batch(0).labeled.student1[0]
    assert found.shape == (3, small, small)
    for channel in range(3):
        plane = Image.fromarray(images[0, channel].numpy().astype(np.float32))
        resized = np.asarray(plane.resize((small, small), Image.Resampling.BILINEAR))
        expected = (resized / 255 - IMAGENET["input_mean"][channel]) / IMAGENET["input_std"][channel]
        np.testing.assert_allclose(found[channel].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_format_is_the_protocols_and_changes_no_value(channels_last: bool) -> None:
    images, _ = noise(2)
    mean, std = torch.full((1, 3, 1, 1), 0.5), torch.full((1, 3, 1, 1), 0.25)
    kept = images.clone()
    found = normalise(images, 32, mean, std, channels_last)
    assert found.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    torch.testing.assert_close(found, (kept / 255 - 0.5) / 0.25)
    assert torch.equal(images, kept)
