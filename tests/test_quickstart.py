"""The notebook of the examples runs as it stands, and shows nothing of the machine that it was executed on."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from conftest import REPOSITORY
from nbclient import NotebookClient

NOTEBOOK = REPOSITORY / "examples" / "quickstart.ipynb"


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    answers = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    kinds = {kind for outputs in answers for output in outputs for kind in output.get("data", {})}
    assert kinds == {"text/plain", "text/html", "image/png"}
    (trained,) = [output.data["text/plain"] for output in answers[2] if output.output_type == "execute_result"]
    assert trained.startswith("Outcome(trained=4, ")
    assert "failures=[]" in trained


def test_the_notebook_was_executed_and_names_no_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    text = "\n".join(
        str(shown)
        for cell in code
        for output in cell.outputs
        for kind, shown in output.get("data", {"text": output.get("text", "")}).items()
        if kind != "image/png"
    )
    assert not re.search(r"(?<![\w<.])/(?:\w[\w.-]*/)+\w", text.replace("</", "<"))  # an absolute path
    assert os.uname().nodename not in text
