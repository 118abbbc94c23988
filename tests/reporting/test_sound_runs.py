"""Which runs a report leaves out, and that the rest of it stands: distinct runs, equal test cases, missing seeds."""

from pathlib import Path
from typing import Any

import pytest
from handwritten import METHODS, cases_file, write_run

from ssl_bench.cards import load_grid
from ssl_bench.grids.aim import Target
from ssl_bench.reporting.figures import paper_figure
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.publish import write_html
from ssl_bench.reporting.runs import comparison_table
from ssl_bench.reporting.sound_runs import sound_runs
from ssl_bench.reporting.tables import TableReport, paper_table
from ssl_bench.store import Store

MINI = Target(protocol="mini")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def report(store: Store, number: int = 4, **target: Any) -> TableReport:
    asked = Target(**({"protocol": "mini", "settings": {"metrics": ["dsc"]}} | target))
    return paper_table(load_grid("table", str(number)), asked, store.runs(), METHODS, ShownOptions())


def notes(found: TableReport, start: str) -> list[str]:
    return [note for table in found.tables for note in table.notes if note.startswith(start)]


def measured(found: TableReport, row: str) -> str:
    (line,) = [line for line in found.tables[0].rows if line[0] == row]
    return str(line[found.tables[0].headings.index("DSC [%] measured")])


# --------------------------------------------------------------------------------------------------- other test cases


def test_a_run_of_other_test_cases_is_left_out_of_its_cell_and_the_report_stands(store: Store, tmp_path: Path) -> None:
    write_run(store, "mt", 1, [0.1, 0.1])  # the first run is the odd one
    write_run(store, "mt", 2, [0.5, 0.5, 0.5])
    write_run(store, "mt", 3, [0.7, 0.7, 0.7])
    write_run(store, "ucmt", 1, [0.25, 0.25, 0.25])
    found = report(store)
    assert measured(found, "MT").startswith("60.00 ± 14.14")  # of 50 and 70 alone
    assert measured(found, "UCMT") == "25.00"
    (note,) = notes(found, "Left out")
    odd, first = (next(run for run in store.runs() if run.spec.method == "mt" and run.spec.seed == s) for s in (1, 2))
    assert f"{odd.path}: expected the 3 test cases of {first.path}, found 2, 2 of them in common" in note
    assert odd.path not in {run.path for run in found.runs}
    assert write_html([found], tmp_path / "site") == 6


def test_of_equally_many_runs_those_with_the_cases_of_the_other_cells_stay(store: Store) -> None:
    write_run(store, "mt", 1, [0.1, 0.1])
    write_run(store, "mt", 2, [0.5, 0.5, 0.5])
    write_run(store, "cps", 1, [0.7, 0.7, 0.7])
    assert measured(report(store), "MT") == "50.00"


def test_every_cell_keeps_runs_of_one_set_of_cases_and_says_so_of_every_other(store: Store) -> None:
    for seed in range(1, 6):
        write_run(store, "mt", seed, [0.5] * (2 if seed < 4 else seed))
    ((kept,), reasons) = sound_runs([store.runs()])
    assert [run.spec.seed for run in kept] == [1, 2, 3]
    assert len(reasons) == 2
    assert sound_runs([[]]) == ([[]], {})


def test_the_table_after_training_stands_without_a_run_of_other_test_cases(store: Store) -> None:
    for seed, scores in ((1, [0.5, 0.5]), (2, [0.7, 0.7]), (3, [0.1])):
        write_run(store, "mt", seed, scores)
    runs = store.runs()
    table = comparison_table(runs, {"mt": "MT"}, runs[0].headline.measurement)
    assert table.rows[0][2:4] == ["60.00 ± 14.14", "2"]
    assert any(note.startswith("Left out: ") for note in table.notes)


# ------------------------------------------------------------------------------------------------------ damaged runs


@pytest.mark.parametrize("kind", ["altered", "other cases"])
def test_the_seed_of_a_run_that_is_left_out_is_among_the_missing_runs(store: Store, kind: str) -> None:
    for method in ("mt", "cps"):
        for seed in (4, 5):
            write_run(store, method, seed, [0.5, 0.5])
    write_run(store, "mt", 7, [0.5, 0.5] if kind == "altered" else [0.5])
    if kind == "altered":
        damaged = cases_file(next(run.path for run in store.runs() if run.spec.seed == 7))
        damaged.write_text(damaged.read_text() + "\n")
    found = report(store)
    assert len(notes(found, "Left out")) == 1
    commands = notes(found, "missing runs: ")
    assert commands
    assert all("--seeds 4,5,7" in command for command in commands)
    (mt,) = [command for command in commands if "mt," in command]
    assert "--methods supervised,mt,cps" in mt


# ------------------------------------------------------------------------------------------------------ distinct runs


def test_a_run_that_several_columns_show_is_counted_once(store: Store, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        write_run(store, "supervised", seed, [0.9, 0.9], labeled=1815)
        write_run(store, "ucmt", seed, [0.5, 0.5], hyper={"k": 2, "r": 16})
    found = report(store, 5)
    assert len(found.runs) == len({run.path for run in found.runs}) == 6
    figure = paper_figure(load_grid("figure", "1"), MINI, store.runs(), METHODS, ShownOptions())
    assert len(figure.runs) == len({run.path for run in figure.runs})
    write_html([found, figure], tmp_path / "site")
    page = (tmp_path / "site/figure-1.html").read_text()
    assert all(page.count(f'href="runs/{run.path.name}.html"') == 1 for run in figure.runs)


def test_the_statistics_have_a_row_for_runs_that_several_columns_share(store: Store) -> None:
    for seed in (1, 2, 3):
        write_run(store, "supervised", seed, [0.9, 0.8 + 0.01 * seed], labeled=1815)
        for method in ("mt", "ucmt"):
            write_run(store, method, seed, [0.5, 0.6 - 0.02 * seed])
    found = report(store, 1)  # its upper line stands in a column with runs and in one without
    titles = [str(row[0]) for row in found.statistics.rows]
    assert titles.count("Supervised, 100%") == 1
    assert len(set(titles)) == len(titles)


def test_the_oracle_has_a_row_for_runs_that_several_columns_share(store: Store, tmp_path: Path) -> None:
    card = tmp_path / "own.toml"
    columns = "".join(
        f'[[columns]]\ntitle = "k = {k}"\ndataset = "isic"\nlabeled = "5%"\nsettings = {{ k = {k} }}\n' for k in (1, 2)
    )
    rows = "".join(f'[[rows]]\ntitle = "{name}"\nmethod = "{name}"\n' for name in ("mt", "ucmt"))
    card.write_text(f'kind = "table"\ntitle = "t"\n{columns}{rows}')
    settings = {"metrics": ["dsc"], "score_every": 10}
    write_run(store, "mt", 1, [0.5, 0.5], curve=[0.4, 0.6])
    for k in (1, 2):
        write_run(store, "ucmt", 1, [0.5, 0.5], curve=[0.4, 0.7], hyper={"k": k})
    target = Target(protocol="mini", settings=settings)
    found = paper_table(load_grid("table", str(card)), target, store.runs(), METHODS, ShownOptions())
    where = [[str(cell) for cell in row[:2]] for row in found.tables[-1].rows]
    assert where == [["mt", "isic 5%"], ["ucmt", "k = 1 isic 5%"], ["ucmt", "k = 2 isic 5%"]]
