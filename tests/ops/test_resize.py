"""Labels of smaller maps against the pixels that they stand for."""

import pytest
import torch

from ssl_bench.ops import IGNORED, nearest_labels

CASES = [((8, 6), (4, 3)), ((8, 8, 4), (2, 4, 1)), ((7, 5), (3, 2)), ((4, 4), (4, 4))]


@pytest.mark.parametrize(("sides", "small"), CASES)
def test_each_pixel_has_the_label_of_the_first_pixel_that_it_covers(
    sides: tuple[int, ...], small: tuple[int, ...]
) -> None:
    labels = torch.randint(0, 4, (2, *sides))
    labels.view(-1)[::3] = IGNORED
    found = nearest_labels(labels, torch.zeros(2, 5, *small))
    assert found.shape == (2, *small)
    assert found.dtype == torch.int64
    for place in torch.cartesian_prod(*(torch.arange(side) for side in small)).tolist():
        covered = [int(one * side / few) for one, side, few in zip(place, sides, small, strict=True)]
        assert torch.equal(found[(slice(None), *place)], labels[(slice(None), *covered)])
