"""Segmentation networks by name, and the weights that their encoders start from."""

from ssl_bench.networks.build import build_network
from ssl_bench.networks.weights import weights_file, weights_fingerprint

__all__ = ["build_network", "weights_file", "weights_fingerprint"]
