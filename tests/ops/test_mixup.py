"""Mixup against a loop, and its draws against scipy's Beta distribution."""

import pytest
import scipy.stats
import torch

from ssl_bench.ops import LinearMix, beta_draws, mixup


@pytest.mark.parametrize("shape", [(1, 2, 3, 3), (2, 3, 4, 5), (5, 1, 3, 2, 4), (3, 6)])
def test_each_sample_is_a_mean_of_itself_and_the_next(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight = torch.rand(shape[0], generator=generator, dtype=torch.float64)
    found = LinearMix(weight)(tensor)
    for i in range(shape[0]):
        partner, w = tensor[(i + 1) % shape[0]], weight[i].item()
        torch.testing.assert_close(found[i], (1 - w) * tensor[i] + w * partner)


def test_weights_of_zero_and_one_keep_and_exchange() -> None:
    tensor = torch.randn(3, 2, 4, 4)
    assert torch.equal(LinearMix(torch.zeros(3))(tensor), tensor)
    assert torch.equal(LinearMix(torch.ones(3))(tensor), tensor[[1, 2, 0]])


def test_a_weight_of_one_half_is_the_same_for_both_orders() -> None:
    tensor = torch.randn(2, 2, 4, 4)
    mixed = LinearMix(torch.full((2,), 0.5))(tensor)
    assert torch.equal(mixed[0], mixed[1])


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.2), (8.0, 2.0), (4.0, 4.0), (1.0, 1.0)])
def test_draws_are_of_a_beta_distribution(a: float, b: float) -> None:
    torch.manual_seed(0)
    draws = beta_draws(4000, a, b)
    assert draws.shape == (4000,)
    assert ((draws >= 0) & (draws <= 1)).all()
    # a is the first parameter: Beta(8, 2) has the mean 0.8
    assert scipy.stats.kstest(draws.double().numpy(), scipy.stats.beta(a, b).cdf).pvalue > 0.01


def test_each_sample_has_a_weight_of_its_own_from_torchs_generator() -> None:
    images = torch.zeros(6, 3, 4, 4)
    torch.manual_seed(4)
    first, second = mixup(images, 0.2).weight, mixup(images, 0.2).weight
    assert first.unique().numel() == 6
    assert not torch.equal(first, second)
    torch.manual_seed(4)
    assert torch.equal(mixup(images, 0.2).weight, first)
