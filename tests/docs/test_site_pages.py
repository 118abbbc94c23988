"""The pages that the documentation site makes from the code are complete, and the same every time."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

from ssl_bench import cards as cards_module
from ssl_bench.cards import Card, Protocol, card_names
from ssl_bench.cli import command
from ssl_bench.method import load_methods

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
WITHOUT_FIELDS = {"Resolved", "ResolvedImageProtocol", "ResolvedVolumeProtocol", "_Against", "InteractionClaim"}
PUBLIC = ("ssl_bench", "ssl_bench.method", "ssl_bench.ops", "ssl_bench.networks", "ssl_bench.scoring", "ssl_bench.data",
          "ssl_bench.store", "ssl_bench.testing", "ssl_bench.trackers")  # fmt: skip


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "tools"))


def pages(name: str) -> Any:
    return importlib.import_module(f"site_pages.{name}")


def cards() -> set[type[Card]]:
    """Every card of the package that has a field of its own."""

    def below(kind: type[Card]) -> Iterator[type[Card]]:
        for one in kind.__subclasses__():
            if one.__module__.startswith(cards_module.__name__) and one.__name__ not in WITHOUT_FIELDS:
                yield one
            yield from below(one)

    return set(below(Card))


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading by their first cell."""
    section = text.partition(f"\n{heading}\n")[2]
    section = re.split(r"\n#+ ", section)[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in cells}


def test_every_field_of_every_card_is_described() -> None:
    module = pages("cards")
    assert {one.model for one in module.SECTIONS} == cards()
    text = module.cards_page()
    for one in module.SECTIONS:
        found = rows(text, "#" * one.level + f" {one.title}")
        own = set(one.model.model_fields) - set(one.without.model_fields if one.without else ())
        assert set(found) == own, one.title
        for name, (values, _, default, meaning) in found.items():
            field = one.model.model_fields[name]
            assert values, (one.title, name)
            assert meaning.strip(". "), f"{one.title}: {name} needs a description"
            assert (default == "*required*") == field.is_required(), (one.title, name)


@pytest.mark.parametrize(
    ("section", "field", "cells"),
    [
        ("### `[3d]`: volumes", "patch_size", ["3 values: whole number, at least 1", "voxels", "*required*"]),
        ("## Data set", "nsd_tolerance", ["number, above 0 or *absent*", "distance_unit", "*absent*"]),
        ("## Data set", "distance_unit", ['`"voxel"`, `"mm"`', "", '`"voxel"`']),
        ("### `[files]`: images", "mask_threshold", ["whole number, 0 to 254", "grey level", "`127`"]),
        ("### `[2d.augmentation]`", "rotation", ["number, 0 to 1", "", "*required*"]),
    ],
)
def test_a_field_has_its_values_unit_and_default(section: str, field: str, cells: list[str]) -> None:
    assert rows(pages("cards").cards_page(), section)[field][:3] == cells


def test_a_field_that_trains_nothing_says_so() -> None:
    found = rows(pages("cards").cards_page(), "### `[3d]`: volumes")
    assert {name for name, row in found.items() if "trains nothing" in row[-1]} == {
        "stride", "window_batch", "largest_component",
    }  # fmt: skip


def test_every_protocol_has_its_values() -> None:
    text = pages("cards").protocols_page()
    for line in ("## Images (2D)", "## Volumes (3D)"):
        found = rows(text, line)
        assert set(Protocol.model_fields) - {"name", "title", "note", "views"} <= set(found)
        own = tomllib.loads((REPOSITORY / "benchmarks" / "protocols" / "paper.toml").read_text())
        place = list(card_names("protocols")).index("paper")
        for key in ("learning_rate", "ema_decay", "lambda_max"):
            assert json.loads(found[key][place].strip("`")) == own[key]


def test_every_command_and_option_is_described() -> None:
    text = pages("command_line").command_line_page()
    seen = 0

    def check(one: Any, words: str) -> None:
        nonlocal seen
        seen += 1
        section = text.partition(f"\n## {words}\n")[2].partition("\n## ")[0]
        assert section, words
        for parameter in one.params:
            names = [name for name in parameter.opts if name.startswith("-") and name != "--help"]
            for name in names:
                (line,) = [line for line in section.splitlines() if line.startswith("| `") and f"`{name}`" in line]
                assert line.rstrip("| ").count("|") >= 4, (words, name)
        for name, inner in getattr(one, "commands", {}).items():
            check(inner, f"{words} {name}")

    check(command(), "ssl-bench")
    assert seen > 15


def test_every_public_name_has_its_place() -> None:
    module = pages("python_api")
    assert [one.name for one in module.MODULES] == list(PUBLIC)
    for one in module.MODULES:
        text = module.module_page(one)
        for name in importlib.import_module(one.name).__all__:
            assert f"\n::: {one.name}.{name}\n" in text, name


def test_every_method_has_its_loss_its_settings_and_its_description() -> None:
    text = (REPOSITORY / "docs" / "methods.md").read_text()
    for name, method in load_methods().items():
        section = re.split(r"\n### ", text.partition(f" (`{name}`)\n")[2])[0]
        assert "\n- Loss: " in section, name
        assert ("\n- Its authors' settings" in section) == bool(method.authors), name
        assert ("reconstructed" in section) >= method.reconstructed, name
        assert all(f"| {key} |" in section for key in method.hyperparameters.model_fields), name


@pytest.mark.slow
def test_pages_are_the_same_every_time() -> None:
    code = (
        "import sys, hashlib; sys.path[:0] = ['tools', '.']\n"
        "from site_pages import cards, command_line, python_api\n"
        "texts = [cards.cards_page(), cards.protocols_page(), command_line.command_line_page()]\n"
        "texts += [python_api.module_page(one) for one in python_api.MODULES]\n"
        "print(hashlib.sha256('\\0'.join(texts).encode()).hexdigest())"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=REPOSITORY, env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
            check=True, capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(answers) == 1


def test_a_measured_page_has_the_numbers_of_the_report() -> None:
    module = pages("measured")
    (one,) = [each for each in module.PAGES if each.slug == "cct-weight"]
    made = module.measured_page(one)
    assert made == module.measured_page(one)
    assert "| CCT, lambda_max = 30 (its authors') | 68.74 ± 3.68" in made.text  # as docs/measured.md has it
    assert "ssl-bench report --table benchmarks/studies/cct-weight.toml" in made.text
    assert set(re.findall(r"\]\((.*?\.svg)\)", made.text)) == set(made.pictures)
    assert all(content.startswith(b"<?xml") for content in made.pictures.values())


@pytest.mark.slow
def test_every_stored_run_is_on_a_measured_page() -> None:
    module = pages("measured")
    for store in {one.store for one in module.PAGES}:
        shown = {run.path.name for one in module.PAGES if one.store == store for run in module.measured_page(one).runs}
        assert shown == {path.parent.name for path in (REPOSITORY / store / "runs").rglob("run.json")}


def test_links_that_leave_the_folder_are_followed() -> None:
    moved = pages("links").moved
    assert (
        moved("[a](../CONTRIBUTING.md#add-a-method)", "docs/index.md", "index.md")
        == "[a](contributing.md#add-a-method)"
    )
    assert moved("[a](../../examples/q.ipynb)", "docs/tutorials/a.md", "tutorials/a.md") == "[a](../examples/q.md)"
    assert moved("[a](docs/speed.md#b)", "CONTRIBUTING.md", "contributing.md") == "[a](speed.md#b)"
    assert moved("[a](../measured/README.md)", "results/measured-intel/README.md", "measured/store-intel.md") == (
        "[a](store.md)"
    )
    for same in ("[a](https://example.org/README.md)", "[a](#b)", "[a](ssl_bench/api.py)"):
        assert moved(same, "README.md", "index.md") == same


def test_a_diagram_has_every_box_below_those_that_point_to_it() -> None:
    module = pages("diagram")
    edges = [("a", "b"), ("b", "c"), ("a", "c"), ("d", "c")]
    assert module.levels(edges) == {"a": 0, "b": 1, "c": 2, "d": 0}
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    picture = module.drawn(page)
    assert "mermaid" not in picture
    assert all(f">{room}</text>" in picture for room in ("cli", "api", "training", "cards", "ops"))
    assert picture.count('class="edge"') == page.count(" --> ")


def test_a_notebook_becomes_a_page(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {"cell_type": "code", "source": ["1 + 1"], "outputs": [
            {"output_type": "stream", "text": ["\x1b[1mbold\x1b[0m\n"]},
            {"output_type": "execute_result", "data": {"text/plain": ["2"]}},
            {"output_type": "display_data", "data": {"image/png": "aGVsbG8=", "text/plain": "a figure"}},
            {"output_type": "execute_result", "data": {"text/html": "<style>b</style>\n\n<table></table>"}},
        ]},
    ]  # fmt: skip
    (tmp_path / "one.ipynb").write_text(json.dumps({"cells": cells}))
    text, pictures = pages("notebooks").notebook_page(tmp_path / "one.ipynb")
    assert pictures == {"one-1.png": b"hello"}
    assert text == (
        "# Title\nwords\n\n```python\n1 + 1\n```\n\n```text\nbold\n```\n\n```text\n2\n```\n\n"
        '![Output of the cell above](one-1.png)\n\n<div class="output" markdown="0">\n<table></table>\n</div>\n'
    )


@pytest.mark.slow
def test_tutorials_tests_pass(tmp_path: Path) -> None:
    """The files of the tutorials, and their tests on them."""
    files = {"network": ("my_files", "plain"), "metric": ("my_metrics", "vs"), "method": ("my_methods", "mirror")}
    for tutorial, (own, name) in files.items():
        file, test = BLOCK.findall((REPOSITORY / "docs" / "tutorials" / f"{tutorial}.md").read_text())[:2]
        (tmp_path / own).mkdir()
        (tmp_path / own / f"{name}.py").write_text(file)
        (tmp_path / f"test_{name}.py").write_text(test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_site_is_configured_without_the_network() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text()
    assert "font: false" in text
    assert not re.findall(r"https?://", text)


def test_every_page_is_in_the_navigation_once() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    named = re.findall(r"[\w/-]+\.md", text)
    assert len(named) == len(set(named))
    own = {path.relative_to(REPOSITORY / "docs").as_posix() for path in (REPOSITORY / "docs").rglob("*.md")}
    measured = {f"measured/{one.slug}.md" for one in pages("measured").PAGES}
    assert own | measured <= set(named)
