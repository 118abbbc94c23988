"""What methods share: losses, ramp-up, moving average, uncertainty, mixes, perturbations, discriminators, queues."""

from ssl_bench.labels import IGNORED
from ssl_bench.ops.alternation import whose_turn
from ssl_bench.ops.auxiliary import AuxiliaryDecoder
from ssl_bench.ops.components import largest_component
from ssl_bench.ops.contrast import queue_contrast
from ssl_bench.ops.cutmix import AdaptiveMix, BoxMix, adaptive_cutmix, clipped_boxes, cutmix, random_box
from ssl_bench.ops.discriminator import (
    FullyConvolutionalDiscriminator,
    HalvingConvolution,
    OriginDiscriminator,
    origin_loss,
    truth_loss,
)
from ssl_bench.ops.distance import signed_distance
from ssl_bench.ops.ema import ExponentialMovingAverage
from ssl_bench.ops.ensemble import Ensemble
from ssl_bench.ops.loss import (
    class_maps,
    confident_labels,
    cross_entropy_loss,
    dice_loss,
    hard_label_dice_loss,
    hard_labels,
    mean_of_parts,
)
from ssl_bench.ops.mixup import LinearMix, beta_draws, mixup
from ssl_bench.ops.norm import MaskedBatchNorm
from ssl_bench.ops.perturb import (
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
)  # fmt: skip
from ssl_bench.ops.queue import FeatureQueue
from ssl_bench.ops.ramp import gaussian_ramp_up
from ssl_bench.ops.resize import nearest_labels
from ssl_bench.ops.similarity import region_similarity_distance
from ssl_bench.ops.turn import ImageTurns, Turn, quarter_turns, random_turn, random_turns
from ssl_bench.ops.umix import RegionMix, random_maps, region_means, umix
from ssl_bench.ops.uncertainty import (
    entropy,
    jensen_shannon,
    mean_prediction_entropy,
    prediction_entropy,
    self_information,
)

__all__ = [
    "IGNORED",
    "AdaptiveMix",
    "AuxiliaryDecoder",
    "BoxMix",
    "Ensemble",
    "ExponentialMovingAverage",
    "FeatureQueue",
    "FullyConvolutionalDiscriminator",
    "HalvingConvolution",
    "ImageTurns",
    "LinearMix",
    "MaskedBatchNorm",
    "OriginDiscriminator",
    "RegionMix",
    "Turn",
    "adaptive_cutmix",
    "adversarial_noise",
    "batch_norm_paused",
    "beta_draws",
    "class_maps",
    "clipped_boxes",
    "complementary_dropout",
    "confident_labels",
    "cross_entropy_loss",
    "cutmix",
    "cutout_box",
    "dice_loss",
    "dropout_switched",
    "entropy",
    "evaluating",
    "fast_gradient_sign",
    "feature_dropout",
    "feature_noise",
    "gaussian_ramp_up",
    "hard_label_dice_loss",
    "hard_labels",
    "image_noise",
    "jensen_shannon",
    "keep_only",
    "largest_component",
    "mean_of_parts",
    "mean_prediction_entropy",
    "mixup",
    "nearest_labels",
    "origin_loss",
    "prediction_entropy",
    "quarter_turns",
    "queue_contrast",
    "random_box",
    "random_maps",
    "random_turn",
    "random_turns",
    "region_means",
    "region_similarity_distance",
    "self_information",
    "signed_distance",
    "truth_loss",
    "umix",
    "whose_turn",
]
