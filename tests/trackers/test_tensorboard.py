"""TensorBoard's own reader finds a run's values, once each, after a kill too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from followed import curves_of, folder_below, follow, kill_and_continue, scores_of
from workplace import Workplace

pytest.importorskip("tensorboard", reason="needs tensorboard: pip install 'ssl-bench[trackers]'")


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    place.end()


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()


def scalars_of(events: Any) -> dict[str, list[tuple[int, float]]]:
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def in_float32(run: Any) -> dict[str, list[tuple[int, Any]]]:
    """The values that a run's files say, in the order of iterations, as TensorBoard keeps them."""
    expected = {name: sorted(values.items()) for name, values in curves_of(run).items()}
    expected |= {name: [(run.iterations, value)] for name, value in scores_of(run).items()}
    return {
        name: [(step, pytest.approx(value, rel=1e-6)) for step, value in values] for name, values in expected.items()
    }


def test_the_reader_finds_curves_scores_settings_and_pictures(workplace: Workplace) -> None:
    run = follow(workplace, "tensorboard")
    events = read(folder_below(workplace.folder / "logs" / "tensorboard"))
    assert scalars_of(events) == in_float32(run)
    pictures = events.Tags()["images"]
    assert 1 < len(pictures) <= 6
    for tag in pictures:
        (picture,) = events.Images(tag)
        assert picture.encoded_image_string.startswith(b"\x89PNG")
        assert picture.step == 6
    (settings,) = events.Tensors("settings/text_summary")
    assert b"| protocol.log_every | 2 |" in settings.tensor_proto.string_val[0]
    (provenance,) = events.Tensors("provenance/text_summary")
    assert run.provenance["device"].encode() in provenance.tensor_proto.string_val[0]
    assert "_hparams_/session_start_info" in events.summary_metadata


@pytest.mark.slow
def test_after_a_kill_every_step_is_there_once(workplace: Workplace) -> None:
    logs = workplace.folder / "logs" / "tensorboard"

    def has_step(step: int) -> bool:
        return any(now == step for now, _ in scalars_of(read(folder_below(logs))).get("train/loss1", []))

    run = kill_and_continue(workplace, "tensorboard", has_step)
    assert scalars_of(read(folder_below(logs))) == in_float32(run)
    assert sorted(curves_of(run)["train/loss1"]) == list(range(1, 9))


@pytest.mark.slow
def test_a_reader_that_is_open_forgets_what_a_killed_process_wrote(workplace: Workplace) -> None:
    logs = workplace.folder / "logs" / "tensorboard"
    readers = []

    def has_step(step: int) -> bool:
        readers[:] = readers or [read(folder_below(logs))]
        return any(now == step for now, _ in scalars_of(readers[0].Reload()).get("train/loss1", []))

    run = kill_and_continue(workplace, "tensorboard", has_step)
    assert scalars_of(readers[0].Reload()) == in_float32(run)
