"""Small pure functions that methods share: losses, ramp-up, moving average, entropy and region mixing."""

from ssl_bench.ops.ema import ExponentialMovingAverage
from ssl_bench.ops.loss import dice_loss, hard_label_dice_loss
from ssl_bench.ops.ramp import gaussian_ramp_up
from ssl_bench.ops.umix import RegionMix, umix
from ssl_bench.ops.uncertainty import entropy, mean_prediction_entropy

__all__ = [
    "ExponentialMovingAverage",
    "RegionMix",
    "dice_loss",
    "entropy",
    "gaussian_ramp_up",
    "hard_label_dice_loss",
    "mean_prediction_entropy",
    "umix",
]
