"""Every fault once or twice; `nox -s faults` tries them many times."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import FAULTS, NotPossibleError
from workplace import Workplace


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    place.end()


IN_EACH_SUITE = ("disk full",)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in IN_EACH_SUITE else pytest.mark.slow)
        for name, (_, times, _) in FAULTS.items()
        if times
    ],
)
def test_a_fault_costs_nothing(name: str, workplace: Workplace) -> None:
    fault, times, _ = FAULTS[name]
    try:
        assert fault(workplace, times) == times
    except NotPossibleError as error:
        pytest.skip(str(error))
