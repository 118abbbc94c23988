"""Two runs side by side: the settings that differ, paired scores, the cases that differ most, pictures, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from conftest import Call, assert_error, write_dataset
from handwritten import ISIC, KVASIR, cases_of, write_run
from PIL import Image
from scipy import stats

import ssl_bench
from ssl_bench.store import Run, Store, load_run

FIRST = [0.5, 0.6, 0.7, 0.8, 0.55, 0.9]
SECOND = [0.7, 0.6, 0.4, 0.9, 0.65, 0.89]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def written(store: Store, method: str, scores: list[Any], seed: int = 1, **more: Any) -> Run:
    spec = write_run(store, method, seed, scores, **more)
    run = store.find(spec)
    assert run is not None
    return run


def rows(table: Any) -> list[list[str]]:
    return [[str(cell) for cell in row] for row in table.rows]


# ---------------------------------------------------------------------------------------------------------- the tables


def test_only_settings_that_differ_are_shown(store: Store) -> None:
    a = written(store, "mt", FIRST)
    b = written(store, "cps", SECOND, seed=2, settings={"learning_rate": 0.25, "augmentation.jitter": 0.5})
    found = {key: (one, other) for key, one, other in rows(ssl_bench.compare(a, b).settings)}
    assert found == {
        "run": (a.path.name, b.path.name),
        "network scored": ("teacher", "student1"),
        "method": ("mt", "cps"),
        "seed": ("1", "2"),
        "learning_rate": ("0.0005", "0.25"),
        "augmentation.jitter": ("0.8", "0.5"),
    }


def test_a_field_that_one_run_lacks_is_unset(store: Store) -> None:
    a, b = written(store, "mt", FIRST), written(store, "ucmt", SECOND)
    found = {key: (one, other) for key, one, other in rows(ssl_bench.compare(a, b).settings)}
    assert found["k"] == ("unset", str(b.spec.hyperparameters["k"]))


def test_scores_are_paired_over_common_cases_whatever_the_seeds(store: Store) -> None:
    a, b = written(store, "mt", FIRST), written(store, "mt", [*SECOND, 0.1], seed=2)
    found = ssl_bench.compare(a, b)
    (row,) = rows(found.scores)
    off = 100 * (np.array(SECOND) - FIRST)
    interval = stats.ttest_1samp(off, 0).confidence_interval()
    assert row[:5] == ["DSC [%]", f"{100 * np.mean(FIRST):.2f}", f"{100 * np.mean(SECOND):.2f}", f"{off.mean():+.2f}",
                       f"{interval.low:+.1f} to {interval.high:+.1f}"]  # fmt: skip
    assert row[5] == "6"
    notes = "\n".join(found.scores.notes)
    assert "One run of each says nothing about two methods" in notes
    assert "ssl-bench report" in notes
    assert "6 test cases in common, of 6 of A and 7 of B." in notes


def test_groups_that_the_runs_recorded_are_the_units(store: Store) -> None:
    runs = [written(store, "mt", FIRST), written(store, "cps", SECOND)]
    groups = {str(case): f"patient {case // 2}" for case in range(6)}
    for run in runs:
        (run.path / "splits.json").write_text(json.dumps({"test": list(groups), "groups": groups}))
    found = ssl_bench.compare(*runs)
    (row,) = rows(found.scores)
    off = 100 * (np.array(SECOND) - FIRST).reshape(3, 2).mean(1)
    interval = stats.ttest_1samp(off, 0).confidence_interval()
    assert row[4:7] == [f"{interval.low:+.1f} to {interval.high:+.1f}", "6", "3"]
    assert [one.group for one in found.differing][:1] == ["patient 0"]


@pytest.mark.parametrize("recording", [0, 1])
def test_groups_that_one_run_recorded_are_the_units_of_both(store: Store, recording: int) -> None:
    runs = written(store, "mt", FIRST), written(store, "cps", SECOND)
    groups = {str(case): f"patient {case // 2}" for case in range(6)}
    (runs[recording].path / "splits.json").write_text(json.dumps({"test": list(groups), "groups": groups}))
    (row,) = rows(ssl_bench.compare(*runs).scores)
    means = 100 * (np.array(SECOND) - FIRST).reshape(3, 2).mean(1)
    assert row[5:7] == ["6", "3"]
    assert float(row[7]) == pytest.approx(stats.wilcoxon(means).pvalue, abs=5e-4)


def test_runs_with_different_groups_are_paired_by_those_of_the_first(store: Store) -> None:
    a, b = written(store, "mt", FIRST), written(store, "cps", SECOND)
    for run, names in ((a, "xxyyzz"), (b, "zyzyxx")):
        groups = {str(case): name for case, name in enumerate(names)}
        (run.path / "splits.json").write_text(json.dumps({"test": list(groups), "groups": groups}))
    found = ssl_bench.compare(a, b).scores
    off = 100 * (np.array(SECOND) - FIRST).reshape(3, 2).mean(1)
    interval = stats.ttest_1samp(off, 0).confidence_interval()
    assert rows(found)[0][4] == f"{interval.low:+.1f} to {interval.high:+.1f}"
    assert "The runs recorded different groups of cases: those of A are used." in found.notes


def test_groups_of_the_data_sets_card_are_the_units(store: Store) -> None:
    cvc = ssl_bench.load_benchmark("cvc")
    starts = next(split.sequence_starts for split in cvc.splits.values() if split.sequence_starts)
    assert starts is not None
    assert starts[1] > 6, "the cases 0 to 5 are in the first sequence"
    runs = [written(store, method, scores, benchmark=cvc) for method, scores in (("mt", FIRST), ("cps", SECOND))]
    found = ssl_bench.compare(*runs)
    assert {one.group for one in found.differing} <= {"sequence 0", "sequence 1"}


def test_cases_are_listed_by_their_difference_in_both_directions(store: Store) -> None:
    a, b = written(store, "mt", FIRST), written(store, "cps", SECOND)
    found = ssl_bench.compare(a, b, top=2)
    expected = [
        ["B", "0", "50.00", "70.00", "+20.00"], ["B", "3", "80.00", "90.00", "+10.00"],
        ["A", "2", "70.00", "40.00", "-30.00"], ["A", "5", "90.00", "89.00", "-1.00"],
    ]  # fmt: skip
    listed = rows(found.cases)
    assert listed[0] == expected[0]
    assert listed[1] in (expected[1], ["B", "4", "55.00", "65.00", "+10.00"])  # equal but for rounding
    assert listed[2:] == expected[2:]
    assert "1 have equal scores" in found.cases.notes[0]


def test_of_a_distance_the_smaller_one_is_better(store: Store) -> None:
    la = ssl_bench.load_benchmark("la")
    options = {"benchmark": la, "metric": "95hd", "train": 80, "labeled": 8, "weights": None}
    a, b = written(store, "mt", [4.0, 9.0, None], **options), written(store, "cps", [7.0, 2.0, 3.0], **options)
    found = ssl_bench.compare(a, b)
    assert [(one.better, one.case, one.scores) for one in found.differing] == [
        ("B", "1", (9.0, 2.0)), ("A", "0", (4.0, 7.0)),
    ]  # fmt: skip
    (row,) = rows(found.scores)
    assert row[1:4] == ["6.50", "4.50", "-2.00"]


@pytest.mark.parametrize("format_name", ["terminal", "markdown", "latex", "csv", "html", "svg"])
def test_every_format_of_report_is_printed(format_name: str, store: Store, call: Call) -> None:
    a, b = written(store, "mt", FIRST), written(store, "cps", SECOND)
    code, out, err = call("compare", a.path, b.path, "--format", format_name)
    assert code == 0
    assert "-30.00" in out
    honest = "One run of each says nothing about two methods"
    text = (err if format_name == "csv" else out).replace("\n", " ").replace("&#160;", " ")
    assert format_name == "svg" or honest in text


# ------------------------------------------------------------------------------------------------------------ pictures


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run]]:
    """A folder with thirty images, and runs of two methods on them."""
    home = tmp_path_factory.mktemp("home")
    write_dataset(home / "discs", "kvasir", [f"c{number}" for number in range(30)])
    settings = {"iterations": 12, "learning_rate": 1e-2, "ema_decay": 0.5, "network": "unet-small", "filters": 4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_BENCH_CACHE", str(home / "cache"))
        found = ssl_bench.run(
            ["supervised", "mt"], "kvasir", labeled=4, protocol="tiny", device="cpu", allow_partial=True,
            settings=settings, data_root=home / "discs", results_root=home / "results",
        )  # fmt: skip
    return home, found.runs


def copies(runs: list[Run], folder: Path, *, without: str) -> list[Run]:
    for run in runs:
        shutil.copytree(run.path, folder / run.path.name)
        (folder / run.path.name / without).unlink()
    return [load_run(folder / run.path.name) for run in runs]


def test_pictures_of_cases_that_no_run_kept_are_drawn_from_weights_and_data(
    trained: tuple[Path, list[Run]], tmp_path: Path
) -> None:
    home, runs = trained
    bare = copies(runs, tmp_path / "bare", without="examples.npz")
    found = ssl_bench.compare(*bare, top=3, pictures=True, device="cpu", data_root=home / "discs")
    assert found.figure is not None
    assert "No picture" not in "\n".join(found.cases.notes)
    axes = np.array(found.figure.axes[: 4 * len(found.differing)]).reshape(-1, 4)
    folder = home / "discs/Kvasir-SEG"
    model = [ssl_bench.load_model(run, device="cpu") for run in runs]
    for row, one in zip(axes, found.differing, strict=True):
        assert row[0].get_ylabel().splitlines()[-1] == one.case
        image = np.asarray(Image.open(folder / f"images/{one.case}.jpg"))
        truth = np.asarray(Image.open(folder / f"masks/{one.case}.jpg")) > 127
        shown = [axis.images[0].get_array() for axis in row]
        assert shown[0].shape == image.shape
        assert np.array_equal(shown[3], truth)
        for axis, mask, network, score in zip(row[1:3], shown[1:3], model, one.scores, strict=True):
            assert np.mean((network.predict(image) == 255) == mask) > 0.999
            assert axis.get_xlabel() == f"{score:.1f}"
    kept = ssl_bench.compare(*runs, top=1, pictures=True)
    assert kept.figure is not None


def test_kept_pictures_are_shown_without_weights_and_data(trained: tuple[Path, list[Run]], tmp_path: Path) -> None:
    _, runs = trained
    bare = copies(runs, tmp_path / "bare", without="weights.safetensors")
    found = ssl_bench.compare(*bare, top=30, pictures=True)
    assert found.figure is not None
    kept = [{one.case for one in run.examples} for run in bare]
    lacking = [one.case for one in found.differing if not all(one.case in cases for cases in kept)]
    note = "\n".join(found.cases.notes)
    assert ("No picture" in note) == bool(lacking)
    assert all(case in note for case in lacking)
    shown = [axis.get_ylabel().splitlines()[-1] for axis in found.figure.axes if axis.get_ylabel()]
    assert shown == [one.case for one in found.differing if one.case not in lacking]


def test_a_folder_gets_tables_and_pictures_once(trained: tuple[Path, list[Run]], call: Call) -> None:
    home, runs = trained
    words = ["compare", *(run.path for run in runs), "--output", "out", "--data-root", home / "discs", "--top", "2"]
    code, out, _ = call(*words, "--device", "cpu")
    assert code == 0
    assert "9 files in out" in out
    names = {path.name for path in Path("out").iterdir()}
    assert {"comparison.md", "comparison.tex", "comparison.html", "comparison-cases.csv"} <= names
    assert matplotlib.image.imread("out/comparison-pictures.png").std() > 0.05
    before = Path("out/comparison.md").read_bytes()
    assert_error(call(*words), "--output: out/comparison", "exists; --overwrite replaces it")
    assert call(*words, "--overwrite")[0] == 0
    assert Path("out/comparison.md").read_bytes() == before
    Path("out/comparison-notes.txt").touch()
    ssl_bench.compare(*runs).write("out", overwrite=True)
    left = {path.name for path in Path("out").iterdir()}
    assert left == {name for name in names if "pictures" not in name} | {"comparison-notes.txt"}


def test_without_data_a_note_says_why_there_is_no_picture(trained: tuple[Path, list[Run]], tmp_path: Path) -> None:
    _, runs = trained
    bare = copies(runs, tmp_path / "bare", without="examples.npz")
    for root, words in ((None, "--data-root names the folder"), (tmp_path, "cannot be drawn: --data-root")):
        found = ssl_bench.compare(*bare, top=1, pictures=True, data_root=root)
        assert words in "\n".join(found.cases.notes)
        assert found.differing[0].case in "\n".join(found.cases.notes)


def test_runs_of_the_same_scores_differ_in_no_case(trained: tuple[Path, list[Run]], tmp_path: Path) -> None:
    _, (run, _) = trained
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    found = ssl_bench.compare(run, copy, pictures=True)
    assert found.differing == ()
    assert found.figure is not None
    assert f"{len(cases_of(run)['case'].unique())} have equal scores" in found.cases.notes[0]


# ------------------------------------------------------------------------------------------------------------ refusals


def test_runs_that_cannot_be_compared_are_refused(store: Store, call: Call) -> None:
    run = written(store, "mt", FIRST)
    for other, words in (
        (run, ["two different runs", "twice"]),
        (written(store, "cps", SECOND, benchmark=KVASIR), ["expected the data set of", "isic; found kvasir"]),
        (written(store, "cps", SECOND, fingerprint="a" * 16), ["expected the data of", "f" * 16, "found " + "a" * 16]),
        (written(store, "cps", SECOND, seed=3, status="running"), ["expected a finished run", "interrupted"]),
        (
            written(store, "cps", SECOND, seed=4, metric="jaccard"),
            ["metric that was measured as in", "ssl-bench score"],
        ),
    ):
        assert_error(call("compare", run.path, other.path), *words)
    assert_error(call("compare", run.path, "0000"), "RUN: expected a run's folder", "'0000' names none")


def test_wrong_words_are_refused(store: Store, call: Call, tmp_path: Path) -> None:
    runs = [written(store, "mt", FIRST).path, written(store, "cps", SECOND).path]
    (tmp_path / "file").write_text("a file")
    for words, message in (
        (["--metric", "asd"], "--metric: expected one of dsc, which both runs have; found 'asd'"),
        (["--format", "pdf"], "--format: expected terminal, markdown, latex, csv, html, svg; found 'pdf'"),
        (["--dataset", "kvasir"], f"--dataset: expected the card of '{ISIC.name}', found that of 'kvasir'"),
        (["--output", "file"], "--output: file cannot be written"),
    ):
        assert_error(call("compare", *runs, *words), message)
    with pytest.raises(ssl_bench.UserError, match="--top: expected at least 1, found 0"):
        ssl_bench.compare(*runs, top=0)


def test_altered_scores_are_refused(store: Store, call: Call) -> None:
    runs = [written(store, "mt", FIRST), written(store, "cps", SECOND)]
    path = runs[1].headline.path
    path.write_text(path.read_text().replace("0.89", "0.99"))
    assert_error(call("compare", *(run.path for run in runs)), str(path), "altered")
