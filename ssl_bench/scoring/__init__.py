"""Measuring networks: predictions, metrics per case, and scores of a run's networks.

A file that registers a metric needs `Masks`, `Metric` and `register_metric`.
"""

from ssl_bench.cards import Metric
from ssl_bench.scoring.metrics import Masks, register_metric

__all__ = ["Masks", "Metric", "register_metric"]
