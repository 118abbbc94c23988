"""`--log tensorboard`: event files for TensorBoard, with scalars, pictures, texts and the HParams tab."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from ssl_bench.trackers.contract import Picture, TrackedRun, Tracker, not_installed, register_tracker
from ssl_bench.training.observer import Point, Stop


@register_tracker("tensorboard")
class TensorBoard(Tracker):
    """Writes one folder of event files per run.

    A start writes all points again, into a new file that says that those of earlier files are void. Earlier files
    stay: a TensorBoard that has one open would not look for the next one.
    """

    @classmethod
    def check(cls) -> None:
        """Import the package."""
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: F401
        except ImportError:
            raise not_installed("tensorboard", "tensorboard") from None

    def start(self, run: TrackedRun) -> None:
        """Open an event file; readers forget the points of earlier ones from `purge_step` on."""
        from torch.utils.tensorboard import SummaryWriter

        self._run = run
        self._writer = SummaryWriter(str(self.folder / run.path), purge_step=0)
        for title, values in (("settings", run.settings), ("provenance", run.provenance)):
            lines = [f"| {key} | {str(value).replace('|', '&#124;')} |" for key, value in values.items()]
            self._writer.add_text(title, "\n".join(["| name | value |", "|---|---|", *lines]))
        self._writer.flush()

    def log(self, points: Sequence[Point]) -> None:
        """Write a scalar per value."""
        for point in points:
            for name, value in point.values.items():
                self._writer.add_scalar(name, value, point.iteration)
        self._writer.flush()

    def finish(self, scores: Mapping[str, float], pictures: Sequence[Picture]) -> None:
        """Write scores as scalars and for the HParams tab, and pictures."""
        import numpy as np
        from PIL import Image

        for picture in pictures:
            pixels = np.array(Image.open(io.BytesIO(picture.png)).convert("RGB"))
            self._writer.add_image(f"cases/{picture.name}", pixels, self._run.iterations, dataformats="HWC")
        settings = {key: "none" if value is None else value for key, value in self._run.settings.items()}
        self._writer.add_hparams(settings, dict(scores), run_name=".", global_step=self._run.iterations)
        self._writer.close()

    def stop(self, reason: Stop) -> None:  # noqa: ARG002
        """Close the file."""
        self._writer.close()
