"""Scores against medpy, scipy and hand-computed cases; predictions against a naive per-image computation."""

import math
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from medpy.metric import binary as medpy
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ssl_bench.cards import ImageProtocol, Measurement, MetricName, load_protocol
from ssl_bench.scoring.inference import BATCH, class_map, image_scores
from ssl_bench.scoring.metrics import score_case
from ssl_bench.scoring.scorer import Scorer, summary

CPU = torch.device("cpu")
METRICS = ("dsc", "jaccard", "95hd", "asd")


def score(prediction: np.ndarray, truth: np.ndarray, metrics: Sequence[MetricName] = METRICS) -> list[float | None]:
    return score_case(prediction, truth, Measurement(metrics=tuple(metrics)), None)


def random_mask(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A few overlapping boxes and some specks, never empty."""
    mask = rng.random(shape) < rng.choice([0.0, 0.02, 0.3])
    for _ in range(rng.integers(1, 4)):
        corner = [int(rng.integers(0, side)) for side in shape]
        mask[tuple(slice(c, c + int(rng.integers(1, 10))) for c in corner)] = True
    return mask


def predict(
    network: nn.Module, images: Tensor, sizes: list[tuple[int, int]], card: ImageProtocol, device: torch.device
) -> list[np.ndarray]:
    return [class_map(scores, card) for scores in image_scores(network, images.split(BATCH), sizes, card, device)]


def protocol(**settings: object) -> ImageProtocol:
    card = load_protocol("tiny", {"precision": "fp32", **settings})
    return card.model_copy(update={"metrics": tuple(settings.get("metrics", ("dsc", "jaccard")))})


# -------------------------------------------------------------------------------------------------------- score_case


@pytest.mark.parametrize("seed", range(50))
def test_scores_are_medpys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(side) for side in rng.integers(6, 30, size=2))
    prediction, truth = random_mask(rng, shape), random_mask(rng, shape)
    expected = [metric(prediction, truth) for metric in (medpy.dc, medpy.jc, medpy.hd95, medpy.asd)]
    assert score(prediction, truth, METRICS) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_distances_go_from_the_predictions_border_to_the_truths(seed: int) -> None:
    # medpy is both what the code uses and what the test above compares with: this is scipy alone.
    rng = np.random.default_rng(100 + seed)
    prediction, truth = random_mask(rng, (24, 31)), random_mask(rng, (24, 31))

    def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        borders = [np.pad(m, 1) & ~binary_erosion(np.pad(m, 1)) for m in (one, other)]
        return distance_transform_edt(~borders[1])[borders[0]]

    there, back = distances(prediction, truth), distances(truth, prediction)
    hd95, asd = score(prediction, truth, ["95hd", "asd"])
    assert hd95 == pytest.approx(np.percentile(np.concatenate((there, back)), 95))
    assert asd == pytest.approx(there.mean())


def test_scores_of_a_case_computed_by_hand() -> None:
    truth, prediction = np.zeros((5, 9), bool), np.zeros((5, 9), bool)
    truth[1:4, 1:4] = True  # 9 pixels
    prediction[1:4, 3:5] = True  # 6 pixels, 3 of them right
    dsc, jaccard = score(prediction, truth, ["dsc", "jaccard"])
    assert dsc == pytest.approx(2 * 3 / (9 + 6))
    assert jaccard == pytest.approx(3 / (9 + 6 - 3))


def test_two_single_pixels_are_as_far_apart_as_they_are() -> None:
    truth, prediction = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    truth[1, 1], prediction[4, 5] = True, True
    assert score(prediction, truth, METRICS) == [0.0, 0.0, 5.0, 5.0]


def test_metrics_come_in_the_order_asked_for() -> None:
    rng = np.random.default_rng(0)
    prediction, truth = random_mask(rng, (20, 20)), random_mask(rng, (20, 20))
    values = dict(zip(METRICS, score(prediction, truth, METRICS), strict=True))
    assert score(prediction, truth, ["asd", "dsc"]) == [values["asd"], values["dsc"]]


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [(False, False, [1.0, 1.0, None, None]), (True, False, [0, 0, None, None]), (False, True, [0, 0, None, None])],
    ids=["both empty", "truth empty", "prediction empty"],
)
def test_empty_masks(prediction: bool, truth: bool, expected: list[float | None]) -> None:
    masks = [np.full((7, 5), value) for value in (prediction, truth)]
    assert score(*masks, METRICS) == expected


# ----------------------------------------------------------------------------------------------------------- predict


class Wavy(nn.Module):
    """Fixed random logits of the image with dropout, which would show in training mode."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.convolution = nn.Conv2d(3, 3, 5, padding=2)
        self.dropout = nn.Dropout(0.5)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return self.dropout(self.convolution(images))


def bilinear(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Naive bilinear resampling of (K, H, W), pixel centres at half integers, edges repeated."""
    channels, *old = logits.shape
    result = np.empty((channels, *size))
    for y in range(size[0]):
        for x in range(size[1]):
            places = [min(max((i + 0.5) * o / n - 0.5, 0), o - 1) for i, o, n in zip((y, x), old, size, strict=True)]
            y0, x0 = (int(place) for place in places)
            y1, x1 = min(y0 + 1, old[0] - 1), min(x0 + 1, old[1] - 1)
            v, u = places[0] - y0, places[1] - x0
            result[:, y, x] = (1 - v) * ((1 - u) * logits[:, y0, x0] + u * logits[:, y0, x1]) + v * (
                (1 - u) * logits[:, y1, x0] + u * logits[:, y1, x1]
            )
    return result


def test_predictions_are_those_of_each_image_alone_upsampled_before_the_largest_class() -> None:
    rng = np.random.default_rng(1)
    count = BATCH + 3
    images = torch.from_numpy(rng.integers(0, 256, (count, 3, 16, 16), dtype=np.uint8))
    sizes = [(int(rng.integers(10, 40)), int(rng.integers(10, 40))) for _ in range(count)]
    card = protocol(input_mean=(0.1, 0.2, 0.3), input_std=(0.4, 0.5, 0.6))
    card = card.model_copy(update={"image_size": 16, "augment_size": 16})
    network = Wavy().train()
    found = list(predict(network, images, sizes, card, CPU))

    other_order = agreed = decided = 0
    for image, size, mask in zip(images, sizes, found, strict=True):
        assert mask.shape == size
        assert mask.dtype == np.uint8
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (card.input_mean, card.input_std))
        with torch.no_grad():
            logits = network.convolution(((image / 255 - mean) / std)[None])[0].double().numpy()
        full = bilinear(logits, size)
        margin = np.diff(np.sort(full, axis=0)[-2:], axis=0)[0]
        decided += (margin > 1e-4).sum()
        agreed += ((mask == full.argmax(0)) & (margin > 1e-4)).sum()
        labels = torch.from_numpy(logits.argmax(0)).float()
        other_order += (mask != interpolate(labels[None, None], size=size)[0, 0].numpy()).sum()
    assert agreed == decided
    assert decided > 0.99 * sum(height * width for height, width in sizes)
    assert other_order > 0.02 * decided  # the order of upsampling and argmax matters here


def test_images_of_another_size_are_brought_to_the_networks() -> None:
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return images[:, :2]

    constant = torch.tensor([[51], [102], [255]], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 48, 48)
    card = protocol(augment_size=48, input_mean=(0.2, 0.0, 0.5), input_std=(1.0, 2.0, 0.5))
    masks = list(predict(Watching(), constant.contiguous(), [(5, 6), (7, 8)], card, CPU))
    (images,) = seen
    assert images.shape == (2, 3, 32, 32)
    for channel, value in enumerate([0.0, 0.2, 1.0]):
        torch.testing.assert_close(images[:, channel], torch.full((2, 32, 32), value))
    assert [mask.shape for mask in masks] == [(5, 6), (7, 8)]
    assert all((mask == 1).all() for mask in masks)


# ---------------------------------------------------------------------------------------------------- score_networks


class Threshold(nn.Module):
    """Foreground where the red channel of a normalised image is above a level."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, images: Tensor) -> Tensor:
        red = images[:, :1] * 0.5 + 0.5
        return torch.cat((torch.zeros_like(red), red - self.level), dim=1)


class FakeDataset:
    """Images (N, 3, 32, 32) and their masks, without a file."""

    def __init__(self, images: Tensor, truths: list[np.ndarray]) -> None:
        self.images, self.masks = images, truths

    def batches(self, ids: Sequence[str], size: int) -> list[np.ndarray]:
        return [one.numpy() for one in self.images[-len(ids) :].split(size)]

    def truth_sizes(self, ids: Sequence[str]) -> list[tuple[int, int]]:
        return [(32, 32)] * len(ids)

    def truths(self, ids: Sequence[str]) -> list[np.ndarray]:
        return self.masks[-len(ids) :]


MEASUREMENT = Measurement(metrics=("dsc", "jaccard"), score_size="original")


def spec(card: ImageProtocol) -> SimpleNamespace:
    return SimpleNamespace(protocol=card, classes=("background", "polyp"), dimensions=2)


def test_every_network_is_scored_on_every_case_in_order() -> None:
    rng = np.random.default_rng(2)
    red = rng.integers(0, 256, (3, 32, 32), dtype=np.uint8)
    images = torch.from_numpy(np.stack([red] * 3, axis=1))
    truths = [rng.random((32, 32)) < 0.4 for _ in range(3)]
    card = protocol(input_mean=(0.5,) * 3, input_std=(0.5,) * 3)
    networks = {"zeta": Threshold(0.5), "alpha": Threshold(0.8)}
    scorer = Scorer(FakeDataset(images, truths), ("c", "a", "b"), spec(card), MEASUREMENT, CPU)  # type: ignore[arg-type]
    predictions = list(scorer.predictions(networks))
    rows = [row for one in predictions for row in scorer.rows(one)]
    assert [row[:3] for row in rows] == [(n, c, "polyp") for n in ("zeta", "alpha") for c in ("c", "a", "b")]
    assert [(one.network, one.case) for one in predictions] == [row[:2] for row in rows]
    assert all(one.truth is truth for one, truth in zip(predictions, truths * 2, strict=True))
    assert np.array_equal(predictions[0].mask, red[0] / 255 > 0.5)
    assert [one[:2] for one in scorer.predictions(networks, skip=4)] == [("alpha", "a"), ("alpha", "b")]
    levels = {"zeta": 0.5, "alpha": 0.8}
    for row in rows:
        case = ("c", "a", "b").index(row[1])
        predicted = red[case] / 255 > levels[row[0]]
        assert row[3:] == pytest.approx((medpy.dc(predicted, truths[case]), medpy.jc(predicted, truths[case])))


def test_masks_and_predictions_must_be_as_many_as_the_cases() -> None:
    images = torch.zeros((3, 3, 32, 32), dtype=torch.uint8)
    dataset = FakeDataset(images, [np.zeros((32, 32), bool)] * 2)
    scorer = Scorer(dataset, ("a", "b", "c"), spec(protocol()), MEASUREMENT, CPU)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shorter"):
        list(scorer.predictions({"net": Threshold(0.5)}))


# ----------------------------------------------------------------------------------------------------------- summary


def test_undefined_values_are_counted_and_left_out_of_the_mean() -> None:
    rows = [
        ("student", "a", "polyp", 0.5, None),
        ("student", "b", "polyp", 0.0, 3.0),
        ("student", "c", "polyp", 1.0, 4.5),
        ("teacher", "a", "polyp", 0.25, None),
        ("teacher", "b", "polyp", 0.75, None),
        ("teacher", "c", "polyp", 0.5, None),
    ]
    assert summary(rows, ("dsc", "95hd")) == {
        "student": {"dsc": {"mean": 0.5, "undefined": 0}, "95hd": {"mean": 3.75, "undefined": 1}},
        "teacher": {"dsc": {"mean": 0.5, "undefined": 0}, "95hd": {"mean": None, "undefined": 3}},
    }


def test_a_mean_does_not_depend_on_the_order_of_the_cases() -> None:
    rng = np.random.default_rng(4)
    values = (rng.random(1000) * 10.0 ** rng.integers(-9, 9, 1000)).tolist()
    rows = [("net", str(i), "polyp", value) for i, value in enumerate(values)]
    mean = summary(rows, ("dsc",))["net"]["dsc"]["mean"]
    assert mean == summary(rows[::-1], ("dsc",))["net"]["dsc"]["mean"]
    assert mean == pytest.approx(math.fsum(values) / 1000, rel=1e-15)
