"""Cross teaching: the two architectures, its losses by hand, what planning refuses, and a run that is resumed."""

from typing import Any

import pytest
import torch
from laboratory import laboratory, protocol_of

from ssl_bench.cards import Protocol, Request, load_benchmark, load_protocol
from ssl_bench.errors import UserError
from ssl_bench.method import Setup, find_method, load_methods, parse_hyperparameters
from ssl_bench.networks import build_network
from ssl_bench.training.plan import plan_runs

load_methods()
CTCT: Any = find_method("ctct")
UNLIKE = {"image_size": 32, "augment_size": 32, "network": "unet-small"}


def build(protocol: Protocol, **hyper: Any) -> Any:
    def network(**changes: Any) -> torch.nn.Module:
        changes.pop("upsampling", None)
        return build_network(protocol.changed(changes), classes=2)

    return CTCT(Setup(protocol, network, 2, 3), parse_hyperparameters(CTCT, hyper))


def test_student_1_is_the_protocols_network_and_student_2_a_u_net_on_a_transformer() -> None:
    method = build(load_protocol("tiny", UNLIKE))
    assert type(method.student1).__name__ == type(build_network(load_protocol("tiny", UNLIKE))).__name__
    assert type(method.student2).__name__ == "Unet"
    assert type(method.student2.encoder).__name__ == "MixVisionTransformerEncoder"
    assert list(method.student2.encoder.out_channels) == [3, 0, 32, 64, 160, 256]
    assert sum(parameter.numel() for parameter in method.student2.encoder.parameters()) == 3_319_392  # MiT-B0's
    for student in (method.student1, method.student2):
        assert student(torch.zeros(1, 3, 32, 32)).shape == (1, 2, 32, 32)


@pytest.mark.parametrize("start", ["same", "different"])
def test_students_of_two_architectures_start_from_weights_of_their_own(start: str) -> None:
    method = build(load_protocol("tiny", {**UNLIKE, "student_init": start}))
    assert len(list(method.student1.parameters())) != len(list(method.student2.parameters()))


def test_architectures_are_the_fields_of_the_second_network() -> None:
    defaults = parse_hyperparameters(CTCT, {})
    assert CTCT.architectures(defaults) == [{"network": "unet", "encoder": "mit_b0", "encoder_weights": "none"}]
    other = {"second_network": "smp:FPN", "second_encoder": "same", "second_weights": "same"}
    assert CTCT.architectures(parse_hyperparameters(CTCT, other)) == [{"network": "smp:FPN"}]
    assert CTCT.architectures(parse_hyperparameters(CTCT, {**other, "second_network": "same"})) == []


def test_each_student_learns_the_hard_labels_of_the_other_by_dice() -> None:
    settings = {"supervised_reduction": "sum", "unsupervised_reduction": "sum", "dice_smooth": 1e-5}
    lab = laboratory("ctct", protocol_of("paper", **settings))
    (update,) = lab.updates()
    logits = [call.logits for call in lab.calls if len(call.logits) == 2]
    labels = [z.argmax(1) for z in logits]
    expected = 0.0
    for z, other in ((logits[0], labels[1]), (logits[1], labels[0])):
        p = z.detach().double().softmax(1)
        dice = [
            (2 * p[b, c][other[b] == c].sum() + 1e-5) / (p[b, c].sum() + (other[b] == c).sum() + 1e-5)
            for b in range(2) for c in range(2)
        ]  # fmt: skip
        expected += 1 - sum(one.item() for one in dice) / 4
    assert update.terms["cps"][1].item() == pytest.approx(expected, abs=1e-6)


def plan(**settings: Any) -> Any:
    request = Request(load_benchmark("demo"), ("ctct",), "10%", "tiny", settings, (1,))
    return plan_runs(request, torch.device("cpu"), None, allow_partial=False, advance=None)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"network": "unet-small", "image_size": 48, "augment_size": 48},
            r"--methods: ctct's second network: image_size 48 must be divisible by 32 for unet$",
        ),
        ({"second_network": "nothing"}, r"ctct's second network: network: expected one of .*; found 'nothing'"),
        ({"second_encoder": "nothing"}, r"encoder = 'nothing'"),
        ({"second_weights": "nothing.pth"}, r"encoder_weights: no file at nothing.pth"),
    ],
)
def test_a_second_network_that_does_not_fit_is_refused_at_planning(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        plan(**settings)
    assert "\n" not in str(refused.value)
