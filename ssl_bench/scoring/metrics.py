"""What compares a predicted mask with the true one, and the clean-up that keeps each class's largest component."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt
from skimage.measure import label

from ssl_bench.cards import Metric


def score_case(prediction: np.ndarray, truth: np.ndarray, metrics: Sequence[Metric]) -> list[float | None]:
    """Compare two masks (*spatial) bool by each metric.

    DSC = 2|A & B| / (|A| + |B|) and Jaccard = |A & B| / |A | B|, as fractions; 95HD and ASD in pixels (voxels), as
    medpy defines them: 95HD is the 95th percentile of the distances from either surface to the other, both directions
    together; ASD the mean distance from the prediction's surface to the truth's alone. Both masks empty: DSC and
    Jaccard are 1, distances undefined (None); one empty: DSC and Jaccard 0, distances undefined.
    """
    box = _box(prediction | truth)  # outside it both masks are empty, which no metric sees
    prediction, truth = prediction[box], truth[box]
    overlap = np.count_nonzero(prediction & truth)
    predicted, true = np.count_nonzero(prediction), np.count_nonzero(truth)
    values: dict[str, float | None] = {
        "dsc": 2 * overlap / (predicted + true) if predicted + true else 1.0,
        "jaccard": overlap / (predicted + true - overlap) if predicted + true else 1.0,
        "95hd": None,
        "asd": None,
    }
    if predicted and true and ("95hd" in metrics or "asd" in metrics):
        # A surface: the voxels that lose a neighbour across a face, the array's border counting as background.
        predicted_surface, true_surface = (mask ^ binary_erosion(mask) for mask in (prediction, truth))
        to_truth = _distances(predicted_surface, true_surface)
        values["asd"] = float(to_truth.mean())
        if "95hd" in metrics:
            to_prediction = _distances(true_surface, predicted_surface)
            values["95hd"] = float(np.percentile(np.concatenate((to_truth, to_prediction)), 95))
    return [values[metric] for metric in metrics]


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
