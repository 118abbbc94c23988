"""Maps of pairs, rank distributions and performance profiles: what is drawn, and that words keep apart."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from tidy import assert_tidy

from ssl_bench.reporting.canvas import render
from ssl_bench.reporting.draw_comparisons import Comparisons, Pair, significance_figure
from ssl_bench.reporting.draw_ranking import (
    Profile,
    ProfileLine,
    profile_figure,
    ranking_caption,
    ranking_figure,
)
from ssl_bench.reporting.looks import FIELD
from ssl_bench.statistics.ranking import RankStability, rank_stability

NAN = float("nan")
NAMES = ["a_method_of_a_very_long_name and more of it (U-Net)", "Supervised", "x" * 99, "a_$x$ {b} <i> & 5% ^c \\d"]
TITLE = "A data set of a long name with more words than fit into one line, 10% labelled, DSC [%], " * 2
THREE = Comparisons(
    "Kvasir-SEG, 10%",
    "DSC [%]",
    (("MT", 72.0), ("UCMT", 80.0), ("CPS", 74.0)),
    (
        Pair("MT", "UCMT", -8.0, (-11.25, -4.75), significant=True),
        Pair("CPS", "MT", 2.0, (-1.0, 5.0)),
        Pair("CPS", "UCMT", -6.0),
    ),
)


def names(count: int) -> list[str]:
    return [NAMES[i] if i < len(NAMES) else f"m{i}" for i in range(count)]


def cells(axis: Axes) -> dict[tuple[int, int], list[str]]:
    """Texts of a map by row and column, from top to bottom."""
    found: dict[tuple[int, int], list[str]] = {}
    for text in sorted(axis.texts, key=lambda text: text.get_position()[1]):
        x, y = text.get_position()
        found.setdefault((round(y), round(x)), []).append(text.get_text())
    return found


def assert_texts_stay_in_their_cells(figure: Figure) -> None:
    figure.draw_without_rendering()
    (axis,) = figure.axes
    for text in axis.texts:
        x, y = map(round, text.get_position())
        (left, top), (right, bottom) = axis.transData.transform([(x - 0.5, y - 0.5), (x + 0.5, y + 0.5)])
        box = text.get_window_extent()
        assert left <= box.x0, text
        assert box.x1 <= right, text
        assert bottom <= box.y0, text
        assert box.y1 <= top, text


def random_comparisons(count: int, **changes: Any) -> Comparisons:
    rng = np.random.default_rng(count)
    labels, means = names(count), rng.uniform(60, 90, count)
    pairs = []
    for i in range(count):
        for j in range(i):
            apart, half = float(means[i] - means[j]), float(rng.uniform(1, 9))
            pairs.append(Pair(labels[i], labels[j], apart, (apart - half, apart + half), abs(apart) > half))
    asked = Comparisons(TITLE, "DSC [%]", tuple(zip(labels, map(float, means), strict=True)), tuple(pairs))
    return replace(asked, **changes)


# -------------------------------------------------------------------------------------------------------------- pairs


def test_a_cell_is_row_minus_column_with_its_interval_and_a_star() -> None:
    (axis,) = significance_figure(THREE).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["UCMT (80.0)", "CPS (74.0)", "MT (72.0)"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["UCMT", "CPS", "MT"]
    assert cells(axis) == {
        (0, 1): ["+6.0"],
        (0, 2): ["+8.0*", "[+4.8, +11.2]"],
        (1, 0): ["−6.0"],
        (1, 2): ["+2.0", "[−1.0, +5.0]"],
        (2, 0): ["−8.0*", "[−11.2, −4.8]"],
        (2, 1): ["−2.0", "[−5.0, +1.0]"],
    }


@pytest.mark.parametrize("larger", [True, False])
def test_a_better_row_is_blue_and_stands_higher(larger: bool) -> None:
    (axis,) = significance_figure(replace(THREE, larger_is_better=larger)).axes
    (image,) = axis.get_images()
    values = np.ma.filled(np.ma.masked_invalid(np.asarray(image.get_array())), NAN)
    assert values == pytest.approx(
        np.array([[NAN, 6, 8], [-6, NAN, 2], [-8, -2, NAN]] if larger else [[NAN, 2, 8], [-2, NAN, 6], [-8, -6, NAN]]),
        nan_ok=True,
    )
    low, high = image.get_clim()
    assert (low, high) == (-high, pytest.approx(8 * 1.3))  # white is 0
    red, _, blue, _ = image.to_rgba(8.0)
    assert blue > red
    first = axis.get_yticklabels()[0].get_text()
    assert first == ("UCMT (80.0)" if larger else "MT (72.0)")
    assert cells(axis)[0, 2][0] == ("+8.0*" if larger else "−8.0*")


def test_pairs_that_are_missing_or_not_finite_have_a_dash() -> None:
    pairs = (Pair("MT", "UCMT", NAN, (1.0, 2.0)), Pair("CPS", "MT", 2.0, (NAN, 5.0)))
    means = (("MT", NAN), ("UCMT", None), ("CPS", 74.0))
    (axis,) = significance_figure(replace(THREE, means=means, pairs=pairs)).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["CPS (74.0)", "MT", "UCMT"]
    assert cells(axis) == {
        (0, 1): ["+2.0"], (1, 0): ["−2.0"], (0, 2): ["–"], (2, 0): ["–"], (1, 2): ["–"], (2, 1): ["–"],
    }  # fmt: skip


def test_zero_has_no_sign_and_decimals_are_as_asked() -> None:
    pairs = (Pair("MT", "UCMT", -0.001, (-0.25, 0.004)),)
    (axis,) = significance_figure(replace(THREE, pairs=pairs, decimals=2)).axes
    assert cells(axis)[2, 0] == ["0.00", "[−0.25, 0.00]"]


@pytest.mark.parametrize(
    "pairs",
    [
        (Pair("MT", "UCMT", 1.0), Pair("UCMT", "MT", 1.0)),
        (Pair("MT", "MT", 0.0),),
        (Pair("MT", "other", 0.0),),
    ],
)
def test_a_pair_that_contradicts_another_is_refused(pairs: tuple[Pair, ...]) -> None:
    with pytest.raises(ValueError, match="pairs: expected each pair of labels once"):
        significance_figure(replace(THREE, pairs=pairs))


def test_two_methods_of_one_label_are_refused() -> None:
    with pytest.raises(ValueError, match="expected different labels"):
        significance_figure(replace(THREE, means=(("MT", 1.0), ("MT", 2.0))))


@pytest.mark.parametrize("width", [7.0, 3.5])
@pytest.mark.parametrize("count", [0, 1, 5, 12])
def test_words_of_a_map_keep_apart(count: int, width: float) -> None:
    figure = significance_figure(random_comparisons(count), width)
    assert figure.get_figwidth() <= width
    assert_tidy(figure)
    if count:
        assert_texts_stay_in_their_cells(figure)


def test_twelve_methods_have_readable_intervals_on_a_page() -> None:
    (axis,) = significance_figure(random_comparisons(12)).axes
    assert all(len(lines) == 3 for lines in cells(axis).values())
    assert min(text.get_fontsize() for text in axis.texts) >= 4.5


# ------------------------------------------------------------------------------------------------------------- ranks


def ranking(**changes: Any) -> RankStability:
    shares = np.array([[0.25, 0.75, 0], [0.746, 0.25, 0.004], [0.004, 0, 0.996]])
    asked = RankStability(shares[:, 0], shares, np.array([2.0, 1.0, 3.0]), 0.8, (0.25, 1.0), 0, 2000)
    return replace(asked, **changes)


def test_a_ranking_shows_shares_in_the_order_of_the_observed_ranks() -> None:
    (axis,) = ranking_figure("t", ["MT", "UCMT", "Supervised"], ranking()).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["UCMT", "MT", "Supervised"]
    assert np.asarray(axis.get_images()[0].get_array()) == pytest.approx(
        np.array([[74.6, 25, 0.4], [25, 75, 0], [0.4, 0, 99.6]])
    )
    assert cells(axis) == {
        (0, 0): ["75"], (0, 1): ["25"], (0, 2): ["<1"], (1, 0): ["25"], (1, 1): ["75"], (1, 2): [""],
        (2, 0): ["<1"], (2, 1): [""], (2, 2): [">99"],
    }  # fmt: skip
    frames = [(patch.get_x(), patch.get_y()) for patch in axis.patches if isinstance(patch, Rectangle)]
    assert frames == [(-0.5, -0.5), (0.5, 0.5), (1.5, 1.5)]


def test_tied_methods_have_a_frame_between_their_places() -> None:
    tied = ranking(observed=np.array([1.5, 1.5, 3.0]))
    (axis,) = ranking_figure("t", ["MT", "UCMT", "Supervised"], tied).axes
    assert [patch.get_x() for patch in axis.patches if isinstance(patch, Rectangle)] == [0, 0, 1.5]
    assert axis.get_yticklabels()[0].get_text() == "UCMT"  # more first places


def test_a_caption_tells_first_places_and_tau() -> None:
    labels = ["MT", "UCMT", "Supervised"]
    assert ranking_caption(labels, ranking()) == (
        "2,000 resamples of seeds and cases. Share of first places: UCMT 75 %, MT 25 %, Supervised <1 %; methods that "
        "tie share a place. Frames mark the observed ranks. Kendall's tau between the observed ranking and that of a "
        "resample: mean 0.80, 95 % interval 0.25 to 1.00."
    )
    assert ranking_caption(labels, ranking(undefined=3)).endswith(
        "to 1.00. 3 resamples without a tau, in which all methods tie, are left out."
    )
    undefined = ranking_caption(["MT"], rank_stability(np.ones((1, 2, 3)), resamples=5))
    assert undefined.endswith("Kendall's tau is not defined, because all methods tie.")


@pytest.mark.parametrize("width", [7.0, 3.5])
@pytest.mark.parametrize("count", [1, 2, 12])
def test_words_of_a_ranking_keep_apart(count: int, width: float) -> None:
    values = np.random.default_rng(count).normal(size=(count, 3, 9))
    figure = ranking_figure(TITLE, names(count), rank_stability(values, resamples=50), width)
    assert figure.get_figwidth() <= width
    assert_tidy(figure)
    assert_texts_stay_in_their_cells(figure)


# ---------------------------------------------------------------------------------------------------------- profiles

THRESHOLDS = np.array([0.0, 50.0, 90.0])
PROFILE = Profile(
    "t",
    "DSC [%]",
    THRESHOLDS,
    (
        ProfileLine("MT", np.array([1.0, 0.5, 0.25]), np.array([[0.9, 1], [0.4, 0.6], [0.2, 0.3]]), "mt"),
        ProfileLine("mine", np.array([1.0, NAN, 0.5])),
    ),
)


def test_a_profile_shows_shares_in_per_cent_and_a_band_where_intervals_are_known() -> None:
    (axis,) = profile_figure(PROFILE).axes
    first, second = axis.lines
    assert np.array_equal(first.get_xydata(), [[0, 100], [50, 50], [90, 25]])
    assert list(second.get_ydata()) == pytest.approx([100, NAN, 50], nan_ok=True)
    assert (to_hex(first.get_color()), first.get_marker()) == (FIELD["mt"].colour, FIELD["mt"].marker)
    assert to_hex(second.get_color()) != FIELD["mt"].colour
    (band,) = [one for one in axis.collections if isinstance(one, PolyCollection)]
    edges = {(float(x), round(float(y), 6)) for x, y in band.get_paths()[0].vertices}
    assert {(0, 90), (0, 100), (50, 40), (50, 60), (90, 20), (90, 30)} <= edges
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("threshold on DSC [%]", "cases above it [%]")


@pytest.mark.parametrize(("count", "width"), [(0, 7.0), (1, 3.5), (12, 7.0), (12, 3.5)])
def test_words_of_a_profile_keep_apart(count: int, width: float) -> None:
    lines = tuple(ProfileLine(name, np.linspace(1, 0, 3)) for name in names(count))
    figure = profile_figure(Profile(TITLE, "DSC [%]", THRESHOLDS, lines), width)
    assert_tidy(figure)
    assert len(figure.legends) == min(count, 1)
    if count:
        assert len(figure.legends[0].get_texts()) == count
    else:
        assert [text.get_text() for text in figure.axes[0].texts] == ["no run"]
    assert figure.axes[0].get_window_extent().height > 0.25 * figure.bbox.height


def test_the_same_input_gives_the_same_bytes() -> None:
    for make in (
        lambda: significance_figure(THREE),
        lambda: ranking_figure("t", ["MT", "UCMT", "Supervised"], ranking()),
        lambda: profile_figure(PROFILE),
    ):
        first, figure = render(make(), "svg"), make()
        assert render(figure, "png")
        assert render(figure, "svg") == first
