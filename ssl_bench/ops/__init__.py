"""Small pure functions that methods share: losses, ramp-up, moving average, entropy and region mixing."""

from ssl_bench.labels import IGNORED
from ssl_bench.ops.components import largest_component
from ssl_bench.ops.cutmix import BoxMix, cutmix
from ssl_bench.ops.discriminator import HalvingConvolution, OriginDiscriminator, origin_loss
from ssl_bench.ops.distance import signed_distance
from ssl_bench.ops.ema import ExponentialMovingAverage
from ssl_bench.ops.loss import cross_entropy_loss, dice_loss, hard_label_dice_loss, hard_labels
from ssl_bench.ops.perturb import (
    adversarial_noise,
    batch_norm_paused,
    cutout_box,
    dropout_switched,
    evaluating,
    feature_dropout,
    feature_noise,
    keep_only,
)  # fmt: skip
from ssl_bench.ops.queue import FeatureQueue
from ssl_bench.ops.ramp import gaussian_ramp_up
from ssl_bench.ops.umix import RegionMix, umix
from ssl_bench.ops.uncertainty import entropy, mean_prediction_entropy

__all__ = [
    "IGNORED",
    "BoxMix",
    "ExponentialMovingAverage",
    "FeatureQueue",
    "HalvingConvolution",
    "OriginDiscriminator",
    "RegionMix",
    "adversarial_noise",
    "batch_norm_paused",
    "cross_entropy_loss",
    "cutmix",
    "cutout_box",
    "dice_loss",
    "dropout_switched",
    "entropy",
    "evaluating",
    "feature_dropout",
    "feature_noise",
    "gaussian_ramp_up",
    "hard_label_dice_loss",
    "hard_labels",
    "keep_only",
    "largest_component",
    "mean_prediction_entropy",
    "origin_loss",
    "signed_distance",
    "umix",
]
