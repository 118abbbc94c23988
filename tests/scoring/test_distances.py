"""NSD against brute force, distances in mm against medpy, and the values where a mask is empty."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import medpy.metric.binary as medpy
import numpy as np
import pytest
import scipy.ndimage

from ssl_bench.cards import Measurement, MetricName
from ssl_bench.scoring.metrics import score_case

ANISOTROPIC = {2: (0.7, 2.5), 3: (0.4, 1.0, 3.1)}


def score(
    prediction: np.ndarray, truth: np.ndarray, metrics: Sequence[MetricName], spacing: tuple[float, ...] | None = None,
    **parameters: object,
) -> list[float | None]:  # fmt: skip
    unit = {} if spacing is None else {"distance_unit": "mm"}
    return score_case(
        prediction, truth, Measurement.model_validate({"metrics": metrics, **unit, **parameters}), spacing
    )


def drawn(rng: np.random.Generator, dimensions: int) -> np.ndarray:
    """A box cut off by the border at times, with specks; never empty."""
    shape = (14, 11) if dimensions == 2 else (8, 7, 6)
    mask = rng.random(shape) < rng.choice([0.0, 0.05, 0.4])
    corner = [int(rng.integers(0, side)) for side in shape]
    mask[tuple(slice(start, start + int(rng.integers(1, 7))) for start in corner)] = True
    return mask


def surface(mask: np.ndarray) -> list[tuple[int, ...]]:
    """Voxels with a neighbour across a face that is background or outside, one by one."""
    voxels = {tuple(int(i) for i in place) for place in np.argwhere(mask)}
    steps = [tuple(sign * (a == axis) for a in range(mask.ndim)) for axis in range(mask.ndim) for sign in (-1, 1)]
    return [v for v in voxels if any(tuple(np.add(v, step)) not in voxels for step in steps)]


def brute_nsd(prediction: np.ndarray, truth: np.ndarray, tolerance: float, spacing: tuple[float, ...]) -> float:
    """Every surface voxel of one mask against every one of the other."""
    predicted, true = surface(prediction), surface(truth)
    within = sum(
        min(math.dist(np.multiply(one, spacing), np.multiply(other, spacing)) for other in others) <= tolerance
        for own, others in ((predicted, true), (true, predicted))
        for one in own
    )
    return within / (len(predicted) + len(true))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("tolerance", [0.9, 1.0, 2.3])
@pytest.mark.parametrize("in_mm", [False, True])
def test_nsd_is_that_of_all_pairs_of_surface_voxels(dimensions: int, tolerance: float, in_mm: bool) -> None:
    rng = np.random.default_rng(dimensions)
    spacing = ANISOTROPIC[dimensions] if in_mm else None
    found = []
    for _ in range(8):
        prediction, truth = drawn(rng, dimensions), drawn(rng, dimensions)
        (value,) = score(prediction, truth, ("nsd",), spacing, nsd_tolerance=tolerance)
        found.append(value)
        expected = brute_nsd(prediction, truth, tolerance, spacing or (1.0,) * dimensions)
        assert value == pytest.approx(expected, rel=1e-12)
    assert len(set(found)) > 4


def test_nsd_by_hand() -> None:
    prediction, truth = np.zeros((2, 6, 12), bool)
    prediction[2, 2:5] = True
    truth[2, 4:9] = True  # distances to truth: 2, 1, 0; to the prediction: 0, 1, 2, 3, 4
    for tolerance, within in ((0.5, 2), (1, 4), (2, 6), (3.5, 7), (4, 8)):
        assert score(prediction, truth, ("nsd",), nsd_tolerance=tolerance) == [within / 8]
        assert score(truth, prediction, ("nsd",), nsd_tolerance=tolerance) == [within / 8]


def test_a_distance_equal_to_the_tolerance_but_for_rounding_is_within_it() -> None:
    prediction, truth = np.zeros((2, 3, 8), bool)
    prediction[1, 1], truth[1, 4] = True, True
    assert 3 * 0.1 > 0.3
    assert 3 * float(np.float32(0.1)) > 0.3
    for step in (0.1, float(np.float32(0.1))):
        assert score(prediction, truth, ("nsd",), (1.0, step), nsd_tolerance=0.3) == [1.0]
    assert score(prediction, truth, ("nsd",), (1.0, 0.1001), nsd_tolerance=0.3) == [0.0]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_distances_in_mm_are_medpys(dimensions: int) -> None:
    rng, spacing = np.random.default_rng(5), ANISOTROPIC[dimensions]
    for _ in range(20):
        prediction, truth = drawn(rng, dimensions), drawn(rng, dimensions)
        expected = [metric(prediction, truth, voxelspacing=spacing) for metric in (medpy.hd95, medpy.asd)]
        np.testing.assert_allclose(score(prediction, truth, ("95hd", "asd"), spacing), expected, rtol=1e-12)


def test_each_axis_has_its_own_spacing() -> None:
    spacing = (0.5, 2.0, 7.0)
    for axis in range(3):
        prediction, truth = np.zeros((2, 5, 6, 7), bool)
        prediction[1, 1, 1] = truth[tuple(1 + 3 * (a == axis) for a in range(3))] = True
        assert score(prediction, truth, ("95hd", "asd"), spacing) == [3 * spacing[axis]] * 2


def test_a_spacing_counts_only_in_mm_and_must_be_there() -> None:
    rng = np.random.default_rng(6)
    prediction, truth = drawn(rng, 3), drawn(rng, 3)
    in_voxels = Measurement(metrics=("95hd", "asd"))
    assert score_case(prediction, truth, in_voxels, (0.5, 2.0, 7.0)) == score_case(prediction, truth, in_voxels, None)
    with pytest.raises(ValueError, match="need a spacing"):
        score_case(prediction, truth, Measurement(metrics=("asd",), distance_unit="mm"), None)


# --------------------------------------------------------------------------------------------------------- empty masks

EMPTY, SOME = np.zeros((3, 4, 12), bool), np.zeros((3, 4, 12), bool)
SOME[1, 1:3, 2:5] = True
ONE_EMPTY = [(EMPTY, SOME), (SOME, EMPTY)]


@pytest.mark.parametrize("metric", ["dsc", "jaccard", "nsd", "precision", "recall"])
def test_a_share_is_1_where_both_masks_are_empty_and_0_where_one_is(metric: MetricName) -> None:
    assert score(EMPTY, EMPTY, (metric,), nsd_tolerance=1) == [1.0]
    for prediction, truth in ONE_EMPTY:
        assert score(prediction, truth, (metric,), nsd_tolerance=1) == [0.0]


def test_an_undefined_distance_is_left_out_or_the_diagonal_of_the_image() -> None:
    distances = ("95hd", "asd")
    for prediction, truth in [*ONE_EMPTY, (EMPTY, EMPTY)]:
        assert score(prediction, truth, distances) == [None, None]
        assert score(prediction, truth, distances, undefined_distances="left-out") == [None, None]
    for prediction, truth in ONE_EMPTY:
        assert score(prediction, truth, distances, undefined_distances="worst") == [pytest.approx(13)] * 2
        values = score(prediction, truth, distances, (4.0, 3.0, 7.0), undefined_distances="worst")
        assert values == [pytest.approx(math.sqrt(12**2 + 12**2 + 84**2))] * 2
    assert score(EMPTY, EMPTY, distances, undefined_distances="worst") == [0.0, 0.0]
    flat = score(np.zeros((30, 40), bool), np.ones((30, 40), bool), ("asd",), undefined_distances="worst")
    assert flat == [pytest.approx(50)]


def test_worst_changes_no_distance_between_two_surfaces() -> None:
    rng = np.random.default_rng(7)
    prediction, truth = drawn(rng, 3), drawn(rng, 3)
    assert score(prediction, truth, ("95hd", "asd"), undefined_distances="worst") == score(
        prediction, truth, ("95hd", "asd")
    )


# ------------------------------------------------------------------------------------------------ precision and recall


def test_precision_and_recall_by_hand() -> None:
    prediction, truth = np.zeros((2, 5, 9), bool)
    truth[1:4, 1:4], prediction[1:4, 3:5] = True, True  # 9 and 6 pixels, 3 in both
    assert score(prediction, truth, ("precision", "recall")) == [3 / 6, 3 / 9]
    disjoint = np.roll(prediction, 3, axis=1)
    assert score(disjoint, truth, ("precision", "recall")) == [0.0, 0.0]


def test_dsc_is_the_harmonic_mean_of_precision_and_recall() -> None:
    rng = np.random.default_rng(8)
    for _ in range(10):
        prediction, truth = drawn(rng, 2), drawn(rng, 2)
        dsc, precision, recall = score(prediction, truth, ("dsc", "precision", "recall"))
        assert precision == sum((prediction & truth).ravel()) / sum(prediction.ravel())
        assert dsc == pytest.approx(2 * precision * recall / (precision + recall) if precision + recall else 0)


# --------------------------------------------------------------------------------------------------------------- speed


def test_distances_are_computed_once_for_all_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, transform = [], scipy.ndimage.distance_transform_edt

    def counting(*arguments: object, **options: object) -> np.ndarray:
        calls.append(1)
        return np.asarray(transform(*arguments, **options))

    monkeypatch.setattr(scipy.ndimage, "distance_transform_edt", counting)
    rng = np.random.default_rng(9)
    prediction, truth = drawn(rng, 3), drawn(rng, 3)
    for asked, count in ((("precision", "recall"), 0), (("nsd",), 2), (("asd", "nsd", "95hd"), 2)):
        calls.clear()
        score(prediction, truth, asked, nsd_tolerance=1)
        assert len(calls) == count


def test_every_order_of_all_metrics_gives_the_same_values() -> None:
    rng = np.random.default_rng(10)
    prediction, truth = drawn(rng, 3), drawn(rng, 3)
    names = ("nsd", "asd", "95hd", "dsc")
    alone = {name: score(prediction, truth, (name,), nsd_tolerance=1)[0] for name in names}
    for order in itertools.permutations(names):
        assert score(prediction, truth, order, nsd_tolerance=1) == [alone[name] for name in order]
