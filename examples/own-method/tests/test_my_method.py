"""The method keeps the contract, its loss is the one that was meant, and it trains."""

import pytest
import torch
from my_method import Mirror

import ssl_bench
from ssl_bench.testing import check_method


def test_it_keeps_the_contract():
    check_method(Mirror)


def test_the_distance_is_zero_for_a_network_that_treats_both_sides_alike():
    images = torch.randn(2, 3, 8, 8)
    assert Mirror.distance(lambda seen: 2 * seen, images) == 0


def test_the_distance_by_hand():
    """One row of two pixels, 0 and ln 3. The network's logits are (0, pixel) on the right and (0, 0) on the left."""
    images = torch.tensor([[[[1.0, 3.0]]]]).log()

    def network(seen):
        return torch.cat([torch.zeros_like(seen), seen * torch.tensor([0.0, 1.0])], 1)

    straight = torch.tensor([1 / 2, 3 / 4])
    mirrored = torch.tensor([1 / 2, 1 / 2])  # the network sees (ln 3, 0) and keeps its right pixel, 0
    assert Mirror.distance(network, images) == pytest.approx(float((straight - mirrored).square().mean()))


def test_a_negative_weight_is_refused(tmp_path):
    with pytest.raises(ssl_bench.UserError, match="weight"):
        ssl_bench.run("mirror", dataset="demo", protocol="tiny", settings={"weight": -1.0}, results_root=tmp_path)


def test_it_trains_and_its_terms_are_in_the_curves(tmp_path):
    settings = {"iterations": 10, "log_every": 1, "rampup_epochs": "none"}
    result = ssl_bench.run("mirror", dataset="demo", protocol="tiny", settings=settings, results_root=tmp_path)
    assert not result.outcome.failures
    curves = ssl_bench.load_store(tmp_path).curves()
    assert (curves["mirror1"] > 0).all()
    assert curves["supervised1"].iloc[-1] < curves["supervised1"].iloc[0]
