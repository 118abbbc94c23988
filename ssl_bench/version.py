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

    ".dirty" marks edits of committed files that can change a number. The version of a copy that is not installed is
    unknown.
    """
    try:
        installed = version("ssl-bench")
    except PackageNotFoundError:
        return "unknown"
    if not (ROOT / ".git").exists() or not (ROOT / "methods").is_dir():
        return installed
    described, edits = _git("describe", "--tags", "--long", "--always", "--match", "v[0-9]*"), None
    if described is not None and described.returncode == 0:
        edits = _git("diff", "--quiet", "HEAD", "--", *DECIDING)
    if described is None or edits is None:
        return installed
    return _version_of(described.stdout.strip(), installed, "dirty" if edits.returncode == 1 else "")


def _version_of(described: str, installed: str, dirty: str) -> str:
    """Write what git describes in the form of an installed version (PEP 440): 0.1.0.post1.dev7+g1a2b3c4.dirty."""
    found = re.fullmatch(r"v(\d.*)-(\d+)-(g[0-9a-f]+)", described)
    if found is None:  # no tag, and so no number of commits after it
        base, local = re.sub(r"(\.post\d+\.dev\d+)?(\+.*)?$", "", installed), [f"g{described}", dirty]
    elif found[2] == "0":
        base, local = found[1], [dirty]
    else:
        base, local = f"{found[1]}.post1.dev{found[2]}", [found[3], dirty]
    words = ".".join(word for word in local if word)
    return f"{base}+{words}" if words else base


def _git(*words: str) -> subprocess.CompletedProcess[str] | None:
    """Call git in the checkout; None where it is not there or does not answer."""
    elsewhere = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        return subprocess.run(  # noqa: S603
            ["git", "-C", str(ROOT), *words],  # noqa: S607
            capture_output=True, text=True, timeout=10, env=elsewhere, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
