"""Training and scoring of whole runs in this process, on a dozen discs and a network of half a million parameters."""

import importlib
import json
import math
import socket
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_dataset
from handwritten import cases_of, contents_of, summary_of
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import interpolate

from ssl_bench import plugins
from ssl_bench.cards import Request, load_benchmark, load_protocol
from ssl_bench.data import stream as stream_module
from ssl_bench.errors import InterruptedRunError, UserError
from ssl_bench.launch.inprocess import Outcome, run_all
from ssl_bench.method import SSLMethod, find_method, load_methods
from ssl_bench.method import registry as registry_module
from ssl_bench.networks import build_network
from ssl_bench.reporting.notes import origin
from ssl_bench.store import Run, RunProgress, Store
from ssl_bench.training import trainer as train_module
from ssl_bench.training.device import set_determinism
from ssl_bench.training.job import Job, build_method
from ssl_bench.training.plan import plan_runs, short_ramps
from ssl_bench.training.provenance import cpu_name, provenance
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.train import train
from ssl_bench.training.trainer import Trainer

CPU = torch.device("cpu")
IDS = [f"case{number}" for number in range(12)]  # 2 of them are the test set
NETWORKS = {
    "supervised": ["network"],
    "mt": ["student", "teacher"],
    "cps": ["student1", "student2"],
    "cmtv3": ["student1", "student2", "teacher"],
    "ucmt": ["student1", "student2", "teacher"],
}
ARTEFACTS = ("cases-*.csv", "curves.csv", "examples.npz", "weights.safetensors")

load_methods()


class Recorder:
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def begin_run(self, number: int, total: int, job: Job) -> None:
        self.told.append(("begin", number, total, job.spec.method))

    def end_run(self, outcome: str) -> None:
        self.told.append(("end", outcome))

    def wait(self, runs: int, job: Job, progress: RunProgress | None) -> None:
        self.told.append(("wait", runs, job.spec.method, progress))

    def start(self, task: str, done: int, total: int) -> None:
        self.told.append((task, done, total))

    def step(self, text: str = "") -> None:
        self.told.append(("step", text))


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with twelve discs in Kvasir's layout, of a few sizes."""
    return write_dataset(tmp_path_factory.mktemp("discs"), "kvasir", IDS)


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods that a test adds are gone after it."""
    monkeypatch.setattr(registry_module, "_REGISTRY", dict(registry_module._REGISTRY))
    monkeypatch.setattr(plugins, "_TEXTS", dict(plugins._TEXTS))


def plan(data: Path, *methods: str, labeled: str = "2", seeds: tuple[int, ...] = (1,), **settings: Any) -> list[Job]:
    request = Request(load_benchmark("kvasir"), methods, labeled, "tiny", settings, seeds)
    return plan_runs(request, CPU, data, allow_partial=True, advance=None)


def finished(jobs: list[Job], root: Path, display: Recorder | None = None) -> list[Run]:
    """Train and score all; they must all end well."""
    store = Store(root)
    assert run_all(jobs, store, CPU, display or Recorder()) == Outcome(trained=len(jobs))
    runs = [store.find(job.spec) for job in jobs]
    assert all(run is not None and run.status == "finished" for run in runs)
    return [run for run in runs if run is not None]


def test_a_run_that_is_waited_for_is_named(discs: Path, tmp_path: Path) -> None:
    (job,) = plan(discs, "supervised", iterations=2)
    store, display, is_held = Store(tmp_path), Recorder(), threading.Event()

    def train_elsewhere() -> None:
        with store.claim(job.spec):
            store.folder(job.spec).note_progress(RunProgress("training", 1, 2, ""))
            is_held.set()
            time.sleep(1)

    other = threading.Thread(target=train_elsewhere)
    other.start()
    is_held.wait()
    outcome = run_all([job], store, CPU, display)
    other.join()
    assert outcome.trained == 1
    assert display.told[0] == ("wait", 1, "supervised", RunProgress("training", 1, 2, "", host=socket.gethostname()))
    assert display.told[1][0] == "begin"


def add_method(folder: Path, name: str, body: str) -> SSLMethod:
    """A method file of a user's: a supervised one whose `updates` is `body`, which sees `loss` and `progress`."""
    folder.mkdir(exist_ok=True)
    text = f'''
import torch
from ssl_bench.method import SSLMethod, Update, register
from ssl_bench.ops import dice_loss


@register
class Mine(SSLMethod):
    name, title, reference = "{name}", "{name}", "nobody"
    uses_unlabeled = False

    def __init__(self, setup, hyper):
        super().__init__(setup, hyper)
        self.network = self.new_student()

    def updates(self, batch, progress):
        loss = dice_loss(self.network(batch.labeled.student1), batch.labels, 1e-5)
        {body}

    @property
    def predictor(self):
        return self.network
'''
    (folder / f"{name}.py").write_text(text)
    return load_methods(folder)[name]


# ---------------------------------------------------------------------------------------------------------- learning


@pytest.mark.slow
def test_discs_are_learned(discs: Path, tmp_path: Path) -> None:
    settings = {"labeled_batch": 4, "learning_rate": 5e-3, "log_every": 5, "aspp_dropout": 0.0}
    short = finished(plan(discs, "supervised", "mt", labeled="6", iterations=1, **settings), tmp_path)
    long = finished(plan(discs, "supervised", "mt", labeled="6", iterations=40, **settings), tmp_path)
    for before, after in zip(short, long, strict=True):
        losses = after.curves["supervised1"]
        assert losses.iloc[-1] < 0.5 * losses.iloc[0]
        scores = [summary_of(run)[run.result["predictor"]]["dsc"]["mean"] for run in (before, after)]
        assert scores[1] > max(0.75, scores[0] + 0.2)


def test_the_teacher_moves_to_the_student_and_is_not_the_student(discs: Path, tmp_path: Path) -> None:
    (job,) = plan(discs, "mt")
    (run,) = finished([job], tmp_path)
    first = build_method(job.spec, job.method, job.hyper, CPU).state_dict()
    last = load_file(run.path / "weights.safetensors")
    assert first.keys() == last.keys()
    weight = "segmentation_head.0.weight"
    start, end, student = (
        first[f"teacher.network.{weight}"],
        last[f"teacher.network.{weight}"],
        last[f"student.{weight}"],
    )
    assert not torch.equal(start, end)
    assert not torch.equal(student, end)
    assert (end - student).norm() < 0.1 * (start - student).norm()  # a warm-up of the decay: it copied the student


def test_lambda_ramps_up_over_the_run_or_over_its_epochs(discs: Path, tmp_path: Path) -> None:
    whole, five = (
        finished(plan(discs, "mt", iterations=10, log_every=1, lambda_max=0.2, rampup_epochs=length), tmp_path)[
            0
        ].curves
        for length in ("run", 1.0)
    )
    # 10 training images in batches of 2: an epoch has 5 iterations.
    expected = [0.2 * math.exp(-5 * max(0, 1 - t / 10) ** 2) for t in range(1, 11)]
    assert whole["lambda"].tolist() == pytest.approx(expected)
    expected = [0.2 * math.exp(-5 * max(0, 1 - t / 5) ** 2) for t in range(1, 11)]
    assert five["lambda"].tolist() == pytest.approx(expected)
    assert whole["loss1"].tolist() == pytest.approx(whole["supervised1"] + whole["lambda"] * whole["mts1"])


@pytest.mark.parametrize("start", [0, 1])
def test_without_a_ramp_up_lambda_has_its_full_value_from_the_first_iteration(
    discs: Path, tmp_path: Path, start: int
) -> None:
    jobs = plan(discs, "mt", iterations=3, log_every=1, lambda_max=0.7, rampup_epochs="none", ramp_start=start)
    (run,) = finished(jobs, tmp_path)
    assert run.curves["lambda"].tolist() == [0.7, 0.7, 0.7]
    assert short_ramps(jobs) == []
    with_ramp = plan(discs, "mt", iterations=3, log_every=1, lambda_max=0.7, rampup_epochs="run", ramp_start=start)
    assert jobs[0].spec.hash != with_ramp[0].spec.hash


@pytest.mark.parametrize(
    ("start", "first", "second", "last"),
    [
        # the authors': 0.1 exp(-5 (1 - t / 5)^2), for an epoch of 5 iterations, for t = 0, 1 and 4
        (0, 0.00067379470, 0.0040762204, 0.081873075),
        (1, 0.0040762204, 0.016529889, 0.1),  # t = 1, 2 and 5
    ],
)
def test_lambdas_ramp_up_starts_where_the_protocol_says(
    discs: Path, tmp_path: Path, start: int, first: float, second: float, last: float
) -> None:
    jobs = plan(discs, "mt", iterations=5, log_every=1, lambda_max=0.1, rampup_epochs=1.0, ramp_start=start)
    (run,) = finished(jobs, tmp_path)
    assert run.curves["lambda"].iloc[[0, 1, -1]].tolist() == pytest.approx([first, second, last], rel=1e-7)


# ------------------------------------------------------------------------------------------------- length and records


def test_a_method_that_updates_twice_has_half_the_iterations(discs: Path, tmp_path: Path) -> None:
    mt, ucmt = finished(plan(discs, "mt", "ucmt"), tmp_path)
    assert (mt.iteration, mt.iterations, mt.result["updates"]) == (6, 6, 6)
    assert (ucmt.iteration, ucmt.iterations, ucmt.result["updates"]) == (3, 3, 6)
    assert mt.curves["iteration"].tolist() == [2, 4, 6]
    assert ucmt.curves["iteration"].tolist() == [2, 3]
    (odd,) = plan(discs, "ucmt", iterations=5)
    assert odd.iterations == 3


def test_every_network_of_every_method_is_scored_on_every_test_case(discs: Path, tmp_path: Path) -> None:
    jobs = plan(discs, *NETWORKS, iterations=2, metrics=["dsc", "jaccard", "95hd", "asd"])
    for job, run in zip(jobs, finished(jobs, tmp_path), strict=True):
        cases, networks = cases_of(run), NETWORKS[run.spec.method]
        assert list(cases.columns) == ["network", "case", "class", "dsc", "jaccard", "95hd", "asd"]
        expected = [(network, case, "polyp") for network in networks for case in job.splits.test]
        assert list(cases[["network", "case", "class"]].itertuples(index=False, name=None)) == expected
        assert set(summary_of(run)) == set(run.result["parameters"]) == set(networks)
        assert run.result["predictor"] == build_method(job.spec, job.method, job.hyper, CPU).predictor_name
        for network, own in cases.groupby("network"):
            for metric in ("dsc", "jaccard", "95hd", "asd"):
                score = summary_of(run)[network][metric]
                assert score["undefined"] == own[metric].isna().sum()
                assert score["mean"] == (None if own[metric].isna().all() else pytest.approx(own[metric].mean()))


def test_the_run_says_where_it_came_from_and_leaves_only_its_files(discs: Path, tmp_path: Path) -> None:
    (job,) = plan(discs, "mt", iterations=2)
    (run,) = finished([job], tmp_path)
    names = {"run.json", "splits.json", *(path.name for name in ARTEFACTS for path in run.path.glob(name))}
    assert {path.name for path in run.path.iterdir()} - {".lock"} == names
    assert len(names) == 2 + len(ARTEFACTS)
    record = json.loads((run.path / "run.json").read_text())
    assert record["hash"] == run.path.name == job.spec.hash
    assert record["provenance"].keys() >= {
        "started",
        "finished",
        "device",
        "python",
        "packages",
        "ssl_bench",
        "command",
    }
    assert record["provenance"]["packages"]["torch"] == torch.__version__.split("+")[0]
    assert record["provenance"]["device"] == cpu_name()
    assert record["result"]["train_seconds"] > 0


def test_a_cpu_is_named_by_what_decides_its_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr("platform.processor", lambda: "arm")
    for name in ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR"):
        monkeypatch.delenv(name, raising=False)
    one = "processor\t: {}\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nstepping\t: 1\n"
    (tmp_path / "x86").write_text(one.format(0) + "\n" + one.format(1) + "\n")
    assert cpu_name(tmp_path / "x86") == "CPU (AMD EPYC, family 25, model 17, AVX512), 2 threads"
    (tmp_path / "arm").write_text("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n\n")
    assert cpu_name(tmp_path / "arm") == cpu_name(tmp_path / "absent") == "CPU (arm, AVX512), 2 threads"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "")
    limited = "CPU (AMD EPYC, family 25, model 17, AVX512, oneDNN AVX2, MKL CBWR COMPATIBLE), 2 threads"
    assert cpu_name(tmp_path / "x86") == limited


def test_splits_are_listed_disjoint_and_the_same_for_every_method(discs: Path, tmp_path: Path) -> None:
    runs = finished(plan(discs, "mt", "supervised", labeled="3", seeds=(1, 2), iterations=1), tmp_path)
    splits = [json.loads((run.path / "splits.json").read_text()) for run in runs]
    for split in splits:
        assert sorted(split["labeled"] + split["unlabeled"] + split["test"]) == sorted(IDS)  # each once
        assert [len(split[part]) for part in ("labeled", "unlabeled", "test")] == [3, 7, 2]
    assert splits[0] == splits[1]
    assert splits[2] == splits[3]
    assert splits[0]["test"] == splits[2]["test"]
    assert splits[0]["labeled"] != splits[2]["labeled"]


@pytest.mark.parametrize("pool", ["unlabeled", "all"])
def test_the_streams_draw_from_the_labelled_set_and_the_protocols_pool(
    pool: str, discs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[Any] = []
    monkeypatch.setenv("SSL_BENCH_MEMORY", "all")

    class Watched(stream_module.ImageStream):
        def __init__(self, *arguments: Any) -> None:
            given.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(stream_module, "ImageStream", Watched)
    (job,) = plan(discs, "mt", labeled="3", iterations=1, seeds=(7,), unlabeled_pool=pool)
    finished([job], tmp_path)
    ((images, masks, labeled, unlabeled, protocol, seed),) = given
    expected = {"labeled": job.splits.labeled, "unlabeled": job.splits.unlabeled}
    if pool == "all":
        expected["unlabeled"] += job.splits.labeled
    for part, rows in (("labeled", labeled), ("unlabeled", unlabeled)):
        pixels, truths = job.dataset.arrays(tuple(sorted(expected[part])))
        own = {(images[row].numpy().tobytes(), masks[row].numpy().tobytes()) for row in rows}
        assert len(own) == len(rows)
        assert own == {(p.tobytes(), t.tobytes()) for p, t in zip(pixels, truths, strict=True)}
    assert (protocol, seed) == (job.spec.protocol, 7)


def test_supervised_sees_its_labelled_images_alone(
    discs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[set[str]] = []
    (job,) = plan(discs, "supervised", labeled="3", iterations=1)
    rows = type(job.dataset).rows

    def watched(dataset: Any, ids: tuple[str, ...]) -> list[int]:
        asked.append(set(ids))
        return rows(dataset, ids)

    monkeypatch.setattr(type(job.dataset), "rows", watched)
    finished([job], tmp_path)
    assert asked == [set(job.splits.labeled), set(job.splits.test)]


# -------------------------------------------------------------------------------------------------------- the scores


def scored_by_hand(run: Run, job: Job, discs: Path, network: str, side: int | None) -> dict[str, tuple[float, float]]:
    """DSC and Jaccard of a run's saved network, from the files on disk by Pillow, smp and numpy alone."""
    protocol = job.spec.protocol
    weights = load_file(run.path / "weights.safetensors")
    prefix = f"{network}.network." if network == "teacher" else f"{network}."
    net = build_network(protocol)
    net.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    net.eval()
    scores = {}
    for case in job.splits.test:
        image = Image.open(discs / "Kvasir-SEG" / "images" / f"{case}.jpg")
        mask = Image.open(discs / "Kvasir-SEG" / "masks" / f"{case}.jpg").convert("L").point(lambda v: 255 * (v > 127))
        size = image.size if side is None else (side, side)
        truth = np.asarray(mask.resize(size, Image.Resampling.NEAREST)) > 127
        small = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)) / 255
        inputs = torch.from_numpy(((small - 0.5) / 0.5).transpose(2, 0, 1)[None]).float()
        with torch.no_grad():
            logits = interpolate(net(inputs), size=truth.shape, mode="bilinear", align_corners=False)
        predicted = logits[0].argmax(0).numpy() == 1
        overlap, union = (predicted & truth).sum(), (predicted | truth).sum()
        scores[case] = (2 * overlap / (predicted.sum() + truth.sum()), overlap / union)
    return scores


@pytest.mark.parametrize("side", [None, 48])
def test_scores_are_those_of_the_saved_networks_on_the_files(side: int | None, discs: Path, tmp_path: Path) -> None:
    settings = {} if side is None else {"score_size": side}
    (job,) = plan(discs, "mt", labeled="6", iterations=20, learning_rate=5e-3, **settings)
    (run,) = finished([job], tmp_path)
    for network, own in cases_of(run).groupby("network"):
        expected = scored_by_hand(run, job, discs, str(network), side)
        assert own["case"].tolist() == list(expected)
        assert any(0.2 < score < 1 for score, _ in expected.values())
        for row in own.itertuples():
            # One pixel of some hundred may fall on the other side where two logits are all but equal.
            assert (row.dsc, row.jaccard) == pytest.approx(expected[row.case], abs=2e-3)


def test_images_and_masks_pass_through_the_augmentation_size(discs: Path, tmp_path: Path) -> None:
    (job,) = plan(discs, "ucmt", augment_size=64, image_size=32, score_size=64, iterations=2)
    assert job.dataset.path.stem == "64"
    (run,) = finished([job], tmp_path)
    assert cases_of(run)["dsc"].between(0, 1).all()


# -------------------------------------------------------------------------------------------------------- same bits


def contents(run: Run) -> list[bytes]:
    return contents_of(run.path, *ARTEFACTS)


def test_a_run_repeated_elsewhere_gives_the_same_bytes(discs: Path, tmp_path: Path) -> None:
    methods = ["supervised", "mt", "cps", "ucmt"]
    first = finished(plan(discs, *methods, iterations=4), tmp_path / "first")
    torch.manual_seed(99)  # nothing may hang on what came before in the process
    np.random.seed(99)
    second = finished(plan(discs, *methods[::-1], iterations=4), tmp_path / "second")[::-1]
    for one, other in zip(first, second, strict=True):
        assert one.spec.method == other.spec.method
        assert contents(one) == contents(other)


def test_another_seed_gives_other_weights_and_another_labelled_set(discs: Path, tmp_path: Path) -> None:
    one, other = finished(plan(discs, "supervised", seeds=(1, 2), iterations=1), tmp_path)
    assert contents(one)[2] != contents(other)[2]


def test_how_often_it_is_checkpointed_changes_nothing(
    discs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs = plan(discs, "mt", select="train-loss")
    (seldom,) = finished(jobs, tmp_path / "seldom")
    monkeypatch.setattr(train_module, "CHECKPOINT_SECONDS", -1.0)
    (often,) = finished(jobs, tmp_path / "often")
    assert contents(seldom) == contents(often)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings"),
    [("mt", {"precision": "bf16"}), ("ucmt", {"select": "train-loss", "log_every": 3, "unlabeled_batch": 5})],
    ids=["mt in bf16", "ucmt by training loss"],
)
def test_a_run_stopped_at_every_iteration_ends_in_the_same_bytes(
    method: str, settings: dict[str, Any], discs: Path, tmp_path: Path
) -> None:
    (job,) = plan(discs, method, iterations=5 * find_method(method).updates_per_iteration, **settings)
    (whole,) = finished([job], tmp_path / "whole")
    folder, stop = Store(tmp_path / "stopped").folder(job.spec), StopSignal()
    stop.signal_number = 15
    for _ in range(job.iterations):  # the last one while it is scored
        with pytest.raises(InterruptedRunError):
            train(job, folder, CPU, stop, Recorder(), provenance(job.method, CPU))
    train(job, folder, CPU, StopSignal(), Recorder(), provenance(job.method, CPU))
    stopped = Store(tmp_path / "stopped").find(job.spec)
    assert stopped is not None
    assert contents(stopped) == contents(whole)
    assert summary_of(stopped) == summary_of(whole)
    assert stopped.result["selected_train_loss"] == whole.result["selected_train_loss"]


def test_a_ramp_up_that_the_run_does_not_reach_the_end_of_is_said(discs: Path) -> None:
    # ten training images in batches of 2: an epoch is 5 iterations
    short = plan(discs, "supervised", "mt", "ucmt", iterations=20, rampup_epochs=3.0)
    assert [job.rampup_length for job in short] == [15, 15, 15]
    (line,) = short_ramps(short)  # UCMT has ten iterations
    reached = math.exp(-5 * (1 - 10 / 15) ** 2)
    assert line.startswith(f"ucmt: lambda's ramp-up takes 15 iterations, but the run has 10 and ends at {reached:.2f}")
    assert short_ramps(plan(discs, "mt", "ucmt", iterations=20)) == []
    (line,) = short_ramps(plan(discs, "ucmt", iterations=20, rampup_epochs=3.0, ramp_start=0))
    assert f"and ends at {math.exp(-5 * (1 - 9 / 15) ** 2):.2f}" in line


def test_the_peak_memory_is_that_of_all_of_a_runs_processes(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = plan(discs, "mt", iterations=2)
    folder, stop = Store(tmp_path).folder(job.spec), StopSignal()
    stop.signal_number, peaks = 15, iter([5.0, 7.0, 3.0])
    peak: list[float] = []
    monkeypatch.setattr(train_module, "peak_memory", lambda _: peak[0])
    for _ in range(2):
        peak[:] = [next(peaks)]
        with pytest.raises(InterruptedRunError):
            train(job, folder, CPU, stop, Recorder(), provenance(job.method, CPU))
    peak[:] = [next(peaks)]
    train(job, folder, CPU, StopSignal(), Recorder(), provenance(job.method, CPU))
    run = Store(tmp_path).find(job.spec)
    assert run is not None
    assert run.result["peak_memory_mib"] == 7.0


def test_operations_without_a_deterministic_form_are_named_in_every_run_that_used_them(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterate, shown = Trainer.iterate, []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))

    def put(trainer: Trainer, stream: Any) -> None:
        iterate(trainer, stream)
        if trainer.iteration == 1 and trainer.job.spec.seed < 3:
            torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))  # which order wins is torch's to choose

    monkeypatch.setattr(Trainer, "iterate", put)
    jobs, store, stop = plan(discs, "mt", iterations=2, seeds=(1, 2, 3)), Store(tmp_path), StopSignal()
    stop.signal_number = 15
    set_determinism()
    warnings.simplefilter("ignore")  # as PYTHONWARNINGS does; pytest brings the filters back
    with pytest.raises(InterruptedRunError):  # after the iteration that used it
        train(jobs[0], store.folder(jobs[0].spec), CPU, stop, Recorder(), provenance(jobs[0].method, CPU))
    assert run_all(jobs, store, CPU, Recorder()).trained == 3
    assert [run.result["nondeterministic"] for run in store.runs()] == [["put_"], ["put_"], []]
    assert sum(message.startswith("put_ does not have") for message in shown) == 2  # it is said too
    (note,) = [line for line in origin(store.runs()) if " used operations " in line]
    assert note.startswith("mt used operations that have no deterministic form on CPU")
    assert "(put_): training the same seed again" in note


def test_auxiliary_decoders_are_counted_beside_the_networks(discs: Path, tmp_path: Path) -> None:
    counts = dict.fromkeys(("vat", "spatial_dropout", "cutout", "context_masking", "object_masking"), 0)
    counts |= {"feature_dropout": 1, "feature_noise": 2}
    run, other = finished(plan(discs, "cct", iterations=1, **counts) + plan(discs, "mt", iterations=1), tmp_path)
    network = build_network(load_protocol("tiny"))
    decoder = sum(p.numel() for part in (network.decoder, network.segmentation_head) for p in part.parameters())
    assert run.result["auxiliary_parameters"] == 3 * decoder
    assert run.result["parameters"] == {"network": sum(p.numel() for p in network.parameters())}
    assert other.result["auxiliary_parameters"] == 0


@pytest.mark.parametrize("uncertainty_from", ["step1", "after-update"])
def test_in_bf16_every_weight_of_ucmts_students_has_a_gradient_in_both_steps(
    uncertainty_from: str, discs: Path, tmp_path: Path
) -> None:
    (job,) = plan(discs, "ucmt", iterations=2, precision="bf16", uncertainty_from=uncertainty_from)
    folder = Store(tmp_path).folder(job.spec)
    folder.path.mkdir(parents=True)
    trainer = Trainer(job, folder, CPU)
    trainer.method.train()
    moved: list[bool] = []

    def look(*_: Any) -> None:
        students = (trainer.method.student1, trainer.method.student2)
        weights = [p for student in students for p in student.parameters() if p.dim() > 1]
        moved.append(all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in weights))

    trainer.optimizers.networks.register_step_pre_hook(look)
    trainer.iterate(trainer.open_stream())
    assert moved == [True, True]


def test_a_run_that_goes_on_elsewhere_says_where_it_was_before(discs: Path, tmp_path: Path) -> None:
    (job,) = plan(discs, "mt", iterations=3)
    folder, stop = Store(tmp_path).folder(job.spec), StopSignal()
    origin, stop.signal_number = provenance(job.method, CPU), 15
    for device in ("first", "first", "second"):
        with pytest.raises(InterruptedRunError):
            train(job, folder, CPU, stop, Recorder(), origin | {"device": device})
    train(job, folder, CPU, StopSignal(), Recorder(), origin)
    run = Store(tmp_path).find(job.spec)
    assert run is not None
    assert run.provenance["device"] == origin["device"]
    assert run.provenance["earlier"] == [origin | {"device": device} for device in ("first", "second")]


# -------------------------------------------------------------------------------------------- which weights are scored


def epoch_means(run: Run, loss: str) -> list[float]:
    """Means over whole epochs of 5 iterations (10 training images in batches of 2)."""
    losses = run.curves[loss].tolist()
    return [float(np.mean(losses[start : start + 5])) for start in range(0, len(losses) - 4, 5)]


@pytest.mark.parametrize(("method", "loss"), [("supervised", "loss1"), ("ucmt", "loss2")])
def test_the_loss_selected_by_is_the_lowest_epoch_mean_of_the_last_update(
    method: str, loss: str, discs: Path, tmp_path: Path
) -> None:
    iterations = 12 * find_method(method).updates_per_iteration
    (run,) = finished(plan(discs, method, iterations=iterations, log_every=1, select="train-loss"), tmp_path)
    means = epoch_means(run, loss)
    assert len(run.curves) == 12
    assert len(means) == 2
    assert run.result["selected_train_loss"] == pytest.approx(min(means), rel=1e-6)


def test_the_last_weights_are_scored_unless_the_protocol_says_otherwise(discs: Path, tmp_path: Path) -> None:
    (run,) = finished(plan(discs, "supervised"), tmp_path)
    assert run.result["selected_train_loss"] is None


@pytest.mark.parametrize(
    ("slope", "iterations", "best"),
    [
        ("+ 0.5 * progress.iteration", 15, 5), ("- 0.5 * progress.iteration", 15, 15), ("* 0", 15, 15),
        ("- 0.5 * progress.iteration", 13, 10), ("- 0.5 * progress.iteration", 3, 3),
    ],
    ids=[
        "a rising loss: the first epoch", "a falling loss: the last", "a tie: the last",
        "an epoch cut short does not count", "unless it is the only one",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("own_registry")
def test_the_weights_scored_are_those_after_the_epoch_with_the_lowest_loss(
    slope: str, iterations: int, best: int, discs: Path, tmp_path: Path
) -> None:
    add_method(tmp_path / "methods", "sloped", f'yield Update({{"supervised": (1.0, loss {slope})}})')
    # A supervised run's first iterations do not depend on how many follow: one that stops there is the oracle.
    (chosen,) = finished(plan(discs, "sloped", iterations=iterations, select="train-loss"), tmp_path)
    (stopped,) = finished(plan(discs, "sloped", iterations=best, select="last"), tmp_path / "stopped")
    (last,) = finished(plan(discs, "sloped", iterations=iterations, select="last"), tmp_path / "last")
    assert chosen.result["selected_train_loss"] is not None
    cases, _, pictures, weights = contents(chosen)
    of_stopped = contents(stopped)
    assert (cases, pictures, weights) == (of_stopped[0], of_stopped[2], of_stopped[3])
    assert (weights == contents(last)[3]) == (best == iterations)


@pytest.mark.parametrize(
    ("phase", "best"), [(5, 10), (7, 15), (15, 15)],
    ids=["the second epoch is the first that counts", "an epoch with both does not count", "none counts: the last"],
)  # fmt: skip
@pytest.mark.usefixtures("own_registry")
def test_epochs_of_a_phase_whose_loss_lacks_a_term_are_not_selected(
    phase: int, best: int, discs: Path, tmp_path: Path
) -> None:
    loss = "loss + 0.5 * progress.iteration"
    body = f'yield Update({{"supervised": (1.0, {loss})}}, selectable=progress.iteration > {phase})'
    add_method(tmp_path / "methods", "phased", body)
    (chosen,) = finished(plan(discs, "phased", iterations=15, select="train-loss"), tmp_path)
    (stopped,) = finished(plan(discs, "phased", iterations=best, select="last"), tmp_path / "stopped")
    assert contents(chosen)[3] == contents(stopped)[3]


# ------------------------------------------------------------------------------------------------------------ failure


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_loss_that_is_not_finite_fails_its_run_alone(
    checkpointed: bool, discs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = (
        'yield Update({"supervised": (1.0, loss), "odd": (1.0, loss * (torch.nan if progress.iteration == 3 else 1))})'
    )
    add_method(tmp_path / "methods", "nan", body)
    if checkpointed:
        monkeypatch.setattr(train_module, "CHECKPOINT_SECONDS", -1.0)
    jobs, store, display = plan(discs, "nan", "supervised", log_every=4), Store(tmp_path), Recorder()
    outcome = run_all(jobs, store, CPU, display)
    assert (outcome.trained, outcome.user_error, len(outcome.failures)) == (1, False, 1)
    (failure,) = outcome.failures
    assert failure.startswith("nan ·")
    assert "iteration 3" in failure
    assert "odd1 = nan" in failure
    assert "supervised1" not in failure
    failed, other = (store.find(job.spec) for job in jobs)
    assert failed is not None
    assert other is not None
    assert other.status == "finished"
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error in failure
    assert not list(failed.path.glob("cases-*.csv"))
    assert not (failed.path / "weights.safetensors").exists()
    content = store.folder(jobs[0].spec).read_checkpoint()
    if checkpointed:
        assert str(failed.path / "checkpoint.json") in failure
        assert content is not None
        assert failed.iteration == 2
    else:
        assert "no checkpoint had been written" in failure
        assert content is None

    again = run_all(jobs, store, CPU, Recorder())  # it is tried again, from the checkpoint, and fails in the same way
    assert (again.trained, again.already_finished, again.failures) == (0, 1, outcome.failures)


@pytest.mark.usefixtures("own_registry")
def test_weights_that_the_last_step_spoiled_are_not_scored(discs: Path, tmp_path: Path) -> None:
    # A finite loss with a gradient that is not: the square root at 0 times 0. Its run would score 0 and look like one.
    body = 'yield Update({"supervised": (1.0, loss + (0 if progress.iteration < 6 else (0 * loss).sqrt()))})'
    add_method(tmp_path / "methods", "spoiled", body)
    jobs, store = plan(discs, "spoiled"), Store(tmp_path)
    outcome = run_all(jobs, store, CPU, Recorder())
    assert outcome.trained == 0
    assert len(outcome.failures) == 1


MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
    MemoryError("Unable to allocate 9.00 GiB for an array"),
]


@pytest.mark.parametrize("error", MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "where", ["training.trainer.build_method", "training.trainer.open_stream", "scoring.scorer.score_case"]
)
def test_memory_that_runs_out_fails_its_run_and_says_what_to_lower(
    where: str, error: Exception, discs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module_name, _, name = where.rpartition(".")
    module = importlib.import_module(f"ssl_bench.{module_name}")
    original, calls = getattr(module, name), []

    def refuse_once(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, refuse_once)
    jobs, store = plan(discs, "mt", "supervised", iterations=1), Store(tmp_path)
    outcome = run_all(jobs, store, CPU, Recorder())
    assert (outcome.trained, len(outcome.failures)) == (1, 1)
    (failure,) = outcome.failures
    assert str(error).splitlines()[0] in failure
    assert "\n" not in failure
    for field, now in (("labeled_batch", 2), ("unlabeled_batch", 2), ("image_size", 32)):
        assert field in failure
        assert f"{now})" in failure
    assert [store.find(job.spec).status for job in jobs] == ["failed", "finished"]  # type: ignore[union-attr]


def test_other_errors_are_not_taken_for_memory(discs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def break_down(*_: Any, **__: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(train_module, "build_method", break_down)
    (job,) = plan(discs, "mt", iterations=1)
    with pytest.raises(RuntimeError, match="mat1"):
        train(job, Store(tmp_path).folder(job.spec), CPU, StopSignal(), Recorder(), provenance(job.method, CPU))


# ------------------------------------------------------------------------------------------------ what a run asks for


def test_a_plan_has_every_method_of_every_seed_on_the_same_data(discs: Path) -> None:
    jobs = plan(discs, "mt", "supervised", "mt", seeds=(3, 1))
    assert [(job.spec.seed, job.spec.method) for job in jobs] == [
        (3, "mt"), (3, "supervised"), (1, "mt"), (1, "supervised"),
    ]  # fmt: skip
    assert len({job.spec.data_fingerprint for job in jobs}) == 1
    assert all((job.spec.train_count, job.spec.test_count, job.spec.labeled) == (10, 2, 2) for job in jobs)


def test_the_labelled_share_is_of_the_training_images_that_are_there(discs: Path) -> None:
    (job,) = plan(discs, "mt", labeled="35%")
    assert job.spec.labeled == len(job.splits.labeled) == 3


def test_all_images_labelled_is_a_supervised_run_and_no_other(discs: Path, tmp_path: Path) -> None:
    (run,) = finished(plan(discs, "supervised", labeled="100%", iterations=1), tmp_path)
    assert run.spec.labeled == 10
    with pytest.raises(UserError, match="unlabelled"):
        plan(discs, "supervised", "mt", labeled="100%")
    (job,) = plan(discs, "mt", labeled="100%", unlabeled_pool="all", iterations=1)
    finished([job], tmp_path)


def test_a_batch_larger_than_the_labelled_set_repeats_it(discs: Path, tmp_path: Path) -> None:
    (run,) = finished(plan(discs, "mt", labeled="1", iterations=1, labeled_batch=4), tmp_path)
    assert run.spec.labeled == 1


@pytest.mark.parametrize("settings", [{"r": 5}, {"k": 200, "r": 16}, {"k": 0}, {"nonsense": 1}])
def test_hyperparameters_that_do_not_fit_are_found_before_any_work(settings: dict[str, int], discs: Path) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        plan(discs, "ucmt", **settings)


def test_the_number_of_a_run_counts_all_runs_of_the_request(discs: Path, tmp_path: Path) -> None:
    display = Recorder()
    finished(plan(discs, "mt", "supervised", iterations=2), tmp_path, display)
    told = [entry for entry in display.told if entry[0] != "step"]
    assert told == [
        ("begin", 1, 2, "mt"), ("training", 0, 2), ("scoring", 0, 4), ("end", "finished"),
        ("begin", 2, 2, "supervised"), ("training", 0, 2), ("scoring", 0, 2), ("end", "finished"),
    ]  # fmt: skip
    assert sum(entry[0] == "step" for entry in display.told) == 2 + 4 + 2 + 2


def test_after_a_mistake_in_the_data_the_same_process_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    data = write_dataset(tmp_path, "kvasir", IDS)
    path = data / "Kvasir-SEG" / "masks" / "case4.jpg"
    content = path.read_bytes()
    path.write_bytes(content[:300])
    with pytest.raises(UserError) as caught:
        plan(data, "mt")
    assert str(path) in str(caught.value)  # which is still held, and must hold no lock
    path.write_bytes(content)
    assert len(plan(data, "mt")) == 1


def test_a_failed_run_is_recorded_with_its_reason(discs: Path, tmp_path: Path) -> None:
    (job,) = plan(discs, "mt", iterations=1)
    folder = Store(tmp_path).folder(job.spec)
    folder.begin(job.spec, job.measurement, 1, {"device": "test"})
    folder.fail("the reason")
    run = Store(tmp_path).find(job.spec)
    assert run is not None
    assert (run.status, run.error) == ("failed", "the reason")
    finished([job], tmp_path)  # another start clears it
    run = Store(tmp_path).find(job.spec)
    assert run is not None
    assert (run.status, run.error) == ("finished", None)


@pytest.mark.usefixtures("own_registry")
def test_a_fault_of_a_method_costs_its_own_run_alone(discs: Path, tmp_path: Path) -> None:
    add_method(
        tmp_path / "methods",
        "faulty",
        "yield Update({'supervised': (1.0, loss)}) if 1 / (progress.iteration - 3) else 0",
    )
    jobs = plan(discs, "faulty", "supervised")
    store = Store(tmp_path)
    outcome = run_all(jobs, store, CPU, Recorder())
    assert (outcome.trained, outcome.user_error, len(outcome.failures)) == (1, False, 1)
    faulty, other = (store.find(job.spec) for job in jobs)
    assert faulty is not None
    assert other is not None
    assert (faulty.status, other.status) == ("failed", "finished")
    assert faulty.error == f"{tmp_path}/methods/faulty.py:18: ZeroDivisionError: division by zero"
    assert "progress.iteration - 3" in (faulty.path / "traceback.txt").read_text()


@pytest.mark.usefixtures("own_registry")
def test_a_run_does_not_go_on_with_another_text_of_its_method(
    discs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(train_module, "CHECKPOINT_SECONDS", 0.0)
    add_method(tmp_path / "methods", "edited", "yield Update({'supervised': (1.0, loss / (progress.iteration < 4))})")
    (job,) = plan(discs, "edited")
    store = Store(tmp_path)
    assert run_all([job], store, CPU, Recorder()).failures  # a division by zero at iteration 4, after checkpoints
    file = tmp_path / "methods" / "edited.py"
    file.write_text(file.read_text() + "# mended\n")
    load_methods(file.parent)
    (job,) = plan(discs, "edited")
    outcome = run_all([job], store, CPU, Recorder())
    assert outcome.user_error
    assert "the method's file has changed" in outcome.failures[0]
    (store.folder(job.spec).path / "checkpoint.json").unlink()
    assert "the method's file has changed" not in run_all([job], store, CPU, Recorder()).failures[0]
