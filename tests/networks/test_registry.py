"""Networks are found by name: built-in ones, those of libraries, and a user's own file."""

import builtins
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY, Call
from torch import nn

from ssl_bench.cards import ImageProtocol, VolumeProtocol, load_protocol
from ssl_bench.errors import RunFailedError, UserError
from ssl_bench.networks import build_network, find_network, require_sides
from ssl_bench.networks import registry as module
from ssl_bench.store import Store
from ssl_bench.training import train as train_module

RUN = ["--methods", "mt", "--dataset", "demo", "--protocol", "tiny", "--device", "cpu", "--iterations", "2"]
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


def logits_of(protocol: ImageProtocol | VolumeProtocol, sides: tuple[int, ...], channels: int) -> torch.Tensor:
    torch.manual_seed(0)
    network = build_network(protocol, channels=channels, classes=3).eval()
    with torch.no_grad():
        return network(torch.randn(2, channels, *sides))


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [("deeplabv3plus", 2), ("unet", 2), ("unet-small", 2), ("vnet", 3), ("smp:FPN", 2), ("smp:UnetPlusPlus", 2)],
)
def test_parts_say_the_sizes_of_their_maps(name: str, dimensions: int) -> None:
    protocol = protocol_of(name, dimensions)
    assert find_network(name, dimensions).parts
    network: Any = build_network(protocol).eval()
    images = torch.randn(2, 3 if dimensions == 2 else 1, *(32,) * dimensions)
    with torch.no_grad():
        features = network.encoder(images)
        decoded = network.decoder(features)
        assert [one.shape[1] for one in features] == list(network.encoder.out_channels)
        assert decoded.shape[1] == network.decoder.out_channels
        assert torch.equal(network.segmentation_head(decoded), network(images))


@pytest.mark.parametrize("name", ["Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3",
                                  "DeepLabV3Plus", "PAN", "UPerNet"])  # fmt: skip
def test_architectures_of_smp_take_any_encoder(name: str) -> None:
    protocol = protocol_of(f"smp:{name}")
    require_sides(find_network(protocol.network, 2), protocol)
    assert logits_of(protocol, (128, 128), 3).shape == (2, 3, 128, 128)


def test_a_transformer_of_smp() -> None:
    protocol = protocol_of("smp:Segformer", encoder="mit_b0")
    assert logits_of(protocol, (64, 64), 3).shape == (2, 3, 64, 64)


@pytest.mark.parametrize(("name", "dimensions"), [("SegResNet", 3), ("UNet", 3), ("UNet", 2), ("SegResNet", 2)])
def test_networks_of_monai(name: str, dimensions: int) -> None:
    pytest.importorskip("monai", reason="needs the extra monai")
    protocol = protocol_of(f"monai:{name}", dimensions, filters=8)
    sides = (32,) * dimensions
    assert logits_of(protocol, sides, 2).shape == (2, 3, *sides)
    assert not find_network(protocol.network, dimensions).parts


def test_swin_unetr_takes_its_own_numbers_of_filters() -> None:
    pytest.importorskip("monai", reason="needs the extra monai")
    with pytest.raises(UserError, match=r"filters = 8 with network = 'monai:SwinUNETR'"):
        build_network(protocol_of("monai:SwinUNETR", 3, filters=8))
    assert logits_of(protocol_of("monai:SwinUNETR", 3, filters=12), (64, 64, 64), 1).shape == (2, 3, 64, 64, 64)


def test_monai_is_not_imported_unless_named() -> None:
    program = "import sys, ssl_bench.networks; assert not {'monai'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=REPOSITORY)


def test_without_monai_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("monai"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
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
    assert (code, err) == (2, f"error: {message}\n")


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
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "plain.py").write_text(FILE)
    return tmp_path / "mine"


@pytest.mark.parametrize("jobs", [(), ("--jobs", "2")], ids=["here", "in processes"])
def test_a_users_network_is_one_file(jobs: tuple[str, ...], folder: Path, call: Call) -> None:
    words = ["--set", "network=plain", "--methods-dir", folder, "--seeds", "1,2", *jobs]
    code, _, err = call("run", *RUN, *words)
    assert code == 0, err
    runs = Store(Path("results")).runs()
    assert len(runs) == 2
    for run in runs:
        assert run.result["parameters"]["teacher"] == sum(p.numel() for p in nn.Conv2d(3, 2, 3).parameters())
        assert len(run.provenance["network_source_sha256"]) == 64


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
