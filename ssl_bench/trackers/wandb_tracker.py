"""`--log wandb`: runs on Weights & Biases, or in offline files that `wandb sync` uploads (WANDB_MODE=offline)."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Mapping, Sequence

from ssl_bench.errors import UserError
from ssl_bench.trackers.contract import Picture, TrackedRun, Tracker, not_installed, register_tracker
from ssl_bench.training.observer import Point, Stop

PROJECT = "ssl-bench"  # unless WANDB_PROJECT names another


@register_tracker("wandb")
class WandB(Tracker):
    """Sends to a W&B run with a fixed id.

    A run that goes on is resumed on the server, and the steps that it has are not sent again. Offline it is written
    again, in place of its earlier offline files, unless they were synced.
    """

    folder_variable = "WANDB_DIR"

    @classmethod
    def check(cls) -> None:
        """Import the package, and look for the key of an account, where one is needed."""
        try:
            from wandb import login
            from wandb.errors import AuthenticationError
        except ImportError:
            raise not_installed("wandb", "wandb") from None
        if not _is_online():
            return
        try:
            has_key = login(verify=False, prompt=False)
        except AuthenticationError as error:
            raise UserError(f"--log wandb: {error}") from None
        if not has_key:
            raise UserError("--log wandb: expected an account; run `wandb login`, or set WANDB_MODE=offline")

    def start(self, run: TrackedRun) -> None:
        """Open the run, beside a run of the user's that may be open in this process."""
        import wandb

        self._iterations, online = run.iterations, _is_online()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not online:
            for earlier in self.folder.glob(f"wandb/offline-run-*-{run.id}"):
                if not list(earlier.glob("*.synced")):
                    for superseded in earlier.glob("*.wandb"):
                        superseded.unlink()
                    # W&B's process of a killed training may still write here; without the .wandb file it does not count
                    shutil.rmtree(earlier, ignore_errors=True)
        self._open = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT, id=run.id, name=run.name, group=run.group,
            dir=str(self.folder), resume="allow" if online else None, reinit="create_new",
            config={**run.settings, "provenance": dict(run.provenance)},
            settings=wandb.Settings(console="off", silent=True),
        )  # fmt: skip
        self._from = self._open.step if self._open.resumed else 0

    def log(self, points: Sequence[Point]) -> None:
        """Send the points of steps that the run does not have."""
        for point in points:
            if point.iteration >= self._from:
                self._open.log(point.values, step=point.iteration)

    def finish(self, scores: Mapping[str, float], pictures: Sequence[Picture]) -> None:
        """Send scores as the run's summary, and pictures."""
        import wandb
        from PIL import Image

        if pictures and self._iterations >= self._from:
            images = {
                f"cases/{one.name}": wandb.Image(Image.open(io.BytesIO(one.png)), caption=one.caption)
                for one in pictures
            }
            self._open.log(images, step=self._iterations)
        self._open.summary.update(dict(scores))
        self._open.finish(exit_code=0)

    def stop(self, reason: Stop) -> None:  # noqa: ARG002
        """Close the run; W&B shows it as failed until it goes on."""
        self._open.finish(exit_code=1)


def _is_online() -> bool:
    """Whether W&B's settings, from the environment and the user's files, ask for a server."""
    import wandb

    return wandb.setup().settings.mode not in ("offline", "dryrun", "disabled")
