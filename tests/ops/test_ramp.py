"""The Gaussian ramp-up against its formula."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_bench.ops import gaussian_ramp_up

LENGTHS = st.floats(0.5, 1e6)
ITERATIONS = st.floats(0, 2e6)


@pytest.mark.parametrize("length", [1, 7, 1135.0, 11350])
def test_below_the_length_it_is_the_papers_formula(length: float) -> None:
    for t in np.linspace(0, length, 53):
        expected = np.exp(np.float64(-5) * (1 - np.float64(t) / np.float64(length)) ** 2)
        assert gaussian_ramp_up(float(t), length) == pytest.approx(expected, rel=1e-12)


def test_it_starts_at_exp_minus_5() -> None:
    assert gaussian_ramp_up(0, 100) == pytest.approx(0.006737946999085467, rel=1e-12)


def test_halfway_is_exp_minus_five_quarters() -> None:
    assert gaussian_ramp_up(50, 100) == pytest.approx(0.2865047968601901, rel=1e-12)


@pytest.mark.parametrize("iteration", [100, 101, 10**9])
def test_from_the_length_on_it_is_one(iteration: int) -> None:
    assert gaussian_ramp_up(iteration, 100) == 1.0


@settings(deadline=None, max_examples=200)
@given(first=ITERATIONS, second=ITERATIONS, length=LENGTHS)
def test_it_never_falls_and_stays_within_0_and_1(first: float, second: float, length: float) -> None:
    low, high = gaussian_ramp_up(min(first, second), length), gaussian_ramp_up(max(first, second), length)
    assert 0 < low <= high <= 1
