"""The front door for Python: the same runs and promises as from the command line, quiet, with typed answers."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY, CommandLine
from handwritten import cases_file, summary_of, write_run
from PIL import Image

import ssl_bench
from ssl_bench import plugins
from ssl_bench.command import call_words, called_as, typed_command
from ssl_bench.environment import before_torch
from ssl_bench.method import registry as registry_module
from ssl_bench.reporting.table import Cell, Table
from ssl_bench.results import RunResult
from ssl_bench.training.stop import TIME_IS_UP, StopSignal

SHORT: dict[str, Any] = {"dataset": "demo", "protocol": "tiny", "settings": {"iterations": 4}, "device": "cpu"}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "_REGISTRY", dict(registry_module._REGISTRY))
    monkeypatch.setattr(plugins, "_TEXTS", dict(plugins._TEXTS))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a results store of two methods, trained once for the tests that only read."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def trained(home: Path) -> RunResult:
    return ssl_bench.run(["supervised", "mt"], **SHORT, seeds=[1, 2], results_root=home / "results")


def contents(folder: Path, name: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob(name))}


# ------------------------------------------------------------------------------------------------------------- import


def test_the_import_is_light_and_every_name_is_there() -> None:
    program = (
        "import sys, ssl_bench\n"
        "slow = {'torch', 'numpy', 'pandas', 'pydantic', 'matplotlib', 'rich'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
        "assert set(ssl_bench.__all__) <= set(dir(ssl_bench))\n"
        "import os\n"
        "assert 'CUBLAS_WORKSPACE_CONFIG' not in os.environ\n"
        "ssl_bench.run\n"
        "assert 'torch' not in sys.modules, 'the first use of the front door comes before torch'\n"
        "assert (os.environ['CUBLAS_WORKSPACE_CONFIG'], os.environ['GOMP_SPINCOUNT']) == (':4096:8', '5000')\n"
        "assert all(getattr(ssl_bench, name) for name in ssl_bench.__all__)\n"
        "import ssl_bench.api, ssl_bench.reporting.figures, ssl_bench.prediction, ssl_bench.cli\n"
        "assert all(getattr(ssl_bench, name).__doc__ for name in ssl_bench.__all__)\n"
        "assert callable(ssl_bench.report) and callable(ssl_bench.predict) and callable(ssl_bench.run)\n"
    )
    unset = ("CUBLAS_WORKSPACE_CONFIG", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    subprocess.run([sys.executable, "-c", program], check=True, env={**environment, "PYTHONPATH": str(REPOSITORY)})


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        ssl_bench.trian  # noqa: B018


def test_no_submodule_has_the_name_of_a_function() -> None:
    modules = {path.stem for path in (REPOSITORY / "ssl_bench").iterdir()}
    assert not modules & set(ssl_bench.__all__)


def test_cuda_in_use_without_its_setting_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before_torch()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert caplog.messages == [], "torch is loaded, and a GPU is not in use yet"
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    before_torch()
    before_torch()
    (message,) = caplog.messages
    assert "CUBLAS_WORKSPACE_CONFIG=:4096:8" in message


def test_the_types_are_part_of_the_package() -> None:
    assert (REPOSITORY / "ssl_bench" / "py.typed").is_file()


# ---------------------------------------------------------------------------------------------------------------- runs


def test_python_and_the_command_line_give_the_same_bytes(cli: CommandLine, tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float64)  # what a notebook did before does not matter
    torch.manual_seed(7)
    before, was_deterministic = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    try:
        result = ssl_bench.run(methods=["supervised", "mt"], **SHORT, results_root=tmp_path / "python")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.are_deterministic_algorithms_enabled() == was_deterministic
    assert (result.outcome.trained, result.outcome.failures) == (2, [])
    words = ["--methods", "supervised,mt", "--dataset", "demo", "--protocol", "tiny", "--iterations", "4"]
    done = cli("run", *words, "--device", "cpu", "--results-root", "line")
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("cases-*.csv", "weights.safetensors", "curves.csv"):
        expected = contents(tmp_path / "line", name)
        assert len(expected) == 2
        assert contents(tmp_path / "python", name) == expected
    again = ssl_bench.run(methods=["supervised", "mt"], **SHORT, results_root=tmp_path / "line")
    assert (again.outcome.trained, again.outcome.already_finished) == (0, 2)


def test_a_run_answers_with_its_runs_and_their_table(trained: RunResult, capfd: pytest.CaptureFixture[str]) -> None:
    assert [(run.spec.method, run.spec.seed) for run in trained.runs] == [
        ("supervised", 1), ("mt", 1), ("supervised", 2), ("mt", 2),
    ]  # fmt: skip
    assert trained.table is not None
    frame = trained.table.to_frame()
    assert list(frame["Method"]) == ["Supervised", "MT"]
    for run in trained.runs:
        own = pd.read_csv(cases_file(run.path))
        assert summary_of(run)[run.result["predictor"]]["dsc"]["mean"] == pytest.approx(
            own[own["network"] == run.result["predictor"]]["dsc"].mean()
        )
    assert frame["Seeds"].tolist() == [2, 2]
    assert frame["DSC [%]"].dtype == float
    assert "<table>" in trained._repr_html_()


def test_nothing_is_printed_unless_asked(trained: RunResult, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = {**SHORT, "results_root": home / "results"}
    ssl_bench.run("mt", **arguments)
    ssl_bench.status(home / "results")
    assert tuple(capfd.readouterr()) == ("", "")
    ssl_bench.run("mt", **arguments, progress=True)
    printed = capfd.readouterr()
    assert "finished earlier" in printed.out
    assert "│ MT " in printed.out
    assert printed.err == ""


def test_notes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ssl_bench"):
        ssl_bench.run("mt", **{**SHORT, "settings": {"iterations": 4, "rampup_epochs": 100}})
    assert any("lambda's ramp-up takes" in message for message in caplog.messages)


def test_the_call_is_the_command_of_its_runs(tmp_path: Path) -> None:
    result = ssl_bench.run(["mt"], "demo", protocol="tiny", settings={"iterations": 2}, device="cpu", progress=False)
    text = "methods=['mt'], dataset='demo', protocol='tiny', settings={'iterations': 2}, device='cpu'"
    assert [run.provenance["command"] for run in result.runs] == [f"ssl_bench.run({text})"]


@pytest.mark.slow
def test_the_processes_of_a_pool_have_the_call_too_and_its_bits(trained: RunResult, home: Path, tmp_path: Path) -> None:
    result = ssl_bench.run(("supervised", "mt"), **SHORT, jobs=2, results_root=tmp_path / "pool")
    assert result.outcome.trained == 2
    for run in result.runs:
        assert run.provenance["command"].startswith("ssl_bench.run(methods=('supervised', 'mt'), dataset='demo', ")
        assert "jobs=2, results_root=" in run.provenance["command"]
    for name in ("cases-*.csv", "weights.safetensors"):
        pool, alone = contents(tmp_path / "pool", name), contents(home / "results", name)
        assert len(pool) == 2
        assert {key: alone[key] for key in pool} == pool


def test_the_time_limit_leaves_a_checkpoint_and_the_same_call_goes_on(tmp_path: Path) -> None:
    endless = {**SHORT, "settings": {"iterations": 100_000}}
    result = ssl_bench.run("mt", **endless, minutes=0.02)
    assert (result.outcome.time_is_up, result.runs, result.table) == (True, [], None)
    (run,) = ssl_bench.load_store().runs()
    assert run.status == "interrupted"


def test_a_failed_run_is_an_answer_and_logged(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    faulty = tmp_path / "methods"
    faulty.mkdir()
    text = (REPOSITORY / "methods" / "supervised.py").read_text()
    text = text.replace('name = "supervised"', 'name = "faulty"').replace("def updates(", "def _unused(")
    text += "\n    def updates(self, batch, progress):\n        raise ZeroDivisionError('a fault')\n"
    (faulty / "faulty.py").write_text(text)
    result = ssl_bench.run("faulty", **SHORT, methods_dir=faulty)
    (failure,) = result.outcome.failures
    assert "ZeroDivisionError: a fault" in failure
    assert caplog.messages == [f"failed: {failure}"]
    assert "a fault" in result._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"methods": "nothing"}, "--methods: expected one of"),
        ({"methods": []}, "--methods: expected at least one method"),
        ({"dataset": "nowhere"}, "nowhere"),
        ({"seeds": []}, "--seeds: expected a sequence of whole numbers"),
        ({"seeds": 3}, "--seeds: expected a sequence of whole numbers (0 or above), found 3"),
        ({"seeds": [1.5]}, "--seeds: expected a sequence of whole numbers"),
        ({"settings": {"nonsense": 1}}, "--set nonsense: unknown key"),
        ({"jobs": 0}, "--jobs: expected more than 0, found 0"),
        ({"minutes": -1.0}, "--minutes: expected more than 0"),
        ({"launcher": "cloud"}, "--launcher: expected local, slurm or a .py file"),
        ({"launcher": "slurm", "slurm": {"speed": 9}}, "--slurm: expected one of time, gpus"),
        ({"slurm": {"gpus": 1}}, "--slurm: needs --launcher slurm"),
        ({"labeled": "0%"}, "--labeled"),
    ],
)
def test_a_mistake_is_a_user_error(arguments: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(ssl_bench.UserError) as error:
        ssl_bench.run(**{"methods": "mt", **SHORT, **arguments})
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "results").exists()


def test_environment_variables_name_the_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_BENCH_RESULTS", str(tmp_path / "elsewhere"))
    with pytest.raises(ssl_bench.UserError, match=r"no folder at .*elsewhere"):
        ssl_bench.load_store()
    (tmp_path / "elsewhere").mkdir()
    assert ssl_bench.load_store().root == tmp_path / "elsewhere"
    assert ssl_bench.load_store("results").runs() == []


# ------------------------------------------------------------------------------------------------- signals and threads


def test_ctrl_c_leaves_a_checkpoint(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys, threading, time, ssl_bench\n"
        "from pathlib import Path\n"
        "def interrupt():\n"
        "    while not list(Path('results').glob('runs/demo/mt/*/progress.json')): time.sleep(0.01)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt, daemon=True).start()\n"
        "try:\n"
        "    ssl_bench.run('mt', 'demo', protocol='tiny', settings={'iterations': 100000}, device='cpu')\n"
        "except ssl_bench.InterruptedRunError as error:\n"
        "    print(error.signal_number)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")
    (run,) = ssl_bench.load_store().runs()
    assert (run.status, run.iteration > 0) == ("interrupted", True)


def test_a_thread_can_train(tmp_path: Path) -> None:
    answers: list[RunResult] = []
    thread = threading.Thread(target=lambda: answers.append(ssl_bench.run("supervised", **SHORT)))
    thread.start()
    thread.join(120)
    assert answers[0].outcome.trained == 1
    assert answers[0].runs[0].provenance["command"].startswith("ssl_bench.run(methods='supervised', ")


def test_a_thread_has_the_time_limit_alone() -> None:
    found: list[int | None] = []

    def work() -> None:
        with StopSignal(deadline=0.0) as stop:
            found.append(stop.signal_number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert found == [TIME_IS_UP]


# ------------------------------------------------------------------------------------------------------- the same call


def test_the_outer_command_counts() -> None:
    with called_as("ssl-bench run"):
        with called_as("ssl_bench.run()"):
            assert typed_command() == "ssl-bench run"
        assert typed_command() == "ssl-bench run"
    assert typed_command() != "ssl-bench run"


def test_a_call_as_text() -> None:
    values = {"a": "x", "b": Path("y/z"), "c": ("one",), "d": [Path("p"), 2], "e": {"k": True}, "f": None}
    assert call_words("f", values) == "ssl_bench.f(a='x', b='y/z', c=('one',), d=['p', 2], e={'k': True}, f=None)"


# ------------------------------------------------------------------------------------------------ reports and the store


def test_reproduce_says_what_is_missing_and_trains_it(tmp_path: Path) -> None:
    grid = tmp_path / "two.toml"
    grid.write_text(
        'kind = "table"\ntitle = "Two"\n[[columns]]\ndataset = "demo"\nlabeled = "5%"\n'
        '[[rows]]\ntitle = "Supervised"\nmethod = "supervised"\n[[rows]]\ntitle = "MT"\nmethod = "mt"\n'
    )
    aim: dict[str, Any] = {"table": grid, "protocol": "tiny", "settings": {"iterations": 2}}
    found = ssl_bench.reproduce(**aim, seeds=[1], dry_run=True)
    assert (found.outcome, len(found.lacks)) == (None, 2)
    assert found.missing.to_frame()["Method"].tolist() == ["supervised", "mt"]
    assert not (tmp_path / "results").exists()
    done = ssl_bench.reproduce(**aim, seeds=[1], device="cpu")
    assert done.outcome is not None
    assert (done.outcome.trained, done.outcome.failures) == (2, [])
    command = ssl_bench.load_store().runs()[0].provenance["command"]
    text = f"table={str(grid)!r}, protocol='tiny', seeds=[1], settings={{'iterations': 2}}, device='cpu'"
    assert command == f"ssl_bench.reproduce({text})"
    assert ssl_bench.reproduce(**aim, seeds=[1]).outcome is None
    report = ssl_bench.report(**aim)
    (table,) = report.tables
    frame = table.to_frame()
    assert frame.shape == (2, len(table.header))
    (measured,) = [name for name in frame.columns if "measured" in name or name.startswith("DSC")]
    scores = [summary_of(run)[run.result["predictor"]]["dsc"]["mean"] for run in ssl_bench.load_store().runs()]
    assert sorted(frame[measured]) == pytest.approx(sorted(100 * score for score in scores))
    assert "<table>" in report._repr_html_()
    names = [path.name for path in report.write(tmp_path / "files")]
    assert [Path(name).suffix for name in names[:5]] == [".md", ".tex", ".html", ".csv", ".csv"]
    assert any("-forest-1-" in name and name.endswith(".png") for name in names)


def test_a_figure_is_a_matplotlib_figure(trained: RunResult, home: Path, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    aim: dict[str, Any] = {"dataset": "demo", "protocol": "tiny", "settings": {"iterations": 4}}
    report = ssl_bench.report(figure=1, **aim, results_root=home / "results")
    (figure,) = report.figures
    assert isinstance(figure, Figure)
    assert report.tables == []
    assert 'src="data:image/png;base64,' in report._repr_html_()
    assert report.missing
    assert report.write_html(tmp_path / "site") > 2


def test_the_store_as_frames(trained: RunResult, home: Path) -> None:
    store = ssl_bench.load_store(home / "results")
    runs = store.frame()
    assert list(runs.columns[:8]) == [
        "benchmark", "method", "labeled", "train_count", "protocol", "seed", "hash", "status",
    ]  # fmt: skip
    assert len(runs) == 4
    cases, curves = store.cases(), store.curves()
    for run in trained.runs:
        row = runs[runs["hash"] == run.path.name].iloc[0]
        assert (row["benchmark"], row["method"], row["seed"]) == ("demo", run.spec.method, run.spec.seed)
        expected = summary_of(run)[run.result["predictor"]]
        assert {metric: row[metric] for metric in expected} == {m: one["mean"] for m, one in expected.items()}
        own = cases[cases["hash"] == run.path.name]
        written = pd.read_csv(cases_file(run.path), dtype={"case": str})
        pd.testing.assert_frame_equal(own[list(written.columns)].reset_index(drop=True), written)
        assert set(own["seed"]) == {run.spec.seed}
        lines = pd.read_csv(run.path / "curves.csv")
        there = curves[curves["hash"] == run.path.name]
        pd.testing.assert_frame_equal(there[list(lines.columns)].reset_index(drop=True), lines)


def test_settings_that_differ_are_columns(tmp_path: Path) -> None:
    store = ssl_bench.Store(tmp_path / "results")
    write_run(store, "mt", 1, [0.5])
    same = store.frame()
    ssl_bench.run("mt", **SHORT)
    both = ssl_bench.load_store().frame()
    assert len(both) == 2
    assert "iterations" not in same
    assert set(both["iterations"]) >= {4}
    assert "seed" in both


def test_an_empty_store_has_empty_frames() -> None:
    store = ssl_bench.load_store()
    assert [len(frame) for frame in (store.frame(), store.cases(), store.curves())] == [0, 0, 0]
    assert "hash" in store.frame()


def test_a_table_as_a_frame() -> None:
    rows = [["a", "88.12 ± 0.30", Cell("1.50 *", 1.4987), "", Cell("1 to 2", 1.0)], ["b", "—", "no run", "3", "x"]]
    table = Table("T", ["Name", "DSC\n[%]", "Best", "Count", "Interval"], rows, frozenset({"DSC\n[%]", "Count"}))
    frame = table.to_frame()
    assert list(frame.columns) == ["Name", "DSC [%]", "Best", "Count", "Interval"]
    assert frame.iloc[0].drop("Count").tolist() == ["a", 88.12, 1.4987, "1 to 2"]
    assert frame.iloc[1].drop("DSC [%]").tolist() == ["b", "no run", 3.0, "x"]
    assert np.isnan([frame["Count"][0], frame["DSC [%]"][1]]).all()
    assert frame.dtypes[["DSC [%]", "Count"]].tolist() == [float, float]
    assert Table("T", ["A", "B"], []).to_frame().shape == (0, 2)
    twice = Table("T", ["A", "A"], [["1", "2"]], frozenset({"A"})).to_frame()
    assert twice.to_numpy().tolist() == [[1.0, 2.0]]


# --------------------------------------------------------------------------------------------------- predict and lists


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "new" / "one.png"
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(path)
    return path


def test_masks_for_new_images(trained: RunResult, home: Path, image: Path, cli: CommandLine, tmp_path: Path) -> None:
    masks = ssl_bench.predict(trained.runs[1], image, tmp_path / "masks", device="cpu")
    assert (masks.paths, masks.network) == ([tmp_path / "masks" / "one.png"], "teacher")
    assert np.asarray(Image.open(masks.paths[0])).shape == (50, 40)
    done = cli("predict", masks.run, image, "--output", "line", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "line" / "one.png").read_bytes() == masks.paths[0].read_bytes()
    with pytest.raises(ssl_bench.UserError, match="--overwrite replaces"):
        ssl_bench.predict(trained.runs[1], [image.parent], tmp_path / "masks", results_root=home / "results")


def test_what_there_is() -> None:
    methods, datasets = ssl_bench.list_methods(), ssl_bench.list_datasets()
    assert {"supervised", "mt", "ucmt"} <= set(methods)
    assert {"demo", "demo3d", "kvasir", "isic"} <= set(datasets)
    assert ssl_bench.load_benchmark("demo").name == "demo"
    assert ssl_bench.load_protocol("tiny", dimensions=2).name == "tiny"
