"""The version is that of the code that runs, not of an installation that it has outgrown."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl_bench import version as module
from ssl_bench.version import current_version


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with one commit, in the place of this one; the installed version is an old one."""
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "version", lambda name: "0.1.0.post1.dev3+gold")
    for name in ("ssl_bench", "methods"):
        (tmp_path / name).mkdir()
    (tmp_path / "ssl_bench" / "code.py").write_text("x = 1\n")
    (tmp_path / "docs.md").write_text("a\n")
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    current_version.cache_clear()
    yield tmp_path
    current_version.cache_clear()


def git(folder: Path, *words: str) -> str:
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", folder, *own, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "a")
    return git(folder, "rev-parse", "--short", "HEAD")


def now() -> str:
    current_version.cache_clear()
    return current_version()


def test_in_a_checkout_it_names_the_present_commit(checkout: Path) -> None:
    assert now() == f"0.1.0+g{git(checkout, 'rev-parse', '--short', 'HEAD')}"
    git(checkout, "tag", "v0.2.0")
    assert now() == "0.2.0"
    commit(checkout)
    last = commit(checkout)
    assert now() == f"0.2.0.post1.dev2+g{last}"


def test_an_edit_of_code_is_marked_and_one_of_other_files_is_not(checkout: Path) -> None:
    last = commit(checkout)
    (checkout / "docs.md").write_text("b\n")
    assert now() == f"0.1.0+g{last}"
    (checkout / "ssl_bench" / "code.py").write_text("x = 2\n")
    assert now() == f"0.1.0+g{last}.dirty"
    git(checkout, "tag", "v0.2.0")
    assert now() == "0.2.0+dirty"


def test_without_a_checkout_or_git_it_is_the_installed_one(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert now() == "0.1.0.post1.dev3+gold"
    monkeypatch.setattr(module, "ROOT", checkout / "ssl_bench")
    assert now() == "0.1.0.post1.dev3+gold"
