"""No metric of a card is cut without a word, and one that runs are scored by is shown."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from handwritten import METHODS, write_run

from ssl_bench.cards import load_grid
from ssl_bench.grids.aim import Target
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.tables import TableReport, paper_table
from ssl_bench.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def report(store: Store, card: Path, *metrics: str, **settings: Any) -> TableReport:
    """A table with these metrics on its card, of MT on isic."""
    card.write_text(
        f'kind = "table"\ntitle = "t"\nmetrics = {list(metrics)}\n[[columns]]\ndataset = "isic"\nlabeled = "5%"\n'
        '[[rows]]\ntitle = "MT"\nmethod = "mt"\n'
    )
    target = Target(protocol="mini", settings=settings)
    return paper_table(load_grid("table", str(card)), target, store.runs(), METHODS, ShownOptions())


def left_out(found: TableReport) -> list[str]:
    return [note for table in found.tables for note in table.notes if note.startswith("Not shown: ")]


def test_a_metric_that_the_data_set_is_not_scored_by_is_named_with_what_to_do(store: Store, tmp_path: Path) -> None:
    write_run(store, "mt", 1, [0.5, 0.7])
    found = report(store, tmp_path / "own.toml", "dsc", "jaccard", "95hd", "asd")
    assert [name for name in found.tables[0].headings if "[" in name] == ["DSC [%]", "Jaccard [%]"]
    (note,) = left_out(found)
    assert note.startswith("Not shown: 95HD, ASD, by which not every data set here is scored (isic: DSC, Jaccard).")
    assert "`ssl-bench score RUN --metrics 95hd,asd`" in note
    words = shlex.split(note.split("`")[3])
    assert words == ["--set", 'metrics=["dsc", "jaccard", "95hd", "asd"]']


def test_a_metric_that_a_setting_asks_for_is_shown(store: Store, tmp_path: Path) -> None:
    write_run(store, "mt", 1, [3.0, 4.0], metric="95hd")
    found = report(store, tmp_path / "own.toml", "95hd", metrics=["95hd"])
    assert [name for name in found.tables[0].headings if "[" in name] == ["95HD [px]"]
    assert [str(cell) for cell in found.tables[0].rows[0][:2]] == ["MT", "3.50"]
    assert left_out(found) == []


def test_a_metric_that_a_run_is_scored_by_is_shown(store: Store, tmp_path: Path) -> None:
    write_run(store, "mt", 1, [3.0, 4.0], metric="95hd")
    found = report(store, tmp_path / "own.toml", "95hd")
    assert [str(cell) for cell in found.tables[0].rows[0][:2]] == ["MT", "3.50"]


def test_a_table_without_a_metric_in_common_says_what_it_shows(store: Store, tmp_path: Path) -> None:
    (note,) = left_out(report(store, tmp_path / "own.toml", "95hd"))
    assert "(isic: DSC, Jaccard). DSC is shown instead. " in note
