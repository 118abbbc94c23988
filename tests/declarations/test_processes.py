"""What the commands import: torch is not needed to list and compare runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

import ssl_bench
from ssl_bench import plugins
from ssl_bench.declarations import load as loading
from ssl_bench.method import registry

MEASURED = REPOSITORY / "results" / "measured"
FILE = """
from pydantic import Field
from torch import nn
from ssl_bench.method import Hyperparameters, SSLMethod, register

class Mine(Hyperparameters):
    q: int = Field(3, description="a number")

@register
class Method(SSLMethod):
    name, title, reference, version = "mine", "Mine", "Nobody 2026", 1
    hyperparameters = Mine
"""
CARD = """
kind = "table"
title = "Mine"
[[columns]]
dataset = "kvasir"
labeled = "5%"
[[rows]]
title = "Theirs"
method = "mt"
[[rows]]
title = "Mine"
method = "mine"
settings = { q = 4 }
"""
PROGRAM = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from ssl_bench.cli import main
main()
"""
NETWORKS = {"torch", "torchvision", "segmentation_models_pytorch", "timm", "monai", "safetensors"}
FILES = {"SimpleITK", "nibabel", "h5py", "imagehash", "skimage"}
DRAWING = {"matplotlib", "seaborn", "PIL"}
COMPILER = {"torch._inductor", "torch._dynamo"}
NEVER = {
    "status": NETWORKS | FILES | DRAWING | {"optuna", "pandas", "scipy"},
    "table": NETWORKS | FILES | DRAWING | {"optuna"},
    "figure": NETWORKS | FILES | {"optuna"},
    "dry run": NETWORKS | FILES | DRAWING | {"optuna", "ssl_bench.training.plan"},
    # the data set is opened (h5py), and the modules that read images and weights import PIL and safetensors
    "finished": (NETWORKS | FILES | DRAWING | COMPILER | {"scipy", "sympy"}) - {"torch", "h5py", "PIL", "safetensors"},
}
DEMO = ("--dataset", "demo", "--protocol", "tiny", "--iterations", "1", "--device", "cpu")
RUN = ("run", "--methods", "supervised", *DEMO)
SWEEP = ("sweep", "--method", "supervised", *DEMO, "--param", "learning_rate=0.001,0.002", "--objective", "none")


def run(*words: str | Path) -> tuple[int, str, set[str]]:
    """A command in a process of its own: exit code, output and messages, and the modules that it imported."""
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=120)
    *messages, modules = done.stderr.splitlines()
    return done.returncode, done.stdout + "\n".join(messages), set(json.loads(modules))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports in this process keep a record, as those of a new process do, without waiting for torch."""
    monkeypatch.setattr(plugins, "_TEXTS", dict(plugins._TEXTS))
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    monkeypatch.setattr(loading, "has_methods", lambda: False)
    monkeypatch.setattr(loading, "is_package_unchanged", lambda: True)


def test_status_imports_nothing_that_it_does_not_use() -> None:
    code, _, modules = run("status", "--results-root", MEASURED)
    assert code == 0
    assert not modules & NEVER["status"]


@pytest.mark.usefixtures("recorded")
def test_a_report_never_imports_torch_for_unchanged_methods(tmp_path: Path) -> None:
    folder, card = tmp_path / "mine", tmp_path / "mine.toml"
    folder.mkdir()
    card.write_text(CARD)
    words = ("report", "--table", card, "--results-root", MEASURED, "--methods-dir", folder)

    (folder / "mine.py").write_text(FILE)
    (expected,) = ssl_bench.report(table=card, results_root=MEASURED, methods_dir=folder).tables
    code, text, modules = run(*words)
    assert code == 0
    assert expected.title in text
    assert "--methods mine" in text
    assert not modules & NEVER["table"]

    (folder / "mine.py").write_text(FILE.replace("q: int", "p: int"))
    code, text, modules = run(*words)
    assert code == 2
    assert "row 'Mine': q is neither a protocol field nor a hyperparameter of its method" in text
    assert "torch" in modules, "the edited file is read, not the record"


@pytest.mark.usefixtures("recorded")
def test_a_figure_imports_the_drawing_library_and_no_torch(tmp_path: Path) -> None:
    ssl_bench.report(figure=4, results_root=MEASURED)
    code, text, modules = run("report", "--figure", "4", "--results-root", MEASURED, "--output", tmp_path)
    assert code == 0, text
    assert "matplotlib" in modules
    assert not modules & NEVER["figure"]


@pytest.mark.usefixtures("recorded")
def test_a_dry_run_of_reproduce_imports_no_torch() -> None:
    ssl_bench.report(table=4, results_root=MEASURED)  # the record of the methods is there
    code, text, modules = run("reproduce", "--table", "4", "--dry-run", "--results-root", MEASURED)
    assert code == 0, text
    assert "Missing runs" in text
    assert not modules & NEVER["dry run"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_folder: Path) -> Path:
    """A store with the two finished runs of a sweep."""
    root = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_BENCH_CACHE", str(shared_folder / "cache"))
        for rate in (0.001, 0.002):
            settings = {"iterations": 1, "learning_rate": rate}
            ssl_bench.run("supervised", "demo", protocol="tiny", settings=settings, device="cpu", results_root=root)
    return root


def test_a_run_of_what_is_finished_imports_no_network_and_no_compiler(finished: Path) -> None:
    code, text, modules = run(*RUN, "--set", "learning_rate=0.001", "--results-root", finished)
    assert code == 0, text
    assert "finished earlier" in text
    assert not modules & NEVER["finished"]


def test_a_sweep_that_is_finished_imports_neither(finished: Path) -> None:
    code, text, modules = run(*SWEEP, "--results-root", finished)
    assert code == 0, text
    assert "optuna" in modules
    assert not modules & (NEVER["finished"] - {"scipy", "sympy"})
