"""Cards and the definition of a run: data sets, protocols, metrics, tables, and the run's identity."""

from ssl_bench.cards.benchmark import CHANNELS, GREY, Benchmark, Intensity
from ssl_bench.cards.card import Card, parse_card, read_toml
from ssl_bench.cards.download import Archive, Download
from ssl_bench.cards.grid import Column, Grid, Row, all_grids, chosen_grids, load_grid
from ssl_bench.cards.layout import (
    ARRAYS,
    HDF5,
    VOLUME_SUFFIXES,
    Axes,
    ExifOrientation,
    Files,
    ImageAxes,
    SliceWindow,
    Volumes,
    image_axes,
    members_of,
    require_pattern,
)
from ssl_bench.cards.load import card_kinds, card_names, load_benchmark, load_protocol, with_split_file
from ssl_bench.cards.measurement import SEEING, Measurement, measurement_of, recorded_measurement
from ssl_bench.cards.metric import HEADLINE, METRICS, DistanceUnit, Metric, MetricName
from ssl_bench.cards.protocol import (
    PROTOCOLS,
    ImageAugmentation,
    ImageProtocol,
    Protocol,
    Upsampling,
    Views,
    VolumeAugmentation,
    VolumeProtocol,
    fields_that,
)
from ssl_bench.cards.request import Request
from ssl_bench.cards.runspec import HARNESS, RUN_ID, RunSpec, includes_points, seed_text, training_fields
from ssl_bench.cards.settings import Divided, divide, dotted, parse_setting, protocol_keys
from ssl_bench.cards.share import number_of, parse_share, share, share_of
from ssl_bench.cards.split import Split

__all__ = [
    "ARRAYS",
    "CHANNELS",
    "GREY",
    "HARNESS",
    "HDF5",
    "HEADLINE",
    "METRICS",
    "PROTOCOLS",
    "RUN_ID",
    "SEEING",
    "VOLUME_SUFFIXES",
    "Archive",
    "Axes",
    "Benchmark",
    "Card",
    "Column",
    "DistanceUnit",
    "Divided",
    "Download",
    "ExifOrientation",
    "Files",
    "Grid",
    "ImageAugmentation",
    "ImageAxes",
    "ImageProtocol",
    "Intensity",
    "Measurement",
    "Metric",
    "MetricName",
    "Protocol",
    "Request",
    "Row",
    "RunSpec",
    "SliceWindow",
    "Split",
    "Upsampling",
    "Views",
    "VolumeAugmentation",
    "VolumeProtocol",
    "Volumes",
    "all_grids",
    "card_kinds",
    "card_names",
    "chosen_grids",
    "divide",
    "dotted",
    "fields_that",
    "image_axes",
    "includes_points",
    "load_benchmark",
    "load_grid",
    "load_protocol",
    "measurement_of",
    "members_of",
    "number_of",
    "parse_card",
    "parse_setting",
    "parse_share",
    "protocol_keys",
    "read_toml",
    "recorded_measurement",
    "require_pattern",
    "seed_text",
    "share",
    "share_of",
    "training_fields",
    "with_split_file",
]
