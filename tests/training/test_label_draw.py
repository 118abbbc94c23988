"""A label seed draws the labelled cases and nothing else; a run without one is the run that it always was."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_dataset
from pydantic import ValidationError

from ssl_bench.cards import Request, RunSpec, load_benchmark, seed_text
from ssl_bench.data.split import draw_labeled, set_apart
from ssl_bench.errors import UserError
from ssl_bench.launch.task import run_task
from ssl_bench.method import load_methods
from ssl_bench.store import Store
from ssl_bench.training.job import Job, build_method
from ssl_bench.training.plan import plan_runs

CPU = torch.device("cpu")
load_methods()


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("discs"), "kvasir", [f"c{number}" for number in range(20)])


def request(*seeds: int, labels: tuple[int, ...] = (), labeled: str = "6", card: str = "kvasir", **own: Any) -> Request:
    methods = ("supervised", "mt") if labeled == "6" else ("supervised",)
    return Request(load_benchmark(card), methods, labeled, "tiny", own, seeds, labels)


def plan(data: Path, asked: Request) -> list[Job]:
    return plan_runs(asked, CPU, data, allow_partial=True, advance=None)


def test_every_label_seed_meets_every_seed_ordered_by_seed(discs: Path) -> None:
    jobs = plan(discs, request(2, 1, labels=(7, 1)))
    assert [(job.method.name, job.spec.seed, job.spec.label_draw) for job in jobs] == [
        (method, seed, label) for seed in (2, 1) for label in (7, 1) for method in ("supervised", "mt")
    ]
    assert [job.spec.label_seed for job in jobs[::2]] == [7, 1, 7, None]  # seed 1 draws the labels of label seed 1


def test_the_label_seed_alone_draws_the_labelled_cases(discs: Path) -> None:
    for job in plan(discs, request(1, 2, labels=(1, 7))):
        trained = sorted((*job.splits.labeled, *job.splits.unlabeled), key=job.dataset.ids.index)
        own = draw_labeled(trained, job.splits.test, 6, job.spec.label_draw, masked=trained, first=False)
        assert job.splits == own
    one, other = (plan(discs, request(1, labels=(label,)))[0] for label in (3, 7))
    assert set(one.splits.labeled) != set(other.splits.labeled)


def test_the_seed_draws_the_initial_weights_whatever_the_label_seed(discs: Path) -> None:
    jobs = plan(discs, request(1, 2, labels=(7, 8), labeled="5"))
    weights = [next(build_method(job.spec, job.method, job.hyper, CPU).parameters()) for job in jobs]
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[2], weights[3])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("source", ["labeled", "train"])
def test_the_seed_draws_the_validation_images(source: Any, discs: Path) -> None:
    (job,) = plan(discs, request(2, labels=(7,), labeled="5", validation=source, validation_share=0.4))
    trained = sorted((*job.splits.labeled, *job.splits.unlabeled, *job.splits.validation), key=job.dataset.ids.index)
    drawn = draw_labeled(trained, job.splits.test, 5, 7, masked=trained, first=False)
    assert job.splits == set_apart(drawn, source, 0.4, 2, masked=trained)


def test_a_run_whose_label_seed_is_its_seed_is_the_run_without(discs: Path) -> None:
    plain, same = plan(discs, request(3, labeled="5")), plan(discs, request(3, labels=(3,), labeled="5"))
    assert [job.spec for job in plain] == [job.spec for job in same]
    assert [job.splits for job in plain] == [job.splits for job in same]
    with pytest.raises(ValidationError, match="expected another number than the seed"):
        RunSpec.model_validate({**plain[0].spec.model_dump(), "label_seed": 3})


def test_only_a_label_seed_changes_the_identity(discs: Path) -> None:
    plain, other = plan(discs, request(3, labels=(3, 4), labeled="5"))
    assert "label_seed" not in plain.spec.identity()
    assert other.spec.identity() == {**plain.spec.identity(), "label_seed": 4}
    assert plain.spec.hash != other.spec.hash
    recorded = plain.spec.model_dump(mode="json")
    del recorded["label_seed"]  # as in a run of an earlier version
    assert RunSpec.read(recorded) == plain.spec


def test_it_is_named_with_the_run(discs: Path) -> None:
    plain, other = plan(discs, request(3, labels=(3, 4), labeled="5"))
    assert plain.spec.label.endswith("· seed 3")
    assert other.spec.label.endswith("· seed 3, labels 4")
    assert [seed_text(1, None), seed_text(1, 2)] == ["1", "1, labels 2"]


def test_a_process_of_its_own_is_told_the_label_seed(discs: Path, tmp_path: Path) -> None:
    asked = request(3, labels=(3, 4), labeled="5")
    plain, other = (run_task(asked, job, [], Store(tmp_path)).words for job in plan(discs, asked))
    assert "--label-seeds" not in plain
    at = other.index("--label-seeds")
    assert other[at - 2 : at + 2] == ("--seeds", "3", "--label-seeds", "4")
    assert other[:at] == plain[:at]


@pytest.mark.parametrize("labeled", ["100%", "16"])
def test_it_is_refused_where_all_are_labelled(labeled: str, discs: Path) -> None:
    with pytest.raises(UserError, match=r"^--label-seeds: expected fewer labelled cases .*; found all 16 of them"):
        plan(discs, request(1, labels=(1, 2), labeled=labeled))


CARD = """
name = "mine"
title = "mine"
classes = ["background", "disc"]
cases = 20
labeled = ["2"]
metrics = ["dsc"]
protocol = "tiny"
source = "drawn"
license = "none"
citation = "none"

[files]
roots = ["."]
images = "Kvasir-SEG/images/{id}"
masks = "Kvasir-SEG/masks/{id}"
masks_optional = true

[splits.random]
test = 4

[splits.listed]
test = 4
labeled = "first"
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    """A card of 20 cases, five of them without a mask."""
    write_dataset(tmp_path, "kvasir", [f"c{number}" for number in range(20)])
    for number in range(5):
        (tmp_path / f"Kvasir-SEG/masks/c{number}.jpg").unlink()
    (tmp_path / "card.toml").write_text(CARD)
    return str(tmp_path / "card.toml")


def test_it_is_refused_where_all_that_have_a_mask_are_labelled(mine: str, tmp_path: Path) -> None:
    jobs = plan(tmp_path, request(1, labels=(1, 2), labeled="10", card=mine))
    assert len({job.splits.labeled for job in jobs}) == 2
    with pytest.raises(UserError, match=r"^--label-seeds: .*; found all 11 of them labelled"):
        plan(tmp_path, request(1, labels=(1, 2), labeled="11", card=mine))


def test_it_is_refused_where_the_first_cases_are_labelled(mine: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--label-seeds: expected a split whose labelled .*; found 'listed', which"):
        plan(tmp_path, request(1, labels=(1, 2), labeled="3", card=mine, split="listed"))
