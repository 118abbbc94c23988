"""MLflow has a run's values, once each: in a file after a kill, and on a server, which may be killed itself."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from followed import EACH, curves_of, follow, kill_and_continue, scores_of, until
from workplace import Silent, Workplace, contents

pytest.importorskip("mlflow", reason="needs mlflow: pip install 'ssl-bench[trackers]'")
SECONDS = 120.0  # for a server to start


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    place = Workplace(tmp_path)
    yield place
    place.end()


class Found:
    """The one run of an MLflow store, as its client reads it."""

    def __init__(self, uri: str, experiment: str = "ssl-bench") -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)
        found = self.client.get_experiment_by_name(experiment)
        assert found is not None
        (self.run,) = self.client.search_runs([found.experiment_id])

    def metrics(self) -> dict[str, list[tuple[int, float]]]:
        return {
            name: sorted((one.step, one.value) for one in self.client.get_metric_history(self.run.info.run_id, name))
            for name in self.run.data.metrics
        }

    def pictures(self) -> list[str]:
        return [one.path for one in self.client.list_artifacts(self.run.info.run_id, "pictures")]


def expected(run: Any) -> dict[str, list[tuple[int, float]]]:
    found = {name: sorted(values.items()) for name, values in curves_of(run).items()}
    return found | {name: [(run.iterations, value)] for name, value in scores_of(run).items()}


def local(workplace: Workplace) -> str:
    return f"sqlite:///{workplace.folder / 'logs' / 'mlflow' / 'mlflow.db'}"


def check(found: Found, run: Any) -> None:
    assert found.run.info.status == "FINISHED"
    assert found.run.info.run_name == run.spec.label
    assert found.metrics() == expected(run)
    assert 1 < len(found.pictures()) <= 6
    assert {
        "method": "mt",
        "labeled": "2",
        "seed": "1",
        "protocol.log_every": "2",
    }.items() <= found.run.data.params.items()
    assert found.run.data.tags["provenance.device"] == run.provenance["device"]


def test_without_a_server_a_file_has_curves_scores_settings_and_pictures(workplace: Workplace) -> None:
    run = follow(workplace, "mlflow")
    check(Found(local(workplace)), run)
    assert not Path("mlruns").exists()


def has_step(database: Path, step: int) -> bool:
    """Whether an SQLite file of MLflow has a step; a client would make the file's tables."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as store:
        return bool(store.execute("SELECT 1 FROM metrics WHERE key = 'train/loss1' AND step = ?", [step]).fetchall())
    return False


@pytest.mark.slow
def test_after_a_kill_every_step_is_there_once(workplace: Workplace) -> None:
    database = workplace.folder / "logs" / "mlflow" / "mlflow.db"
    run = kill_and_continue(workplace, "mlflow", lambda step: has_step(database, step))
    found = Found(local(workplace))
    assert found.metrics() == expected(run)
    assert sorted(curves_of(run)["train/loss1"]) == list(range(1, 9))
    assert found.run.info.status == "FINISHED"


# ---------------------------------------------------------------------------------------------------------- a server


class Server:
    """`mlflow server` on a free port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.folder.mkdir()
        self.start()

    def start(self) -> None:
        words = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        words += ["--backend-store-uri", "sqlite:///server.db", "--artifacts-destination", "artifacts"]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words], cwd=self.folder, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        until(self.answers, SECONDS)

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def server(workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("flask", reason="needs a server: pip install mlflow")
    started = Server(tmp_path / "server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", started.uri)
    yield started
    started.kill()


@pytest.mark.slow
def test_a_server_gets_everything_and_its_death_costs_one_warning(
    server: Server, workplace: Workplace, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = follow(workplace, "mlflow")
    check(Found(server.uri), run)
    assert not (workplace.folder / "logs").exists()
    assert [record.getMessage() for record in caplog.records if record.name == "ssl_bench"] == []

    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

    def other_run() -> Found:
        return Found(server.uri, "another")

    class Killing(Silent):
        """Kills the server when it has four iterations."""

        def step(self, text: str = "") -> None:
            self.done = getattr(self, "done", 0) + 1
            if self.done == 5:
                until(lambda: len(other_run().metrics().get("train/loss1", [])) == 4)
                server.kill()

    run = follow(workplace, "mlflow", settings=EACH, display=Killing())
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "ssl_bench"]
    assert warning.startswith(f"--log mlflow: {run.spec.label}: ")
    assert warning.endswith(f"; the run goes on, and {run.path} has all of it")
    assert [contents(run.path)] == workplace.undisturbed("mt", settings=EACH)
    server.start()
    assert other_run().metrics()["train/loss1"] == expected(run)["train/loss1"][:4]
