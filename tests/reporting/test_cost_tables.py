"""`run --dry-run` and `methods --costs`: what they say, and that they train and write nothing."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Call, assert_error

import ssl_bench
from ssl_bench import plugins
from ssl_bench.method import registry as registry_module
from ssl_bench.networks import registry as networks_module
from ssl_bench.reporting import cost_tables
from ssl_bench.results import RunResult
from ssl_bench.training.costs import Cost

SHORT: dict[str, Any] = {"dataset": "demo", "protocol": "tiny", "device": "cpu"}
ONE = {"settings": {"iterations": 1}}

READER = """
from collections.abc import Iterator

from torch import nn

from ssl_bench.method import Batch, Progress, SSLMethod, Update, register
from ssl_bench.networks import Build, register_network
from ssl_bench.ops import dice_loss


@register
class Reader(SSLMethod):
    name = "reader"
    title = "Reader"
    reference = "none"
    uses_unlabeled = False

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.network = self.new_student()

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        loss = dice_loss(self.network(batch.labeled.student1), batch.labels, 1.0)
        if loss.item() >= 0:
            yield Update({"supervised": (1.0, loss)})

    @property
    def predictor(self):
        return self.network


@register_network("point", dimensions=(2, 3))
def point(wanted: Build) -> nn.Module:
    return (nn.Conv2d if wanted.protocol.dimensions == 2 else nn.Conv3d)(wanted.channels, wanted.classes, 1)
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in (registry_module, networks_module):
        monkeypatch.setattr(module, "_REGISTRY", dict(module._REGISTRY))
    monkeypatch.setattr(plugins, "_TEXTS", dict(plugins._TEXTS))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "reader.py").write_text(READER)


def cells(table: Any, method: str) -> dict[str, str]:
    """A method's row by heading."""
    (row,) = [row for row in table.rows if str(row[0]) == method]
    return dict(zip(table.headings, map(str, row), strict=True))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_dry_run_says_how_far_the_runs_are_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_tables, "job_cost", lambda _: Cost(1_500_000, 2_000_000_000, 3 << 30, 1))

    def dry(**changes: Any) -> RunResult:
        return ssl_bench.run(["supervised", "mt"], **SHORT, **(ONE | changes), seeds=[1, 2], dry_run=True)

    unbegun = dry()
    assert not (tmp_path / "results").exists()
    assert (unbegun.runs, unbegun.outcome.trained, unbegun.outcome.failures) == ([], 0, [])
    row = cells(unbegun.table, "mt")
    assert [row[name] for name in ("Missing", "Updates", "Parameters [M]", "GFLOP", "Memory [GiB]")] == [
        "2", "1", "1.50", "2.0", "3.000",
    ]  # fmt: skip
    assert unbegun.table is not None
    # 32x32 pixels, three channels and a mask: of the labelled 2 % of 300 training images, of all of them
    images = unbegun.table.to_frame()["Images [GiB]"] * 2**30
    assert images.tolist() == [6 * 4 * 32**2, 300 * 4 * 32**2]

    trained = ssl_bench.run("supervised", **SHORT, **ONE, seeds=[1]).runs[0]
    record = trained.path / "run.json"
    before = files(tmp_path / "results")
    found = dry()
    states = [[cells(found.table, name)[state] for state in ("Finished", "Unfinished", "Missing")]
              for name in ("supervised", "mt")]  # fmt: skip
    assert states == [["1", "0", "1"], ["0", "0", "2"]]
    assert [run.path for run in found.runs] == [trained.path]
    assert found.table is not None
    assert "4 runs on demo, protocol tiny, fp32: 1 finished, 0 unfinished, 3 missing" in found.table.title
    other = dry(settings={"iterations": 1, "metrics": ["dsc", "95hd"]})
    assert cells(other.table, "supervised")["Finished, not scored"] == "1"
    assert cells(other.table, "supervised")["Finished"] == "0"
    assert files(tmp_path / "results") == before

    record.write_text(record.read_text().replace('"finished"', '"failed"', 1))
    assert cells(dry().table, "supervised")["Unfinished"] == "1"


@pytest.mark.slow
def test_the_costs_of_methods_are_those_of_the_dry_run(call: Call) -> None:
    table = ssl_bench.method_costs(["supervised", "mt"], dataset="demo3d", protocol="tiny")
    code, out, _ = call("run", "--methods", "supervised,mt", "--dataset", "demo3d", "--protocol", "tiny", "--dry-run")
    assert code == 0
    assert "Nothing was trained." in out
    assert not Path("results").exists()
    for name in ("supervised", "mt"):
        own = list(cells(table, name).values())
        printed = next(line for line in out.splitlines() if name in line.split()).replace("│", " ").split()
        assert [printed[0], *printed[4:8]] == own  # between them the states, after them the images
        assert float(own[2]) > 0


@pytest.mark.slow
def test_what_does_not_fit_is_left_out_of_the_list_but_refused_by_name(call: Call) -> None:
    words = ("methods", "--costs", "--dataset", "demo", "--protocol", "tiny", "--methods-dir", "own")
    point = ("--set", "network=point", "--set", "r=5")
    code, out, _ = call(*words, *point)
    assert code == 0
    assert "cct is left out: network = 'point': expected a network with encoder" in out
    assert "ucmt is left out: r: sides of 32x32 must be divisible by r, found r = 5" in out
    assert "reader: the costs of an iteration cannot be predicted; without values it ends with" in out
    assert_error(call(*words, *point[:2], "--methods", "cct"), "network = 'point'")
    assert_error(call(*words, "--methods", "cct", "--set", "nothing=5"), "--set nothing: unknown key")
    assert_error(call(*words, "--methods", "nobody"), "nobody")


@pytest.mark.parametrize("option", ["--dataset", "--protocol", "--set"])
def test_options_of_the_costs_need_them(call: Call, option: str) -> None:
    assert_error(call("methods", option, "mt=1"), f"{option}: needs --costs")
