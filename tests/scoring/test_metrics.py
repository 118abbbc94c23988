"""Metrics against medpy on the whole array, and the largest component against a flood fill."""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import medpy.metric.binary as medpy
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_dilation

from ssl_bench.cards import Measurement, MetricName
from ssl_bench.scoring.metrics import keep_largest_components, largest_component, score_case

Pair = tuple[np.ndarray, np.ndarray]


METRICS = ("dsc", "jaccard", "95hd", "asd")  # those that medpy has


def score(
    prediction: np.ndarray,
    truth: np.ndarray,
    metrics: Sequence[MetricName] = METRICS,
    spacing: tuple[float, ...] | None = None,
    **parameters: object,
) -> list[float | None]:
    measurement = Measurement.model_validate({"metrics": tuple(metrics), **parameters})
    return score_case(prediction, truth, measurement, spacing)


def by_medpy(prediction: np.ndarray, truth: np.ndarray) -> list[float]:
    return [float(metric(prediction, truth)) for metric in (medpy.dc, medpy.jc, medpy.hd95, medpy.asd)]


def sides(rng: np.random.Generator, dimensions: int) -> tuple[int, ...]:
    return tuple(int(side) for side in rng.integers(4, 24 if dimensions == 2 else 12, dimensions))


def one_voxel(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(rng.integers(0, shape))] = True
    return mask


def ball(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Around a random voxel, so that many balls are cut off by the border."""
    distance = sum((axis - rng.integers(0, n)) ** 2 for axis, n in zip(np.indices(shape), shape, strict=True))
    return np.asarray(distance <= rng.uniform(0, max(shape) / 2) ** 2)


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (rng.random(shape) < rng.uniform(0.01, 0.9)) | one_voxel(rng, shape)


def noises(rng: np.random.Generator, shape: tuple[int, ...]) -> Pair:
    return noise(rng, shape), noise(rng, shape)


def balls(rng: np.random.Generator, shape: tuple[int, ...]) -> Pair:
    return ball(rng, shape), ball(rng, shape)


def voxel_and_ball(rng: np.random.Generator, shape: tuple[int, ...]) -> Pair:
    pair = one_voxel(rng, shape), ball(rng, shape)
    return pair if rng.random() < 0.5 else pair[::-1]


def voxels(rng: np.random.Generator, shape: tuple[int, ...]) -> Pair:
    return one_voxel(rng, shape), one_voxel(rng, shape)


def at_the_border(rng: np.random.Generator, shape: tuple[int, ...]) -> Pair:
    """A slab across the whole array from one of its faces, and the whole array or a ball."""
    slab = np.zeros(shape, bool)
    np.moveaxis(slab, rng.integers(len(shape)), 0)[: rng.integers(1, 4)] = True
    return slab, np.ones(shape, bool) if rng.random() < 0.3 else ball(rng, shape)


def disjoint(rng: np.random.Generator, shape: tuple[int, ...]) -> Pair:
    prediction, truth = noises(rng, shape)
    prediction[:2], truth[2:] = False, False
    prediction[3], truth[0] = True, True
    return prediction, truth


def identical(rng: np.random.Generator, shape: tuple[int, ...]) -> Pair:
    mask = ball(rng, shape) | one_voxel(rng, shape)
    return mask, mask.copy()


# --------------------------------------------------------------------------------------------------------- score_case


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("draw", [noises, balls, voxel_and_ball, voxels, at_the_border, disjoint, identical])
def test_every_metric_is_medpys_on_the_whole_array(
    draw: Callable[[np.random.Generator, tuple[int, ...]], Pair], dimensions: int
) -> None:
    rng = np.random.default_rng(dimensions)
    for _ in range(15):
        prediction, truth = draw(rng, sides(rng, dimensions))
        before = prediction.copy(), truth.copy()
        values = score(prediction, truth, METRICS)
        np.testing.assert_allclose(values, by_medpy(prediction, truth), rtol=1e-12, atol=0)
        np.testing.assert_array_equal((prediction, truth), before)


def test_masks_far_apart_in_a_large_array() -> None:
    prediction, truth = np.zeros((2, 300, 20, 90), bool)
    prediction[3:5, 19, 88:], truth[290:, :4, :3] = True, True
    expected = by_medpy(prediction, truth)
    assert expected[3] > 280
    np.testing.assert_allclose(score(prediction, truth, METRICS), expected, rtol=1e-12)


def test_masks_in_any_memory_layout() -> None:
    rng = np.random.default_rng(5)
    prediction, truth = balls(rng, (9, 11, 8))
    expected = by_medpy(prediction, truth)
    layouts = (np.asfortranarray(prediction), truth), (prediction[::-1], truth[::-1]), (prediction.T, truth.T)
    for first, second in layouts:
        np.testing.assert_allclose(score(first, second, METRICS), expected, rtol=1e-12)


def test_values_by_hand() -> None:
    prediction, truth = np.zeros((2, 8, 10), bool)
    prediction[2, 2:5] = True
    truth[2, 3:7] = True  # distances to truth: 1, 0, 0; to the prediction: 0, 0, 1, 2
    dsc, jaccard, distance, mean = score(prediction, truth, METRICS)
    assert (dsc, jaccard) == (4 / 7, 2 / 5)
    assert distance == pytest.approx(1.7)  # 0, 0, 0, 0, 1, 1, 2: seven tenths of the way from the sixth to the seventh
    assert mean == pytest.approx(1 / 3)
    assert score(truth, prediction, ("asd",)) == [pytest.approx(3 / 4)]


@pytest.mark.parametrize("shape", [(6, 5), (4, 6, 5)])
def test_empty_masks_have_overlaps_but_no_distances(shape: tuple[int, ...]) -> None:
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    assert score(empty, empty, METRICS) == [1.0, 1.0, None, None]
    assert score(empty, full, METRICS) == [0.0, 0.0, None, None]
    assert score(full, empty, METRICS) == [0.0, 0.0, None, None]


def test_any_subset_of_the_metrics_comes_in_the_order_asked_for() -> None:
    prediction, truth = noises(np.random.default_rng(7), (7, 9, 8))
    expected = dict(zip(METRICS, by_medpy(prediction, truth), strict=True))
    assert len(set(expected.values())) == 4
    for count in range(1, len(METRICS) + 1):
        for asked in itertools.permutations(METRICS, count):
            np.testing.assert_allclose(score(prediction, truth, asked), [expected[m] for m in asked], rtol=1e-12)


@pytest.mark.parametrize(
    ("asked", "count"), [(("dsc", "jaccard"), 0), (("asd",), 1), (("95hd",), 2), (METRICS, 2)], ids=str
)
def test_no_more_distance_transforms_than_the_metrics_need(
    monkeypatch: pytest.MonkeyPatch, asked: tuple[MetricName, ...], count: int
) -> None:
    calls, transform = [], scipy.ndimage.distance_transform_edt

    def counting(*arguments: object, **options: object) -> np.ndarray:
        calls.append(1)
        return np.asarray(transform(*arguments, **options))

    monkeypatch.setattr(scipy.ndimage, "distance_transform_edt", counting)
    score(*noises(np.random.default_rng(8), (7, 9)), asked)
    assert len(calls) == count


def la_pairs(root: Path, count: int) -> list[Pair]:
    """Real left atria, and each moved, swollen and speckled, as a prediction."""
    files = sorted((root / "la" / "2018LA_Seg_Training Set").glob("*/mri_norm2.h5"))[:count]
    if len(files) < count:
        pytest.skip(f"no volumes of the left atrium below {root}")
    pairs = []
    for index, path in enumerate(files):
        with h5py.File(path) as file:
            truth = file["label"][:] > 0
        prediction = np.roll(binary_dilation(truth, iterations=2), (3, -2, 1), (0, 1, 2))
        if index:  # the first stays smooth
            prediction |= np.random.default_rng(index).random(truth.shape) < 1e-5
        pairs.append((prediction, truth))
    return pairs


@pytest.mark.real
def test_real_left_atria_score_as_by_medpy(real_data: Path) -> None:
    for prediction, truth in la_pairs(real_data, 2):
        values = score(prediction, truth, METRICS)
        np.testing.assert_allclose(values, by_medpy(prediction, truth), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.real
def test_the_four_metrics_of_a_left_atrium_take_at_most_half_of_medpys_time(real_data: Path) -> None:
    ((prediction, truth),) = la_pairs(real_data, 1)
    ours, theirs = math.inf, math.inf
    for _ in range(3):
        start = time.process_time()  # of this process alone: others' load does not count
        score(prediction, truth, METRICS)
        middle = time.process_time()
        by_medpy(prediction, truth)
        ours, theirs = min(ours, middle - start), min(theirs, time.process_time() - middle)
    assert ours <= theirs / 2, f"{ours:.3f} s, medpy {theirs:.3f} s"


# --------------------------------------------------------------------------------------------------------- components


def flood(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    """All components, by the first voxel of each in array order; neighbours are all that touch, corners included."""
    left = {tuple(int(i) for i in place) for place in np.argwhere(mask)}
    steps = list(itertools.product((-1, 0, 1), repeat=mask.ndim))
    components = []
    for start in sorted(left):
        if start not in left:
            continue
        component, frontier = set(), [start]
        left.remove(start)
        while frontier:
            place = frontier.pop()
            component.add(place)
            for step in steps:
                neighbour = tuple(a + b for a, b in zip(place, step, strict=True))
                if neighbour in left:
                    left.remove(neighbour)
                    frontier.append(neighbour)
        components.append(component)
    return components


def by_flood(mask: np.ndarray) -> np.ndarray:
    kept = np.zeros(mask.shape, bool)
    for place in max(flood(mask), key=len, default=set()):
        kept[place] = True
    return kept


shapes = st.lists(st.integers(1, 9), min_size=2, max_size=3).map(tuple)


@settings(deadline=None, max_examples=150)
@given(
    shape=shapes,
    density=st.sampled_from([0.1, 0.2, 0.4]),
    seed=st.integers(0, 2**32 - 1),
    layout=st.sampled_from("CF"),
)
def test_the_largest_component_is_that_of_a_flood_fill(
    shape: tuple[int, ...], density: float, seed: int, layout: str
) -> None:
    mask = np.asarray(np.random.default_rng(seed).random(shape) < density, order=layout)
    before = mask.copy()
    kept = largest_component(mask)
    assert kept.dtype == bool
    np.testing.assert_array_equal(kept, by_flood(mask))
    np.testing.assert_array_equal(mask, before)


def test_corners_connect() -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = True
    mask[3, 0, 0:2] = True
    assert np.argwhere(largest_component(mask)).tolist() == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]


@pytest.mark.parametrize("order", ["C", "F"])
def test_of_equal_components_the_first_in_array_order_is_kept(order: str) -> None:
    mask = np.zeros((6, 6), bool, order=order)
    mask[0, 4:], mask[3, :2], mask[5, 0], mask[5, 4:] = True, True, True, True
    assert np.argwhere(largest_component(mask)).tolist() == [[0, 4], [0, 5]]


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 5)])
def test_empty_and_full_masks_stay_as_they_are(shape: tuple[int, ...]) -> None:
    assert not largest_component(np.zeros(shape, bool)).any()
    assert largest_component(np.ones(shape, bool)).all()


def test_every_class_keeps_its_own_largest_component() -> None:
    labels = np.array(
        [
            [1, 0, 2, 2, 0, 3],
            [1, 1, 0, 0, 0, 0],
            [0, 0, 0, 2, 1, 1],
            [3, 0, 2, 2, 0, 0],
            [3, 3, 0, 0, 0, 2],
        ],
        dtype=np.uint8,
    )
    expected = [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 0, 2, 0, 0],
        [3, 0, 2, 2, 0, 0],
        [3, 3, 0, 0, 0, 0],
    ]
    kept = keep_largest_components(labels, 5)  # class 4 is nowhere
    assert kept.dtype == np.uint8
    assert kept.tolist() == expected


@settings(deadline=None, max_examples=50)
@given(labels=arrays(np.uint8, shapes, elements=st.integers(0, 3)))
def test_classes_do_not_see_each_other(labels: np.ndarray) -> None:
    kept = keep_largest_components(labels, 4)
    for number in range(1, 4):
        np.testing.assert_array_equal(kept == number, by_flood(labels == number))
