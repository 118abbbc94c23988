"""What defines a run: Benchmark and Protocol (cards in benchmarks/), RunSpec, and the hash that is its identity."""

from ssl_bench.spec.benchmark import (
    GREY,
    METRICS,
    VOLUME_SUFFIXES,
    Benchmark,
    Files,
    Intensity,
    Metric,
    Split,
    Volumes,
    number_of,
    parse_share,
    share_of,
)
from ssl_bench.spec.load import (
    card_names,
    load_benchmark,
    load_protocol,
    parse_setting,
    protocol_keys,
    with_split_file,
)
from ssl_bench.spec.protocol import (
    AnyProtocol,
    ImageAugmentation,
    ImageProtocol,
    Protocol,
    Views,
    VolumeAugmentation,
    VolumeProtocol,
)
from ssl_bench.spec.run import RunSpec

__all__ = [
    "GREY",
    "METRICS",
    "VOLUME_SUFFIXES",
    "AnyProtocol",
    "Benchmark",
    "Files",
    "ImageAugmentation",
    "ImageProtocol",
    "Intensity",
    "Metric",
    "Protocol",
    "RunSpec",
    "Split",
    "Views",
    "VolumeAugmentation",
    "VolumeProtocol",
    "Volumes",
    "card_names",
    "load_benchmark",
    "load_protocol",
    "number_of",
    "parse_setting",
    "parse_share",
    "protocol_keys",
    "share_of",
    "with_split_file",
]
