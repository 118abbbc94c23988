"""A metric is one record and one function; a user's metric is one file."""

from pathlib import Path

import pytest
from conftest import Call, write_dataset

from ssl_bench.cards import METRICS
from ssl_bench.scoring import metrics as module
from ssl_bench.store import Store

RUN = ["--methods", "supervised", "--dataset", "kvasir", "--labeled", "2", "--protocol", "tiny", "--device", "cpu"]
FILE = '''
"""Share of the smallest box around both masks in which they differ."""

from ssl_bench.scoring import Masks, Metric, register_metric


@register_metric(Metric("wrong", "Wrong", "share", larger_is_better=False))
def wrong(masks: Masks) -> float:
    return float((masks.prediction != masks.truth).mean()) if masks.truth.size else 0.0
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a metric in one file, which is registered during the test alone."""
    monkeypatch.setattr(module, "METRICS", METRICS)
    for registry in (METRICS, module.FUNCTIONS):
        monkeypatch.setitem(registry, "wrong", None)  # is there no more when the test ends
        del registry["wrong"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "wrong.py").write_text(FILE)
    return tmp_path / "mine"


def test_a_users_metric_stands_in_a_runs_scores_and_in_its_table(folder: Path, call: Call, tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", "kvasir", [f"c{number}" for number in range(9)])
    words = ["--set", 'metrics=["dsc","wrong"]', "--methods-dir", folder, "--iterations", "2"]
    code, out, err = call("run", *RUN, "--allow-partial", "--data-root", root, *words)
    assert code == 0, err
    assert "Wrong [%]" in out
    (run,) = Store(Path("results")).runs()
    values = run.headline.cases.groupby("network")["wrong"].mean()
    mean = run.headline.summary["network"]["wrong"]["mean"]
    assert 0 < mean == pytest.approx(values["network"])
    assert f"{100 * mean:.2f}" in out
    del METRICS["wrong"]  # as in a process that does not load the file: the rest of the run is shown
    (run,) = Store(Path("results")).runs()
    assert run.headline.measurement.metrics == ("dsc",)
    assert call("status")[0] == 0


def test_scores_by_an_edited_metric_are_not_mixed_with_those_from_before(
    folder: Path, call: Call, tmp_path: Path
) -> None:
    root = write_dataset(tmp_path / "data", "kvasir", [f"c{number}" for number in range(9)])
    text = FILE.replace("float((masks.prediction != masks.truth).mean()) if masks.truth.size else 0.0", "0.25")
    (folder / "wrong.py").write_text(text)
    words = ["--set", 'metrics=["dsc","wrong"]', "--methods-dir", folder, "--iterations", "2"]
    place = ["--allow-partial", "--data-root", root]
    assert call("run", *RUN, *place, *words, "--seeds", "1")[0] == 0
    weights = [run.path / "weights.safetensors" for run in Store(Path("results")).runs()]
    before = [path.stat().st_mtime_ns for path in weights]
    (folder / "wrong.py").write_text(text.replace("0.25", "0.75"))
    code, out, err = call("run", *RUN, *place, *words, "--seeds", "1,2")
    assert code == 0, err
    assert "75.00 ± 0.00" in out
    assert [path.stat().st_mtime_ns for path in weights] == before  # scored again, not trained again
    table = ['kind = "table"', 'title = "Mine"', 'metrics = ["wrong"]', 'rows = [{ method = "supervised" }]']
    Path("mine.toml").write_text("\n".join([*table, 'columns = [{ dataset = "kvasir", labeled = "2" }]']) + "\n")
    out = call("report", "--table", "mine.toml", "--protocol", "tiny", *words)[1]
    assert "75.00 ± 0.00" in out


def test_a_metric_that_is_there_is_not_replaced(folder: Path, call: Call) -> None:
    (folder / "wrong.py").write_text(FILE.replace('"wrong", "Wrong"', '"dsc", "Mine"'))
    code, _, err = call("run", *RUN, "--methods-dir", folder)
    assert (code, err) == (2, f"error: {folder / 'wrong.py'}: metric 'dsc' is already defined\n")


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
