"""A user's file is imported once for each of its texts: what was edited is what runs, and what is recorded."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest

from ssl_bench import plugins
from ssl_bench.data import extra
from ssl_bench.errors import UserError
from ssl_bench.launch import contract, launcher
from ssl_bench.method import find_method, load_methods, source_hash
from ssl_bench.method import registry as methods
from ssl_bench.networks import find_network
from ssl_bench.networks import registry as networks
from ssl_bench.scoring import metrics

FILE = """
from torch import nn
from ssl_bench.cards import Card, Metric
from ssl_bench.data.extra import register_augmentation
from ssl_bench.method import SSLMethod, register
from ssl_bench.networks import register_network
from ssl_bench.scoring import register_metric

@register
class Mine(SSLMethod):
    name, title, reference = "mine", "Mine", "Nobody 2026"
    number = 1

@register_network("mine", dimensions=(2,))
def build(setup):
    return nn.Conv2d(3, 1, 1)

@register_augmentation("mine", settings=Card)
def augment(images, settings, generator):
    return images + 1

@register_metric(Metric("mine", "Mine", "share", "", True, True))
def mine(masks):
    return 1.0
"""
LAUNCHER = """
from ssl_bench.launch.contract import Launcher, register_launcher
@register_launcher("mine")
class Mine(Launcher):
    number = 1
"""


@pytest.fixture(autouse=True)
def _registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    load_methods()
    launcher.load_launchers()
    monkeypatch.setattr(plugins, "_TEXTS", dict(plugins._TEXTS))
    for module, name in (
        (methods, "_REGISTRY"), (networks, "_REGISTRY"), (extra, "AUGMENTATIONS"), (metrics, "METRICS"),
        (metrics, "FUNCTIONS"), (contract, "REGISTRY"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, dict(getattr(module, name)))
    monkeypatch.setattr(launcher, "REGISTRY", contract.REGISTRY)


def test_an_edited_file_replaces_everything_that_it_registered(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    for number in (1, 2):
        text = FILE.replace("= 1", f"= {number}").replace("3, 1, 1", f"3, {number}, 1")
        text = text.replace("images + 1", f"images + {number}").replace("1.0", f"{number}.0")
        path.write_text(text)
        known = load_methods(tmp_path)
        assert known["mine"] is find_method("mine")
        assert vars(known["mine"])["number"] == number
        assert source_hash(known["mine"]) == hashlib.sha256(text.encode()).hexdigest()
        assert find_network("mine", 2).build(None).out_channels == number  # type: ignore[arg-type, union-attr]
        assert extra.AUGMENTATIONS["mine"].apply(0, None, None) == number  # type: ignore[arg-type, comparison-overlap]
        assert metrics.FUNCTIONS["mine"](None) == number  # type: ignore[arg-type]
    assert load_methods(tmp_path)["mine"] is known["mine"], "the same text is imported once"


def test_what_an_edit_removes_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    load_methods(tmp_path)
    path.write_text(FILE.replace('"mine", "Mine", "Nobody', '"other", "Other", "Nobody'))
    assert "mine" not in load_methods(tmp_path)
    path.write_text("1 / 0")
    with pytest.raises(UserError, match="mine cannot be imported: ZeroDivisionError"):
        load_methods(tmp_path)
    path.write_text(FILE)
    assert "mine" in load_methods(tmp_path), "and one that was mended is back"


def test_two_files_with_one_name_are_still_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(FILE)
    with pytest.raises(UserError, match=r"b\.py: method 'mine' is already defined in .*a\.py"):
        load_methods(tmp_path)


def test_the_hash_is_of_the_text_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    method = load_methods(tmp_path)["mine"]
    path.write_text(FILE + "# edited while it runs")
    assert source_hash(method) == hashlib.sha256(FILE.encode()).hexdigest()


def test_an_edited_launcher_is_the_one_that_launches(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    for number in (1, 2):
        path.write_text(LAUNCHER.replace("= 1", f"= {number}"))
        assert launcher._from_file(path) == "mine"
        assert vars(contract.REGISTRY["mine"].launcher)["number"] == number


def test_a_function_without_a_file_has_the_hash_of_its_code() -> None:
    """As one of a notebook, whose module has no file."""
    hashes = []
    for number in (1, 2, 1):
        names: dict[str, Any] = {"__name__": "a_notebook"}
        exec(f"def own(x):\n    return x + {number}", names)
        hashes.append(plugins.function_hash(names["own"]))
    assert hashes[0] == hashes[2] != hashes[1]


def test_line_ends_are_no_edit_of_a_functions_file(tmp_path: Path) -> None:
    hashes = []
    for number, ends in enumerate(("\n", "\r\n")):
        path = tmp_path / f"own{number}.py"
        path.write_bytes(f"def own(x):{ends}    return x{ends}".encode())
        plugins.import_file(path, f"own{number}")
        hashes.append(plugins.function_hash(sys.modules[f"own{number}"].own))
    assert hashes[0] == hashes[1]
