"""The one training loop: batches in, updates out, checkpoints on the way, scores at the end."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import closing

import torch
from torch import Tensor

from ssl_bench.atomic import write_csv
from ssl_bench.data.batches import BatchStream
from ssl_bench.data.stream import open_stream
from ssl_bench.errors import InterruptedRunError, RunFailedError
from ssl_bench.method import Batch, Progress
from ssl_bench.seeds import derive_seed
from ssl_bench.store import RunFolder, write_pictures
from ssl_bench.training.curves import Curves
from ssl_bench.training.device import peak_memory
from ssl_bench.training.interim_scores import Watch
from ssl_bench.training.iteration import Optimizers, stepped_updates
from ssl_bench.training.job import Job, build_method
from ssl_bench.training.measure import score_all, scorers
from ssl_bench.training.method_check import check_logits, check_networks
from ssl_bench.training.observer import Feed, Observer, Unobserved
from ssl_bench.training.selection import Selection
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.uncertainty_maps import moment_iterations, take_moments
from ssl_bench.training.waiting import Display

CHECKPOINT_SECONDS = 60.0


class Trainer:
    """A run's networks, optimisers and curves at some iteration.

    Args:
        job: the run.
        folder: where its files go.
        device: where it is trained.
        observer: is shown the rows of the curves.

    """

    def __init__(self, job: Job, folder: RunFolder, device: torch.device, observer: Observer | None = None) -> None:
        protocol = job.spec.protocol
        self.job, self.folder, self.device, self.protocol = job, folder, device, protocol
        self.method = build_method(job.spec, job.method, job.hyper, device, ignores=job.dataset.ignores)
        check_networks(self.method)
        self.optimizers = Optimizers(self.method, protocol)
        self.iteration = 0
        self.curves = Curves(protocol.log_every, protocol.dice_smooth)
        self.selection = Selection(job, device)
        self.seconds = 0.0
        self.memory_before: float | None = None  # peak of the processes that trained it earlier
        self.nondeterministic: set[str] = set()  # operations
        self.test, self.validation = scorers(job, device)
        self.watches = [
            Watch(folder.validation_curve, self.validation, protocol.validate_every),
            Watch(folder.test_curve, self.test, protocol.score_every),
        ]
        self.feed = Feed(observer or Unobserved())

    def run(self, stop: StopSignal, display: Display) -> None:
        """Train from the current iteration to the last, and write a checkpoint at the end, before scoring."""
        with closing(self.open_stream()) as stream:
            self._run(stream, stop, display)

    def _run(self, stream: BatchStream, stop: StopSignal, display: Display) -> None:
        if self.iteration == 0:
            check_logits(self.method, stream.batch(0), len(self.job.spec.classes))
        display.start("training", self.iteration, self.job.iterations)
        self.method.train()
        self.show_curves()
        written = time.monotonic()
        while True:
            for watch in self.watches:
                if watch.is_due(self.iteration):
                    self._note(watch, stop, display)
                    display.start("training", self.iteration, self.job.iterations)
                    self.method.train()
            if self.iteration == self.job.iterations:
                return
            begun = time.monotonic()
            self.iterate(stream)
            self.seconds += time.monotonic() - begun
            display.step(self.curves.latest)
            if self.iteration % self.curves.every == 0:
                self.show_curves()
            if self.iteration in moment_iterations(self.job.iterations):
                self._take_moments()
            is_last = self.iteration == self.job.iterations
            if is_last or stop.signal_number is not None or time.monotonic() - written > CHECKPOINT_SECONDS:
                self.checkpoint()
                written = time.monotonic()
            if stop.signal_number is not None and not is_last:
                raise InterruptedRunError(stop.signal_number)

    def open_stream(self) -> BatchStream:
        """Bring the training images to the device."""
        return open_stream(
            self.job.dataset, self.job.splits, self.protocol, self.job.spec.seed, self.device,
            unlabeled=self.method.uses_unlabeled,
        )  # fmt: skip

    def iterate(self, stream: BatchStream) -> None:
        """Run one iteration: batch, updates, curve row. Nothing blocks on the device between rows."""
        torch.manual_seed(derive_seed(self.job.spec.seed, "step", self.iteration))
        batch = stream.batch(self.iteration)
        self.iteration += 1
        weight = self.protocol.lambda_max * self.job.ramp(self.iteration)
        progress = Progress(self.iteration, self.job.iterations, weight)
        *_, (loss, is_selectable) = self._updates(batch, progress)
        self.selection.close_step(loss, self.iteration, self.method, is_selectable=is_selectable)

    def _updates(self, batch: Batch, progress: Progress) -> Iterator[tuple[Tensor, bool]]:
        """Step an optimiser for each of the method's updates.

        Yields the networks' losses without gradient, and whether they are selectable.
        """
        row = self.curves.open_row(progress)
        for update, total in stepped_updates(self.method, self.optimizers, batch, progress, self.device.type):
            row.add(update, total.detach())
            if update.trains == "networks":
                yield total.detach(), update.selectable
        try:
            self.curves.close_row(row)
        except FloatingPointError as error:
            raise RunFailedError(f"{error}; {self._last_good()}") from None

    def show_curves(self) -> None:
        """Show the observer the rows that are new."""
        self.feed.show({"train": self.curves.rows, **{watch.name: watch.points for watch in self.watches}})

    def checkpoint(self) -> None:
        """Write the state that a resume needs: iteration, weights and buffers, optimisers, curves, selection."""
        try:
            self.curves.require_finite()
            self._require_finite_weights()
        except FloatingPointError as error:
            raise RunFailedError(f"{error}; {self._last_good()}") from None
        state = {
            "iteration": self.iteration, "method": self.method.state_dict(), **self.optimizers.state(),
            "curves": self.curves.state(), **self.selection.state(), "seconds": self.seconds,
            "peak_memory": self.peak_memory,
            "nondeterministic": sorted(self.nondeterministic),
            "watched": {watch.path.name: watch.rows for watch in self.watches},
        }  # fmt: skip
        content = io.BytesIO()
        torch.save(state, content)
        self.folder.write_checkpoint(self.iteration, content.getvalue())
        write_csv(self.folder.curves, *self.curves.table())

    def _require_finite_weights(self) -> None:
        """Check that the last update left finite weights."""
        for name, value in self.method.state_dict().items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise FloatingPointError(f"not finite after iteration {self.iteration}: {name}")

    def restore(self, content: bytes) -> None:
        """Restore the state in a checkpoint."""
        state = torch.load(io.BytesIO(content), map_location=self.device, weights_only=True)
        self.method.load_state_dict(state["method"])
        self.optimizers.restore(state)
        self.curves.restore(state["curves"])
        self.iteration, self.seconds = state["iteration"], state["seconds"]
        self.selection.restore(state)
        self.memory_before = state.get("peak_memory")  # not in checkpoints of earlier versions
        self.nondeterministic.update(state.get("nondeterministic", ()))  # nor this
        for watch in self.watches:
            watch.rows = state["watched"][watch.path.name]

    @property
    def peak_memory(self) -> float | None:
        """Peak memory over all processes that trained the run, in MiB; None on a CPU."""
        return max((own for own in (self.memory_before, peak_memory(self.device)) if own is not None), default=None)

    def _note(self, watch: Watch, stop: StopSignal, display: Display) -> None:
        """Score the predictor on the watch's cases at this iteration."""
        predictor = {self.method.predictor_name: self.method.predictor}
        try:
            rows = score_all(watch.scorer, predictor, stop, display)
        except InterruptedRunError:
            self.checkpoint()
            raise
        watch.note(self.iteration, rows)
        self.show_curves()

    def _take_moments(self) -> None:
        """Write the maps for Figure 5. The file precedes any later checkpoint, so a resume does not need it."""
        job = self.job
        moments = take_moments(self.method, job.dataset, job.splits, job.spec, self.iteration, self.device)
        if moments:
            write_pictures(self.folder.moments(self.iteration), moments)

    def _last_good(self) -> str:
        path = self.folder.checkpoint_index
        return f"last good checkpoint: {path}" if path.exists() else "no checkpoint had been written"
