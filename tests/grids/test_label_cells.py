"""A table shows the runs of one way of drawing labels: by the seed, or by the label seeds that are asked for."""

from pathlib import Path

import pytest
from conftest import Call, assert_error
from handwritten import METHODS, write_run

from ssl_bench.cards import load_grid
from ssl_bench.errors import UserError
from ssl_bench.grids.aim import Target, aim, make_target, places
from ssl_bench.grids.match import Wanted, complete_seeds, select
from ssl_bench.grids.missing import lacking, requests, wanted_runs
from ssl_bench.reporting.missing_runs import lack_table
from ssl_bench.store import Store

TABLE = load_grid("table", "4")


def target(*labels: int, **changes: object) -> Target:
    own = {"protocol": "mini", "settings": {"metrics": ["dsc"]}, "label_seeds": labels} | changes
    return Target(**own)  # type: ignore[arg-type]


def cell(*labels: int, method: str = "mt") -> Wanted:
    rows = places(aim(TABLE, target(*labels), METHODS), target(*labels), METHODS)
    return next(place.wanted for row in rows for place in row if place is not None and place.method == method)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def write(store: Store, *draws: tuple[int, int], method: str = "mt") -> None:
    """Write runs by seed and label draw."""
    for seed, label in draws:
        write_run(store, method, seed, [0.5, 0.7], label_seed=None if label == seed else label)


def shown(store: Store, *labels: int) -> list[tuple[int, int]]:
    wanted = cell(*labels)
    (runs,) = select(store.runs(), [wanted])
    return [run.spec.draws for run in complete_seeds(runs, wanted)]


def test_without_label_seeds_a_cell_has_the_runs_whose_seed_draws_the_labels(store: Store) -> None:
    write(store, (1, 1), (2, 2), (1, 2), (2, 1), (3, 7))
    assert shown(store) == [(1, 1), (2, 2)]


def test_where_there_are_only_runs_with_label_seeds_the_cell_stays_empty(store: Store) -> None:
    write(store, (1, 7), (2, 7))
    assert shown(store) == []


def test_with_label_seeds_a_cell_has_every_draw_with_every_seed(store: Store) -> None:
    write(store, (1, 1), (2, 2), (1, 2), (2, 1), (3, 3), (1, 7), (2, 7))
    assert shown(store, 1, 2) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert shown(store, 7) == [(1, 7), (2, 7)]
    assert shown(store, 2, 7) == [(1, 2), (1, 7), (2, 2), (2, 7)]


def test_a_seed_that_lacks_a_label_draw_is_not_shown(store: Store) -> None:
    write(store, (1, 7), (1, 8), (2, 7), (8, 8))
    assert shown(store, 7, 8) == [(1, 7), (1, 8)]


def test_two_runs_that_trained_alike_are_one(store: Store) -> None:
    write(store, (1, 7), (2, 7))
    write_run(store, "mt", 1, [0.5, 0.7], label_seed=7, curve=[0.5])
    assert shown(store, 7) == [(1, 7), (2, 7)]


def test_what_is_missing_is_each_draw_with_each_seed(store: Store) -> None:
    for method in ("supervised", "cps", "cmtv1", "cmtv2", "cmtv3", "ucmt"):
        write(store, (1, 1), (1, 2), (2, 1), (2, 2), method=method)
    write(store, (1, 1), (2, 1))
    wanted = wanted_runs([TABLE], target(1, 2), METHODS, store.runs())
    lacks = lacking(wanted, (1, 2), store.runs())
    assert [(lack.place.method, lack.seed, lack.label_seed) for lack in lacks] == [("mt", 1, 2), ("mt", 2, 2)]
    assert [(asked.seeds, asked.label_seeds) for asked in requests(lacks)] == [((1,), (2,)), ((2,), (2,))]
    assert [asked.draws for asked in requests(lacks)] == [[(1, 2)], [(2, 2)]]
    table = lack_table(lacks, sum(place.wanted.draws for place in wanted.values()) * 2, store.runs())
    assert table.rows[0][table.headings.index("Seeds")] == "1 (labels 2), 2 (labels 2)"
    assert table.notes[0] == "2 of 28 runs are missing; 26 exist."
    write(store, (1, 2), (2, 2))
    assert lacking(wanted, (1, 2), store.runs()) == []


def test_methods_of_one_draw_are_one_request_and_the_first_seed_comes_first(store: Store) -> None:
    wanted = wanted_runs([TABLE], target(7, 8), METHODS, store.runs())
    asked = requests(lacking(wanted, (1, 2), store.runs()))
    assert [(one.seeds, one.label_seeds, len(one.methods)) for one in asked] == [
        ((1,), (7,), 7), ((1,), (8,), 7), ((2,), (7,), 7), ((2,), (8,), 7),
    ]  # fmt: skip


def test_the_upper_line_has_no_label_draw(store: Store) -> None:
    write_run(store, "supervised", 1, [0.9, 0.9], labeled=1815)
    wanted = wanted_runs([TABLE], target(7, 8), METHODS, store.runs())
    assert {place.column.labeled: place.wanted.label_seeds for place in wanted.values()} == {"100%": (), "5%": (7, 8)}
    lacks = lacking(wanted, (1, 2), store.runs())
    assert [(lack.seed, lack.label_seed) for lack in lacks if lack.place.column.labeled == "100%"] == [(2, None)]


def test_another_choice_of_label_seeds_is_another_cell() -> None:
    assert len({cell().identity, cell(1).identity, cell(1, 2).identity}) == 3


def test_label_seeds_are_refused_where_they_decide_nothing() -> None:
    with pytest.raises(UserError, match=r"--label-seeds: expected a share .* below 100%"):
        aim(TABLE, target(1, 2, labeled=("100%",)), METHODS)
    first = make_target(["la"], None, None, {"split": "uamt-first"}, (1, 2))
    with pytest.raises(UserError, match=r"--label-seeds: .* found la, whose split 'uamt-first' takes the first"):
        places(aim(load_grid("table", "3"), first, METHODS), first, METHODS)


@pytest.mark.parametrize("command", ["run --methods mt --dataset demo", "reproduce --table 4", "report --table 4"])
@pytest.mark.parametrize("value", ["", "x", "1,-2"])
def test_a_mistyped_label_seed_is_one_line(command: str, value: str, call: Call) -> None:
    assert_error(call(*command.split(), "--label-seeds", value), "--label-seeds: expected whole numbers", f"'{value}'")
