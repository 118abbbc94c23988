"""The metrics of a predicted mask, and the clean-up that keeps each class's largest component."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt
from skimage.measure import label

from ssl_bench.cards import METRICS, MetricName


class Masks:
    """A predicted mask and the true one, (*spatial) bool, with the quantities that metrics share, computed once."""

    def __init__(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        box = _box(prediction | truth)  # outside it both masks are empty, which no metric sees
        self.prediction, self.truth = prediction[box], truth[box]
        self.overlap = np.count_nonzero(self.prediction & self.truth)
        self.predicted, self.true = np.count_nonzero(self.prediction), np.count_nonzero(self.truth)

    @property
    def has_distances(self) -> bool:
        """Whether there is a distance from one to the other: neither is empty."""
        return bool(self.predicted and self.true)

    @cached_property
    def surfaces(self) -> tuple[np.ndarray, np.ndarray]:
        """The prediction's and the truth's: voxels with a neighbour across a face that is background or outside."""
        prediction, truth = (mask ^ binary_erosion(mask) for mask in (self.prediction, self.truth))
        return prediction, truth

    @cached_property
    def to_truth(self) -> np.ndarray:
        """Distance from each voxel of the prediction's surface to the truth's surface."""
        return _distances(*self.surfaces)

    @cached_property
    def to_prediction(self) -> np.ndarray:
        """Distance from each voxel of the truth's surface to the prediction's surface."""
        return _distances(*self.surfaces[::-1])


def score_case(prediction: np.ndarray, truth: np.ndarray, metrics: Sequence[MetricName]) -> list[float | None]:
    """Compare two masks (*spatial) bool by each metric; None where a metric is undefined."""
    masks = Masks(prediction, truth)
    return [globals()[METRICS[metric].function](masks) for metric in metrics]  # a function of this module


def dice(masks: Masks) -> float:
    """2|A & B| / (|A| + |B|); 1 where both masks are empty."""
    both = masks.predicted + masks.true
    return 2 * masks.overlap / both if both else 1.0


def jaccard(masks: Masks) -> float:
    """|A & B| / |A | B|; 1 where both masks are empty."""
    both = masks.predicted + masks.true
    return masks.overlap / (both - masks.overlap) if both else 1.0


def hausdorff_95(masks: Masks) -> float | None:
    """95th percentile of the distances from either surface to the other, both directions together, as in medpy."""
    if not masks.has_distances:
        return None
    return float(np.percentile(np.concatenate((masks.to_truth, masks.to_prediction)), 95))


def average_surface_distance(masks: Masks) -> float | None:
    """Mean distance from the prediction's surface to the truth's, not the other way round, as in medpy."""
    return float(masks.to_truth.mean()) if masks.has_distances else None


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Keep the largest connected component of a mask (*spatial) bool: what lies in one piece, corners touching.

    Of equally large ones the first in array order is kept; an empty mask stays empty.
    """
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
        classes: how many there are, background included.

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


def _distances(surface: np.ndarray, other: np.ndarray) -> np.ndarray:
    """From each voxel of one surface, in array order, to the nearest of the other; both (*spatial) bool, not empty."""
    nearest = distance_transform_edt(~other, return_distances=False, return_indices=True)
    steps = nearest[:, surface] - np.nonzero(surface)  # quicker than the distances of the voxels nobody asks for
    distances: np.ndarray = np.sqrt((steps**2).sum(0))
    return distances
