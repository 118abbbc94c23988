"""Rows at the protocol's settings and at their methods' authors', and the runs and commands of each."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssl_bench.cards import authors_settings, load_grid
from ssl_bench.declarations import declare
from ssl_bench.errors import UserError
from ssl_bench.grids.aim import Target, aim, make_target, places, upper_line
from ssl_bench.grids.missing import lacking, requests, wanted_runs
from ssl_bench.method import load_methods

OWN = {"lambda_max": 1.0, "rampup_epochs": "none", "aspp_dropout": 0.25, "dropout": 0.125}
METHODS = {name: replace(declare(method), authors={}) for name, method in load_methods().items()}
METHODS |= {
    "cps": replace(METHODS["cps"], authors=OWN),
    "ucmt": replace(METHODS["ucmt"], authors={"k": 4}, reconstructed=True),
}
GRID = load_grid("table", "4")


def rows_of(tuned: str, **settings: Any) -> list[tuple[str, str]]:
    grid = aim(GRID, make_target([], None, None, settings, tuned=tuned), METHODS)
    return [(row.title, row.tuned) for row in grid.rows if row.method in ("mt", "cps", "ucmt")]


def test_each_choice_of_settings_has_its_rows() -> None:
    assert rows_of("common") == [("MT", "common"), ("CPS", "common"), ("UCMT§", "common")]
    assert rows_of("authors") == [("MT", "common"), ("CPS‡", "authors"), ("UCMT§‡", "authors")]
    both = [("MT", "common"), ("CPS", "common"), ("CPS‡", "authors"), ("UCMT§", "common"), ("UCMT§‡", "authors")]
    assert rows_of("both") == both


def test_what_is_set_takes_precedence_over_the_authors() -> None:
    assert rows_of("both", k=3) == [("MT", "common"), ("CPS", "common"), ("CPS‡", "authors"), ("UCMT§", "common")]
    grid = aim(GRID, target := Target(tuned="authors", settings={"lambda_max": 0.5}), METHODS)
    (place,) = (row[0] for row in places(grid, target, METHODS) if row[0] is not None and row[0].method == "cps")
    assert place.wanted.protocol.lambda_max == 0.5
    assert place.wanted.protocol.rampup_epochs == "none"
    assert place.authors == {"rampup_epochs": "none", "aspp_dropout": 0.25}
    assert place.settings == {"lambda_max": 0.5, **place.authors}


def test_settings_hold_for_their_dimensions_alone_and_a_length_gives_way_to_the_other() -> None:
    assert authors_settings(OWN, {}, 2) == {key: OWN[key] for key in ("lambda_max", "rampup_epochs", "aspp_dropout")}
    assert authors_settings(OWN, {}, 3) == {key: OWN[key] for key in ("lambda_max", "rampup_epochs", "dropout")}
    assert authors_settings({"iterations": 9, "betas": (0.5, 0.9)}, {"epochs": 1}, 2) == {"betas": [0.5, 0.9]}


def test_a_row_whose_authors_settings_are_the_protocols_stands_once() -> None:
    methods = METHODS | {"cps": replace(METHODS["cps"], authors={"lambda_max": 0.1})}  # as in `paper`
    titles = [row.title for row in aim(GRID, Target(tuned="both"), methods).rows]
    assert titles.count("CPS") == 1
    assert "CPS‡" not in titles
    mine = aim(GRID, Target(tuned="authors"), methods)
    assert "CPS‡" in [row.title for row in mine.rows]


def test_the_two_rows_of_a_method_need_different_runs_and_the_published_number_stands_in_both() -> None:
    grid = aim(GRID, target := Target(tuned="both"), METHODS)
    found = [row[0] for row in places(grid, target, METHODS) if row[0] is not None]
    assert len({place.wanted.identity for place in found}) == len(found) == len(GRID.rows) + 2
    assert {row.published for row in grid.rows if row.method == "cps"} == {"", "CPS"}


def test_the_upper_line_of_a_reconstructed_method_has_its_sign() -> None:
    methods = METHODS | {"supervised": replace(METHODS["supervised"], reconstructed=True)}
    above = upper_line(aim(GRID, Target(), methods), methods)
    assert above is not None
    assert [row.title for row in above.rows] == ["Supervised, 100%§"]


def test_missing_runs_are_asked_for_with_plain_settings() -> None:
    target = Target(tuned="both", protocol="mini")
    lacks = lacking(wanted_runs([GRID], target, METHODS), (1,), [])
    found = {(name, str(sorted(one.settings.items()))) for one in requests(lacks) for name in one.methods}
    own = {"lambda_max": 1.0, "rampup_epochs": "none", "aspp_dropout": 0.25}
    assert found == {
        *((row.method, "[]") for row in GRID.rows), ("cps", str(sorted(own.items()))), ("ucmt", "[('k', 4)]"),
    }  # fmt: skip


def test_a_card_can_have_a_row_at_its_methods_authors_settings(tmp_path: Path) -> None:
    card = tmp_path / "mine.toml"
    text = """
        kind = "table"
        title = "Two weights"
        columns = [{ dataset = "demo", labeled = "5%" }]
        rows = [{ title = "A", method = "cps" }, { title = "B", method = "METHOD", tuned = "authors" }]
    """
    card.write_text(text.replace("METHOD", "cps"))
    grid = load_grid("table", str(card))
    for tuned, titles in (("common", ["A", "B‡"]), ("both", ["A", "B‡"])):
        assert [row.title for row in aim(grid, make_target([], None, None, {}, tuned=tuned), METHODS).rows] == titles
    card.write_text(text.replace("METHOD", "mt"))
    with pytest.raises(UserError, match=r"row 'B': tuned: expected a method that declares .* found 'mt'"):
        aim(load_grid("table", str(card)), Target(), METHODS)


def test_an_unknown_choice_is_an_error() -> None:
    with pytest.raises(UserError, match="--tuned: expected one of common, authors, both; found 'theirs'"):
        make_target([], None, None, {}, tuned="theirs")
