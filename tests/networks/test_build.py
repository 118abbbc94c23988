"""Networks: sizes, parameters, and encoder weights against timm, torchvision and a functional forward pass."""

import hashlib
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, pad, relu6

from ssl_bench.cards import Protocol, load_protocol
from ssl_bench.errors import UserError
from ssl_bench.networks import build_network, weights_file, weights_fingerprint
from ssl_bench.networks.weights import LITE0_ENCODER, LITE0_PACKAGE, load_encoder_weights

WAYS = ["imagenet", ".pth", ".safetensors", LITE0_PACKAGE, "none"]


def small(**settings: Any) -> Protocol:
    """A U-Net on timm's smallest encoder from scratch, or with other settings."""
    return load_protocol("tiny", {"network": "unet", "encoder": "tu-test_efficientnet", **settings})


def build(protocol: Protocol, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(protocol).eval()


# ------------------------------------------------------------------------------------------------- sizes, parameters


def test_the_papers_network_has_as_many_parameters_as_the_released_code_needs() -> None:
    network = build(load_protocol("paper", {"encoder_weights": "none"}))
    assert sum(parameter.numel() for parameter in network.parameters()) == 39_205_458


def test_aspp_and_output_stride_are_the_protocols() -> None:
    # smp's own choice, stride 16 and separable convolutions: 26.7 M (PROTOCOLS.md).
    settings = {"encoder_weights": "none", "aspp": "separable", "output_stride": 16}
    network = build(load_protocol("paper", settings))
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(26.7e6, abs=5e4)
    with torch.no_grad():
        assert network.encoder(torch.zeros(1, 3, 64, 64))[-1].shape[-2:] == (4, 4)
    plain = build(load_protocol("paper", {"encoder_weights": "none", "encoder": "resnet18"}))
    with torch.no_grad():
        assert plain.encoder(torch.zeros(1, 3, 64, 64))[-1].shape[-2:] == (8, 8)


def test_dropout_is_the_protocols() -> None:
    settings = {"encoder": "resnet18", "encoder_weights": "none"}
    rates = {
        rate: {m.p for m in build(load_protocol("paper", {**settings, "aspp_dropout": rate})).modules()
               if isinstance(m, nn.Dropout)}
        for rate in (0.5, 0.25)
    }  # fmt: skip
    assert rates == {0.5: {0.5}, 0.25: {0.25}}


@pytest.mark.parametrize("network", ["unet", "deeplabv3plus"])
@pytest.mark.parametrize("side", [64, 96])
def test_logits_have_the_size_of_the_image(network: str, side: int) -> None:
    built = build(small(network=network))
    with torch.no_grad():
        assert built(torch.zeros(2, 3, side, side)).shape == (2, 2, side, side)


@pytest.mark.parametrize("name", ["paper", "released-code", "mini", "demo", "tiny"])
def test_the_network_of_every_protocol_gives_two_classes_at_the_size_it_gets(name: str) -> None:
    card = load_protocol(name, {"encoder_weights": "none"})
    with torch.no_grad():
        logits = build(card)(torch.zeros(1, 3, 64, 64))
    assert logits.shape == (1, 2, 64, 64)


def test_the_same_seed_draws_the_same_network_and_another_seed_another() -> None:
    first, again, other = (build(small(), seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    for part in ("encoder.model.conv_stem.weight", "decoder.blocks.0.conv1.0.weight", "segmentation_head.0.weight"):
        assert not torch.equal(first[part], other[part])


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"encoder": "resnet99"}, "resnet99"),
        ({"encoder": "tu-resnet99"}, "resnet99"),
        ({"encoder": "densenet121", "network": "deeplabv3plus"}, "densenet121"),
    ],
)
def test_an_encoder_that_cannot_be_built_is_named(settings: dict[str, str], word: str) -> None:
    with pytest.raises(UserError, match=word) as caught:
        build(small(**settings))
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------ EfficientNet-Lite0

# name: (repeats, stride, kernel) of Tan et al.'s EfficientNet-B0, which Lite0 is without squeeze-and-excitation.
STAGES = [(1, 1, 3), (2, 2, 3), (2, 2, 5), (3, 2, 3), (3, 1, 5), (4, 2, 5), (1, 1, 3)]


@pytest.fixture(scope="module")
def package() -> dict[str, Tensor]:
    """The weights of the package, read by torch alone."""
    path = weights_file(load_protocol("mini"))
    assert path is not None
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Smooth coloured waves, in the range of normalised images."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 64), indexing="ij")
    waves = [torch.sin(5 * x + 3 * y), torch.cos(9 * x * y), torch.sin(7 * (x.square() + y.square()))]
    return torch.stack([torch.stack(waves), torch.stack(waves[::-1]).flip(-1)])


def by_name(package: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the package's tensors as timm names them, module by module."""
    places = [(stage, block) for stage, (repeats, _, _) in enumerate(STAGES) for block in range(repeats)]
    renamed = {}
    for key, tensor in package.items():
        parts = key.split(".")
        if parts[0] == "_conv_stem":
            new = ["conv_stem"]
        elif parts[0] == "_bn0":
            new = ["bn1"]
        elif parts[0] == "_blocks":
            stage, block = places[int(parts[1])]
            if stage == 0:
                inner = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
            else:
                inner = {
                    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
                    "_project_conv": "conv_pwl", "_bn2": "bn3",
                }  # fmt: skip
            new = ["blocks", str(stage), str(block), inner[parts[2]]]
        else:
            continue  # the classifier's
        renamed[".".join([*new, parts[-1]])] = tensor
    return renamed


def functional_features(package: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """EfficientNet-Lite0 without modules: features at strides 2, 4, 8, 16 and 32, by the package's own names."""

    def same(x: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
        padding: list[int] = []
        for side in (x.shape[-1], x.shape[-2]):
            total = max((-(-side // stride) - 1) * stride + weight.shape[-1] - side, 0)
            padding += [total // 2, total - total // 2]
        return conv2d(pad(x, padding), weight, stride=stride, groups=groups)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            package[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return batch_norm(x, mean, var, weight, bias, eps=1e-3)

    x = relu6(norm(same(images, package["_conv_stem.weight"], 2), "_bn0"))
    features, number = [], 0
    for repeats, stride, kernel in STAGES:
        if stride == 2:
            features.append(x)
        for block in range(repeats):
            name, before = f"_blocks.{number}", x
            if f"{name}._expand_conv.weight" in package:
                x = relu6(norm(conv2d(x, package[f"{name}._expand_conv.weight"]), f"{name}._bn0"))
            depthwise = package[f"{name}._depthwise_conv.weight"]
            assert depthwise.shape[-1] == kernel
            x = same(x, depthwise, stride if block == 0 else 1, groups=x.shape[1])
            x = relu6(norm(x, f"{name}._bn1"))
            x = norm(conv2d(x, package[f"{name}._project_conv.weight"]), f"{name}._bn2")
            if block > 0:
                x = x + before
            number += 1
    return [*features, x]


def test_the_packages_file_is_the_one_that_its_name_says(package: dict[str, Tensor]) -> None:
    path = weights_file(load_protocol("mini"))
    assert path is not None
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(path.stem.split("-")[-1])
    assert weights_fingerprint(load_protocol("mini")) == hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@torch.no_grad()
def test_the_encoder_gives_the_features_of_its_weights(package: dict[str, Tensor], images: Tensor) -> None:
    card = load_protocol("mini", {"network": "unet"})
    found = build(card).encoder(images)[1:]
    expected = functional_features(package, images)
    assert [tuple(f.shape[-2:]) for f in found] == [(48, 32), (24, 16), (12, 8), (6, 4), (3, 2)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize(("network", "stride"), [("unet", 32), ("deeplabv3plus", 16)])
def test_the_encoder_gives_the_features_of_timms(
    network: str, stride: int, package: dict[str, Tensor], images: Tensor
) -> None:
    theirs = timm.create_model("tf_efficientnet_lite0", features_only=True, output_stride=stride).eval()
    theirs.load_state_dict(by_name(package))
    ours = build(load_protocol("mini", {"network": network})).encoder(images)[1:]
    for found, expected in zip(ours, theirs(images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_students_share_the_pretrained_encoder_and_not_the_decoder() -> None:
    first, second = (build(load_protocol("mini"), seed).state_dict() for seed in (1, 2))
    encoder = [key for key in first if key.startswith("encoder.")]
    assert all(torch.equal(first[key], second[key]) for key in encoder)
    assert not torch.equal(first["segmentation_head.0.weight"], second["segmentation_head.0.weight"])


def test_the_package_fits_no_other_encoder() -> None:
    with pytest.raises(UserError, match=LITE0_ENCODER):
        build(small(encoder_weights=LITE0_PACKAGE))


def test_a_package_that_is_not_installed_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="not installed") as caught:
        weights_file(load_protocol("mini"))
    assert all(way in str(caught.value) for way in WAYS)


# ------------------------------------------------------------------------------------------------------- local files


def save_pth(state: dict[str, Any], path: Path) -> Path:
    torch.save(state, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def save_safetensors(state: dict[str, Any], path: Path) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


SAVERS = [save_pth, save_safetensors]


def encoder_state(seed: int = 7, **settings: Any) -> dict[str, Tensor]:
    """An encoder's tensors; running statistics are drawn too, so that a forgotten one shows."""
    torch.manual_seed(seed)
    state = build_network(small(**settings)).encoder.state_dict()
    return {key: torch.rand_like(value) if "running" in key else value for key, value in state.items()}


def assert_loaded(path: Path, expected: dict[str, Tensor], **settings: Any) -> None:
    found = build(small(encoder_weights=str(path), **settings), seed=8).encoder.state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    random = build(small(**settings), seed=8).encoder.state_dict()
    assert any(not torch.equal(random[key], value) for key, value in expected.items())


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("settings", [{}, {"encoder": "resnet18"}, {"network": "deeplabv3plus"}], ids=str)
def test_a_file_of_an_encoder_is_loaded(
    save: Callable[[dict[str, Any], Path], Path], settings: dict[str, str], tmp_path: Path
) -> None:
    state = encoder_state(**settings)
    assert_loaded(save(state, tmp_path / "encoder"), state, **settings)


@pytest.mark.parametrize("prefix", ["encoder.", "module.", "backbone."])
def test_a_wrappers_prefix_is_taken_off(prefix: str, tmp_path: Path) -> None:
    state = encoder_state()
    assert_loaded(save_pth({prefix + key: value for key, value in state.items()}, tmp_path / "wrapped"), state)


def test_a_state_dict_inside_a_training_checkpoint_is_found(tmp_path: Path) -> None:
    state = encoder_state()
    assert_loaded(save_pth({"epoch": 3, "state_dict": state}, tmp_path / "checkpoint"), state)


def test_torchvisions_file_is_loaded_without_its_classifier(tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18(weights=None).state_dict()
    expected = {key: value for key, value in theirs.items() if not key.startswith("fc.")}
    assert_loaded(save_pth(theirs, tmp_path / "resnet18-5c106cde"), expected, encoder="resnet18")


def test_a_file_of_a_whole_segmentation_network_gives_its_encoder(tmp_path: Path) -> None:
    state = build(small(), seed=7).state_dict()
    expected = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    assert_loaded(save_pth(state, tmp_path / "network"), expected)


def test_old_files_without_the_number_of_batches_are_loaded(tmp_path: Path) -> None:
    state = {key: value for key, value in encoder_state().items() if "num_batches_tracked" not in key}
    assert_loaded(save_pth(state, tmp_path / "old"), state)


STEM = "model.conv_stem.weight"
BROKEN: dict[str, Callable[[dict[str, Tensor], Path], Path]] = {
    "a list": lambda state, path: save_pth([torch.zeros(1)], path),
    "a tensor": lambda state, path: save_pth(torch.zeros(3), path),
    "no tensors": lambda state, path: save_pth({"epoch": 3}, path),
    "nothing": lambda state, path: save_pth({}, path),
    "one tensor missing": lambda state, path: save_pth({k: v for k, v in state.items() if k != STEM}, path),
    "one tensor too many": lambda state, path: save_pth({**state, "model.blocks.9.weight": torch.zeros(1)}, path),
    "another shape": lambda state, path: save_pth({**state, STEM: torch.zeros(9, 3, 5, 5)}, path),
    "another encoder": lambda state, path: save_safetensors(torchvision.models.squeezenet1_1().state_dict(), path),
    "garbage": lambda state, path: save_bytes(b"garbage" * 99, path, ".pth"),
    "garbage that looks like a pickle": lambda state, path: save_bytes(b"\x80garbage" * 99, path, ".pth"),
    "garbage safetensors": lambda state, path: save_bytes(b"garbage" * 99, path, ".safetensors"),
    "an empty file": lambda state, path: save_bytes(b"", path, ".pth"),
    "an empty safetensors file": lambda state, path: save_bytes(b"", path, ".safetensors"),
    "a truncated file": lambda state, path: save_bytes(save_pth(state, path).read_bytes()[:100_000], path, ".pth"),
}


def save_bytes(content: bytes, path: Path, suffix: str) -> Path:
    path.with_suffix(suffix).write_bytes(content)
    return path.with_suffix(suffix)


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_does_not_fit_is_an_error_and_never_a_random_start(what: str, tmp_path: Path) -> None:
    path = BROKEN[what](encoder_state(), tmp_path / "weights")
    with pytest.raises(UserError) as caught:
        build(small(encoder_weights=str(path)))
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert all(way in text for way in WAYS)


def test_a_tensor_that_is_missing_is_named(tmp_path: Path) -> None:
    state = encoder_state()
    del state[STEM]
    with pytest.raises(UserError, match=rf"1 tensor missing.*{STEM}"):
        build(small(encoder_weights=str(save_pth(state, tmp_path / "shorter"))))


class Payload:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.check_call, (["touch", str(self.witness)],)


def test_a_file_cannot_run_code(tmp_path: Path) -> None:
    witness, path = tmp_path / "witness", tmp_path / "evil.pth"
    torch.save({"conv1.weight": Payload(witness)}, path)
    with pytest.raises(UserError, match=r"evil\.pth"):
        build(small(encoder_weights=str(path)))
    assert not witness.exists()
    with path.open("rb") as file:  # the file does what it says, where it is let
        torch.load(file, weights_only=False, pickle_module=pickle)
    assert witness.exists()


def test_a_missing_file_is_an_error_that_lists_the_ways(tmp_path: Path) -> None:
    path = tmp_path / "missing.pth"
    for ask in (weights_file, weights_fingerprint, build):
        with pytest.raises(UserError, match=r"missing\.pth") as caught:
            ask(small(encoder_weights=str(path)))
        assert all(way in str(caught.value) for way in WAYS)


@pytest.mark.parametrize("name", ["imagnet", "ImageNet", "resnet50", "/weights", "weights.bin"])
def test_an_unknown_source_is_an_error_that_lists_the_ways(name: str) -> None:
    with pytest.raises(UserError, match=name) as caught:
        weights_file(small(encoder_weights=name))
    assert all(way in str(caught.value) for way in WAYS)


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    state = encoder_state()
    first, copy = save_pth(state, tmp_path / "first"), tmp_path / "copy.pth"
    copy.write_bytes(first.read_bytes())
    other = save_pth(encoder_state(seed=9), tmp_path / "other")
    prints = [weights_fingerprint(small(encoder_weights=str(path))) for path in (first, copy, other)]
    assert prints[0] == prints[1] == hashlib.sha256(first.read_bytes()).hexdigest()[:16]
    assert prints[2] != prints[0]
    assert weights_fingerprint(small()) is weights_fingerprint(small(encoder_weights="imagenet")) is None


# ----------------------------------------------------------------------------------------------------------- the hub


@pytest.mark.parametrize("error", [OSError("cannot reach the hub"), ValueError("offline"), TimeoutError()], ids=repr)
def test_weights_that_the_hub_does_not_give_are_an_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> nn.Module:
        raise error

    network = build(small())
    monkeypatch.setattr(smp.encoders, "get_encoder", refuse)
    before = {key: value.clone() for key, value in network.encoder.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_encoder_weights(network.encoder, small(encoder_weights="imagenet"))
    text = str(caught.value)
    assert "encoder_weights = 'imagenet' for tu-test_efficientnet" in text
    assert str(error) in text
    assert all(way in text for way in WAYS)
    assert all(torch.equal(value, before[key]) for key, value in network.encoder.state_dict().items())


@pytest.mark.parametrize(("encoder", "named"), [("mobilenet_v2", "imagenet"), ("tu-test_efficientnet", True)])
def test_weights_from_the_hub_are_loaded(encoder: str, named: object, monkeypatch: pytest.MonkeyPatch) -> None:
    network, source = build(small(encoder=encoder), seed=1), build(small(encoder=encoder), seed=2).encoder
    asked = []

    def give(name: str, *, weights: object, **kwargs: Any) -> nn.Module:
        asked.append((name, weights))
        return source

    monkeypatch.setattr(smp.encoders, "get_encoder", give)
    load_encoder_weights(network.encoder, small(encoder=encoder, encoder_weights="imagenet"))
    assert asked == [(encoder, named)]
    expected = source.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in network.encoder.state_dict().items())
