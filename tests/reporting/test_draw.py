"""Figures from plain data: the values in them, what is said where there are none, and the same bytes everywhere."""

import io
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from conftest import REPOSITORY
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image
from scipy import stats
from tidy import assert_tidy

from ssl_bench.reporting.canvas import render, style
from ssl_bench.reporting.draw import PicturedCase, PicturedMoments, example_figure, uncertainty_figure
from ssl_bench.reporting.draw_lines import Line, Panel, line_figure

RNG = np.random.default_rng(8)
NAN = float("nan")
AWKWARD = "a_$x$ {b} <i> & 5% ^c \\d"
METHODS = ["Supervised", "MT", "CPS", "CMT", "UCMT", "UCMT (U-Net)", "a_method_of_a_long_name and more"]


def panel(*lines: Line, **changes: Any) -> Panel:
    asked: dict[str, Any] = {"title": "t", "x_label": "x", "y_label": "y", "lines": lines} | changes
    return Panel(**asked)


def line(label: str, values: list[list[float]]) -> Line:
    return Line(label, np.arange(10.0, 10.0 * len(values[0]) + 10, 10.0), np.array(values))


def texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text)]  # type: ignore[attr-defined]


def pictures(axis: Axes) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for image in axis.get_images()]


# ------------------------------------------------------------------------------------------------------------ lines


def test_a_line_is_the_mean_over_seeds_and_its_band_the_t_interval() -> None:
    values = [[1.0, 2.0, NAN], [3.0, 2.0, 5.0], [8.0, 5.0, NAN]]
    (axis,) = line_figure([panel(line("MT", values))]).axes
    x, y = axis.lines[0].get_data()
    assert list(x) == [10, 20, 30]
    assert list(y) == pytest.approx([4, 3, 5])  # by hand; the third point has one seed
    (band,) = [one for one in axis.collections if isinstance(one, PolyCollection)]
    edges = {(float(px), round(float(py), 6)) for px, py in band.get_paths()[0].vertices}
    for place, own in ((10, [1, 3, 8]), (20, [2, 2, 5])):
        for end in stats.t.interval(0.95, 2, np.mean(own), stats.sem(own)):
            assert (place, round(float(end), 6)) in edges
    assert not any(place == 30 for place, _ in edges)  # one seed has no interval


def ends(axis: Axes) -> list[tuple[float, float]]:
    """Lower and upper ends of a panel's bars."""
    bars = [one for one in axis.collections if isinstance(one, LineCollection)]
    return [(float(s[0][1]), float(s[1][1])) for one in bars for s in one.get_segments() if len(s)]


def test_a_panel_with_ticks_has_its_labels_and_error_bars_that_stand_apart() -> None:
    lines = (line("UMIX", [[80.0, 90.0], [84.0, 91.0]]), line("CutMix", [[70.0, 75.0]]))
    asked = panel(*lines, ticks=((10.0, "5%"), (20.0, "10%")))
    (axis,) = line_figure([asked]).axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["5%", "10%"]
    first, second = [one for one in axis.lines if one.get_linestyle() != "None"]  # not the caps of the bars
    assert list(first.get_ydata()) == [82, 90.5]
    assert list(second.get_ydata()) == [70, 75]
    assert np.all(np.asarray(first.get_xdata()) < np.asarray(second.get_xdata()))
    expected = [stats.t.interval(0.95, 1, np.mean(own), stats.sem(own)) for own in ([80, 84], [90, 91])]
    assert np.array(ends(axis)) == pytest.approx(np.array(expected))


def test_given_ends_of_intervals_are_drawn_and_a_level_is_one_band_across() -> None:
    x, y = np.array([0.0, 1.0]), np.array([[80.0, 90.0]])
    points = Line("MT", x, y, "mt", np.array([[70.0, NAN], [95.0, NAN]]))  # not symmetric
    level = Line("Supervised, 100%", x, np.array([[85.0, 85.0]]), "", np.array([[84.0] * 2, [87.0] * 2]), is_level=True)
    (axis,) = line_figure([panel(points, level, ticks=((0.0, "5%"), (1.0, "10%")))]).axes
    assert ends(axis) == [(70.0, 95.0)]
    (band,) = axis.patches
    assert isinstance(band, Rectangle)
    assert (band.get_y(), band.get_y() + band.get_height()) == (84, 87)
    (across,) = [one for one in axis.lines if list(one.get_ydata()) == [85, 85]]
    assert across.get_marker() == "None"


def test_panels_stand_two_a_row_and_a_narrow_figure_is_as_wide_as_asked() -> None:
    figure = line_figure([panel(line("MT", [[1.0, 2.0]]))] * 5)
    assert len(figure.axes) == 5
    assert len({round(axis.get_position().x0, 3) for axis in figure.axes}) == 2
    assert len({round(axis.get_position().y0, 3) for axis in figure.axes}) == 3
    assert_tidy(figure)
    narrow = line_figure([panel(line("MT", [[1.0, 2.0]]), line("CPS", [[2.0, 1.0]]))], 3.6)
    assert narrow.get_figwidth() == 3.6
    with style():  # which chooses the ticks
        assert_tidy(narrow)


def test_every_method_has_a_colour_dash_and_marker_of_its_own_in_all_panels() -> None:
    names = [f"m{i}" for i in range(8)]
    lines = tuple(line(name, [[1.0, 2.0]]) for name in names)
    figure = line_figure([panel(*lines), panel(*lines[::-1])])
    looks: list[dict[Any, tuple[Any, ...]]] = []
    for axis, order in zip(figure.axes, (names, names[::-1]), strict=True):
        drawn = zip(order, axis.lines, strict=True)
        looks.append(
            {n: (to_hex(one.get_color()), one.get_linestyle(), one._dash_pattern, one.get_marker()) for n, one in drawn}
        )
    assert looks[0] == looks[1]
    for part in (0, 2, 3):
        assert len({str(look[part]) for look in looks[0].values()}) == 8
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names


def test_sixteen_methods_still_differ() -> None:
    lines = tuple(line(f"m{i}", [[1.0, 2.0]]) for i in range(16))
    (axis,) = line_figure([panel(*lines)]).axes
    looks = {(to_hex(one.get_color()), str(one._dash_pattern), one.get_marker()) for one in axis.lines}
    assert len(looks) == 16


@pytest.mark.parametrize(
    ("count", "names"), [(1, METHODS), (3, METHODS[:1]), (4, [f"a quite long title of method {i}" for i in range(7)])]
)
def test_words_of_a_line_figure_keep_apart(count: int, names: list[str]) -> None:
    lines = tuple(line(name, [[0.1 * i, 0.3, 0.2], [0.2, 0.5, 0.1]]) for i, name in enumerate(names))
    long = "Uncertainty over a title that goes on\ndemo (synthetic lesions), 5%"
    shares = panel(*lines, ticks=((10.0, "2%"), (20.0, "5%"), (30.0, "10%")), title=long)
    curves = panel(*(Line(one.label, one.x * 1000, one.y) for one in lines), title=long)
    figure = line_figure([curves, shares, panel(), curves][:count])
    assert_tidy(figure)
    box = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1


def test_an_empty_panel_says_why() -> None:
    assert "no curve" in texts(line_figure([panel(absent="no curve")]))
    figure = line_figure([panel(), panel(line("MT", [[1.0]]))])
    assert [text.get_text() for text in figure.axes[0].texts] == ["no run"]
    assert not figure.axes[1].texts
    assert not list(figure.axes[0].get_xticks())  # nor numbers that were not measured
    assert not list(figure.axes[0].get_yticks())
    assert "no run" in texts(line_figure([panel()]))


# --------------------------------------------------------------------------------------------------------- pictures


def example(label: str = "data\ncase", classes: int = 2, shape: tuple[int, int] = (20, 30)) -> PicturedCase:
    masks = [RNG.integers(0, classes, shape).astype(np.uint8) for _ in range(3)]
    image = RNG.integers(0, 256, (*shape, 3)).astype(np.uint8)
    return PicturedCase(label, image, masks[0], (masks[1], "no run", masks[2]), ("81.2", "", "7.0"))


DRAWN = example()


def test_an_example_shows_its_pictures_titles_and_scores_and_no_run_where_there_is_none() -> None:
    one, other = example(), example(shape=(40, 20), classes=3)
    figure = example_figure(["MT", "CPS", "UCMT"], [one, other])
    axes = np.array(figure.axes).reshape(2, 5)
    assert [axis.get_title() for axis in axes[0]] == ["(a) Image", "(b) MT", "(c) CPS", "(d) UCMT", "(e) Ground truth"]
    for row, shown in zip(axes, (one, other), strict=True):
        assert np.array_equal(pictures(row[0])[0], shown.image)
        assert np.array_equal(pictures(row[1])[0], shown.predictions[0])  # type: ignore[arg-type]
        assert np.array_equal(pictures(row[4])[0], shown.truth)
        assert not pictures(row[2])
        assert [text.get_text() for text in row[2].texts] == ["no run"]
        assert [axis.get_xlabel() for axis in row[1:4]] == ["81.2", "", "7.0"]
        assert row[0].get_ylabel() == shown.label


def test_the_truths_border_lies_on_each_prediction() -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[5:15, 5:15] = 1
    one = PicturedCase("x", np.zeros((20, 20), np.uint8), truth, (np.zeros((20, 20), np.uint8),), ("0.0",))
    axes = example_figure(["MT"], [one]).axes
    (border,) = axes[1].collections
    points = np.concatenate([path.vertices for path in border.get_paths()])
    assert points.min() == pytest.approx(4.5)
    assert points.max() == pytest.approx(14.5)
    assert not axes[2].collections  # the truth needs none


@pytest.mark.parametrize("value", [0, 1])
def test_a_truth_without_a_border_is_no_error(value: int) -> None:
    mask = np.full((8, 8), value, np.uint8)
    figure = example_figure(["MT"], [PicturedCase("x", np.zeros((8, 8), np.uint8), mask, (mask,), ("",))])
    assert render(figure, "png")


@pytest.mark.parametrize("whole", [False, True])
def test_ignored_pixels_are_hatched_and_never_background(whole: bool) -> None:
    truth = np.full((20, 24), 255 if whole else 0, np.uint8)
    truth[5:15, 8:16] = 255 if whole else 1
    truth[:, :5] = 255
    prediction = np.zeros_like(truth)
    prediction[:, 3:9] = 1
    figure = example_figure(["MT"], [PicturedCase("x", np.zeros((20, 24), np.uint8), truth, (prediction,), ("",))])
    axes = figure.axes
    assert np.array_equal(pictures(axes[1])[0], prediction)  # as predicted
    classes, grey = axes[2].get_images()
    assert np.array_equal(np.asarray(classes.get_array()), np.where(truth == 255, 0, truth))
    assert np.array_equal(~np.ma.getmaskarray(grey.get_array()), truth == 255)
    assert to_hex(grey.cmap(0)) == "#808080"
    for axis in axes[1:3]:
        hatched = axis.collections[-1]
        assert hatched.hatches == ["//////"]
        inside = [hatched.get_paths()[0].contains_point(place) for place in ((2.0, 10.0), (20.0, 3.0))]
        assert inside == [True, whole]
        assert (axis.get_xlim(), axis.get_ylim()) == ((-0.5, 23.5), (19.5, -0.5))
    borders = axes[1].collections[:-1]
    points = [path.vertices for border in borders for path in border.get_paths()]
    assert whole or np.concatenate(points)[:, 0].min() == pytest.approx(7.5)  # of class 1 alone
    assert whole == (not borders)
    assert all(render(figure, kind) for kind in ("png", "svg", "pdf"))


def test_classes_have_different_colours_whatever_is_in_a_mask() -> None:
    masks = [np.full((4, 4), value, np.uint8) for value in (0, 1, 2)]
    one = PicturedCase(
        "x", np.zeros((4, 4), np.uint8), np.arange(16, dtype=np.uint8).reshape(4, 4) % 3, tuple(masks), ("",) * 3
    )
    axes = example_figure(["a", "b", "c"], [one]).axes
    images = [axis.get_images()[0] for axis in axes[1:4]]
    colours = [to_hex(image.cmap(image.norm(np.asarray(image.get_array())))[0, 0]) for image in images]
    assert len(set(colours)) == 3
    assert colours[:2] == ["#000000", "#ffffff"]


def test_no_class_has_the_borders_colour() -> None:
    mask = np.repeat(np.arange(7, dtype=np.uint8), 2)[None].repeat(4, axis=0)
    axes = example_figure(["a"], [PicturedCase("x", np.zeros((4, 14), np.uint8), mask, (mask,), ("",))]).axes
    (image,) = axes[1].get_images()
    colours = {to_hex(colour) for colour in image.cmap(image.norm(np.arange(7)))}
    assert len(colours) == 7
    assert not colours & {to_hex(border.get_edgecolor()[0]) for border in axes[1].collections}


@pytest.mark.parametrize("count", [1, 7])
def test_words_of_rows_of_all_shapes_keep_apart(count: int) -> None:
    shapes = [(20, 30), (40, 20), (60, 20), (10, 40), (16, 16), (20, 25)]
    labels = ["la\n0RZDK210BSMWAA6467LU", "kvasir\ncju0qkwl35piu0993l0dewei2", "isic\nISIC_0012345", "x" * 99, "y", ""]
    examples = []
    for label, shape in zip(labels, shapes, strict=True):
        mask = RNG.integers(0, 2, shape).astype(np.uint8)
        predictions = tuple("no run" if i == 1 else mask for i in range(count))
        examples.append(PicturedCase(label, mask, mask, predictions, ("100.0",) * count))
    for rows in (examples, examples[3:4]):
        figure = example_figure(METHODS[-count:], rows)
        assert_tidy(figure)
        assert figure.get_size_inches()[0] <= 7.001
        heights = {round(axis.title.get_window_extent().y0) for axis in figure.axes[: count + 2]}
        assert max(heights) - min(heights) <= 3  # on one line, but for descenders


@pytest.mark.parametrize("stages", [1, 2])
def test_words_beside_uncertainty_maps_keep_apart(stages: int) -> None:
    shapes = [(20, 30), (40, 20), (16, 16)]
    examples = [
        PicturedMoments(
            "kvasir\ncju0qkwl35piu0993l0dewei2",
            np.zeros(shape, np.uint8),
            tuple((f"iteration {30000 * (i + 1)}", *[np.zeros(shape)] * 3) for i in range(stages)),
        )
        for shape in shapes
    ]
    assert_tidy(uncertainty_figure(examples))
    assert_tidy(uncertainty_figure(examples[:1]))


def test_rows_of_other_iterations_have_titles_of_their_own() -> None:
    def row(*iterations: int) -> PicturedMoments:
        maps = [np.zeros((8, 8))] * 3
        return PicturedMoments("x", np.zeros((8, 8), np.uint8), tuple((f"iteration {i}", *maps) for i in iterations))

    def titles(*rows: PicturedMoments) -> list[list[str]]:
        figure = uncertainty_figure(rows)
        assert_tidy(figure)
        columns = 1 + 3 * max(len(one.stages) for one in rows)
        found = [" ".join(axis.get_title().split()) for axis in figure.axes[: len(rows) * columns]]
        return [found[i : i + columns] for i in range(0, len(found), columns)]

    words = ["UMIX image", "its uncertainty"]
    early, late = ["iteration 3 uncertainty", *words], ["iteration 30 uncertainty", *words]
    assert titles(row(3, 30), row(3, 30)) == [["Image", *early, *late], [""] * 7]
    assert titles(row(3, 30), row(30)) == [["Image", *early, *late], ["Image", *late, "", "", ""]]
    assert titles(row(3), row(3, 30)) == [["Image", *early, "", "", ""], ["Image", *early, *late]]


def test_uncertainty_maps_stand_in_their_order_on_one_scale_with_their_means() -> None:
    maps = [RNG.uniform(0, 0.5, (16, 16)) for _ in range(4)]
    image, early, late = (RNG.integers(0, 256, (16, 16, 3)).astype(np.uint8) for _ in range(3))
    stages = (("iteration 3", maps[0], early, maps[1]), ("iteration 30", maps[2], late, maps[3]))
    figure = uncertainty_figure([PicturedMoments("x", image, stages), PicturedMoments("y", image, stages[:1])])
    axes = np.array(figure.axes[:14]).reshape(2, 7)
    for axis, shown in zip(axes[0], (image, maps[0], early, maps[1], maps[2], late, maps[3]), strict=True):
        assert np.array_equal(pictures(axis)[0], shown)
    for place, values in ((1, maps[0]), (3, maps[1]), (4, maps[2]), (6, maps[3])):
        assert axes[0][place].get_xlabel() == f"mean {values.mean():.3f}"
        assert axes[0][place].get_images()[0].get_clim() == (0, 1)
    assert "iteration 30" in axes[0][4].get_title()
    assert [axis.texts[0].get_text() for axis in axes[1][4:]] == ["no picture"] * 3


def test_no_examples_say_no_run() -> None:
    assert "no run" in texts(example_figure(["MT"], []))
    assert "no run" in texts(uncertainty_figure([]))
    for figure in (example_figure(["MT"], [], "no picture"), uncertainty_figure([], "no picture")):
        assert "no picture" in texts(figure)
        assert "no run" not in texts(figure)


def test_text_from_data_stands_as_it_is() -> None:
    lines = panel(line(AWKWARD, [[1.0, 2.0]]), title=AWKWARD)
    figures = [line_figure([lines]), example_figure([AWKWARD] * 3, [example()])]
    for figure in figures:
        assert any(AWKWARD in " ".join(text.split()) for text in texts(figure))
        ElementTree.fromstring(render(figure, "svg"))


def test_a_long_id_stands_on_two_lines_and_is_cut_after_them() -> None:
    def label(text: str) -> list[str]:
        return example_figure(["a"] * 3, [example(label=f"data\n{text}")]).axes[0].get_ylabel().splitlines()

    assert "".join(label("cju0qkwl35piu0993l0dewei2")) == "datacju0qkwl35piu0993l0dewei2"
    first, second, third = label("x" * 99)
    assert first == "data"
    assert set(second) == {"x"}
    assert third == "x" * (len(second) - 1) + "…"


# ------------------------------------------------------------------------------------------------------------ files

PROGRAM = """
import hashlib, numpy as np
from ssl_bench.reporting.canvas import render, style
from ssl_bench.reporting.draw import *
from ssl_bench.reporting.draw_lines import *
rng = np.random.default_rng(3)
lines = Panel("t", "x", "y", (Line("MT", np.arange(5.0), rng.random((3, 5))),))
mask = (rng.random((20, 30)) > 0.5).astype(np.uint8)
examples = [PicturedCase("a", (255 * rng.random((20, 30, 3))).astype(np.uint8), mask, (mask,), ("1.0",))]
maps = rng.random((16, 16))
moments = [PicturedMoments("a", mask, (("i", maps, mask, maps),))]
for figure in (line_figure([lines, lines]), example_figure(["MT"], examples), uncertainty_figure(moments)):
    for kind in ("png", "svg", "pdf"):
        print(hashlib.sha256(render(figure, kind)).hexdigest())
"""


@pytest.mark.slow
def test_bytes_do_not_depend_on_process_time_locale_or_settings(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(
        "figure.dpi: 40\nsavefig.dpi: 30\nfont.size: 30\naxes.grid: True\nsvg.fonttype: none\n"
    )
    found = []
    for extra in ({}, {"MATPLOTLIBRC": str(tmp_path), "SOURCE_DATE_EPOCH": "1", "LC_ALL": "C", "TZ": "Asia/Tokyo"}):
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=REPOSITORY,
            env={**os.environ, **extra},
        )  # fmt: skip
        found.append(ended.stdout.split())
    assert len(found[0]) == 9
    assert len(set(found[0])) == 9
    assert found[0] == found[1]


def test_files_are_what_they_claim() -> None:
    figure = line_figure([panel(line("MT", [[1.0, 2.0], [2.0, 4.0]]))])
    with Image.open(io.BytesIO(render(figure, "png"))) as image:
        assert image.size == (1050, 480)  # 7 x 3.2 inches at 150 dots
    assert ElementTree.fromstring(render(figure, "svg")).tag.endswith("svg")
    assert render(figure, "pdf").startswith(b"%PDF")


def test_a_figure_gives_the_same_bytes_whatever_was_rendered_before() -> None:
    kinds: tuple[Literal["png", "svg", "pdf"], ...] = ("png", "svg", "pdf")
    for make in (lambda: line_figure([panel(line("MT", [[1.0, 2.0]]))]), lambda: example_figure(["a"] * 3, [DRAWN])):
        figure = make()
        first = {kind: render(figure, kind) for kind in kinds}
        assert {kind: render(figure, kind) for kind in kinds[::-1]} == first
        assert {kind: render(make(), kind) for kind in kinds} == first
