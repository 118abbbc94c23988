"""An ensemble against the mean softmax, and that it holds nothing of its own."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ssl_bench.ops import Ensemble


class Method(nn.Module):
    """Two networks and their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5))
        self.second = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Dropout(0.5))
        self.mean = Ensemble(self.first, self.second)


def predicted(logits: Tensor) -> Tensor:
    return logits.double().softmax(1)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_its_softmax_is_the_mean_of_the_networks(scale: float) -> None:
    torch.manual_seed(0)
    method, images = Method().eval(), scale * torch.randn(2, 1, 4, 5)
    found = method.mean(images)
    expected = (predicted(method.first(images)) + predicted(method.second(images))) / 2
    assert found.isfinite().all()
    torch.testing.assert_close(predicted(found), expected, rtol=1e-5, atol=1e-6)


def test_it_holds_no_weights_of_its_own_and_knows_those_of_the_networks() -> None:
    method = Method()
    assert {key.split(".")[0] for key in method.state_dict()} == {"first", "second"}
    assert list(map(id, method.mean.parameters())) == list(map(id, method.parameters()))


def test_its_mode_is_that_of_the_networks() -> None:
    method = Method()
    method.mean.eval()
    assert not any(module.training for module in method.first.modules())
    method.mean.train()
    assert all(module.training for module in method.second.modules())


def test_a_copy_predicts_with_the_copied_networks() -> None:
    method, images = Method().eval(), torch.randn(1, 1, 3, 3)
    copied = copy.deepcopy(method)
    before = method.mean(images)
    with torch.no_grad():
        for parameter in copied.first.parameters():
            parameter.add_(1.0)
    assert torch.equal(method.mean(images), before)
    assert not torch.equal(copied.mean(images), before)
