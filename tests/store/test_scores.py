"""Scores per case are read back as they were written, or not at all."""

from pathlib import Path

import pytest
from handwritten import write_run

from ssl_bench.errors import UserError
from ssl_bench.store import Run, Store

WHOLE = "network,case,class,dsc\nteacher,NA,lesion,0.5\nteacher,001,lesion,\nteacher,01,lesion,0.25\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run on three cases, of which the second is undefined; mean DSC 0.375."""
    store = Store(tmp_path)
    spec = write_run(store, "mt", 1, [0.5, None, 0.25])
    found = store.find(spec)
    assert found is not None
    del found.result["scores"]["student2"]
    return found


def test_ids_and_undefined_values_are_read_back_as_they_are(run: Run) -> None:
    # "NA" and "001" are ids like any other; pandas takes them for a missing value and a number.
    (run.path / "cases.csv").write_text(WHOLE)
    assert run.cases["case"].tolist() == ["NA", "001", "01"]
    assert run.cases["dsc"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "cannot be read (No columns to parse from file)"),
        ("network,case,class,dsc\n", "expected the scores of teacher on 3 cases, 1 a case; found 0 on 0"),
        (WHOLE.rpartition("teacher")[0], "expected the scores of teacher on 3 cases, 1 a case; found 2 on 2"),
        (WHOLE.replace("001", "01"), "expected the scores of teacher on 3 cases, 1 a case; found 3 on 2"),
        (WHOLE.replace("dsc", "jaccard"), "cannot be read ('dsc')"),
        (WHOLE.replace("0.25", "0.2"), "the mean dsc of teacher is 0.35, where run.json says 0.375"),
        (WHOLE.replace("0.5", "").replace("0.25", ""), "the mean dsc of teacher is None, where run.json says 0.375"),
        (WHOLE.replace("0.25", "0.2x"), "cannot be read ("),
        (WHOLE + "teacher,1,2,3,4,5,6\n", "cannot be read ("),
    ],
)
def test_scores_that_are_not_those_of_the_description_are_refused(run: Run, content: str, reason: str) -> None:
    path = run.path / "cases.csv"
    path.write_text(content)
    with pytest.raises(UserError) as refused:
        run.require_whole()
    assert str(refused.value).startswith(f"{path}: {reason}")


def test_a_run_without_its_scores_is_refused(run: Run) -> None:
    (run.path / "cases.csv").unlink()
    with pytest.raises(UserError, match=r"cases\.csv: cannot be read \(No such file or directory\)"):
        run.require_whole()


def test_curves_that_cannot_be_read_are_named(run: Run) -> None:
    with pytest.raises(UserError, match=r"curves\.csv: cannot be read"):
        run.curves  # noqa: B018
    (run.path / "test_curve.csv").touch()
    with pytest.raises(UserError, match=r"test_curve\.csv: cannot be read"):
        run.test_curve  # noqa: B018
