"""Groups: read from ids or a file, and kept whole by every split and draw."""

from __future__ import annotations

import json
import random
import unicodedata
from pathlib import Path

import pytest
from conftest import REPOSITORY

from ssl_bench.cards import Benchmark, RunSpec, Split, load_benchmark
from ssl_bench.data.groups import card_groups, groups_of, straddling
from ssl_bench.data.split import draw_labeled, set_apart, split_cases
from ssl_bench.errors import UserError

ACDC = [f"patient{patient:03d}_frame{frame:02d}" for patient in range(1, 71) for frame in (1, 2 + patient % 9)]
CHASE = [f"Image_{child:02d}{eye}" for child in range(1, 15) for eye in "LR"]
SLICES = [f"case_{case}_slice_{number}" for case in range(20) for number in range(5 + case % 7)]


def card(group: str | None) -> Benchmark:
    return load_benchmark("kvasir").model_copy(update={"group": group})


def partition(ids: list[str], groups: list[str]) -> set[frozenset[str]]:
    return {
        frozenset(name for name, own in zip(ids, groups, strict=True) if own == group) for group in set(groups)
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------ reading groups


@pytest.mark.parametrize(
    ("pattern", "ids", "expected"),
    [
        ("patient{group}_*", ACDC, [name[7:10] for name in ACDC]),
        ("{group}_*", ACDC, [name[:10] for name in ACDC]),
        ("Image_{group}[LR]", CHASE, [name[6:8] for name in CHASE]),
        ("Image_{group}?", CHASE, [name[6:8] for name in CHASE]),
        ("case_{group}_slice_*", SLICES, [name.split("_")[1] for name in SLICES]),
        ("{group}", ["a.b", "a+b"], ["a.b", "a+b"]),
        ("a.{group}", ["a.b"], ["b"]),  # a point is a point
        ("{group}/frame*", ["p1/frame1", "p1/frame2"], ["p1", "p1"]),
        ("{group}[0-9]x", ["a7x", "b75x"], ["a", "b7"]),  # a range
        ("{group}[!0-9]*", ["12a", "3^4"], ["12", "3"]),
        ("{group}[a.-]*", ["1-2", "3.a"], ["1", "3"]),
    ],
)
def test_a_pattern_names_the_group_of_each_id(pattern: str, ids: list[str], expected: list[str]) -> None:
    assert groups_of(card(pattern), ids) == expected


@pytest.mark.parametrize("stray", ["Image_07", "axb", "patient_", "x"])
def test_ids_that_do_not_match_are_counted_and_named(stray: str) -> None:
    with pytest.raises(UserError, match=f"1 of 3 that do not, such as '{stray}'"):
        groups_of(card("patient{group}_*"), ["patient1_a", stray, "patient2_b"])


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_patterns_and_files_of_groups_match_ids_in_either_unicode_form(form: str, tmp_path: Path) -> None:
    ids = ["é_1", "é_2", "ö_1"]
    assert groups_of(card(unicodedata.normalize(form, "{group}_[12]")), ids) == ["é", "é", "ö"]
    assert groups_of(card(unicodedata.normalize(form, "[éö]_{group}")), ids) == ["1", "2", "1"]
    path = tmp_path / "groups.csv"
    path.write_text(unicodedata.normalize(form, "id,group\n" + "".join(f"{name},ä{name[0]}\n" for name in ids)))
    assert groups_of(card(str(path)), ids) == ["äé", "äé", "äö"]


@pytest.mark.parametrize("pattern", ["patient", "{group}_{group}", "{id}_*", "groups_{group}.csv"])
def test_a_pattern_without_one_place_for_the_group_is_refused(pattern: str, tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    text = (Path(__file__).parents[2] / "benchmarks/datasets/kvasir.toml").read_text()
    path.write_text(f'group = "{pattern}"\n{text}')
    with pytest.raises(UserError, match=r"group: .*\{group\}"):
        load_benchmark(str(path))


@pytest.mark.parametrize("pattern", ["patient{group}*", "*{group}", "*?{group}_*", "a{group}?*"])
def test_a_group_whose_end_is_open_is_refused(pattern: str) -> None:
    """Else patient{group}* would name patients 1 and 10 alike, by the first digit."""
    data = load_benchmark("kvasir").model_dump() | {"group": pattern}
    with pytest.raises(ValueError, match="where the group's name ends"):
        Benchmark.model_validate(data)


@pytest.mark.parametrize("pattern", ["[z-a]{group}", "{group}_[9-0]"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(UserError, match="not a pattern"):
        groups_of(card(pattern), ["a_1"])


def with_file(tmp_path: Path, content: str) -> Benchmark:
    (tmp_path / "groups.csv").write_text(content)
    text = (Path(__file__).parents[2] / "benchmarks/datasets/kvasir.toml").read_text()
    (tmp_path / "card.toml").write_text(f'group = "groups.csv"\n{text}')
    return load_benchmark(str(tmp_path / "card.toml"))


def test_a_file_names_the_group_of_each_id(tmp_path: Path) -> None:
    benchmark = with_file(tmp_path, "id,group\nb,lesion 2\na,lesion 1\nc,007\nelsewhere,x\n")
    assert groups_of(benchmark, ["a", "b", "c"]) == ["lesion 1", "lesion 2", "007"]
    spaced = with_file(tmp_path, "id,group\na, p1\nb,p1 \nc,p1\n")
    assert set(groups_of(spaced, ["a", "b", "c"])) == {"p1"}  # else spaces would part a group
    other = with_file(tmp_path, "id,group\nb,lesion 2\na,lesion 1\nc,lesion 1\n")
    assert benchmark.group_rule != other.group_rule  # the content counts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,group\na,1\n", "none for 1 of 2, such as 'b'"),
        ("id,patient\na,1\nb,1\n", "expected the columns id and group, found id, patient"),
        ("id,group\na,1\na,2\nb,1\n", "case 'a' is named twice"),
        ("id,group\na,1\nb,\n", "case 'b': expected the name of its group"),
        ("", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        groups_of(with_file(tmp_path, content), ["a", "b"])


def test_one_file_names_the_part_and_the_group_of_each_id(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("id,part,group\na1,train,a\na2,train,a\nb1,test,b\n")
    ids = ["a1", "a2", "b1"]
    found = groups_of(card(str(path)), ids)
    assert found == ["a", "a", "b"]
    split = Split(test=None, file=str(path))
    sides = split_cases(split, ids, ids, masked=set(ids), groups=dict(zip(ids, found, strict=True)))
    assert sides == (["a1", "a2"], ["b1"])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with_file(tmp_path, "id,group\n")
    (tmp_path / "groups.csv").unlink()
    with pytest.raises(UserError, match=r"groups\.csv: the file of groups cannot be read"):
        load_benchmark(str(tmp_path / "card.toml"))


def test_the_frames_of_cvc_are_grouped_by_sequence_though_its_random_split_is_not() -> None:
    cvc, frames = load_benchmark("cvc"), [str(number) for number in range(1, 613)]
    groups = dict(zip(frames, groups_of(cvc, frames), strict=True))
    assert len(set(groups.values())) == 29
    assert groups["1"] == groups["25"] != groups["26"]
    assert card_groups(cvc, frames) is None
    by_sequence = split_cases(cvc.splits["by-sequence"], frames, frames, masked=frames)
    assert straddling(groups, *by_sequence) == []
    assert len(straddling(groups, *split_cases(cvc.splits["random"], frames, frames, masked=frames))) > 20


def test_a_card_with_sequences_and_groups_is_refused() -> None:
    data = load_benchmark("cvc").model_dump() | {"group": "{group}_*"}
    with pytest.raises(ValueError, match="sequence_starts"):
        Benchmark.model_validate(data)


# ------------------------------------------------------------------------------------------------------- keeping whole


NAMES = {
    "acdc": (ACDC, "patient{group}_*"), "chase": (CHASE, "Image_{group}[LR]"), "slices": (SLICES, "case_{group}_*")
}  # fmt: skip


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("seed", range(25))
def test_no_group_is_on_two_sides(names: str, seed: int) -> None:
    ids, pattern = NAMES[names]
    groups = card_groups(card(pattern), ids)
    assert groups is not None
    masked = set(ids) - set(random.Random(seed).sample(ids, len(ids) // 5))
    train, test = split_cases(Split(test="20%", seed=seed), ids, ids, masked=masked, groups=groups)
    drawn = draw_labeled(train, test, 3, seed, masked=masked, first=False, groups=groups)
    parts = [drawn, *(set_apart(drawn, source, 0.2, seed, masked=masked) for source in ("labeled", "train"))]
    for splits in parts:
        sides: dict[str, set[str]] = {}
        for name in ids:
            for part in ("labeled", "unlabeled", "test", "validation"):
                if name in getattr(splits, part) and (name in masked or part != "unlabeled"):
                    sides.setdefault(groups[name], set()).add(part)
        assert all(len(own) == 1 for own in sides.values())
        tested = {groups[name] for part in (splits.test, splits.validation) for name in part}
        assert not tested & {groups[name] for name in splits.labeled + splits.unlabeled}
    assert len({groups[name] for name in drawn.labeled}) == 3
    assert {len({groups[name] for name in splits.validation}) for splits in parts[1:2]} == {1}
    smaller = draw_labeled(train, test, 2, seed, masked=masked, first=False, groups=groups)
    assert set(smaller.labeled) < set(drawn.labeled)


@pytest.mark.parametrize("seed", range(25))
def test_groups_are_taken_as_long_as_the_share_comes_nearer(seed: int) -> None:
    """Against a plain count; groups of 5 to 11 cases never miss the share by more than half of the largest."""
    groups = card_groups(card("case_{group}_*"), SLICES)
    assert groups is not None
    _, test = split_cases(Split(test=40, seed=seed), SLICES, SLICES, masked=SLICES, groups=groups)
    assert abs(len(test) - 40) <= 5
    left = [len(own) for own in partition(SLICES, list(groups.values())) if not own & set(test)]
    assert len(test) >= 40 or all(abs(len(test) + size - 40) >= 40 - len(test) for size in left)


def test_a_group_larger_than_the_share_is_not_held_out() -> None:
    ids = [f"big_{i}" for i in range(90)] + [f"p{i}_1" for i in range(10)]
    groups = card_groups(card("{group}_*"), ids)
    for seed in range(20):
        train, test = split_cases(Split(test="5%", seed=seed), ids, ids, masked=ids, groups=groups)
        assert len(test) == 5
        assert "big_0" in train


def test_equal_images_join_their_groups() -> None:
    contents = dict.fromkeys(ACDC, "")
    contents |= {name: name for name in ACDC}
    contents["patient003_frame01"] = contents["patient050_frame01"] = "the same"
    groups = card_groups(card("patient{group}_*"), ACDC)
    for seed in range(20):
        _, test = split_cases(Split(test="20%", seed=seed), ACDC, list(contents.values()), masked=ACDC, groups=groups)
        assert sum(name.startswith(("patient003", "patient050")) for name in test) in (0, 4)


@pytest.mark.parametrize(("ids", "test"), [(["a_1", "a_2", "a_3"], "20%"), (["a_1", "a_2", "b_1", "b_2"], "20%")])
def test_a_share_that_whole_groups_cannot_meet_is_refused(ids: list[str], test: str) -> None:
    with pytest.raises(UserError, match="kept whole"):
        split_cases(
            Split(test=test), ids * 1, ids, masked=ids, groups=card_groups(card("{group}_*"), ids)
        )  # fmt: skip


def test_more_labelled_groups_than_there_are_is_refused() -> None:
    groups = card_groups(card("patient{group}_*"), ACDC)
    with pytest.raises(UserError, match="71 of 70 training groups, but only 70"):
        draw_labeled(ACDC, ["t"], 71, 1, masked=ACDC, first=False, groups=groups)


def test_the_first_groups_are_those_of_the_first_training_cases() -> None:
    groups = card_groups(card("patient{group}_*"), ACDC)
    splits = draw_labeled(ACDC, ["t"], 3, 1, masked=ACDC, first=True, groups=groups)
    assert splits.labeled == tuple(ACDC[:6])
    assert splits.as_dict()["groups"]["patient001_frame01"] == "001"


def test_validation_that_leaves_no_group_to_train_on_is_refused() -> None:
    groups = card_groups(card("patient{group}_*"), ACDC)
    splits = draw_labeled(ACDC, ["t"], 1, 1, masked=ACDC, first=True, groups=groups)
    with pytest.raises(UserError, match="1 of 1 labelled groups"):
        set_apart(splits, "labeled", 0.2, 1, masked=ACDC)


# ----------------------------------------------------------------------------------------------------------- identity


PATHS = sorted(REPOSITORY.glob("results/measured*/runs/*/*/*/run.json"))
GROUPED = {name for name in {path.parts[-4] for path in PATHS} if load_benchmark(name).group_rule is not None}
UNGROUPED = [path for path in PATHS if path.parts[-4] not in GROUPED]


def test_runs_from_before_there_were_groups_keep_their_names_and_splits() -> None:
    """Of each data set's measured runs: the hash, the test set, the labelled draw."""
    assert len(UNGROUPED) > 100
    for path in UNGROUPED:
        spec = RunSpec.read(json.loads(path.read_text())["spec"])
        assert path.parent.name == spec.run_id
        assert "group" not in spec.identity()
        assert spec.group is None
        parts = path.with_name("splits.json")
        if parts.exists():
            recorded = {name: tuple(ids) for name, ids in json.loads(parts.read_text()).items()}
            train = sorted(recorded["labeled"] + recorded["unlabeled"])
            ids = sorted((*train, *recorded["test"], *recorded.get("validation", ())))
            if spec.split.test is not None:
                assert set(split_cases(spec.split, ids, ids, masked=ids)[1]) == set(recorded["test"])
            if spec.split.labeled == "random" and spec.protocol.validation is None:
                drawn = draw_labeled(train, (), spec.labeled, spec.seed, masked=train, first=False)
                assert set(drawn.labeled) == set(recorded["labeled"])


def test_a_rule_of_groups_makes_another_run() -> None:
    spec = RunSpec.read(json.loads(UNGROUPED[0].read_text())["spec"])
    grouped = spec.model_copy(update={"group": "{group}_*", "train_groups": 5})
    assert grouped.hash not in {spec.hash, grouped.model_copy(update={"group": "{group}-*"}).hash}
    assert (spec.train_units, grouped.train_units) == (spec.train_count, 5)
