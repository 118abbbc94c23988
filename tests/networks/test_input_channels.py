"""Networks for other channels than their usual ones, and RGB encoder weights brought to them as timm and smp do."""

from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file

from ssl_bench.cards import load_protocol
from ssl_bench.networks import build_network


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize(
    ("name", "dimensions"), [("deeplabv3plus", 2), ("unet", 2), ("unet-small", 2), ("vnet", 3), ("smp:FPN", 2)]
)
def test_a_network_takes_any_number_of_channels(name: str, dimensions: int, channels: int) -> None:
    card = load_protocol("tiny", {"network": name}, dimensions=dimensions)
    network = build_network(card, classes=3, channels=channels).eval()
    with torch.no_grad():
        assert network(torch.randn(2, channels, *card.sides)).shape == (2, 3, *card.sides)


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_smps_encoder_weights_are_brought_to_the_channels_as_smp_does(channels: int, tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = smp.encoders.get_encoder("resnet18", in_channels=3, weights=None)
    path = tmp_path / "encoder.safetensors"
    save_file({key: value.contiguous() for key, value in theirs.state_dict().items()}, path)
    theirs.set_in_channels(channels, pretrained=True)
    card = load_protocol("tiny", {"network": "unet", "encoder": "resnet18", "encoder_weights": str(path)})
    ours: Any = build_network(card, channels=channels)
    expected = theirs.state_dict()
    found = ours.encoder.state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_timms_encoder_weights_are_brought_to_the_channels_as_timm_does(channels: int, tmp_path: Path) -> None:
    torch.manual_seed(1)
    path, encoder = tmp_path / "classifier.safetensors", tmp_path / "encoder.safetensors"
    state, kept = timm.create_model("test_efficientnet").state_dict(), ("conv_stem.", "bn1.", "blocks.")
    save_file(state, path)
    save_file({key: value for key, value in state.items() if key.startswith(kept)}, encoder)
    theirs = timm.create_model(
        "test_efficientnet", pretrained=True, pretrained_cfg_overlay={"file": str(path)}, in_chans=channels
    ).state_dict()
    card = load_protocol(
        "tiny", {"network": "unet", "encoder": "tu-test_efficientnet", "encoder_weights": str(encoder)}
    )
    ours: Any = build_network(card, channels=channels)
    for key, value in ours.encoder.state_dict().items():
        torch.testing.assert_close(value, theirs[key.removeprefix("model.")])


def test_the_packages_weights_are_summed_for_grey_images() -> None:
    card = load_protocol("mini", {"network": "unet"})
    grey, coloured = (build_network(card, channels=channels).encoder.state_dict() for channels in (1, 3))  # type: ignore[operator, union-attr]
    stem = "model.conv_stem.weight"
    torch.testing.assert_close(grey[stem], coloured[stem].sum(1, keepdim=True))
    assert all(torch.equal(value, coloured[key]) for key, value in grey.items() if key != stem)
