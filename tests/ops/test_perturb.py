"""Feature perturbations against naive loops, and the adversarial direction against the curvature it estimates."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssl_bench.ops import (
    adversarial_noise,
    batch_norm_paused,
    complementary_dropout,
    cutout_box,
    dropout_switched,
    evaluating,
    fast_gradient_sign,
    feature_dropout,
    feature_noise,
    image_noise,
    keep_only,
)

SIDES = [(6, 5), (4, 3, 5)]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


# --------------------------------------------------------------------------------------------- noise and dropout


@pytest.mark.parametrize("sides", [(40, 30), (10, 10, 12)])
def test_noise_is_relative_uniform_and_drawn_for_every_element(sides: tuple[int, ...]) -> None:
    features = torch.randn(3, 4, *sides, dtype=torch.float64)
    relative = (feature_noise(features, 0.3) - features) / features
    assert relative.abs().max() <= 0.3 + 1e-12
    assert relative.abs().max() > 0.299
    assert relative.mean().item() == pytest.approx(0, abs=0.01)
    assert relative.std().item() == pytest.approx(0.6 / math.sqrt(12), rel=0.03)
    assert len(relative.flatten().unique()) > 0.99 * relative.numel()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_noise_on_images_is_a_clipped_normal_one(layout: torch.memory_format) -> None:
    images = torch.rand(8, 3, 40, 40)
    torch.manual_seed(0)
    found = image_noise(images.contiguous(memory_format=layout), 0.1, 0.2) - images
    torch.manual_seed(0)
    assert torch.equal(found, (images + (0.1 * torch.randn(8, 3, 40, 40)).clamp(-0.2, 0.2)) - images)
    assert ((found.abs() - 0.2).abs() < 1e-6).float().mean().item() == pytest.approx(0.0455, abs=0.004)


def test_the_gradient_of_noisy_features_is_one_plus_the_noise() -> None:
    features = torch.rand(2, 3, 4, 4).add_(1).requires_grad_()
    noisy = feature_noise(features, 0.3)
    (gradient,) = torch.autograd.grad(noisy.sum(), features)
    torch.testing.assert_close(gradient, (noisy / features).detach())


def naive_feature_dropout(features: np.ndarray, gammas: list[float]) -> np.ndarray:
    result = features.copy()
    for b, gamma in enumerate(gammas):
        places = list(itertools.product(*(range(side) for side in features.shape[2:])))
        activation = {place: float(np.mean(features[(b, slice(None), *place)])) for place in places}
        largest = max(activation.values())
        for place in places:
            if activation[place] >= gamma * largest:
                result[(b, slice(None), *place)] = 0
    return result


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("gamma", [0.5, 0.7, 0.9])
def test_feature_dropout_hides_the_most_active_places(sides: tuple[int, ...], gamma: float) -> None:
    features = torch.rand(3, 4, *sides, dtype=torch.float64)
    dropped = feature_dropout(features, gamma, gamma)
    expected = naive_feature_dropout(features.numpy(), [gamma] * 3)
    np.testing.assert_array_equal(dropped.numpy(), expected)
    assert 0 < np.count_nonzero(expected) < expected.size


def test_every_sample_has_a_threshold_of_its_own_between_the_bounds() -> None:
    ramp = torch.linspace(0, 1, 1001, dtype=torch.float64).expand(500, 1, 1001).unsqueeze(2)
    lowest = (feature_dropout(ramp, 0.6, 0.9) == 0).double().sum((1, 2, 3))  # the dropped places, 0 itself among them
    thresholds = 1 - (lowest - 1) / 1001
    assert thresholds.min() >= 0.599
    assert thresholds.max() <= 0.901
    assert thresholds.mean().item() == pytest.approx(0.75, abs=0.02)
    assert thresholds.std().item() == pytest.approx(0.3 / math.sqrt(12), rel=0.1)


def test_a_sample_without_positive_activation_stays() -> None:
    features = -torch.rand(2, 3, 4, 4) - 0.1
    assert torch.equal(feature_dropout(features, 0.6, 0.9), features)


@pytest.mark.parametrize("shape", [(2, 0, 4, 4), (2, 0, 4, 4, 4)])
def test_empty_maps_stay_empty(shape: tuple[int, ...]) -> None:
    empty, kept = torch.empty(shape), torch.ones(2, *shape[2:], dtype=torch.bool)
    for result in (feature_noise(empty, 0.3), feature_dropout(empty, 0.6, 0.9), keep_only(empty, kept)):
        assert result.shape == shape


# ---------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize(
    ("sides", "coarse"), [((8, 6), (4, 3)), ((8, 6), (8, 6)), ((7, 9), (3, 4)), ((4, 6, 8), (2, 3, 4))]
)
def test_keep_only_takes_the_nearest_pixel_of_the_mask(sides: tuple[int, ...], coarse: tuple[int, ...]) -> None:
    kept = torch.rand(2, *sides) < 0.5
    features = torch.randn(2, 3, *coarse)
    result = keep_only(features, kept)
    for b in range(2):
        for place in itertools.product(*(range(side) for side in coarse)):
            source = tuple(i * side // small for i, side, small in zip(place, sides, coarse, strict=True))
            expected = features[(b, slice(None), *place)] * float(kept[(b, *source)])
            torch.testing.assert_close(result[(b, slice(None), *place)], expected, rtol=0, atol=0)


def box_of(mask: np.ndarray) -> list[tuple[int, int]] | None:
    """First and last index along each axis; None where the mask is empty."""
    where = np.argwhere(mask)
    return [(int(w.min()), int(w.max())) for w in where.T] if len(where) else None


def assert_is_a_box_inside(box: np.ndarray, foreground: np.ndarray, share: float) -> None:
    bounds, found = box_of(foreground), box_of(box)
    lengths = [math.floor((last - first + 1) * share) for first, last in bounds] if bounds else [0]
    if min(lengths) == 0:
        assert found is None
        return
    assert bounds is not None
    assert found is not None
    for (first, last), (start, end), length in zip(bounds, found, lengths, strict=True):
        assert first <= start
        assert end <= last
        assert end - start + 1 == length
    assert box.sum() == math.prod(lengths)  # a full box


@settings(deadline=None, max_examples=80)
@given(data=st.data(), share=st.sampled_from([0.25, 0.4, 0.5, 1.0]))
def test_the_cutout_is_a_box_of_the_share_inside_the_bounding_box(data: st.DataObject, share: float) -> None:
    sides = tuple(data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=3)))
    seed, density = data.draw(st.integers(0, 1000)), data.draw(st.sampled_from([0.0, 0.02, 0.2, 1.0]))
    foreground = torch.rand(3, *sides, generator=torch.Generator().manual_seed(seed)) < density
    box = cutout_box(foreground, share)
    assert box.dtype == torch.bool
    assert box.shape == foreground.shape
    for b in range(3):
        assert_is_a_box_inside(box[b].numpy(), foreground[b].numpy(), share)


def test_the_cutout_falls_everywhere_in_the_bounding_box_and_by_sample() -> None:
    foreground = torch.zeros(4000, 12, 9, dtype=torch.bool)
    foreground[:, 2:7, 3:8] = True  # 5 x 5; a box of 2 x 2 has 16 places
    starts = cutout_box(foreground, 0.4).flatten(1).int().argmax(1)
    counts = starts.bincount(minlength=12 * 9).view(12, 9)
    inside = counts[2:6, 3:7]
    assert inside.sum() == 4000
    assert (inside - 250).abs().max() < 5 * math.sqrt(250)


# ------------------------------------------------------------------------------------------- adversarial direction


class TinyDecoder(nn.Module):
    """Reads two of three maps, the second at half the size of the first: -> (B, K, *sides)."""

    def __init__(self, dimensions: int, classes: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.fine, self.coarse = convolution(3, 5, 3, padding=1), convolution(4, 5, 3, padding=1)
        self.head = convolution(5, classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        coarse = nn.functional.interpolate(self.coarse(features[1]), size=features[0].shape[2:])
        return self.head(torch.tanh(self.fine(features[0]) + coarse))


def maps(dimensions: int, batch: int = 3, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    shapes = [(3, 4), (4, 2), (2, 4)]
    return [torch.randn(batch, channels, *[side] * dimensions, dtype=dtype) for channels, side in shapes]


def divergence(decode: nn.Module, features: list[Tensor], noise: list[Tensor]) -> Tensor:
    """KL(p(z) || p(z + noise)) of each sample, in float64."""
    with torch.no_grad():
        p = decode(features).double().softmax(1)
        q = decode([z + n for z, n in zip(features, noise, strict=True)]).double().softmax(1)
        return (p * (p.log() - q.log())).flatten(1).sum(1)


def norms(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.flatten(1) for t in tensors], dim=1).norm(dim=1)


CASES = pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 4), (3, 2), (3, 4)])


@CASES
def test_the_noise_has_the_norm_asked_for_and_skips_maps_that_are_not_read(dimensions: int, classes: int) -> None:
    decode, features = TinyDecoder(dimensions, classes).double(), maps(dimensions)
    noise = adversarial_noise(decode, features, xi=1e-6, eps=2.0)
    assert [n.shape for n in noise] == [z.shape for z in features]
    torch.testing.assert_close(norms(noise), torch.full((3,), 2.0, dtype=torch.float64))
    assert not noise[2].any()
    assert noise[0].any()
    assert noise[1].any()


@CASES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_changes_the_prediction_more_than_random_noise(dimensions: int, classes: int, dtype: torch.dtype) -> None:
    times = []  # over several decoders: in float32 rounding takes the random direction's place, and it differs by CPU
    for _ in range(8):
        decode, features = TinyDecoder(dimensions, classes).to(dtype), maps(dimensions, dtype=dtype)
        read = features[:2]
        adversarial = divergence(decode, read, adversarial_noise(decode, read, xi=1e-6, eps=0.5)).mean().item()
        random = []
        for _ in range(20):
            noise = [torch.randn_like(z) for z in read]
            scale = 0.5 / norms(noise)
            scaled = [n * scale.view(-1, *[1] * (n.dim() - 1)) for n in noise]
            random.append(divergence(decode, read, scaled).mean().item())
        times.append(adversarial / max(random))
    assert sum(times) / len(times) > 2


@pytest.mark.parametrize("xi", [1e-6, 1e-3])
def test_it_is_one_power_iteration_with_the_divergences_hessian(xi: float) -> None:
    decode, features = TinyDecoder(2, 3).double(), maps(2, batch=1)[:2]
    flat = torch.cat([z.flatten() for z in features])
    sizes = [z.numel() for z in features]

    def predict(vector: Tensor) -> Tensor:
        return decode([part.view_as(z) for part, z in zip(vector.split(sizes), features, strict=True)]).softmax(1)

    p = predict(flat).detach()

    def divergence_at(step: Tensor) -> Tensor:
        return (p * (p / predict(flat + step)).log()).sum()

    hessian = torch.autograd.functional.hessian(divergence_at, torch.zeros_like(flat))
    torch.manual_seed(7)
    start = torch.cat([torch.rand_like(z).flatten() - 0.5 for z in features])
    expected = hessian @ (start / start.norm())
    torch.manual_seed(7)
    noise = torch.cat([n.flatten() for n in adversarial_noise(decode, features, xi=xi, eps=1.0)])
    torch.testing.assert_close(noise, expected / expected.norm(), rtol=0, atol=20 * xi + 1e-6)


def test_samples_have_directions_of_their_own() -> None:
    decode, features = TinyDecoder(2, 2).double(), maps(2)[:2]
    others_changed = [torch.cat((z[:1], torch.randn_like(z[1:]))) for z in features]
    torch.manual_seed(2)
    before = adversarial_noise(decode, features, xi=1e-6, eps=1.0)
    torch.manual_seed(2)
    after = adversarial_noise(decode, others_changed, xi=1e-6, eps=1.0)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a[0], b[0], rtol=1e-6, atol=1e-9)
        assert not torch.allclose(a[1], b[1])


def test_no_gradient_is_left_behind_and_none_flows_through_the_noise() -> None:
    decode, features = TinyDecoder(2, 2), [z.requires_grad_() for z in maps(2, dtype=torch.float32)]
    for parameter in decode.parameters():
        parameter.grad = torch.ones_like(parameter)
    noise = adversarial_noise(decode, features, xi=1e-6, eps=2.0)
    assert all(not n.requires_grad for n in noise)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in decode.parameters() if p.grad is not None)
    assert all(z.grad is None for z in features)


def test_under_autocast_it_is_computed_in_float32() -> None:
    decode, features = TinyDecoder(2, 2), maps(2, dtype=torch.float32)
    torch.manual_seed(3)
    expected = adversarial_noise(decode, features, xi=1e-2, eps=2.0)
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        found = adversarial_noise(decode, [z.requires_grad_() for z in features], xi=1e-2, eps=2.0)
        low = adversarial_noise(decode, [z.bfloat16() for z in features], xi=1e-2, eps=2.0)
    for a, b, c in zip(expected, found, low, strict=True):
        assert torch.equal(a, b)
        assert c.dtype == torch.float32


def test_a_prediction_that_never_changes_gets_no_noise() -> None:
    noise = adversarial_noise(lambda z: 0 * z[0], [torch.randn(2, 3, 4, 4)], xi=1e-6, eps=2.0)
    assert not noise[0].any()


# --------------------------------------------------------------------------------------------------- attacks on images


@pytest.mark.parametrize("sides", SIDES)
def test_the_step_is_epsilon_in_each_pixel_along_the_sign_of_a_numerical_gradient(sides: tuple[int, ...]) -> None:
    images = torch.randn(2, 1, *sides, dtype=torch.float64)
    weights = torch.randn(sides, dtype=torch.float64)

    def loss(moved: Tensor) -> Tensor:
        return (torch.sin(moved) * weights).sum()

    found = fast_gradient_sign(images, loss, 0.1)
    assert not found.requires_grad
    for b, *place in itertools.product(range(2), *(range(n) for n in sides)):
        step = torch.zeros_like(images)
        step[(b, 0, *place)] = 1e-6
        slope = (loss(images + step) - loss(images - step)).item()
        assert (found - images)[(b, 0, *place)].item() == pytest.approx(math.copysign(0.1, slope))


def test_a_step_touches_neither_images_nor_gradients_and_is_zero_without_a_gradient() -> None:
    network, images = nn.Conv2d(1, 2, 1), torch.randn(2, 1, 4, 4)
    before = images.clone()
    found = fast_gradient_sign(images, lambda moved: network(moved)[:, :, :2].sum(), 0.5)
    assert torch.equal(images, before)
    assert not images.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(found[:, :, 2:], images[:, :, 2:])
    assert (found[:, :, :2] - images[:, :, :2]).abs().sub(0.5).abs().max() < 1e-6
    assert torch.equal(fast_gradient_sign(images, lambda moved: network(moved).sum(), 0.0), images)


@pytest.mark.parametrize("mode", [True, False])
def test_a_network_evaluates_and_is_set_back_even_after_an_error(*, mode: bool) -> None:
    network = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3), nn.Sequential(nn.Dropout2d())).train(mode)
    network[2][0].train(not mode)
    before = [module.training for module in network.modules()]

    def inside() -> None:
        with evaluating(network):
            assert not any(module.training for module in network.modules())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        inside()
    assert [module.training for module in network.modules()] == before


# -------------------------------------------------------------------------------------------------- dropout's switch


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("on", [True, False])
def test_only_dropout_is_switched_and_is_set_back_even_after_an_error(*, mode: bool, on: bool) -> None:
    network = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3), nn.Sequential(nn.Dropout2d(), nn.Dropout3d())).train(mode)
    network[2][1].train(not mode)
    before = [module.training for module in network.modules()]

    def inside() -> None:
        with dropout_switched(network, on=on):
            assert [network[0].training, network[2][0].training, network[2][1].training] == [on] * 3
            assert network[1].training is network.training is mode
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        inside()
    assert [module.training for module in network.modules()] == before


# ------------------------------------------------------------------------------------------------- modes of a network


def test_a_network_is_evaluated_and_every_module_has_its_mode_back_even_after_an_error() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.Dropout(), nn.Linear(2, 2))).train()
    network[1].eval()
    before = [module.training for module in network.modules()]
    seen = []

    def fail() -> None:
        with evaluating(network):
            seen.extend(module.training for module in network.modules())
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert seen == [False] * len(before)
    assert [module.training for module in network.modules()] == before


def test_paused_batch_norm_uses_the_batch_and_learns_nothing_from_it() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3).train()
    images = 5 + 2 * torch.randn(4, 3, 6, 6)
    expected, before = norm(images), {key: value.clone() for key, value in norm.state_dict().items()}
    with batch_norm_paused(norm):
        assert torch.equal(norm(images), expected)
    assert all(torch.equal(before[key], value) for key, value in norm.state_dict().items())
    assert norm.track_running_stats
    norm(images)
    assert norm.num_batches_tracked == before["num_batches_tracked"] + 1


def test_noise_for_another_distance_is_the_gradient_of_that_distance() -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 2, 5, 5, dtype=torch.float64)
    weight = torch.randn(2, 2, dtype=torch.float64)

    def decode(maps: list[Tensor]) -> Tensor:
        return torch.einsum("kc,bchw->bkhw", weight, maps[0])

    def distance(logits: Tensor, prediction: Tensor) -> Tensor:
        return (logits.softmax(1) - prediction).square().sum()

    state = torch.get_rng_state()
    (noise,) = adversarial_noise(decode, [images], xi=0.5, eps=2.0, distance=distance)
    torch.set_rng_state(state)
    direction = torch.rand_like(images) - 0.5
    direction = direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    direction.requires_grad_()
    moved = decode([images + 0.5 * direction]).softmax(1)
    (gradient,) = torch.autograd.grad((moved - decode([images]).softmax(1)).square().sum(), direction)
    expected = 2.0 * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(noise, expected)


# ----------------------------------------------------------------------------------------------- complementary dropout


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_complementary_dropout_parts_the_channels_of_half_of_the_images(batch: int) -> None:
    torch.manual_seed(batch)
    features = [torch.rand(2 * batch, 64, 4, 3) + 1, torch.rand(2 * batch, 40, 2, 2, 2) + 1]
    found = complementary_dropout(features)
    whole = []
    for before, after in zip(features, found, strict=True):
        factors = (after / before).flatten(2)
        assert (factors == factors[:, :, :1]).all()  # channels as a whole
        first, second = factors[:, :, 0].chunk(2)
        assert torch.equal(first + second, torch.full_like(first, 2))
        whole.append((first == 1).all(1).tolist())
        for image in first[~torch.tensor(whole[-1])]:
            assert set(image.tolist()) == {0.0, 2.0}
            assert 0.2 < (image == 0).double().mean() < 0.8
    assert whole[0] == whole[1]  # the same images in all maps
    assert sum(whole[0]) == batch // 2


def test_complementary_dropout_keeps_the_mean_of_both_views() -> None:
    z = torch.randn(6, 10, 4)
    (found,) = complementary_dropout([torch.cat([z, z])])
    torch.testing.assert_close((found[:6] + found[6:]) / 2, z)


def test_any_image_may_keep_its_channels() -> None:
    kept = set()
    for seed in range(40):
        torch.manual_seed(seed)
        (found,) = complementary_dropout([torch.ones(8, 20, 1)])
        kept.add(tuple((found[:4] == 1).flatten(1).all(1).tolist()))
    assert len(kept) == 6  # two of four


def test_a_prediction_that_is_known_needs_no_pass() -> None:
    passes: list[Tensor] = []

    def decode(maps: list[Tensor]) -> Tensor:
        passes.append(maps[0])
        return torch.cat([maps[0], -maps[0].tanh()], dim=1)

    images = torch.randn(3, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    (expected,) = adversarial_noise(decode, [images], xi=0.5, eps=2.0)
    prediction = decode([images]).softmax(1)
    passes.clear()
    torch.manual_seed(1)
    (noise,) = adversarial_noise(decode, [images], xi=0.5, eps=2.0, prediction=prediction)
    assert torch.equal(noise, expected)
    assert len(passes) == 1
