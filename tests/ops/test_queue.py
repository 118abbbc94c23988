"""The feature queue against one deque per class."""

from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_bench.ops import FeatureQueue


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 6), pushes=st.lists(st.integers(0, 12), max_size=6))
def test_each_class_keeps_its_latest_vectors_in_order(seed: int, size: int, pushes: list[int]) -> None:
    generator, queue = torch.Generator().manual_seed(seed), FeatureQueue(3, size, 2)
    expected: list[deque[tuple[float, ...]]] = [deque(maxlen=size) for _ in range(3)]
    for number in pushes:
        features = torch.randn(number, 2, generator=generator)
        labels = torch.randint(-1, 5, (number,), generator=generator)  # -1, 3 and 4 are of no class
        queue.push(features, labels)
        for vector, label in zip(features.tolist(), labels.tolist(), strict=True):
            if 0 <= label < 3:
                expected[label].append(tuple(vector))
    assert queue.count.tolist() == [len(one) for one in expected]
    for c in range(3):
        vectors = queue.features[c][queue.filled[c]]
        assert {tuple(v) for v in vectors.tolist()} == set(expected[c])
        assert queue.features[c][~queue.filled[c]].count_nonzero() == 0


def test_no_gradient_enters_and_any_type_does() -> None:
    queue, features = FeatureQueue(2, 3, 4), torch.ones(2, 4, dtype=torch.bfloat16, requires_grad=True)
    queue.push(features, torch.tensor([0, 1]))
    assert not queue.features.requires_grad
    assert queue.count.tolist() == [1, 1]
    assert queue.features.sum() == 8


def test_a_restored_queue_goes_on_where_it_was() -> None:
    first, second = FeatureQueue(2, 3, 1), FeatureQueue(2, 3, 1)
    first.push(torch.arange(5.0).unsqueeze(1), torch.tensor([0, 0, 0, 0, 1]))
    second.load_state_dict(first.state_dict())
    for queue in (first, second):
        queue.push(torch.tensor([[9.0]]), torch.tensor([0]))
    assert torch.equal(first.features, second.features)
    assert sorted(first.features[0].flatten().tolist()) == [2.0, 3.0, 9.0]


@pytest.mark.parametrize("size", [1, 4])
def test_nothing_pushed_changes_nothing(size: int) -> None:
    queue = FeatureQueue(2, size, 3)
    queue.push(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    assert queue.count.tolist() == [0, 0]
