"""From names to runs with groups: what `data init` proposes, what `data check` lists, what a run records."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
from conftest import Call
from PIL import Image, ImageEnhance

from ssl_bench.cards import load_benchmark
from ssl_bench.data.check import check
from ssl_bench.data.describe.card import describe
from ssl_bench.data.describe.grouping import propose_group
from ssl_bench.data.groups import card_groups
from ssl_bench.data.leaks import equal_pairs, splits_between
from ssl_bench.data.split import split_cases
from ssl_bench.store import Store

FRAMES = [f"patient{patient:03d}_frame{frame:02d}" for patient in range(1, 11) for frame in (1, 2, 7)]


def put(root: Path, ids: list[str], alike: bool = False) -> Path:
    """A picture and a mask for each id; with `alike`, frames of one patient differ in brightness alone."""
    for index, name in enumerate(ids):
        seed = int(name[7:10]) if alike else index
        coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3)).astype(np.uint8)
        image = Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC)
        mask = np.zeros((40, 48), np.uint8)
        mask[10:25, 5 + index : 20 + index] = 255
        for folder, one in (("images", image), ("masks", Image.fromarray(mask))):
            (root / folder).mkdir(parents=True, exist_ok=True)
            if folder == "images" and alike:
                one = ImageEnhance.Brightness(one).enhance(1 + 0.01 * (index % 3))
            one.save(root / folder / f"{name}.png")
    return root


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (FRAMES, ("patient{group}_*", 10)),
        ([f"patient{p:03d}/patient{p:03d}_frame{f}" for p in range(5) for f in (1, 9)], ("{group}/*", 5)),
        ([f"P{p}/lesion{s}_frame{f}" for p in range(5) for s in (1, 2) for f in (1, 9)], ("{group}/*", 5)),
        ([f"case_{c}_slice_{s}" for c in range(12) for s in range(3)], ("case_{group}_*", 12)),
        ([f"x{c}_slice_{s}" for c in range(12) for s in range(3)], ("{group}_slice_*", 12)),
        ([f"Image_{c:02d}{eye}" for c in range(1, 15) for eye in "LR"], ("Image_{group}[LR]", 14)),
        ([f"{c}_{eye}" for c in range(5) for eye in ("left", "right")], ("{group}_*", 5)),
        ([f"{c}-{eye}" for c in range(5) for eye in ("OD", "OS")], ("{group}-O[DS]", 5)),
        ([f"p{p:02d}_f{f}" for p in range(10) for f in range(3)], ("p{group}_*", 10)),
        ([f"P{p:02d}_{f}" for p in range(10) for f in (1, 2)], ("P{group}_*", 10)),
        ([f"{p:03d}_{f}" for p in range(10) for f in range(3)], ("{group}_*", 10)),
        ([f"A/s-{p}-{f}" for p in range(10) for f in range(3)], ("*/s-{group}-*", 10)),
        ([f"p{p:02d}_f{f}" for p in range(10) for f in range(1 + (p > 0))], None),  # a first number with one case
        ([f"c{p}_{f}" for p in range(10) for f in range(3)], None),  # centres or classes
        ([f"{p:02d}_{kind}" for p in range(10) for kind in ("g", "dr", "h")], None),  # HRF
        ([f"ISIC_{c:07d}" for c in range(9)], None),
        ([f"case_{c:02d}" for c in range(9)], None),
        ([f"frame_{c}" for c in range(9)], None),
        ([f"{c}_training" for c in range(21, 41)], None),
        ([f"benign ({c})" for c in range(9)], None),
        ([f"video1_frame{c}" for c in range(9)], None),  # one group
        (["case_1_slice_1", "case_1_slice_2", "other"], None),
        ([str(c) for c in range(9)], None),
    ],
)
def test_init_proposes_groups_where_names_suggest_them(ids: list[str], expected: tuple[str, int] | None) -> None:
    assert propose_group(ids) == expected


def test_groups_go_from_init_to_the_runs_files(call: Call, tmp_path: Path) -> None:
    root = put(tmp_path / "own", FRAMES)
    code, out, err = call("data", "init", root, "--output", "mine.toml")
    assert code == 0, err
    assert 'the names suggest 10 groups of 30 cases, by group = "patient{group}_*"' in out
    assert "# Groups: the names suggest 10 groups" in (tmp_path / "mine.toml").read_text()
    card = ("mine.toml", "--data-root", root)
    code, out, err = call("data", "check", *card)
    assert code == 0, err
    assert "30 cases of 10 groups" in out
    settings = ("--set", "validation=labeled", "--set", "validation_share=0.4")
    run = ("run", "--methods", "cps", "--dataset", *card, "--protocol", "tiny", "--seeds", "1,2", *settings)
    code, out, err = call(*run, "--labeled", "3")
    assert code == 0, err
    assert "3 of 8 groups labelled" in " ".join(out.split())
    runs = Store(tmp_path / "results").runs()
    assert [(run.spec.group, run.spec.labeled, run.spec.train_groups) for run in runs] == [
        ("patient{group}_*", 3, 8)
    ] * 2
    for one in runs:
        parts = json.loads((one.path / "splits.json").read_text())
        groups = parts.pop("groups")
        assert groups == {name: name[7:10] for name in FRAMES}
        held = {part: {name[7:10] for name in ids} for part, ids in parts.items()}
        assert {part: len(own) for part, own in held.items()} == {
            "labeled": 2, "unlabeled": 5, "test": 2, "validation": 1
        }  # fmt: skip
        assert sum(map(len, parts.values())) == 30
    code, out, err = call(*run, "--labeled", "9")
    assert code == 2
    assert "expected at most 8 groups, found 9" in err


def test_what_a_split_file_parts_comes_first_and_floods_are_summed_up(call: Call, tmp_path: Path) -> None:
    root = put(tmp_path / "own", FRAMES, alike=True)
    (root / "split.csv").write_text(
        "id,part\n" + "".join(f"{name},{'test' if name.endswith('07') else 'train'}\n" for name in FRAMES)
    )
    assert call("data", "init", root, "--output", "mine.toml")[0] == 0
    Image.new("L", (48, 40)).save(root / "masks" / f"{FRAMES[0]}.png")
    benchmark = load_benchmark(str(tmp_path / "mine.toml"))
    findings = check(benchmark, root).findings
    assert findings[0].kind == "group in training and test"
    assert "split file: 10 of 10 groups" in findings[0].text
    kinds = [finding.kind for finding in findings]
    assert kinds.index("empty mask") > max(i for i, kind in enumerate(kinds) if kind.endswith("in training and test"))
    assert kinds.count("near-duplicate in training and test") == 20  # frames 1 and 7, 2 and 7 of each patient
    (inside,) = [finding.text for finding in findings if finding.kind == "near-duplicate"]
    assert inside == "10 pairs of cases of one group"  # frames 1 and 2
    code, out, err = call("data", "check", "mine.toml", "--data-root", root)
    assert code == 0, err
    assert out.count("look alike") == 3
    assert "and 17 more; --every lists them" in out
    assert call("data", "check", "mine.toml", "--data-root", root, "--every")[1].count("look alike") == 20


@pytest.mark.parametrize("seed", range(30))
def test_no_copy_in_training_and_in_test_is_missed(seed: int) -> None:
    """Against all pairs; the first copy may be in neither part."""
    random = Random(seed)
    names = [f"n{i}" for i in range(20)]
    contents = {name: str(random.randint(0, 6)) for name in names}
    parts = {name: random.choice(["train", "test", "neither"]) for name in names}
    train, test = ({name for name in names if parts[name] == part} for part in ("train", "test"))
    pairs = equal_pairs(contents, {"file": (train, test)})
    assert len({(pair.first, pair.second) for pair in pairs}) == len(pairs)
    assert all(contents[pair.first] == contents[pair.second] and pair.first != pair.second for pair in pairs)
    found = {
        name for pair in pairs if splits_between(pair, {"file": (train, test)}) for name in (pair.first, pair.second)
    }
    assert found & test == {name for name in test if any(contents[name] == contents[other] for other in train)}
    assert {pair.second for pair in equal_pairs(contents, {})} == {
        name for i, name in enumerate(names) if contents[name] in [contents[other] for other in names[:i]]
    }


def test_few_patients_are_kept_whole_by_the_proposed_card(tmp_path: Path) -> None:
    ids = [name for name in FRAMES if name < "patient005" and not name.endswith("07")]  # 4 patients of 2 cases
    root = put(tmp_path / "own", ids)
    path = tmp_path / "few.toml"
    path.write_text(describe(root))
    benchmark = load_benchmark(str(path))
    assert (benchmark.group, benchmark.splits["random"].test, benchmark.labeled) == ("patient{group}_*", 2, ("1",))
    assert check(benchmark, root).findings == []
    train, test = split_cases(benchmark.splits["random"], ids, ids, masked=ids, groups=card_groups(benchmark, ids))
    assert (len(train), len(test)) == (6, 2)


def test_a_run_says_that_its_split_file_parts_groups(call: Call, tmp_path: Path) -> None:
    root = put(tmp_path / "own", FRAMES)
    assert call("data", "init", root, "--output", "mine.toml")[0] == 0
    rows = "".join(f"{name},{'test' if name in FRAMES[:4] else 'train'}\n" for name in FRAMES)
    (tmp_path / "parts.csv").write_text("id,part\n" + rows)
    words = ("--dataset", "mine.toml", "--data-root", root, "--protocol", "tiny", "--labeled", "3")
    code, out, err = call("run", "--methods", "supervised", *words, "--set", "split=parts.csv")
    assert code == 0, err
    assert "1 group, such as 002, in training and in test" in " ".join((out + err).split())
    code, out, err = call("run", "--methods", "supervised", *words)
    assert code == 0, err
    assert "in training and in test" not in " ".join((out + err).split())


def test_a_card_without_groups_is_told_which_the_names_suggest(tmp_path: Path) -> None:
    root = put(tmp_path / "own", FRAMES)
    benchmark = load_benchmark("kvasir").model_copy(update={"cases": 30})
    train, test = split_cases(benchmark.splits["random"], FRAMES, FRAMES, masked=FRAMES)
    both = {name[7:10] for name in train} & {name[7:10] for name in test}
    (finding,) = check(benchmark, root).findings
    assert (finding.level, finding.kind) == ("warning", "group in training and test")
    assert f"split random: {len(both)} of 10 groups" in finding.text
    assert 'the names suggest group = "patient{group}_*"' in finding.text
    assert check(benchmark.model_copy(update={"group": "patient{group}_*"}), root).findings == []
    assert check(benchmark.model_copy(update={"group": "{group}"}), root).findings == []  # a card may say that none is


def test_ids_without_a_group_are_an_error_of_check(tmp_path: Path) -> None:
    root = put(tmp_path / "own", FRAMES)
    benchmark = load_benchmark("kvasir").model_copy(update={"cases": 30, "group": "case{group}_*"})
    (finding,) = check(benchmark, root).findings
    assert (finding.level, finding.kind) == ("error", "group")
    assert "30 of 30 that do not" in finding.text
