"""tools/speed: it runs, its ratios are what they say, and the bare iteration makes the calls that the method makes."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

from ssl_bench.cards import Request, load_protocol

TOOLS = REPOSITORY / "tools" / "speed"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))


@pytest.mark.slow
def test_it_prints_and_writes_ratios_and_tells_missed_targets(tmp_path: Path) -> None:
    words = ["--sections", "mixing,steps,iteration", "--methods", "supervised", "--protocol", "tiny", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, str(TOOLS), *words, "--device", "cpu", "--csv", "speed.csv"], cwd=tmp_path, text=True,
        capture_output=True, check=False, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    with (tmp_path / "speed.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["section"] for row in rows} == {"mixing", "steps", "iteration"}
    assert done.returncode == int(any(row["met"] == "no" for row in rows))
    for row in rows:
        ours, other, ratio = (float(row[name]) for name in ("ours_ms", "other_ms", "ratio"))
        assert ratio == pytest.approx(ours / other if row["target"].startswith("<=") else other / ours, rel=0.01)


@pytest.mark.slow
def test_an_unknown_method_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, str(TOOLS), "--methods", "nonsense", "--sections", "iteration"], text=True, check=False,
        capture_output=True, timeout=300, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: --methods: expected one of the ")
    assert "found 'nonsense'" in done.stderr


@pytest.mark.usefixtures("tools")
def test_targets_have_a_side() -> None:
    from timing import Settings, of_times

    settings = Settings(torch.device("cpu"), 3, (), "tiny", ())
    pairs = [(1.0, 2.0), (1.0, 3.0), (1.0, 4.0)]
    cost = of_times("s", "w", "a", "b", pairs, settings, "<= 0.4")
    assert (cost.ratio, cost.met) == (pytest.approx(1 / 3), True)
    gain = of_times("s", "w", "a", "b", pairs, settings, ">= 5")
    assert (gain.ratio, gain.low, gain.high, gain.met) == (3, 2.5, 3.5, False)
    assert of_times("s", "w", "a", "b", pairs, settings, "").met is None


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("method", "calls"),
    [
        # per update: how many calls with and without gradient; labelled and unlabelled images go through apart
        ("supervised", [(1, 0)]),
        ("mt", [(2, 1)]),
        ("cps", [(4, 0)]),
        ("cmtv3", [(4, 1)]),
        ("ucmt", [(4, 2), (4, 0)]),
    ],
)
def test_the_bare_iteration_makes_the_methods_calls(method: str, calls: list[tuple[int, int]]) -> None:
    from iteration import bare_iteration, harness, record
    from timing import Settings

    settings = Settings(torch.device("cpu"), 1, (method,), "tiny", ("fp32",))
    with harness(method, 2, "fp32", settings) as trainer:
        updates = record(trainer)
        found = [(sum(one.trains for one in own), sum(not one.trains for one in own)) for own, _ in updates]
        assert found == calls
        before = [p.detach().clone() for p in trainer.method.parameters() if p.requires_grad]
        bare_iteration(trainer)()
        after = [p for p in trainer.method.parameters() if p.requires_grad]
        assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), "every weight is trained"


@pytest.mark.usefixtures("tools")
def test_the_loop_over_samples_gives_what_umix_gives() -> None:
    from mixing import umix_at_once, umix_loop

    torch.manual_seed(0)
    images, labels = torch.randn(4, 3, 32, 32), torch.randint(0, 2, (4, 32, 32))
    maps = torch.rand(2, 4, 32, 32)
    for ours, loop in zip(umix_at_once(images, labels, maps, 8)(), umix_loop(images, labels, maps, 8), strict=True):
        assert torch.equal(ours, loop)


@pytest.mark.usefixtures("tools")
def test_settings_of_the_protocol_reach_the_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    import iteration
    from timing import Settings

    asked: list[Request] = []
    monkeypatch.setattr(iteration, "plan_runs", lambda request, *_, **__: [asked.append(request)])
    chosen = {"image_size": 32, "precision": "bf16"}
    iteration.plan("mt", 2, Settings(torch.device("cpu"), 1, (), "tiny", (), (2,), chosen), precision="fp32")
    assert (asked[0].protocol, asked[0].settings) == (
        "tiny", {"iterations": 10**6, "image_size": 32, "precision": "fp32"},
    )  # fmt: skip


@pytest.mark.usefixtures("tools")
def test_views_are_timed_at_the_sides_that_they_are_drawn_at_and_brought_to() -> None:
    from drawing import resized, stream, views_of
    from timing import Settings

    settings = Settings(torch.device("cpu"), 1, (), "tiny", ())
    batches = stream(16, load_protocol("tiny", {"image_size": 32, "augment_size": 48}), settings)
    assert batches.images.shape[-1] == 48
    for work in (views_of(batches), resized(batches)):
        views = work()
        assert isinstance(views, list)
        assert [view.shape[-1] for view in views] == [32] * 3


@pytest.mark.usefixtures("tools")
def test_other_dimensions_than_2_and_3_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmark import parsed

    monkeypatch.setattr("sys.argv", ["speed", "--dimensions", "2,4"])
    with pytest.raises(SystemExit, match="2"):
        parsed()
    assert "--dimensions: expected 2, 3 or 2,3; found 2,4" in capsys.readouterr().err
