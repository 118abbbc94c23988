"""What a table's sentence and pictures say, from runs written by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handwritten import ISIC, METHODS, write_run

from ssl_bench.cards import load_benchmark, load_grid
from ssl_bench.grids.aim import Target
from ssl_bench.reporting import curve_figures
from ssl_bench.reporting.figures import paper_figure
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.ranking import ranking_table, rivals
from ssl_bench.reporting.table_figures import forest_figures, ranking_figures
from ssl_bench.reporting.tables import TableReport, paper_table
from ssl_bench.statistics.cell import CellScores
from ssl_bench.statistics.column import Column
from ssl_bench.store import Store

RNG = np.random.default_rng(30)
PAPER: dict[str, Any] = {
    "protocol": "paper", "weights": None, "train": 1815, "labeled": 90, "settings": {"encoder_weights": "imagenet"},
}  # fmt: skip


def report(store: Store, **target: Any) -> TableReport:
    asked: dict[str, Any] = {"protocol": "mini", "settings": {"metrics": ["dsc"]}} | target
    return paper_table(load_grid("table", "4"), Target(**asked), store.runs(), METHODS, ShownOptions())


def fill(store: Store, means: dict[str, float], seeds: tuple[int, ...] = (1, 2, 3), noise: float = 0.02) -> None:
    for method, mean in means.items():
        for seed in seeds:
            write_run(store, method, seed, [float(v) for v in np.clip(RNG.normal(mean, noise, 30), 0, 1)])


def test_nothing_is_found_in_an_empty_store(tmp_path: Path) -> None:
    found = report(Store(tmp_path))
    assert found.finding == ""
    assert found.figures == []


def test_a_difference_that_is_not_shown_is_never_called_none(tmp_path: Path) -> None:
    fill(Store(tmp_path), {"supervised": 0.7, "mt": 0.7, "cps": 0.7})
    text = report(Store(tmp_path)).finding
    assert "no method is shown to differ from Supervised, where a true difference of " in text
    assert "no difference" not in text
    assert text.startswith("isic 5%: ")


def test_a_shown_difference_has_its_interval(tmp_path: Path) -> None:
    fill(Store(tmp_path), {"supervised": 0.5, "mt": 0.7, "cps": 0.5})
    found = report(Store(tmp_path))
    (one,) = [one for one in found.analysis.records.values() if one.place.method == "mt"]
    pair = one.baseline
    words = f"MT {pair.difference:+.2f} (95 % interval {pair.ci95_low:+.1f} to {pair.ci95_high:+.1f})"
    assert f"MT has the highest mean ({one.mean:.2f}); shown to differ from Supervised: {words}." in found.finding


def test_one_seed_tests_nothing(tmp_path: Path) -> None:
    fill(Store(tmp_path), {"supervised": 0.5, "mt": 0.7}, seeds=(1,))
    found = report(Store(tmp_path))
    assert "no difference is tested, since no two methods have two common seeds" in found.finding
    assert rivals(found.analysis) == {}
    assert [one.kind for one in found.figures] == ["forest"]


def test_a_baseline_of_one_seed_is_not_said_to_be_tested(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store, {"supervised": 0.7}, seeds=(1,))
    fill(store, {"mt": 0.7, "cps": 0.7, "ucmt": 0.7}, seeds=(1, 2, 3))
    found = report(store)
    assert "no method is shown to differ from Supervised: no comparison with it has 3 common seeds" in found.finding
    notes = " ".join(found.tables[0].notes)
    assert " from Supervised" not in notes
    assert " between any two (isic 5%)" in notes


def test_the_difference_that_could_be_shown_is_that_of_each_comparisons_own_error_term(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store, {"supervised": 0.7}, seeds=(1, 2, 3), noise=0.06)
    fill(store, {"mt": 0.7, "cps": 0.7, "ucmt": 0.7}, seeds=(1, 2, 3, 4, 5, 6))
    found = report(store)
    (own,) = found.analysis.families.values()
    assert own.alone == ("Supervised",)
    cells = [one.scores for one in found.analysis.records.values() if one.scores is not None]
    column = Column(cells)
    pairs = [column.compare(number, 0) for number in (1, 2, 3)]
    sizes = [one.estimate.smallest(3) for one in pairs if one is not None and one.estimate is not None]
    assert own.smallest_from_baseline == pytest.approx((min(sizes), max(sizes)))
    low, high = (f"{size:.1f}" for size in (min(sizes), max(sizes)))
    assert f"a true difference of {low} to {high}, depending on the method, would be shown" in found.finding
    assert f"{low} to {high} from Supervised" in " ".join(found.tables[0].notes)


def test_verdicts_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    for seed in (1, 2, 3):
        write_run(store, "mt", seed, [0.86, 0.87, 0.88, 0.865], **PAPER)
        write_run(store, "cps", seed, [0.5, 0.51, 0.52, 0.5], **PAPER)
    four = ISIC.model_copy(update={"cases": 1815 + 4})
    monkeypatch.setattr("ssl_bench.grids.aim.load_benchmark", lambda name: four)
    found = report(store, protocol="paper")
    assert "Of 2 published numbers: 1 inside, 1 above (the prediction interval)." in found.finding
    write_run(store, "ucmt", 1, [0.86, 0.87, 0.88, 0.865], **PAPER)
    write_run(store, "supervised", 1, [0.5, 0.51, 0.52, 0.5], **PAPER)
    counted = "Of 4 published numbers: 1 inside, 1 above, 2 not judged (the prediction interval)."
    assert counted in report(store, protocol="paper").finding
    (forest,) = forest_figures(found.analysis)
    texts = [text.get_text() for legend in forest.figure.legends for text in legend.get_texts()]
    assert "published" in texts


def test_a_published_number_that_cannot_be_compared_is_not_drawn(tmp_path: Path) -> None:
    fill(Store(tmp_path), {"supervised": 0.7, "mt": 0.7})
    (forest,) = forest_figures(report(Store(tmp_path)).analysis)
    assert "published" not in [text.get_text() for legend in forest.figure.legends for text in legend.get_texts()]


def test_the_ranking_is_that_of_the_means(tmp_path: Path) -> None:
    fill(Store(tmp_path), {"supervised": 0.5, "mt": 0.7, "cps": 0.6}, noise=0.001)
    found = report(Store(tmp_path))
    table = ranking_table(found.grid, rivals(found.analysis))
    assert [[str(cell) for cell in row] for row in table.rows] == [
        ["MT", "isic 5%", "DSC [%]", "1", "100 %", "1.0", "1.00", "1.00 to 1.00"],
        ["CPS", "isic 5%", "DSC [%]", "2", "0 %", "2.0", "1.00", "1.00 to 1.00"],
        ["Supervised", "isic 5%", "DSC [%]", "3", "0 %", "3.0", "1.00", "1.00 to 1.00"],
    ]
    kinds = [one.kind for one in ranking_figures(found.analysis, rivals(found.analysis))]
    assert kinds == ["pairs", "ranking", "profile"]
    names = [one.name for one in found.figures]
    assert len(set(names)) == len(names) == 4


def test_a_figures_intervals_are_those_of_the_tables_with_groups_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cvc, store = load_benchmark("cvc"), Store(tmp_path)
    for seed in (1, 2, 3):
        video = np.repeat(RNG.normal(0.9, 0.15, 9), 10)  # frames of a video are alike; the interval ends above 100
        write_run(
            store, "ucmt", seed, [float(v) for v in np.clip(video + RNG.normal(0, 0.01, 90), 0, 1)], benchmark=cvc,
            train=472, labeled=70, settings={"split": "by-sequence"}, sides=([256, 256], [256, 256]),
        )  # fmt: skip
    asked = {"datasets": ("cvc",), "labeled": ("15%",), "settings": {"metrics": ["dsc"], "split": "by-sequence"}}
    (record,) = [one for one in report(store, **asked).analysis.records.values() if one.mean is not None]
    drawn: list[Any] = []
    monkeypatch.setattr(curve_figures, "line_figure", lambda panels, *width: drawn.append(panels))
    target = Target(**{"protocol": "mini", **asked})
    paper_figure(load_grid("figure", "3"), target, store.runs(), METHODS, ShownOptions())
    (line,) = drawn[-1][0].lines
    assert record.scores is not None
    assert record.scores.groups is not None
    assert tuple(line.bounds[:, 0]) == pytest.approx(record.interval)
    assert record.interval != pytest.approx(CellScores(*(
        getattr(record.scores, key) for key in ("seeds", "cases", "sums", "counts")
    )).interval())  # fmt: skip
