"""Images set apart for validation: never trained on, scored on the way and at the end, and of no effect on training."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Call, write_dataset
from displays import Silent
from handwritten import contents_of

from ssl_bench.cards import Request, RunSpec, Split, load_benchmark
from ssl_bench.data.split import Splits, draw_labeled, kept_together, set_apart, split_cases
from ssl_bench.errors import InterruptedRunError, UserError
from ssl_bench.launch.inprocess import run_all
from ssl_bench.method import load_methods
from ssl_bench.scoring.scorer import Scorer, summary
from ssl_bench.store import Run, Store
from ssl_bench.training.job import Job, build_method
from ssl_bench.training.plan import plan_runs
from ssl_bench.training.provenance import provenance
from ssl_bench.training.stop import StopSignal
from ssl_bench.training.train import train

CPU = torch.device("cpu")
IDS = tuple(f"c{i:02}" for i in range(40))
load_methods()


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("discs"), "kvasir", [f"c{i}" for i in range(20)])


def plan(data: Path, name: str = "mt", **settings: Any) -> Job:
    request = Request(load_benchmark("kvasir"), (name,), "6", "tiny", settings, (1,))
    return plan_runs(request, CPU, data, allow_partial=True, advance=None)[0]


def finished(job: Job, root: Path) -> Run:
    store = Store(root)
    assert not run_all([job], store, CPU, Silent()).failures
    run = store.find(job.spec)
    assert run is not None
    return run


def curve(run: Run) -> list[list[str]]:
    with (run.path / "validation_curve.csv").open() as file:
        return list(csv.reader(file))


# --------------------------------------------------------------------------------------------------------- the split


def drawn(seed: int = 1, masked: tuple[str, ...] = IDS) -> Splits:
    return draw_labeled(IDS, ("t1",), 10, seed, masked=masked, first=False)


@pytest.mark.parametrize(("source", "share", "count"), [("labeled", 0.2, 2), ("train", 0.2, 8), ("labeled", 0.01, 1)])
def test_as_many_as_the_share_says_from_where_it_says(source: Any, share: float, count: int) -> None:
    before = drawn()
    after = set_apart(before, source, share, 1, masked=IDS)
    assert len(after.validation) == count
    assert set(after.validation) <= set(before.labeled if source == "labeled" else before.unlabeled)
    assert sorted(after.labeled + after.unlabeled + after.validation) == sorted(IDS)
    assert (len(after.labeled), after.test) == (10 - count if source == "labeled" else 10, ("t1",))


def test_the_draw_is_the_seeds_and_a_smaller_one_lies_inside_a_larger() -> None:
    small, large = (set_apart(drawn(), "train", share, 1, masked=IDS).validation for share in (0.1, 0.3))
    assert set(small) < set(large)
    assert set_apart(drawn(), "train", 0.1, 1, masked=IDS).validation == small
    assert set_apart(drawn(2), "train", 0.1, 2, masked=IDS).validation != small


def test_what_has_no_mask_is_not_validated_on() -> None:
    masked = (*drawn().labeled, *drawn().unlabeled[:5])
    after = set_apart(drawn(masked=masked), "train", 0.1, 1, masked=masked)
    assert set(after.validation) <= set(masked)
    words = r"validation_share = 0\.9: 36 of 5 unlabelled images with a mask would leave none"
    with pytest.raises(UserError, match=words):
        set_apart(drawn(masked=masked), "train", 0.9, 1, masked=masked)


@pytest.mark.parametrize("source", ["labeled", "train"])
def test_no_validation_image_is_of_a_sequence_or_the_copy_of_an_image_that_is_trained_on(source: Any) -> None:
    """Frames 1 to 80, a sequence from every fourth on; of 15 other images, each has a copy."""
    frames = tuple(str(number) for number in range(1, 81))
    by_sequence = Split.model_validate({"test": "25%", "sequence_starts": list(range(1, 81, 4))})
    copies = tuple(f"{number}{which}" for number in range(15) for which in "ab")
    at_random = Split.model_validate({"test": "20%"})
    for split, ids, contents, part in (
        (by_sequence, frames, frames, lambda name: (int(name) - 1) // 4),
        (at_random, copies, [name[:-1] for name in copies], lambda name: name[:-1]),
    ):
        masked = ids
        train_ids, test_ids = split_cases(split, ids, contents, masked=masked)
        for seed in range(1, 6):
            before = draw_labeled(train_ids, test_ids, 4, seed, masked=masked, first=False)
            together = kept_together(split, ids, contents, None)
            after = set_apart(before, source, 0.1, seed, masked=masked, together=together)
            trained = {part(name) for name in (*after.labeled, *after.unlabeled)}
            assert after.validation
            assert not trained & {part(name) for name in after.validation}
            assert set(after.validation) <= set(before.labeled if source == "labeled" else before.unlabeled)


def test_runs_whose_validation_keeps_sequences_whole_are_other_runs(tmp_path: Path) -> None:
    data, card = write_dataset(tmp_path, "cvc", [str(number) for number in range(1, 600, 12)]), load_benchmark("cvc")

    def planned(**settings: Any) -> RunSpec:
        request = Request(card, ("mt",), "6", "tiny", settings, (1,))
        (job,) = plan_runs(request, CPU, data, allow_partial=True, advance=None)
        return job.spec

    by_sequence = planned(split="by-sequence", validation="train")
    assert by_sequence.kept_whole is True
    assert planned(split="random", validation="train").kept_whole is None
    assert planned(split="by-sequence").kept_whole is None
    assert by_sequence.hash != by_sequence.model_copy(update={"kept_whole": None}).hash


# ------------------------------------------------------------------------------------------------------------ the run


@pytest.mark.parametrize("source", ["labeled", "train"])
def test_a_run_scores_its_validation_images_at_intervals_and_at_the_end(
    source: str, discs: Path, tmp_path: Path
) -> None:
    job = plan(discs, validation=source, validation_share=0.34, validate_every=3, iterations=6)
    run = finished(job, tmp_path)
    assert len(job.splits.validation) == run.headline.validation["cases"] == (2 if source == "labeled" else 5)
    header, *rows = curve(run)
    assert header == ["iteration", "dsc", "jaccard"]
    assert [row[0] for row in rows] == ["3", "6"]
    scores = run.headline.validation["scores"]
    assert [float(value) for value in rows[-1][1:]] == [scores[metric]["mean"] for metric in ("dsc", "jaccard")]
    # By hand: the weights that the run wrote, on these images.
    from safetensors.torch import load_file

    method = build_method(job.spec, job.method, job.hyper, CPU)
    method.load_state_dict(load_file(run.path / "weights.safetensors"))
    scorer = Scorer(job.dataset, job.splits.validation, job.spec, job.measurement, CPU)
    rows = [row for one in scorer.predictions({"teacher": method.predictor}) for row in scorer.rows(one)]
    by_hand = summary(rows, ("dsc", "jaccard"))
    assert by_hand["teacher"] == scores


def test_looking_changes_nothing(discs: Path, tmp_path: Path) -> None:
    looks = finished(plan(discs, validation="labeled", validate_every=2, iterations=6), tmp_path / "a")
    blind = finished(plan(discs, validation="labeled", iterations=6), tmp_path / "b")
    files = ("weights.safetensors", "cases-*.csv", "curves.csv", "splits.json")
    assert contents_of(looks.path, *files) == contents_of(blind.path, *files)
    assert not (blind.path / "validation_curve.csv").exists()
    assert blind.headline.validation == looks.headline.validation


def test_without_validation_a_run_is_the_one_it_always_was(discs: Path, tmp_path: Path) -> None:
    plain = plan(discs, iterations=6)
    assert {"validation", "validation_share", "validate_every"}.isdisjoint(plain.spec.identity()["protocol"])
    assert plain.splits.validation == ()
    hashes = {
        plan(discs, iterations=6, **settings).spec.hash
        for settings in ({}, {"validation": "labeled"}, {"validation": "train"},
                         {"validation": "labeled", "validation_share": 0.5})
    }  # fmt: skip
    assert len(hashes) == 4
    assert finished(plain, tmp_path).headline.validation is None


def test_a_stopped_run_goes_on_to_the_same_curve(discs: Path, tmp_path: Path) -> None:
    job = plan(discs, validation="train", validate_every=1, iterations=6)
    whole = finished(job, tmp_path / "a")
    store, stops = Store(tmp_path / "b"), 0
    for steps in (2, 3, 30):
        stop = StopSignal()
        try:
            with store.claim(job.spec):
                origin = provenance(job.method, CPU)
                train(job, store.folder(job.spec), CPU, stop, Silent(stop, ("training", steps)), origin)
        except InterruptedRunError:
            stops += 1
    assert stops == 2
    run = store.find(job.spec)
    assert run is not None
    files = ("validation_curve.csv", "weights.safetensors", "cases-*.csv")
    assert contents_of(run.path, *files) == contents_of(whole.path, *files)


def test_what_does_not_hang_together_is_said(call: Call, discs: Path) -> None:
    words = ["run", "--methods", "mt", "--dataset", "kvasir", "--labeled", "6", "--protocol", "tiny", "--allow-partial"]
    words += ["--data-root", str(discs)]
    code, _, err = call(*words, "--set", "validate_every=3")
    assert (code, "validate_every needs validation = labeled or train" in err) == (2, True)
    code, _, err = call(*words, "--set", "validation=test")
    assert (code, "validation" in err) == (2, True)
    code, _, err = call(*words, "--set", "validation=labeled", "--set", "validation_share=0.95")
    assert (code, "6 of 6 labelled images with a mask would leave none to train on" in err) == (2, True)
