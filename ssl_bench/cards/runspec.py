"""RunSpec: the frozen, complete description of one training, and the hash that is its identity."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import Field

from ssl_bench.cards.benchmark import Intensity, Split
from ssl_bench.cards.card import Card, Count
from ssl_bench.cards.protocol import AnyProtocol

WORDS = ("name", "title", "note", "epochs")  # of a protocol, decide nothing; epochs have become iterations


class RunSpec(Card):
    """A frozen, complete description of one training: what is not in here decides no number."""

    benchmark: str
    classes: tuple[str, ...] = Field(description="background first")
    label_values: tuple[int, ...] = Field(description="each class's value in the data set's own masks")
    intensity: Intensity
    split: Split
    data_fingerprint: str = Field(description="hash of the source files' contents and ids")
    train_count: Count
    test_count: Count
    labeled: Count = Field(description="number of labelled training images")
    protocol: AnyProtocol
    weights_fingerprint: str | None = Field(None, description="hash of the encoder's weight file, where it is a file")
    method: str
    method_version: int
    hyperparameters: dict[str, int | float | bool | str]
    seed: int

    def identity(self) -> dict[str, Any]:
        """The fields that decide a number, as plain data."""
        data = self.model_dump(mode="json", exclude={"label_values": True, "protocol": set(WORDS)})
        data["classes"] = len(self.classes)  # their names are words, too
        unused = [] if self.protocol.score_every else ["score_every"]
        unused += [] if self.protocol.validation else ["validation", "validation_share", "validate_every"]
        for name in unused:
            del data["protocol"][name]  # runs from before it was a field keep their identity
        if self.weights_fingerprint is not None:
            del data["protocol"]["encoder_weights"]  # the file's content counts, not where it lies
        if self.split.file is not None:
            del data["split"]["file"], data["protocol"]["split"]  # as above
        return data

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over the canonical JSON of `identity`."""
        text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """A short name for people."""
        data = f"{self.benchmark} {self.labeled}/{self.train_count}"
        return f"{self.method} · {data} · {self.protocol.name} · seed {self.seed}"
