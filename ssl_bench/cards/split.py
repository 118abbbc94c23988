"""Split: how the cases of a data set are divided into training and test."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from ssl_bench.atomic import file_fingerprint
from ssl_bench.cards.card import Card, in_unit
from ssl_bench.cards.share import parse_share
from ssl_bench.errors import UserError


class Split(Card):
    """How cases are divided into training and test; part of the card, so that all runs share a test set."""

    test: int | str | None = Field(
        None, json_schema_extra=in_unit("cases"), description="number of test cases, or a share such as '20%'"
    )
    seed: int = Field(0, description="draws the test cases, for every run alike; a run's seed does not change them")
    sequence_starts: tuple[int, ...] | None = Field(
        None, description="first frame number of each video sequence; if given, whole sequences are held out"
    )
    file: str | None = Field(
        None, description="instead of test: a CSV file with the columns id and part (train or test)"
    )
    parts: dict[Literal["train", "test"], tuple[str, ...]] | None = Field(
        None,
        description="instead of test: patterns of the ids of each part, such as {train = ['train/*'], test = "
        "['test/*']}; other cases are left out",
    )
    labeled: Literal["random", "first"] = Field(
        "random", description="first: the labelled cases are the first of the training cases, whatever the seed"
    )
    fingerprint: str | None = Field(None, description="hash of the file; filled in when the card is read")

    @field_validator("sequence_starts")
    @classmethod
    def _increase(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or any(a >= b for a, b in pairwise(value))):
            raise ValueError("must be increasing frame numbers")
        return value

    @field_validator("test")
    @classmethod
    def _is_a_share(cls, value: int | str | None) -> int | str | None:
        if value is not None:
            parse_share(value, "test")
        return value

    @model_validator(mode="after")
    def _has_one_rule(self) -> Self:
        if [self.test, self.file, self.parts].count(None) != 2:
            raise ValueError("exactly one of test, file and parts must be given")
        if self.parts is not None and not (self.parts.get("train") and self.parts.get("test")):
            raise ValueError("parts must have patterns for train and for test")
        return self

    def located(self, folder: Path) -> Split:
        """Return the split with its file's full path and hash; `folder` is the card's folder."""
        if self.file is None:
            return self
        path = folder / self.file
        return self.model_copy(update={"file": str(path), "fingerprint": fingerprint_of(path, "split file")})


def fingerprint_of(path: Path, what: str) -> str:
    """Hash a file that a card names; `what` it is stands in the error.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return file_fingerprint(path)
    except OSError as error:
        raise UserError(f"{path}: the {what} cannot be read: {error.strerror}") from None
