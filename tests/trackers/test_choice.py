"""Which trackers a command has: names, mistakes, folders, other processes, and trackers of other packages."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, Call, assert_error

from ssl_bench import UserError, plugins, run
from ssl_bench.command import place_words
from ssl_bench.trackers import contract
from ssl_bench.trackers.choose import choose_trackers

RUN = ["run", "--methods", "mt", "--dataset", "demo", "--protocol", "tiny", "--device", "cpu"]
OTHERS = {
    "reproduce": ["reproduce", "--table", "4", "--dataset", "demo"],
    "sweep": ["sweep", "--method", "mt", "--dataset", "demo", "--param", "lambda_max=0.1,0.2"],
}


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is forgotten after it."""
    choose_trackers(["csv"], None, Path("results"))
    monkeypatch.setattr(plugins, "_TEXTS", dict(plugins._TEXTS))
    before = dict(contract.REGISTRY)
    yield
    contract.REGISTRY.clear()
    contract.REGISTRY.update(before)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--log", "nonsense"], "--log: expected one or more of csv, mlflow, tensorboard, wandb; found 'nonsense'"),
        (["--log", "csv,nonsense"], "--log: expected one or more of csv, mlflow, tensorboard, wandb; found 'nonsense'"),
        (["--log", ""], "--log: expected names of trackers separated by commas, found ''"),
        (["--log", ","], "--log: expected names of trackers separated by commas, found ','"),
        (["--log-dir", "logs"], "--log-dir: needs --log"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_trained(
    words: list[str], expected: str, call: Call, tmp_path: Path
) -> None:
    for command in (RUN, *OTHERS.values()):
        assert_error(call(*command, *words), expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("tensorboard", "torch.utils.tensorboard", "tensorboard"),
        ("mlflow", "mlflow", "mlflow-skinny"),
        ("wandb", "wandb", "wandb"),
    ],
)
def test_a_package_that_is_not_installed_is_one_line(
    name: str, module: str, package: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    importing = builtins.__import__

    def without(wanted: str, *arguments: Any, **more: Any) -> Any:
        if wanted.split(".")[0] == module or wanted == module:
            raise ModuleNotFoundError(f"No module named '{module}'")
        return importing(wanted, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    answer = call(*RUN, "--log", f"csv,{name}")
    assert_error(answer, f"--log {name}: needs {package}: pip install 'ssl-bench[trackers]'")
    assert list(tmp_path.iterdir()) == []


def test_python_makes_the_same_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--log: expected one or more of csv, .*; found 'nonsense'"):
        run("mt", "demo", log="nonsense", results_root=tmp_path)
    with pytest.raises(UserError, match="--log-dir: needs --log"):
        run("mt", "demo", log_dir=tmp_path, results_root=tmp_path)


def test_logs_are_in_the_results_root_unless_a_folder_is_named() -> None:
    chosen = choose_trackers(["csv", "csv"], None, Path("here"))
    assert chosen is not None
    assert (chosen.folders, chosen.words) == ({"csv": Path("here/logs/csv")}, ("--log", "csv"))
    chosen = choose_trackers(["csv"], Path("there"), Path("here"))
    assert chosen is not None
    assert (chosen.folders, chosen.words) == ({"csv": Path("there/csv")}, ("--log", "csv", "--log-dir", "there"))
    words = place_words(None, Path("here"), [], allow_partial=False, log=chosen.words)
    assert words == ["--results-root", "here", "--log", "csv", "--log-dir", "there"]


MINE = """
from ssl_bench.trackers import Tracker, register_tracker


@register_tracker("mine")
class Mine(Tracker):
    def start(self, run):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / f"{run.id}.txt"
        self.file.write_text(f"{run.name}|{run.settings['seed']}|")

    def log(self, points):
        with self.file.open("a") as file:
            file.write("".join(f"{point.iteration} " for point in points))

    def finish(self, scores, pictures):
        with self.file.open("a") as file:
            file.write(f"|{sorted(scores)[-1]}|{len(pictures)}")

    def stop(self, reason):
        pass
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Words of a command that uses a tracker of an installed package."""
    place = tmp_path / "installed"
    description = place / "mine-1.0.dist-info"
    description.mkdir(parents=True)
    (description / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (description / "entry_points.txt").write_text("[ssl_bench.trackers]\nmine = my_tracker\n")
    (place / "my_tracker.py").write_text(MINE)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("PYTHONPATH", f"{place}:{REPOSITORY}")
    yield ["--iterations", "4", "--set", "log_every=2", "--log", "mine", "--log-dir", "logs"]
    sys.modules.pop("my_tracker", None)


def written(folder: Path) -> list[str]:
    return sorted(path.read_text() for path in (folder / "logs" / "mine").glob("*.txt"))


def test_an_entry_point_is_a_tracker(call: Call, tmp_path: Path, installed: list[str]) -> None:
    code, _, err = call(*RUN, *installed)
    assert (code, err) == (0, "")
    assert written(tmp_path) == ["mt · demo 6/300 · tiny · seed 1|1|2 4 |networks/teacher/jaccard|6"]
    assert not list(Path("results").glob("logs*"))


@pytest.mark.slow
def test_runs_in_other_processes_have_the_trackers_of_the_command(
    call: Call, tmp_path: Path, installed: list[str]
) -> None:
    code, _, err = call(*RUN, *installed, "--seeds", "2,3", "--jobs", "2")
    assert (code, err) == (0, "")
    expected = [f"mt · demo 6/300 · tiny · seed {seed}|{seed}|2 4 |networks/teacher/jaccard|6" for seed in (2, 3)]
    assert written(tmp_path) == expected


@pytest.mark.slow
def test_trials_of_a_sweep_have_the_trackers_of_the_command(call: Call, tmp_path: Path, installed: list[str]) -> None:
    code, _, err = call(*OTHERS["sweep"], "--protocol", "tiny", "--device", "cpu", *installed)
    assert code == 0, err
    assert written(tmp_path) == 2 * ["mt · demo 6/300 · tiny · seed 1|1|2 4 |networks/teacher/jaccard|6"]


def test_a_file_of_a_users_folder_is_a_tracker(call: Call, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text(MINE)
    code, _, err = call(*RUN, "--iterations", "2", "--methods-dir", "own", "--log", "mine", "--dry-run")
    assert (code, err) == (0, "")
    assert not (tmp_path / "results").exists()
