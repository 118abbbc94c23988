"""The one training loop: batches in, updates out, checkpoints on the way, scores at the end."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from ssl_bench.atomic import write_bytes, write_csv, write_json
from ssl_bench.cards import METRICS, ImageProtocol, MetricName
from ssl_bench.data.batches import BatchStream, open_stream
from ssl_bench.errors import InterruptedRunError, RunFailedError, UserError, first_line
from ssl_bench.method import Batch, Progress
from ssl_bench.ops import gaussian_ramp_up
from ssl_bench.scoring.scorer import Row, Scorer, Seen, summary
from ssl_bench.seeds import derive_seed
from ssl_bench.store import RunFolder, write_pictures
from ssl_bench.training.curves import Curves
from ssl_bench.training.device import noting_nondeterminism, peak_memory
from ssl_bench.training.examples import Album
from ssl_bench.training.interim_scores import Watch
from ssl_bench.training.job import Job, build_method
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.uncertainty_maps import moment_iterations, take_moments

CHECKPOINT_SECONDS = 60.0


class Display(Protocol):
    """What training tells the person who waits."""

    def start(self, task: str, done: int, total: int) -> None:
        """A task (training, scoring) begins, with `done` of `total` steps behind it."""

    def step(self, text: str = "") -> None:
        """One step of the task is done; `text` says how it goes."""


def train(
    job: Job, folder: RunFolder, device: torch.device, stop: StopSignal, display: Display, provenance: dict[str, Any]
) -> None:
    """Train and score one run to its end, going on from its last checkpoint (hold the run's claim).

    Raises:
        InterruptedRunError: `stop` was set; the checkpoint is written.
        RunFailedError: a loss is not finite, or memory ran out; recorded in the run's folder.
        UserError: the checkpoint is damaged, or the weights cannot be had.
    """
    try:
        checkpoint = folder.read_checkpoint()
        if checkpoint is not None:
            _require_same_source(folder, provenance)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        folder.begin(job.spec, job.iterations, provenance, goes_on=checkpoint is not None)
        trainer = Trainer(job, folder, device)
        if checkpoint is not None:
            trainer.restore(checkpoint)
        write_json(folder.path / "splits.json", job.splits.as_dict())
        with noting_nondeterminism(trainer.nondeterministic):
            trainer.run(stop, display)
            trainer.score(stop, display)
    except (MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
        raise _failed(folder, f"out of memory: {first_line(error)}; {_lower(job)}") from error
    except RunFailedError as error:
        raise _failed(folder, str(error)) from error


def _is_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether memory ran out; the allocator of the CPU has no exception of its own."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _require_same_source(folder: RunFolder, provenance: dict[str, Any]) -> None:
    """A run never goes on with another text of its method than it began with."""
    index = folder.path / "checkpoint.json"
    begun = (folder.read() or {}).get("provenance", {}).get("method_source_sha256")
    if begun not in (None, provenance.get("method_source_sha256")):
        raise UserError(
            f"{folder.path}: the method's file has changed since this run began; delete {index} to train it from its "
            "beginning, and raise the method's `version` if the change alters results"
        )


class Trainer:
    """A run's networks, optimiser and curves at some iteration.

    Args:
        job: the run.
        folder: where its files go.
        device: where it is trained.

    """

    def __init__(self, job: Job, folder: RunFolder, device: torch.device) -> None:
        protocol = job.spec.protocol
        self.job, self.folder, self.device, self.protocol = job, folder, device, protocol
        self.method = build_method(job.spec, job.method, job.hyper, device)
        parameters = [p for p in self.method.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=protocol.learning_rate, betas=protocol.betas, weight_decay=protocol.weight_decay, fused=True
        )
        self.epoch = protocol.iterations_per_epoch(job.spec.train_count)
        self.iteration = 0
        self.curves = Curves(protocol.log_every, protocol.dice_smooth)
        self.epoch_loss = torch.zeros((), dtype=torch.float64, device=device)
        self.best_loss = math.inf
        self.best: dict[str, Tensor] = {}
        self.seconds = 0.0
        self.memory_before: float | None = None  # peak of the processes that trained it earlier
        self.nondeterministic: set[str] = set()  # operations
        self.test, self.validation = (
            Scorer(job.dataset, ids, job.spec, job.measurement, device)
            for ids in (job.splits.test, job.splits.validation)
        )
        self.watches = [
            Watch(folder.path / "validation_curve.csv", self.validation, protocol.validate_every, self._metrics),
            Watch(folder.path / "test_curve.csv", self.test, protocol.score_every, self._metrics),
        ]

    def run(self, stop: StopSignal, display: Display) -> None:
        """Train from the current iteration to the last; a checkpoint at the end even so, since scoring follows."""
        stream = self.open_stream()
        display.start("training", self.iteration, self.job.iterations)
        self.method.train()
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
        """One iteration: its batch, its updates, its row of the curves. Nothing waits for the device between rows."""
        torch.manual_seed(derive_seed(self.job.spec.seed, "step", self.iteration))
        batch = stream.batch(self.iteration)
        self.iteration += 1
        ramp = gaussian_ramp_up(self.iteration, self.job.rampup_length)
        progress = Progress(self.iteration, self.job.iterations, self.protocol.lambda_max * ramp)
        losses = list(self._updates(batch, progress))
        self._close_epoch(losses[-1])

    def _updates(self, batch: Batch, progress: Progress) -> Iterator[Tensor]:
        """Step the optimiser for each of the method's updates; yields their losses, without gradient."""
        generator = self.method.updates(batch, progress)
        row = self.curves.open_row(progress)
        while True:
            # no cache: a weight first cast under no_grad, as for UCMT's uncertainty, may stay without its gradient
            half = self.protocol.precision == "bf16"
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half, cache_enabled=False):
                update = next(generator, None)
                total = update.total if update is not None else None
            if update is None or total is None:
                break
            self.optimizer.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.method.after_update(progress)
            row.add(update, total.detach())
            yield total.detach()
        try:
            self.curves.close_row(row)
        except FloatingPointError as error:
            raise RunFailedError(f"{error}; {self._last_good()}") from None

    def _close_epoch(self, loss: Tensor) -> None:
        """Where the protocol selects by training loss: keep the weights after the epoch with the lowest.

        A last epoch that is cut short takes no part, whose mean over a few batches may be low by chance alone, unless
        there is no other.
        """
        if self.protocol.select != "train-loss":
            return
        self.epoch_loss += loss
        steps = self.iteration % self.epoch or self.epoch
        if steps == self.epoch or (self.iteration == self.job.iterations and not self.best):
            mean = float(self.epoch_loss) / steps
            if mean <= self.best_loss:
                self.best_loss = mean
                self.best = {
                    key: value.detach().to("cpu", copy=True) for key, value in self.method.state_dict().items()
                }
            self.epoch_loss.zero_()

    def checkpoint(self) -> None:
        """Write everything a resume needs: iteration, weights and buffers, the optimiser's state, open sums."""
        try:
            self.curves.require_finite()
            self._require_finite_weights()
        except FloatingPointError as error:
            raise RunFailedError(f"{error}; {self._last_good()}") from None
        state = {
            "iteration": self.iteration, "method": self.method.state_dict(), "optimizer": self.optimizer.state_dict(),
            "curves": self.curves.state(), "epoch_loss": self.epoch_loss, "best_loss": self.best_loss,
            "best": self.best, "seconds": self.seconds, "peak_memory": self._peak_memory,
            "nondeterministic": sorted(self.nondeterministic),
            "watched": {watch.path.name: watch.rows for watch in self.watches},
        }  # fmt: skip
        content = io.BytesIO()
        torch.save(state, content)
        self.folder.write_checkpoint(self.iteration, content.getvalue())
        write_csv(self.folder.path / "curves.csv", *self.curves.table())

    def _require_finite_weights(self) -> None:
        """An update can spoil weights whose loss was still finite."""
        for name, value in self.method.state_dict().items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise FloatingPointError(f"not finite after iteration {self.iteration}: {name}")

    def restore(self, content: bytes) -> None:
        """Go on from a checkpoint."""
        state = torch.load(io.BytesIO(content), map_location=self.device, weights_only=True)
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.curves.restore(state["curves"])
        self.iteration, self.best_loss, self.seconds = state["iteration"], state["best_loss"], state["seconds"]
        self.memory_before = state.get("peak_memory")  # not in checkpoints of earlier versions
        self.nondeterministic.update(state.get("nondeterministic", ()))  # nor this
        self.epoch_loss.copy_(state["epoch_loss"])
        self.best = {key: value.cpu() for key, value in state["best"].items()}
        for watch in self.watches:
            watch.rows = state["watched"][watch.path.name]

    def score(self, stop: StopSignal, display: Display) -> None:
        """Score every network on the test set at the checkpoint that the protocol selects, and finish the run.

        Stopped between two cases, it begins anew when the run goes on: the last iteration's checkpoint is there.
        """
        if self.best:
            self.method.load_state_dict(self.best)
        self.method.eval()
        metrics, networks, predictor = self._metrics, self.method.networks, self.method.predictor_name
        album, started = Album(), time.monotonic()

        def keep(network: str, case: str, truth: np.ndarray, prediction: np.ndarray) -> None:
            if network == predictor:
                album.add(case, truth, prediction)

        validation = self._validated(stop, display)
        rows = self._score(self.test, networks, stop, display, keep)
        write_csv(self.folder.path / "cases.csv", ("network", "case", "class", *metrics), rows)
        write_pictures(
            self.folder.path / "examples.npz", album.examples(_ranking(rows, predictor, metrics[0]), self.test.images)
        )
        for watch in self.watches:
            watch.write()
        self.curves.close()
        write_csv(self.folder.path / "curves.csv", *self.curves.table())
        weights = {key: value.contiguous().cpu() for key, value in self.method.state_dict().items()}
        write_bytes(self.folder.path / "weights.safetensors", save_safetensors(weights))
        self.folder.finish({
            "predictor": predictor,
            "scores": summary(rows, metrics),
            "measurement": self.job.measurement.model_dump(mode="json", exclude_none=True),
            "validation": validation,
            "parameters": {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()},
            "auxiliary_parameters": self._auxiliary_parameters,
            "updates": self.job.iterations * self.method.updates_per_iteration,
            "selected_train_loss": self.best_loss if self.best else None,
            "train_seconds": round(self.seconds, 2),
            "score_seconds": round(time.monotonic() - started, 2),
            "peak_memory_mib": self._peak_memory,
            "nondeterministic": sorted(self.nondeterministic),
            "test_sides": self.test.dataset.sides(self.test.ids),
        })  # fmt: skip

    @property
    def _peak_memory(self) -> float | None:
        """The largest of this process and those before it, in MiB; None on a CPU."""
        return max((own for own in (self.memory_before, peak_memory(self.device)) if own is not None), default=None)

    @property
    def _auxiliary_parameters(self) -> int:
        """Those of the method that are in none of its networks."""
        own = {p for network in self.method.networks.values() for p in network.parameters()}
        return sum(p.numel() for p in self.method.parameters() if p not in own)

    @property
    def _metrics(self) -> tuple[MetricName, ...]:
        assert self.protocol.metrics != "auto"
        return self.protocol.metrics

    def _score(
        self, scorer: Scorer, networks: dict[str, nn.Module], stop: StopSignal, display: Display,
        keep: Seen | None = None,
    ) -> list[Row]:  # fmt: skip
        """Score networks on some cases; a stop signal ends it between two of them.

        Raises:
            InterruptedRunError: `stop` was set.
        """
        left = len(scorer.ids) * len(networks)
        display.start("scoring", 0, left)

        def seen(network: str, case: str, truth: np.ndarray, prediction: np.ndarray) -> None:
            nonlocal left
            left -= 1
            display.step()
            if keep is not None:
                keep(network, case, truth, prediction)
            if stop.signal_number is not None and left:
                raise InterruptedRunError(stop.signal_number)

        return scorer.score(networks, seen)

    @property
    def _predictor(self) -> dict[str, nn.Module]:
        return {self.method.predictor_name: self.method.predictor}

    def _note(self, watch: Watch, stop: StopSignal, display: Display) -> None:
        """Score the predictor on the watch's cases at this iteration."""
        try:
            rows = self._score(watch.scorer, self._predictor, stop, display)
        except InterruptedRunError:
            self.checkpoint()
            raise
        watch.note(self.iteration, rows)

    def _validated(self, stop: StopSignal, display: Display) -> dict[str, Any] | None:
        """Score the predictor on the validation cases, where the protocol sets some apart."""
        if not self.validation.ids:
            return None
        (means,) = summary(self._score(self.validation, self._predictor, stop, display), self._metrics).values()
        return {"cases": len(self.validation.ids), "scores": means}

    def _take_moments(self) -> None:
        """Keep what Figure 5 shows. The file is there before any later checkpoint, so a resume need not know of it."""
        job = self.job
        moments = take_moments(self.method, job.dataset, job.splits, job.spec, self.iteration, self.device)
        if moments:
            write_pictures(self.folder.path / f"moments-{self.iteration}.npz", moments)

    def _last_good(self) -> str:
        path = self.folder.path / "checkpoint.json"
        return f"last good checkpoint: {path}" if path.exists() else "no checkpoint had been written"


def _ranking(rows: list[Row], network: str, metric: MetricName) -> dict[str, float | None]:
    """Each case's mean over classes of the first metric, turned so that larger is better; None where undefined."""
    values: dict[str, list[float]] = {}
    for own, case, _, value, *_ in map(list[Any], rows):
        if own == network:
            values.setdefault(case, []).extend([] if value is None else [value])
    sign = 1 if METRICS[metric].larger_is_better else -1
    return {case: sign * sum(own) / len(own) if own else None for case, own in values.items()}


def _failed(folder: RunFolder, reason: str) -> RunFailedError:
    folder.fail(reason)
    return RunFailedError(reason)


def _lower(job: Job) -> str:
    protocol = job.spec.protocol
    size = "image_size" if isinstance(protocol, ImageProtocol) else "patch_size"
    return (
        f"lower --set labeled_batch (now {protocol.labeled_batch}), unlabeled_batch ({protocol.unlabeled_batch}) or "
        f"{size} ({'x'.join(map(str, protocol.sides))}), or use --set precision=bf16"
    )
