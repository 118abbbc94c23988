"""A launcher of a user: one file, found by path or through an entry point, and used by the commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Call

from ssl_bench import plugins
from ssl_bench.launch import contract, launcher
from ssl_bench.launch.contract import LaunchOptions
from ssl_bench.launch.launcher import choose_launcher
from ssl_bench.store import Store

NICE = """
import json
import subprocess

from ssl_bench.launch.contract import Launcher, register_launcher
from ssl_bench.launch.pool import settle
from ssl_bench.launch.task import Outcome
from ssl_bench.training.device import choose_device


@register_launcher("nice")
class Nice(Launcher):
    def __init__(self, options):
        self.device = choose_device(options.device)

    def run(self, planned, store):
        outcome = Outcome()
        for one in planned:
            program = ["nice", "-n", "7", *one.task.program(str(self.device))]
            settle(one.task, subprocess.call(program, env=one.task.environment), store, outcome)
            (store.root / "nice.json").write_text(json.dumps(program))
        return outcome

    @classmethod
    def queue(cls, results_root):
        return {"0123456789abcdef": "being nice"}
"""
DEMO = ["run", "--dataset", "demo", "--protocol", "tiny", "--iterations", "2", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is forgotten after it."""
    launcher.load_launchers()
    monkeypatch.setattr(plugins, "_TEXTS", dict(plugins._TEXTS))
    before = dict(contract.REGISTRY)
    yield
    contract.REGISTRY.clear()
    contract.REGISTRY.update(before)


@pytest.fixture
def nice(tmp_path: Path) -> Path:
    path = tmp_path / "nice_launcher.py"
    path.write_text(NICE)
    return path


@pytest.mark.slow
def test_a_file_is_a_launcher(nice: Path, call: Call, tmp_path: Path) -> None:
    words = [*DEMO, "--methods", "supervised", "--launcher", "nice_launcher.py"]
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert "Supervised" in out
    (run,) = Store(Path("results")).runs()
    assert run.status == "finished"
    assert run.provenance["command"] == "ssl-bench " + " ".join(words)
    assert Path("results/nice.json").read_text().startswith('["nice", "-n", "7", ')
    code, out, err = call("status")
    assert (code, err) == (0, "")
    assert "1 more run in the cluster's queue." in out
    code, _, err = call(*DEMO, "--methods", "mt", "--launcher", "nice", "--jobs", "2")
    assert (code, err) == (2, "error: --jobs: needs --launcher local or slurm\n")


def test_an_entry_point_is_a_launcher(nice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    description = tmp_path / "nice_launcher-1.0.dist-info"
    description.mkdir()
    (description / "METADATA").write_text("Metadata-Version: 2.1\nName: nice-launcher\nVersion: 1.0\n")
    (description / "entry_points.txt").write_text("[ssl_bench.launchers]\nnice = nice_launcher\n")
    monkeypatch.syspath_prepend(tmp_path)
    chosen = choose_launcher("nice", LaunchOptions("cpu"))
    assert type(chosen).__name__ == "Nice"
    monkeypatch.delitem(sys.modules, "nice_launcher")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "--launcher: expected one registered launcher in mine.py, found none"),
        ("1 / 0", "mine.py: mine cannot be imported: ZeroDivisionError: division by zero"),
        (
            "from ssl_bench.launch.contract import register_launcher\nregister_launcher('local')(type('Mine', (), {}))",
            ".mine and ssl_bench.launch.local both define it",
        ),
        (
            "from ssl_bench.launch.contract import register_launcher\nregister_launcher('x', ['gpus'])(object)",
            "launcher 'x': takes: expected values from jobs, minutes, slurm; found ['gpus']",
        ),
    ],
)
def test_a_file_that_is_no_launcher_is_one_line(text: str, expected: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text)
    code, _, err = call(*DEMO, "--methods", "mt", "--launcher", "mine.py")
    assert code == 2
    assert expected in err
    assert err.count("\n") == 1


def test_a_sweep_needs_a_launcher_with_slots_or_workers(nice: Path, call: Call) -> None:
    words = ["sweep", "--method", "mt", "--dataset", "demo", "--protocol", "tiny", "--param", "lambda_max=0.1,0.2"]
    code, _, err = call(*words, "--iterations", "2", "--device", "cpu", "--launcher", "nice_launcher.py")
    assert code == 2
    assert "error: --launcher: Nice cannot run sweeps; use --launcher local" in err
