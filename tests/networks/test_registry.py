"""Networks are found by name: built-in ones, those of libraries, and a user's own file."""

import hashlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from conftest import REPOSITORY, Call
from PIL import Image
from torch import nn

from ssl_bench import plugins
from ssl_bench.cards import ImageProtocol, VolumeProtocol, load_protocol
from ssl_bench.errors import RunFailedError, UserError
from ssl_bench.method import find_method, load_methods
from ssl_bench.networks import build_network, find_network, require_sides, weights
from ssl_bench.networks import registry as module
from ssl_bench.reporting.notes import origin
from ssl_bench.store import Store
from ssl_bench.training import train as train_module
from ssl_bench.training.provenance import provenance

load_methods()

RUN = ["--methods", "mt", "--dataset", "demo", "--protocol", "tiny", "--device", "cpu", "--iterations", "2"]
SMP = sorted(one.__name__ for one in smp.MODEL_ARCHITECTURES_MAPPING.values())
FILE = """
from torch import nn

from ssl_bench.networks import Build, register_network


@register_network("plain", dimensions=(2, 3), divisor=4)
def plain(wanted: Build) -> nn.Module:
    convolution = nn.Conv2d if wanted.protocol.dimensions == 2 else nn.Conv3d
    return convolution(wanted.channels, wanted.classes, 3, padding=1)
"""


def protocol_of(network: str, dimensions: int = 2, **settings: Any) -> ImageProtocol | VolumeProtocol:
    own = {"encoder": "resnet18", "encoder_weights": "none"} if dimensions == 2 else {}
    return load_protocol("tiny", {"network": network, **own, **settings}, dimensions=dimensions)


def monai_protocol(name: str, dimensions: int, side: int, **settings: Any) -> ImageProtocol | VolumeProtocol:
    sides = {"image_size": side, "augment_size": side} if dimensions == 2 else {"patch_size": [side] * 3}
    return protocol_of(f"monai:{name}", dimensions, **sides, **settings)


def logits_of(protocol: ImageProtocol | VolumeProtocol, sides: tuple[int, ...], channels: int) -> torch.Tensor:
    torch.manual_seed(0)
    network = build_network(protocol, channels=channels, classes=3).eval()
    with torch.no_grad():
        return network(torch.randn(2, channels, *sides))


def assert_sizes(protocol: ImageProtocol | VolumeProtocol, side: int) -> None:
    """The declared sizes are those of the maps, and the parts in a row are the network."""
    assert find_network(protocol.network, protocol.dimensions).parts
    network: Any = build_network(protocol).eval()
    images = torch.randn(2, 3 if protocol.dimensions == 2 else 1, *(side,) * protocol.dimensions)
    with torch.no_grad():
        features = network.encoder(images)
        decoded = network.decoder(features)
        assert [one.shape[1] for one in features] == list(network.encoder.out_channels)
        assert decoded.shape[1] == network.decoder.out_channels
        assert torch.equal(network.segmentation_head(decoded), network(images))
    sides = [one.shape[2:] for one in features]
    assert sides == sorted(sides, reverse=True)


@pytest.mark.parametrize(
    ("name", "dimensions"), [("deeplabv3plus", 2), ("unet", 2), ("unet-small", 2), ("vnet", 3), ("vnet-half", 3)]
)
def test_parts_say_the_sizes_of_their_maps(name: str, dimensions: int) -> None:
    assert_sizes(protocol_of(name, dimensions), 32)


@pytest.mark.parametrize("name", SMP)
def test_every_architecture_of_smp_is_a_network(name: str) -> None:
    encoder = "tu-test_vit" if name == "DPT" else "resnet18"
    protocol = protocol_of(f"smp:{name}", encoder=encoder, output_stride=16)
    entry = find_network(protocol.network, 2)
    assert logits_of(protocol, (128, 128), 3).shape == (2, 3, 128, 128)
    network: Any = build_network(protocol)
    divisor = entry.divisor if isinstance(entry.divisor, int) else entry.divisor(protocol)
    assert divisor == (network.encoder.output_stride if network.requires_divisible_input_shape else 1)
    assert entry.parts == (name != "DPT")
    if entry.parts:
        assert_sizes(protocol, 128)


@pytest.mark.parametrize("encoder", ["mit_b0", "tu-test_convnext", "mobilenet_v2"])
def test_encoders_of_other_kinds_say_their_sizes(encoder: str) -> None:
    assert_sizes(protocol_of("smp:Segformer", encoder=encoder), 64)


def test_settings_reach_the_architectures_that_have_them() -> None:
    built: Any = build_network(protocol_of("smp:DeepLabV3", output_stride=8, aspp="plain", aspp_dropout=0.25))
    assert built.encoder.output_stride == 8
    assert {one.p for one in built.modules() if isinstance(one, nn.Dropout)} == {0.25}


def test_under_its_name_in_smp_the_papers_network_is_the_same() -> None:
    states = []
    for name in ("deeplabv3plus", "smp:DeepLabV3Plus"):
        torch.manual_seed(3)
        states.append(build_network(protocol_of(name)).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_hub_weights_are_those_of_an_encoder_with_as_many_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    original, given = smp.encoders.get_encoder, []

    def from_the_hub(name: str, **options: Any) -> nn.Module:
        given.append(original(name, **{**options, "weights": None}))
        return given[-1]

    monkeypatch.setattr(smp.encoders, "get_encoder", from_the_hub)
    monkeypatch.setattr(weights, "_hub_state", weights._hub_state.__wrapped__)  # without its memory
    settings = {"encoder": "tu-test_efficientnet", "encoder_weights": "imagenet"}
    for name, levels in (("smp:PSPNet", 3), ("smp:Unet", 5)):
        network: Any = build_network(protocol_of(name, **settings))
        assert len(network.encoder.out_channels) == 1 + levels
        own, hub = network.encoder.state_dict(), given[-1].state_dict()
        assert own.keys() == hub.keys()
        assert all(torch.equal(value, hub[key]) for key, value in own.items())


def test_an_encoder_that_does_not_fit_an_architecture_is_one_line() -> None:
    with pytest.raises(UserError, match="encoder = 'resnet18' with network = 'smp:DPT'") as refused:
        build_network(protocol_of("smp:DPT"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("name", "filters", "side"), [("SegResNet", 8, 16), ("UNet", 4, 32), ("SwinUNETR", 12, 64)])
def test_networks_of_monai(name: str, filters: int, side: int, dimensions: int) -> None:
    nets = pytest.importorskip("monai.networks.nets", reason="needs the extra monai")
    protocol = monai_protocol(name, dimensions, side, filters=filters)
    entry = find_network(protocol.network, dimensions)
    require_sides(entry, protocol)
    assert not entry.parts
    network = build_network(protocol, channels=2, classes=3)
    assert type(network) is getattr(nets, name)
    sides = (side,) * dimensions
    assert network(torch.randn(1, 2, *sides)).shape == (1, 3, *sides)  # in training mode, where norms refuse one pixel


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("name", "side"), [("UNet", 16), ("SwinUNETR", 32)])
def test_sides_that_are_too_small_for_monai_are_refused(name: str, side: int, dimensions: int) -> None:
    pytest.importorskip("monai", reason="needs the extra monai")
    with pytest.raises(UserError, match=f"'monai:{name}': expected sides of at least {2 * side}, found {side}x{side}"):
        build_network(monai_protocol(name, dimensions, side, filters=12))


@pytest.mark.parametrize(("name", "filters", "divisor"), [("SwinUNETR", 16, 12), ("SegResNet", 12, 8)])
def test_filters_that_monai_cannot_have_are_refused(name: str, filters: int, divisor: int) -> None:
    pytest.importorskip("monai", reason="needs the extra monai")
    with pytest.raises(UserError, match=f"^filters {filters} must be divisible by {divisor} for monai:{name}$"):
        build_network(monai_protocol(name, 3, 64, filters=filters))


def test_dropout_of_volumes_reaches_monai() -> None:
    pytest.importorskip("monai", reason="needs the extra monai")
    network = build_network(monai_protocol("UNet", 3, 32, filters=2, dropout=0.25))
    assert {one.p for one in network.modules() if isinstance(one, nn.Dropout3d | nn.Dropout)} == {0.25}


def test_cards_are_read_without_torch_and_networks_without_monai() -> None:
    program = (
        "import sys; from ssl_bench.cards import load_protocol; load_protocol('paper', {'network': 'smp:FPN'});"
        "print({'torch', 'segmentation_models_pytorch'} & set(sys.modules));"
        "from ssl_bench.networks import find_network; find_network('smp:FPN', 2); print('monai' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "set()\nFalse\n"


@pytest.mark.parametrize("package", ["monai.networks.nets", "einops"])
def test_without_monai_the_command_that_installs_it_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"needs MONAI: pip install 'ssl-bench\[monai\]'"):
        find_network("monai:UNet", 3)


@pytest.mark.parametrize(
    ("name", "dimensions", "words"),
    [
        ("vnet", 2, "expected one of deeplabv3plus, unet, unet-small,"),
        ("deeplabv3", 2, "found 'deeplabv3'"),
        ("smp:Unett", 2, "expected smp:Unet, smp:UnetPlusPlus,"),
        ("smp:Unet", 3, "for 2D data; found 'smp:Unet' for 3D data"),
        ("monai:VNet", 3, "expected monai:SegResNet, monai:UNet, monai:SwinUNETR; found 'monai:VNet'"),
    ],
)
def test_an_unknown_network_is_one_line_with_those_that_are_known(name: str, dimensions: int, words: str) -> None:
    with pytest.raises(UserError) as refused:
        find_network(name, dimensions)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 250, "augment_size": 256}, "image_size 250 must be divisible by 16 for deeplabv3plus"),
        ({"network": "unet", "image_size": 48}, "image_size 48 must be divisible by 32 for unet"),
        ({"network": "unet-small", "image_size": 40}, "image_size 40 must be divisible by 16 for unet-small"),
        ({"network": "smp:Linknet", "image_size": 48}, "image_size 48 must be divisible by 32 for smp:Linknet"),
        ({"network": "monai:UNet", "image_size": 40}, "image_size 40 must be divisible by 16 for monai:UNet"),
    ],
)
def test_sides_that_a_network_cannot_take_end_the_plan(settings: dict[str, Any], message: str, call: Call) -> None:
    words = [word for key, value in {"augment_size": 64, **settings}.items() for word in ("--set", f"{key}={value}")]
    code, _, err = call("run", *RUN, *words)
    (line,) = err.splitlines()
    assert code == 2
    assert line.startswith("error: --protocol tiny with --set ")
    assert all(f" {key}={value}" in line for key, value in settings.items())
    assert line.endswith(f": {message}")


def test_a_method_that_needs_parts_says_so_at_planning(call: Call) -> None:
    pytest.importorskip("monai", reason="needs the extra monai")
    code, _, err = call("run", *RUN, "--methods", "mt,cct", "--set", "network=monai:UNet")
    assert code == 2
    assert err == (
        "error: network = 'monai:UNet': expected a network with encoder, decoder and segmentation_head, which cct "
        "needs; found one without\n"
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network in one file, which is registered during the test alone."""
    monkeypatch.setattr(module, "_REGISTRY", dict(module._REGISTRY))
    monkeypatch.setattr(plugins, "_TEXTS", dict(plugins._TEXTS))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "plain.py").write_text(FILE)
    return tmp_path / "mine"


def test_a_users_network_is_one_file(folder: Path, call: Call) -> None:
    words = ["--set", "network=plain", "--methods-dir", folder]
    code, _, err = call("run", *RUN, *words)
    assert code == 0, err
    (run,) = Store(Path("results")).runs()
    assert run.result["parameters"]["teacher"] == sum(p.numel() for p in nn.Conv2d(3, 2, 3).parameters())
    assert run.provenance["network_source_sha256"] == hashlib.sha256(FILE.encode()).hexdigest()


def test_an_edit_of_a_networks_file_is_told(folder: Path, call: Call) -> None:
    words = ["--set", "network=plain", "--methods-dir", folder]
    assert call("run", *RUN, *words, "--seeds", "1")[0] == 0
    (folder / "plain.py").write_text(FILE + "# edited")
    code, out, err = call("run", *RUN, *words, "--seeds", "1,2")
    assert code == 0, err
    assert "finished earlier; the file of its network has changed since" in out + err
    assert "The file of the network plain was edited between these runs." in origin(Store(Path("results")).runs())


def test_the_file_of_a_methods_second_network_is_recorded(folder: Path, call: Call) -> None:
    words = ["--set", "second_network=plain", "--methods-dir", folder]
    code, _, err = call("run", "--methods", "ctct", *RUN[2:], *words)
    assert code == 0, err
    (run,) = Store(Path("results")).runs()
    assert run.provenance["further_sources_sha256"] == {"network plain": hashlib.sha256(FILE.encode()).hexdigest()}


@pytest.mark.slow
def test_the_guides_example_is_trained_in_processes_and_predicts(call: Call) -> None:
    text = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/tutorials/network.md").read_text(), re.DOTALL)[0]
    Path("my_files").mkdir()
    Path("my_files/plain.py").write_text(text)
    words = [*RUN, "--methods", "supervised,cct", "--set", "network=plain", "--set", "vat=1", "--jobs", "2"]
    code, _, err = call("run", *words)
    assert code == 2
    assert "or one of your own in a --methods-dir; found 'plain'" in err
    code, _, err = call("run", *words, "--methods-dir", "my_files")
    assert code == 0, err
    runs = Store(Path("results")).runs()
    assert {run.spec.method for run in runs} == {"supervised", "cct"}
    assert {run.provenance["network_source_sha256"] for run in runs} == {hashlib.sha256(text.encode()).hexdigest()}
    Image.fromarray(np.zeros((40, 36, 3), np.uint8)).save("new.png")
    code, _, err = call("predict", runs[0].path, "new.png", "--output", "masks", "--methods-dir", "my_files")
    assert code == 0, err
    assert Image.open("masks/new.png").size == (36, 40)
    assert_sizes(protocol_of("plain", 2), 32)
    assert_sizes(protocol_of("plain", 3), 16)


def test_the_version_of_monai_is_recorded_with_its_runs_alone() -> None:
    pytest.importorskip("monai", reason="needs the extra monai")
    method, cpu = find_method("mt"), torch.device("cpu")
    versions = provenance(method, cpu, find_network("monai:UNet", 3))["packages"]
    assert versions["monai"] == importlib.metadata.version("monai")
    assert "monai" not in provenance(method, cpu, find_network("vnet", 3))["packages"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("nn.Conv2d if", "nn.Conv7d if", "plain.py: network 'plain' cannot be built: AttributeError: .*Conv7d"),
        ("return convolution(", "return str(", "plain.py: network 'plain' cannot be built: TypeError: "),
        ("return convolution", "return 3 #", "plain.py: network 'plain': expected an nn.Module, found int"),
        (
            "divisor=4", "parts=True",
            "plain.py: network 'plain': registered with parts, but has no encoder, decoder, segmentation_head$",
        ),
        ('"plain"', '"my:plain"', "plain.py: network 'my:plain': expected a name without a colon"),
        ("(2, 3)", "(2, 4)", r"plain.py: network 'plain': dimensions: expected .*, found \(2, 4\)"),
    ],
)  # fmt: skip
def test_a_file_with_a_mistake_is_one_line(before: str, after: str, message: str, folder: Path) -> None:
    (folder / "plain.py").write_text(FILE.replace(before, after))
    with pytest.raises(UserError, match=message) as refused:  # noqa: PT012  (the one or the other)
        load_methods(folder)
        build_network(load_protocol("tiny", {"network": "plain"}))
    assert "\n" not in str(refused.value)


def test_weights_are_loaded_into_the_encoders_that_take_them_alone(folder: Path) -> None:
    load_methods(folder)
    for name in ("plain", "unet-small"):
        build_network(load_protocol("mini", {"network": name}))  # has the weights of an EfficientNet


def test_networks_of_installed_packages_are_found(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_networks.py").write_text(FILE.replace('"plain"', '"theirs"'))
    (tmp_path / "their_networks-1.0.dist-info").mkdir()
    description = tmp_path / "their_networks-1.0.dist-info"
    (description / "METADATA").write_text("Metadata-Version: 2.1\nName: their-networks\nVersion: 1.0\n")
    (description / "entry_points.txt").write_text("[ssl_bench.networks]\ntheirs = their_networks\n")
    monkeypatch.syspath_prepend(tmp_path)
    module._load_other_packages.cache_clear()
    try:
        assert find_network("theirs", 3).divisor == 4
    finally:
        monkeypatch.delitem(sys.modules, "their_networks", raising=False)


def test_a_run_does_not_go_on_with_another_text_of_its_network(
    folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise RunFailedError("stopped before its end")

    words = ["--set", "network=plain", "--methods-dir", folder]
    with monkeypatch.context() as patch:
        patch.setattr(train_module, "finish", fail)
        assert call("run", *RUN, *words)[0] == 1
    (folder / "plain.py").write_text(FILE + "# edited")
    code, _, err = call("run", *RUN, *words)
    assert code == 2
    assert "the network's file has changed since this run began" in err


def test_a_name_that_is_taken_names_both_files(folder: Path, call: Call) -> None:
    (folder / "plain.py").write_text(FILE.replace('"plain"', '"unet"'))
    code, _, err = call("run", *RUN, "--methods-dir", folder)
    assert code == 2
    assert f"{folder / 'plain.py'}: network 'unet' is already defined in" in err
