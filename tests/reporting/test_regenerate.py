"""Every table and figure from one store of real, tiny runs on demo and demo3d: what stands in them."""

from __future__ import annotations

import csv
import io
import re
import statistics
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout
from handwritten import cases_file, summary_of, write_run
from PIL import Image

from ssl_bench import BENCHMARKS_DIR
from ssl_bench.cards import Request, all_grids, load_benchmark, load_grid
from ssl_bench.declarations import declare
from ssl_bench.errors import UserError
from ssl_bench.grids.aim import Target
from ssl_bench.launch.inprocess import run_all
from ssl_bench.method import load_methods
from ssl_bench.reporting import curve_figures, picture_figures, publish
from ssl_bench.reporting.draw import PicturedCase, PicturedMoments
from ssl_bench.reporting.draw_lines import Panel
from ssl_bench.reporting.figures import FigureReport, paper_figure
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.publish import write_files, write_html
from ssl_bench.reporting.tables import TableReport, paper_table
from ssl_bench.store import Example, Run, Store, write_pictures
from ssl_bench.training.plan import plan_runs

METHODS = {name: declare(method) for name, method in load_methods().items()}
ITERATIONS = 8
DEMO = Target(datasets=("demo",), protocol="tiny", settings={"iterations": ITERATIONS})
DEMO3D = Target(datasets=("demo3d",), labeled=("10%",), protocol="tiny", settings={"iterations": 2})


BESIDE_A_TABLE = re.compile(
    r"table-\d-((comparisons|ranking|spread)\.csv|(forest|pairs|ranking|profile)-\d+-[a-z0-9-]+\.(png|svg|pdf))"
)


class Silent:
    """A display that shows nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


def train(store: Store, methods: str, labeled: str, seeds: tuple[int, ...] = (1,), **settings: Any) -> None:
    benchmark = load_benchmark(settings.get("dataset", "demo"))
    iterations = ITERATIONS if benchmark.name == "demo" else 2
    protocol = {key: value for key, value in settings.items() if key != "dataset"}
    request = Request(
        benchmark, tuple(methods.split(",")), labeled, "tiny", {"iterations": iterations, **protocol}, seeds
    )
    jobs = plan_runs(request, torch.device("cpu"), None, allow_partial=False, advance=None)
    outcome = run_all(jobs, store, torch.device("cpu"), Silent())
    assert not outcome.failures


#: What is trained for the store: methods, share of labels, seeds, settings.
TRAINED: tuple[tuple[str, str, tuple[int, ...], dict[str, Any]], ...] = (
    ("supervised,mt,cps,cmtv1", "2%", (1, 2), {}),
    ("cmtv2,cmtv3,ucmt", "2%", (1, 2), {}),
    ("cct,ucmt-cutmix", "2%", (1,), {}),
    ("uamt,mt,ucmt", "10%", (1,), {"dataset": "demo3d"}),
    ("mt,cps,ucmt,ucmt-cutmix", "10%", (1,), {}),
    ("ucmt", "2%", (1,), {"network": "unet-small"}),
    ("ucmt", "2%", (1,), {"k": 1, "r": 4}),
    ("mt", "2%", (1,), {"score_every": 3}),
    ("supervised", "100%", (1,), {}),
)


@pytest.fixture(scope="session")
def store(shared_folder: Path) -> Store:
    """One store for all processes of a test run, which share its trainings."""
    folder = shared_folder / "regenerate"
    store = Store(folder / "results")
    for patience in (0, -1):  # first whatever no other process trains, then wait for the others
        for number, (methods, labeled, seeds, settings) in enumerate(TRAINED):
            with suppress(Timeout), FileLock(folder.parent / f"regenerate-{number}.lock", timeout=patience):
                if not (done := folder / f"done-{number}").exists():
                    train(store, methods, labeled, seeds, **settings)
                    done.touch()
    return store


@pytest.fixture(scope="session")
def runs(store: Store) -> list[Run]:
    return store.runs()


def regenerate(runs: Sequence[Run], only: Sequence[str] = ()) -> list[TableReport | FigureReport]:
    """Reports of these exhibits, or of all."""
    reports: list[TableReport | FigureReport] = []
    for grid in all_grids():
        if only and grid.name not in only:
            continue
        make = paper_table if grid.exhibit == "table" else paper_figure
        reports.append(make(grid, DEMO, runs, METHODS, ShownOptions()))
    return reports


def naive_mean(run: Run, metric: str = "dsc") -> float:
    """From the cases file by hand, in per cent."""
    with cases_file(run.path).open() as file:
        values = [row[metric] for row in csv.DictReader(file) if row["network"] == run.result["predictor"]]
    return statistics.fmean(100 * float(value) for value in values if value)


def find(runs: Sequence[Run], method: str, labeled: int, **hyper: Any) -> list[Run]:
    found = [
        run
        for run in runs
        if (run.spec.method, run.spec.labeled) == (method, labeled)
        and run.spec.protocol.score_every is None
        and run.spec.protocol.network == "deeplabv3plus"
        and all(run.spec.hyperparameters[key] == value for key, value in hyper.items())
    ]
    return sorted(found, key=lambda run: run.spec.seed)


def text(means: Sequence[float]) -> str:
    return f"{statistics.fmean(means):.2f}" + (f" ± {statistics.stdev(means):.2f}" if len(means) > 1 else "")


# ------------------------------------------------------------------------------------------------------------ all


@pytest.mark.slow
def test_everything_regenerates_in_every_format_in_a_minute(store: Store, tmp_path: Path) -> None:
    began = time.monotonic()
    reports = regenerate(store.runs())
    written = [path for one in reports for path in write_files(one, tmp_path / "a")]
    assert time.monotonic() - began < 60
    stems = [f"table-{n}" for n in (1, 2, 3, 4, 5)] + [f"figure-{n}" for n in (1, 3, 4, 5)]
    suffixes = {"table": (".md", ".tex", ".csv", ".html", "-statistics.csv"), "figure": (".png", ".svg", ".pdf", ".md")}
    expected = {f"{stem}{suffix}" for stem in stems for suffix in suffixes[stem.partition("-")[0]]}
    expected |= {f"table-{n}-oracle.csv" for n in (1, 2, 3, 4)}
    expected = expected - {"table-3.csv"} | {"table-3-demo-2.csv", "table-3-demo-10.csv"}  # several metrics: by share
    names = {path.name for path in written}
    assert names == {path.name for path in (tmp_path / "a").iterdir()}
    beside = {name for name in names if BESIDE_A_TABLE.fullmatch(name)}
    (four,) = [one for one in reports if isinstance(one, TableReport) and one.grid.number == 4]
    kinds = ["forest", *(["pairs", "ranking", "profile"] if four.rivals else [])]  # networks that find nothing: no rank
    assert {name for name in beside if name.startswith("table-4")} == {
        "table-4-comparisons.csv", *(["table-4-ranking.csv"] if four.rivals else []),
        *(f"table-4-{kind}-1-demo-2.{suffix}" for kind in kinds for suffix in ("png", "svg", "pdf")),
    }  # fmt: skip
    assert names - beside == expected
    for path in written:
        check_format(path)
    again = regenerate(store.runs(), only=("Table 4", "Figure 1", "Figure 5"))
    for path in (path for one in again for path in write_files(one, tmp_path / "b")):
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes(), path.name


def check_format(path: Path) -> None:
    if path.suffix == ".png":
        assert len(np.unique(np.asarray(Image.open(path).convert("L")))) > 10  # something is drawn
    elif path.suffix == ".svg":
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    elif path.suffix == ".pdf":
        assert path.read_bytes().startswith(b"%PDF")
    else:
        assert path.read_text(encoding="utf-8").strip()


def test_the_site_has_a_page_for_every_exhibit_and_every_run_behind_one_and_the_same_bytes_twice(
    runs: list[Run], tmp_path: Path
) -> None:
    few = [run for run in runs if run.spec.benchmark == "demo3d" or (run.spec.method, run.spec.seed) == ("mt", 2)]
    reports = regenerate(few, only=("Table 3", "Figure 1"))
    for folder in ("a", "b"):
        write_html(reports, tmp_path / folder)
    shown = {run.path.name: run for report in reports for run in report.runs}
    assert {path.stem for path in (tmp_path / "a/runs").glob("*.html")} >= set(shown)
    names = {path.name for path in (tmp_path / "a").glob("*.html")}
    assert names >= {"index.html", "table-3.html", "figure-1.html"}
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    for name, run in shown.items():
        page = (tmp_path / "a/runs" / f"{name}.html").read_text()
        for word in (
            name,
            run.spec.data_fingerprint,
            "Best cases by DSC [%]",
            "Worst cases by DSC [%]",
            "Training curves",
            run.provenance["device"],
        ):
            assert word in page
        assert f"{naive_mean(run):.2f}" in page
    links = re.findall(r'href="(runs/[0-9a-f]+\.html)"', (tmp_path / "a/table-3.html").read_text())
    assert links
    assert all((tmp_path / "a" / link).is_file() for link in links)


def test_a_table_of_ones_own_may_be_called_anything(tmp_path: Path) -> None:
    card = tmp_path / "My_Täble (new).toml"
    card.write_text((BENCHMARKS_DIR / "tables/table-4.toml").read_text())
    table = paper_table(load_grid("table", str(card)), DEMO, [], METHODS, ShownOptions())
    (page,) = {path.name for path in write_files(table, tmp_path / "files") if path.suffix == ".md"}
    assert re.fullmatch(r"table-my-t-ble-new-[0-9a-f]{6}\.md", page)
    write_html([table], tmp_path / "site")
    html = (tmp_path / "site" / page).with_suffix(".html").read_text()
    assert ">Table My_Täble (new)<" in html  # in the navigation


def test_tables_of_ones_own_do_not_replace_each_other(tmp_path: Path) -> None:
    pages = set()
    for name in ("mine", "Mine", "mine.", "mine_a", "mine-a", "Über", "über", "__", "4"):
        card = tmp_path / f"{name}.toml"
        card.write_text((BENCHMARKS_DIR / "tables/table-4.toml").read_text())
        table = paper_table(load_grid("table", str(card)), DEMO, [], METHODS, ShownOptions())
        pages |= {path.name.lower() for path in write_files(table, tmp_path / "files") if path.suffix == ".md"}
    assert len(pages) == 9
    assert "table-4.md" not in pages  # the paper's


def test_a_folder_that_cannot_be_made_is_named_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = paper_table(load_grid("table", "4"), DEMO, [], METHODS, ShownOptions())
    (tmp_path / "file").touch()
    monkeypatch.setattr(publish, "_exhibit", lambda report: pytest.fail("drawn"))
    with pytest.raises(UserError, match=r"^--output: .*file cannot be written: File exists$"):
        write_files(table, tmp_path / "file")
    with pytest.raises(UserError, match=r"^--html: .*file/site cannot be written: Not a directory$"):
        write_html([table], tmp_path / "file/site")
    with pytest.raises(UserError, match=r"^--html: .*a/site cannot be written: File name too long$"):
        write_html([table], tmp_path / ("a" * 300) / "site")


# ---------------------------------------------------------------------------------------------------------- tables


def test_table_4_holds_the_means_and_deviations_of_the_runs_in_every_format(runs: list[Run], tmp_path: Path) -> None:
    found = paper_table(load_grid("table", "4"), DEMO, runs, METHODS, ShownOptions())
    written = write_files(found, tmp_path)
    paths = {path.name: path.read_text() for path in written if path.suffix not in (".png", ".pdf")}
    names = {
        "supervised": "Supervised", "mt": "MT", "cps": "CPS", "cmtv1": "CMTv1", "cmtv2": "CMTv2", "cmtv3": "CMTv3",
        "ucmt": "UCMT",
    }  # fmt: skip
    lines = list(csv.reader(io.StringIO(paths["table-4.csv"])))
    column = lines[0].index("DSC [%]")
    for method, title in names.items():
        means = [naive_mean(run) for run in find(runs, method, 6, **({"k": 2, "r": 16} if method == "ucmt" else {}))]
        assert len(means) == 2
        (line,) = [line for line in lines if line[0] == title]
        assert line[column].removesuffix(" *").removesuffix(" +").removesuffix(" -").removesuffix(" *") == text(means)
        for name in ("table-4.md", "table-4.html"):
            assert text(means) in paths[name]
        assert text(means).replace("±", r"$\pm$") in paths["table-4.tex"]
    (full,) = find(runs, "supervised", 300)
    assert [lines[1][0], lines[1][column]] == ["Supervised, 100%", text([naive_mean(full)])]
    (lacks,) = found.missing  # the upper line's second seed alone
    assert lacks.startswith("ssl-bench run --methods supervised --dataset demo --labeled 100% ")


def test_statistics_csv_holds_each_methods_interval_around_its_mean(runs: list[Run], tmp_path: Path) -> None:
    found = paper_table(load_grid("table", "4"), DEMO, runs, METHODS, ShownOptions())
    rows = list(csv.DictReader(io.StringIO(found.statistics_csv)))
    methods = ["supervised", "mt", "cps", "cmtv1", "cmtv2", "cmtv3", "ucmt"]
    assert [row["method"] for row in rows] == ["supervised", *methods]  # the upper line first, with its one seed
    assert [row["seeds"] for row in rows] == ["1", *("2" for _ in methods)]
    for row in rows:
        own = [run for run in runs if run.path.name in row["runs"].split()]
        assert float(row["mean"]) == pytest.approx(statistics.fmean(map(naive_mean, own)), abs=1e-5)
        assert float(row["ci95_low"]) <= float(row["mean"]) <= float(row["ci95_high"])
        assert row["cases"] == "100"


def test_table_1_has_the_u_net_in_its_own_row_and_asks_for_what_is_missing(runs: list[Run]) -> None:
    found = paper_table(load_grid("table", "1"), DEMO, runs, METHODS, ShownOptions())
    (table,) = (one for one in found.tables if "ORACLE" not in one.title)
    cells = {str(row[0]): str(row[table.headings.index("demo (synthetic lesions) 2% DSC [%]")]) for row in table.rows}
    (unet,) = [run for run in runs if getattr(run.spec.protocol, "network", "") == "unet-small"]
    assert cells["UCMT (U-Net)"].split()[0] == text([naive_mean(unet)])
    assert cells["UGCL (U-Net)"] == "no run"
    (ten,) = (
        command for command in found.missing if "--dataset demo --labeled 10%" in command and "network" not in command
    )
    asked = ten.split("--methods ")[1].split()[0].split(",")
    assert sorted(asked) == ["cct", "cmtv3", "cps", "mt", "ucmt"]  # two have no run, three lack 5 %'s second seed
    assert any("--labeled 10%" in command and "network=unet-small" in command for command in found.missing)


def test_table_3_is_filled_from_volumes_with_four_metrics(runs: list[Run]) -> None:
    found = paper_table(load_grid("table", "3"), DEMO3D, runs, METHODS, ShownOptions())
    table = found.tables[0]
    (run,) = [run for run in runs if (run.spec.benchmark, run.spec.method) == ("demo3d", "uamt")]
    (line,) = [row for row in table.rows if row[0] == "UA-MT"]
    for heading, metric in (("DSC [%]", "dsc"), ("95HD [voxel]", "95hd"), ("ASD [voxel]", "asd")):
        score = summary_of(run)["student"][metric]["mean"]
        value = "—" if score is None else f"{score * (100 if metric == 'dsc' else 1):.2f}"
        assert str(line[table.headings.index(heading)]).split()[0] == value


def test_table_5_finds_each_setting(runs: list[Run]) -> None:
    table = paper_table(load_grid("table", "5"), DEMO, runs, METHODS, ShownOptions()).tables[0]
    rows = {str(row[0]): [str(one) for one in row[1:6]] for row in table.rows}
    means = [naive_mean(run) for run in find(runs, "ucmt", 6, k=2, r=16)]
    assert rows["UCMT, 1/16"] == ["no run", text(means), "no run", "no run", "no run"]
    (one,) = find(runs, "ucmt", 6, k=1, r=4)
    assert rows["UCMT, 1/4"] == [text([naive_mean(one)]), *["no run"] * 4]


def test_the_oracle_stands_below_the_table_of_the_runs_that_scored_on_the_way(runs: list[Run]) -> None:
    _, oracle = paper_table(load_grid("table", "4"), DEMO, runs, METHODS, ShownOptions()).tables
    (run,) = [run for run in runs if run.spec.protocol.score_every == 3]
    curve = list(csv.DictReader((run.path / "test_curve.csv").open()))
    assert [row["iteration"] for row in curve] == ["3", "6"]
    best = max([naive_mean(run), *(100 * float(row["dsc"]) for row in curve)])
    assert [str(one) for one in oracle.rows[0][:6]] == [
        "MT", "demo 2%", "DSC [%]", "1", text([naive_mean(run)]), text([best]),
    ]  # fmt: skip
    assert any("ORACLE" in note for note in oracle.notes)


@pytest.mark.parametrize("grid", all_grids(), ids=lambda grid: grid.name)
def test_under_every_exhibit_stands_where_its_numbers_come_from(grid: Any, runs: list[Run]) -> None:
    found = (paper_table if grid.exhibit == "table" else paper_figure)(grid, DEMO, runs, METHODS, ShownOptions())
    notes = " ".join(
        found.notes if isinstance(found, FigureReport) else [note for table in found.tables for note in table.notes]
    )
    assert found.runs
    finished = {str(run.provenance["finished"])[:10] for run in found.runs}
    torch_version = f"torch {torch.__version__}".partition("+")[0]
    fingerprint = found.runs[0].spec.data_fingerprint
    for part in ("Protocol tiny", fingerprint, "seeds (", torch_version, "CPU", "Trained by `", *finished):
        assert part in notes, part


# --------------------------------------------------------------------------------------------------------- figures


def drawn(number: int, runs: Sequence[Run], name: str, target: Target = DEMO) -> Any:
    """What a figure's drawing function is given; it draws the figure last."""
    given: list[Any] = []
    module = curve_figures if name == "line_figure" else picture_figures
    original = getattr(module, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, lambda *arguments: given.append(arguments) or original(*arguments))
        paper_figure(load_grid("figure", str(number)), target, runs, METHODS, ShownOptions())
    return given[-1]


def test_figure_1_draws_the_curves_of_every_seed_and_the_scores_of_every_share(runs: list[Run]) -> None:
    panels: list[Panel] = drawn(1, runs, "line_figure")[0]
    titles = [panel.title.splitlines()[0] for panel in panels]
    assert titles == ["Disagreement"] * 2 + ["Uncertainty"] * 2 + ["Performance"]
    assert [panel.x_label for panel in panels] == ["iteration", "update"] * 2 + ["labelled"]
    for panel, name in zip(panels[:4], ["disagreement"] * 2 + ["entropy"] * 2, strict=True):
        assert [line.label for line in panel.lines] == ["MT", "CPS", "UCMT"]
        for line, method in zip(panel.lines, ("mt", "cps", "ucmt"), strict=True):
            each = 2 if panel.x_label == "update" and method == "ucmt" else 1
            own = find(runs, method, 6, **({"k": 2, "r": 16} if method == "ucmt" else {}))
            for run, y in zip(own, line.y, strict=True):
                with (run.path / "curves.csv").open() as file:
                    rows = [row for row in csv.DictReader(file) if row[name]]
                assert [each * float(row["iteration"]) for row in rows] == list(line.x)
                assert [float(row[name]) for row in rows] == list(y)
    performance = panels[4]
    assert performance.ticks == ((0.0, "2%"), (1.0, "10%"))
    (mt,) = [line for line in performance.lines if line.label == "MT"]
    two, (ten,) = find(runs, "mt", 6), find(runs, "mt", 30)
    assert mt.y[0] == pytest.approx([naive_mean(two[0]), naive_mean(ten)])
    assert mt.y[1][0] == pytest.approx(naive_mean(two[1]))
    assert np.isnan(mt.y[1][1])


def test_figure_3_draws_umix_against_cutmix(runs: list[Run]) -> None:
    (panel,) = drawn(3, runs, "line_figure")[0]
    assert [line.label for line in panel.lines] == ["UCMT (UMIX)", "UCMT (CutMix)", "Supervised, 100%"]
    assert panel.lines[1].y[0] == pytest.approx([naive_mean(find(runs, "ucmt-cutmix", n)[0]) for n in (6, 30)])
    assert panel.lines[2].y == pytest.approx(naive_mean(find(runs, "supervised", 300)[0]))  # a level line


def test_figure_4_shows_each_methods_mask_of_the_same_cases_with_its_score(runs: list[Run]) -> None:
    titles, examples, _ = drawn(4, runs, "example_figure")
    assert titles == ["Supervised", "MT", "CPS", "CMT", "UCMT"]
    assert len(examples) == 2
    example: PicturedCase
    for example in examples:
        case = example.label.splitlines()[1]
        methods = ("supervised", "mt", "cps", "cmtv3", "ucmt")
        for method, mask, score in zip(methods, example.predictions, example.scores, strict=True):
            run = find(runs, method, 6, **({"k": 2, "r": 16} if method == "ucmt" else {}))[0]
            (kept,) = [one for one in run.examples if one.case == case]
            assert not isinstance(mask, str)
            assert np.array_equal(mask, kept.prediction)
            assert np.array_equal(example.truth, kept.truth)
            both, either = np.sum((mask == 1) & (kept.truth == 1)), np.sum(mask == 1) + np.sum(kept.truth == 1)
            assert float(score) == pytest.approx(100 * 2 * both / either if either else 100, abs=0.06)


def test_figure_4_says_which_score_its_numbers_are(tmp_path: Path) -> None:
    store, mask = Store(tmp_path), np.zeros((4, 4), np.uint8)
    spec = write_run(store, "mt", 1, [3.5], metric="95hd")
    picture = Example("0", "drawn", 0, np.zeros((4, 4, 3), np.uint8), mask, mask)
    write_pictures(store.folder(spec).path / "examples.npz", [picture])
    target = Target(datasets=("isic",), labeled=("5%",), protocol="mini", settings={"metrics": ["95hd"]})
    found = paper_figure(load_grid("figure", "4"), target, store.runs(), METHODS, ShownOptions())
    assert any(
        "Numbers are the case's 95HD [px]; lines are the border of the ground truth" in note for note in found.notes
    )
    assert "3.5" in [axis.get_xlabel() for axis in found.figure.axes]


def test_figure_5_shows_uncertainty_early_and_late(runs: list[Run]) -> None:
    for target, sides in ((DEMO, (32, 32)), (DEMO3D, (16, 16))):
        examples, _ = drawn(5, runs, "uncertainty_figure", target)
        assert len(examples) == 2
        example: PicturedMoments
        for example in examples:
            last = 4 if target is DEMO else 1  # UCMT updates twice an iteration
            assert [stage[0] for stage in example.stages][-1] == f"iteration {last}"
            for _, *pictures in example.stages:
                assert {picture.shape[:2] for picture in pictures} == {sides}
