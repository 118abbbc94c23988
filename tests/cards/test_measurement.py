"""Measurement: which fields of a data set's card are in it, and that a default never changes a key."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from ssl_bench.cards import Benchmark, load_benchmark, load_protocol, measurement_of, parse_card
from ssl_bench.errors import UserError

LA, ISIC = load_benchmark("la"), load_benchmark("isic")
IN_FILES = {"files": {"roots": ["."], "images": "i/{id}", "masks": "m/{id}"}, "dimensions": 2}
NIFTI = {"roots": ["."], "images": "i/{id}.nii.gz", "masks": "m/{id}.nii.gz"}
IN_2D_OR_3D = ("score_size", "stride", "window_batch", "largest_component")
HDF5 = {"roots": ["."], "images": "{id}.h5"}


def card(**fields: Any) -> Benchmark:
    data = {
        "name": "mine", "title": "Mine", "dimensions": 3, "classes": ["background", "liver"], "cases": 4,
        "splits": {"random": {"test": 1}}, "labeled": ["50%"], "metrics": ["dsc"], "source": "s", "license": "l",
        "citation": "c",
    }  # fmt: skip
    return parse_card(Benchmark, data | ({} if "dimensions" in fields else {"volumes": [NIFTI]}) | fields, "card")


def measured(benchmark: Benchmark, **settings: Any) -> dict[str, Any]:
    protocol = load_protocol("paper", settings, dimensions=benchmark.dimensions)
    data = measurement_of(protocol, benchmark).model_dump(mode="json", exclude_none=True)
    return {name: value for name, value in data.items() if name not in IN_2D_OR_3D}


@pytest.mark.parametrize(
    ("benchmark", "described"),
    [
        (ISIC, {"metrics": ["dsc", "jaccard"], "score_size": "original"}),
        (
            LA,
            {
                "metrics": ["dsc", "jaccard", "95hd", "asd"],
                "stride": [18, 18, 4],
                "window_batch": 4,
                "largest_component": True,
            },
        ),
    ],
    ids=["isic", "la"],
)
def test_a_key_is_that_of_the_fields_that_there_were_before_distances_had_units(
    benchmark: Benchmark, described: dict[str, Any]
) -> None:
    protocol = load_protocol("paper", dimensions=benchmark.dimensions)
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))
    assert measurement_of(protocol, benchmark).key == hashlib.sha256(text.encode()).hexdigest()[:8]


def test_defaults_of_the_card_are_not_in_the_measurement() -> None:
    named = card(metrics=["95hd"], distance_unit="voxel", undefined_distances="left-out")
    assert measured(named) == measured(card(metrics=["95hd"])) == {"metrics": ["95hd"]}


def test_a_parameter_is_in_the_measurement_where_a_metric_depends_on_it() -> None:
    everything = card(nsd_tolerance=2, distance_unit="mm", undefined_distances="worst")
    distance = {"distance_unit": "mm", "undefined_distances": "worst"}
    assert measured(everything) == {"metrics": ["dsc"]}
    assert measured(everything, metrics=["precision", "recall"]) == {"metrics": ["precision", "recall"]}
    assert measured(everything, metrics=["asd"]) == {"metrics": ["asd"], **distance}
    tolerance = {"nsd_tolerance": 2.0, "distance_unit": "mm"}
    assert measured(everything, metrics=["nsd"]) == {"metrics": ["nsd"], **tolerance}
    assert measured(everything, metrics=["95hd", "nsd"]) == {"metrics": ["95hd", "nsd"], **tolerance, **distance}


def test_nsd_without_a_tolerance_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^card: .*nsd_tolerance must be given, since metrics has nsd$"):
        card(metrics=["dsc", "nsd"])
    with pytest.raises(UserError, match=r"^--set metrics: nsd needs nsd_tolerance \(in px\) on the card of isic"):
        measured(ISIC, metrics=["nsd"])
    with pytest.raises(UserError, match=r"\(in mm\) on the card of mine"):
        measured(card(distance_unit="mm"), metrics=["dsc", "nsd"])
    with pytest.raises(UserError, match="greater than 0, found 0"):
        card(nsd_tolerance=0)


@pytest.mark.parametrize(
    "fields",
    [IN_FILES, {"dimensions": 3, "generator": "demo3d"}, {"volumes": [HDF5]}, {"volumes": [NIFTI, HDF5]}],
    ids=["images", "drawn", "hdf5", "one of two"],
)
def test_mm_needs_files_that_have_a_spacing(fields: dict[str, Any]) -> None:
    assert card(**fields).distance_unit == "voxel"
    with pytest.raises(UserError, match=r"^card: .*distance_unit 'mm' needs \[\[volumes\]\] in a format") as told:
        card(**fields, distance_unit="mm")
    assert len(str(told.value).splitlines()) == 1


def test_a_reader_is_told_of_tolerances_and_of_worst_values_alone() -> None:
    named = card(metrics=["dsc", "nsd", "asd"], nsd_tolerance=1.5, distance_unit="mm", undefined_distances="worst")
    measurement = measurement_of(load_protocol("paper", dimensions=3), named)
    assert measurement.remarks("dsc") == []
    assert measurement.remarks("nsd") == ["NSD [%]: tolerance 1.5 mm."]
    assert measurement.remarks("asd") == ["ASD [mm]: the image's diagonal where one of the two masks is empty."]
    assert measurement_of(load_protocol("paper", dimensions=3), LA).remarks("asd") == []


@pytest.mark.parametrize(
    ("benchmark", "heading"),
    [(card(**IN_FILES), "95HD [px]"), (card(), "95HD [voxel]"), (card(distance_unit="mm"), "95HD [mm]")],
    ids=["px", "voxel", "mm"],
)
def test_a_heading_has_the_unit_of_the_card(benchmark: Benchmark, heading: str) -> None:
    assert benchmark.heading("95hd") == heading
    assert benchmark.heading("nsd") == "NSD [%]"
