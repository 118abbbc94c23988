"""Who owns a settings key, and which fields of a protocol decide a training."""

import pytest

from ssl_bench.cards import divide, load_protocol, training_fields


def test_each_key_goes_to_its_owner_in_the_order_given() -> None:
    settings = {"r": 4, "learning_rate": 0.1, "nothing": 1, "k": 2, "views.teacher": "weak", "neither": 2}
    divided = divide(settings, ["k", "r"])
    assert list(divided.protocol.items()) == [("learning_rate", 0.1), ("views.teacher", "weak")]
    assert list(divided.method.items()) == [("r", 4), ("k", 2)]
    assert divided.unknown == ("nothing", "neither")


def test_a_key_that_protocol_and_method_have_goes_to_both() -> None:
    divided = divide({"ema_decay": 0.9}, {"ema_decay"})
    assert (divided.protocol, divided.method, divided.unknown) == ({"ema_decay": 0.9}, {"ema_decay": 0.9}, ())


def test_a_protocols_name_is_no_setting() -> None:
    assert divide({"name": "mine", "views": 1}, ()).unknown == ("name", "views")


def test_words_measurement_and_looks_at_training_decide_no_training() -> None:
    plain = load_protocol("mini")
    alike = {"split": "x", "metrics": ["dsc"], "score_size": 32, "log_every": 3, "score_every": 7}
    assert training_fields(load_protocol("mini", alike)) == training_fields(plain)
    for key, value in {"ema_decay": 0.5, "image_size": 32, "select": "train-loss", "validation": "labeled"}.items():
        assert training_fields(load_protocol("mini", {key: value})) != training_fields(plain)


def test_how_many_validation_images_there_would_be_decides_only_with_validation() -> None:
    few, many = {"validation_share": 0.1}, {"validation_share": 0.3}
    assert training_fields(load_protocol("mini", few)) == training_fields(load_protocol("mini", many))
    with_few, with_many = {**few, "validation": "train"}, {**many, "validation": "train"}
    assert training_fields(load_protocol("mini", with_few)) != training_fields(load_protocol("mini", with_many))


def test_where_a_weight_file_lies_decides_no_training() -> None:
    here, there = ({"encoder_weights": f"{folder}/weights.pth"} for folder in ("here", "there"))
    assert training_fields(load_protocol("mini", here)) == training_fields(load_protocol("mini", there))
    assert training_fields(load_protocol("mini", here)) != training_fields(load_protocol("mini"))


def test_ramp_ups_from_one_are_those_of_runs_that_name_no_start() -> None:
    for name in ("mini", "demo", "tiny", "paper"):
        protocol = load_protocol(name)
        assert (protocol.ramp_start, protocol.ramp_time(1)) == (1, 1)
        assert "ramp_start" not in training_fields(protocol)
    released = load_protocol("released-code")
    assert (released.ramp_time(1), released.ramp_time(2500)) == (0, 2499)
    later = load_protocol("released-code", {"ramp_start": 1})
    assert training_fields(released) == {**training_fields(later), "ramp_start": 0}
    older = released.model_dump(exclude={"ramp_start"})
    assert type(released).model_validate(older) == later


def test_uncertain_regions_are_those_of_runs_that_name_none() -> None:
    protocol = load_protocol("small")
    assert "umix_regions" not in training_fields(protocol)
    random = load_protocol("small", {"umix_regions": "random"})
    assert training_fields(random) == {**training_fields(protocol), "umix_regions": "random"}


def test_dice_alone_is_the_supervised_loss_of_runs_that_name_none() -> None:
    for name in ("small", "mini", "paper", "released-code"):
        protocol = load_protocol(name)
        assert protocol.supervised_loss == "dice"
        assert "supervised_loss" not in training_fields(protocol)
        both = load_protocol(name, {"supervised_loss": "dice+cross-entropy"})
        assert training_fields(both) == {**training_fields(protocol), "supervised_loss": "dice+cross-entropy"}


@pytest.mark.parametrize(
    ("change", "strengths"),
    [("jitter", {"brightness": 0.1, "contrast": 0.2}), ("noise", {"noise_sigma": [0.1, 0.2]})],
)
def test_a_change_of_volumes_that_never_happens_is_that_of_runs_that_do_not_name_it(
    change: str, strengths: dict[str, object]
) -> None:
    plain = load_protocol("mini", dimensions=3)
    kept = {"rotate_flip", "blur", "blur_sigma", "strong2_from"}
    assert set(training_fields(plain)["augmentation"]) == kept
    for strength, value in strengths.items():
        weak = {f"augmentation.{strength}": value}
        assert training_fields(load_protocol("mini", weak, dimensions=3)) == training_fields(plain)
        made = {f"augmentation.{change}": 0.5}
        fields = training_fields(load_protocol("mini", made, dimensions=3))
        assert set(fields["augmentation"]) == kept | {change, *strengths}
        assert training_fields(load_protocol("mini", made | weak, dimensions=3)) != fields
    older = plain.model_dump()
    for name in set(older["augmentation"]) - kept:
        del older["augmentation"][name]
    assert type(plain).model_validate(older) == plain
