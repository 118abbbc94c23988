"""Writes a run's network to one file for other programs: ONNX, TorchScript or safetensors."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from ssl_bench.atomic import write_bytes, writing
from ssl_bench.errors import UserError, first_line
from ssl_bench.networks import find_network
from ssl_bench.networks.depthwise import use_library_gradient
from ssl_bench.prediction.model import LoadedModel

if TYPE_CHECKING:
    import onnx

SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors"}
INPUT, OUTPUT = "image", "logits"
AXES = {2: ("batch", "channels", "height", "width"), 3: ("batch", "channels", "x", "y", "z")}
METADATA = "ssl-bench"  # the key of the description in a file
BATCHES = (1, 3)  # of the checks; the network is recorded on two images
TOLERANCE = 1e-4  # of logits, as a share of the largest one where that is above 1


@dataclass(frozen=True)
class Exported:
    """A network's file.

    Attributes:
        path: the file.
        format: onnx, torchscript or safetensors.
        shape: of the input, such as "(batch, 3, 256, 256)"; a word stands for an axis of any length.
        difference: the largest difference between the file's logits and the network's; None: the file was not run.

    """

    path: Path
    format: str
    shape: str
    difference: float | None


def require_format(name: str) -> None:
    """Check a format's name, and that the packages are there that write it.

    Raises:
        UserError: the format is unknown, or a package is missing.
    """
    if name not in SUFFIXES:
        raise UserError(f"--format: expected one of {', '.join(SUFFIXES)}; found '{name}'")
    missing = [one for one in ("onnx", "onnxscript") if name == "onnx" and importlib.util.find_spec(one) is None]
    if missing:
        raise UserError(f"--format onnx: needs {' and '.join(missing)}: pip install 'ssl-bench[onnx]'")


def target_of(output: Path | None, format_name: str, default: str, *, overwrite: bool) -> Path:
    """Return the file to write, by default `default` with the format's suffix in the current folder.

    Raises:
        UserError: the file has another suffix, or exists and is not to be replaced.
    """
    path = Path(f"{default}{SUFFIXES[format_name]}") if output is None else output
    if path.suffix != SUFFIXES[format_name]:
        raise UserError(f"--output: expected a {SUFFIXES[format_name]} file for {format_name}, found '{path}'")
    if path.is_dir():
        raise UserError(f"--output: expected a file, found the folder {path}")
    if path.exists() and not overwrite:
        raise UserError(f"--output: {path} exists; --overwrite replaces it")
    return path


def export(model: LoadedModel, format_name: str, path: Path) -> Exported:
    """Write a network with the model's metadata, after checking that the file gives the network's logits.

    The file holds the network alone: images (B, C, *sides) float32, prepared as the metadata says, to logits.

    Args:
        model: on the CPU.
        format_name: as `require_format` has checked it.
        path: the file.

    Raises:
        UserError: the network cannot be written in this format, the file's logits differ from the network's, or the
            file cannot be written. Nothing is written then.
    """
    model.eval()
    network = copy.deepcopy(model.network)  # a copy is not compiled
    use_library_gradient(network)
    texts = {METADATA: json.dumps(model.metadata)}
    write = {"onnx": _onnx, "torchscript": _torchscript, "safetensors": _safetensors}[format_name]
    with torch.no_grad(), _quiet():
        written = write(network, model, texts)
        cases = [_images(model, batch, axes) for batch in BATCHES for axes in dict.fromkeys([(), written.free])]
        differences = [] if written.call is None else [_difference(model.network, written.call, one) for one in cases]
    for found, allowed in differences:
        if not found <= allowed:
            raise UserError(
                f"--format {format_name}: the file's logits differ from the network's by {found:.1e}, more than "
                f"{allowed:.1e}; nothing was written"
            )
    with writing("--output", path.parent):
        write_bytes(path, written.content)
    largest = max((found for found, _ in differences), default=None)
    names = AXES[len(model.sides)]
    sides = [names[axis] if axis in written.free else str(side) for axis, side in enumerate(model.sides, start=2)]
    shape = f"({', '.join([names[0], str(model.spec.channel_count), *sides])})"
    return Exported(path, format_name, shape, largest)


Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Written:
    """A file's content, what it computes (None: it cannot be run here), and the axes that can have any length."""

    content: bytes
    call: Call | None
    free: tuple[int, ...]


def _images(model: LoadedModel, batch: int, longer: tuple[int, ...] = ()) -> Tensor:
    """Noise as network input, with longer sides along some axes."""
    spec = model.spec
    divisor = find_network(spec.protocol.network, len(model.sides)).divisor
    step = math.lcm(32, divisor(spec.protocol) if callable(divisor) else divisor)
    sides = [side + step * (axis in longer) for axis, side in enumerate(model.sides, start=2)]
    return torch.randn(batch, spec.channel_count, *sides, generator=torch.Generator().manual_seed(0))


def _difference(network: nn.Module, call: Call, images: Tensor) -> tuple[float, float]:
    """The largest difference between two networks' logits, and the largest that is allowed."""
    expected, found = network(images).float(), call(images)
    if found.shape != expected.shape:
        return math.inf, 0.0
    return float((found - expected).abs().max()), TOLERANCE * max(1.0, float(expected.abs().max()))


def _onnx(network: nn.Module, model: LoadedModel, texts: dict[str, str]) -> _Written:
    """By torch.export. Sides can have any length where it finds so; the others have the model's."""
    import onnx

    sides = tuple(range(2, 2 + len(model.sides)))
    try:
        proto = _recorded(network, _images(model, 2, sides))  # longer, since torch fixes a map's side of one voxel
        are_free = _free(proto) == sides
    except UserError:
        are_free = False
    if not are_free:
        proto = _recorded(network, _images(model, 2))
    free = _free(proto)
    _name_axes(proto, free)
    onnx.helper.set_model_props(proto, texts)
    onnx.checker.check_model(proto)
    content = proto.SerializeToString()
    return _Written(content, _by_onnxruntime(content), free)


def _recorded(network: nn.Module, images: Tensor) -> onnx.ModelProto:
    """Record a network on images.

    Raises:
        UserError: torch cannot.
    """
    dim = torch.export.Dim
    axes = {0: dim.DYNAMIC} | dict.fromkeys(range(2, images.ndim), dim.AUTO)
    try:
        program = torch.export.export(network, (images,), dynamic_shapes=(axes,), strict=False)
        written = torch.onnx.export(program, (images,), input_names=[INPUT], output_names=[OUTPUT], verbose=False)
    except Exception as error:  # torch raises various exceptions for a network that it cannot record
        raise UserError(f"--format onnx: torch cannot write this network: {first_line(error)}") from None
    assert written is not None, "the exporter of torch.export returns its program"
    return written.model_proto


def _free(proto: onnx.ModelProto) -> tuple[int, ...]:
    """The axes of the sides of an input that can have any length."""
    sides = proto.graph.input[0].type.tensor_type.shape.dim
    return tuple(axis for axis in range(2, len(sides)) if not (sides[axis].dim_param or "0").isdigit())


def _name_axes(proto: onnx.ModelProto, free: tuple[int, ...]) -> None:
    """Give the axes of the input their names, and the sides that cannot vary their lengths, everywhere in the graph."""
    own = proto.graph.input[0].type.tensor_type.shape.dim
    names = {own[axis].dim_param: AXES[len(own) - 2][axis] for axis in (0, *free)}
    pattern = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names))
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param.isdigit():
                dim.dim_value = int(dim.dim_param)
            elif dim.dim_param:
                dim.dim_param = pattern.sub(lambda match: names[match[0]], dim.dim_param)


def _by_onnxruntime(content: bytes) -> Call | None:
    """What a file computes by onnxruntime; None where it is not installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(np.asarray(session.run([OUTPUT], {INPUT: images.numpy()})[0]))


def _torchscript(network: nn.Module, model: LoadedModel, texts: dict[str, str]) -> _Written:
    """By tracing. Sides are fixed where the trace does not give the network's logits for longer ones."""
    content = io.BytesIO()
    try:
        traced = torch.jit.trace(network, _images(model, 2), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, content, _extra_files=texts)
    except Exception as error:  # torch raises various exceptions for a network that it cannot record
        raise UserError(f"--format torchscript: torch cannot write this network: {first_line(error)}") from None
    call: Call = torch.jit.load(io.BytesIO(content.getvalue()))  # type: ignore[no-untyped-call]
    sides = tuple(range(2, 2 + len(model.sides)))
    try:
        found, allowed = _difference(model.network, call, _images(model, 1, sides))
    except (RuntimeError, ValueError):  # of a network, or a trace of it, for one length of sides
        found, allowed = math.inf, 0.0
    return _Written(content.getvalue(), call, sides if found <= allowed else ())


def _safetensors(network: nn.Module, _: LoadedModel, texts: dict[str, str]) -> _Written:
    """The weights alone, which a network of the same architecture loads. Two names of one tensor have a copy each."""
    content = save({key: value.clone().contiguous() for key, value in network.state_dict().items()}, texts)
    copied = copy.deepcopy(network)
    copied.load_state_dict(load(content))
    return _Written(content, copied, ())


@contextmanager
def _quiet() -> Iterator[None]:
    """Within `with`, torch says nothing of its exporters' future or of what they record."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
