"""When a plan builds the network: before a data set is decoded, and not for runs that are done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_dataset
from handwritten import write_run

from ssl_bench.cards import Request, load_benchmark
from ssl_bench.errors import UserError
from ssl_bench.method import find_method, load_methods
from ssl_bench.store import Store
from ssl_bench.training import network_check as module
from ssl_bench.training.job import Job
from ssl_bench.training.plan import alike_decoders, plan_runs


def plan(data: Path, seeds: tuple[int, ...] = (1,), **options: Any) -> list[Job]:
    load_methods()
    settings = options.pop("settings", {})
    request = Request(load_benchmark("kvasir"), ("supervised",), "2", "tiny", settings, seeds)
    return plan_runs(request, torch.device("cpu"), data, allow_partial=True, **{"advance": None, **options})


def test_a_network_that_cannot_be_built_ends_a_plan_before_the_data_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    data = write_dataset(tmp_path / "data", "kvasir", [str(number) for number in range(20)])
    progress: list[int] = []
    wrong = {"encoder": "tu-nonsense"}
    with pytest.raises(UserError, match="tu-nonsense"):
        plan(data, settings=wrong, advance=lambda done, _: progress.append(done))
    assert progress == []
    assert not list((tmp_path / "cache").rglob("*.h5"))
    plan(data)
    with pytest.raises(UserError, match="tu-nonsense"):  # from the cache, where nothing is decoded
        plan(data, settings=wrong)


def test_the_network_is_built_once_if_a_run_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    data = write_dataset(tmp_path / "data", "kvasir", [str(number) for number in range(8)])
    built: list[str] = []
    monkeypatch.setattr(module, "build_network", lambda protocol, **_: built.append(protocol.network))
    first, second = plan(data, (1, 2))
    assert len(built) == 1, "decoding and the plan's end share one look"
    store = Store(tmp_path / "results")
    done = {first.spec.hash}
    monkeypatch.setattr(Store, "is_done", lambda self, spec, measurement: spec.hash in done)
    assert [job.spec for job in plan(data, (1, 2), store=store)] == [first.spec, second.spec]
    assert len(built) == 2
    done.add(second.spec.hash)
    assert [job.spec for job in plan(data, (1, 2), store=store)] == [first.spec, second.spec]
    assert len(built) == 2


def test_a_run_is_done_if_it_is_finished_and_scored_as_asked(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finished, failed = write_run(store, "mt", 1, [0.5]), write_run(store, "mt", 2, [0.5], status="failed")
    (run,) = (run for run in store.runs() if run.status == "finished")
    measured = run.headline.measurement
    other = measured.model_copy(update={"score_size": 17})
    asked = [(finished, None), (finished, measured), (finished, other), (failed, None)]
    assert [store.is_done(*one) for one in asked] == [True, True, False, False]


def plan_cps(**settings: Any) -> list[Job]:
    """A plan of CPS on drawn images."""
    return plan_demo("cps", **settings)


def plan_demo(name: str, **settings: Any) -> list[Job]:
    """A plan of a method on drawn images."""
    request = Request(load_benchmark("demo"), (name,), "10%", "tiny", settings, (1,))
    return plan_runs(request, torch.device("cpu"), None, allow_partial=False, advance=None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": "nothing"}, "cps's second network: network: expected one of deeplabv3plus.*found 'nothing'"),
        ({"network": "unet", "encoder": "nothing"}, "encoder = 'nothing'"),
        ({"net": "unet"}, "cps's second network: protocol: net"),
    ],
)
def test_a_methods_second_network_that_cannot_be_is_refused(
    changes: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_methods()
    monkeypatch.setattr(find_method("cps"), "architectures", classmethod(lambda *_: [changes]))
    with pytest.raises(UserError, match=words):
        plan_cps()


def test_a_method_that_needs_maps_of_several_scales_is_refused_on_a_network_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load_methods()
    monkeypatch.setattr(find_method("cps"), "needs_pyramid", True)
    with pytest.raises(UserError, match=r"network = 'smp:FPN': expected a network whose decoder .* cps needs"):
        plan_cps(network="smp:FPN", encoder="resnet18")


def test_a_value_that_fits_neither_way_of_writing_it_is_one_line() -> None:
    load_methods()
    with pytest.raises(UserError) as error:
        plan_demo("bcp", pretrain_share=1)
    assert str(error.value) == "--set (bcp): pretrain_share: Input should be less than 1 or 'auto', found 1"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("ict", "unlabeled"), ("admt", "unlabeled"), ("bcp", "labeled"), ("mt-cutmix", "unlabeled"),
        ("fixmatch", "unlabeled"), ("unimatch", "unlabeled"), ("unimatch-v2", "unlabeled"), ("crossmatch", "unlabeled"),
        ("cps-cutmix", "unlabeled"), ("ucmt-cutmix", "labeled"), ("ucmt-cutmix", "unlabeled"),
    ],
)  # fmt: skip
def test_a_method_that_mixes_images_refuses_a_batch_of_one(name: str, part: str) -> None:
    load_methods()
    with pytest.raises(
        UserError, match=rf"^{name}: {part}_batch: expected at least 2, since an image is mixed with another"
    ):
        plan_demo(name, network="unet-small", **{f"{part}_batch": 1})


@pytest.mark.parametrize(("network", "noted"), [("deeplabv3plus", True), ("unet", True), ("unet-small", False)])
def test_decoders_that_cannot_differ_as_they_should_are_noted(network: str, noted: bool) -> None:
    load_methods()
    lines = alike_decoders(plan_demo("mcnet+", network=network))
    assert (lines != []) is noted
    assert all(line.startswith("mcnet+: its decoders should differ by how they double sides") for line in lines)
    assert alike_decoders(plan_demo("mt", network=network)) == []
