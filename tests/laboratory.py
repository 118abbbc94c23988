"""The methods of the registry in the laboratory of `ssl_bench.testing`, at settings that are cheap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn

from ssl_bench.cards import Protocol
from ssl_bench.method import Hyperparameters, SSLMethod, contract, load_methods
from ssl_bench.testing.laboratory import LABELED as LABELED
from ssl_bench.testing.laboratory import PROGRESS as PROGRESS
from ssl_bench.testing.laboratory import SIDES as SIDES
from ssl_bench.testing.laboratory import UNLABELED as UNLABELED
from ssl_bench.testing.laboratory import VIEWS as VIEWS
from ssl_bench.testing.laboratory import Call as Call
from ssl_bench.testing.laboratory import Laboratory, set_up, small_protocol
from ssl_bench.testing.laboratory import TinyNetwork as TinyNetwork
from ssl_bench.testing.laboratory import images_of as images_of

METHODS = load_methods()
NAMES = sorted(METHODS)
R = 4  # UMIX's regions a side
# Every perturbation of CCT once, and narrow discriminators, so that no method is slow. A confidence that some pixels of
# a tiny network reach; BCP without its first phase, which does less; AD-MT's teachers in turns of one iteration.
CHEAP = {"r": R, "adversary_filters": 4, "confidence": 0.6, "pretrain_share": 0.0, "longest_period": 1} | dict.fromkeys(
    ["vat", "spatial_dropout", "cutout", "context_masking", "object_masking", "feature_dropout", "feature_noise"], 1
)


def protocol_of(name: str, dimensions: int = 2, **settings: Any) -> Protocol:
    """A protocol on small images."""
    return small_protocol(name, dimensions, settings)


def hyper_of(method: type[SSLMethod], **values: Any) -> Hyperparameters:
    """A method's hyperparameters; those that `values` leaves out are cheap ones."""
    cheap = {key: value for key, value in CHEAP.items() if key in method.hyperparameters.model_fields}
    return method.hyperparameters(**(cheap | values))


def laboratory(
    name: str,
    protocol: Protocol,
    classes: int = 2,
    *,
    seed: int = 0,
    build: Callable[[], nn.Module] | None = None,
    **hyper: Any,
) -> Laboratory:
    """A method under a protocol, on random images of the protocol's sides; `build` makes other networks than tiny."""
    hyperparameters = hyper_of(METHODS[name], **hyper).resolved(len(protocol.sides))
    return set_up(METHODS[name], hyperparameters, protocol, classes, seed=seed, build=build)


def replace_dice(monkeypatch: pytest.MonkeyPatch, cls: type[SSLMethod], loss: Callable[..., Tensor]) -> None:
    """Replace `dice_loss` by another loss: in the method's file, and in `segmentation_loss`, which says `ignores`."""
    names = cls.updates.__globals__
    if "dice_loss" in names:
        monkeypatch.setitem(names, "dice_loss", loss)

    def on_labels(logits: Tensor, labels: Tensor, smooth: float, *, ignores: bool, keep: Tensor | None) -> Tensor:
        return loss(logits, labels, smooth, ignores=ignores, **({} if keep is None else {"keep": keep}))

    monkeypatch.setattr(contract, "dice_loss", on_labels)
