"""Folders of the package: methods, cards and published numbers."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(installed: str, in_repository: str) -> Path:
    """A folder that stands at the top of the repository and, in the built wheel, inside the package."""
    inside = _PACKAGE / installed
    return inside if inside.is_dir() else _PACKAGE.parent / in_repository


METHODS_DIR = _folder("methods", "methods")
BENCHMARKS_DIR = _folder("benchmarks", "benchmarks")
PUBLISHED_DIR = _folder("published", "results/published")
