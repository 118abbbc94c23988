"""Splits: their sizes, that nothing stands on two sides, and that labelled sets are nested."""

import dataclasses
import itertools
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from ssl_bench.cards import Split, load_benchmark, share_of
from ssl_bench.data import split as rules
from ssl_bench.data.split import Splits
from ssl_bench.errors import UserError

STARTS = [  # of CVC-ClinicDB's videos, from PROTOCOLS.md; the last frame is 612
    1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298, 318, 343, 364, 384, 409, 429, 448, 467, 479,
    504, 529, 547, 572, 592,
]  # fmt: skip
FRAMES = [str(number) for number in range(1, 613)]
BY_SEQUENCE = load_benchmark("cvc").splits["by-sequence"]
SHARES = ("2%", "5%", "10%", "15%", "20%", "30%", "100%")


def split_cases(split: Split, ids: Sequence[str], contents: Sequence[str]) -> tuple[list[str], list[str]]:
    """Of cases that all have a mask."""
    return rules.split_cases(split, ids, contents, masked=ids)


def draw_labeled(train_ids: Sequence[str], test_ids: Sequence[str], labeled: int, seed: int) -> Splits:
    """Of cases that all have a mask."""
    return rules.draw_labeled(train_ids, test_ids, labeled, seed, masked=train_ids, first=False)


def names(count: int) -> list[str]:
    return [f"ISIC_{number:07d}" for number in range(count)]


def unlike(ids: Sequence[str]) -> list[str]:
    """Contents of images of which no two are equal."""
    return [f"content of {name}" for name in ids]


def video_of(frame: str) -> int:
    """The video of a frame by a plain count: 0 for frames 1 to 25, and so on."""
    return sum(int(frame) >= start for start in STARTS) - 1


# ------------------------------------------------------------------------------------------------- training and test


@pytest.mark.parametrize(
    ("name", "count", "train", "test"),
    [("isic", 2594, 1815, 779), ("kvasir", 1000, 800, 200), ("cvc", 612, 490, 122), ("demo", 400, 300, 100)],
)
def test_each_data_set_is_split_into_its_numbers(name: str, count: int, train: int, test: int) -> None:
    benchmark = load_benchmark(name)
    ids = names(count)
    train_ids, test_ids = split_cases(next(iter(benchmark.splits.values())), ids, unlike(ids))
    assert (len(train_ids), len(test_ids)) == (train, test)
    assert not set(train_ids) & set(test_ids)
    assert sorted(train_ids + test_ids) == ids


@given(
    count=st.integers(2, 60), seed=st.integers(0, 5), twins=st.lists(st.integers(0, 59), max_size=20),
    test=st.one_of(st.integers(1, 40), st.sampled_from(["1%", "20%", "50%", "99%"])),
)  # fmt: skip
def test_train_and_test_are_disjoint_and_together_everything(
    count: int, seed: int, twins: list[int], test: int | str
) -> None:
    ids = names(count)
    contents = unlike(ids)
    for twin in twins:
        contents[twin % count] = contents[(twin * 7) % count]
    content_of = dict(zip(ids, contents, strict=True))
    try:
        train_ids, test_ids = split_cases(Split(test=test, seed=seed), ids, contents)
    except UserError:
        return
    assert train_ids
    assert test_ids
    assert sorted(train_ids + test_ids) == ids
    assert train_ids == sorted(train_ids)  # the order of `ids`
    assert test_ids == sorted(test_ids)
    assert not {content_of[name] for name in train_ids} & {content_of[name] for name in test_ids}


def test_the_split_is_drawn_by_the_cards_seed() -> None:
    ids = names(100)
    first, again, other = (split_cases(Split(test=30, seed=seed), ids, unlike(ids))[1] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert 10 <= sum(name in ids[:50] for name in first) <= 20  # not simply the first or the last: 15 on average


def test_without_equal_images_the_split_does_not_depend_on_the_order_of_ids() -> None:
    ids = names(100)
    train_ids, test_ids = split_cases(Split(test=30, seed=1), ids, unlike(ids))
    train_back, test_back = split_cases(Split(test=30, seed=1), ids[::-1], unlike(ids[::-1]))
    assert (train_back, test_back) == (train_ids[::-1], test_ids[::-1])


def test_a_split_is_the_same_in_another_process() -> None:
    """Python's own hashes of strings differ from process to process."""
    code = (
        "from ssl_bench.data.split import draw_labeled, split_cases; from ssl_bench.cards import Split\n"
        "ids = [f'ISIC_{number:07d}' for number in range(100)]\n"
        "train, test = split_cases(Split(test=30, seed=1), ids, ids, masked=ids)\n"
        "print(','.join(test), ','.join(draw_labeled(train, test, 7, 3, masked=ids, first=False).labeled))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(REPOSITORY)},
    ).stdout.split()  # fmt: skip
    ids = names(100)
    train_ids, test_ids = split_cases(Split(test=30, seed=1), ids, ids)
    assert printed == [",".join(test_ids), ",".join(draw_labeled(train_ids, test_ids, 7, 3).labeled)]


@pytest.mark.parametrize("seed", range(10))
def test_equal_images_are_never_on_both_sides(seed: int) -> None:
    ids = names(60)
    contents = [f"content {number % 20}" for number in range(60)]  # each image three times
    train_ids, test_ids = split_cases(Split(test=20, seed=seed), ids, contents)
    content_of = dict(zip(ids, contents, strict=True))
    assert not {content_of[name] for name in train_ids} & {content_of[name] for name in test_ids}
    assert 20 <= len(test_ids) < 20 + 3


@pytest.mark.parametrize(("test", "count"), [(10, 10), (11, 10), ("100%", 10), ("5%", 1), (1, 1)])
def test_a_split_without_training_or_test_cases_is_refused(test: int | str, count: int) -> None:
    with pytest.raises(UserError, match=f"test = {test}"):
        split_cases(Split(test=test), names(count), unlike(names(count)))


def test_a_share_that_comes_to_no_case_is_refused() -> None:
    with pytest.raises(UserError, match="0 test"):
        split_cases(Split(test="5%"), names(10), unlike(names(10)))


# -------------------------------------------------------------------------------------------------------- by sequence


def test_the_cards_sequences_are_those_of_the_protocols() -> None:
    assert list(BY_SEQUENCE.sequence_starts or ()) == STARTS
    assert load_benchmark("cvc").cases == int(FRAMES[-1])


def test_no_video_is_on_both_sides_and_a_fifth_is_tested() -> None:
    train_ids, test_ids = split_cases(BY_SEQUENCE, FRAMES, unlike(FRAMES))
    assert sorted(train_ids + test_ids, key=int) == FRAMES
    train_videos, test_videos = ({video_of(frame) for frame in part} for part in (train_ids, test_ids))
    assert not train_videos & test_videos
    assert train_videos | test_videos == set(range(29))
    assert len(test_ids) >= 0.2 * 612
    longest = max(b - a for a, b in zip(STARTS, [*STARTS[1:], 613], strict=True))
    assert len(test_ids) < 0.2 * 612 + longest


@pytest.mark.parametrize("seed", range(20))
def test_no_video_is_on_both_sides_whatever_the_seed(seed: int) -> None:
    train_ids, test_ids = split_cases(BY_SEQUENCE.model_copy(update={"seed": seed}), FRAMES, unlike(FRAMES))
    assert not {video_of(frame) for frame in train_ids} & {video_of(frame) for frame in test_ids}
    assert len(test_ids) >= 122  # a fifth, rounded down


def test_videos_that_share_an_image_are_held_out_together() -> None:
    contents = dict(zip(FRAMES, unlike(FRAMES), strict=True))
    contents["30"] = contents["100"] = "the same frame"  # of videos 2 and 5
    contents["101"] = contents["600"] = "another"  # of videos 5 and 29
    sides = set()
    for seed in range(12):
        split = BY_SEQUENCE.model_copy(update={"seed": seed})
        _, test_ids = split_cases(split, FRAMES, list(contents.values()))
        inside = [{str(frame) for frame in frames} <= set(test_ids) for frames in (range(26, 51), range(79, 104))]
        inside.append({str(frame) for frame in range(592, 613)} <= set(test_ids))
        assert len(set(inside)) == 1
        assert len({video_of(frame) for frame in test_ids} & {1, 4, 28}) in {0, 3}
        sides.add(inside[0])
    assert sides == {True, False}


def test_labelled_images_of_a_split_by_sequence_are_frames_of_training_videos() -> None:
    train_ids, test_ids = split_cases(BY_SEQUENCE, FRAMES, unlike(FRAMES))
    splits = draw_labeled(train_ids, test_ids, share_of("30%", len(train_ids), "--labeled"), seed=1)
    videos = {video_of(frame) for frame in splits.labeled}
    assert not videos & {video_of(frame) for frame in test_ids}
    assert len(videos) > 15  # frames, not whole videos: 29 videos have 472 training frames at most


@pytest.mark.parametrize("name", ["ISIC_1", "1a", "-3", "", "²"])
def test_ids_that_are_no_frame_numbers_are_named(name: str) -> None:
    with pytest.raises(UserError, match=f"case '{name}'.*frame numbers"):
        split_cases(BY_SEQUENCE, ["1", name, "600"], ["a", "b", "c"])


# ------------------------------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("whole", [1815, 800, 490])
def test_labelled_sets_are_nested_over_the_shares(seed: int, whole: int) -> None:
    train_ids = names(whole)
    sets = [set(draw_labeled(train_ids, ["t"], share_of(share, whole, "--labeled"), seed).labeled) for share in SHARES]
    assert [len(drawn) for drawn in sets] == [whole * int(share[:-1]) // 100 for share in SHARES]
    for smaller, larger in itertools.pairwise(sets):
        assert smaller < larger


def test_labelled_and_unlabelled_make_up_the_training_set() -> None:
    train_ids, test_ids = names(100), ["t1", "t2"]
    splits = draw_labeled(train_ids, test_ids, 13, seed=1)
    assert len(splits.labeled) == 13
    assert not set(splits.labeled) & set(splits.unlabeled)
    assert sorted(splits.labeled + splits.unlabeled) == train_ids
    assert splits.test == ("t1", "t2")


def test_the_runs_seed_draws_the_labelled_images_and_no_others() -> None:
    train_ids = names(100)
    drawn = {seed: draw_labeled(train_ids, ["t"], 20, seed).labeled for seed in range(8)}
    assert len(set(drawn.values())) == 8
    assert draw_labeled(train_ids, ["t"], 20, 3).labeled == drawn[3]
    often = [sum(name in own for own in drawn.values()) for name in train_ids]
    assert max(often) <= 6  # no image that every seed takes


def test_over_many_seeds_every_image_is_drawn_equally_often() -> None:
    train_ids = names(20)
    count = dict.fromkeys(train_ids, 0)
    for seed in range(1000):
        for name in draw_labeled(train_ids, ["t"], 5, seed).labeled:
            count[name] += 1
    assert all(abs(often - 250) < 5 * (1000 * 0.25 * 0.75) ** 0.5 for often in count.values())  # 5 standard deviations


def test_the_draw_does_not_depend_on_the_order_of_ids() -> None:
    train_ids = names(50)
    forward, backward = draw_labeled(train_ids, ["t"], 9, 1), draw_labeled(train_ids[::-1], ["t"], 9, 1)
    assert set(forward.labeled) == set(backward.labeled)


def test_all_labelled_leaves_nothing_unlabelled() -> None:
    train_ids = names(10)
    splits = draw_labeled(train_ids, ["t"], 10, seed=1)
    assert splits.labeled == tuple(train_ids)
    assert splits.unlabeled == ()


def test_a_split_as_plain_data_has_every_part() -> None:
    splits = draw_labeled(["a", "b"], ["c"], 1, seed=1)
    plain = splits.as_dict()
    assert set(plain) == {"labeled", "unlabeled", "test"}
    assert sorted(plain["labeled"] + plain["unlabeled"]) == ["a", "b"]
    assert plain["test"] == ["c"]
    assert set(dataclasses.replace(splits, validation=("d",)).as_dict()) == {
        "labeled",
        "unlabeled",
        "test",
        "validation",
    }


def test_a_split_file_may_name_groups(tmp_path: Path) -> None:
    ids = ["b_1", "a_1", "a_2", "c_1", "d_1"]
    groups = {name: name[0] for name in ids}
    path = tmp_path / "split.csv"
    path.write_text("group,part\na,train\nb,train\nc,test\n")
    split = Split(file=str(path))
    found = rules.split_cases(split, ids, ids, masked=set(ids), groups=groups)
    assert found == (["a_1", "a_2", "b_1"], ["c_1"])
    with pytest.raises(UserError, match=r"split\.csv: expected the columns id and part, found group, part$"):
        rules.split_cases(split, ids, ids, masked=set(ids))
    path.write_text("group,part\na,train\nx,train\nc,test\n")
    with pytest.raises(UserError, match=r"split\.csv: names 1 group that the data set does not have, such as 'x'; "):
        rules.split_cases(split, ids, ids, masked=set(ids), groups=groups)
    assert rules.split_cases(split, ids, ids, masked=set(ids), groups=groups, allow_partial=True) == (
        ["a_1", "a_2"],
        ["c_1"],
    )
    path.write_text("group,part\na,train\na,test\nc,test\n")
    with pytest.raises(UserError, match=r"split\.csv: group 'a' is named twice$"):
        rules.split_cases(split, ids, ids, masked=set(ids), groups=groups)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("key", ["id", "group"])
def test_a_split_file_matches_ids_and_groups_in_either_unicode_form(key: str, form: str, tmp_path: Path) -> None:
    ids, path = ["é_1", "ö_1"], tmp_path / "split.csv"
    groups = {"é_1": "é", "ö_1": "ö"} if key == "group" else None
    rows = [
        f"{name if groups is None else groups[name]},{part}" for name, part in zip(ids, ("train", "test"), strict=True)
    ]
    path.write_text(unicodedata.normalize(form, "\n".join([f"{key},part", *rows])))
    found = rules.split_cases(Split(file=str(path)), ids, ids, masked=set(ids), groups=groups)
    assert found == (["é_1"], ["ö_1"])
