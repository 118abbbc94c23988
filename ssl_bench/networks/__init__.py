"""Segmentation networks by name, and the weights that their encoders start from.

A file that registers a network needs `Build` and `register_network`.
"""

from ssl_bench.networks.build import build_network
from ssl_bench.networks.registry import Build, find_network, register_network, require_sides
from ssl_bench.networks.weights import weights_file, weights_fingerprint

__all__ = [
    "Build",
    "build_network",
    "find_network",
    "register_network",
    "require_sides",
    "weights_file",
    "weights_fingerprint",
]
