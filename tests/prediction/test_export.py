"""Networks in files for other programs: what they compute by other libraries, what they say of themselves, refusals."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Call, assert_error, write_dataset
from safetensors import safe_open
from safetensors.torch import load_file
from test_prediction import CARD, NIFTI, THREE, VALUES, draw_volume, write_nifti
from torch import nn

import ssl_bench
from ssl_bench.method import load_methods
from ssl_bench.networks import build_network
from ssl_bench.ops import Ensemble
from ssl_bench.prediction import LoadedModel
from ssl_bench.prediction.export import export
from ssl_bench.prediction.predictor import Predictor, load_predictor
from ssl_bench.store import Run

NAMES = ("deeplab", "unet", "vnet")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Short runs: mean teacher on deeplabv3plus, a small U-Net, and a V-Net on volumes of three classes."""
    home = tmp_path_factory.mktemp("home")
    write_dataset(home / "discs", "kvasir", [f"c{number}" for number in range(6)])
    for index in range(6):
        image, labels = draw_volume(index)
        write_nifti(home / f"boxes/case{index}.nii.gz", image)
        write_nifti(home / f"boxes/masks/case{index}.nii.gz", VALUES.astype(np.int16)[labels])
    card = home / "boxes.toml"
    card.write_text(CARD.format(name="boxes", dimensions=3, classes=THREE, layout=NIFTI))
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_BENCH_CACHE", str(home / "cache"))
        for name, method, data, folder, settings in (
            ("deeplab", "mt", "kvasir", "discs", {}),
            ("unet", "supervised", "kvasir", "discs", {"network": "unet-small"}),
            ("vnet", "supervised", card, "boxes", {"filters": 4}),
        ):
            (found[name],) = ssl_bench.run(
                method, data, labeled=2, protocol="tiny", device="cpu", settings={"iterations": 4, **settings},
                allow_partial=True, data_root=home / folder, results_root=home / "results",
            ).runs  # fmt: skip
    return found


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def noise(model: LoadedModel, batch: int, sides: tuple[int, ...] | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, model.spec.channel_count, *(sides or model.sides), generator=generator)


def assert_described(described: dict[str, Any], model: LoadedModel) -> None:
    spec = model.spec
    assert described["classes"] == list(spec.classes)
    assert (described["run"], described["method"], described["seed"]) == (spec.hash, spec.method, 1)
    assert (described["network"], described["sides"]) == (model.name, list(model.sides))
    assert described["ssl_bench"] == ssl_bench.__version__
    if spec.dimensions == 2:
        assert described["input"] == {"resize": [32, 32], "scale": 255, "mean": [0.5] * 3, "std": [0.5] * 3}
    else:
        assert described["input"] == {"intensity": "zscore", "axes": "RAS", "patch": [16] * 3, "stride": [16, 16, 8]}


# ---------------------------------------------------------------------------------------------------------------- onnx


@pytest.mark.parametrize(
    ("name", "other"),
    [
        pytest.param("deeplab", (64, 96), marks=pytest.mark.slow),
        pytest.param("unet", (48, 64), marks=pytest.mark.slow),
        ("vnet", (16, 48, 32)),
    ],
)
def test_an_onnx_file_gives_the_networks_logits(name: str, other: tuple[int, ...], runs: dict[str, Run]) -> None:
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    found, model = ssl_bench.export_model(runs[name], format="onnx"), ssl_bench.load_model(runs[name], device="cpu")
    assert found.path == Path(f"{runs[name].spec.method}-{model.name}-{runs[name].spec.run_id}.onnx")
    assert found.difference is not None
    assert found.difference < 1e-4
    session = runtime.InferenceSession(str(found.path), providers=["CPUExecutionProvider"])
    (given,), (returned,) = session.get_inputs(), session.get_outputs()
    assert (given.name, returned.name) == ("image", "logits")
    sides = ["height", "width"] if len(other) == 2 else ["x", "y", "z"]
    assert given.shape == ["batch", model.spec.channel_count, *sides]
    assert not [side for side in returned.shape[2:] if isinstance(side, int)]
    assert found.shape == f"(batch, {model.spec.channel_count}, {', '.join(sides)})"
    for images in [noise(model, 1), noise(model, 5), noise(model, 2, other)]:
        with torch.no_grad():
            expected = model(images)
        (logits,) = session.run(None, {"image": images.numpy()})
        np.testing.assert_allclose(logits, expected, atol=1e-4)
    (text,) = [one.value for one in onnx.load(found.path).metadata_props if one.key == "ssl-bench"]
    assert_described(json.loads(text), model)


class OneSize(nn.Module):
    """A network for images of 32 x 32 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.head = nn.Parameter(torch.randn(3, 32, 32)), nn.Conv2d(3, 2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(images + self.places)
        return logits


class AnySize(nn.Conv2d):
    """A network for images of any size that torch records for one size."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images)
        return logits * (int(images.shape[2]) / int(images.shape[2])) * (int(images.shape[3]) / int(images.shape[3]))


@pytest.mark.parametrize("network", [OneSize(), AnySize(3, 2, 1)], ids=["one size", "any size"])
def test_a_network_that_is_recorded_for_one_size_is_written_with_the_models(
    network: nn.Module, runs: dict[str, Run]
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = ssl_bench.load_model(runs["unet"], device="cpu")
    model.network = network
    found = export(model, "onnx", Path("one.onnx"))
    assert found.shape == "(batch, 3, 32, 32)"
    (given,) = runtime.InferenceSession(str(found.path), providers=["CPUExecutionProvider"]).get_inputs()
    assert given.shape == ["batch", 3, 32, 32]


def test_missing_packages_are_named(runs: dict[str, Run], call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else find(name))
    answer = call("export-model", runs["unet"].path, "--format", "onnx")
    assert_error(answer, "--format onnx: needs onnx and onnxscript: pip install 'ssl-bench[onnx]'")
    assert list(Path().iterdir()) == []


# --------------------------------------------------------------------------------------------------- the other formats


@pytest.mark.parametrize("name", NAMES)
def test_a_torchscript_file_gives_the_networks_logits(name: str, runs: dict[str, Run], call: Call) -> None:
    code, out, err = call("export-model", runs[name].path, "--format", "torchscript", "--output", "new/model.pt")
    assert (code, err) == (0, "")
    assert "wrote new/model.pt" in out
    assert "largest difference from the network's logits: 0.0e+00" in out
    model, extra = ssl_bench.load_model(runs[name], device="cpu"), {"ssl-bench": ""}
    loaded = torch.jit.load("new/model.pt", _extra_files=extra)
    longer = tuple(side + 16 for side in model.sides)
    for images in (noise(model, 1), noise(model, 3), noise(model, 2, longer)):
        with torch.no_grad():
            np.testing.assert_allclose(loaded(images), model(images), atol=1e-5)
    assert_described(json.loads(extra["ssl-bench"]), model)


@pytest.mark.parametrize("name", NAMES)
def test_a_safetensors_file_has_the_weights_of_a_network_of_this_architecture(name: str, runs: dict[str, Run]) -> None:
    found, model = ssl_bench.export_model(runs[name], format="safetensors"), ssl_bench.load_model(runs[name])
    spec = model.spec
    network = build_network(spec.protocol, channels=spec.channel_count, classes=len(spec.classes), pretrained=False)
    network.load_state_dict(load_file(found.path))
    images = noise(model, 2)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images), model(images).cpu(), rtol=0, atol=1e-5)
    with safe_open(found.path, framework="pt") as file:
        assert_described(json.loads(file.metadata()["ssl-bench"]), model)


def test_another_network_of_the_run_is_written_by_its_name(runs: dict[str, Run]) -> None:
    found = ssl_bench.export_model(runs["deeplab"], format="safetensors", network="student")
    own = load_file(runs["deeplab"].path / "weights.safetensors")
    for key, value in load_file(found.path).items():
        assert torch.equal(value, own[f"student.{key}"]), key


def test_the_members_of_an_ensemble_are_written_and_moved_with_it(runs: dict[str, Run], tmp_path: Path) -> None:
    folder, methods, cpu = runs["deeplab"].path, load_methods(), torch.device("cpu")
    single = [load_predictor(folder, methods, cpu, name) for name in ("student", "teacher")]
    first = single[0]
    both = Ensemble(*(one.network for one in single))
    model = LoadedModel(Predictor(folder, first.spec, "mean", both, cpu, first.reading))
    images = noise(model, 1)
    with torch.no_grad():
        mean = sum(LoadedModel(one)(images).softmax(1) for one in single) / 2
        torch.testing.assert_close(model(images).softmax(1), mean)
        export(model, "torchscript", tmp_path / "mean.pt")
        torch.testing.assert_close(torch.jit.load(tmp_path / "mean.pt")(images).softmax(1), mean)
    keys = set(model.network.state_dict())
    assert {key.split(".")[1] for key in keys} == {"0", "1"}
    assert all(value.dtype == torch.float64 for value in model.double().network.parameters())


def test_a_file_that_computes_something_else_is_not_written(
    runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    load = torch.jit.load

    def altered(file: io.BytesIO) -> Callable[[torch.Tensor], torch.Tensor]:
        loaded = load(file)
        return lambda images: loaded(images) + 0.01

    monkeypatch.setattr(torch.jit, "load", altered)
    with pytest.raises(ssl_bench.UserError, match=r"--format torchscript: the file's logits differ .* by 1\.0e-02"):
        ssl_bench.export_model(runs["unet"], format="torchscript")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "tflite"], "--format: expected one of onnx, torchscript, safetensors; found 'tflite'"),
        (["--format", "torchscript", "--output", "a.onnx"], "--output: expected a .pt file for torchscript, found"),
        (["--format", "torchscript", "--output", "there.pt"], "--output: there.pt exists; --overwrite replaces it"),
        (["--format", "torchscript", "--output", "folder.pt"], "--output: expected a file, found the folder"),
        (["--format", "torchscript", "--output", "there.pt/a.pt"], "--output: there.pt cannot be written"),
        (["--format", "safetensors", "--network", "teacher"], "--network: expected one of network; found 'teacher'"),
    ],
)
def test_wrong_words_are_refused(words: list[str], message: str, runs: dict[str, Run], call: Call) -> None:
    Path("there.pt").write_text("precious")
    Path("folder.pt").mkdir()
    assert_error(call("export-model", runs["unet"].path, *words), message)
    assert Path("there.pt").read_text() == "precious"
    assert sorted(path.name for path in Path().iterdir()) == ["folder.pt", "there.pt"]


def test_an_existing_file_is_replaced_when_told(runs: dict[str, Run], call: Call) -> None:
    Path("there.safetensors").write_text("old")
    words = ["--format", "safetensors", "--output", "there.safetensors"]
    assert call("export-model", runs["unet"].path, *words, "--overwrite")[0] == 0
    assert len(load_file("there.safetensors")) > 10


def test_a_tensor_with_two_names_is_written_under_both(runs: dict[str, Run]) -> None:
    model = ssl_bench.load_model(runs["unet"], device="cpu")
    network: Any = torch.nn.Sequential(model.network)
    network.again = model.network
    network.forward = lambda images: network.again(images)
    model.network = network
    export(model, "safetensors", Path("tied.safetensors"))
    found = load_file("tied.safetensors")
    assert all(torch.equal(found[f"0.{key}"], found[f"again.{key}"]) for key in network[0].state_dict())


def test_an_unknown_run_is_refused(call: Call) -> None:
    assert_error(call("export-model", "0123", "--format", "safetensors"), "RUN: expected a run's folder", "'0123'")


def smallest() -> Any:
    """An ONNX model of one operation, in the place of what torch writes in half a minute."""
    onnx = pytest.importorskip("onnx")
    shape = ["s1", 3, "s2", "32"]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("image", "logits")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["image"], ["logits"])], "one", ends[:1], ends[1:])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def test_a_file_that_was_not_compared_is_said_to_be(
    runs: dict[str, Run], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    monkeypatch.setattr(torch.export, "export", lambda *_, **more: None)
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **more: types.SimpleNamespace(model_proto=smallest()))
    with caplog.at_level(logging.INFO, "ssl_bench"):
        found = ssl_bench.export_model(runs["unet"], format="onnx")
    assert found.difference is None
    assert found.shape == "(batch, 3, height, 32)"
    assert any("not compared with the network, since onnxruntime is not installed" in one for one in caplog.messages)
