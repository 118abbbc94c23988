"""`--log mlflow`: runs on an MLflow server (MLFLOW_TRACKING_URI), or in an SQLite file in the folder of logs."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from ssl_bench.locks import FileLock
from ssl_bench.trackers.contract import Picture, TrackedRun, Tracker, not_installed, register_tracker
from ssl_bench.training.observer import Point, Stop

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "ssl-bench"  # unless MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID names another
ID = "ssl_bench.id"  # the tag by which a run is found again
AT_ONCE = 100  # parameters, tags or metrics of a request; MLflow's limits are 100, 100 and 1000


@register_tracker("mlflow")
class MLflow(Tracker):
    """Sends to an MLflow run that is found by a tag. Metrics that the run has at a step are not sent again."""

    @classmethod
    def check(cls) -> None:
        """Import the package."""
        try:
            from mlflow import MlflowClient  # noqa: F401
        except ImportError:
            raise not_installed("mlflow", "mlflow-skinny") from None

    def start(self, run: TrackedRun) -> None:
        """Find the run or create it, and read which metrics it has."""
        from mlflow import MlflowClient

        # MLflow draws the jitter between its attempts from Python's global generator
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
        self._run, server = run, os.environ.get("MLFLOW_TRACKING_URI")
        if not server:
            self.folder.mkdir(parents=True, exist_ok=True)
        with nullcontext() if server else FileLock(self.folder / ".lock"):  # one process at a time makes the tables
            self._client = MlflowClient(server or f"sqlite:///{self.folder.resolve() / 'mlflow.db'}")
            experiment = self._experiment(None if server else (self.folder.resolve() / "artifacts").as_uri())
        found = self._client.search_runs([experiment], f"tags.`{ID}` = '{run.id}'", max_results=1)
        opened = found[0] if found else self._client.create_run(experiment, tags={ID: run.id}, run_name=run.name)
        self._id = opened.info.run_id
        self._client.update_run(self._id, status="RUNNING")
        self._sent = _steps(self._client, opened)
        self._describe(opened)

    def log(self, points: Sequence[Point]) -> None:
        """Send metrics that the run does not have."""
        self._send((name, value, point.iteration) for point in points for name, value in point.values.items())

    def finish(self, scores: Mapping[str, float], pictures: Sequence[Picture]) -> None:
        """Send scores as metrics, and pictures as artifacts."""
        from PIL import Image

        self._send((name, value, self._run.iterations) for name, value in scores.items())
        for picture in pictures:
            image = Image.open(io.BytesIO(picture.png))
            self._client.log_image(self._id, image, artifact_file=f"pictures/{picture.name}.png")
        self._client.set_terminated(self._id, "FINISHED")

    def stop(self, reason: Stop) -> None:
        """Close the run as killed or failed."""
        self._client.set_terminated(self._id, "KILLED" if reason == "interrupted" else "FAILED")

    def _experiment(self, artifacts: str | None) -> str:
        """Return the id of the experiment, which is created where it does not exist."""
        from mlflow import MlflowException

        named = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if named:
            return named
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=artifacts))
            except MlflowException:  # another process was faster
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _describe(self, opened: Run) -> None:
        """Send settings as parameters, which MLflow never changes, and provenance as tags."""
        from mlflow.entities import Param, RunTag

        parameters = [Param(key, str(value)) for key, value in self._run.settings.items()]
        parameters = [one for one in parameters if one.key not in opened.data.params]
        tags = {f"provenance.{key}": value for key, value in self._run.provenance.items()}
        tags |= {"ssl_bench.group": self._run.group, "mlflow.runName": self._run.name}
        if "git_commit" in self._run.provenance:
            tags["mlflow.source.git.commit"] = self._run.provenance["git_commit"]
        for start in range(0, len(parameters), AT_ONCE):
            self._client.log_batch(self._id, params=parameters[start : start + AT_ONCE])
        self._client.log_batch(self._id, tags=[RunTag(key, value) for key, value in tags.items() if value])

    def _send(self, metrics: Iterable[tuple[str, float, int]]) -> None:
        """Send (name, value, step) of the metrics that the run does not have."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        new = [Metric(name, value, now, step) for name, value, step in metrics if (name, step) not in self._sent]
        for start in range(0, len(new), AT_ONCE):
            batch = new[start : start + AT_ONCE]
            self._client.log_batch(self._id, metrics=batch)
            self._sent |= {(metric.key, metric.step) for metric in batch}


def _steps(client: MlflowClient, run: Run) -> set[tuple[str, int]]:
    """Return the names and steps of the metrics that a run has."""
    return {
        (name, metric.step) for name in run.data.metrics for metric in client.get_metric_history(run.info.run_id, name)
    }
