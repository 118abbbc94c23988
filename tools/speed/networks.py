"""What the networks themselves could gain: memory format, precision, both students at once, torch.compile."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from timing import Ratio, Settings, compare
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from ssl_bench.cards import load_protocol
from ssl_bench.networks import build_network

BATCH = 8
LITE0 = {"encoder": "tu-tf_efficientnet_lite0", "encoder_weights": "none", "output_stride": 16, "aspp": "separable"}
RESNET18 = {"network": "unet", "encoder": "resnet18", "encoder_weights": "none"}
RESNET50 = {"encoder": "resnet50", "encoder_weights": "none", "output_stride": 8, "aspp": "plain"}
NETWORKS = {
    "cpu": {"DeepLabV3+ on EfficientNet-Lite0": LITE0, "U-Net on ResNet18": RESNET18},
    "cuda": {"DeepLabV3+ on EfficientNet-Lite0": LITE0, "DeepLabV3+ on ResNet50": RESNET50},
}


def ratios(settings: Settings) -> Iterator[Ratio]:
    """Forward and backward of one batch of the protocol's size, in each of the ways."""
    device = settings.device
    for title, overrides in NETWORKS[device.type].items():
        torch.manual_seed(0)
        protocol = load_protocol(settings.protocol, overrides)
        side = protocol.image_size
        plain = build_network(protocol).to(device)
        last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
        images = torch.randn(BATCH, 3, side, side, device=device)
        images_last = images.contiguous(memory_format=torch.channels_last)
        what = f"{title}, {BATCH} images at {side} x {side}, forward and backward"
        channels = ("channels last", step(last, images_last))
        yield compare("networks", what, channels, ("channels first", step(plain, images)), settings)
        if "bf16" in settings.precisions:
            half = ("bf16", step(last, images_last, half=True))
            yield compare("networks", what, half, ("fp32", channels[1]), settings)
        if overrides is not LITE0:  # on a CPU its dilated convolutions have a gradient that vmap does not take
            second = copy.deepcopy(last)
            after = step(second, images_last)
            yield compare(
                "networks", f"{what}, two students", ("stacked (vmap)", stacked([last, second], images_last)),
                ("one after the other", lambda one=channels[1], two=after: (one(), two())), settings,
            )  # fmt: skip
    vnet = build_network(load_protocol("mini", dimensions=3)).to(device)
    last = copy.deepcopy(vnet).to(memory_format=torch.channels_last_3d)
    volume = torch.randn(2, 1, 64, 64, 32, device=device)
    volume_last = volume.contiguous(memory_format=torch.channels_last_3d)
    what = "V-Net, 2 patches of 64 x 64 x 32, forward and backward"
    channels = ("channels last", step(last, volume_last))
    yield compare("networks", what, channels, ("channels first", step(vnet, volume)), settings)
    if "bf16" in settings.precisions:
        yield compare("networks", what, ("bf16", step(last, volume_last, half=True)), ("fp32", channels[1]), settings)


def compiled(settings: Settings) -> Iterator[Ratio]:
    """torch.compile, on a GPU with CUDA graphs besides; the minutes that compiling takes are not in it."""
    for title, overrides in NETWORKS[settings.device.type].items():
        protocol = load_protocol(settings.protocol, overrides)
        side = protocol.image_size
        network = build_network(protocol).to(settings.device).to(memory_format=torch.channels_last)
        images = torch.randn(BATCH, 3, side, side, device=settings.device)
        images = images.contiguous(memory_format=torch.channels_last)
        half = settings.device.type == "cuda"
        modes = {"compiled": "default"}
        if settings.device.type == "cuda":
            modes["compiled, CUDA graphs"] = "reduce-overhead"
        for name, mode in modes.items():
            torch._dynamo.reset()
            faster = copy.deepcopy(network)
            faster.compile(mode=mode)
            yield compare(
                "compile", f"{title}, {BATCH} images at {side} x {side}, forward and backward",
                (name, step(faster, images, half=half)), ("eager", step(network, images, half=half)), settings,
            )  # fmt: skip


def step(network: nn.Module, images: Tensor, *, half: bool = False) -> Callable[[], object]:
    """Forward and backward of a network in training mode."""
    network.train()

    def work() -> None:
        network.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
            logits = network(images)
        logits.float().square().mean().backward()

    return work


def stacked(networks: list[nn.Module], images: Tensor) -> Callable[[], object]:
    """The same of several networks at once, their weights stacked, each with its own batch statistics."""
    parameters, buffers = stack_module_state(networks)  # type: ignore[arg-type]
    form = copy.deepcopy(networks[0]).to("meta").train()

    def one(own: dict[str, Tensor], statistics: dict[str, Tensor]) -> Tensor:
        logits: Tensor = functional_call(form, (own, statistics), (images,))
        return logits

    def work() -> None:
        for parameter in parameters.values():
            parameter.grad = None
        logits = torch.func.vmap(one, randomness="different")(parameters, buffers)
        logits.square().mean((1, 2, 3, 4)).sum().backward()

    return work
