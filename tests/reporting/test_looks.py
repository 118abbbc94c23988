"""A method has one colour, dash and marker in every figure, and no two lines of a figure look the same."""

import hashlib
from itertools import permutations

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from skimage.color import deltaE_ciede2000, rgb2lab

from ssl_bench.method import load_methods
from ssl_bench.reporting.draw_lines import Line, Panel, line_figure
from ssl_bench.reporting.looks import FIELD, OTHER_COLOURS, OTHERS, UNNAMED, Look, looks, method_colour

OWN = [f"mine-{i}" for i in range(40)]


def drawn(*lines: tuple[str, str]) -> dict[str, Look]:
    """Labels and method names drawn as lines, and how each looks, read from the axis."""
    values = np.array([[1.0, 2.0]])
    shown = tuple(Line(label, np.arange(2.0), values, key) for label, key in lines)
    (axis,) = figure(shown).axes
    found = {}
    for (label, key), line in zip(lines, axis.lines, strict=True):
        look = looks([*lines])[label]
        assert (to_hex(line.get_color()), line.get_marker()) == (look.colour, look.marker), (label, key)
        found[label] = look
    return found


def figure(lines: tuple[Line, ...]) -> Figure:
    return line_figure([Panel("t", "x", "y", lines)])


def test_the_built_in_methods_have_looks_of_their_own() -> None:
    built_in = {name for name, method in load_methods().items() if method.__module__.startswith("ssl_bench.methods.")}
    assert built_in <= FIELD.keys()
    for kinds in (("colour", "dash"), ("colour", "marker"), ("dash", "marker")):
        assert len({tuple(str(getattr(look, kind)) for kind in kinds) for look in FIELD.values()}) == len(FIELD), kinds
    assert not {look.colour for look in FIELD.values()} & {look.colour for look in OTHERS}


def test_the_colours_of_families_are_told_apart() -> None:
    """By CIEDE2000, in which 2 can just be seen: every pair of colours of the methods and of other names."""
    colours = sorted({look.colour for look in FIELD.values()}) + list(OTHER_COLOURS)
    lab = rgb2lab(np.array([[to_rgb(colour) for colour in colours]]))[0]
    distances = deltaE_ciede2000(lab[:, None], lab[None])
    np.fill_diagonal(distances, np.inf)
    assert distances.min() > 9


def test_no_two_looks_of_a_list_are_the_same() -> None:
    for candidates in (OTHERS, UNNAMED):
        assert len({(look.colour, str(look.dash)) for look in candidates}) == len(candidates)


def test_every_colour_is_seen_on_white() -> None:
    def luminance(colour: str) -> float:
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return float(np.dot(parts, [0.2126, 0.7152, 0.0722]))

    colours = {look.colour for look in (*FIELD.values(), *OTHERS)}
    assert min(1.05 / (luminance(colour) + 0.05) for colour in colours) > 2.2


@pytest.mark.parametrize("name", [*FIELD, "mine"])
def test_a_look_depends_on_the_name_alone(name: str) -> None:
    one = method_colour(name)
    assert method_colour(name, list(FIELD)) == method_colour(name, [*FIELD][::-1]) == one
    for others in ([("CCT", "cct")], [("CPS", "cps"), ("no method", "")]):
        others = [(label, key) for label, key in others if key != name]
        assert looks([*others, ("line", name)])["line"] == looks([("line", name), *others])["line"] == one


def test_unknown_names_avoid_each_other_whatever_their_order() -> None:
    names = OWN[:6]
    orders = list(permutations(names))[::300]
    found = [[method_colour(name, order) for name in names] for order in orders]
    assert all(one == found[0] for one in found)
    assert len({look.colour for look in found[0]}) == 6  # as many as there are colours
    assert len({method_colour(name, OWN) for name in OWN}) == 40
    assert len({method_colour(name) for name in OWN}) > 20  # a hash alone spreads them
    crowd = [f"m{i}" for i in range(60)]
    assert {method_colour(name, crowd) for name in crowd} == set(OTHERS)  # more than there are: some have the same


def test_a_look_is_the_same_in_every_process() -> None:
    number = int(hashlib.sha256(b"mine").hexdigest()[:16], 16) % 48
    assert method_colour("mine") == OTHERS[number]  # Python's own hash of a text differs between processes
    assert number == 33


def test_lines_of_the_same_method_still_differ() -> None:
    found = drawn(*((f"UCMT, k = {k}", "ucmt") for k in range(1, 6)), ("MT", "mt"), ("all labels", ""))
    assert found["UCMT, k = 1"] == FIELD["ucmt"]
    assert found["MT"] == FIELD["mt"]
    assert len({look.colour for look in found.values()}) == 7


def test_a_label_looks_the_same_in_all_panels() -> None:
    values = np.array([[1.0, 2.0]])
    first, second = (Panel("t", "x", "y", (Line("MT", np.arange(2.0), values, key),)) for key in ("mt", ""))
    shown = line_figure([first, second])
    assert {to_hex(axis.lines[0].get_color()) for axis in shown.axes} == {FIELD["mt"].colour}
