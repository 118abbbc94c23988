"""A metric is one entry of METRICS and one function: nothing else has to know its name."""

from pathlib import Path

import pytest
from conftest import Call, write_dataset

from ssl_bench.cards import METRICS, Metric
from ssl_bench.scoring import metrics as module
from ssl_bench.scoring.metrics import Masks
from ssl_bench.store import Store

RUN = ["--methods", "supervised", "--dataset", "kvasir", "--labeled", "2", "--protocol", "tiny", "--device", "cpu"]


def wrong(masks: Masks) -> float:
    """Share of the smallest box around both masks in which they differ."""
    return float((masks.prediction != masks.truth).mean()) if masks.truth.size else 0.0


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric that is there during a test."""
    entry = Metric("wrong", "Wrong", "share", "wrong", larger_is_better=False, always_defined=True)
    monkeypatch.setitem(METRICS, "wrong", entry)
    monkeypatch.setattr(module, "wrong", wrong, raising=False)


@pytest.mark.usefixtures("added")
def test_a_new_metric_stands_in_a_runs_scores_and_in_its_table(call: Call, tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", "kvasir", [f"c{number}" for number in range(9)])
    metrics = ["--set", 'metrics=["dsc","wrong"]']
    code, out, err = call("run", *RUN, "--allow-partial", "--data-root", root, "--iterations", "2", *metrics)
    assert code == 0, err
    assert "Wrong [%]" in out
    (run,) = Store(Path("results")).runs()
    values = run.headline.cases.groupby("network")["wrong"].mean()
    mean = run.headline.summary["network"]["wrong"]["mean"]
    assert 0 < mean == pytest.approx(values["network"])
    assert f"{100 * mean:.2f}" in out


def test_a_metric_that_is_not_there_is_one_line_with_those_that_are(call: Call) -> None:
    code, _, err = call("run", *RUN, "--set", 'metrics=["dsc","wrong"]')
    assert code == 2
    assert len(err.splitlines()) == 1
    assert f"metrics.1: expected one of {', '.join(METRICS)}, found 'wrong'" in err


def test_nsd_by_set_on_a_card_without_a_tolerance_is_one_line(call: Call) -> None:
    code, _, err = call("run", *RUN, "--set", 'metrics=["dsc","nsd"]')
    assert code == 2
    expected = "error: --set metrics: nsd needs nsd_tolerance (in px) on the card of kvasir, which has none"
    assert err.splitlines() == [expected]


def test_every_metric_has_its_function_and_a_name_of_its_own() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
    functions = [metric.function for metric in METRICS.values()]
    assert len(set(functions)) == len(functions)
    assert all(callable(getattr(module, function)) for function in functions)
