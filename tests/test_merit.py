"""The figures by which a protocol is chosen, from runs written by hand."""

import importlib.util
import math
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

from ssl_bench.errors import UserError

SPEC = importlib.util.spec_from_file_location("merit", REPOSITORY / "tools" / "merit.py")
assert SPEC is not None
assert SPEC.loader is not None
MERIT = importlib.util.module_from_spec(SPEC)
sys.modules["merit"] = MERIT
SPEC.loader.exec_module(MERIT)


class Protocol:
    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    def model_dump(self, mode: str) -> dict[str, Any]:
        return {"iterations": 10, "log_every": 10, "name": "mini", **self.fields}


class Written:
    """What `merits` reads of a run."""

    path = Path("run")

    def __init__(self, method: str, seed: int, score: float | None, minutes: float = 6, status: str = "finished",
                 **fields: Any) -> None:  # fmt: skip
        self.status = status
        self.result = {"train_seconds": 60 * minutes}
        self.spec = type("Spec", (), {"method": method, "seed": seed, "benchmark": "isic", "labeled": 18,
                                      "protocol": Protocol(fields)})  # fmt: skip
        held = None if score is None else {"cases": 5, "scores": {"dsc": {"mean": score / 100}}}
        self.headline = type("Scores", (), {"validation": held})


def test_gains_spreads_and_hours_are_those_of_the_common_seeds() -> None:
    gains = {101: 2.0, 102: 5.0}
    runs = [Written("supervised", seed, 70.0, 3) for seed in (101, 102, 103)]
    runs += [Written("mt", seed, 70 + gain, 9) for seed, gain in gains.items()]
    runs += [Written("mt", 103, None, status="running")]
    (one,) = MERIT.merits(runs, ["mt"])
    assert one.seeds == (101, 102)
    assert one.baseline == pytest.approx(70)
    assert one.gains["mt"] == pytest.approx((3.5, statistics.stdev(gains.values())))
    assert one.hours == pytest.approx(12 / 60)
    assert one.merit == pytest.approx(3.5 / (math.sqrt(4.5) / math.sqrt(5)) / (5 * 0.2))


def test_settings_are_told_apart_by_what_decides_the_weights_and_the_best_stands_first() -> None:
    runs = []
    for iterations, gain in ((10, 1.0), (20, 4.0)):
        for seed in (101, 102):
            extra = {"iterations": iterations, "log_every": seed}
            runs += [
                Written("supervised", seed, 60, **extra),
                Written("mt", seed, 60 + gain + 0.02 * (seed - 101), **extra),
            ]
    found = MERIT.merits(runs, ["mt"])
    assert [one.setting for one in found] == [{"iterations": 20}, {"iterations": 10}]
    text = MERIT.markdown(found)
    assert text.splitlines()[0] == "| iterations | Seeds | Supervised | Gain of mt | Hours a seed | Merit |"
    assert "| 20 | 101, 102 | 60.00 | +4.01 ± 0.01 |" in text


def test_a_run_without_validation_images_is_named() -> None:
    with pytest.raises(UserError, match="expected a run with validation"):
        MERIT.merits([Written("supervised", 1, None), Written("mt", 1, None)], ["mt"])
