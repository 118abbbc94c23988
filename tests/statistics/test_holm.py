"""Holm's correction against the example worked by hand, its definition and the step-down procedure."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_bench.statistics.holm import holm


def test_holm_equals_the_example_worked_by_hand() -> None:
    # 0.005 x 4, 0.01 x 3, 0.03 x 2, then 0.04 x 1, which must not fall below the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_of_some_of_a_family_starts_at_its_number_of_tests() -> None:
    assert holm([0.01, 0.001], tests=10) == pytest.approx([0.09, 0.01])


def test_holm_of_none_of_one_and_of_large_p_values() -> None:
    assert holm([]) == []
    assert holm([0.3]) == [0.3]
    assert holm([0.9, 0.8]) == [1, 1]


P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.01, 0.02, 0.5])), max_size=12)


@settings(max_examples=50, deadline=None)
@given(P_VALUES)
def test_holm_equals_its_definition(p_values: list[float]) -> None:
    ordered = sorted(p_values)
    by_definition = {
        p: min(1.0, max((len(ordered) - j) * ordered[j] for j in range(len(ordered)) if ordered[j] <= p))
        for p in p_values
    }
    assert holm(p_values) == pytest.approx([by_definition[p] for p in p_values])


@settings(max_examples=50, deadline=None)
@given(P_VALUES.filter(bool), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float], alpha: float) -> None:
    rejected = set()
    for step, number in enumerate(sorted(range(len(p_values)), key=lambda number: p_values[number])):
        if p_values[number] * (len(p_values) - step) > alpha:
            break
        rejected.add(number)
    assert {number for number, p in enumerate(holm(p_values)) if p <= alpha} == rejected


@settings(max_examples=50, deadline=None)
@given(P_VALUES.flatmap(lambda p_values: st.tuples(st.just(p_values), st.permutations(range(len(p_values))))))
def test_holm_raises_keeps_the_order_and_follows_a_permutation(case: tuple[list[float], list[int]]) -> None:
    p_values, order = case
    adjusted = holm(p_values)
    assert all(raw <= one <= 1 for raw, one in zip(p_values, adjusted, strict=True))
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert [one for _, one in pairs] == sorted(adjusted)
    assert holm([p_values[number] for number in order]) == [adjusted[number] for number in order]
