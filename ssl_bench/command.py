"""The command line that asks for runs, as words: for people to copy, and for other processes to be started with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def run_words(
    methods: Sequence[str], dataset: str, labeled: str, protocol: str, seeds: Sequence[int], settings: Mapping[str, Any]
) -> list[str]:
    """Words of `ssl-bench run ...`, without the first one."""
    words = ["run", "--methods", ",".join(methods), "--dataset", dataset, "--labeled", labeled]
    return [*words, "--protocol", protocol, "--seeds", ",".join(map(str, seeds)), *setting_words(settings)]


def setting_words(settings: Mapping[str, Any]) -> list[str]:
    """`--set KEY=VALUE` for each setting."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={toml_value(value)}")]


def toml_value(value: Any) -> str:
    """A setting's value as `--set` reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
