"""The version of the code that runs: that of the installed package, or of the checkout of an editable installation."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DECIDING = ("ssl_bench", "methods", "benchmarks")  # folders whose files can change a number


@cache
def current_version() -> str:
    """Return the installed version; in a checkout, which changes after its installation, with its present commit.

    ".dirty" marks edits that are in no commit. The version of a copy that is not installed is unknown.
    """
    try:
        installed = version("ssl-bench")
    except PackageNotFoundError:
        installed = "unknown"
    if not (ROOT / ".git").exists():
        return installed
    described = _git("describe", "--tags", "--long", "--always", "--match", "v[0-9]*")
    if described is None:
        return installed
    dirty = "" if _git("diff", "--quiet", "HEAD", "--", *DECIDING) is not None else "dirty"
    return _version_of(described, installed, dirty)


def _version_of(described: str, installed: str, dirty: str) -> str:
    """Write what git describes in the form of an installed version (PEP 440): 0.1.0.post1.dev7+g1a2b3c4.dirty."""
    found = re.fullmatch(r"v(\d.*)-(\d+)-(g[0-9a-f]+)", described)
    if found is None:  # no tag
        base, local = installed.partition("+")[0], [f"g{described}", dirty]
    elif found[2] == "0":
        base, local = found[1], [dirty]
    else:
        base, local = f"{found[1]}.post1.dev{found[2]}", [found[3], dirty]
    words = ".".join(word for word in local if word)
    return f"{base}+{words}" if words else base


def _git(*words: str) -> str | None:
    """The output of git in the checkout; None where it fails, or is not there."""
    elsewhere = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(ROOT), *words],  # noqa: S607
            capture_output=True, text=True, timeout=10, env=elsewhere, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
