"""What is said of a table's numbers: comparisons, verdicts, costs and the oracle, each against a hand computation."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Call, assert_error
from handwritten import ISIC, KVASIR, METHODS, write_run
from scipy import stats

import ssl_bench
from ssl_bench.cards import Benchmark, Measurement, Row, load_benchmark, load_grid, load_protocol
from ssl_bench.errors import UserError
from ssl_bench.grids.aim import Target, aim, places, upper_line
from ssl_bench.reporting import published as published_module
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.published import differences
from ssl_bench.reporting.table import Cell, Table
from ssl_bench.reporting.tables import TableReport, paper_table
from ssl_bench.statistics.anova import difference, prediction_interval, smallest_difference, squares_of_methods
from ssl_bench.statistics.cell import CellScores
from ssl_bench.store import Store

RNG = np.random.default_rng(20)
PAPER: dict[str, Any] = {"protocol": "paper", "weights": None, "train": 1815, "labeled": 90}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def report(store: Store, number: int = 4, view: ShownOptions | None = None, **target: Any) -> TableReport:
    asked = {"protocol": "mini", "settings": {"metrics": ["dsc"]}} | target
    return paper_table(load_grid("table", str(number)), Target(**asked), store.runs(), METHODS, view or ShownOptions())


def records(found: TableReport, metric: str = "DSC [%]") -> dict[str, dict[str, str]]:
    return {row["row"]: row for row in csv.DictReader(io.StringIO(found.statistics_csv)) if row["metric"] == metric}


def cell(table: Table, row: str, heading: str) -> Cell | str:
    (line,) = [line for line in table.rows if line[0] == row]
    return line[table.headings.index(heading)]


def draw(count: int, mean: float, noise: float = 0.05) -> list[float]:
    return [float(value) for value in np.clip(RNG.normal(mean, noise, count), 0, 1)]


# ------------------------------------------------------------------------------------------------------- statistics


def test_means_and_deviations_over_seeds_and_over_cases_are_told_apart(store: Store) -> None:
    scores = {1: [0.9, 0.8, 0.4], 2: [0.8, 0.6, 0.6], 5: [0.7, 0.7, 0.8]}
    for seed, own in scores.items():
        write_run(store, "mt", seed, own)
    record = records(report(store))["MT"]
    table = 100 * np.array(list(scores.values()))
    assert float(record["mean"]) == pytest.approx(table.mean())
    assert float(record["sd_over_seeds"]) == pytest.approx(table.mean(axis=1).std(ddof=1))
    assert float(record["sd_over_cases"]) == pytest.approx(table.mean(axis=0).std(ddof=1))
    assert (record["seeds"], record["cases"], record["undefined"]) == ("3", "3", "0")
    assert float(record["ci95_low"]) < table.mean() < float(record["ci95_high"])


def test_a_method_is_compared_on_the_mean_over_common_seeds_of_each_case(store: Store) -> None:
    drawn = {("mt", seed): draw(30, 0.7) for seed in (1, 2, 3)}
    drawn |= {("ucmt", seed): draw(30, 0.8) for seed in (2, 3, 4)}
    drawn |= {("supervised", seed): draw(30, 0.5) for seed in (1, 2, 3)}
    for (method, seed), scores in drawn.items():
        write_run(store, method, seed, scores)
    found = records(report(store))

    def expected(method: str, other: str, seeds: tuple[int, ...]) -> tuple[float, float]:
        ours, theirs = (np.mean([drawn[name, s] for s in seeds], axis=0) for name in (method, other))
        return 100 * float(np.mean(ours - theirs)), float(stats.wilcoxon(100 * ours - 100 * theirs).pvalue)

    difference, p_mt = expected("mt", "ucmt", (2, 3))
    _, p_supervised = expected("supervised", "ucmt", (2, 3))
    assert (found["MT"]["vs_best_other"], found["MT"]["vs_best_seeds"], found["MT"]["vs_best_cases"]) == (
        "UCMT",
        "2",
        "30",
    )
    assert float(found["MT"]["vs_best_difference"]) == pytest.approx(difference, abs=1e-5)
    assert float(found["MT"]["vs_best_p_cases"]) == pytest.approx(p_mt, abs=1e-6)
    _, p_both = expected("mt", "supervised", (1, 2, 3))
    # Holm's steps by hand: which of three is the best, the scores themselves say, so all three pairs count
    adjusted, largest = {}, 0.0
    for rank, p in enumerate(sorted([p_mt, p_supervised, p_both])):
        adjusted[p] = largest = max(largest, min(1, (3 - rank) * p))
    assert float(found["MT"]["vs_best_p_cases_holm"]) == pytest.approx(adjusted[p_mt], abs=1e-6)
    assert float(found["Supervised"]["vs_best_p_cases_holm"]) == pytest.approx(adjusted[p_supervised], abs=1e-6)
    assert found["UCMT"]["vs_best_p"] == found["Supervised"]["vs_baseline_p"] == ""  # with itself: nothing to say
    assert found["MT"]["vs_baseline_other"] == "Supervised"


def test_clear_differences_are_marked_and_equal_methods_never(store: Store) -> None:
    low, high = draw(40, 0.5), draw(40, 0.9)
    for seed in (1, 2, 3):
        for method, scores in (("supervised", low), ("mt", low), ("cps", high), ("ucmt", high)):
            write_run(store, method, seed, scores)
    found = report(store)
    texts = {row[0]: str(row[found.tables[0].headings.index("DSC [%] measured")]) for row in found.tables[0].rows}
    low_mean, high_mean = (f"{100 * np.mean(own):.2f} ± 0.00" for own in (low, high))
    assert texts["Supervised"] == f"{low_mean} *"  # against the best; against itself, the baseline, nothing
    assert texts["MT"] == f"{low_mean} *"  # no better than the baseline
    assert texts["CPS"] == texts["UCMT"] == f"{high_mean} +"
    (legend,) = [note for note in found.tables[0].notes if "*: differs" in note]
    assert "Supervised" in legend
    assert "Holm" in legend


def test_the_best_is_bold_and_the_second_underlined_and_ties_share(store: Store) -> None:
    for method, score in (("mt", 0.5), ("cps", 0.75), ("cmtv1", 0.75), ("ucmt", 0.625)):
        write_run(store, method, 1, [score, score])
    table = report(store).tables[0]
    cells = {row[0]: row[table.headings.index("DSC [%] measured")] for row in table.rows}
    emphasis = {title: one.emphasis for title, one in cells.items() if isinstance(one, Cell)}
    assert emphasis == {"MT": "", "CPS": "best", "CMTv1": "best", "UCMT": "second"}
    latex = table.latex()
    assert r"\textbf{75.00}" in latex
    assert r"\underline{62.50}" in latex
    below = latex.split(r"\end{tabular}")[1]
    assert r"\par\footnotesize Bold, underlined: the best and the second best measured mean." in below
    assert r"\par\footnotesize Measured: mean over test cases" in below
    assert "**75.00**" in table.markdown()
    assert "<b>75.00</b>" in table.html()


def test_of_distances_the_smallest_is_best(store: Store) -> None:
    demo3d = load_benchmark("demo3d")
    for method, scores in (("mt", [3.0, 4.0]), ("ucmt", [1.0, 2.0]), ("cps", [5.0, 6.0])):
        write_run(
            store, method, 1, scores, benchmark=demo3d, metric="asd", train=32, labeled=3, weights=None,
        )  # fmt: skip
    found = report(store, 3, datasets=("demo3d",), labeled=("10%",), settings={"metrics": ["asd"]})
    cells = {row[0]: row[found.tables[0].headings.index("ASD [voxel]")] for row in found.tables[0].rows}
    assert isinstance(cells["UCMT"], Cell)
    assert (str(cells["UCMT"]), cells["UCMT"].emphasis) == ("1.50", "best")
    best = records(found, "ASD [voxel]")["CPS"]
    assert (best["vs_best_other"], float(best["vs_best_difference"])) == ("UCMT", 4.0)


def test_few_seeds_are_said_to_say_nothing_of_another_training(store: Store) -> None:
    for seed in range(1, 11):
        write_run(store, "mt", seed, [0.5, 0.75, 0.25])
        notes = " ".join(report(store).tables[0].notes)
        assert ("One seed: intervals" in notes) == (seed == 1)
        assert ("Two seeds: their differences are never marked" in notes) == (seed == 2)
        assert ("Of the variance of the means, seeds have an estimated 0 %" in notes) == (seed > 1)


def test_one_cell_with_few_seeds_is_enough_to_say_so(store: Store) -> None:
    for method, seed in (("mt", 1), ("cps", 2), ("cps", 3), ("cps", 1)):
        write_run(store, method, seed, [0.5, 0.75, 0.25])
    assert "One seed in some cells: intervals" in " ".join(report(store).tables[0].notes)


def test_a_mark_needs_cases_and_seeds_to_agree(store: Store) -> None:
    for method, score in (("mt", 0.5), ("cps", 0.9)):
        write_run(store, method, 1, [score + case / 1000 for case in range(30)])
    for seed in (2, 3):
        assert "Significant:" not in " ".join(report(store).tables[0].notes), "two seeds say nothing of another"
        for method, score in (("mt", 0.5), ("cps", 0.9)):
            write_run(store, method, seed, [score + seed / 1000 + case / 1000 for case in range(30)])
    found = report(store)
    assert "in an analysis of variance with random seeds and cases" in " ".join(found.tables[0].notes)
    column = found.tables[0].headings.index("DSC [%] measured")
    marked = {row[0]: str(row[column]).endswith("*") for row in found.tables[0].rows}
    assert marked["MT"]
    for seed, luck in ((1, 0.5), (2, -0.3), (3, 0.02)):  # now the difference changes its sign with the seed
        write_run(store, "cmtv3", seed, [0.9 + luck / 10 + case / 1000 for case in range(30)])
    marked = {row[0]: str(row[column]).endswith("*") for row in report(store).tables[0].rows}
    assert not marked["CMTv3"]


def test_other_hyperparameters_than_the_papers_are_no_measure_of_its_number(store: Store) -> None:
    target = Target(protocol="mini", settings={"metrics": ["dsc"], "k": 3})
    for k in (2, 3):
        write_run(store, "ucmt", 1, [0.5], hyper={"k": k, "r": 16})
    rows = places(load_grid("table", "4"), target, METHODS)
    (place,) = [place for row in rows for place in row if place is not None and place.method == "ucmt"]
    by_k = {run.spec.hyperparameters["k"]: run for run in store.runs()}
    assert differences(place, [by_k[3]])["hyperparameters"] == "k = 3"
    assert "hyperparameters" not in differences(place, [by_k[2]])


def test_costs_say_what_they_are_of(store: Store) -> None:
    write_run(store, "mt", 1, [0.5])
    grid, target = load_grid("table", "4"), Target(protocol="mini", settings={"metrics": ["dsc"]})
    for costs in (True, False):
        notes = " ".join(paper_table(grid, target, store.runs(), METHODS, ShownOptions(costs=costs)).tables[0].notes)
        assert ("Costs: parameters of all networks of a run" in notes) == costs


def test_bold_and_underlined_are_explained_where_they_stand(store: Store) -> None:
    legend = "Bold, underlined: the best and the second best measured mean."
    write_run(store, "mt", 1, [0.5])
    write_run(store, "supervised", 1, [0.9], labeled=1815)
    assert legend not in " ".join(report(store).tables[0].notes)  # one method, and an upper line that does not compete
    write_run(store, "cps", 1, [0.6])
    assert legend in " ".join(report(store).tables[0].notes)


def test_the_upper_line_is_compared_with_the_best_and_the_baseline_outside_their_families(store: Store) -> None:
    for seed in (1, 2, 3):
        for method, mean in (("supervised", 0.5), ("mt", 0.55), ("cps", 0.6)):
            write_run(store, method, seed, draw(30, mean))
    before = records(report(store))
    for seed in (1, 2, 3):
        write_run(store, "supervised", seed, draw(30, 0.9), labeled=1815)
    found = report(store)
    upper = records(found)["Supervised, 100%"]
    assert (upper["labeled"], upper["vs_best_other"], upper["vs_baseline_other"]) == ("100%", "CPS", "Supervised")
    assert (upper["vs_best_tests"], upper["vs_baseline_tests"]) == ("3", "1")
    assert float(upper["vs_baseline_ci95_low"]) > 30
    after = records(found)
    for key in ("vs_best_p_holm", "vs_baseline_p_holm", "vs_baseline_ci95_low"):
        assert before["MT"][key] == after["MT"][key]
    cells = {row[0]: str(row[found.tables[0].headings.index("DSC [%] measured")]) for row in found.tables[0].rows}
    assert cells["Supervised, 100%"].endswith(" *+")


def test_comparisons_stand_in_columns_with_both_names(store: Store) -> None:
    drawn = {(method, seed): draw(30, mean) for method, mean in (("supervised", 0.5), ("mt", 0.55), ("cps", 0.6))
             for seed in (1, 2, 3)}  # fmt: skip
    for (method, seed), own in drawn.items():
        write_run(store, method, seed, own)
    found = report(store)
    table = found.comparisons
    values = 100 * np.array([[drawn[method, seed] for seed in (1, 2, 3)] for method in ("supervised", "mt", "cps")])
    error = squares_of_methods(values)
    one = difference(values[1] - values[0], error)
    p = [difference(values[i] - values[0], error).p for i in (1, 2)]
    low, high = one.interval()
    alone = [difference(own - values[0], squares_of_methods(np.stack([own, values[0]]))).p for own in values[1:]]
    (line,) = [row for row in table.rows if row[:2] == ["MT", "Supervised (baseline)"]]
    shown = dict(zip(table.headings, map(str, line), strict=True))
    assert shown["Difference"] == f"{one.value:+.2f}"
    assert shown["95 % interval"] == f"{low:+.1f} to {high:+.1f}"
    assert shown["p"] in (f"{p[0]:.3f}", "< 0.001")
    holm, holm_alone = (2 * one if one < two else max(one, 2 * two) for one, two in (p, alone))
    assert shown["p (Holm)"] in (f"{holm:.3f}", "< 0.001")
    assert shown["Pair alone: p (Holm)"] in (f"{min(holm_alone, 1):.3f}", "< 0.001")
    assert (shown["Error term"], shown["Data"]) == ("all", "isic 5%")
    assert shown["Shown"] == ("better" if holm < 0.05 else "not shown")
    assert ["MT", "CPS (best)"] in [row[:2] for row in table.rows]
    assert not any("no difference" in str(one) for row in table.rows for one in row)
    notes = " ".join(found.tables[0].notes)
    size = smallest_difference(error, 2), smallest_difference(error, 3)
    assert f"{size[0]:.1f} from Supervised, {size[1]:.1f} between any two (isic 5%)." in notes
    assert "Error term of the comparisons: one for all methods, seeds 1, 2, 3." in notes


def test_of_the_differences_that_are_shown_those_by_their_pair_are_counted(store: Store) -> None:
    rng = np.random.default_rng(3)
    for seed in (1, 2, 3, 4, 5):
        luck = rng.normal(0, 0.08)  # of the seed: two methods share it, so their difference does not vary with it
        for method, mean in (("supervised", 0.5 + luck), ("mt", 0.7), ("cps", 0.68), ("ucmt", 0.64 + luck)):
            write_run(store, method, seed, np.clip(mean + rng.normal(0, 0.05, 30), 0, 1).tolist())
    found = report(store)
    rows = [dict(zip(found.comparisons.headings, map(str, row), strict=True)) for row in found.comparisons.rows]
    shown = [row for row in rows if row["Against"] == "Supervised (baseline)" and row["Shown"] == "better"]
    also = [row for row in shown if float(row["Pair alone: p (Holm)"].removeprefix("< ")) < 0.05]
    assert 0 < len(also) < len(shown)
    assert f"two methods vary equally: {len(also)} of {len(shown)} (isic 5%, DSC [%])." in " ".join(
        found.tables[0].notes
    )


def test_rows_that_are_the_same_trainings_count_once(store: Store, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for method, mean in (("mt", 0.7), ("cps", 0.71), ("ucmt", 0.72)):
        for seed in (1, 2, 3):
            write_run(store, method, seed, np.clip(mean + rng.normal(0, 0.05, 30), 0, 1).tolist())
    rows = ['{ method = "mt" }', '{ method = "cps" }', '{ method = "ucmt" }']
    copies = [
        '{ method = "ucmt", title = "k of 2", settings = { k = 2 } }',
        '{ method = "ucmt", title = "r of 16", settings = { r = 16 } }',
    ]
    found = []
    for number, own in enumerate((rows, [*rows, *copies])):
        path = tmp_path / f"mine-{number}.toml"
        lines = [
            'kind = "table"',
            'title = "Mine"',
            'baseline = "mt"',
            'columns = [{ dataset = "isic", labeled = "5%" }]',
        ]
        path.write_text("\n".join([*lines, f"rows = [{', '.join(own)}]"]) + "\n")
        target = Target(protocol="mini", settings={"metrics": ["dsc"]})
        found.append(paper_table(load_grid("table", str(path)), target, store.runs(), METHODS, ShownOptions()))
    once, twice = ({one.place.row.title: one for one in own.analysis.records.values()} for own in found)
    for title in ("CPS", "UCMT"):
        assert twice[title].baseline == once[title].baseline
        assert twice[title].best == once[title].best
    assert twice["r of 16"].baseline == twice["UCMT"].baseline
    (family,) = found[1].analysis.families.values()
    assert len(family.pooled) == 3
    assert "UCMT, k of 2, r of 16 are the same trainings and count once (isic 5%)." in " ".join(
        found[1].tables[0].notes
    )


def test_the_seeds_that_are_chosen_are_shown_alone(store: Store, call: Call) -> None:
    for seed in (1, 2, 3):
        write_run(store, "mt", seed, [0.1 * seed] * 5)
        write_run(store, "supervised", seed, [0.1] * 5)
    words = ["report", "--table", "4", "--protocol", "mini", "--set", 'metrics=["dsc"]', "--results-root", store.root]
    code, out, _ = call(*words, "--seeds", "1,3", "--format", "markdown")
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("| MT ")]
    assert "20.00 ± 14.14" in line.replace("*", "")
    assert "Only seeds 1, 3 (--seeds)." in out
    assert "--seeds 1,3 " in out  # of the commands for what is missing
    assert_error(call(*words, "--seeds", "one"), "--seeds", "'one'")


def test_one_seed_has_no_test(store: Store) -> None:
    for method, mean in (("supervised", 0.5), ("mt", 0.55)):
        write_run(store, method, 1, draw(30, mean))
    found = report(store)
    (line,) = [row for row in found.comparisons.rows if row[1] == "Supervised (baseline)"]
    shown = dict(zip(found.comparisons.headings, map(str, line), strict=True))
    assert (shown["95 % interval"], shown["p"], shown["p (Holm)"]) == ("—", "—", "—")
    assert shown["Shown"] == "no test (one seed)"
    assert "none, since no two methods have two common seeds" in " ".join(found.tables[0].notes)


def test_the_upper_line_of_five_settings_of_one_share_stands_once(store: Store) -> None:
    for seed in (1, 2, 3):
        write_run(store, "supervised", seed, draw(20, 0.9), labeled=1815)
        write_run(store, "ucmt", seed, draw(20, 0.5))
    found = report(store, 5)
    assert [row[0] for row in found.statistics.rows].count("Supervised, 100%") == 1


def test_frames_of_one_video_are_drawn_whole(store: Store) -> None:
    cvc = load_benchmark("cvc")
    starts = cvc.splits["by-sequence"].sequence_starts or ()
    video = np.searchsorted(starts, np.arange(90), side="right")  # the cases' ids are 0 to 89: five videos
    drawn = {}
    for method, mean in (("supervised", 0.5), ("mt", 0.6)):
        for seed in (1, 2, 3):
            drawn[method, seed] = np.clip(mean + RNG.normal(0, 0.1, 30)[video] + RNG.normal(0, 0.02, 90), 0, 1)
            write_run(
                store, method, seed, list(map(float, drawn[method, seed])), benchmark=cvc, train=472, labeled=70,
                settings={"split": "by-sequence"}, sides=([256, 256], [256, 256]),
            )  # fmt: skip
    found = report(store, datasets=("cvc",), labeled=("15%",), settings={"metrics": ["dsc"], "split": "by-sequence"})
    record = records(found)["MT"]
    groups = len(set(video))
    assert (record["cases"], record["groups"], record["vs_baseline_units"]) == ("90", str(groups), str(groups))
    values = np.stack([100 * drawn["mt", seed] for seed in (1, 2, 3)])
    cell = CellScores((1, 2, 3), tuple(map(str, range(90))), values, np.ones((3, 90), np.int64), tuple(map(str, video)))
    interval = cell.interval()
    assert interval is not None
    assert float(record["ci95_low"]) == pytest.approx(max(interval[0], 0), abs=1e-5)
    notes = " ".join(found.tables[0].notes)
    assert f"90 test cases in {groups} groups, which intervals and tests draw whole" in notes
    assert "fewer than 20 groups" in notes


def test_cases_without_a_group_are_taken_one_by_one_and_the_table_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(benchmark: Benchmark, ids: Sequence[str]) -> list[str]:
        raise UserError("case 'frame0': a split by sequence needs frame numbers as ids")

    monkeypatch.setattr("ssl_bench.reporting.analysis.groups_of", refused)
    for method in ("supervised", "mt"):
        for seed in (1, 2, 3):
            write_run(store, method, seed, draw(25, 0.5))
    found = report(store)
    assert records(found)["MT"]["groups"] == ""
    (note,) = [note for note in found.tables[0].notes if "count as independent" in note]
    assert note.startswith("isic 5%: case 'frame0': a split by sequence needs frame numbers as ids. Cases count")


def test_seeds_that_differ_by_method_are_said_to_put_the_error_term_in_doubt(store: Store) -> None:
    for method, luck in (("supervised", 0.001), ("mt", 0.002), ("cps", 0.2)):
        for seed in (1, 2, 3):
            write_run(store, method, seed, [0.5 + (seed - 2) * luck + case / 1000 for case in range(30)])
    assert "The methods' variances over seeds differ (Bartlett's test; isic 5%" in " ".join(
        report(store).tables[0].notes
    )


def test_statistics_of_nothing_are_not_printed(call: Call) -> None:
    write_run(Store(Path("results")), "mt", 1, [0.5] * 3)
    of_isic = call("report", "--table", "4", "--protocol", "mini", "--set", 'metrics=["dsc"]', "--statistics")
    assert "Table 4: statistics" in of_isic[1]
    of_kvasir = call("report", "--table", "2", "--protocol", "mini", "--set", 'metrics=["dsc"]', "--statistics")
    assert (of_kvasir[0], "statistics" in of_kvasir[1]) == (0, False)


def test_one_labelled_image_is_not_all_of_them(store: Store) -> None:
    grid = load_grid("table", "4")
    assert upper_line(aim(grid, Target(labeled=("1",)), METHODS), METHODS) is not None
    assert upper_line(aim(grid, Target(labeled=("100%",)), METHODS), METHODS) is None


def test_table_5s_settings_do_not_compete(store: Store) -> None:
    for k, score in ((1, 0.5), (2, 0.9)):
        write_run(store, "ucmt", 1, [score] * 20, hyper={"k": k, "r": 16})
    found = report(store, 5)
    line = found.tables[0].rows[0]
    assert [str(one) for one in line[1:5]] == ["87.95", "50.00", "88.22", "90.00"]
    assert all(one.emphasis == "" for one in line if isinstance(one, Cell))
    assert all(row["vs_best_p"] == "" for row in csv.DictReader(io.StringIO(found.statistics_csv)))


# --------------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("scores", "mark", "verdict"),
    [
        ([0.86, 0.87, 0.88, 0.865], "=", "inside the prediction for one training on other test images"),
        ([0.5, 0.51, 0.52, 0.5], "▲", "above the prediction for one training on other test images"),
        ([0.95, 0.96, 0.97, 0.95], "▼", "below the prediction for one training on other test images"),
    ],
)
def test_a_published_number_lies_inside_above_or_below_the_measured_interval(
    scores: list[float], mark: str, verdict: str, store: Store
) -> None:
    for seed in (1, 2, 3):
        write_run(store, "mt", seed, scores, **PAPER, settings={"encoder_weights": "imagenet"})
    # 1815 training and 779 test images would take 779 scores; four will do if the card says so.
    runs_of_four = ISIC.model_copy(update={"cases": 1815 + 4})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssl_bench.grids.aim.load_benchmark", lambda name: runs_of_four)
        found = report(store, protocol="paper")
    assert records(found)["MT"]["verdict"] == verdict
    assert str(cell(found.tables[0], "MT", "DSC [%] published")) == f"86.67 {mark}"


def test_numbers_that_cannot_be_compared_say_what_differs(store: Store) -> None:
    write_run(store, "mt", 1, [0.5] * 200, benchmark=KVASIR, train=800, labeled=120, sides=([352, 352], [352, 352]))
    found = report(store, 2, datasets=("kvasir",), labeled=("15%",))
    record = records(found)["MT"]
    assert record["verdict"] == "not comparable (network, protocol, data)"
    for word in ("encoder = tu-tf_efficientnet_lite0", "mini", "352x352"):
        assert word in record["verdict_reasons"]
    assert str(cell(found.tables[0], "MT", "DSC [%] published")) == "87.44"  # no mark
    assert any("not comparable (kvasir 15%): network" in note and "352x352" in note for note in found.tables[0].notes)


def test_a_part_of_a_data_set_is_not_the_papers(store: Store) -> None:
    write_run(store, "mt", 1, [0.5] * 100, **PAPER)
    assert "1915 of 2594 cases" in records(report(store, protocol="paper"))["MT"]["verdict_reasons"]


def test_fewer_labels_than_the_papers_are_not_comparable(store: Store, tmp_path: Path) -> None:
    card = ['extends = "paper"', 'name = "few"', 'title = "few"', "labeled_scale = { isic = 0.1 }", ""]
    (tmp_path / "few.toml").write_text("\n".join(card))
    few = str(tmp_path / "few.toml")
    write_run(store, "mt", 1, [0.5] * 779, **{**PAPER, "labeled": 9, "protocol": few})
    found = report(store, protocol=few)
    record = records(found)["MT"]
    assert (record["labeled"], record["published"]) == ("0.5%", "86.67")
    assert "labels" in record["verdict"]
    assert "0.5% labelled, not 5%" in record["verdict_reasons"]


def test_another_split_is_not_the_papers(store: Store) -> None:
    cvc = load_benchmark("cvc")
    for split, seed in (("by-sequence", 1), ("random", 2), ("random", 3)):
        write_run(
            store, "mt", seed, [0.5] * 122, benchmark=cvc, train=490, labeled=73, protocol="paper", weights=None,
            settings={"split": split}, sides=([288, 384], [288, 384]),
        )  # fmt: skip
    shown = {"datasets": ("cvc",), "labeled": ("15%",), "protocol": "paper"}
    by_sequence = report(store, 2, **shown, settings={"metrics": ["dsc"], "split": "by-sequence"})
    assert records(by_sequence)["MT"]["verdict"] == "not comparable (split)"
    assert "by-sequence" in records(by_sequence)["MT"]["verdict_reasons"]
    random = report(store, 2, **shown)
    assert records(random)["MT"]["verdict"].startswith("above")


def test_the_papers_protocol_on_the_papers_data_is_comparable_whatever_the_device(store: Store) -> None:
    write_run(store, "mt", 1, [0.5] * 779, **PAPER, device="cuda")
    assert records(report(store, protocol="paper"))["MT"]["verdict"].startswith("not judged (that needs two seeds")
    write_run(store, "mt", 2, [0.5] * 779, **PAPER, device="cuda")
    record = records(report(store, protocol="paper"))["MT"]
    assert record["verdict"] == "above the prediction for one training on other test images"
    assert record["verdict_reasons"] == ""


def test_the_released_codes_protocol_is_the_papers_too(store: Store) -> None:
    for seed in (1, 2):
        write_run(
            store, "ucmt", seed, [0.5] * 779, protocol="released-code", weights=None, sides=([512, 700], [512, 900]),
        )  # fmt: skip
    assert records(report(store, protocol="released-code"))["UCMT"]["verdict"].startswith("above")


def test_on_the_literatures_split_the_published_number_is_of_the_same_test_cases(store: Store) -> None:
    la, values = load_benchmark("la"), np.clip(RNG.normal(0.85, 0.05, (3, 20)), 0, 1)
    for seed in (1, 2, 3):
        write_run(
            store, "mt", seed, list(map(float, values[seed - 1])), benchmark=la, train=80, labeled=8, protocol="paper",
            weights=None, sides=([100, 100, 88], [200, 200, 88]),
        )  # fmt: skip
    found = report(store, 3, protocol="paper", labeled=("10%",))
    record = records(found)["MT"]
    low, high = prediction_interval(100 * values, same_cases=True).interval()  # type: ignore[union-attr]
    assert (float(record["prediction_low"]), float(record["prediction_high"])) == pytest.approx((low, high), abs=1e-5)
    if not record["verdict"].startswith("not comparable"):
        assert record["verdict"].endswith("for one training on the same test volumes")


def test_rows_copied_from_other_papers_are_never_compared(store: Store) -> None:
    la = load_benchmark("la")
    write_run(
        store, "uamt", 1, [0.5] * 20, benchmark=la, train=80, labeled=8, protocol="paper", weights=None,
        sides=([100, 100, 88], [200, 200, 88]),
    )  # fmt: skip
    found = report(store, 3, protocol="paper", labeled=("10%",))
    assert str(cell(found.tables[0], "UA-MT", "DSC [%] published")) == "84.25†"
    assert records(found)["UA-MT"]["verdict"] == "not comparable (copied)"


# --------------------------------------------------------------------------------------------------- costs and oracle


def test_costs_are_those_of_all_networks_and_of_a_mean_run(store: Store) -> None:
    for seed, seconds in ((1, 3600.0), (2, 1800.0)):
        write_run(store, "mt", seed, [0.5], seconds=seconds)
    table = report(store, view=ShownOptions(costs=True)).tables[0]
    line = [str(one) for one in next(row for row in table.rows if row[0] == "MT")]
    assert line[-4:] == ["3.00", "300", "0.750", "—"]


def test_auxiliary_decoders_are_among_the_parameters(store: Store) -> None:
    spec = write_run(store, "mt", 1, [0.5])
    path = store.folder(spec).path / "run.json"
    record = json.loads(path.read_text())
    record["result"]["auxiliary_parameters"] = 2_000_000
    path.write_text(json.dumps(record))
    table = report(store, view=ShownOptions(costs=True)).tables[0]
    assert str(cell(table, "MT", table.headings[-4])) == "5.00"


def test_the_oracle_is_what_the_best_checkpoint_and_seed_would_have_claimed(store: Store) -> None:
    write_run(store, "mt", 1, [0.5, 0.7], curve=[0.2, 0.8, 0.6])  # last 60, best 80
    write_run(store, "mt", 2, [0.9, 0.5], curve=[0.3, None, 0.65])  # last 70, which is its best
    write_run(store, "cps", 1, [0.5, 0.5])  # scored nothing on the way
    table, oracle = report(store).tables
    assert str(cell(table, "MT", "DSC [%] measured")).startswith("65.00 ± 7.07")  # not touched by it
    (line,) = oracle.rows
    assert [str(one) for one in line] == [
        "MT", "isic 5%", "DSC [%]", "2", "65.00 ± 7.07", "75.00 ± 7.07", "+10.00", "80.00", "+15.00",
    ]  # fmt: skip
    assert "ORACLE" in oracle.title
    assert all("ORACLE" in name for name in (oracle.headings[5], oracle.headings[7]))


def measure_again(folder: Path, value: float) -> None:
    """Give a run scores at another size, the same for all cases."""
    record = json.loads((folder / "run.json").read_text())
    ((key, own),) = record["scores"].items()
    measured = own["measurement"] | {"score_size": 512}
    other = Measurement.model_validate(measured).key
    header, *rows = (folder / f"cases-{key}.csv").read_text().splitlines()
    cases = "\n".join([header, *(f"{row.rpartition(',')[0]},{value}" for row in rows)]) + "\n"
    (folder / f"cases-{other}.csv").write_text(cases)
    means = {network: {"dsc": {"mean": value, "undefined": 0}} for network in own["networks"]}
    again = own | {"measurement": measured, "networks": means}
    again["cases_sha256"] = hashlib.sha256(cases.encode()).hexdigest()
    (folder / "run.json").write_text(json.dumps(record | {"scores": {key: own, other: again}}))


def test_rows_of_other_measurements_are_compared_by_their_own_scores(store: Store, tmp_path: Path) -> None:
    for method, mean in (("mt", 0.5), ("cps", 0.7)):
        for seed in (1, 2, 3):
            spec = write_run(store, method, seed, draw(30, mean))
            measure_again(store.folder(spec).path, 0.3 + seed / 1000)
    path = tmp_path / "mine.toml"
    rows = '{ method = "mt" }, { method = "cps" }, { method = "cps", title = "large", settings = { score_size = 512 } }'
    lines = ['kind = "table"', 'title = "Mine"', 'baseline = "mt"', f"rows = [{rows}]", 'metrics = ["dsc"]']
    path.write_text("\n".join([*lines, 'columns = [{ dataset = "isic", labeled = "5%" }]']) + "\n")
    target = Target(protocol="mini", settings={"metrics": ["dsc"]})
    found = paper_table(load_grid("table", str(path)), target, store.runs(), METHODS, ShownOptions())
    rows_by_title = {one.place.row.title: one for one in found.analysis.records.values()}
    large, baseline = rows_by_title["large"], rows_by_title["MT"]
    assert large.baseline.difference == pytest.approx((large.mean or 0) - (baseline.mean or 0))
    assert large.baseline.difference < 0 < (rows_by_title["CPS"].baseline.difference or 0)
    assert "count once" not in " ".join(found.tables[0].notes)


def test_the_oracle_is_of_the_same_trainings_as_the_mean_beside_it(store: Store) -> None:
    """Of label draws 1 and 2 with seeds 1 and 2, one training has no curve: its seed is left out of both."""
    for seed in (1, 2):
        for label in (1, 2):
            curve = None if (seed, label) == (2, 1) else [0.2, 0.8, 0.6]
            value = 0.5 if seed == 1 else 0.9
            write_run(store, "mt", seed, [value] * 3, curve=curve, label_seed=None if seed == label else label)
    (_, oracle) = report(store, label_seeds=(1, 2)).tables
    (line,) = oracle.rows
    assert [str(one) for one in line[3:7]] == ["2", "50.00 ± 0.00", "80.00 ± 0.00", "+30.00"]


def test_a_run_without_known_scores_ends_no_report(store: Store) -> None:
    spec = write_run(store, "mt", 1, [0.5, 0.7])
    folder = store.folder(spec).path
    record = json.loads((folder / "run.json").read_text())
    ((key, own),) = record["scores"].items()
    own["measurement"]["metrics"] = ["of-a-file-that-is-not-loaded"]
    (folder / "run.json").write_text(json.dumps(record | {"scores": {key: own}}))
    assert report(store).tables


def test_the_oracle_leaves_out_runs_whose_curve_is_measured_otherwise(store: Store) -> None:
    spec = write_run(store, "mt", 1, [0.5, 0.7], curve=[0.2, 0.8, 0.6])
    measure_again(store.folder(spec).path, 0.3)
    assert len(report(store).tables) == 2
    found = report(store, settings={"metrics": ["dsc"], "score_size": 512})
    assert str(cell(found.tables[0], "MT", "DSC [%] measured")).startswith("30.00")
    assert len(found.tables) == 1


def test_of_two_runs_that_trained_alike_the_one_that_scored_on_the_way_is_shown(store: Store) -> None:
    write_run(store, "mt", 1, [0.5, 0.7])
    write_run(store, "mt", 1, [0.5, 0.7], curve=[0.2, 0.8])
    table, oracle = report(store).tables
    assert str(cell(table, "MT", "Seeds")) == "1"
    assert len(oracle.rows) == 1


def test_runs_of_another_version_of_the_harness_stand_in_no_cell(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (1, 2):
        write_run(store, "mt", seed, [0.5, 0.7])
    monkeypatch.setattr("ssl_bench.grids.match.HARNESS", 2)
    assert not report(store).runs


def test_an_empty_store_prints_every_published_number_and_the_commands(store: Store) -> None:
    for number, count in ((1, 14), (2, 28), (3, 80), (4, 7), (5, 15)):
        found = paper_table(load_grid("table", str(number)), Target(), store.runs(), METHODS, ShownOptions())
        cells = [str(one) for table in found.tables for row in table.rows for one in row]
        assert sum(one.rstrip("†").replace(".", "").isdigit() and "." in one for one in cells) == count
        commands = [note for note in found.tables[-1].notes if note.startswith("missing runs")]
        assert f"`ssl-bench reproduce --table {number}`" in commands[0]
        assert len(commands) > 1
        assert not records(found) or all(row["mean"] == "" for row in records(found).values())


def test_the_command_for_all_that_is_missing_wants_the_seeds_and_the_data_that_are_there(store: Store) -> None:
    for seed in (4, 5):
        write_run(store, "mt", seed, [0.5, 0.7])
    notes = report(store, view=ShownOptions(data="ff")).tables[-1].notes
    (note,) = [note for note in notes if note.startswith("missing runs: all")]
    assert "`ssl-bench reproduce --table 4 --protocol mini --seeds 4,5 --data ff --set" in note


def test_without_the_papers_numbers_no_table_is_printed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_module, "PUBLISHED_DIR", tmp_path)
    published_module._entries.cache_clear()
    with pytest.raises(UserError, match="expected the paper's numbers, found no"):
        report(store)
    monkeypatch.undo()
    assert report(store).tables


def test_a_published_number_is_found_by_any_settings_that_its_file_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = tmp_path / "table.csv"
    numbers.write_text(
        "table,dataset,labeled,method,ema_decay,metric,value\n"
        "4,kvasir,15%,MT,0.9,DSC,11.0\n4,kvasir,15%,MT,0.99,DSC,22.0\n"
    )
    monkeypatch.setattr(published_module, "PUBLISHED_DIR", tmp_path)
    published_module._entries.cache_clear()
    grid = load_grid("table", "4")
    column = grid.columns[0].model_copy(update={"dataset": "kvasir", "labeled": "15%"})
    for setting, value in ((0.9, 11.0), (0.99, 22.0)):
        row = Row(title="MT", method="mt", settings={"ema_decay": setting, "weight_decay": 0.5})
        found = published_module.published(grid, row, column, "dsc")
        assert found is not None
        assert found.value == value
    missing = Row(title="MT", method="mt", settings={"ema_decay": 0.5})
    assert published_module.published(grid, missing, column, "dsc") is None
    numbers.write_text(numbers.read_text().replace("DSC", "DCS"))
    published_module._entries.cache_clear()
    with pytest.raises(UserError, match=r"table\.csv: metric: expected one of dsc, .*; found 'DCS'$"):
        published_module.published(grid, missing, column, "dsc")
    monkeypatch.undo()
    published_module._entries.cache_clear()


def test_a_note_says_which_rows_were_trained_on_which_processors(store: Store) -> None:
    for method in ("supervised", "mt", "cps"):
        for seed in (1, 2, 3):
            write_run(store, method, seed, draw(20, 0.7))
    assert not any("different processors" in note for note in report(store).tables[-1].notes)
    for path in (store.root / "runs" / "isic" / "mt").iterdir():
        record = json.loads((path / "run.json").read_text())
        if record["spec"]["seed"] == 3:
            record["provenance"]["device"] = "CPU (AVX512), 2 threads"
            (path / "run.json").write_text(json.dumps(record))
    (note,) = [note for note in report(store).tables[-1].notes if "different processors" in note]
    assert note == (
        "Trained on different processors (isic 5%): Supervised, CPS on a device; MT on CPU (AVX512) (seed 3) and a "
        "device (seeds 1, 2)."
    )
    for path in (store.root / "runs" / "isic" / "mt").iterdir():  # threads are no kind of processor
        record = json.loads((path / "run.json").read_text())
        record["provenance"]["device"] = "a device, 2 threads"
        (path / "run.json").write_text(json.dumps(record))
    assert not any("different processors" in note for note in report(store).tables[-1].notes)


def test_a_protocol_for_images_and_volumes_has_the_note_of_each(tmp_path: Path) -> None:
    found = ssl_bench.report(methods=["mt"], dataset=["isic", "la"], protocol="small", results_root=tmp_path)
    own = [f"Protocol small: {load_protocol('small', dimensions=dimensions).note}" for dimensions in (2, 3)]
    assert [note for note in found.tables[0].notes if note.startswith("Protocol ")] == own


def test_scores_of_0_alone_give_no_power_and_are_named(store: Store) -> None:
    for method, seed in product(("supervised", "mt"), (1, 2, 3)):
        write_run(store, method, seed, [0.0, 0.0, 0.0])
    notes = report(store).tables[0].notes
    assert "Every DSC [%] is 0, so nothing was found in any test case: Supervised, MT." in notes
    assert not any(note.startswith("Smallest true difference") for note in notes)
