"""Tables from runs written by hand: every number against a hand computation, and no run where it does not belong."""

import csv
import hashlib
import io
import itertools
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from handwritten import KVASIR, METHODS, cases_file, write_run
from rich.console import Console

from ssl_bench import BENCHMARKS_DIR
from ssl_bench.cards import Split, load_benchmark, load_grid
from ssl_bench.errors import UserError
from ssl_bench.grids.aim import Target
from ssl_bench.grids.match import choose_data
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.runs import comparison_table, status_table
from ssl_bench.reporting.scores import mean_and_deviation
from ssl_bench.reporting.table import FORMATS, Table
from ssl_bench.reporting.tables import TableReport, paper_table
from ssl_bench.statistics.cell import CellScores
from ssl_bench.store import Run, Store

TITLES = ["Supervised", "MT", "CPS", "CMTv1", "CMTv2", "CMTv3", "UCMT"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def report4(store: Store | list[Run], view: ShownOptions | None = None, **changes: Any) -> TableReport:
    runs = store.runs() if isinstance(store, Store) else store
    asked = {"labeled": ("5%",), "protocol": "mini", "settings": {"metrics": ["dsc"]}} | changes
    return paper_table(load_grid("table", "4"), Target(**asked), runs, METHODS, view or ShownOptions())


def table4(store: Store | list[Run], view: ShownOptions | None = None, **changes: Any) -> Table:
    return report4(store, view, **changes).tables[0]


def column(table: Table, name: str) -> dict[str, str]:
    return {str(row[0]): str(row[table.headings.index(name)]) for row in table.rows}


def measured(table: Table) -> dict[str, str]:
    return column(table, "DSC [%] measured" if "DSC [%] measured" in table.headings else "DSC [%]")


# ------------------------------------------------------------------------------------------------------ the numbers


def test_a_cell_is_the_mean_and_sample_deviation_over_seeds_of_the_mean_over_cases(store: Store) -> None:
    write_run(store, "mt", 1, [0.9, 0.8, 0.4])  # 0.70
    write_run(store, "mt", 2, [0.8, 0.8, 0.8])  # 0.80
    write_run(store, "mt", 3, [0.6, 0.75, 0.9])  # 0.75
    write_run(store, "ucmt", 1, [0.8123, 0.8123, 0.8123])
    table = table4(store)
    # Deviations from 75 are -5, 5, 0: variance 50 / 2 = 25.
    expected = dict.fromkeys(TITLES, "no run") | {"MT": "75.00 ± 5.00", "UCMT": "81.23"}
    assert measured(table) == expected
    assert column(table, "Seeds") == dict.fromkeys(TITLES, "0") | {"MT": "3", "UCMT": "1"}
    assert column(table, "DSC [%] published")["MT"] == "86.67"


def test_two_seeds_are_enough_for_a_deviation(store: Store) -> None:
    write_run(store, "cps", 4, [0.5, 0.7])
    write_run(store, "cps", 9, [0.9, 0.7])
    deviation = statistics.stdev([60.0, 80.0])
    assert measured(table4(store))["CPS"] == f"70.00 ± {deviation:.2f}" == "70.00 ± 14.14"
    assert any("over seeds (4, 9)" in note for note in table4(store).notes)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "—"),
        ([1.005], "1.00"),
        ([1, 3], "2.00 ± 1.41"),
        ([88.1, 88.1, 88.1], "88.10 ± 0.00"),
        ([0, 0, 3], "1.00 ± 1.73"),
    ],
)
def test_mean_and_deviation(values: list[float], text: str) -> None:
    column = np.array(values, dtype=float).reshape(-1, 1)
    scores = CellScores(tuple(range(len(values))), ("1",), column, np.ones(column.shape, dtype=np.int64))
    assert mean_and_deviation(scores if values else None) == text


def test_other_networks_are_shown_when_asked_for(store: Store) -> None:
    write_run(store, "mt", 1, [0.5], other=0.25)
    write_run(store, "mt", 2, [0.5], other=0.75)
    assert [row[0] for row in table4(store).rows] == TITLES
    table = table4(store, ShownOptions(all_networks=True))
    assert [row[0] for row in table.rows] == ["Supervised", "MT", "  its student2", *TITLES[2:]]
    assert measured(table)["  its student2"] == f"50.00 ± {statistics.stdev([25, 75]):.2f}"
    assert {len(row) for row in table.rows} == {len(table.header)}


def test_undefined_cases_are_counted_below_the_table(store: Store) -> None:
    write_run(store, "mt", 1, [0.5, None, 0.7, None])
    table = table4(store)
    assert measured(table)["MT"] == "60.00"
    (note,) = [note for note in table.notes if note.startswith("Undefined values of DSC [%]")]
    assert " 2 of " in note


def test_distances_are_not_shown_in_per_cent(store: Store) -> None:
    spec = write_run(store, "mt", 1, [3.0, None, 4.0], metric="95hd")
    write_run(store, "mt", 2, [None, None, None], metric="95hd")
    runs = [run for run in store.runs() if run.spec.method == "mt"]
    table = comparison_table(runs, {"mt": "MT"}, runs[0].headline.measurement)
    assert spec.protocol.metrics == ("95hd",)
    assert table.header == ["Method", "Network scored", "95HD [px]", "Seeds", "Training [min]"]
    assert table.rows == [["MT", "teacher", "3.50", "2", "1.5"]]
    assert any("MT: 4 values of 95HD [px] were undefined" in note for note in table.notes)


def test_a_comparison_has_a_row_per_method_in_the_order_asked_for(store: Store) -> None:
    for method, seed, score in (("ucmt", 1, 0.5), ("ucmt", 2, 0.7), ("mt", 1, 0.25)):
        write_run(store, method, seed, [score])
    runs = sorted(store.runs(), key=lambda run: run.spec.method, reverse=True)
    table = comparison_table(runs, {"mt": "MT", "ucmt": "UCMT"}, runs[0].headline.measurement)
    assert [row[:4] for row in table.rows] == [
        ["UCMT", "teacher", f"60.00 ± {statistics.stdev([50, 70]):.2f}", "2"], ["MT", "teacher", "25.00", "1"],
    ]  # fmt: skip


def test_the_note_of_a_protocol_is_not_that_of_changed_settings(store: Store) -> None:
    write_run(store, "mt", 1, [0.5])
    runs = store.runs()
    note = runs[0].spec.protocol.note
    plain = comparison_table(runs, {"mt": "MT"}, runs[0].headline.measurement)
    assert plain.notes[0] == f"Protocol {runs[0].spec.protocol.name}: {note}"
    changed = comparison_table(runs, {"mt": "MT"}, runs[0].headline.measurement, {"iterations": 7, "k": 3})
    name = runs[0].spec.protocol.name
    assert (
        changed.notes[0]
        == f"Protocol {name} with iterations=7 k=3. The card of {name}, without these settings, says: {note}"
    )


# -------------------------------------------------------------------------------------------- what does not belong


OTHERS: dict[str, dict[str, Any]] = {
    "another protocol": {"protocol": "paper", "settings": {"encoder_weights": "none"}, "weights": None},
    "another length": {"settings": {"iterations": 299}},
    "another learning rate": {"settings": {"learning_rate": 1e-3}},
    "another view": {"settings": {"views.teacher": "strong1"}},
    "another augmentation": {"settings": {"augmentation.hue": 0.1}},
    "another hyperparameter": {"hyper": {"k": 3}},
    "another version of the method": {"version": 2},
    "another labelled share": {"labeled": 181},
    "another data set": {"benchmark": KVASIR, "train": 800, "labeled": 40},
    "another split of the same data": {"settings": {"split": "other"}},
    "a split drawn by another rule": {"rule": Split(test=779, seed=2019)},
    "a run that is not finished": {"status": "running"},
    "a run that failed": {"status": "failed"},
    "a run with metrics of another choice": {"metric": "jaccard"},
    "few training images, of which 5% are none": {"train": 9, "labeled": 2, "fingerprint": "a" * 16},
}


@pytest.mark.parametrize("what", OTHERS)
def test_runs_that_differ_are_not_mixed_in(what: str, store: Store) -> None:
    write_run(store, "ucmt", 1, [0.5])
    write_run(store, "ucmt", 2, [0.25], **OTHERS[what])
    table = table4(store)
    assert (measured(table)["UCMT"], column(table, "Seeds")["UCMT"]) == ("50.00", "1")


def test_runs_with_fewer_training_images_than_the_share_asks_for_are_not_mixed_in(store: Store) -> None:
    write_run(store, "mt", 1, [0.25], train=50, labeled=20)
    write_run(store, "mt", 2, [0.5], labeled=200)
    assert measured(table4(store, labeled=("200",)))["MT"] == "50.00"


def test_what_set_says_is_what_is_shown(store: Store) -> None:
    write_run(store, "ucmt", 1, [0.5])
    write_run(store, "ucmt", 1, [0.25], hyper={"k": 3})
    write_run(store, "mt", 1, [0.75], settings={"iterations": 7})
    write_run(store, "ucmt", 1, [0.125], settings={"iterations": 7}, hyper={"k": 3})
    assert measured(table4(store, settings={"metrics": ["dsc"], "k": 3}))["UCMT"] == "25.00"
    seven = {"metrics": ["dsc"], "iterations": 7}
    assert measured(table4(store, settings=seven)) == dict.fromkeys(TITLES, "no run") | {"MT": "75.00"}
    assert measured(table4(store, settings=seven | {"k": 3}))["UCMT"] == "12.50"


def test_a_share_may_be_said_as_a_number(store: Store) -> None:
    write_run(store, "mt", 1, [0.5], labeled=90)
    assert measured(table4(store, labeled=("90",)))["MT"] == measured(table4(store, labeled=("5%",)))["MT"] == "50.00"
    assert measured(table4(store, labeled=("91",)))["MT"] == "no run"


def test_the_published_numbers_hang_on_the_share_and_not_on_how_it_is_written(store: Store) -> None:
    assert column(table4(store, labeled=("5.0%",)), "DSC [%] published") == column(table4(store), "DSC [%] published")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_runs_of_either_device_are_shown(device: str, store: Store) -> None:
    write_run(store, "mt", 1, [0.5], protocol="paper", device=device)
    assert measured(table4(store, protocol="paper"))["MT"] == "50.00"


def test_a_file_of_weights_is_known_by_its_content_where_it_is_at_hand(store: Store, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("old.pth", "copy.pth", "new.pth")}
    for name, file in files.items():
        file.write_bytes(b"new" if name == "new.pth" else b"old")
    used = hashlib.sha256(b"old").hexdigest()[:16]
    write_run(store, "mt", 1, [0.5], settings={"encoder_weights": str(files["old.pth"])}, weights=used)

    def shown(named: str) -> Table:
        return table4(store, settings={"metrics": ["dsc"], "encoder_weights": named})

    assert measured(shown(str(files["copy.pth"])))["MT"] == "50.00"
    assert measured(shown(str(files["new.pth"])))["MT"] == "no run"
    assert measured(shown("elsewhere.pth"))["MT"] == "50.00"
    assert f"Encoder weights: old.pth (SHA-256 {used}...)." in shown("elsewhere.pth").notes


def test_two_precisions_never_stand_in_one_table(store: Store) -> None:
    for seed, device in ((1, "cpu"), (2, "cuda")):
        write_run(store, "mt", seed, [seed / 4], protocol="paper", device=device)
    with pytest.raises(UserError, match=r"precision.*bf16 .*, fp32 "):
        table4(store, protocol="paper")
    chosen = {"metrics": ["dsc"], "precision": "bf16"}
    assert measured(table4(store, protocol="paper", settings=chosen))["MT"] == "50.00"


def test_two_data_fingerprints_never_stand_in_one_table(store: Store) -> None:
    write_run(store, "mt", 1, [0.5], fingerprint="a1" * 8)
    write_run(store, "cps", 1, [0.25], fingerprint="b2" * 8)
    with pytest.raises(UserError, match=r"--data.*a1a1.*, b2b2"):
        table4(store)
    runs = store.runs()
    specs = [run.spec for run in runs]
    for beginning, to_come, expected in (
        ("a", [], {"MT": "50.00"}), ("b2b2", [], {"CPS": "25.00"}), ("c", ["isic"], {})
    ):  # fmt: skip
        choice = choose_data([beginning], specs, to_come)
        table = table4([run for run in runs if choice.includes(run.spec)])
        assert measured(table) == dict.fromkeys(TITLES, "no run") | expected
    with pytest.raises(
        UserError, match=r"^--data: expected the beginning of one of a1.* \(isic\), b2.* \(isic\); found 'c'$"
    ):
        choose_data(["a", "c"], specs)


def test_two_files_of_encoder_weights_never_stand_in_one_table(store: Store) -> None:
    for seed in (1, 2):
        write_run(store, "mt", seed, [0.5], weights=str(seed) * 16)
    with pytest.raises(UserError, match="encoder weights"):
        table4(store)


def test_where_a_weight_file_lies_does_not_count(store: Store) -> None:
    write_run(store, "mt", 1, [0.5], settings={"encoder_weights": "/there/weights.pth"})
    table = table4(store, settings={"metrics": ["dsc"], "encoder_weights": "/here/weights.pth"})
    assert measured(table)["MT"] == "50.00"


# -------------------------------------------------------------------------------------------------- what is missing


def test_the_command_names_what_is_missing_with_the_seeds_that_are_there(store: Store) -> None:
    for method, seed in itertools.product(("supervised", "mt", "cps", "cmtv1", "cmtv3"), (1, 5)):
        write_run(store, method, seed, [0.5])
    (note,) = [note for note in table4(store).notes if note.startswith("missing runs: `")]
    expected = (
        "ssl-bench run --methods cmtv2,ucmt --dataset isic --labeled 5% --protocol mini --seeds 1,5 --set "
        "'metrics=['\"'\"'dsc'\"'\"']'"
    )
    assert note == f"missing runs: `{expected}`"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("ssl-bench run --methods mt --data-root 'my data' --dataset isic", "--data-root 'my data'"),
        ("ssl-bench run --data-root=/d --dataset isic --allow-partial", "--data-root /d --allow-partial"),
        ("ssl_bench.run(methods='mt', dataset='isic', data_root='/my data')", "--data-root '/my data'"),
        (
            "ssl_bench.run('mt', data_root=\"d'\", allow_partial=True)",
            "--data-root 'd'\"'\"'' --allow-partial",
        ),
        ("ssl-bench run --methods mt --dataset isic", ""),
    ],
)
def test_commands_say_where_the_data_lies(store: Store, command: str, expected: str) -> None:
    for method, seed in (("mt", 1), ("cps", 2)):
        spec = write_run(store, method, seed, [0.5])
        path = store.root / "runs" / spec.benchmark / spec.method / spec.run_id / "run.json"
        record = json.loads(path.read_text())
        older = {"command": "ssl-bench run --data-root old", "finished": "2025-01-01T00:00:00+00:00"}
        record["provenance"] = {**record["provenance"], "command": command, **(older if method == "mt" else {})}
        path.write_text(json.dumps(record))
    notes = table4(store).notes
    commands = [note for note in notes if note.startswith("missing runs")]
    assert len(commands) >= 2
    for one in commands:
        assert one.removesuffix("`").endswith(f"'metrics=['\"'\"'dsc'\"'\"']' {expected}".rstrip())
    partial = [note for note in notes if "--allow-partial accepted" in note]
    assert len(partial) == ("partial" in expected)
    assert all(note.endswith("these runs use 1816.") for note in partial)


def test_units_of_what_trains_and_what_is_tested_are_said(store: Store) -> None:
    for method in METHODS:
        write_run(store, method, 1, [0.5])
    (note,) = [note for note in table4(store).notes if note.startswith("isic (data")]
    assert note == "isic (data ffffffffffffffff): 90 of 1815 training images labelled, 1 image tested."


def test_a_full_table_asks_for_nothing(store: Store) -> None:
    for method in METHODS:
        write_run(store, method, 1, [0.5])
    assert not any("missing runs" in note for note in table4(store).notes)


def test_a_cell_with_fewer_seeds_than_another_lacks_runs(store: Store) -> None:
    for method, seed in itertools.product(METHODS, (1, 2)):
        if (method, seed) != ("cps", 2):
            write_run(store, method, seed, [0.5])
    (note,) = [note for note in table4(store).notes if note.startswith("missing runs: `")]
    assert "--methods cps --dataset isic" in note
    assert "--seeds 1,2 " in note


def test_the_command_of_a_data_set_of_ones_own_names_its_card(store: Store, tmp_path: Path) -> None:
    card = tmp_path / "mine.toml"
    card.write_text((BENCHMARKS_DIR / "datasets/kvasir.toml").read_text().replace('"kvasir"', '"mine"', 1))
    table = table4(store, datasets=(str(card),))
    (note,) = [note for note in table.notes if note.startswith("missing runs: `")]
    assert f"--dataset {card}" in note  # `--dataset mine` is no data set that the command line knows


# ----------------------------------------------------------------------------------------------------------- status


def test_status_says_where_every_run_stands_and_why_one_failed(store: Store) -> None:
    write_run(store, "mt", 1, [0.5, 0.25])
    write_run(store, "mt", 2, [0.5], status="running")
    failed = write_run(store, "cps", 1, [0.5], status="failed")
    write_run(store, "ucmt", 1, [0.5], metric="jaccard")
    table = status_table(store.entries(), {})
    rows = {(row[3], row[4]): row for row in table.rows}
    assert rows["mt", "1"][5:8] == ["finished", "300/300", "37.50"]
    assert rows["mt", "2"][5:8] == ["interrupted", "0/300", ""]
    assert rows["cps", "1"][5:8] == ["failed", "0/300", ""]
    assert rows["ucmt", "1"][5:8] == ["finished", "300/300", ""]
    assert table.notes == [f"{failed.hash}: not finite at iteration 3: [loss1] = nan"]
    console = Console(file=io.StringIO(), width=200)
    table.print(console)
    assert "[loss1] = nan" in console.file.getvalue()  # type: ignore[attr-defined]  # no markup is taken from it


def test_status_counts_many_finished_runs_and_lists_the_others(store: Store) -> None:
    for seed in range(1, 62):
        write_run(store, "mt", seed, [seed / 100])
    waits = write_run(store, "cps", 1, [0.5], status="running")
    table = status_table(store.entries(), {waits.hash: "pending", "0" * 16: "pending"})
    assert [row[3:9] for row in table.rows] == [
        ["cps", "1", "interrupted, pending", "0/300", "", waits.hash],
        ["mt", "61 seeds", "finished", "", "1.00 to 61.00", "61 runs"],
    ]
    assert table.notes[0] == "1 more run in the cluster's queue."
    assert len(status_table(store.entries(), {}, every=True).rows) == 62


def test_status_tells_runs_apart_by_the_settings_that_most_of_their_like_do_not_have(store: Store) -> None:
    plain = write_run(store, "ucmt", 1, [0.5])
    warm = write_run(store, "ucmt", 1, [0.5], settings={"ema_warmup": False})
    both = write_run(store, "ucmt", 1, [0.5], settings={"teacher_source": [0.5, 0.5]}, hyper={"k": 3})
    write_run(store, "ucmt", 2, [0.5])
    table = status_table(store.entries(), {})
    assert table.header[-1] == "Settings"
    told = {row[8]: row[9] for row in table.rows}
    assert told[warm.hash] == "ema_warmup=false"
    assert told[both.hash] == "k=3, teacher_source=[0.5, 0.5]"
    assert told[plain.hash] == ""
    assert len(told) == 4


def test_status_names_both_settings_where_there_are_two_runs(store: Store) -> None:
    cvc = load_benchmark("cvc")
    random = write_run(store, "mt", 1, [0.5], settings={"split": "random"}, benchmark=cvc)
    sequence = write_run(store, "mt", 1, [0.5], settings={"split": "by-sequence"}, benchmark=cvc)
    told = {row[8]: row[9] for row in status_table(store.entries(), {}).rows}
    assert told == {random.hash: "split=random", sequence.hash: "split=by-sequence"}
    share = write_run(store, "mt", 1, [0.5], settings={"split": "random"}, benchmark=cvc, train=400)
    assert {row[8]: row[9] for row in status_table(store.entries(), {}).rows} == told | {share.hash: ""}


def test_settings_are_those_that_decide_a_number_one_by_one(store: Store) -> None:
    plain = write_run(store, "mt", 1, [0.5])
    write_run(store, "mt", 2, [0.5])
    assert status_table(store.entries(), {}).header[-1] == "Run"  # seeds have a column
    words = {"title": "another", "note": "of a card edited since"}
    jitter = write_run(store, "mt", 1, [0.5], settings={"augmentation.jitter": 0.1, **words})
    other = write_run(store, "mt", 1, [0.5], fingerprint="e" * 16)
    assert {row[8]: row[9] for row in status_table(store.entries(), {}).rows if row[4] == "1"} == {
        plain.hash: "", jitter.hash: "augmentation.jitter=0.1", other.hash: "data_fingerprint=" + "e" * 16,
    }  # fmt: skip


def test_an_unfinished_run_is_told_from_finished_ones_that_are_counted(store: Store) -> None:
    for seed in range(1, 62):
        write_run(store, "mt", seed, [0.5])
    stopped = write_run(store, "mt", 1, [0.5], settings={"ema_decay": 0.5}, status="running")
    table = status_table(store.entries(), {})
    assert [row[8:] for row in table.rows] == [[stopped.hash, "ema_decay=0.5"], ["61 runs", ""]]


def test_a_run_of_another_version_hides_no_row_of_its_like(store: Store) -> None:
    write_run(store, "mt", 1, [0.5])
    folder = store.folder(write_run(store, "mt", 1, [0.5], settings={"ema_decay": 0.5}))
    data = json.loads((folder.path / "run.json").read_text())
    data["spec"]["protocol"]["of_another_version"] = 1
    (folder.path / "run.json").write_text(json.dumps(data))
    table = status_table(store.entries(), {})
    assert (len(table.rows), table.header[-1]) == (2, "Run")


@pytest.mark.parametrize("width", [20, 60, 200])
def test_no_terminal_is_so_narrow_that_a_name_or_number_is_cut(width: int) -> None:
    rows = [["Supervised, 100%", "78.48 ± 0.48", "as the paper has it"], ["its student1", "100.00", "words"]]
    console = Console(file=io.StringIO(), width=width)
    Table("", ["Method", "DSC [%]\nmeasured", "Remark"], rows, frozenset({"DSC [%]\nmeasured"})).print(console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    words = {"Supervised, 100%", "78.48 ± 0.48", "its student1", "100.00", "measured", "paper"}
    assert {word for word in words if word in printed} == words
    assert console.width == width


def test_a_runs_name_is_never_broken(store: Store) -> None:
    spec = write_run(store, "mt", 1, [0.5], settings={"ema_decay": 0.5})
    write_run(store, "mt", 1, [0.5], settings={"teacher_source": [0.25, 0.75]})
    console = Console(file=io.StringIO(), width=110)
    status_table(store.entries(), {}).print(console)
    assert spec.hash in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_brief_look_sees_what_a_long_one_does(store: Store) -> None:
    write_run(store, "mt", 2, [0.5, None])
    write_run(store, "mt", 1, [0.25], metric="jaccard")
    write_run(store, "cps", 1, [0.5], status="failed")
    for entry, run in zip(store.entries(), store.runs(), strict=True):
        spec = run.spec
        assert (entry.benchmark, entry.labeled, entry.train_count, entry.protocol, entry.method, entry.seed) == (
            spec.benchmark, spec.labeled, spec.train_count, spec.protocol.name, spec.method, spec.seed,
        )  # fmt: skip
        assert (entry.hash, entry.status, entry.iteration, entry.iterations, entry.error) == (
            spec.hash, run.status, run.iteration, run.iterations, run.error,
        )  # fmt: skip
    assert [entry.headline for entry in store.entries()] == [None, None, 0.5]
    assert [run.spec.method for run in store.runs(of={("isic", "cps")})] == ["cps"]


def test_a_run_with_damaged_scores_is_left_out_and_named(store: Store) -> None:
    for seed, score in ((1, 0.5), (2, 0.7), (3, 0.9)):
        write_run(store, "mt", seed, [score, score])
    damaged = cases_file(store.runs()[2].path)
    damaged.write_text(damaged.read_text().rpartition("teacher")[0])  # its last case is lost
    shown = table4(store)
    assert measured(shown)["MT"].startswith("60.00 ± 14.14")
    (note,) = [note for note in shown.notes if note.startswith("Left out")]
    assert note.startswith(
        f"Left out: {damaged}: altered since it was written: its SHA-256 is not the one in run.json."
    )


# ----------------------------------------------------------------------------------------------------------- formats


def test_the_same_store_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    runs = [("mt", 2, [0.5, None]), ("ucmt", 1, [0.25, 0.5]), ("mt", 1, [0.75, 0.5])]
    for method, seed, scores in runs:
        write_run(store, method, seed, scores)
    other = Store(tmp_path / "other")
    for method, seed, scores in runs[::-1]:
        write_run(other, method, seed, scores)
    for name, write in FORMATS.items():
        texts = {write([table4(place, ShownOptions(all_networks=True))]) for place in (store, store, other)}
        assert len(texts) == 1, name
        assert "ucmt" in texts.pop().lower()


AWKWARD = Table(
    "A_title with 5% & more",
    ["Method", "L_mts", "DSC [%]"],
    [["a & b", "✓", "81.2 ± 0.3"], [r"c\d {e} #1 $2 ~x ^y", "—", "1,5"], ['"quoted"', "x | y", "[bold]z[/bold]"]],
    frozenset({"DSC [%]"}),
    ["5% of_the & notes"],
)


def test_latex_is_escaped() -> None:
    text = AWKWARD.latex()
    assert r"\caption{A\_title with 5\% \& more}" in text
    assert r"\begin{tabular}{llr}" in text
    assert r"Method & L\_mts & DSC [\%] \\" in text
    assert r"a \& b & \checkmark & 81.2 $\pm$ 0.3 \\" in text
    assert r"c\textbackslash{}d \{e\} \#1 \$2 \textasciitilde{}x \textasciicircum{}y & -- & 1,5 \\" in text
    assert text.startswith("% 5% of_the & notes\n")  # a comment, which needs no escape
    assert text.count(r"\begin") == text.count(r"\end")


def test_csv_reads_back_as_it_was() -> None:
    assert list(csv.reader(io.StringIO(AWKWARD.csv()))) == [AWKWARD.header, *AWKWARD.rows]


def test_markdown_has_a_cell_for_every_column() -> None:
    lines = AWKWARD.markdown().splitlines()
    assert lines[0] == "**A_title with 5% & more**"
    assert lines[3] == "| --- | --- | ---: |"
    assert lines[6] == r'| "quoted" | x \| y | [bold]z[/bold] |'
    assert lines[-1] == "- 5% of_the & notes"


def test_the_terminal_shows_brackets_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=120)
    AWKWARD.print(console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold]z[/bold]" in text
    assert "DSC [%]" in text
    assert "5% of_the & notes" in text


# ----------------------------------------------------------------------------------------------------------- imports


def test_the_store_and_the_tables_need_no_torch_and_no_report_the_training_code() -> None:
    program = (
        "import sys, ssl_bench.store, ssl_bench.reporting.table, ssl_bench.grids.match, ssl_bench.reporting.runs\n"
        "from ssl_bench.launch.launcher import queued; from pathlib import Path; queued(Path())\n"
        "assert 'torch' not in sys.modules\n"
        "import ssl_bench.reporting.tables, ssl_bench.reporting.figures, ssl_bench.reporting.publish\n"
        "import ssl_bench.reporting.site\n"
        "slow = {'ssl_bench.training.job', 'ssl_bench.scoring.inference', 'segmentation_models_pytorch'}\n"
        "assert not slow & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=REPOSITORY, capture_output=True)


def test_the_fully_supervised_line_stands_on_top_where_it_was_run(store: Store) -> None:
    write_run(store, "supervised", 1, [0.5])
    assert "Supervised, 100%" not in measured(table4(store))
    write_run(store, "supervised", 1, [0.75], labeled=1815)
    table = table4(store)
    assert table.rows[0][0] == "Supervised, 100%"
    assert measured(table)["Supervised, 100%"] == "75.00"
    assert measured(table)["Supervised"] == "50.00"


def test_rows_that_differ_in_their_seeds_are_said_to(store: Store) -> None:
    for method, seed in (("mt", 1), ("mt", 2), ("cps", 1)):
        write_run(store, method, seed, [0.5])
    (note,) = [note for note in table4(store).notes if "differ in their seeds" in note]
    assert "mt 1, 2" in note
    assert "cps 1" in note


def test_rows_of_one_method_that_differ_in_their_seeds_are_said_to(store: Store, tmp_path: Path) -> None:
    card = tmp_path / "study.toml"
    card.write_text(
        'kind = "table"\ntitle = "k"\nbaseline = "ucmt"\n[[columns]]\ndataset = "isic"\nlabeled = "5%"\n'
        + "".join(f'[[rows]]\ntitle = "k = {k}"\nmethod = "ucmt"\nsettings = {{ k = {k} }}\n' for k in (1, 2, 3))
    )

    def shown() -> TableReport:
        target = Target(protocol="mini", settings={"metrics": ["dsc"]})
        return paper_table(load_grid("table", str(card)), target, store.runs(), METHODS, ShownOptions())

    for k, seed in ((2, 1), (2, 2), (3, 1)):
        write_run(store, "ucmt", seed, [0.1 * k, 0.2 * k, 0.25 * k + seed / 50], hyper={"k": k, "r": 16})
    (note,) = [note for note in shown().tables[0].notes if "differ in their seeds" in note]
    assert "ucmt 1, 2; ucmt 1" in note
    # the baseline is the study's first row: while it has no run, nothing is compared with it, or with another for it
    assert {row["vs_baseline_other"] for row in csv.DictReader(io.StringIO(shown().statistics_csv))} == {""}
    write_run(store, "ucmt", 1, [0.1, 0.2, 0.3], hyper={"k": 1, "r": 16})
    compared = {row["row"]: row["vs_baseline_other"] for row in csv.DictReader(io.StringIO(shown().statistics_csv))}
    assert compared == {"k = 1": "", "k = 2": "k = 1", "k = 3": "k = 1"}


def test_a_run_of_two_machines_is_named_with_both(store: Store) -> None:
    whole, parted = (write_run(store, "mt", seed, [0.5]) for seed in (1, 2))
    note = "in parts on different machines"
    assert not [line for line in table4(store).notes if note in line]
    path = store.folder(parted).path / "run.json"
    record = json.loads(path.read_text())
    record["provenance"]["earlier"] = [record["provenance"] | {"device": "another device"}]
    path.write_text(json.dumps(record))
    (line,) = [line for line in table4(store).notes if note in line]
    assert parted.hash in line
    assert whole.hash not in line
    assert any("on a device; another device" in line for line in table4(store).notes)


def test_rows_of_the_same_seeds_need_no_such_note(store: Store) -> None:
    for method, seed in (("mt", 1), ("mt", 2), ("cps", 1), ("cps", 2)):
        write_run(store, method, seed, [0.5])
    assert not [note for note in table4(store).notes if "differ in their seeds" in note]


def test_the_command_leaves_out_what_the_missing_methods_do_not_know(store: Store) -> None:
    write_run(store, "ucmt", 1, [0.5], hyper={"k": 3})
    (note,) = [
        note
        for note in table4(store, settings={"metrics": ["dsc"], "k": 3}).notes
        if note.startswith("missing runs: `")
    ]
    assert "k=3" not in note
    assert "metrics=" in note
