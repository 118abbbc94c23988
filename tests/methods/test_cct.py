"""CCT against its formula written out, on tiny networks in 2D and 3D."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from ssl_bench.cards import Protocol
from ssl_bench.errors import UserError
from ssl_bench.method import Batch, Images, Progress, Setup, Update, load_methods, parse_hyperparameters
from ssl_bench.ops import dice_loss

CCT: Any = load_methods()["cct"]
COUNTS = {
    "vat": 2, "spatial_dropout": 6, "cutout": 6, "context_masking": 2, "object_masking": 2, "feature_dropout": 6,
    "feature_noise": 6,
}  # fmt: skip
PROTOCOL = cast("Protocol", SimpleNamespace(dice_smooth=1e-5, supervised_loss="dice", student_init="different"))
PROGRESS = Progress(iteration=3, iterations=10, lambda_u=0.3)
ONE_EACH = dict.fromkeys(COUNTS, 1)


class Encoder(nn.Module):
    """The image, a map of its size and one of half its size; without `image`, smp's empty first map instead."""

    def __init__(self, dimensions: int, *, image: bool) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.fine, self.coarse = convolution(1, 4, 3, padding=1), convolution(4, 6, 2, stride=2)
        self.image = image

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = torch.tanh(self.fine(images))
        return [images if self.image else images[:, :0], fine, torch.tanh(self.coarse(fine))]


class Decoder(nn.Module):
    """Reads every map, records what it read; dropout on the way."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.fine, self.coarse = convolution(4, 5, 1), convolution(6, 5, 1)
        self.norm = nn.BatchNorm2d(5) if dimensions == 2 else nn.BatchNorm3d(5)
        self.dropout = nn.Dropout(0.2)
        self.read: list[list[Tensor]] = []

    def forward(self, features: list[Tensor]) -> Tensor:
        self.read.append([z.detach() for z in features])
        coarse = nn.functional.interpolate(self.coarse(features[2]), size=features[1].shape[2:])
        return self.dropout(self.norm(self.fine(features[1]) + coarse))


class Network(nn.Module):
    def __init__(self, dimensions: int, classes: int, *, image: bool = True) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(dimensions, image=image), Decoder(dimensions)
        self.segmentation_head = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(5, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.segmentation_head(self.decoder(self.encoder(images)))


def views(images: Tensor) -> Images:
    """The view of student 1 alone: another one asked for is an error."""
    return cast("Images", SimpleNamespace(student1=images))


def batch_of(dimensions: int, classes: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    sides = (12, 10) if dimensions == 2 else (8, 6, 10)
    images = torch.randn(5, 1, *sides, generator=generator)
    labels = torch.randint(0, classes, (2, *sides), generator=generator)
    return Batch(views(images[:2]), labels, views(images[2:]))


def build(dimensions: int = 2, classes: int = 2, *, image: bool = True, **hyper: Any) -> Any:
    torch.manual_seed(0)
    setup = Setup(PROTOCOL, lambda **_: Network(dimensions, classes, image=image), classes, 3)
    return CCT(setup, parse_hyperparameters(CCT, hyper)).train()


def only(kind: str, count: int = 1, **hyper: Any) -> dict[str, Any]:
    return dict.fromkeys(COUNTS, 0) | {kind: count} | hyper


def update_of(method: Any, batch: Batch, seed: int = 5) -> Update:
    torch.manual_seed(seed)
    (update,) = method.updates(batch, PROGRESS)
    return cast("Update", update)


CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])


# ------------------------------------------------------------------------------------------------------ what there is


def test_defaults_are_the_papers_thirty_decoders() -> None:
    method = build()
    assert {kind: method.perturbations.count(kind) for kind in COUNTS} == COUNTS
    assert len(method.auxiliary) == len(method.perturbations) == 30
    hyper = method.hyper
    strengths = hyper.vat_xi, hyper.vat_eps, hyper.spatial_dropout_rate, hyper.cutout_share, hyper.feature_noise_limit
    assert strengths == (1e-6, 2.0, 0.5, 0.4, 0.3)
    assert (hyper.feature_dropout_low, hyper.feature_dropout_high) == (0.6, 0.9)


@pytest.mark.parametrize("kind", COUNTS)
def test_counts_are_obeyed(kind: str) -> None:
    assert build(**only(kind, 3)).perturbations == [kind] * 3
    assert build(**(ONE_EACH | {kind: 0})).perturbations == [other for other in COUNTS if other != kind]


def test_auxiliary_decoders_are_drawn_apart_have_no_encoder_and_are_not_scored() -> None:
    method = build(**ONE_EACH)
    assert set(method.networks) == {"network"}
    assert method.predictor is method.network
    assert method.predictor_name == "network"
    names = [name for name, _ in method.auxiliary.named_parameters()]
    assert names
    assert not [name for name in names if "encoder" in name]
    weights = [method.network.segmentation_head.weight, *(d.segmentation_head.weight for d in method.auxiliary)]
    assert len({tuple(w.flatten().tolist()) for w in weights}) == 1 + len(COUNTS)


def test_no_decoder_at_all_and_crossed_thresholds_are_errors() -> None:
    with pytest.raises(UserError, match="at least one decoder"):
        CCT.check(parse_hyperparameters(CCT, dict.fromkeys(COUNTS, 0)), PROTOCOL)
    crossed = parse_hyperparameters(CCT, {"feature_dropout_low": 0.8, "feature_dropout_high": 0.7})
    with pytest.raises(UserError, match="feature_dropout_low"):
        CCT.check(crossed, PROTOCOL)
    CCT.check(parse_hyperparameters(CCT, {}), PROTOCOL)


# -------------------------------------------------------------------------------------------------------- the losses


def naive_mse(first: Tensor, second: Tensor) -> float:
    """Mean over samples, classes and pixels of the squared difference of two softmaxes, in float64."""
    exponentials = [logits.detach().double().exp() for logits in (first, second)]
    p, q = (e / e.sum(1, keepdim=True) for e in exponentials)
    return float(((p - q) ** 2).sum() / p.numel())


@CASES
def test_the_terms_are_the_papers(dimensions: int, classes: int) -> None:
    method, batch = build(dimensions, classes, **ONE_EACH), batch_of(dimensions, classes)
    heads: dict[str, list[Tensor]] = {}
    decoders = {"main": method.network, **dict(zip(method.perturbations, method.auxiliary, strict=True))}
    for name, decoder in decoders.items():
        heads[name] = recorded = []
        decoder.segmentation_head.register_forward_hook(lambda _, __, out, to=recorded: to.append(out))
    update = update_of(method, batch)
    assert set(update.terms) == {"supervised", "consistency"}
    assert [weight for weight, _ in update.terms.values()] == [1.0, PROGRESS.lambda_u]
    on_labeled, target = heads.pop("main")
    torch.testing.assert_close(update.terms["supervised"][1], dice_loss(on_labeled, batch.labels, 1e-5))
    distances = [naive_mse(outputs[-1], target) for outputs in heads.values()]  # before I-VAT's last pass it has two
    assert len(distances) == len(COUNTS)
    assert update.terms["consistency"][1].item() == pytest.approx(sum(distances) / len(distances), rel=1e-5)


@CASES
def test_the_encoder_and_every_auxiliary_decoder_learn_from_the_consistency_and_the_target_does_not(
    dimensions: int, classes: int
) -> None:
    method, batch = build(dimensions, classes, **ONE_EACH), batch_of(dimensions, classes)
    update_of(method, batch).terms["consistency"][1].backward()
    for name, parameter in method.named_parameters():
        is_main = name.startswith(("network.decoder", "network.segmentation_head"))
        assert (parameter.grad is None) == is_main, name
    for module in (method.network.encoder, *method.auxiliary):
        assert all(p.grad.isfinite().all() for p in module.parameters())
        assert any(p.grad.any() for p in module.parameters())


@pytest.mark.parametrize("kind", COUNTS)
def test_under_each_perturbation_alone_the_encoder_learns(kind: str) -> None:
    method = build(**only(kind))
    update_of(method, batch_of(2, 2)).terms["consistency"][1].backward()
    assert any(p.grad.any() for p in method.network.encoder.parameters())


def test_the_supervised_term_does_not_reach_auxiliary_decoders() -> None:
    method = build(**ONE_EACH)
    update_of(method, batch_of(2, 2)).terms["supervised"][1].backward()
    assert all(p.grad is not None for p in method.network.parameters())
    assert all(p.grad is None for p in method.auxiliary.parameters())


def test_equal_seeds_give_equal_losses_and_others_do_not() -> None:
    method, batch = build(**ONE_EACH), batch_of(2, 2)
    first, again, other = (update_of(method, batch, seed).total.item() for seed in (5, 5, 6))
    assert first == again != other


def test_it_runs_under_autocast() -> None:
    method, batch = build(**ONE_EACH), batch_of(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        update = update_of(method, batch)
    update.total.backward()
    assert update.total.dtype == torch.float32
    assert update.total.isfinite()
    assert all(p.grad is not None for p in method.parameters())


# -------------------------------------------------------------------------------------------------- the perturbations


def read_by(method: Any, batch: Batch) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """The features that the main decoder and the one auxiliary decoder read, and the predicted foreground."""
    method.network.decoder.dropout.p = 0.0
    outputs: list[Tensor] = []
    method.network.segmentation_head.register_forward_hook(lambda _, __, out: outputs.append(out))
    update_of(method, batch)
    main, (decoder,) = method.network.decoder, method.auxiliary
    return main.read[-1], decoder.decoder.read[-1], outputs[-1].argmax(1) > 0


@pytest.mark.parametrize("kind", COUNTS)
@pytest.mark.parametrize("image", [True, False])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_feature_map_is_perturbed_and_the_image_is_not(kind: str, dimensions: int, *, image: bool) -> None:
    batch = batch_of(dimensions, 2)
    clean, perturbed, _ = read_by(build(dimensions, image=image, **only(kind)), batch)
    assert [z.shape for z in perturbed] == [z.shape for z in clean]
    assert torch.equal(perturbed[0], clean[0])
    assert not torch.equal(perturbed[1], clean[1])
    assert not torch.equal(perturbed[2], clean[2])


@CASES
def test_context_masking_keeps_the_object_and_object_masking_the_rest(dimensions: int, classes: int) -> None:
    batch = batch_of(dimensions, classes)
    for kind, keeps_object in (("context_masking", True), ("object_masking", False)):
        clean, perturbed, foreground = read_by(build(dimensions, classes, **only(kind)), batch)
        assert 0 < foreground.float().mean() < 1
        for step, z, masked in ((1, clean[1], perturbed[1]), (2, clean[2], perturbed[2])):
            small = foreground[(slice(None), *[slice(None, None, step)] * dimensions)]  # the nearest pixels
            kept = (small == keeps_object).unsqueeze(1)
            torch.testing.assert_close(masked, z * kept, rtol=0, atol=0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_one_box_is_cut_out_of_all_maps(dimensions: int) -> None:
    clean, perturbed, _ = read_by(build(dimensions, **only("cutout", cutout_share=0.6)), batch_of(dimensions, 2))
    fine, coarse = ((new != old).all(1) for new, old in zip(perturbed[1:], clean[1:], strict=True))
    assert fine.flatten(1).any(1).all()
    assert torch.equal(coarse, fine[(slice(None), *[slice(None, None, 2)] * dimensions)])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_spatial_dropout_drops_whole_channels_and_scales_the_others(dimensions: int) -> None:
    method = build(dimensions, **only("spatial_dropout", spatial_dropout_rate=0.5))
    clean, perturbed, _ = read_by(method, batch_of(dimensions, 2))
    for old, new in zip(clean[1:], perturbed[1:], strict=True):
        ratio = (new / old).flatten(2)
        torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio), rtol=1e-5, atol=1e-6)
        assert set(ratio[..., 0].flatten().round(decimals=3).tolist()) == {0.0, 2.0}


def test_adversarial_noise_has_its_norm_over_all_maps_and_is_found_without_dropout() -> None:
    method = build(**only("vat", vat_eps=1.5))
    (decoder,) = method.auxiliary
    seen: list[bool] = []
    decoder.decoder.dropout.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    clean, perturbed, _ = read_by(method, batch_of(2, 2))
    noise = torch.cat([(new - old).flatten(1) for new, old in zip(perturbed[1:], clean[1:], strict=True)], dim=1)
    torch.testing.assert_close(noise.norm(dim=1), torch.full((3,), 1.5), rtol=1e-4, atol=0)
    assert seen == [False, False, True]
    assert decoder.decoder.dropout.training


def test_decoders_of_one_kind_see_perturbations_of_their_own() -> None:
    for kind in ("vat", "spatial_dropout", "cutout", "feature_dropout", "feature_noise"):
        method = build(**only(kind, 4))
        update_of(method, batch_of(2, 2))
        read = [tuple(decoder.decoder.read[-1][1].flatten().tolist()) for decoder in method.auxiliary]
        assert len(set(read)) > 1, kind
