"""What a table says of the labels', the initialisation's and the cases' part in its spread."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handwritten import METHODS, write_run

from ssl_bench.cards import Measurement, load_grid
from ssl_bench.grids.aim import Target
from ssl_bench.reporting import curve_figures, picture_figures
from ssl_bench.reporting import runs as runs_module
from ssl_bench.reporting.figures import paper_figure
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.label_seeds import CROSSED
from ssl_bench.reporting.report import Report
from ssl_bench.reporting.runs import status_table
from ssl_bench.reporting.scores import cell_scores
from ssl_bench.reporting.spread import ONE_LABEL_DRAW, ONE_SEED, spread
from ssl_bench.reporting.table import Cell, Table
from ssl_bench.reporting.tables import TableReport, paper_table
from ssl_bench.statistics.column import Column
from ssl_bench.store import Run, Store

RNG = np.random.default_rng(8)
Scores = Mapping[tuple[int, int], list[Any]]  # of the cases, by seed and label draw


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def write(store: Store, scores: Scores, method: str = "mt") -> list[Run]:
    for (seed, label), own in scores.items():
        write_run(store, method, seed, own, label_seed=None if seed == label else label)
    return [run for run in store.runs() if run.spec.method == method]


def draw(seeds: tuple[int, ...], labels: tuple[int, ...], cases: int = 6) -> Scores:
    of_label, of_seed, of_case = (dict(zip(range(20), RNG.normal(0, 0.05, 20), strict=True)) for _ in range(3))
    return {
        (seed, label): [
            float(np.clip(0.6 + of_label[label] + of_seed[seed] + of_case[k] + RNG.normal(0, 0.02), 0, 1))
            for k in range(cases)
        ]
        for seed in seeds
        for label in labels
    }


def report(store: Store, *labels: int) -> TableReport:
    target = Target(protocol="mini", settings={"metrics": ["dsc"]}, label_seeds=labels)
    return paper_table(load_grid("table", "4"), target, store.runs(), METHODS, ShownOptions())


def columns(table: Table, row: str = "MT") -> dict[str, str]:
    (line,) = [line for line in table.rows if line[0] == row]
    return dict(zip(table.headings, map(str, line), strict=True))


def mean_square(effects: np.ndarray, repeats: int, freedom: int) -> float:
    return float((effects**2).sum() * repeats / freedom)


def test_each_source_of_a_crossed_cell_by_hand(store: Store) -> None:
    scores = draw((1, 2, 3), (7, 8), cases=4)
    write(store, scores)
    values = 100 * np.array([[scores[seed, label] for seed in (1, 2, 3)] for label in (7, 8)])
    m, ml, ms, mk = values.mean(), values.mean((1, 2)), values.mean((0, 2)), values.mean((0, 1))
    mls, mlk, msk = values.mean(2), values.mean(1), values.mean(0)
    rest = values - mls[:, :, None] - mlk[:, None] - msk + ml[:, None, None] + ms[:, None] + mk - m
    squares = [
        mean_square(ml - m, 12, 1), mean_square(ms - m, 8, 2), mean_square(mk - m, 6, 3),
        mean_square(mls - ml[:, None] - ms + m, 4, 2), mean_square(mlk - ml[:, None] - mk + m, 3, 3),
        mean_square(msk - ms[:, None] - mk + m, 2, 6), mean_square(rest, 1, 6),
    ]  # fmt: skip
    label, seed, case, both, of_lk, of_sk, noise = squares
    labels = max(label - both - of_lk + noise, 0) / 12
    seeds = max(seed - both - of_sk + noise, 0) / 8
    cases = max(case - of_lk - of_sk + noise, 0) / 6
    together, lk, sk = max(both - noise, 0) / 4, max(of_lk - noise, 0) / 3, max(of_sk - noise, 0) / 2
    one = [labels, seeds, cases / 4, together + (lk + sk + noise) / 4]  # of the mean score of one training
    found = report(store, 7, 8).spread
    assert found is not None
    own = columns(found)
    assert (own["Trainings"], own["Cases"]) == ("2 label draws x 3 seeds", "4")
    for name, value in zip(("Labels", "Initialisation", "Test cases", "Rest"), one, strict=True):
        assert own[name] == f"{value**0.5:.2f} ({100 * value / sum(one):.0f} %)"
    parts = [labels / 2 + seeds / 3 + together / 6, cases / 4 + lk / 8 + sk / 12 + noise / 24]
    assert own["Trainings' share of the mean's variance"] == f"{100 * parts[0] / sum(parts):.0f} %"
    assert "Labels and initialisation" not in found.headings


def test_labels_and_initialisation_drawn_together_are_one_source(store: Store) -> None:
    scores = draw((1, 2, 3), (1, 2, 3))
    runs = write(store, {(seed, seed): scores[seed, seed] for seed in (1, 2, 3)})
    values = 100 * np.array([scores[seed, seed] for seed in (1, 2, 3)])
    rows, cells = values.mean(axis=1), values.mean(axis=0)
    rest = values - rows[:, None] - cells + values.mean()
    noise = (rest**2).sum() / 10
    trainings, cases = max(rows.var(ddof=1) - noise / 6, 0), max(cells.var(ddof=1) - noise / 3, 0)
    share = (trainings / 3) / (trainings / 3 + cases / 6 + noise / 18)
    own = cell_scores(runs, "dsc")
    assert own is not None
    found = spread(own)
    assert found is not None
    assert found.of_one_training == pytest.approx(
        {("trainings",): trainings, ("cases",): cases / 6, ("trainings", "cases"): noise / 6}
    )
    assert found.share_of_trainings == pytest.approx(share)
    assert report(store).spread is None  # nothing is said below the table where there is one draw for each seed


def test_the_share_of_the_seeds_is_said_in_a_sentence(store: Store) -> None:
    write(store, {(1, 1): [0.5, 0.7], (2, 2): [0.6, 0.8]})  # no noise: trainings differ by 10, cases by 20 points
    write(store, {(1, 1): [0.5, 0.7], (2, 2): [0.5, 0.7]}, "cps")
    write(store, {(1, 1): [0.5, 0.7]}, "ucmt")
    notes = " ".join(report(store).tables[0].notes)
    assert (
        "Of the variance of the means, seeds have an estimated 0 to 20 %; the rest is of the test cases." in notes
    )  # 25 / 125


def test_one_level_of_a_factor_is_not_a_source(store: Store) -> None:
    write(store, draw((1, 2, 3), (7,)))
    write(store, draw((1,), (7, 8, 9)), "cps")
    found = report(store, 7).spread
    assert found is not None
    assert columns(found)["Trainings"] == "1 label draw x 3 seeds"
    assert "Labels" not in found.headings
    assert ONE_LABEL_DRAW in found.notes
    found = report(store, 7, 8, 9).spread
    assert found is not None
    assert columns(found, "CPS")["Trainings"] == "3 label draws x 1 seed"
    assert "Initialisation" not in found.headings
    assert (ONE_SEED in found.notes, ONE_LABEL_DRAW in found.notes) == (True, False)


def test_a_case_without_a_value_in_one_training_is_left_out(store: Store) -> None:
    scores = dict(draw((1, 2), (7, 8)))
    whole = report(store, 7, 8)
    assert whole.spread is None
    write(store, {**scores, (1, 7): [*scores[1, 7][:5], None]})
    write(store, {draws: own[:5] for draws, own in scores.items()}, "cps")
    found = report(store, 7, 8).spread
    assert found is not None
    mt, cps = columns(found), columns(found, "CPS")
    assert mt.pop("Method") != cps.pop("Method")
    assert mt == cps
    assert mt["Cases"] == "5"


def test_too_few_cases_are_said_to_be_left_out(store: Store) -> None:
    write(store, {(1, 7): [0.5], (2, 7): [0.6], (1, 8): [0.5], (2, 8): [0.6]})
    write(store, draw((1, 2), (7, 8)), "cps")
    found = report(store, 7, 8).spread
    assert found is not None
    assert [line[0] for line in found.rows] == ["CPS"]
    assert any(note.startswith("Left out") and note.endswith("MT, DSC [%].") for note in found.notes)


def test_equal_scores_have_no_shares(store: Store) -> None:
    write(store, {draws: [0.5, 0.5] for draws in [(1, 7), (2, 7), (1, 8), (2, 8)]})
    found = report(store, 7, 8).spread
    assert found is not None
    assert {columns(found)[name] for name in ("Labels", "Initialisation", "Test cases", "Rest")} == {"0.00"}
    assert "Trainings' share of the mean's variance" not in found.headings


# ------------------------------------------------------------------------------------------------ cells and comparisons


def test_a_cell_has_one_row_of_scores_for_each_training(store: Store) -> None:
    scores = draw((1, 2), (1, 2, 7))
    runs = write(store, scores)
    own = cell_scores(runs, "dsc")
    assert own is not None
    assert own.sums == pytest.approx(100 * np.array([scores[run.spec.draws] for run in runs]))
    assert len(set(own.seeds)) == 6
    assert [number for number in own.seeds if number >= 0] == [1, 2]  # the trainings whose seed draws their labels
    assert own.mean == pytest.approx(100 * np.mean(list(scores.values())))
    table = report(store, 1, 2, 7).tables[0]
    measured = np.array([100 * np.mean(one) for one in scores.values()])
    cell = next(line for line in table.rows if line[0] == "MT")[table.headings.index("DSC [%] measured")]
    assert str(cell).split(" ▲")[0].split(" *")[0].startswith(f"{measured.mean():.2f} ± {measured.std(ddof=1):.2f}")
    assert columns(table)["Trainings"] == "6"


def test_trainings_are_paired_by_seed_and_label_draw(store: Store) -> None:
    mine, other = draw((1, 2), (7, 8)), draw((2, 3), (8, 7))
    a, b = cell_scores(write(store, mine), "dsc"), cell_scores(write(store, other, "cps"), "dsc")
    assert a is not None
    assert b is not None
    found = Column([a, b]).compare(0, 1)
    assert found is not None
    assert found.seeds == 2
    expected = [np.mean(mine[2, label]) - np.mean(other[2, label]) for label in (7, 8)]
    assert found.difference == pytest.approx(100 * np.mean(expected))


def test_runs_that_are_not_shown_are_named(store: Store) -> None:
    write(store, draw((1, 2), (1, 2)))
    write(store, draw((1,), (1,)), "cps")
    notes = report(store).tables[0].notes
    assert (
        "Not shown: 2 finished runs of mt on isic with label seeds (1, 2); --label-seeds chooses what is shown."
        in notes
    )
    assert CROSSED not in notes
    crossed = report(store, 1, 2)
    notes = crossed.tables[0].notes
    assert "Not shown: seeds that lack a run of a label seed (cps on isic 5%: 1)." in notes
    assert CROSSED in notes
    assert any(note.endswith("over trainings (seeds 1, 2; label seeds 1, 2).") for note in notes)
    assert [command for command in crossed.missing if "cps" in command and "--label-seeds 1,2" in command]
    assert not any("--label-seeds" in command for command in report(store).missing)


def test_rows_of_the_same_draws_do_not_differ_in_their_seeds(store: Store) -> None:
    for method in ("mt", "cps"):
        write(store, draw((1, 2), (7, 8)), method)
    assert not any("differ in their seeds" in note for note in report(store, 7, 8).tables[0].notes)


def test_it_is_among_the_statistics_and_the_files(store: Store, tmp_path: Path) -> None:
    write(store, draw((1, 2), (7, 8)))
    found = Report((report(store, 7, 8),))
    assert [table.title for table in found.statistics] == ["Table 4: statistics", "Table 4: sources of the spread"]
    paths = found.write(tmp_path / "out")
    assert "table-4-spread.csv" in {path.name for path in paths}
    cell = found.statistics[1].rows[0][5]
    assert isinstance(cell, Cell)


def test_it_stands_on_the_page_of_its_table(store: Store, tmp_path: Path) -> None:
    (run,) = write(store, {(1, 7): [0.5, 0.75]})
    (run.path / "curves.csv").write_text("iteration,lambda_u,total\n1,0,1\n2,0,1\n")
    Report((report(store, 7),)).write_html(tmp_path / "site")
    assert "Table 4: sources of the spread" in (tmp_path / "site/table-4.html").read_text()


def test_status_names_and_counts_label_seeds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, draw((1, 2), (1, 7, 8)))
    table = status_table(store.entries(), {})
    at = table.headings.index("Seed")
    texts = ["1", "1, labels 7", "1, labels 8", "2, labels 1", "2, labels 7", "2, labels 8"]
    assert [str(line[at]) for line in table.rows] == texts
    assert "Settings" not in table.headings  # the seeds tell the runs apart
    monkeypatch.setattr(runs_module, "MOST", 5)
    (line,) = status_table(store.entries(), {}).rows
    assert str(line[at]) == "2 seeds, 3 label seeds"


def test_a_figures_line_has_a_value_for_each_training(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = draw((1, 2), (7, 8))
    write(store, scores, "ucmt")
    drawn: list[Any] = []
    monkeypatch.setattr(curve_figures, "line_figure", lambda panels, *width: drawn.append(panels))
    target = Target(("isic",), ("5%",), "mini", {"metrics": ["dsc"]}, (7, 8))
    paper_figure(load_grid("figure", "3"), target, store.runs(), METHODS, ShownOptions())
    (panel,) = drawn[-1]
    (line,) = panel.lines
    assert line.y == pytest.approx(np.array([[100 * np.mean(scores[draws])] for draws in sorted(scores)]))


def test_figure_4_names_the_draw_that_it_shows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("mt", "ucmt"):
        write(store, draw((1,), (7, 8)), method)
    shown: list[list[tuple[int, int] | str]] = []

    def rows_of(data: str, runs: list[Run | str]) -> list[Any]:
        shown.append([run if isinstance(run, str) else run.spec.draws for run in runs])
        return []

    monkeypatch.setattr(Run, "examples", [object()])
    monkeypatch.setattr(picture_figures, "_rows_of", rows_of)
    target = Target(("isic",), ("5%",), "mini", {"metrics": ["dsc"]}, (7, 8))
    found = paper_figure(load_grid("figure", "4"), target, store.runs(), METHODS, ShownOptions())
    assert any(note.endswith("5% labelled: runs of seed 1, labels 7.") for note in found.notes)
    assert set(shown[0]) == {"no run", (1, 7)}


def test_crossed_trainings_are_counted_and_not_named_by_internal_numbers(store: Store) -> None:
    for method in ("mt", "ucmt"):
        write(store, draw((1, 2), (1, 2)), method)
    notes = " ".join(report(store, 1, 2).tables[0].notes)
    assert "Error term of the comparisons: that of the two methods, 4 trainings." in notes


def test_a_seed_that_lacks_a_score_for_some_labels_counts_for_none(store: Store) -> None:
    """Else the others would be taken as independent, and label draws would weigh unequally."""
    scores = draw((1, 2, 3), (1, 2, 3))
    write(store, scores)
    write(store, draw((1, 2, 3), (1, 2, 3)), "cps")
    (unscored,) = [run for run in store.runs() if (run.spec.method, *run.spec.draws) == ("mt", 3, 1)]
    record = json.loads((unscored.path / "run.json").read_text())
    ((key, own),) = record["scores"].items()
    measured = Measurement.model_validate(own["measurement"] | {"score_size": 512})
    own["measurement"]["score_size"] = 512
    (unscored.path / f"cases-{key}.csv").rename(unscored.path / f"cases-{measured.key}.csv")
    (unscored.path / "run.json").write_text(json.dumps(record | {"scores": {measured.key: own}}))
    found = report(store, 1, 2, 3)
    (one,) = [one for one in found.analysis.records.values() if one.place.method == "mt"]
    assert one.scores is not None
    assert sorted(one.scores.draws or ()) == [(label, seed) for label in (1, 2, 3) for seed in (1, 2)]
    assert one.mean == pytest.approx(100 * np.mean([own for (seed, _), own in scores.items() if seed < 3]))
    assert one.scores.crossed is not None
    (family,) = found.analysis.families.values()
    assert [pair.seeds for pair in family.pairs.values()] == [2]


@pytest.mark.parametrize(
    ("seeds", "labels", "marked"), [((1, 2), (1, 2), False), ((1,), (1, 2, 3, 4), True), ((1, 2, 3), (1, 2, 3), True)]
)
def test_a_mark_needs_three_of_each_random_factor(
    store: Store, seeds: tuple[int, ...], labels: tuple[int, ...], marked: bool
) -> None:
    for method, mean in (("mt", 0.5), ("cps", 0.9)):
        scores = {(seed, label): [mean + RNG.normal(0, 0.001) for _ in range(20)] for seed in seeds for label in labels}
        write(store, scores, method)
    found = report(store, *labels)
    (one,) = [one for one in found.analysis.records.values() if one.place.method == "mt"]
    assert one.best.p_holm is not None
    assert one.best.p_holm < 0.05
    assert one.best.is_significant is marked
    notes = " ".join(found.tables[0].notes)
    assert ("never marked" in notes) is not marked
    assert marked or "Two seeds" in notes
    assert "no test is over seeds" not in notes
