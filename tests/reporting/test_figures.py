"""What the paper's figures say: why a picture is missing, intervals against scipy, and curves at equal updates."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from handwritten import METHODS, write_run
from matplotlib.text import Text

from ssl_bench.cards import RunSpec, load_grid
from ssl_bench.grids.aim import Target
from ssl_bench.reporting import curve_figures
from ssl_bench.reporting.draw_lines import Line, Panel
from ssl_bench.reporting.figures import FigureReport, paper_figure
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.publish import write_html
from ssl_bench.reporting.tables import paper_table
from ssl_bench.store import Example, Moment, Store, write_pictures

MASK = np.zeros((4, 4), np.uint8)
IMAGE = np.zeros((4, 4, 3), np.uint8)
SETTINGS: dict[str, Any] = {"metrics": ["dsc"]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def figure(store: Store, number: int, **target: Any) -> FigureReport:
    asked = Target(**({"datasets": ("isic",), "labeled": ("5%",), "protocol": "mini", "settings": SETTINGS} | target))
    return paper_figure(load_grid("figure", str(number)), asked, store.runs(), METHODS, ShownOptions())


def keep_picture(store: Store, spec: RunSpec) -> None:
    write_pictures(store.folder(spec).path / "examples.npz", [Example("0", "drawn", 0, IMAGE, MASK, MASK)])


def texts(found: FigureReport) -> list[str]:
    return [text.get_text() for text in found.figure.findobj(Text)]  # type: ignore[attr-defined]


def state(reports: list[Any], folder: Path) -> str:
    """The index page."""
    write_html(reports, folder)
    return (folder / "index.html").read_text()


# ------------------------------------------------------------------------------------------------- missing pictures


def test_runs_without_pictures_are_not_called_missing_runs(store: Store, tmp_path: Path) -> None:
    for method in ("supervised", "mt", "cps", "cmtv3", "ucmt"):
        write_run(store, method, 4, [0.5])
    for number, count in ((4, 5), (5, 1)):
        found = figure(store, number)
        assert found.missing == ()
        assert "no run" not in texts(found)
        assert "no picture" in texts(found)
        assert (found.is_empty, len(found.pictureless)) == (True, count)
        (note,) = [note for note in found.notes if note.startswith("No pictures in ")]
        assert note.startswith(f"No pictures in {count} run{'s' * (count > 1)} on isic: an export leaves them out.")
        assert "`ssl-bench results export FILE.zip --pictures`" in note
        page = state([found], tmp_path / str(number))
        folded = page.partition("<details>")[2].partition("</details>")[0]
        assert f"measured, by {count} run{'s' * (count > 1)} on isic (seed 4); {count} run" in folded
        assert "without pictures." in folded
        assert "complete" not in page


def test_the_command_that_makes_pictures_trains_what_lacks_them(store: Store) -> None:
    write_run(store, "mt", 4, [0.5])
    write_run(store, "cps", 4, [0.5])
    (note,) = [note for note in figure(store, 4).notes if note.startswith("Pictures are made by training")]
    words = shlex.split(note.split("`")[1])
    assert words[:8] == ["ssl-bench", "run", "--methods", "mt,cps", "--dataset", "isic", "--labeled", "5%"]
    assert words[8:12] == ["--protocol", "mini", "--seeds", "4"]
    assert words[-2:] == ["--results-root", "with-pictures"]


def test_each_method_without_a_picture_says_why(store: Store, tmp_path: Path) -> None:
    keep_picture(store, write_run(store, "mt", 1, [0.5]))
    keep_picture(store, write_run(store, "cps", 2, [0.5]))
    write_run(store, "ucmt", 1, [0.5])
    found = figure(store, 4)
    said = [axis.texts[0].get_text() if axis.texts else "" for axis in found.figure.axes]
    assert said == ["", "no run", "", "other seed", "no run", "no picture", ""]
    assert [run.spec.method for run in found.pictureless] == ["ucmt"]
    assert "runs and pictures are missing" in state([found], tmp_path / "site")


def test_a_method_that_makes_no_maps_is_not_told_to_import_them(store: Store) -> None:
    keep_picture(store, write_run(store, "ucmt", 1, [0.5]))
    (note,) = [note for note in figure(store, 5).notes if "maps" in note]
    assert note.startswith("No uncertainty maps in 1 run on isic, which have other pictures: ucmt makes none")


def test_a_cell_with_the_maps_of_one_seed_lacks_none(store: Store) -> None:
    spec = write_run(store, "ucmt", 2, [0.5])
    write_run(store, "ucmt", 1, [0.5])
    maps = np.zeros((4, 4), np.float16)
    write_pictures(store.folder(spec).path / "moments-3.npz", [Moment("0", 3, IMAGE, maps, IMAGE, maps)])
    found = figure(store, 5)
    assert (found.is_empty, found.pictureless) == (False, ())
    assert not any(note.startswith("No pictures") for note in found.notes)


# ------------------------------------------------------------------------------------------------------------ curves


def write_curves(store: Store, method: str, seed: int, entropy: dict[int, float], score: float = 0.5) -> None:
    folder = store.folder(write_run(store, method, seed, [score, score + 0.1, score - 0.2])).path
    rows = "".join(f"{iteration},{value},{value}\n" for iteration, value in entropy.items())
    (folder / "curves.csv").write_text(f"iteration,disagreement,entropy\n{rows}")


def panels_of(store: Store, monkeypatch: pytest.MonkeyPatch, **target: Any) -> tuple[FigureReport, list[Panel]]:
    given: list[Any] = []
    original = curve_figures.line_figure
    monkeypatch.setattr(curve_figures, "line_figure", lambda *own: given.append(own[0]) or original(*own))
    return figure(store, 1, **target), given[-1]


def test_the_caption_says_who_is_lowest_at_equal_updates(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_curves(store, "mt", 1, {10: 0.9, 20: 0.5, 30: 0.3, 40: 0.1})
    write_curves(store, "ucmt", 1, {10: 0.7, 20: 0.2})
    path = next(run.path for run in store.runs() if run.spec.method == "ucmt") / "run.json"
    path.write_text(
        path.read_text().replace('"iterations": 300, "spec"', '"iterations": 150, "spec"')
    )  # of 300 updates
    found, panels = panels_of(store, monkeypatch)
    entropy = [panel for panel in panels if panel.title.startswith("Uncertainty")]
    assert [panel.x_label for panel in entropy] == ["iteration", "update"]
    assert [list(line.x) for line in entropy[0].lines] == [[10, 20, 30, 40], [10, 20]]
    assert [list(line.x) for line in entropy[1].lines] == [[10, 20, 30, 40], [20, 40]]
    assert (
        "Lowest mean uncertainty: at equal numbers of iterations, UCMT at 2 of 2 points; at equal numbers of updates, "
        "MT at 2 of 2 points."
    ) in found.notes


def test_performance_has_the_intervals_of_the_tables(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (1, 2, 3):
        write_curves(store, "mt", seed, {10: 0.5}, 0.5 + 0.1 * seed)
        write_run(store, "supervised", seed, [0.8, 0.9, 0.7 + 0.05 * seed], labeled=1815)
    found, panels = panels_of(store, monkeypatch)
    table = paper_table(
        load_grid("table", "4"), Target(labeled=("5%",), protocol="mini", settings=SETTINGS), store.runs(), METHODS,
        ShownOptions(),
    )  # fmt: skip
    printed = {str(row[0]): str(row[table.tables[0].headings.index("95 % interval")]) for row in table.tables[0].rows}
    lines: dict[str, Line] = {line.label: line for line in panels[-1].lines}
    for name, line in lines.items():
        low, high = line.ends[:, 0]
        assert printed[name].startswith(f"{low:.2f} to {high:.2f}") or printed[name] == f"{low:.1f} to {high:.1f}"
    assert [line.is_level for line in lines.values()] == [False, True]
    assert any("the band is that of Supervised, 100%" in note for note in found.notes)
    assert any("95 % intervals of the mean over seeds by Student's t" in note for note in found.notes)
    assert not any("standard deviation" in note for note in found.notes)


def test_runs_without_curves_are_not_called_missing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write_run(store, "mt", 1, [0.5, 0.7])
    (store.folder(spec).path / "curves.csv").write_text("iteration,supervised\n10,0.5\n")
    found, panels = panels_of(store, monkeypatch)
    assert [panel.absent for panel in panels[:4]] == ["no curve"] * 4
    assert "No curves of two branches, since the method reports none: MT." in found.notes
    assert [panel.absent for panel in panels_of(Store(store.root / "none"), monkeypatch)[1]] == ["no run"] * 5


def test_the_figure_in_the_docs_is_a_card(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "tables-and-figures.md").read_text()
    example = text.partition("## A figure of your own")[2].partition("```toml\n")[2].partition("```")[0]
    path = tmp_path / "my.toml"
    path.write_text(example)
    assert [row.method for row in load_grid("figure", str(path)).rows] == ["mt", "mirror"]
