"""Training curves: losses, lambda, disagreement and entropy, averaged on the device and read at every log line."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ssl_bench.method import Progress, Update
from ssl_bench.ops import entropy, hard_label_dice_loss, hard_labels


class CurveRow:
    """One iteration's values, on the device until a log line is due."""

    def __init__(self, iteration: int, lambda_u: float, smooth: float) -> None:
        self.iteration, self.lambda_u, self.smooth = iteration, lambda_u, smooth
        self.values: dict[str, Tensor] = {}
        self.updates = 0

    @torch.no_grad()
    def add(self, update: Update, total: Tensor) -> None:
        """Note an update's total and terms; of the first one with branches, their disagreement and entropy too.

        Of an update of the adversaries, the terms alone, under the number of the networks' update before it.

        Disagreement is the Dice loss between the two branches' hard labels, entropy the mean over pixels and both
        branches of the entropy of their softmax, in nats (Figure 1d and 1e).
        """
        if update.trains == "networks":
            self.updates += 1
            self.values[f"loss{self.updates}"] = total.float()
        for name, (_, value) in update.terms.items():
            self.values[f"{name}{self.updates}"] = value.detach().float()
        if update.branches is not None and "disagreement" not in self.values:
            first, second = (logits.detach().float() for logits in update.branches)
            labels = hard_labels(first), hard_labels(second)
            self.values["disagreement"] = hard_label_dice_loss(*labels, classes=first.shape[1], smooth=self.smooth)
            self.values["entropy"] = (entropy(first.softmax(1)).mean() + entropy(second.softmax(1)).mean()) / 2


class Curves:
    """Rows of curves.csv: each the mean over the iterations since the row before it.

    Reading values from the device blocks, so it happens once per `every` iterations and before a checkpoint.
    """

    def __init__(self, every: int, smooth: float) -> None:
        self.every, self.smooth = every, smooth
        self.columns: list[str] = []
        self.rows: list[dict[str, float]] = []  # iteration, lambda, and a value per column that the row has
        self.pending: list[dict[str, float]] = []  # read off the device, waiting for their log line
        self._on_device: list[CurveRow] = []
        self.latest = ""

    def open_row(self, progress: Progress) -> CurveRow:
        """Start the values of an iteration."""
        return CurveRow(progress.iteration, progress.lambda_u, self.smooth)

    def close_row(self, row: CurveRow) -> None:
        """End an iteration; at a log line, average.

        Raises:
            FloatingPointError: a value since the last log line is not finite.
        """
        self._on_device.append(row)
        if row.iteration % self.every == 0:
            self.require_finite()
            self._flush()

    def require_finite(self) -> None:
        """Read what is on the device.

        Raises:
            FloatingPointError: naming the iteration and the terms that are not finite.
        """
        if not self._on_device:
            return
        numbers = iter(torch.stack([v for row in self._on_device for v in row.values.values()]).double().cpu().tolist())
        for row in self._on_device:
            values = {name: next(numbers) for name in row.values}
            bad = [f"{name} = {number}" for name, number in values.items() if not math.isfinite(number)]
            if bad:
                raise FloatingPointError(f"not finite at iteration {row.iteration}: {', '.join(bad)}")
            self.columns += [name for name in values if name not in self.columns]
            self.pending.append({"iteration": row.iteration, "lambda": row.lambda_u, **values})
        self._on_device = []

    def close(self) -> None:
        """Close the last row, which may cover fewer iterations than the others."""
        self.require_finite()
        self._flush()

    def table(self) -> tuple[list[str], list[list[float | None]]]:
        """Header and closed rows of curves.csv; a term that a row does not have is an empty cell."""
        header = ["iteration", "lambda", *self.columns]
        return header, [[row.get(name) for name in header] for row in self.rows]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; call `require_finite` first."""
        return {"columns": self.columns, "rows": self.rows, "pending": self.pending}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state in a checkpoint."""
        self.columns, self.rows, self.pending = state["columns"], state["rows"], state["pending"]
        self._on_device = []

    def _flush(self) -> None:
        """Average each column over the pending iterations that have it; the row takes the last one's number, lambda."""
        if not self.pending:
            return
        last = self.pending[-1]
        row = {"iteration": last["iteration"], "lambda": last["lambda"]}
        for name in self.columns:
            values = [values[name] for values in self.pending if name in values]
            if values:
                row[name] = math.fsum(values) / len(values)
        self.rows.append(row)
        self.latest = f"loss {row['loss1']:.3f}"
        self.pending = []
