"""The contract of a semi-supervised method and the registry; a method's file needs this and `ssl_bench.ops` alone."""

from ssl_bench.cards import Protocol
from ssl_bench.errors import UserError
from ssl_bench.method.contract import (
    AdversaryHyperparameters,
    Batch,
    CutMixHyperparameters,
    Hyperparameters,
    Images,
    Progress,
    SecondNetworkHyperparameters,
    Setup,
    Snapshot,
    SSLMethod,
    Update,
    require_pairs,
)
from ssl_bench.method.registry import (
    base_hashes,
    find_method,
    load_methods,
    parse_hyperparameters,
    register,
    source_hash,
)

__all__ = [
    "AdversaryHyperparameters",
    "Batch",
    "CutMixHyperparameters",
    "Hyperparameters",
    "Images",
    "Progress",
    "Protocol",
    "SSLMethod",
    "SecondNetworkHyperparameters",
    "Setup",
    "Snapshot",
    "Update",
    "UserError",
    "base_hashes",
    "find_method",
    "load_methods",
    "parse_hyperparameters",
    "register",
    "require_pairs",
    "source_hash",
]
