"""Scores per case are read back as they were written, or not at all."""

import hashlib
from pathlib import Path

import pytest
from handwritten import cases_file, write_run

from ssl_bench.errors import UserError
from ssl_bench.store import Run, Store
from ssl_bench.store.scores import read_cases

WHOLE = "network,case,class,dsc\nteacher,NA,lesion,0.5\nteacher,001,lesion,\nteacher,01,lesion,0.25\n"


def test_ids_and_undefined_values_are_read_back_as_they_are() -> None:
    # "NA" and "001" are ids like any other; pandas takes them for a missing value and a number.
    cases = read_cases(WHOLE.encode(), hashlib.sha256(WHOLE.encode()).hexdigest(), "a file")
    assert cases["case"].tolist() == ["NA", "001", "01"]
    assert cases["dsc"].isna().tolist() == [False, True, False]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run on three cases, of which the second is undefined; mean DSC 0.375."""
    store = Store(tmp_path)
    found = store.find(write_run(store, "mt", 1, [0.5, None, 0.25]))
    assert found is not None
    return found


@pytest.mark.parametrize("change", ["", "0.25 to 0.26", "a row less", "a space more"])
def test_scores_that_are_not_those_that_were_written_are_refused(run: Run, change: str) -> None:
    path = cases_file(run.path)
    text = path.read_text()
    changed = {
        "": "", "0.25 to 0.26": text.replace("0.25", "0.26"), "a row less": text.rpartition("teacher")[0],
        "a space more": text + " ",
    }[change]  # fmt: skip
    assert changed != text
    path.write_text(changed)
    with pytest.raises(UserError) as refused:
        run.require_whole()
    assert str(refused.value) == f"{path}: altered since it was written: its SHA-256 is not the one in run.json"


def test_a_run_without_its_scores_is_refused(run: Run) -> None:
    cases_file(run.path).unlink()
    with pytest.raises(UserError, match=r"cases-\w+\.csv: cannot be read \(No such file or directory\)"):
        run.require_whole()


def test_curves_that_cannot_be_read_are_named(run: Run) -> None:
    with pytest.raises(UserError, match=r"curves\.csv: cannot be read"):
        run.curves  # noqa: B018
    (run.path / "test_curve.csv").touch()
    with pytest.raises(UserError, match=r"test_curve\.csv: cannot be read"):
        run.test_curve  # noqa: B018
