"""The faults that tools/mutants.py plants are still where it looks for them."""

import importlib.util
import sys

import pytest
from conftest import REPOSITORY

SPEC = importlib.util.spec_from_file_location("mutants", REPOSITORY / "tools" / "mutants.py")
assert SPEC is not None
assert SPEC.loader is not None
MODULE = importlib.util.module_from_spec(SPEC)
sys.modules["mutants"] = MODULE  # dataclasses look their module up
SPEC.loader.exec_module(MODULE)


@pytest.mark.parametrize("mutant", MODULE.MUTANTS, ids=[mutant.name for mutant in MODULE.MUTANTS])
def test_the_line_of_a_fault_stands_once_in_its_file_and_its_tests_exist(mutant: "MODULE.Mutant") -> None:
    assert (REPOSITORY / mutant.path).read_text(encoding="utf-8").count(mutant.old) == 1
    assert all((REPOSITORY / test.partition("::")[0]).exists() for test in mutant.tests.split())
