"""The lines that name finished runs which a table does not show because their settings differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from handwritten import METHODS, write_run

from ssl_bench.cards import load_grid
from ssl_bench.grids.aim import Target
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.tables import paper_table
from ssl_bench.store import Store

HINT = "--protocol, --set and --tuned choose what is shown."


def unlike(store: Store, number: str = "4", **settings: Any) -> list[str]:
    target = Target(labeled=("5%",), protocol="mini", settings={"metrics": ["dsc"], **settings})
    report = paper_table(load_grid("table", number), target, store.runs(), METHODS, ShownOptions())
    return [note for note in report.tables[-1].notes if note.startswith("Not shown")]


def test_runs_with_other_settings_are_named_with_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in (1, 2):
        write_run(store, "mt", seed, [0.5], settings={"iterations": 7})
    write_run(store, "cps", 1, [0.5], settings={"iterations": 7})
    write_run(store, "ucmt", 1, [0.5], hyper={"k": 3})
    assert unlike(store) == [
        f"Not shown: 3 finished runs of mt, cps on isic with iterations=7; {HINT}",
        f"Not shown: 1 finished run of ucmt on isic with k=3; {HINT}",
    ]
    assert unlike(store, iterations=7) == [
        f"Not shown: 1 finished run of ucmt on isic with iterations=300, k=3; {HINT}"
    ]


def test_a_value_that_specifications_leave_out_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_run(store, "mt", 1, [0.5])
    assert unlike(store, supervised_loss="dice+cross-entropy", ramp_start=0) == [
        f"Not shown: 1 finished run of mt on isic with supervised_loss=dice, ramp_start=1; {HINT}"
    ]
    write_run(store, "cps", 1, [0.5], settings={"supervised_loss": "dice+cross-entropy"})
    assert (
        unlike(store)[0] == f"Not shown: 1 finished run of cps on isic with supervised_loss=dice+cross-entropy; {HINT}"
    )


def test_another_protocol_is_named_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_run(store, "mt", 1, [0.5], protocol="tiny")
    assert unlike(store) == [f"Not shown: 1 finished run of mt on isic with protocol tiny; {HINT}"]


def test_runs_that_are_shown_or_unfinished_or_of_another_share_are_not_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_run(store, "mt", 1, [0.5])
    write_run(store, "cps", 1, [0.5], settings={"iterations": 7}, status="failed")
    write_run(store, "cmtv1", 1, [0.5], labeled=180)
    assert unlike(store) == []
    assert unlike(store, number="5") == []  # rows of other k and r are empty beside a row that is filled
    write_run(store, "ucmt", 1, [0.5])
    assert unlike(store, number="5") == []


def test_many_differences_are_counted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for iterations in range(5, 11):
        write_run(store, "mt", 1, [0.5], settings={"iterations": iterations})
    notes = unlike(store)
    assert len(notes) == 4
    assert notes[-1] == "Not shown: runs with 3 other choices of settings."
