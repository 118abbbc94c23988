"""Forest plots: every mark and interval where its number says, nothing where there is none, words apart."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from tidy import assert_tidy

from ssl_bench.reporting.canvas import render
from ssl_bench.reporting.draw_forest import Estimate, Forest, ForestRow, forest_figure
from ssl_bench.reporting.looks import FIELD

NAN, INF = float("nan"), float("inf")
ROWS = (
    ForestRow("Supervised", "supervised", Estimate(70.0, (68.0, 72.5)), 69.1),
    ForestRow("MT", "mt", Estimate(74.0, (71.0, 77.0)), 76.2, Estimate(4.0, (-0.5, 8.5)), significant=False),
    ForestRow("UCMT", "ucmt", Estimate(80.0, (79.0, 81.0)), None, Estimate(10.0, (7.0, 13.0)), significant=True),
    ForestRow("CPS", "cps", Estimate(75.0), None, Estimate(5.0)),
)
FOREST = Forest("Kvasir-SEG, 10%", "DSC [%]", ROWS, "Supervised", Estimate(86.0, (85.0, 87.2)), "Supervised, 100%")


def marks(axis: Axes) -> dict[int, list[tuple[float, str]]]:
    """Per row: where marks stand, and their shapes."""
    found: dict[int, list[tuple[float, str]]] = {}
    for line in axis.lines:
        if line.get_marker() not in ("None", None, ""):
            ((x,), (y,)) = line.get_data()
            found.setdefault(int(y), []).append((float(x), str(line.get_marker())))
    return found


def intervals(axis: Axes) -> dict[int, tuple[float, float]]:
    """Per row: the ends of its interval, which is the only line of the row in data coordinates without a mark."""
    plain = [line for line in axis.lines if line.get_marker() == "None" and line.get_transform() == axis.transData]
    rows = [line for line in plain if len(set(line.get_ydata())) == 1]
    return {int(line.get_ydata()[0]): (line.get_xdata()[0], line.get_xdata()[1]) for line in rows}


def words(axis: Axes) -> list[tuple[float, str]]:
    """Texts in the rows of a panel."""
    return [(text.xy[1], text.get_text()) for text in axis.texts]  # type: ignore[attr-defined]


def test_means_intervals_and_published_numbers_stand_in_their_rows() -> None:
    left, _ = forest_figure(FOREST).axes
    assert [label.get_text() for label in left.get_yticklabels()] == [row.label for row in ROWS]
    assert marks(left) == {
        0: [(70.0, "o"), (69.1, "D")],
        1: [(74.0, "o"), (76.2, "D")],
        2: [(80.0, "o")],
        3: [(75.0, "o")],
    }
    assert intervals(left) == {0: (68.0, 72.5), 1: (71.0, 77.0), 2: (79.0, 81.0)}
    assert left.get_ylim() == (3.5, -0.5)  # the first row on top
    assert left.get_xlabel() == "DSC [%]"
    low, high = left.get_xlim()
    assert low < 68
    assert high > 87.2


def test_the_upper_line_is_one_band_over_all_rows() -> None:
    left, _ = forest_figure(FOREST).axes
    (band,) = left.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((85.0, 87.2))  # type: ignore[attr-defined]
    assert (band.get_y(), band.get_height()) == (0, 1)  # type: ignore[attr-defined]
    assert [line.get_xdata()[0] for line in left.lines if list(line.get_ydata()) == [0, 1]] == [86.0]
    without = forest_figure(replace(FOREST, upper=Estimate(86.0))).axes[0]
    assert not without.patches


def test_differences_stand_beside_a_line_at_zero_and_only_significant_ones_are_filled() -> None:
    _, right = forest_figure(FOREST).axes
    assert marks(right) == {1: [(4.0, "s")], 2: [(10.0, "s")], 3: [(5.0, "x")]}
    assert intervals(right) == {1: (-0.5, 8.5), 2: (7.0, 13.0)}
    assert [list(line.get_xdata()) for line in right.lines if list(line.get_ydata()) == [0, 1]] == [[0, 0]]
    fills = {int(line.get_ydata()[0]): str(line.get_markerfacecolor()) for line in right.lines if is_square(line)}
    assert fills == {1: "#ffffff", 2: FIELD["ucmt"].colour}
    assert words(right) == [(0, "baseline")]
    assert right.get_xlabel().splitlines() == ["difference to Supervised", "← worse · better →"]
    smaller = forest_figure(replace(FOREST, larger_is_better=False)).axes[1]
    assert smaller.get_xlabel().endswith("← better · worse →")


def is_square(line: Line2D) -> bool:
    return line.get_marker() == "s"


def test_rows_have_the_colours_of_their_methods() -> None:
    for axis in forest_figure(FOREST).axes:
        for line in axis.lines:
            if line.get_marker() in ("o", "s", "x"):
                row = ROWS[int(line.get_ydata()[0])]
                assert to_hex(line.get_color()) == FIELD[row.style_key].colour


def test_what_is_missing_or_not_finite_is_not_drawn() -> None:
    rows = (
        ForestRow("a", mean=Estimate(1.0, (NAN, 2.0)), published=NAN, difference=Estimate(1.0, (0.0, INF))),
        ForestRow("b", mean=Estimate(NAN, (1.0, 2.0)), published=INF, difference=Estimate(NAN)),
        ForestRow("c"),
        ForestRow("d", published=3.0),
    )
    left, right = forest_figure(Forest("t", "DSC", rows, upper=Estimate(NAN, (0.0, 9.0)))).axes
    assert marks(left) == {0: [(1.0, "o")], 3: [(3.0, "D")]}
    assert marks(right) == {0: [(1.0, "x")]}
    assert intervals(left) == intervals(right) == {}
    assert not left.patches
    assert words(left) == [(1, "no value"), (2, "no value")]
    assert words(right) == [(1, "no value"), (2, "no value"), (3, "no value")]


def test_without_differences_there_is_one_panel() -> None:
    (axis,) = forest_figure(replace(FOREST, rows=ROWS[:1])).axes
    assert marks(axis) == {0: [(70.0, "o"), (69.1, "D")]}


def test_the_legend_names_what_is_drawn_and_nothing_else() -> None:
    def legend(figure: Figure) -> list[str]:
        return [text.get_text() for text in figure.legends[0].get_texts()]

    assert legend(forest_figure(FOREST)) == [
        "mean, 95 % interval", "published", "difference, significant", "difference, significance not shown",
        "difference, not tested", "Supervised, 100%",
    ]  # fmt: skip
    assert legend(forest_figure(Forest("t", "DSC", ROWS[2:3]))) == ["mean, 95 % interval", "difference, significant"]
    empty = forest_figure(Forest("t", "DSC", ()))
    assert not empty.legends
    assert [text.get_text() for text in empty.axes[0].texts] == ["no run"]
    assert not list(empty.axes[0].get_xticks())


NAMES = ["a_method_of_a_very_long_name and more of it (U-Net)", "Supervised", "x" * 99, "", "a_$x$ {b} <i> & 5% ^c \\d"]


@pytest.mark.parametrize("width", [7.0, 3.5])
@pytest.mark.parametrize("count", [0, 1, 12])
def test_words_keep_apart(count: int, width: float) -> None:
    rng = np.random.default_rng(count)
    rows = []
    for number in range(count):
        mean, half = rng.uniform(60, 90), rng.uniform(0, 5)
        changes: dict[str, Any] = {"significant": [True, False, None][number % 3]}
        if number % 5 != 2:
            changes["mean"] = Estimate(mean, (mean - half, mean + half))
            changes["difference"] = Estimate(60 - mean, (60 - mean - half, 60 - mean + half))
        rows.append(ForestRow(NAMES[number % 5] or f"m{number}", published=mean + 1, **changes))
    title = "A data set of a long name with more words than fit into one line, 10% labelled, " * 2
    figure = forest_figure(Forest(title, "DSC [%]", tuple(rows), "x" * 99, Estimate(95.0, (94.0, 96.0))), width)
    assert figure.get_figwidth() == width
    assert_tidy(figure)


def test_the_same_input_gives_the_same_bytes() -> None:
    first = {kind: render(forest_figure(FOREST), kind) for kind in ("svg", "png")}  # type: ignore[arg-type]
    figure = forest_figure(FOREST)
    assert {kind: render(figure, kind) for kind in ("png", "svg")} == first  # type: ignore[arg-type]


@pytest.mark.parametrize("sign", [1, -1])
def test_notes_stand_on_the_side_of_zero_that_has_space(sign: int) -> None:
    rows = (ForestRow("a"), ForestRow("b", difference=Estimate(5.0 * sign, (4.0 * sign, 6.0 * sign))))
    figure = forest_figure(Forest("t", "DSC", rows, "a"))
    figure.draw_without_rendering()
    right = figure.axes[1]
    (note,) = right.texts
    box, panel = note.get_window_extent(), right.get_window_extent()
    assert panel.x0 <= box.x0 <= box.x1 <= panel.x1
