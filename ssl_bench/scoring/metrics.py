"""The metrics of a predicted mask, and the clean-up that keeps each class's largest component."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import numpy as np

from ssl_bench.cards import METRICS, Measurement, Metric
from ssl_bench.errors import UserError
from ssl_bench.plugins import function_hash, keep_track

Spacing = tuple[float, ...]  # mm along each axis
Function = Callable[["Masks"], float | None]


class Masks:
    """A predicted mask and the true one, (*spatial) bool, with the quantities that metrics share, computed once."""

    def __init__(
        self, prediction: np.ndarray, truth: np.ndarray, measurement: Measurement, spacing: Spacing | None
    ) -> None:
        if measurement.distance_unit != "mm":
            spacing = None
        elif spacing is None:
            raise ValueError("distances in mm need a spacing")
        box = _box(prediction | truth)  # both masks are empty outside, which affects no metric
        self.prediction, self.truth = prediction[box], truth[box]
        self.overlap = int(np.count_nonzero(self.prediction & self.truth))
        self.predicted, self.true = (int(np.count_nonzero(mask)) for mask in (self.prediction, self.truth))
        self.shape, self.measurement, self.spacing = truth.shape, measurement, spacing

    @property
    def has_distances(self) -> bool:
        """Whether distances between the masks are defined: neither mask is empty."""
        return bool(self.predicted and self.true)

    @property
    def without_distances(self) -> float | None:
        """Value of a distance if a mask is empty: None, or by the measurement 0 (both empty) or the diagonal (one)."""
        if self.measurement.undefined_distances != "worst":
            return None
        return math.hypot(*np.multiply(self.shape, self.spacing or 1)) if self.predicted or self.true else 0.0

    @cached_property
    def surfaces(self) -> tuple[np.ndarray, np.ndarray]:
        """Surfaces of prediction and truth: voxels with a face neighbour that is background or outside the image."""
        from scipy.ndimage import binary_erosion  # here, and below: a process that scores nothing does not import it

        prediction, truth = (mask ^ binary_erosion(mask) for mask in (self.prediction, self.truth))
        return prediction, truth

    @cached_property
    def to_truth(self) -> np.ndarray:
        """Distance from each voxel of the prediction's surface to the truth's surface."""
        return _distances(*self.surfaces, self.spacing)

    @cached_property
    def to_prediction(self) -> np.ndarray:
        """Distance from each voxel of the truth's surface to the prediction's surface."""
        return _distances(*self.surfaces[::-1], self.spacing)


def score_case(
    prediction: np.ndarray, truth: np.ndarray, measurement: Measurement, spacing: Spacing | None
) -> list[float | None]:
    """Compare two masks by each metric of a measurement; None where a metric is undefined.

    Args:
        prediction: (*spatial) bool.
        truth: (*spatial) bool.
        measurement: the metrics, in the order of the result, and their parameters.
        spacing: distance in mm between neighbouring voxels along each axis; needed where distances are in mm.

    """
    masks = Masks(prediction, truth, measurement, spacing)
    return [FUNCTIONS[metric](masks) for metric in measurement.metrics]


def register_metric(metric: Metric) -> Callable[[Function], Function]:
    """Add a metric under its name (function decorator); the function returns None where the metric is undefined.

    Raises:
        UserError: there is a metric of this name.
    """

    def register(function: Function) -> Function:
        if metric.name in METRICS:
            raise UserError(f"{function.__code__.co_filename}: metric '{metric.name}' is already defined")
        METRICS[metric.name] = replace(metric, source=function_hash(function)[:16])
        FUNCTIONS[metric.name] = function
        return function

    return register


def dice(masks: Masks) -> float:
    """2|A & B| / (|A| + |B|); 1 where both masks are empty, 0 where one is."""
    return _share(2 * masks.overlap, masks.predicted + masks.true, masks)


def jaccard(masks: Masks) -> float:
    """|A & B| / |A | B|; 1 where both masks are empty, 0 where one is."""
    return _share(masks.overlap, masks.predicted + masks.true - masks.overlap, masks)


def precision(masks: Masks) -> float:
    """Share of the prediction that is in the truth; 1 where both masks are empty, 0 where one is, as DSC."""
    return _share(masks.overlap, masks.predicted, masks)


def recall(masks: Masks) -> float:
    """Share of the truth that is in the prediction; 1 where both masks are empty, 0 where one is, as DSC."""
    return _share(masks.overlap, masks.true, masks)


def hausdorff_95(masks: Masks) -> float | None:
    """95th percentile of the distances from either surface to the other, both directions together, as in medpy."""
    if not masks.has_distances:
        return masks.without_distances
    return float(np.percentile(np.concatenate((masks.to_truth, masks.to_prediction)), 95))


def average_surface_distance(masks: Masks) -> float | None:
    """Mean distance from the prediction's surface to the truth's, not the other way round, as in medpy."""
    return float(masks.to_truth.mean()) if masks.has_distances else masks.without_distances


def surface_dice(masks: Masks) -> float:
    """Share of both surfaces' voxels that lie within the tolerance of the other surface (NSD).

    Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy" (2021), weight
    surface elements by their area; this counts surface voxels, as MONAI's `compute_surface_dice` does. 1 where both
    masks are empty, 0 where one is, as "Metrics Reloaded" (Maier-Hein, Reinke et al., 2024) advises. A distance that
    exceeds the tolerance by rounding alone (a file's spacing can be in single precision) is within the tolerance.
    """
    tolerance = masks.measurement.nsd_tolerance
    assert tolerance is not None, "held by the card"
    if not masks.has_distances:
        return 0.0 if masks.predicted or masks.true else 1.0
    distances = np.concatenate((masks.to_truth, masks.to_prediction))
    return float(np.mean(distances <= tolerance * (1 + 1e-6)))


def _share(part: int, whole: int, masks: Masks) -> float:
    """`part / whole`; if the whole is empty, 1 if both masks are empty and otherwise 0."""
    return part / whole if whole else float(not (masks.predicted or masks.true))


FUNCTIONS: dict[str, Function] = {name: globals()[metric.function] for name, metric in METRICS.items()}


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Keep the largest connected component of a mask (*spatial) bool; voxels that share a corner are connected.

    Of equally large ones the first in array order is kept; an empty mask stays empty.
    """
    from skimage.measure import label

    kept = np.zeros_like(mask)
    box = _box(mask)
    numbers = label(mask[box])  # numbered from 1 in array order
    sizes = np.bincount(numbers.ravel())[1:]
    if len(sizes):
        kept[box] = numbers == 1 + sizes.argmax()
    return kept


def keep_largest_components(labels: np.ndarray, classes: int) -> np.ndarray:
    """Keep the largest component of every foreground class; the rest becomes background.

    Args:
        labels: (*spatial) uint8, class numbers.
        classes: number of classes, background included.

    Returns:
        (*spatial) uint8.

    """
    kept = np.zeros_like(labels)
    for number in range(1, classes):
        kept[largest_component(labels == number)] = number
    return kept


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around a mask (*spatial) bool; all of an empty one."""
    box: tuple[slice, ...] = ()
    for axis, side in enumerate(mask.shape):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        occupied = np.logical_or.reduce(mask[box], axis=others)
        box += (slice(int(occupied.argmax()), side - int(occupied[::-1].argmax())),)
    return box


def _distances(surface: np.ndarray, other: np.ndarray, spacing: Spacing | None) -> np.ndarray:
    """Distance from each voxel of a surface, in array order, to the other surface; both (*spatial) bool, not empty."""
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~other, sampling=spacing, return_distances=False, return_indices=True)
    steps = nearest[:, surface] - np.nonzero(surface)  # faster than a distance map of all voxels
    if spacing is not None:
        steps = steps * np.array(spacing)[:, None]
    distances: np.ndarray = np.sqrt((steps**2).sum(0))
    return distances


keep_track(lambda: METRICS, lambda name, _: FUNCTIONS[name].__module__)
keep_track(lambda: FUNCTIONS, lambda _, function: function.__module__)
