"""What defines a run: the cards, their errors, shares of cases, and the hash of a run's spec."""

import itertools
import json
import math
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_bench.cards import (
    Benchmark,
    ImageAugmentation,
    ImageProtocol,
    RunSpec,
    Split,
    Views,
    VolumeAugmentation,
    VolumeProtocol,
    card_names,
    load_benchmark,
    load_protocol,
    parse_card,
    parse_setting,
    parse_share,
    protocol_keys,
    read_toml,
    share_of,
    with_split_file,
)
from ssl_bench.errors import UserError

IN_TABLES = [
    *itertools.product(["views"], Views.model_fields),
    *itertools.product(["augmentation"], ImageAugmentation.model_fields),
]
WriteCard = Callable[[str, str], str]


@pytest.fixture
def write_card(tmp_path: Path) -> WriteCard:
    """Write a card and give its path."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


# -------------------------------------------------------------------------------------------------- the cards we have


@pytest.mark.parametrize("name", card_names("datasets"))
def test_every_dataset_card_loads(name: str) -> None:
    benchmark = load_benchmark(name)
    assert benchmark.name == name
    assert benchmark.protocol in card_names("protocols")
    assert benchmark.classes[0] == "background"
    for split in benchmark.splits.values():
        if split.file is not None:
            key, *rows = (line.split(",") for line in Path(split.file).read_text().split())
            assert {part for _, part in rows} == {"train", "test"}
            assert key[0] == "group" or len(rows) <= benchmark.cases
            continue
        if split.parts is not None:
            assert set(split.parts) == {"train", "test"}
            continue
        test = share_of(split.test, benchmark.cases, "test")
        for share in benchmark.labeled:
            assert share_of(share, benchmark.cases - test, "labeled") >= 1


@pytest.mark.parametrize("name", card_names("protocols"))
def test_every_protocol_card_loads(name: str) -> None:
    assert load_protocol(name).name == name


def test_the_cards_that_the_design_names_are_there() -> None:
    assert {"isic", "kvasir", "cvc", "demo"} <= set(card_names("datasets"))
    assert {"paper", "released-code", "mini"} <= set(card_names("protocols"))


# The rows of PROTOCOLS.md that are a field: (field, paper, released code).
PROTOCOL_ROWS = [
    ("lambda_max", 0.1, 0.1),
    ("rampup_epochs", "run", 5.0),
    ("ramp_start", 1, 0),
    ("unsupervised_reduction", "sum", "mean"),
    ("supervised_reduction", "sum", "sum"),
    ("ema_decay", 0.999, 0.99),
    ("ema_warmup", False, True),
    ("teacher_source", (0.5, 0.5), (0.99, 0.01)),
    ("teacher_mode", "eval", "train"),
    ("teacher_buffers", "ema", "own"),
    ("unlabeled_pool", "unlabeled", "all"),
    ("uncertainty_from", "after-update", "step1"),
    ("step2_teacher", "run-again", "mixed-labels"),
    ("umix_order", "simultaneous", "in-place"),
    ("dice_smooth", 1e-5, 1e-5),
    ("learning_rate", 1e-4, 1e-4),
    ("betas", (0.9, 0.999), (0.9, 0.999)),
    ("labeled_batch", 8, 8),
    ("unlabeled_batch", 8, 8),
    ("epochs", 50, 50),
    ("image_size", 256, 256),
    ("augment_size", 512, 512),
    ("score_size", "original", 512),
    ("network", "deeplabv3plus", "deeplabv3plus"),
    ("encoder", "resnet50", "resnet50"),
    ("encoder_weights", "imagenet", "imagenet"),
    ("select", "last", "train-loss"),
]


@pytest.mark.parametrize(("field", "paper", "released"), PROTOCOL_ROWS, ids=[row[0] for row in PROTOCOL_ROWS])
def test_the_two_protocols_differ_as_the_table_says(field: str, paper: object, released: object) -> None:
    assert getattr(load_protocol("paper"), field) == paper
    assert getattr(load_protocol("released-code"), field) == released


# What PROTOCOLS.md's table and settled points say of volumes.
VOLUMES_OF = {
    "paper": {
        "patch_size": (112, 112, 80), "labeled_batch": 8, "unlabeled_batch": 8, "epochs": 1000, "select": "last",
        "supervised_reduction": "sum", "unsupervised_reduction": "sum", "ema_decay": 0.999, "ema_warmup": False,
        "teacher_source": (0.5, 0.5), "unlabeled_pool": "unlabeled", "learning_rate": 1e-4,
    },
    "released-code": {
        "patch_size": (80, 112, 112), "labeled_batch": 4, "unlabeled_batch": 4, "epochs": 2000,
        "supervised_reduction": "mean", "unsupervised_reduction": "mean", "ema_decay": 0.99, "ema_warmup": True,
        "teacher_source": (0.99, 0.01), "unlabeled_pool": "all", "rampup_epochs": 5.0, "learning_rate": 1e-4,
        "ramp_start": 0,
    },
    "mini": {"patch_size": (64, 64, 32), "labeled_batch": 2, "unlabeled_batch": 2, "iterations": 300},
}  # fmt: skip


@pytest.mark.parametrize("name", VOLUMES_OF)
def test_the_3d_forms_are_as_the_paper_and_its_code_have_it(name: str) -> None:
    protocol = load_protocol(name, dimensions=3)
    assert {key: getattr(protocol, key) for key in VOLUMES_OF[name]} == VOLUMES_OF[name]
    assert (protocol.network, protocol.dropout, protocol.largest_component) == ("vnet", 0.0, True)
    if name in ("paper", "released-code"):
        assert (protocol.stride, protocol.filters) == ((18, 18, 4), 16)
    assert protocol.augmentation.model_dump(exclude={"extra"}) == {
        "rotate_flip": 0.5, "blur": 0.8, "blur_sigma": (0.1, 2.0), "strong2_from": "weak",
        "jitter": 0, "brightness": 0.5, "contrast": 0.5, "noise": 0, "noise_sigma": (0.1, 1.0),
    }  # fmt: skip
    assert protocol.views.model_dump() == {
        "labeled_student1": "strong1", "labeled_student2": "strong2", "labeled_teacher": "weak",
        "labeled_mixed": "strong1", "student1": "strong1", "student2": "strong2", "teacher": "weak", "mixed": "strong1",
    }  # fmt: skip


def test_the_demo_shows_volumes_to_networks_as_it_shows_images() -> None:
    volumes, images = (load_protocol("demo", dimensions=dimensions) for dimensions in (3, 2))
    assert volumes.views == images.views
    assert (volumes.augmentation.jitter, volumes.iterations) == (images.augmentation.jitter, images.iterations)
    assert (volumes.network, volumes.filters, volumes.patch_size) == ("vnet-half", 8, (32, 32, 32))
    assert (volumes.labeled_batch, volumes.unlabeled_batch, volumes.augmentation.noise) == (2, 2, 0.2)


def changes_of_studies() -> dict[str, list[dict[str, Any]]]:
    """By method: the fields of `small` that a row of a study or of a claim changes."""
    cards = [tomllib.loads(path.read_text()) for path in sorted((REPOSITORY / "benchmarks/studies").glob("*.toml"))]
    sides = [row for card in cards if card["protocol"] == "small" for row in card["rows"]]
    for claim in tomllib.loads((REPOSITORY / "benchmarks/claims/ucmt.toml").read_text())["claims"]:
        sides += [side for side in [*claim["rows"], *claim.get("against", [])] if isinstance(side, dict)]
    found: dict[str, list[dict[str, Any]]] = {}
    for side in sides:
        own = {key: value for key, value in side.get("settings", {}).items() if key not in UCMT_FIELDS}
        found.setdefault(side["method"], []).append(own)
    return found


UCMT_FIELDS = ("k", "r", "boxes", "low", "high")  # hyperparameters: no fields of the protocol


def test_small_is_the_protocol_of_its_reported_runs() -> None:
    """It is frozen: a changed value would be another protocol's."""
    stored = REPOSITORY / "results/measured/runs"
    specs = [json.loads(path.read_text())["spec"] for path in sorted(stored.glob("*/*/*/run.json"))]
    reported = [spec for spec in specs if spec["protocol"]["network"] in ("unet-small", "vnet-half")]
    assert Counter(spec["benchmark"] for spec in reported) == {
        "isic": 477,
        "kvasir": 120,
        "cvc": 230,
        "acdc": 40,
        "la": 70,
    }
    studied = changes_of_studies()
    for spec in reported:
        own = spec["protocol"]
        assert own in [as_stored(own, spec["benchmark"], changes) for changes in ({}, *studied.get(spec["method"], ()))]


def as_stored(own: dict[str, Any], benchmark: str, changes: dict[str, Any]) -> dict[str, Any]:
    """`small` with these changes, as the run that stored `own` would have it."""
    settings = {"split": own["split"], **changes}
    protocol = load_protocol("small", settings, dimensions=3 if "patch_size" in own else 2)
    now = protocol.resolved(load_benchmark(benchmark), 9, "cpu").model_dump(mode="json")
    return {key: now[key] for key in own} | {"note": own["note"]}  # words that a table prints


def test_epochs_of_volumes_become_iterations() -> None:
    la = load_benchmark("la")
    assert load_protocol("paper", dimensions=3).resolved(la, 80, "cpu").iterations == 10 * 1000
    assert load_protocol("released-code", dimensions=3).resolved(la, 80, "cpu").iterations == 20 * 2000


def test_sides_and_strides_that_do_not_fit_are_errors() -> None:
    for setting, message in (
        ({"stride": [48, 48, 40]}, r"stride \[48, 48, 40\] must be at most patch_size"),
        ({"patch_size": [32, 32]}, "patch_size"),
    ):
        with pytest.raises(UserError, match=message):
            load_protocol("mini", setting, dimensions=3)


def test_the_small_u_net_has_no_encoder_that_could_decide_anything() -> None:
    specs = [
        run_spec(weights_fingerprint=None, protocol=resolved_protocol(network="unet-small", **own))
        for own in ({}, {"encoder": "resnet50", "encoder_weights": "imagenet"})
    ]
    assert specs[0].protocol.encoder_weights == "none"
    assert specs[0].hash == specs[1].hash


def test_of_a_split_file_the_content_counts_and_not_the_place(tmp_path: Path) -> None:
    hashes = []
    for folder, text in (("a", "id,part\n1,train\n2,test\n"), ("b", "id,part\n1,train\n2,test\n"), ("c", "id,part\n")):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "split.csv"
        path.write_text(text)
        benchmark = with_split_file(load_benchmark("isic"), str(path))
        protocol = load_protocol("mini", {"split": str(path)}).resolved(benchmark, 9, "cpu")
        hashes.append(run_spec(split=benchmark.splits[str(path)], protocol=protocol).hash)
    assert hashes[0] == hashes[1] != hashes[2]
    with pytest.raises(UserError, match=r"absent\.csv: the split file cannot be read"):
        with_split_file(load_benchmark("isic"), str(tmp_path / "absent.csv"))


def test_views_are_those_of_the_released_code_in_2d() -> None:
    expected = {
        "labeled_student1": "weak", "labeled_student2": "weak", "labeled_teacher": "weak",
        "labeled_mixed": "strong1", "student1": "strong1", "student2": "strong2",
        "teacher": "weak", "mixed": "strong1",
    }  # fmt: skip
    for name in ("paper", "released-code", "mini"):
        assert load_protocol(name).views.model_dump() == expected


def test_augmentation_is_that_of_the_released_code() -> None:
    augmentation = load_protocol("paper").augmentation.model_dump(exclude={"extra"})
    expected = {
        "horizontal_flip": 0.5, "vertical_flip": 0.5, "rotation": 0.5, "rotation_degrees": 180, "jitter": 0.8,
        "brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.25, "posterize": 0.2, "posterize_bits": 5,
        "autocontrast": 0.2, "equalize": 0.2, "blur": 0.5, "blur_kernel": 3, "blur_sigma": (0.1, 2.0),
        "strong2_from": "strong1",
    }  # fmt: skip
    assert augmentation == expected


def test_isic_is_split_as_in_the_paper() -> None:
    isic = load_benchmark("isic")
    assert isic.cases == 2594
    assert [split.test for split in isic.splits.values()] == [779]
    assert isic.cases - 779 == 1815


def test_a_card_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_protocol("paper").learning_rate = 1.0  # type: ignore[misc]


# --------------------------------------------------------------------------------------------------- a card's errors


def test_all_errors_of_a_card_are_reported_together(write_card: WriteCard) -> None:
    path = write_card(
        "mine.toml",
        'extends = "paper"\nlearning_rate = -1\nlabelled_batch = 4\nnetwork = 3\nbetas = [0.9]\nema_decay = 1.0\n'
        '[views]\nstudent1 = "strong"\n[augmentation]\nblur_kernel = 4\nflip = 0.5\n',
    )
    with pytest.raises(UserError) as caught:
        load_protocol(path)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    keys = {line.removeprefix(f"{path}: ").partition(":")[0] for line in lines}
    assert {"learning_rate", "labelled_batch", "network", "ema_decay", "views.student1"} <= keys
    assert {"augmentation.blur_kernel", "augmentation.flip"} <= keys
    assert any(key.startswith("betas") for key in keys)
    text = str(caught.value)
    assert "labelled_batch: unknown key" in text
    assert "found 'strong'" in text
    assert "found -1" in text


def test_missing_keys_are_all_named(write_card: WriteCard) -> None:
    path = write_card("mine.toml", 'name = "mine"\ntitle = "mine"\nimage_size = 64\n')
    with pytest.raises(UserError) as caught:
        load_protocol(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    assert line.endswith(": missing")
    missing = line.removeprefix(f"{path}: ").removesuffix(": missing").split(", ")
    assert set(missing) == {key for key, field in ImageProtocol.model_fields.items() if field.is_required()} - {
        "name", "title", "image_size",
    }  # fmt: skip


def test_a_mistyped_extends_is_named_first(write_card: WriteCard) -> None:
    for more in ("", 'name = "mine"\n', "iterations = 500\n", "[2d]\nepochs = 2\n"):
        path = write_card("mine.toml", f'extend = "mini"\ntitle = "mine"\n{more}')
        with pytest.raises(UserError) as caught:
            load_protocol(path)
        first, second = str(caught.value).splitlines()
        assert first == f"{path}: extend: unknown key; did you mean extends?"
        assert second.endswith(": missing")


def test_a_card_of_another_kind_is_one_line(write_card: WriteCard) -> None:
    path = write_card("table.toml", 'kind = "table"\ntitle = "a"\nprotocol = "mini"\ncolumns = []\nrows = []\n')
    more = sum(field.is_required() for field in ImageProtocol.model_fields.values()) - 10
    with pytest.raises(UserError, match=rf"a card with name, title, labeled_batch, .* and {more} more keys;") as caught:
        load_protocol(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("; found one with kind, title, protocol, columns, rows")
    with pytest.raises(UserError, match="a card with name, title, classes, ") as caught:
        load_benchmark(path)
    assert str(caught.value).endswith("; found one with kind, title, protocol, columns, rows")
    small = write_card("small.toml", 'extends = "mini"\nname = "a"\ntitle = "a"\niterations = 500\n')
    with pytest.raises(UserError, match=r"a card with name, .*; found one with extends, name, title, iterations$"):
        load_benchmark(small)
    with pytest.raises(UserError, match=r"a card with name, .*; found one with no key$"):
        load_protocol(write_card("empty.toml", ""))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"teacher_mode": "eval", "teacher_buffers": "own"}, "teacher_buffers"),
        ({"teacher_source": [0.5, 0.4]}, "teacher_source must sum to 1, found 0.9"),
        ({"augment_size": 128}, "augment_size 128 must be at least image_size 256"),
    ],
)
def test_settings_that_do_not_go_together_are_errors(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_protocol("paper", setting)


def test_all_settings_that_do_not_go_together_are_reported_together() -> None:
    with pytest.raises(UserError) as caught:
        load_protocol("paper", {"teacher_source": [0.5, 0.4], "image_size": 250, "augment_size": 128})
    for word in ("teacher_source", "augment_size"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [
        {"metrics": []}, {"metrics": ["f1"]}, {"metrics": ["dsc", "dsc"]}, {"rampup_epochs": "all"},
        {"rampup_epochs": 0}, {"ramp_start": 2}, {"score_size": 0},
        {"learning_rate": math.inf}, {"learning_rate": math.nan}, {"ema_decay": 1}, {"lambda_max": -0.1},
        {"unlabeled_batch": 0}, {"epochs": 0}, {"precision": "fp16"}, {"aspp_dropout": 1.5}, {"input_std": [1, 1, 0]},
        {"views.student3": "weak"}, {"augmentation.hue": 0.6}, {"image_size": 256.5}, {"split": 3},
    ],
    ids=str,
)  # fmt: skip
def test_a_value_out_of_range_is_an_error_that_names_its_key(setting: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        load_protocol("paper", setting)
    (key,) = setting
    for line in str(caught.value).splitlines():
        assert "paper.toml with --set: " in line
        assert line.partition("--set: ")[2].startswith(key)


def test_a_file_that_is_not_toml_is_an_error_with_its_place(write_card: WriteCard) -> None:
    path = write_card("mine.toml", 'name = "mine"\nimage_size = = 3\n')
    with pytest.raises(UserError, match=r"mine\.toml: not a TOML file.*line 2"):
        load_protocol(path)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.toml: cannot be read"):
        load_protocol(str(tmp_path / "absent.toml"))
    with pytest.raises(UserError, match="cannot be read"):
        read_toml(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.toml: cannot be read"):
        read_toml(binary)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"--dataset: expected .*isic.* found 'isik'"):
        load_benchmark("isik")
    with pytest.raises(UserError, match=r"--protocol: expected .*paper.* found 'papers'"):
        load_protocol("papers")
    with pytest.raises(UserError, match="--protocol"):
        load_protocol("../datasets/isic")


BENCHMARK: dict[str, Any] = {
    "name": "mine", "title": "Mine", "classes": ["background", "lesion"], "cases": 10, "labeled": ["10%"],
    "metrics": ["dsc"], "source": "x", "license": "x", "citation": "x", "splits": {"random": {"test": 2}},
    "files": {"roots": ["."], "images": "images/{id}", "masks": "masks/{id}"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"files": None}, "exactly one of [files], [[volumes]] and generator"),
        ({"generator": "demo"}, "exactly one of [files], [[volumes]] and generator"),
        ({"files": {"roots": ["."], "images": "i/{id}", "masks": "masks"}}, "files.masks: must contain {id}"),
        ({"files": {"roots": [], "images": "i/{id}", "masks": "{id}"}}, "files.roots: "),
        ({"splits": {}}, "splits: "),
        ({"splits": {"random": {"test": "120%"}}}, "splits.random.test: "),
        ({"splits": {"random": {"test": 0}}}, "splits.random.test: "),
        ({"splits": {"random": {"test": "some"}}}, "splits.random.test: "),
        ({"labeled": ["5 percent"]}, "labeled: "),
        ({"labeled": []}, "labeled: "),
        ({"classes": ["background"]}, "classes: "),
        ({"metrics": ["f1"]}, "metrics.0: "),
        ({"name": "My set"}, "name: "),
        ({"cases": 0}, "cases: "),
        ({"licence": "CC0"}, "licence: unknown key"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_of_a_dataset_card(change: dict[str, Any], line: str) -> None:
    parse_card(Benchmark, BENCHMARK, "mine.toml")
    with pytest.raises(UserError) as caught:
        parse_card(Benchmark, BENCHMARK | change, "mine.toml")
    assert all(found.startswith("mine.toml: ") for found in str(caught.value).splitlines())
    assert line in str(caught.value)


# ------------------------------------------------------------------------------------------------------------ extends


def test_extends_replaces_keys_and_merges_tables(write_card: WriteCard) -> None:
    path = write_card(
        "mine.toml",
        'extends = "paper"\nname = "mine"\nimage_size = 128\nteacher_source = [1.0, 0.0]\n'
        '[views]\nmixed = "weak"\n[augmentation]\nblur_sigma = [1.0, 1.5]\n',
    )
    mine, paper = load_protocol(path), load_protocol("paper")
    expected = paper.model_dump()
    expected |= {"name": "mine", "image_size": 128, "teacher_source": (1.0, 0.0)}
    expected["views"] |= {"mixed": "weak"}
    expected["augmentation"] |= {"blur_sigma": (1.0, 1.5)}
    assert mine.model_dump() == expected


def test_extends_follows_a_chain_of_files_and_the_nearest_wins(write_card: WriteCard) -> None:
    first = write_card("first.toml", 'extends = "paper"\nname = "first"\nlearning_rate = 1.0\nweight_decay = 1.0\n')
    second = write_card("second.toml", f"extends = '{first}'\nname = \"second\"\nlearning_rate = 2.0\n")
    third = write_card("third.toml", f"extends = '{second}'\nname = \"third\"\n")
    protocol = load_protocol(third)
    assert (protocol.name, protocol.learning_rate, protocol.weight_decay) == ("third", 2.0, 1.0)
    assert protocol.encoder == "resnet50"


@pytest.mark.parametrize("length", [1, 2, 3])
def test_cards_that_extend_each_other_in_a_circle_are_an_error(length: int, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.toml" for i in range(length)]
    for path, following in zip(paths, [*paths[1:], paths[0]], strict=True):
        path.write_text(f"extends = '{following}'\n")
    with pytest.raises(UserError, match="extends: the cards extend each other in a circle"):
        load_protocol(str(paths[0]))


def test_an_unknown_parent_is_an_error_that_names_the_file(write_card: WriteCard) -> None:
    path = write_card("mine.toml", 'extends = "papers"\n')
    with pytest.raises(UserError, match=r"mine\.toml: extends: expected .*paper.* found 'papers'"):
        load_protocol(path)


@pytest.mark.parametrize(
    ("base", "own", "expected"),
    [
        ("epochs = 7", "iterations = 9", (None, 9)),
        ("iterations = 9", "epochs = 7", (7, None)),
        ("iterations = 9", "epochs = 7\niterations = 5", (7, 5)),
        ("iterations = 9", "", (None, 9)),
    ],
)
def test_a_length_replaces_the_parents_however_that_was_said(
    base: str, own: str, expected: tuple[int | None, int | None], write_card: WriteCard
) -> None:
    parent = write_card("base.toml", f'extends = "paper"\n{base}\n')
    protocol = load_protocol(write_card("own.toml", f"extends = '{parent}'\n{own}\n"))
    assert (protocol.epochs, protocol.iterations) == expected


# -------------------------------------------------------------------------------------------------------------- --set


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epochs=3", ("epochs", 3)),
        ("learning_rate=1e-3", ("learning_rate", 1e-3)),
        ("compile=true", ("compile", True)),
        ("teacher_source=[0.5, 0.5]", ("teacher_source", [0.5, 0.5])),
        ("encoder=resnet18", ("encoder", "resnet18")),
        ("encoder='resnet18'", ("encoder", "resnet18")),
        ("encoder_weights=/data/a=b.pth", ("encoder_weights", "/data/a=b.pth")),
        (" views.student1 = weak ", ("views.student1", "weak")),
        ("score_size=original", ("score_size", "original")),
    ],
)
def test_a_setting_is_read_as_toml_or_as_a_string(text: str, expected: tuple[str, object]) -> None:
    key, value = parse_setting(text)
    assert (key, value) == expected
    assert type(value) is type(expected[1])


@pytest.mark.parametrize("text", ["epochs", "epochs=", "=3", "", " = ", "epochs:3"])
def test_a_setting_that_is_not_key_value_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match="--set: expected KEY=VALUE, found"):
        parse_setting(text)


def test_settings_lie_on_top_of_the_card() -> None:
    protocol = load_protocol("mini", {"learning_rate": 0.25, "views.mixed": "weak", "augmentation.blur": 0.0})
    assert (protocol.learning_rate, protocol.views.mixed, protocol.augmentation.blur) == (0.25, "weak", 0.0)
    mini = load_protocol("mini")
    assert protocol.views.student1 == mini.views.student1
    assert protocol.encoder == mini.encoder


def test_an_unknown_setting_is_an_error_that_says_so() -> None:
    with pytest.raises(UserError, match=r"--set: learning_rat: unknown key"):
        load_protocol("mini", {"learning_rat": 0.25})


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_protocol_key_can_be_set_to_what_it_is(dimensions: int) -> None:
    paper = load_protocol("paper", dimensions=dimensions)
    data = paper.model_dump()
    for key in protocol_keys(dimensions):
        table, _, leaf = key.rpartition(".")
        value = (data[table] if table else data)[leaf]
        assert load_protocol("paper", {key: value}, dimensions=dimensions) == paper, key


@pytest.mark.parametrize(
    ("dimensions", "form", "augmentation"),
    [(2, ImageProtocol, ImageAugmentation), (3, VolumeProtocol, VolumeAugmentation)],
)
def test_protocol_keys_are_all_fields_that_decide_a_number(dimensions: int, form: Any, augmentation: Any) -> None:
    dotted = {f"views.{key}" for key in Views.model_fields} | {
        f"augmentation.{key}" for key in augmentation.model_fields
    }
    plain = set(form.model_fields) - {"name", "title", "note", "dimensions", "views", "augmentation"}
    assert protocol_keys(dimensions) == plain | dotted


def test_a_key_of_the_other_form_is_an_error_that_says_so() -> None:
    with pytest.raises(UserError, match="--set image_size: this data set is 3D"):
        load_protocol("mini", {"image_size": 64}, dimensions=3)
    with pytest.raises(UserError, match="--set patch_size: this data set is 2D"):
        load_protocol("mini", {"patch_size": [32, 32, 32]})


def test_a_length_that_is_set_is_the_one_that_counts() -> None:
    # mini has 300 iterations; a user who sets 10 epochs must not silently get 300 iterations all the same.
    protocol = load_protocol("mini", {"epochs": 10})
    assert protocol.resolved(load_benchmark("kvasir"), 800, "cpu").iterations == 10 * 100


def test_a_setting_in_a_table_that_the_card_spoils_is_an_error(write_card: WriteCard) -> None:
    path = write_card("mine.toml", 'extends = "paper"\nviews = "weak"\n')
    with pytest.raises(UserError, match="views"):
        load_protocol(path, {"views.student1": "weak"})


# ---------------------------------------------------------------------------------------------------------- resolved


def test_a_length_in_epochs_becomes_iterations() -> None:
    resolved = load_protocol("paper").resolved(load_benchmark("isic"), 1815, "cpu")
    assert resolved.iterations == 227 * 50
    assert resolved.epochs is None


@pytest.mark.parametrize(("train", "expected"), [(8, 50), (9, 100), (800, 5000), (490, 62 * 50), (1, 50)])
def test_an_epoch_is_one_pass_over_all_training_images_in_batches_of_8(train: int, expected: int) -> None:
    assert load_protocol("paper").resolved(load_benchmark("kvasir"), train, "cpu").iterations == expected


def test_a_length_in_iterations_is_kept() -> None:
    assert load_protocol("mini").resolved(load_benchmark("isic"), 1815, "cpu").iterations == 300


def test_every_default_and_auto_is_resolved() -> None:
    isic = load_benchmark("isic")
    on_gpu, on_cpu = (load_protocol("paper").resolved(isic, 1815, device) for device in ("cuda", "cpu"))
    assert (on_gpu.precision, on_cpu.precision) == ("bf16", "fp32")
    assert on_cpu.split == "random"
    assert on_cpu.metrics == ("dsc", "jaccard")
    for protocol in (on_gpu, on_cpu):
        assert "auto" not in protocol.model_dump().values()
        assert "default" not in protocol.model_dump().values()


def test_what_is_said_is_not_resolved_away() -> None:
    said = {"precision": "fp32", "metrics": ["jaccard"], "split": "by-sequence", "iterations": 5}
    resolved = load_protocol("paper", said).resolved(load_benchmark("cvc"), 490, "cuda")
    assert (resolved.precision, resolved.metrics, resolved.split) == ("fp32", ("jaccard",), "by-sequence")
    assert resolved.iterations == 5


def test_the_default_split_is_the_first_of_the_card() -> None:
    card = BENCHMARK | {"splits": {"zebra": {"test": 2}, "aardvark": {"test": 3}}}
    assert load_protocol("paper").resolved(parse_card(Benchmark, card, "x"), 8, "cpu").split == "zebra"


def test_an_unknown_split_is_an_error_that_lists_the_known_ones() -> None:
    protocol = load_protocol("paper", {"split": "by-patient"})
    with pytest.raises(UserError, match=r"by-patient.*expected one of random, by-sequence"):
        protocol.resolved(load_benchmark("cvc"), 490, "cpu")


# ------------------------------------------------------------------------------------------------------------- shares


@pytest.mark.parametrize(
    ("share", "whole", "expected"),
    [
        ("5%", 1815, 90), ("10%", 1815, 181), ("15%", 800, 120), ("30%", 800, 240), ("15%", 490, 73), ("20%", 612, 122),
        ("100%", 1815, 1815), ("2%", 80, 1), ("12.5%", 80, 10), ("29%", 100, 29), ("57%", 100, 57), ("5", 1815, 5),
        (90, 1815, 90), (" 5% ", 100, 5), ("0.1%", 1000, 1), (1, 1, 1),
    ],
)  # fmt: skip
def test_a_share_is_the_floor_of_its_fraction(share: int | str, whole: int, expected: int) -> None:
    assert share_of(share, whole, "--labeled") == expected


@settings(deadline=None)
@given(percent=st.integers(1, 100), whole=st.integers(100, 10**6))
def test_a_share_in_percent_is_whole_number_division(percent: int, whole: int) -> None:
    assert share_of(f"{percent}%", whole, "--labeled") == percent * whole // 100


def test_shares_are_exact() -> None:
    assert parse_share("15%", "x") == Fraction(3, 20)
    assert parse_share("0.1%", "x") == Fraction(1, 1000)
    number = parse_share("5", "x")
    assert number == 5
    assert isinstance(number, int)


@pytest.mark.parametrize("text", ["abc", "", "%", "5%%", "0.15", "five%", "nan%", "inf%", "5 cases", "1/0%"])
def test_what_is_no_share_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match="--labeled: expected a share such as '5%' or a number of cases, found"):
        parse_share(text, "--labeled")


@pytest.mark.parametrize("share", ["0", 0, "0%", "101%", "100.01%", "-5%", "-5", -1])
def test_a_share_out_of_range_is_an_error(share: int | str) -> None:
    with pytest.raises(UserError, match=rf"--labeled: expected more than 0 and at most 100%, found '{share}'"):
        parse_share(share, "--labeled")


def test_more_than_there_are_is_an_error() -> None:
    with pytest.raises(UserError, match="--labeled: expected at most 1815 cases, found 1816"):
        share_of("1816", 1815, "--labeled")


@pytest.mark.parametrize("whole", [1, 3, 7, 19, 80, 99, 612, 1815])
def test_a_share_that_leaves_none_is_an_error_whose_advice_works(whole: int) -> None:
    with pytest.raises(UserError, match="leaves no labelled image") as caught:
        share_of("0.01%", whole, "--labeled")
    advice = str(caught.value).partition("give at least ")[2].split(" or ")
    assert [share_of(share, whole, "--labeled") for share in advice] == [1, 1]


# --------------------------------------------------------------------------------------------------- a run's identity


def resolved_protocol(**settings: Any) -> ImageProtocol:
    return load_protocol("mini", settings).resolved(load_benchmark("isic"), 1815, "cpu")


def run_spec(**changes: Any) -> RunSpec:
    fields = {
        "benchmark": "isic", "classes": ("background", "lesion"), "label_values": (0, 255), "intensity": "rgb",
        "split": Split(test=779, seed=2018), "data_fingerprint": "0123456789abcdef",
        "train_count": 1815, "test_count": 779, "labeled": 90, "protocol": resolved_protocol(),
        "weights_fingerprint": "fedcba", "method": "ucmt", "method_version": 1,
        "hyperparameters": {"k": 2, "r": 16}, "seed": 0,
    }  # fmt: skip
    return RunSpec(**(fields | changes))


def different(value: Any) -> Any:
    """Some other value of the same kind."""
    match value:
        case bool():
            return not value
        case str():
            return value + "-other"
        case int() | float():
            return value + 1
        case tuple():
            return tuple(different(item) for item in value)
        case dict():
            return {**value, "other": {}}
        case None:
            return (1, 26)
    raise AssertionError(value)


def test_the_hash_is_sixteen_hexadecimal_digits() -> None:
    digits = run_spec().hash
    assert len(digits) == 16
    assert set(digits) <= set("0123456789abcdef")


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    spec = run_spec()
    data = spec.model_dump(mode="json")

    def turned(value: Any) -> Any:
        return {key: turned(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    assert list(turned(data)) != list(data)
    assert RunSpec.model_validate(turned(data)).hash == spec.hash
    assert run_spec(hyperparameters={"r": 16, "k": 2}).hash == spec.hash


def test_the_hash_survives_json() -> None:
    for spec in (run_spec(), run_spec(hyperparameters={"a": True, "b": 1, "c": 1.0, "d": "x", "e": 0.1})):
        read = RunSpec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json"))))
        assert read.hash == spec.hash
        assert read == spec


def test_the_hash_is_the_same_in_another_process() -> None:
    program = (
        "import sys; from ssl_bench.cards import RunSpec; print(RunSpec.model_validate_json(sys.stdin.read()).hash)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=run_spec().model_dump_json(),
        env={"PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == run_spec().hash


@pytest.mark.parametrize("words", ["name", "title", "note"])
def test_the_hash_does_not_depend_on_words_for_people(words: str) -> None:
    protocol = resolved_protocol().model_copy(update={words: "something-else"})
    assert run_spec(protocol=protocol).hash == run_spec().hash


def test_how_a_length_was_said_does_not_count() -> None:
    isic, paper = load_benchmark("isic"), load_protocol("paper")
    in_iterations = load_protocol("paper", {"iterations": 11350}).resolved(isic, 1815, "cpu")
    assert run_spec(protocol=in_iterations).hash == run_spec(protocol=paper.resolved(isic, 1815, "cpu")).hash


READING = {"label_values", "layout", "channel_names", "image_axes"}  # decide what `predict` does, and no weights
OTHERWISE_TESTED = {"protocol", "split", "hyperparameters", "classes", *READING}


@pytest.mark.parametrize("field", sorted(READING))
def test_how_files_are_read_is_recorded_and_no_part_of_the_identity(field: str) -> None:
    spec = run_spec()
    changed = spec.model_copy(update={field: different(getattr(spec, field))})
    assert field in spec.model_dump()
    assert changed.hash == spec.hash


@pytest.mark.parametrize("field", sorted(set(RunSpec.model_fields) - OTHERWISE_TESTED))
def test_the_hash_changes_with_every_field_of_the_spec(field: str) -> None:
    spec = run_spec()
    changed = spec.model_copy(update={field: different(getattr(spec, field))})
    assert changed.hash != spec.hash


# Values that no card would have are fine here: what counts is that the hash sees them.
UNCHECKED = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
WORDS_AND_LENGTH = {"name", "title", "note", "epochs", "views", "augmentation", "encoder_weights"}


# How a run is measured and looked at, and what a run without --labeled takes: none of it decides a weight.
LOOKED_AT = {"labeled_scale", "metrics", "score_size", "log_every", "score_every", "validate_every"}


@UNCHECKED
@pytest.mark.parametrize("field", sorted(set(ImageProtocol.model_fields) - WORDS_AND_LENGTH))
def test_the_hash_changes_with_every_field_of_the_protocol_that_trains(field: str) -> None:
    protocol = resolved_protocol()
    if field.startswith("valid") and field != "validation":  # of which the hash sees nothing where there is none
        protocol = protocol.model_copy(update={"validation": "train"})
    changed = protocol.model_copy(update={field: different(getattr(protocol, field))})
    before, after = (run_spec().model_copy(update={"protocol": one}) for one in (protocol, changed))
    assert (before.hash == after.hash) == (field in LOOKED_AT)


@pytest.mark.parametrize(
    ("field", "value"), [("stride", (8, 8, 8)), ("window_batch", 1), ("largest_component", False), ("log_every", 3)]
)
def test_the_hash_of_a_run_on_volumes_changes_with_no_field_that_measures(field: str, value: Any) -> None:
    protocol = load_protocol("mini", dimensions=3).resolved(load_benchmark("la"), 80, "cpu")
    assert getattr(protocol, field) != value
    spec = run_spec(weights_fingerprint=None)
    before, after = (
        spec.model_copy(update={"protocol": one}) for one in (protocol, protocol.model_copy(update={field: value}))
    )
    assert before.hash == after.hash


def test_a_run_that_scores_while_it_trains_has_a_folder_of_its_own() -> None:
    def spec(**changes: Any) -> RunSpec:
        return run_spec().model_copy(update={"protocol": resolved_protocol().model_copy(update=changes)})

    plain, every10, every20 = spec(), spec(score_every=10), spec(score_every=20)
    assert plain.run_id == plain.hash
    assert every10.run_id == f"{plain.hash}-s10"
    both = spec(score_every=10, validate_every=5, validation="train")
    assert both.run_id == f"{both.hash}-s10-v5"
    assert spec(validate_every=5).run_id == plain.hash  # there is nothing to validate on
    assert every10.has_curves_of(plain.protocol)
    assert every10.has_curves_of(every20.protocol)
    assert not every20.has_curves_of(every10.protocol)
    assert not plain.has_curves_of(every10.protocol)


def test_a_field_that_an_older_run_does_not_name_has_the_value_of_then() -> None:
    data = run_spec().model_dump(mode="json")
    del data["harness"]
    assert RunSpec.model_validate(data).hash == run_spec(harness=1).hash != run_spec(harness=2).hash


@UNCHECKED
@pytest.mark.parametrize(
    ("table", "field"),
    [
        *itertools.product(["views"], Views.model_fields),
        *itertools.product(["augmentation"], ImageAugmentation.model_fields),
    ],
)
def test_the_hash_changes_with_every_field_of_the_protocols_tables(table: str, field: str) -> None:
    protocol = resolved_protocol()
    inner = getattr(protocol, table)
    inner = inner.model_copy(update={field: different(getattr(inner, field))})
    changed = run_spec().model_copy(update={"protocol": protocol.model_copy(update={table: inner})})
    assert changed.hash != run_spec().hash


def test_of_classes_the_number_counts_and_not_the_names() -> None:
    assert run_spec(classes=("background", "mole")).hash == run_spec().hash
    assert run_spec(classes=("background", "lesion", "hair")).hash != run_spec().hash


def test_the_hash_changes_with_the_parts_of_the_split() -> None:
    hashes = {
        run_spec(split=Split.model_validate({"parts": {"train": train, "test": ["test/*"]}})).hash
        for train in (["train/*"], ["train/*", "val/*"])
    }
    assert len(hashes | {run_spec().hash}) == 3
    assert "parts" not in run_spec().identity()["split"]  # as in the runs of earlier versions


@UNCHECKED
@pytest.mark.parametrize("field", sorted(set(Split.model_fields) - {"file", "parts"}))
def test_the_hash_changes_with_every_field_of_the_split(field: str) -> None:
    split = run_spec().split
    changed = split.model_copy(update={field: different(getattr(split, field))})
    assert run_spec(split=changed).hash != run_spec().hash


@pytest.mark.parametrize("hyperparameters", [{}, {"k": 3, "r": 16}, {"k": 2, "r": 8}, {"k": 2, "r": 16, "s": 0}])
def test_the_hash_changes_with_every_hyperparameter(hyperparameters: dict[str, int]) -> None:
    assert run_spec(hyperparameters=hyperparameters).hash != run_spec().hash


def test_of_a_weight_file_the_content_counts_and_not_the_place() -> None:
    elsewhere = resolved_protocol(encoder_weights="/mnt/weights.pth")
    assert run_spec(protocol=elsewhere).hash == run_spec().hash
    assert run_spec(weights_fingerprint="other").hash != run_spec().hash
    unread = run_spec(weights_fingerprint=None)
    assert run_spec(weights_fingerprint=None, protocol=elsewhere).hash != unread.hash


def test_a_seed_sweep_has_as_many_identities_as_seeds() -> None:
    assert len({run_spec(seed=seed).hash for seed in range(200)}) == 200


def test_the_label_names_the_run_for_people() -> None:
    for word in ("ucmt", "isic", "90/1815", "mini", "seed 0"):
        assert word in run_spec().label


def test_a_beta_of_one_is_refused_before_a_run() -> None:
    protocol = load_protocol("mini", {"betas": [1.0, 0.999]})
    with pytest.raises(UserError, match=r"betas: expected numbers below 1, found \[1.0, 0.999\]"):
        protocol.resolved(load_benchmark("kvasir"), 800, "cpu")
