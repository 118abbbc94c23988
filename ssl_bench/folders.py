"""Folders of the package (methods, cards and published numbers), and the user's cache folder."""

import os
import time
from pathlib import Path

IMPORTED = time.time()  # when this process began to import the package, in seconds since 1970
_PACKAGE = Path(__file__).resolve().parent


def _folder(installed: str, in_repository: str) -> Path:
    """A folder that stands at the top of the repository and, in the built wheel, inside the package."""
    inside = _PACKAGE / installed
    return inside if inside.is_dir() else _PACKAGE.parent / in_repository


METHODS_DIR = _folder("methods", "methods")
BENCHMARKS_DIR = _folder("benchmarks", "benchmarks")
PUBLISHED_DIR = _folder("published", "results/published")
CLAIMS = "ucmt"  # the card in benchmarks/claims/ that is used by default


def cache_folder() -> Path:
    """Return SSL_BENCH_CACHE, or the user's cache folder."""
    named = os.environ.get("SSL_BENCH_CACHE")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("ssl-bench"))
