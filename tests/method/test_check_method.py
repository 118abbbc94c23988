"""`check_method` accepts the built-in methods and names each fault of methods that have one."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from laboratory import METHODS
from torch import nn

from ssl_bench.method import Batch, Hyperparameters, Progress, Setup, SSLMethod, Update
from ssl_bench.ops import dice_loss
from ssl_bench.testing import check_method


class Plain(SSLMethod):
    """A mean teacher without a fault, whose parts the faulty ones replace."""

    name, title, reference = "plain", "Plain", "a test"
    hyperparameters = Hyperparameters

    def __init__(self, setup: Setup, hyper: Any) -> None:
        super().__init__(setup, hyper)
        self.student = self.new_student()
        self.teacher = self.new_teacher(self.student)

    def supervised(self, batch: Batch) -> torch.Tensor:
        return dice_loss(self.student(batch.labeled.student1), batch.labels, self.protocol.dice_smooth)

    def consistency(self, batch: Batch) -> torch.Tensor:
        with torch.no_grad():
            target = self.teacher(batch.unlabeled.teacher).softmax(1)
        return (self.student(batch.unlabeled.student1).softmax(1) - target).square().mean()

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        consistency = progress.lambda_u, self.consistency(batch)
        yield Update({"supervised": (1.0, self.supervised(batch)), "consistency": consistency})

    def after_update(self, progress: Progress) -> None:
        self.teacher.follow(self.student, iteration=progress.iteration - 1)

    @property
    def predictor(self) -> nn.Module:
        return self.teacher


class TwoUpdates(Plain):
    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        yield from super().updates(batch, progress)
        if progress.iteration > 1:
            yield from super().updates(batch, progress)


class FewerUpdatesWithoutLambda(Plain):
    updates_per_iteration = 2

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        yield from super().updates(batch, progress)
        if progress.lambda_u > 0:
            yield from super().updates(batch, progress)


class NotFinite(Plain):
    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        scale = 1.0 if progress.iteration == 1 else float("nan")
        yield Update({"supervised": (1.0, scale * self.supervised(batch))})


class GradientThroughTheTeacher(Plain):
    def __init__(self, setup: Setup, hyper: Any) -> None:
        super().__init__(setup, hyper)
        self.teacher.network.requires_grad_()

    def consistency(self, batch: Batch) -> torch.Tensor:
        target = self.teacher.network(batch.unlabeled.teacher)
        return (self.student(batch.unlabeled.student1) - target).square().mean()


class IdleTeacher(Plain):
    def after_update(self, progress: Progress) -> None:
        pass


class TeacherMovesInUpdates(Plain):
    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        yield from super().updates(batch, progress)
        with torch.no_grad():
            next(self.teacher.parameters()).add_(1.0)


class IdleStudent(Plain):
    def __init__(self, setup: Setup, hyper: Any) -> None:
        super().__init__(setup, hyper)
        self.student2 = self.new_student()


class HeadAlone(Plain):
    """Whose encoder gets no gradient."""

    def supervised(self, batch: Batch) -> torch.Tensor:
        network: Any = self.student
        maps = [one.detach() for one in network.encoder(batch.labeled.student1)]
        return dice_loss(network.segmentation_head(network.decoder(maps)), batch.labels, self.protocol.dice_smooth)

    def consistency(self, batch: Batch) -> torch.Tensor:
        network: Any = self.student
        maps = [one.detach() for one in network.encoder(batch.unlabeled.student1)]
        return network.segmentation_head(network.decoder(maps)).square().mean()


class HalfRamped(Plain):
    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        consistency = 0.5 + progress.lambda_u, self.consistency(batch)
        yield Update({"supervised": (1.0, self.supervised(batch)), "consistency": consistency})


class RampedSupervised(Plain):
    uses_unlabeled = False

    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        yield Update({"supervised": (progress.lambda_u, self.supervised(batch))})


class StateOutsideBuffers(Plain):
    def __init__(self, setup: Setup, hyper: Any) -> None:
        super().__init__(setup, hyper)
        self.count = 0.0

    def consistency(self, batch: Batch) -> torch.Tensor:
        self.count += 1
        return self.count * super().consistency(batch)


class PythonsDraws(Plain):
    def consistency(self, batch: Batch) -> torch.Tensor:
        return random.uniform(1.0, 1.0) * super().consistency(batch)


class NumpysDraws(Plain):
    def consistency(self, batch: Batch) -> torch.Tensor:
        return float(np.random.uniform(1.0, 1.0)) * super().consistency(batch)


class BlindToLabels(Plain):
    def supervised(self, batch: Batch) -> torch.Tensor:
        return self.student(batch.labeled.student1).square().mean()


class ChangesLabels(Plain):
    def supervised(self, batch: Batch) -> torch.Tensor:
        batch.labels.clamp_(max=0)
        return super().supervised(batch)


class ChangesImages(Plain):
    def consistency(self, batch: Batch) -> torch.Tensor:
        batch.unlabeled.student1.mul_(2)
        return super().consistency(batch)


class OtherBranches(Plain):
    def updates(self, batch: Batch, progress: Progress) -> Iterator[Update]:
        (update,) = super().updates(batch, progress)
        logits = self.student(batch.unlabeled.student1)
        few = logits if progress.iteration == 1 else logits[:1]
        yield Update(update.terms, branches=(few, few))


class DetachedTerm(Plain):
    def consistency(self, batch: Batch) -> torch.Tensor:
        return super().consistency(batch).detach()


class ThreeClasses(Plain):
    """Whose networks have three classes whatever the data."""

    def __init__(self, setup: Setup, hyper: Any) -> None:
        super().__init__(setup, hyper)
        network: Any = self.student
        network.segmentation_head = nn.Conv2d(6, 3, 1)


FAULTS = {
    TwoUpdates: "expected 1 update an iteration, found 2",
    FewerUpdatesWithoutLambda: "expected as many updates at every lambda_u, found [1, 2, 2] at 0, once and twice",
    NotFinite: "term 'supervised': expected a finite scalar",
    GradientThroughTheTeacher: "a teacher",
    IdleTeacher: "expected a teacher that follows its students",
    TeacherMovesInUpdates: "expected a teacher that moves in after_update alone",
    IdleStudent: "found none in student2.decoder",
    HeadAlone: "expected a gradient in every part of a student, found none in student.encoder",
    HalfRamped: "term 'consistency': expected a weight that is constant, or 0 where lambda_u is 0; found 0.5",
    RampedSupervised: "term 'supervised': expected a constant weight without unlabelled images",
    DetachedTerm: "term 'consistency': expected a gradient, found none",
    StateOutsideBuffers: "is all state in buffers?",
    PythonsDraws: "found some by Python's random",
    NumpysDraws: "found some by numpy.random",
    BlindToLabels: "expected a loss that the labels decide",
    ChangesLabels: "expected labels as they were given",
    ChangesImages: "expected unlabelled images (view",
    OtherBranches: "branches: expected shapes",
    ThreeClasses: "expected logits of shape",
}


@pytest.mark.parametrize("method", FAULTS, ids=lambda method: method.__name__)
def test_each_fault_is_named(method: type[SSLMethod]) -> None:
    own = type(method.__name__, (method,), {"dimensions": (2,)})
    with pytest.raises(AssertionError) as found:
        check_method(own, protocols=["mini"], classes=[2])
    assert "method 'plain' breaks its contract" in str(found.value)
    assert FAULTS[method] in str(found.value)


@pytest.mark.parametrize("empty", ["protocols", "classes"])
def test_no_form_is_no_success(empty: str) -> None:
    with pytest.raises(ValueError, match="found none"):
        check_method(Plain, **{empty: ()})


def test_a_method_without_a_fault_passes_in_every_form() -> None:
    check_method(Plain)


@pytest.mark.parametrize("name", ["supervised", "ucmt", "cct", "dan"])
def test_built_in_methods_pass(name: str) -> None:
    few = {"adversary_filters": 4} if "adversary_filters" in METHODS[name].hyperparameters.model_fields else {}
    check_method(METHODS[name], protocols=["mini"], classes=[2], **few)
