"""Batch norm over kept rows, against torch's batch norm of these rows alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ssl_bench.ops import MaskedBatchNorm


def drawn(rows: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator) * 3 + 1, torch.rand(rows, generator=generator) < 0.6


def pair(width: int) -> tuple[MaskedBatchNorm, nn.BatchNorm1d]:
    """Both with the same weights."""
    own, theirs = MaskedBatchNorm(width), nn.BatchNorm1d(width)
    with torch.no_grad():
        own.weight.uniform_()
        own.bias.uniform_()
    theirs.load_state_dict(own.state_dict() | {"num_batches_tracked": torch.tensor(0)})
    return own, theirs


def test_kept_rows_are_normalised_as_if_the_others_were_not_there() -> None:
    own, theirs = pair(5)
    for seed in range(3):
        rows, kept = drawn(20, 5, seed)
        rows.requires_grad_()
        found, expected = own(rows, kept)[kept], theirs(rows[kept])
        torch.testing.assert_close(found, expected)
        gradient = torch.randn(found.shape, generator=torch.Generator().manual_seed(9))
        ours = torch.autograd.grad(found, [rows, own.weight, own.bias], gradient)
        others = torch.autograd.grad(expected, [rows, theirs.weight, theirs.bias], gradient)
        for a, b in zip(ours, others, strict=True):
            torch.testing.assert_close(a, b)
        assert ours[0][~kept].count_nonzero() == 0
    torch.testing.assert_close(own.running_mean, theirs.running_mean)
    torch.testing.assert_close(own.running_var, theirs.running_var)
    rows, kept = drawn(20, 5, 7)
    torch.testing.assert_close(own.eval()(rows, kept), theirs.eval()(rows))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_rows_leave_the_running_statistics(count: int) -> None:
    norm = MaskedBatchNorm(4)
    rows, kept = drawn(6, 4)[0].requires_grad_(), torch.arange(6) < count
    found = norm(rows, kept)
    assert found.isfinite().all()
    found[kept].sum().backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()
    assert torch.equal(norm.running_mean, torch.zeros(4))
    assert torch.equal(norm.running_var, torch.ones(4))


def test_statistics_of_half_precision_are_float32() -> None:
    rows, kept = drawn(20, 5)
    assert MaskedBatchNorm(5)(rows.bfloat16(), kept).dtype == torch.float32
