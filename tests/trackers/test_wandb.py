"""W&B's offline files hold a run's values, once each, after a kill too."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CommandLine
from followed import curves_of, follow, kill_and_continue, scores_of
from workplace import Workplace

pytest.importorskip("wandb", reason="needs wandb: pip install 'ssl-bench[trackers]'")
BLOCK, HEADER, FILE_HEADER = 32768, 7, 7  # bytes of a .wandb file, which is a log as of LevelDB


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    place = Workplace(tmp_path)
    yield place
    place.end()


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file up to its end, or to where a killed process stopped."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, parts = path.read_bytes(), FILE_HEADER, b""
    while place + HEADER <= len(content):
        left = BLOCK - place % BLOCK
        if left < HEADER:  # the end of a block is padded
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + HEADER])
        parts += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    return path


def history_of(path: Path) -> dict[str, dict[int, Any]]:
    found: dict[str, dict[int, Any]] = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            items = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            step = items.get("_step", record.history.step.num)
            for name, value in items.items():
                if not name.startswith("_"):
                    values = found.setdefault(name, {})
                    assert step not in values, "a step is there twice"
                    values[step] = value
    return found


def test_the_offline_file_has_curves_scores_settings_and_pictures(workplace: Workplace) -> None:
    run = follow(workplace, "wandb")
    path = only_file(workplace.folder / "logs" / "wandb")
    history = history_of(path)
    pictures = {name.partition(".")[0] for name in history if name.startswith("cases/")}
    assert 1 < len(pictures) <= 6
    assert {name: values for name, values in history.items() if not name.startswith("cases/")} == curves_of(run)
    assert len(list(path.parent.glob("files/media/images/cases/*.png"))) == len(pictures)
    summary: dict[str, Any] = {}
    config: dict[str, Any] = {}
    for record in records(path):
        for item in record.summary.update:
            summary[".".join(item.nested_key) or item.key] = json.loads(item.value_json)
        for item in (*record.config.update, *record.run.config.update):
            config[".".join(item.nested_key) or item.key] = json.loads(item.value_json)
    assert scores_of(run).items() <= summary.items()
    assert {"method": "mt", "labeled": 2, "seed": 1, "protocol.log_every": 2}.items() <= config.items()
    assert config["provenance"]["device"] == run.provenance["device"]


@pytest.mark.slow
def test_after_a_kill_every_step_is_there_once(workplace: Workplace) -> None:
    logs = workplace.folder / "logs" / "wandb"

    def has_step(step: int) -> bool:
        return step - 1 in history_of(only_file(logs)).get("train/loss1", {})  # W&B writes a step with the next one

    run = kill_and_continue(workplace, "wandb", has_step, {"WANDB_MODE": "offline"})
    history = history_of(only_file(logs))
    assert {name: values for name, values in history.items() if not name.startswith("cases/")} == curves_of(run)
    assert sorted(history["train/loss1"]) == list(range(1, 9))


def test_wandb_dir_names_the_folder(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    from ssl_bench.trackers.choose import choose_trackers

    monkeypatch.setenv("WANDB_DIR", "/elsewhere")
    for given, expected in ((None, Path("/elsewhere")), (Path("logs"), Path("logs/wandb"))):
        chosen = choose_trackers(["wandb"], given, Path("results"))
        assert chosen is not None
        assert chosen.folders == {"wandb": expected}


@pytest.mark.slow
def test_without_an_account_it_says_what_to_do(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    ended = cli("run", "--methods", "mt", "--dataset", "demo", "--log", "wandb")
    advice = "expected an account; run `wandb login`, or set WANDB_MODE=offline"
    assert (ended.returncode, ended.stderr) == (2, f"error: --log wandb: {advice}\n")
    assert not (tmp_path / "results").exists()
