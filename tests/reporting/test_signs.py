"""Rows at their authors' settings and rows of reconstructed methods are told from the others in every format."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from handwritten import METHODS, write_run
from matplotlib.text import Text

from ssl_bench.cards import load_grid
from ssl_bench.grids.aim import Target
from ssl_bench.reporting.figures import paper_figure
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.publish import write_html
from ssl_bench.reporting.report import Report
from ssl_bench.reporting.table import FORMATS
from ssl_bench.reporting.tables import TableReport, paper_table
from ssl_bench.store import Store

OWN = {"lambda_max": 1.0, "rampup_epochs": "none"}
DECLARED = METHODS | {
    "cps": replace(METHODS["cps"], authors=OWN),
    "mt": replace(METHODS["mt"], authors={}),
    "ucmt": replace(METHODS["ucmt"], authors={"k": 4}, reconstructed=True),
}
WORDS = "§: reconstructed from its description (an abstract), since no code of its training was published: UCMT§"
SETTINGS = (
    "‡: at its authors' settings; a row without ‡ is at the protocol's. CPS‡: lambda_max = 1.0, rampup_epochs = none; "
    "UCMT§‡: k = 4."
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Runs at the common settings and at those of the authors, each with its own score."""
    store = Store(tmp_path / "results")
    for seed in (1, 2, 3):
        write_run(store, "supervised", seed, [0.5 + seed / 100, 0.7])
        write_run(store, "cps", seed, [0.6 + seed / 100, 0.75])
        write_run(store, "cps", seed, [0.8 + seed / 50, 0.85], settings=OWN)
        write_run(store, "ucmt", seed, [0.65, 0.7 + seed / 100])
        write_run(store, "ucmt", seed, [0.625, 0.75 + seed / 50], hyper={"k": 4})
    return store


def target(tuned: Any) -> Target:
    return Target(protocol="mini", labeled=("5%",), settings={"metrics": ["dsc"]}, tuned=tuned)


def report(store: Store, tuned: str) -> TableReport:
    return paper_table(load_grid("table", "4"), target(tuned), store.runs(), DECLARED, ShownOptions())


def means(found: TableReport) -> dict[str, str]:
    (table,) = found.tables
    column = table.headings.index("DSC [%] measured")
    return {str(row[0]): str(row[column]).split(" ")[0] for row in table.rows if "no run" not in str(row[column])}


def test_each_row_has_the_runs_of_its_settings_alone(store: Store) -> None:
    common = {"Supervised": "61.00", "CPS": "68.50", "UCMT§": "68.50"}
    authors = {"CPS‡": "84.50", "UCMT§‡": "70.75"}
    assert means(report(store, "common")) == common
    assert means(report(store, "authors")) == {"Supervised": "61.00"} | authors
    assert means(report(store, "both")) == common | authors


def test_the_notes_say_which_rows_are_at_which_settings(store: Store) -> None:
    for tuned, expected in (("common", [f"{WORDS}."]), ("both", [f"{WORDS}, UCMT§‡.", SETTINGS])):
        (table,) = report(store, tuned).tables
        assert [note for note in table.notes if note[0] in "§‡"] == expected


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_the_signs_and_the_words(name: str, store: Store) -> None:
    text = FORMATS[name](report(store, "both").tables)
    signs = {"latex": ("CPS$\\ddagger$", "UCMT\\S{}$\\ddagger$")}.get(name, ("CPS‡", "UCMT§‡"))
    assert all(sign in text for sign in signs)
    assert text.count("CPS") > text.count(signs[0])  # the row at the common settings has no sign
    if name in ("markdown", "latex"):
        assert WORDS in text
        assert SETTINGS in text
    if name == "latex":  # and not in comments alone
        assert f"\\par\\footnotesize \\S{{}}{WORDS[1:-1]}" in text


def test_statistics_and_figures_name_the_rows_by_their_signs(store: Store, tmp_path: Path) -> None:
    found = report(store, "both")
    rows = [row["row"] for row in csv.DictReader(io.StringIO(found.statistics_csv))]
    assert {"CPS", "CPS‡", "UCMT§", "UCMT§‡"} <= set(rows)
    for table in (found.statistics, found.comparisons):
        assert {"CPS", "CPS‡"} <= {str(row[0]) for row in table.rows}
    assert all("CPS‡" in words(one.figure) for one in found.figures if one.name.startswith("forest"))
    assert found.figures
    shares = paper_figure(load_grid("figure", "1"), target("both"), store.runs(), DECLARED, ShownOptions())
    assert {"CPS", "CPS‡", "UCMT§", "UCMT§‡"} <= set(words(shares.figure))
    assert SETTINGS in shares.notes
    Report((found, shares)).write(tmp_path / "files")
    write_html([found, shares], tmp_path / "site")
    page = (tmp_path / "site" / "table-4.html").read_text()
    assert "reconstructed from its description" in page
    assert "CPS‡" in page


def words(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def test_the_baseline_is_the_row_at_the_protocols_settings(store: Store) -> None:
    grid = load_grid("table", "4").model_copy(update={"baseline": "cps"})
    found = paper_table(grid, target("both"), store.runs(), DECLARED, ShownOptions())
    (family,) = found.analysis.families.values()
    assert family.baseline == "CPS"
    assert family.best == "CPS‡"


def test_missing_runs_of_either_kind_have_commands_that_train_them(store: Store) -> None:
    (table,) = report(store, "both").tables
    everything = next(note for note in table.notes if "reproduce" in note)
    assert "--tuned both" in everything
    (table,) = report(Store(store.root.parent / "empty"), "authors").tables
    commands = [note for note in table.notes if "ssl-bench run" in note]
    own = "--methods cps --dataset isic --labeled 5% --protocol mini --seeds 1,2,3 --set lambda_max=1.0"
    assert any(f"{own} --set rampup_epochs=none" in command for command in commands)
    assert any("--methods ucmt" in command and "--set k=4" in command for command in commands)
    assert not any("cps" in command and "lambda_max" not in command for command in commands)


def test_a_cell_without_runs_names_those_at_other_settings(store: Store) -> None:
    for path in list((store.root / "runs" / "isic" / "cps").iterdir()):
        if '"lambda_max": 0.1' in (path / "run.json").read_text():
            path.rename(store.root.parent / path.name)
    (table,) = report(store, "common").tables
    assert "CPS" not in means(report(store, "common"))
    assert any(
        "3 finished runs of cps on isic with lambda_max=1.0, rampup_epochs=none" in note and "--tuned" in note
        for note in table.notes
    )
