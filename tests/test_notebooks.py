"""The examples run as they stand, and show nothing of the machine that they were executed on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from conftest import REPOSITORY
from nbclient import NotebookClient

from ssl_bench.cards import load_grid

EXAMPLES = REPOSITORY / "examples"
TEMPLATE = EXAMPLES / "own-method"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def test_there_are_three_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["own_method", "quickstart", "read_results"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    stored, notebook = (nbformat.read(path, as_version=4) for _ in range(2))
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for old, new in zip(stored.cells, notebook.cells, strict=True):  # an error would have ended the execution
        if old.cell_type == "code":
            assert [kinds(output) for output in new.outputs] == [kinds(output) for output in old.outputs]
    outcomes = [shown for shown in texts(notebook) if shown.startswith("Outcome(")]
    assert all("failures=[]" in shown for shown in outcomes)


def kinds(output: nbformat.NotebookNode) -> list[str]:
    return [output.output_type, *sorted(output.get("data", {}))]


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """What the code cells show, but for pictures."""
    return [
        str(shown)
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        for kind, shown in output.get("data", {"text": output.get("text", "")}).items()
        if kind != "image/png"
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_executed_and_names_no_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    text = "\n".join(texts(notebook))
    assert not re.search(r"(?<![\w<.])/(?:\w[\w.-]*/)+\w", text.replace("</", "<"))  # an absolute path
    assert os.uname().nodename not in text


@pytest.mark.slow
def test_the_tests_of_the_template_pass(tmp_path: Path) -> None:
    """Installed as `pip install` leaves it: a module and its entry point."""
    copy = shutil.copytree(TEMPLATE, tmp_path / "own", ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((copy / "pyproject.toml").read_text())["project"]
    installed = copy / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    installed.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (installed / "METADATA").write_text(metadata)
    lines = [f"{name} = {place}" for name, place in project["entry-points"]["ssl_bench.methods"].items()]
    (installed / "entry_points.txt").write_text("\n".join(["[ssl_bench.methods]", *lines, ""]))
    places = os.pathsep.join([str(REPOSITORY), str(copy)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"], cwd=copy, text=True, check=False,
        env={**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_the_templates_table_is_a_card() -> None:
    grid = load_grid("table", str(TEMPLATE / "my_table.toml"))
    assert [row.name for row in grid.rows] == ["supervised", "mt", "mirror", "Mirror, weight 100"]
