"""Turns: periods, their lengths, and that nothing but the iteration and the seed decides."""

import itertools
import random

import pytest
import torch

from ssl_bench.ops import whose_turn


def periods(longest: int, seed: int, iterations: int) -> list[int]:
    """Lengths of the periods, the last one, which may be cut off, left out."""
    turns = [whose_turn(iteration, longest=longest, seed=seed) for iteration in range(1, iterations + 1)]
    assert turns[0] == 0
    assert set(turns) <= {0, 1}
    return [len(list(group)) for _, group in itertools.groupby(turns)][:-1]


def test_of_periods_of_one_iteration_each_is_the_others_turn() -> None:
    assert [whose_turn(iteration, longest=1, seed=3) for iteration in range(1, 8)] == [0, 1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("longest", [2, 5, 19])
def test_all_lengths_up_to_the_longest_are_as_likely(longest: int) -> None:
    lengths = [length for seed in range(30) for length in periods(longest, seed, 300)]
    assert set(lengths) == set(range(1, longest + 1))
    expected = len(lengths) / longest
    chi_square = sum((lengths.count(n) - expected) ** 2 / expected for n in range(1, longest + 1))
    assert chi_square < longest + 5 * (2 * longest) ** 0.5


def test_seeds_have_periods_of_their_own() -> None:
    assert len({tuple(periods(19, seed, 200)) for seed in range(20)}) == 20
    assert periods(19, 2**63 + 5, 200) != periods(19, 5, 200)


def test_no_other_random_number_decides_or_is_drawn() -> None:
    random.seed(1)
    torch.manual_seed(1)
    expected = [whose_turn(iteration, longest=7, seed=9) for iteration in (5, 80, 33)]
    assert random.random() == random.Random(1).random()
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))
    assert [whose_turn(iteration, longest=7, seed=9) for iteration in (5, 80, 33)] == expected
