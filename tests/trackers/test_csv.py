"""The CSV tracker's files hold what the run's own files hold, after a kill too."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from followed import curves_of, folder_below, follow, kill_and_continue, scores_of
from PIL import Image
from workplace import Workplace


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    place.end()


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def steps_of(folder: Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for row in rows_of(folder / "steps.csv"):
        values = found.setdefault(row["name"], {})
        assert int(row["iteration"]) not in values, "a step is there twice"
        values[int(row["iteration"])] = float(row["value"])
    return found


def test_steps_scores_settings_and_pictures_are_in_files(workplace: Workplace) -> None:
    run = follow(workplace, "csv")
    folder = folder_below(workplace.folder / "logs" / "csv")
    assert steps_of(folder) == curves_of(run)
    assert {name.partition("/")[0] for name in curves_of(run)} == {"train", "validation", "test"}
    scores = {row["name"]: float(row["value"]) for row in rows_of(folder / "scores.csv")}
    assert scores == scores_of(run)
    assert {"final/dsc", "networks/student/dsc", "networks/teacher/dsc"} <= scores.keys()
    settings = {row["name"]: row["value"] for row in rows_of(folder / "settings.csv")}
    expected = {"method": "mt", "benchmark": "kvasir", "labeled": "2", "seed": "1", "protocol.log_every": "2"}
    assert expected.items() <= settings.items()
    assert settings["provenance.packages.torch"] == run.provenance["packages"]["torch"]
    pictures = sorted((folder / "pictures").iterdir())
    assert 1 < len(pictures) <= 6
    for path in pictures:
        assert Image.open(path).size[0] > 100


def test_after_a_kill_every_step_is_there_once(workplace: Workplace) -> None:
    logs = workplace.folder / "logs" / "csv"

    def has_step(step: int) -> bool:
        (folder,) = logs.glob("kvasir/mt/*")
        return any(row["iteration"] == str(step) for row in rows_of(folder / "steps.csv"))

    run = kill_and_continue(workplace, "csv", has_step)
    assert steps_of(folder_below(logs)) == curves_of(run)
    assert sorted(curves_of(run)["train/loss1"]) == list(range(1, 9))
