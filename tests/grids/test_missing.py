"""What a table or figure still lacks is listed, estimated and trained, and nothing is trained twice."""

import json
import re
import shlex
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Call
from handwritten import KVASIR, METHODS, write_run

import ssl_bench
from ssl_bench.cards import Benchmark, ImageProtocol, all_grids, load_benchmark, load_grid, load_protocol
from ssl_bench.errors import UserError
from ssl_bench.grids.aim import Target, make_target
from ssl_bench.grids.missing import Estimate, estimate, lacking, requests, require_one_precision, wanted_runs
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.missing_runs import lack_table, predicted_operations
from ssl_bench.reporting.tables import paper_table
from ssl_bench.store import Store

MINI = Target(protocol="mini", settings={"metrics": ["dsc"]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def lacks_of(
    store: Store, *grids: tuple[str, int], seeds: tuple[int, ...] = (1, 2), target: Target = MINI
) -> list[str]:
    runs = store.runs()
    wanted = wanted_runs([load_grid(kind, str(number)) for kind, number in grids], target, METHODS, runs)  # type: ignore[arg-type]
    return [f"{lack.place.method} {lack.place.column.labeled} {lack.seed}" for lack in lacking(wanted, seeds, runs)]


def test_what_is_there_is_not_wanted_again(store: Store) -> None:
    for method, seed in (("supervised", 1), ("mt", 1), ("mt", 2), ("ucmt", 2)):
        write_run(store, method, seed, [0.5])
    write_run(store, "cps", 1, [0.5], status="failed")
    write_run(store, "cmtv1", 1, [0.5], protocol="demo")
    assert lacks_of(store, ("table", 4)) == [
        "cps 5% 1", "cmtv1 5% 1", "cmtv2 5% 1", "cmtv3 5% 1", "ucmt 5% 1",
        "supervised 5% 2", "cps 5% 2", "cmtv1 5% 2", "cmtv2 5% 2", "cmtv3 5% 2",
    ]  # fmt: skip


def test_an_upper_line_that_is_begun_is_wanted_whole(store: Store) -> None:
    for method in ("supervised", "mt", "cps", "cmtv1", "cmtv2", "cmtv3", "ucmt"):
        for seed in (1, 2):
            write_run(store, method, seed, [0.5])
    assert lacks_of(store, ("table", 4)) == []
    write_run(store, "supervised", 1, [0.5], labeled=1815)
    assert lacks_of(store, ("table", 4)) == ["supervised 100% 2"]
    found = paper_table(load_grid("table", "4"), MINI, store.runs(), METHODS, ShownOptions())
    (command,) = found.missing
    assert "--methods supervised --dataset isic --labeled 100% --protocol mini --seeds 1,2" in command
    write_run(store, "supervised", 2, [0.5], labeled=1815)
    assert lacks_of(store, ("table", 4)) == []


def test_scores_on_the_way_are_wanted_where_they_are_asked_for(store: Store) -> None:
    write_run(store, "mt", 1, [0.5])
    asking = Target(protocol=MINI.protocol, settings={**MINI.settings, "score_every": 20})
    assert "mt 5% 1" not in lacks_of(store, ("table", 4), seeds=(1,))
    assert "mt 5% 1" in lacks_of(store, ("table", 4), seeds=(1,), target=asking)
    write_run(store, "mt", 1, [0.5], settings={"score_every": 30})
    assert "mt 5% 1" in lacks_of(store, ("table", 4), seeds=(1,), target=asking)
    write_run(store, "mt", 1, [0.5], settings={"score_every": 10})  # every second point is there
    assert "mt 5% 1" not in lacks_of(store, ("table", 4), seeds=(1,), target=asking)


def test_validation_on_the_way_is_wanted_where_it_is_asked_for(store: Store) -> None:
    validated = {**MINI.settings, "validation": "labeled"}
    plain, asking = (Target(protocol="mini", settings={**validated, **own}) for own in ({}, {"validate_every": 20}))
    for every, is_lacking in ((None, True), (30, True), (10, False)):  # of 10, every second point is there
        write_run(store, "mt", 1, [0.5], settings={"validation": "labeled", "validate_every": every})
        assert "mt 5% 1" not in lacks_of(store, ("table", 4), seeds=(1,), target=plain)
        assert ("mt 5% 1" in lacks_of(store, ("table", 4), seeds=(1,), target=asking)) == is_lacking


def test_cells_that_differ_in_their_curves_are_two() -> None:
    def cell(**settings: Any) -> str:
        settings = {"metrics": ["dsc"], "validation": "labeled", **settings}
        wanted = wanted_runs([load_grid("table", "4")], Target(protocol="mini", settings=settings), METHODS)
        return next(name for name, place in wanted.items() if place.method == "mt")

    assert len({cell(), cell(score_every=5), cell(validate_every=5), cell(validate_every=10)}) == 4


def test_of_two_that_trained_alike_the_scored_one_is_taken(store: Store) -> None:
    write_run(store, "mt", 1, [0.5], settings={"score_every": 10}, metric="jaccard")
    assert "mt 5% 1" in lacks_of(store, ("table", 4), seeds=(1,))
    write_run(store, "mt", 1, [0.5])
    assert "mt 5% 1" not in lacks_of(store, ("table", 4), seeds=(1,))


def test_a_run_with_the_points_is_taken_before_one_with_the_scores_alone(store: Store) -> None:
    asking = Target(protocol=MINI.protocol, settings={**MINI.settings, "score_every": 20})
    write_run(store, "mt", 1, [0.5], settings={"score_every": 30})
    write_run(store, "mt", 1, [0.5], settings={"score_every": 10}, metric="jaccard")
    runs = store.runs()
    lacks = lacking(wanted_runs([load_grid("table", "4")], asking, METHODS, runs), (1,), runs)
    assert [lack.is_trained for lack in lacks if (lack.place.method, lack.place.column.labeled) == ("mt", "5%")] == [
        True
    ]


def test_a_run_on_images_of_other_channels_is_another_cells(store: Store) -> None:
    spec = write_run(store, "mt", 1, [0.5])
    path = store.own_folder(spec).path / "run.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "spec": {**data["spec"], "channels": 1}}))
    assert "mt 5% 1" in lacks_of(store, ("table", 4), seeds=(1,))


def test_how_no_validation_would_go_makes_no_other_run(store: Store) -> None:
    write_run(store, "mt", 1, [0.5], settings={"validation_share": 0.5})
    assert "mt 5% 1" not in lacks_of(store, ("table", 4), seeds=(1,))
    write_run(store, "cps", 1, [0.5], settings={"validation_share": 0.5, "validation": "labeled"})
    assert "cps 5% 1" in lacks_of(store, ("table", 4), seeds=(1,))


def test_a_run_that_several_exhibits_show_is_wanted_once(store: Store) -> None:
    # Tables 1 and 4 share MT, CPS, CMTv3 and UCMT at 5 %; Table 5 has UCMT with k = 2 and r = 16, which is its default.
    ones = [lacks_of(store, ("table", number), seeds=(1,)) for number in (1, 4, 5)]
    together = lacks_of(store, ("table", 1), ("table", 4), ("table", 5), seeds=(1,))
    assert [len(own) for own in ones] == [14, 7, 15]
    assert len(together) == 14 + 7 + 15 - 4 - 1


def test_the_whole_paper_is_its_different_runs() -> None:
    wanted = wanted_runs(all_grids(), Target(), METHODS)
    # By hand. Tables: 14 + 28 + 20, of Table 4 supervised, CMTv1 and CMTv2 are new, of Table 5 all but k = 2, r = 16.
    tables = 14 + 28 + 20 + 3 + 14
    # Figure 1: MT, CPS, UCMT at 2 and 20 % (5 and 10 % are Table 1's). Figure 3: CutMix at 2 x 4 shares, UCMT on LA at
    # 2 and 5 %. Figure 4: supervised on Kvasir, CVC and LA. Figure 5: nothing new.
    figures = 6 + 8 + 2 + 3
    assert len(wanted) == tables + figures


def test_what_differs_in_its_method_alone_is_one_request(store: Store) -> None:
    wanted = wanted_runs([load_grid("table", "1")], MINI, METHODS)
    asked = requests(lacking(wanted, (1, 2), store.runs()))
    assert [(one.labeled, one.seeds, one.methods, one.settings.get("network")) for one in asked] == [
        (share, (seed,), methods, network)
        for seed in (1, 2)
        for methods, network, share in (
            (("mt", "cct", "cps", "cmtv3", "ucmt"), None, "5%"), (("mt", "cct", "cps", "cmtv3", "ucmt"), None, "10%"),
            (("ugcl",), "unet", "5%"), (("ugcl",), "unet", "10%"),
            (("ucmt",), "unet-small", "5%"), (("ucmt",), "unet-small", "10%"),
        )
    ]  # fmt: skip


def test_the_time_is_estimated_from_finished_runs_like_it(store: Store) -> None:
    for seed, seconds in ((1, 100.0), (2, 300.0)):
        write_run(store, "mt", seed, [0.5], seconds=seconds)
    write_run(store, "mt", 1, [0.5], labeled=181, seconds=1000.0)
    write_run(store, "cps", 1, [0.5], settings={"iterations": 7}, seconds=5.0)
    wanted = wanted_runs([load_grid("table", "1")], MINI, METHODS)
    runs = store.runs()
    every = lacking(wanted, (3,), runs)
    lacks = {f"{one.place.method} {one.place.column.labeled}": one for one in every}
    assert estimate(lacks["mt 5%"], runs) == Estimate(200)
    scoring = statistics.fmean(run.headline.seconds for run in runs if run.spec.labeled == 90)
    assert estimate(replace(lacks["mt 5%"], is_trained=True), runs) == Estimate(scoring)
    assert estimate(lacks["mt 10%"], runs) == Estimate(1000)
    assert estimate(lacks["cps 5%"], runs) is None  # seven iterations say nothing of three hundred
    write_run(store, "ucmt", 1, [0.5], settings={"ema_decay": 0.9}, seconds=500.0)  # as long as one of another decay
    assert estimate(lacks["ucmt 5%"], store.runs()) == Estimate(500)
    text = "\n".join(lack_table(every, len(wanted), runs).notes)
    assert "14 of 14 runs are missing" in text
    assert f"{1200 / 3600:.2f} hours" in text
    assert "12 of them cannot be estimated" in text


def test_the_time_of_a_method_without_runs_is_estimated_from_another_by_their_operations(store: Store) -> None:
    for seed, seconds in ((1, 100.0), (2, 300.0)):
        write_run(store, "mt", seed, [0.5], seconds=seconds)
    write_run(store, "supervised", 1, [0.5], seconds=60.0)
    write_run(store, "mt", 3, [0.5], seconds=20.0, settings={"lambda_max": 0.3})  # another kind of run of MT
    write_run(store, "cps", 1, [0.5], settings={"iterations": 7}, seconds=5000.0)
    runs = store.runs()
    every = lacking(wanted_runs([load_grid("table", "1")], MINI, METHODS), (3,), runs)
    lacks = {f"{one.place.method} {one.place.column.labeled}": one for one in every}
    asked = []

    def operations(
        benchmark: Benchmark, method: str, hyper: Mapping[str, Any], protocol: ImageProtocol
    ) -> float | None:
        asked.append((benchmark.name, method, dict(hyper), protocol.iterations))
        return {"mt": 20.0, "cps": 50.0, "ucmt": 0.0}.get(method)

    # MT is slower than the supervised network, and a run of seven iterations has another cost.
    assert estimate(lacks["cps 5%"], runs, operations) == Estimate(200 * 50 / 20, is_scaled=True)
    assert asked == [("isic", "cps", {}, 300), ("isic", "mt", {}, 300)]
    assert estimate(lacks["mt 5%"], runs, operations) == Estimate(200)
    assert estimate(lacks["cct 5%"], runs, operations) is None  # no operations can be predicted
    assert estimate(lacks["ugcl 5%"], runs, operations) is None
    assert asked[-1] == ("isic", "mt", {}, 300)  # UGCL's row has another network, which its operations count
    table = lack_table(every, 14, runs, operations)
    hours = {(row[3], row[1]): row[-1] for row in table.rows if "network" not in str(row[4])}
    assert hours["cps", "5%"] == f"≈ {500 / 3600:.2f}"
    assert hours["mt", "5%"] == f"{200 / 3600:.2f}"
    assert "≈ Estimated time of 2 runs of methods without a similar finished run" in "".join(table.notes)


def test_a_dry_run_predicts_the_time_of_methods_without_runs(call: Call, tmp_path: Path) -> None:
    words = ["reproduce", "--table", "4", "--dataset", "demo", "--protocol", "tiny"]
    words += ["--iterations", "2", "--seeds", "1"]
    assert call("run", *words[3:], "--methods", "mt")[0] == 0
    code, out, _ = call(*words, "--dry-run")
    assert code == 0
    assert "≈ Estimated time of 6 runs of methods without a similar finished run" in " ".join(out.split())
    broken = tmp_path / "own"
    broken.mkdir()
    (broken / "broken.py").write_text("import nowhere\n")
    operations = predicted_operations([broken])
    protocol = load_protocol("tiny", {}, dimensions=2).resolved(load_benchmark("demo"), 300, "cpu")
    assert operations(load_benchmark("demo"), "mt", {}, protocol) is None  # nothing is predicted, and nothing fails


def test_runs_of_another_precision_are_not_completed(store: Store) -> None:
    target = Target(settings={"metrics": ["dsc"]})
    wanted = wanted_runs([load_grid("table", "4")], target, METHODS)
    there = write_run(store, "mt", 1, [0.5], protocol="paper", device="cpu")
    other = there.model_copy(update={"protocol": there.protocol.model_copy(update={"precision": "bf16"})})
    require_one_precision(wanted, [there.model_copy(update={"seed": 2})], store.runs())
    require_one_precision(wanted, [other.model_copy(update={"data_fingerprint": "another"})], store.runs())
    with pytest.raises(UserError, match=r"have precision fp32, the missing ones would have bf16.*precision=fp32"):
        require_one_precision(wanted, [other.model_copy(update={"seed": 2})], store.runs())


def test_reproduce_trains_what_is_missing_and_then_nothing(call: Call) -> None:
    words = ["reproduce", "--table", "4", "--dataset", "demo", "--protocol", "tiny", "--iterations", "1"]
    words += ["--seeds", "1", "--set", 'metrics=["dsc"]']
    code, out, _ = call(*words, "--dry-run")
    assert code == 0
    assert "7 of 7 runs are missing" in out
    assert not Path("results").exists()
    assert call("run", *words[3:], "--methods", "mt,cps")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in Path("results").glob("runs/*/*/*/run.json")}
    assert len(before) == 2
    code, out, _ = call(*words)
    assert code == 0
    assert "5 of 7 runs are missing" in out
    assert out.count("finished (") == 5
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    code, out, _ = call(*words)
    assert (code, "finished (" in out) == (0, False)
    assert "0 of 7 runs are missing" in out
    code, out, _ = call("report", *words[1:9], "--format", "csv", "--set", 'metrics=["dsc"]')
    assert "no run" not in out


ROWS = """
kind = "table"
title = "One row has a network of its own"
columns = [{ dataset = "demo", labeled = "2%" }]

[[rows]]
method = "supervised"

[[rows]]
title = "MT (U-Net)"
method = "mt"
settings = { network = "unet" }  # takes sides divisible by 32 alone
"""


def test_runs_that_the_settings_of_their_row_keep_from_training_are_left_out(call: Call) -> None:
    Path("own.toml").write_text(ROWS)
    words = ["reproduce", "--table", "own.toml", "--protocol", "tiny", "--iterations", "1", "--seeds", "1,2"]
    small = ["--set", "image_size=48", "--set", "augment_size=48"]
    said = "image_size 48 must be divisible by 32 for unet"
    for dry in (["--dry-run"], []):
        code, out, _ = call(*words, *small, *dry)
        out = " ".join(out.split())
        assert code == 0
        assert "2 of 2 runs are missing; 0 exist." in out
        assert "2 runs of mt on demo cannot be trained at the settings of their row and are left out: " in out
        assert said in out
    assert out.count("finished (") == 2
    assert [path.parents[1].name for path in Path("results").glob("runs/*/*/*/run.json")] == ["supervised"] * 2
    code, out, _ = call(*words, *small)
    assert code == 0
    assert "0 of 2 runs are missing; 2 exist." in out
    assert said in " ".join(out.split())
    settings = {"image_size": 48, "augment_size": 48, "iterations": 1}
    found = ssl_bench.reproduce(table="own.toml", protocol="tiny", settings=settings, seeds=[1, 3], dry_run=True)
    assert [(lack.place.method, lack.seed) for lack in found.lacks] == [("supervised", 3)]
    ((one, two),) = [unfit.lacks for unfit in found.unfit]
    assert (one.place.method, one.seed, two.seed) == ("mt", 1, 3)


def test_hyperparameters_that_do_not_fit_are_left_out_every_time(call: Call) -> None:
    rows = '[[rows]]\nmethod = "ucmt"\n\n[[rows]]\ntitle = "1/7"\nmethod = "ucmt"\nsettings = { r = 7 }\n'
    Path("own.toml").write_text(ROWS.split("[[rows]]")[0] + rows)
    words = ["reproduce", "--table", "own.toml", "--protocol", "tiny", "--iterations", "2", "--seeds", "1"]
    for missing in (1, 0):  # the finished run of the other row says nothing of this one
        code, out, err = call(*words)
        assert (code, err) == (0, "")
        assert f"{missing} of 1 run is missing" in out
        assert "r: sides of 32x32 must be divisible by r" in " ".join(out.split())


def test_a_rows_setting_that_is_wrong_anywhere_is_refused(call: Call) -> None:
    Path("own.toml").write_text(ROWS.replace('"unet"', '"unett"'))
    code, _, err = call("reproduce", "--table", "own.toml", "--protocol", "tiny", "--iterations", "1", "--seeds", "1")
    (line,) = err.splitlines()
    assert (code, "found 'unett'" in line) == (2, True)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("image_size=50", "image_size 50 must be divisible by"),  # for either network
        ("network=nope", "found 'nope'"),  # of the other row, which has no network of its own
    ],
)
def test_what_no_setting_of_a_row_is_to_blame_for_is_refused(setting: str, message: str, call: Call) -> None:
    Path("own.toml").write_text(ROWS)
    words = ["reproduce", "--table", "own.toml", "--protocol", "tiny", "--set", setting, "--set", "augment_size=64"]
    code, _, err = call(*words)
    (line,) = err.splitlines()
    assert code == 2
    assert message in line
    assert not Path("results").exists()


@pytest.mark.slow
def test_data_that_the_store_does_not_hold_yet_can_be_chosen(call: Call) -> None:
    words = ["reproduce", "--table", "4", "--dataset", "demo", "--protocol", "tiny", "--iterations", "1"]
    words += ["--seeds", "1", "--set", 'metrics=["dsc"]']
    write_run(Store(Path("results")), "mt", 1, [0.5], benchmark=load_benchmark("demo"), protocol="tiny",
              labeled=2, train=24, settings={"iterations": 1})  # fmt: skip
    code, out, err = call(*words, "--dry-run", "--data", "zz")
    assert (code, "7 of 7 runs are missing" in out) == (0, True)
    assert err == "note: --data zz: no matching run has this data yet\n"
    code, _, err = call(*words, "--data", "zz")
    assert code == 2
    found = re.search(
        r"expected demo under --data-root to have a data fingerprint that begins with 'zz'; found (\w{16})$", err, re.M
    )
    assert found, err
    code, _, err = call(*words, "--data", "ffff")  # what the store has, where the data is other
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"begins with 'ffff'; found {found[1]}" in err
    code, out, _ = call(*words, "--data", found[1][:5])
    assert code == 0
    assert out.count("finished (") == 7


def test_chosen_data_chooses_among_the_runs_of_its_own_data_set(call: Call) -> None:
    for benchmark, labeled, train, data in ((KVASIR, 120, 800, "a" * 16), (KVASIR, 120, 800, "b" * 16),
                                            (load_benchmark("cvc"), 73, 490, "c" * 16)):  # fmt: skip
        for seed in (1, 2):
            if seed == 1 or data[0] == "a":
                write_run(Store(Path("results")), "mt", seed, [0.5], benchmark=benchmark, fingerprint=data,
                          labeled=labeled, train=train, protocol="tiny")  # fmt: skip
    words = ["--table", "2", "--protocol", "tiny", "--labeled", "15%", "--set", 'metrics=["dsc"]']
    code, _, err = call("report", *words)
    assert (code, "--data FINGERPRINT: needed" in err) == (2, True)
    code, out, _ = call("report", *words, "--data", "aa", "--format", "markdown")
    assert code == 0
    (row,) = (line for line in out.splitlines() if line.startswith("| MT"))
    assert row.count("50.00") == 2, row
    code, out, _ = call("report", *words, "--data", "bb,cc", "--format", "markdown")
    assert (code, "50.00" in out) == (0, True)
    code, out, _ = call("report", *words, "--data", "aa", "--format", "markdown")
    (printed,) = re.findall(r"all of them by `ssl-bench (.+?)`", out.replace("\n", " "))
    code, out, _ = call(*shlex.split(printed), "--dry-run")
    assert code == 0
    lacked = [line for line in out.splitlines() if "mt" in line.split()]
    assert len(lacked) == 1, out  # seed 2 on CVC-ClinicDB alone
    assert "cvc" in lacked[0].split()
    for command in ("report", "reproduce"):  # of neither data set, so that it could come for either
        code, _, err = call(command, *words, "--data", "zz")
        assert (code, len(err.splitlines())) == (2, 1)
        assert "--data: expected the beginning of one of aaaaaaaaaaaaaaaa (kvasir), " in err
    write_run(Store(Path("results")), "mt", 1, [0.5], fingerprint="e" * 16)
    code, _, err = call("reproduce", *words, "--data", "ee", "--dry-run")  # ISIC is not in the table
    assert (code, "found 'ee'" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reproduce"], ["--table N", "--figure N", "--all"]),
        (["reproduce", "--table", "1", "--all"], ["exactly one of"]),
        (["report"], ["--table N", "--figure N", "--all"]),
        (["report", "--table", "1", "--figure", "1"], ["exactly one of"]),
        (["reproduce", "--table", "9"], ["--table", "1, 2, 3, 4, 5", "9"]),
        (["reproduce", "--figure", "2"], ["--figure", "1, 3, 4, 5", "2"]),
        (["report", "--figure", "1"], ["--output", "--html"]),
        (["report", "--all"], ["--output", "--html"]),
        (["reproduce", "--table", "1", "--seeds", "one"], ["--seeds", "'one'"]),
        (["reproduce", "--table", "1", "--labeled", "many"], ["--labeled", "'many'"]),
        (["reproduce", "--table", "1", "--labeled", ","], ["--labeled", "','"]),
        (["reproduce", "--table", "2", "--data", "zz"], ["--data zz: there are no runs to choose from yet"]),
        (["reproduce", "--table", "1", "--dataset", "nowhere.toml"], ["nowhere.toml"]),
        (["reproduce", "--table", "1", "--set", "nonsense=1"], ["--set nonsense", "Table 1"]),
        (["reproduce", "--table", "2", "--protocol", "tiny", "--seeds", "1"], ["--data-root"]),
        (["reproduce", "--table", "4", "--dataset", "demo", "--set", "score_every=0"], ["score_every", "greater than"]),
        (["report", "--table", "5", "--dataset", "demo3d", "--set", "image_size=64"], ["--set image_size", "3D"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_clear_line(arguments: list[str], words: list[str], call: Call) -> None:
    code, _, err = call(*arguments)
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert all(word in line for word in words), line
    assert not Path("results").exists()


def test_a_share_that_is_said_twice_is_one() -> None:
    assert make_target([], ["15%", "30%", "15.0%"], None, {}).labeled == ("15%", "30%")
