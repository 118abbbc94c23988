"""(e) The teacher's average and the optimiser's step against plain loops over tensors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from timing import Ratio, Settings, compare
from torch import nn

from ssl_bench.cards import load_protocol
from ssl_bench.networks import build_network
from ssl_bench.ops import ExponentialMovingAverage


def ratios(settings: Settings) -> Iterator[Ratio]:
    """On the protocol's 2D network, which has hundreds of small tensors."""
    protocol = load_protocol(settings.protocol)
    torch.manual_seed(0)
    network, student = (build_network(protocol).to(settings.device) for _ in range(2))
    teacher = ExponentialMovingAverage(
        network, decay=0.99, warmup=False, source=(1.0,), average_buffers=False, always_eval=False
    ).to(settings.device)

    def loop() -> None:
        with torch.no_grad():
            for own, theirs in zip(network.parameters(), student.parameters(), strict=True):
                own.mul_(0.99).add_(theirs, alpha=0.01)

    yield compare(
        "steps", "a teacher's average", ("foreach", lambda: teacher.follow(student, iteration=5)),
        ("tensor by tensor", loop), settings,
    )  # fmt: skip
    for parameter in student.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    for kind in ("foreach", "for-loop"):
        yield compare(
            "steps",
            "AdamW",
            ("fused", optimizer(student, "fused").step),
            (kind, optimizer(student, kind).step),
            settings,
        )


def optimizer(network: nn.Module, kind: str) -> torch.optim.AdamW:
    """AdamW in one of torch's three forms."""
    forms = {"fused": {"fused": True}, "foreach": {"foreach": True}, "for-loop": {"foreach": False}}
    return torch.optim.AdamW(network.parameters(), lr=1e-4, **forms[kind])
