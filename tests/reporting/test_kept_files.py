"""A file of one run that cannot be read is named, and everything else is shown."""

from pathlib import Path

import pytest
from handwritten import METHODS, write_run

from ssl_bench.cards import load_grid
from ssl_bench.errors import UserError
from ssl_bench.grids.aim import Target
from ssl_bench.reporting.figures import paper_figure
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.run_pages import run_page
from ssl_bench.reporting.tables import paper_table
from ssl_bench.store import Store

CURVES = "iteration,disagreement,entropy\n10,0.5,0.4\n20,0.25,0.2\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for seed in (1, 2):
        folder = store.folder(write_run(store, "mt", seed, [0.5, 0.75], curve=[0.4])).path
        (folder / "curves.csv").write_text(CURVES)
    return store


def spoil(store: Store, name: str, content: bytes) -> Path:
    path = store.runs()[0].path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"iteration,entropy\n10,bad\n", b"step,entropy\n10,1\n"])
def test_damaged_curves_are_named_and_those_of_the_other_seeds_drawn(store: Store, content: bytes) -> None:
    path = spoil(store, "curves.csv", content)
    target = Target(protocol="mini", settings={"score_every": 10, "metrics": ["dsc"]})
    found = paper_figure(load_grid("figure", "1"), target, store.runs(), METHODS, ShownOptions())
    (note,) = [note for note in found.notes if note.startswith("Not shown: /")]
    assert note.startswith(f"Not shown: {path}: cannot be read (")
    assert any(list(line.get_ydata()) == [0.5, 0.25] for axis in found.figure.axes for line in axis.lines)
    page = run_page(store.runs()[0])
    assert page.notes == (note,)
    assert [len(table.rows) for table in page.tables] == [2]


@pytest.mark.parametrize(("number", "name"), [("4", "examples.npz"), ("5", "moments-1.npz")])
def test_damaged_pictures_are_named_and_the_figure_stands(store: Store, number: str, name: str) -> None:
    write_run(store, "ucmt", 1, [0.5, 0.75], curve=[0.4])
    run = next(run for run in store.runs() if run.spec.method == "ucmt")
    (run.path / name).write_bytes(b"not a picture")
    target = Target(protocol="mini", settings={"score_every": 10, "metrics": ["dsc"]})
    found = paper_figure(load_grid("figure", number), target, store.runs(), METHODS, ShownOptions())
    assert any(note.startswith(f"Not shown: {run.path / name}: cannot be read") for note in found.notes)


def test_a_damaged_test_curve_is_named_and_the_table_stands(store: Store) -> None:
    path = spoil(store, "test_curve.csv", b"iteration,dsc\n10,?\n")
    target = Target(labeled=("5%",), protocol="mini", settings={"score_every": 10, "metrics": ["dsc"]})
    found = paper_table(load_grid("table", "4"), target, store.runs(), METHODS, ShownOptions())
    assert len(found.tables[-1].rows) == 1  # the oracle, of the other seed
    assert any(f"Not shown: {path}: " in note for table in found.tables for note in table.notes)


def test_python_is_told_what_is_wrong_with_the_curves(store: Store) -> None:
    path = spoil(store, "curves.csv", b"iteration,entropy\n10,bad\n")
    with pytest.raises(UserError) as caught:
        _ = store.runs()[0].curves
    assert str(caught.value) == (
        f"{path}: cannot be read (expected numbers, among them iteration; found text in entropy)"
    )
