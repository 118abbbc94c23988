"""Tables of methods and data sets of one's choice, which have no card."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Call, assert_error
from handwritten import write_run

import ssl_bench
from ssl_bench.cards import Benchmark, Request, load_benchmark
from ssl_bench.reporting.next_table import showing_command
from ssl_bench.store import Store

ISIC, KVASIR = load_benchmark("isic"), load_benchmark("kvasir")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for seed in (1, 2):
        for method, score in (("supervised", 0.5), ("mt", 0.6), ("uamt", 0.7)):
            write_run(store, method, seed, [score, score + seed / 100], benchmark=ISIC, train=1815, labeled=90)
        write_run(store, "mt", seed, [0.4, 0.4], benchmark=KVASIR, train=800, labeled=120)
    return store


def table(store: Store, **options: Any) -> Any:
    asked: dict[str, Any] = {"methods": ["supervised", "uamt", "mt"], "dataset": ["isic", "kvasir"]}
    asked |= {"labeled": ["5%", "15%"], "protocol": "mini", "settings": {"metrics": ["dsc"]}}
    return ssl_bench.report(**(asked | options), results_root=store.root).tables[0]


def test_it_has_a_row_for_each_method_in_the_given_order_and_a_column_for_each_share(store: Store) -> None:
    found = table(store)
    assert [str(row[0]) for row in found.rows] == ["Supervised", "UA-MT", "MT"]
    assert found.headings[1:5] == [
        "ISIC 2018 Task 1 5% DSC [%]", "ISIC 2018 Task 1 15% DSC [%]", "Kvasir-SEG 5% DSC [%]", "Kvasir-SEG 15% DSC [%]"
    ]  # fmt: skip
    frame = found.to_frame().set_index("Method")
    assert frame.loc["UA-MT", "ISIC 2018 Task 1 5% DSC [%]"] == pytest.approx(70.75)  # mean of 70, 71, 70, 72
    assert frame.loc["MT", "Kvasir-SEG 15% DSC [%]"] == pytest.approx(40)


def test_turned_it_has_the_same_cells(store: Store) -> None:
    plain, turned = table(store), table(store, rows="labeled")
    assert turned.headings == ["Data", "Labelled", "Supervised", "UA-MT", "MT", "Seeds"]
    assert [list(map(str, row[:2])) for row in turned.rows] == [
        ["ISIC 2018 Task 1", "5%"], ["ISIC 2018 Task 1", "15%"], ["Kvasir-SEG", "5%"], ["Kvasir-SEG", "15%"]
    ]  # fmt: skip
    assert [row[2:5] for row in turned.rows] == [list(cells) for cells in zip(*(row[1:5] for row in plain.rows))]  # noqa: B905


def test_without_shares_it_has_those_of_each_data_set(store: Store) -> None:
    found = table(store, labeled=None, rows="labeled")
    assert [(str(row[0]), str(row[1])) for row in found.rows] == [
        (card.title, share) for card in (ISIC, KVASIR) for share in card.labeled
    ]


def test_it_compares_with_the_supervised_network_if_that_is_there(store: Store) -> None:
    with_it = ssl_bench.report(
        methods=["mt", "supervised"], dataset="isic", labeled="5%", protocol="mini", results_root=store.root
    )
    without = ssl_bench.report(
        methods=["mt", "uamt"], dataset="isic", labeled="5%", protocol="mini", results_root=store.root
    )
    assert any("baseline" in row[1] for row in with_it.exhibits[0].comparisons.rows)
    assert not any("baseline" in row[1] for row in without.exhibits[0].comparisons.rows)


def test_its_missing_runs_are_named_and_reproduce_takes_the_same_words(store: Store, call: Call) -> None:
    notes = table(store, methods=["supervised", "cct"], dataset="isic", labeled="5%").notes
    every = next(note for note in notes if note.startswith("missing runs: all"))
    words = "--methods supervised,cct --dataset isic --labeled 5% --protocol mini"
    assert f"`ssl-bench reproduce {words} --seeds 1,2" in every
    three = words.replace("isic", "demo").replace("mini", "tiny").split()
    code, out, _ = call("reproduce", *three, "--dry-run", "--results-root", store.root)
    assert code == 0
    assert "6 of 6 runs are missing" in out  # two methods, three seeds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--methods mt", "--methods: needs --dataset"),
        ("--methods mt,mt --dataset isic", "found 'mt' twice"),
        ("--methods , --dataset isic", "found none"),
        ("--methods mtt --dataset isic", "did you mean mt?"),
        ("--methods UCMT --dataset isic", "did you mean ucmt?"),
        ("--methods mt --dataset isic --seeds 1-5", "separated by commas, such as 1,2,3; found '1-5'"),
        ("--methods mt --dataset isic,isic", "--dataset: expected different data sets, found 'isic' twice"),
        ("--methods mt --dataset ,", "--dataset: expected names of data sets"),
        ("--methods mt --dataset iisic", "--dataset: expected"),
        ("--methods mt --table 4 --dataset isic", "exactly one of"),
        ("--methods mt --dataset isic --rows labeled --costs", "--costs: needs a row for each method"),
        ("--methods mt --dataset isic --columns method --all-networks", "--all-networks: needs a row for each method"),
        ("--methods mt --dataset isic --rows seed", "--rows: expected method or labeled, found 'seed'"),
        (
            "--methods mt --dataset isic --rows labeled --columns labeled",
            "--columns: expected method with --rows labeled",
        ),
    ],
)
def test_bad_choices_are_one_line(options: str, message: str, store: Store, call: Call) -> None:
    assert_error(call("report", *options.split(), "--results-root", store.root), message)


def request(*methods: str, benchmark: Benchmark = ISIC) -> Request:
    return Request(benchmark, methods, "5%", "mini", {}, (1,))


def test_new_runs_are_shown_in_the_papers_table_that_has_them_all_else_in_one_of_their_own() -> None:
    assert showing_command(request("supervised", "mt"), []).startswith("ssl-bench report --table 4 --dataset isic")
    assert showing_command(request("supervised", "abd"), []).startswith(
        "ssl-bench report --methods supervised,abd --dataset isic --labeled 5% --protocol mini"
    )


def test_new_runs_on_data_that_no_table_of_the_paper_has_are_shown_in_one_of_their_own() -> None:
    demo = request("supervised", "mt", benchmark=load_benchmark("demo"))
    assert showing_command(demo, []).startswith("ssl-bench report --methods supervised,mt --dataset demo")
    kvasir = request("mt", "cps", benchmark=load_benchmark("kvasir"))
    assert showing_command(kvasir, []).startswith("ssl-bench report --table 2 --dataset kvasir")


def test_a_table_without_a_card_shows_the_metrics_that_a_setting_asks_for(store: Store) -> None:
    asked = ssl_bench.report(
        methods=["mt"], dataset="isic", labeled="5%", protocol="mini", settings={"metrics": ["jaccard", "dsc"]},
        results_root=store.root,
    )  # fmt: skip
    headings = [name for name in asked.tables[0].headings if "[" in name]
    assert headings == ["Jaccard [%]", "DSC [%]"]
    plain = ssl_bench.report(methods=["mt"], dataset="isic", labeled="5%", protocol="mini", results_root=store.root)
    assert [name for name in plain.tables[0].headings if "[" in name] == ["DSC [%]"]


def test_runs_on_other_data_are_told_apart_by_their_number_and_date(store: Store) -> None:
    write_run(store, "cps", 1, [0.5], fingerprint="e" * 16)
    with pytest.raises(ssl_bench.UserError) as raised:
        ssl_bench.report(methods=["mt", "cps"], dataset="isic", labeled="5%", protocol="mini", results_root=store.root)
    assert "--data FINGERPRINT: needed, as a table cannot mix runs with different data: " in str(raised.value)
    assert f"{'e' * 16} (1 run, the last of 2026-01-03)" in str(raised.value)


def test_rows_are_checked_in_python_too(store: Store) -> None:
    with pytest.raises(ssl_bench.UserError, match="--rows: expected method or labeled, found 'labelled'"):
        table(store, rows="labelled")
