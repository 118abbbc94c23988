"""Which pictures a run keeps, how large and which way up, and that they read back as they were."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ssl_bench.errors import UserError
from ssl_bench.scoring.scorer import Prediction
from ssl_bench.store import Example, Moment, read_pictures, write_pictures
from ssl_bench.training.examples import SIDE, Album, flat, grey, middle_slice, thumbnail

RNG = np.random.default_rng(11)
CASES = [f"c{i:02}" for i in range(20)]


def album(cases: list[str], shape: tuple[int, int] = (6, 8)) -> Album:
    kept = Album("teacher")
    for case in cases:
        for network in ("student", "teacher"):
            truth, mask = (RNG.integers(0, 2, shape).astype(np.uint8) for _ in range(2))
            kept.add(Prediction(network, case, truth, mask))
    return kept


def images(cases: list[str]) -> Iterator[np.ndarray]:
    return iter([np.full((5, 5, 3), int(case[1:]), np.uint8) for case in cases])


def picked(scores: dict[str, float | None]) -> dict[str, list[str]]:
    found = album(list(scores)).examples(scores, images)
    return {why: [one.case for one in found if why in one.why.split(",")] for why in ("drawn", "best", "worst")}


def test_drawn_cases_hang_on_their_ids_alone() -> None:
    one = picked({case: i / 20 for i, case in enumerate(CASES)})
    other = picked({case: None if i % 3 else -float(i) for i, case in enumerate(CASES[::-1])})
    assert sorted(one["drawn"]) == sorted(other["drawn"])
    assert len(one["drawn"]) == 8


def test_best_and_worst_are_told_by_the_scores_and_undefined_ones_left_out() -> None:
    scores: dict[str, float | None] = {case: (i * 7 % 20) / 20 for i, case in enumerate(CASES)}
    scores["c00"] = None  # would be the worst
    ranked = sorted((score, case) for case, score in scores.items() if score is not None)
    found = picked(scores)
    assert set(found["worst"]) == {case for _, case in ranked[:4]}
    assert set(found["best"]) == {case for _, case in ranked[-4:]}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_few_cases_each_is_kept_once_with_every_reason(count: int) -> None:
    scores: dict[str, float | None] = dict.fromkeys(CASES[:count], 0.5)
    found = album(CASES[:count]).examples(scores, images)
    assert sorted(one.case for one in found) == CASES[:count]
    assert {one.why for one in found} == {"drawn,best,worst"}
    assert [int(one.image[0, 0, 0]) for one in found] == [int(one.case[1:]) for one in found]  # each its own image


def test_a_volume_is_cut_where_it_has_the_most_foreground_and_in_the_middle_without_any() -> None:
    mask = RNG.integers(0, 3, (7, 5, 9)).astype(np.uint8)
    areas = [sum(int(mask[x, y, z] > 0) for x in range(7) for y in range(5)) for z in range(9)]
    assert middle_slice(mask) == areas.index(max(areas))
    assert middle_slice(np.zeros((7, 5, 9), np.uint8)) == 4
    assert middle_slice(mask[:, :, 0]) == 0
    ignored = mask.copy()
    ignored[:, :, (areas.index(max(areas)) + 1) % len(areas)] = 255  # no foreground
    assert middle_slice(ignored) == areas.index(max(areas))


def test_a_slice_has_x_to_the_right_and_y_downwards() -> None:
    volume = np.zeros((4, 3, 2), np.uint8)
    volume[3, 1, 1] = 7  # x = 3, y = 1, z = 1
    shown = flat(volume, 1)
    assert shown.shape == (3, 4)
    assert np.argwhere(shown).tolist() == [[1, 3]]  # row y, column x


def test_a_volumes_image_and_masks_lie_on_each_other() -> None:
    truth = np.zeros((6, 9, 4), np.uint8)
    truth[4, 2:7, 3] = 1
    kept = Album("teacher")
    kept.add(Prediction("teacher", "c", truth, truth))
    (one,) = kept.examples({"c": 1.0}, lambda cases: iter([truth[None].astype(np.float32) * 5 - 1]))
    assert one.place == 3
    assert np.array_equal(one.truth, one.prediction)
    assert np.array_equal(one.image > 127, one.truth == 1)


@pytest.mark.parametrize("shape", [(600, 300), (300, 900), (256, 256), (10, 7)])
def test_thumbnails_are_small_keep_their_proportions_and_have_no_new_labels(shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, np.uint8)
    mask[: shape[0] // 2] = 5
    small = thumbnail(mask)
    scale = min(1.0, SIDE / max(shape))
    assert small.shape == (round(shape[0] * scale), round(shape[1] * scale))
    assert set(np.unique(small)) == {0, 5}
    assert (small == 5).mean() == pytest.approx(0.5, abs=0.02)
    if scale == 1:
        assert np.array_equal(small, mask)


def test_greys_span_the_1st_to_the_99th_percentile_of_the_whole() -> None:
    whole = np.arange(1001, dtype=np.float32)
    assert grey(np.array([-50.0, 10.0, 500.0, 990.0, 2000.0]), whole).tolist() == [0, 0, 128, 255, 255]
    assert grey(np.ones((2, 2)), np.ones(5)).tolist() == [[0, 0], [0, 0]]  # no contrast, no error


EXAMPLE = Example("case 1/ä", "drawn,best", 3, RNG.integers(0, 255, (4, 5, 3)).astype(np.uint8),
                  np.eye(4, 5, dtype=np.uint8), np.zeros((4, 5), np.uint8))  # fmt: skip
MOMENT = Moment("a", 7, *(RNG.random((3, 4)).astype(kind) for kind in (np.uint8, np.float16, np.uint8, np.float16)))


@pytest.mark.parametrize("pictures", [[EXAMPLE, EXAMPLE], [MOMENT], []], ids=["examples", "moments", "none"])
def test_pictures_read_back_as_they_were_and_twice_to_the_same_bytes(
    pictures: list[Example] | list[Moment], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_pictures(tmp_path / name, pictures)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    kind = Moment if pictures and isinstance(pictures[0], Moment) else Example
    read = read_pictures(tmp_path / "a", kind)
    assert len(read) == len(pictures)
    for one, other in zip(pictures, read, strict=True):
        for name, value in vars(one).items():
            again = getattr(other, name)
            assert type(again) is type(value)
            assert np.array_equal(value, again)


def test_a_file_that_is_not_there_holds_none_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "examples.npz"
    assert read_pictures(path, Example) == []
    write_pictures(path, [EXAMPLE])
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"nothing", content[:60] + b"\0" * 30 + content[90:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"examples\.npz: cannot be read"):
            read_pictures(path, Example)
