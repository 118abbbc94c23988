"""Where the files of a data set come from: archives that a program may fetch, or what a person has to do."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator

from ssl_bench.cards.card import Card, Count, in_unit

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")  # suffixes of the archives that can be unpacked


class Archive(Card):
    """An archive on a server, and its checksum where one is known."""

    url: str = Field(
        pattern=r"^https?://[^\s/]+/\S+$", description="address of the archive, which is a zip or tar file"
    )
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="its SHA-256, or give md5")
    md5: str | None = Field(None, pattern="^[0-9a-f]{32}$", description="its MD5, or give sha256")
    checksum_from: str | None = Field(None, description="who published the checksum")
    bytes: Count | None = Field(
        None, json_schema_extra=in_unit("bytes"), description="size of the archive, where it is known"
    )

    @property
    def name(self) -> str:
        """The name of the archive's file."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name

    @property
    def known_hash(self) -> str | None:
        """The checksum with its algorithm, such as `md5:...`; None where none is known."""
        if self.sha256 is not None:
            return f"sha256:{self.sha256}"
        return None if self.md5 is None else f"md5:{self.md5}"

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if not self.name.lower().endswith(ARCHIVES):
            raise ValueError(f"url must end in one of {', '.join(ARCHIVES)}")
        if self.sha256 is not None and self.md5 is not None:
            raise ValueError("sha256 and md5 exclude each other")
        if (self.known_hash is None) != (self.checksum_from is None):
            raise ValueError("a checksum and checksum_from belong together")
        return self


class Download(Card):
    """How to get a data set: `archives` that `data download` fetches, or `instructions` that it prints."""

    page: str = Field(description="web page of the data set, which states its terms")
    unpack_to: str = Field(description="folder below the data root that the archives are unpacked to")
    archives: tuple[Archive, ...] = Field((), description="all of them are needed")
    instructions: str | None = Field(
        None,
        description="instead of archives: what to fetch by hand, for data sets behind a login, a form or a browser",
    )

    @field_validator("unpack_to")
    @classmethod
    def _is_below(cls, value: str) -> str:
        path = PurePosixPath(value)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise ValueError("must be a folder below the data root")
        return value

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        if bool(self.archives) == (self.instructions is not None):
            raise ValueError("exactly one of archives and instructions must be given")
        if len({archive.name for archive in self.archives}) != len(self.archives):
            raise ValueError("archives must have different names")
        return self
