"""What a newcomer's method gets wrong is one line with the method's file and line, before it can change a number."""

import re
from pathlib import Path
from textwrap import dedent, indent

import pytest
from conftest import Call, write_dataset

from ssl_bench.store import Store

HEAD = """
import copy
import torch
from ssl_bench.method import AdversaryHyperparameters, SSLMethod, Update, register
from ssl_bench.ops import Ensemble, dice_loss


@register
class Mine(SSLMethod):
    name = "mine"
    title = "Mine"
    reference = "Nobody 2026"
    predictor = property(lambda self: self.network)

    def __init__(self, setup, hyper):
        super().__init__(setup, hyper)
        self.network = self.new_student()

    def loss(self, batch):
        return dice_loss(self.network(batch.labeled.student1), batch.labels, 1.0)

"""
GOOD = """
def updates(self, batch, progress):
    yield Update({"supervised": (1.0, self.loss(batch))})
"""
BY_HAND = """
def __init__(self, setup, hyper):
    super().__init__(setup, hyper)
    self.network = self.new_student()
    self.teacher = copy.deepcopy(self.network)

def updates(self, batch, progress):
    with torch.set_grad_enabled(GRADIENT):
        target = self.teacher(batch.unlabeled.teacher)
    distance = (self.network(batch.unlabeled.student1) - target).square().mean()
    yield Update({"supervised": (1.0, self.loss(batch)), "distance": (progress.lambda_u, distance)})

def after_update(self, progress):
    for own, theirs in zip(self.teacher.parameters(), self.network.parameters()):
        own.data.mul_(0.9).add_(theirs.data, alpha=0.1)
"""


def method(*bodies: str) -> str:
    return HEAD + "".join(indent(dedent(body), "    ") for body in bodies)


@pytest.fixture
def train(tmp_path: Path, call: Call) -> object:
    data = write_dataset(tmp_path / "data", "kvasir", [str(number) for number in range(12)])
    (tmp_path / "mine").mkdir()

    def run(text: str, *more: str) -> tuple[int, str]:
        (tmp_path / "mine" / "mine.py").write_text(text)
        code, _, err = call(
            "run", "--methods", "mine", "--methods-dir", "mine", "--dataset", "kvasir", "--data-root", data,
            "--allow-partial", "--protocol", "tiny", "--labeled", "2", "--device", "cpu", *more,
        )  # fmt: skip
        return code, err

    return run


ADVERSARY = """
hyperparameters = AdversaryHyperparameters

def __init__(self, setup, hyper):
    super().__init__(setup, hyper)
    self.network = self.new_student()
    self.judge = torch.nn.Conv2d(self.classes, 1, 1)

@property
def adversaries(self):
    return {"judge": self.judge}

def judged(self, batch):
    return {"judge": (1.0, self.judge(self.network(batch.unlabeled.student1).detach()).mean())}

"""
MISTAKES = {
    "no updates": ("", "expected a method `updates`, found none"),
    "no predictor": (
        GOOD + "predictor = SSLMethod.predictor",
        "expected a property `predictor` (the network used at test time), found none",
    ),
    "a predictor that is not a network": (
        GOOD + "predictor = property(lambda self: self.new_student())",
        "`predictor`: expected one of the networks network, found DeepLabV3Plus",
    ),
    "no parameters": (
        GOOD + "def __init__(self, setup, hyper):\n    super().__init__(setup, hyper)\n    self.parts = []\n",
        "no parameter requires a gradient; set networks as attributes in __init__",
    ),
    "nothing yielded": (
        "def updates(self, batch, progress):\n    return Update({'supervised': (1.0, self.loss(batch))})",
        "`updates` must yield an Update per optimiser step; it returned Update",
    ),
    "no update": (
        "def updates(self, batch, progress):\n    yield from ()",
        "`updates` yielded 0 updates; updates_per_iteration declares 1",
    ),
    "one update more": (
        GOOD + "    yield Update({'more': (1.0, self.loss(batch))})", "`updates` yielded more than the 1",
    ),
    "one update less": (
        GOOD + "updates_per_iteration = 2", "`updates` yielded 1 update; updates_per_iteration declares 2",
    ),
    "a loss that is no Update": (
        "def updates(self, batch, progress):\n    yield self.loss(batch)",
        "`updates` must yield an Update; it yielded a tensor of shape ()",
    ),
    "no terms": ("def updates(self, batch, progress):\n    yield Update({})", "the update has no terms"),
    "a term without a weight": (
        "def updates(self, batch, progress):\n    yield Update({'supervised': self.loss(batch)})",
        "term 'supervised': expected (weight, value) with a number as weight, found a tensor of shape ()",
    ),
    "a loss that is not a scalar": (
        "def updates(self, batch, progress):\n    yield Update({'s': (1.0, self.network(batch.labeled.student1))})",
        "term 's': expected a scalar tensor (reduce it by mean()), found a tensor of shape (2, 2, 32, 32)",
    ),
    "a loss without a gradient": (
        "def updates(self, batch, progress):\n    yield Update({'s': (1.0, self.loss(batch).detach())})",
        "no term of the update depends on a weight",
    ),
    "a loss that is not finite": (
        "def updates(self, batch, progress):\n    yield Update({'s': (float('inf'), self.loss(batch))})",
        "the loss is not finite before any training: inf = inf * ",
    ),
    "a gradient that is not finite": (
        """
def updates(self, batch, progress):
    loss = self.loss(batch)
    yield Update({"s": (1.0, loss + (loss - loss.detach()).sqrt())})
""",
        "the gradient of `network.encoder.model.conv_stem.weight` is not finite before any training",
    ),
    "branches of a wrong shape": (
        """
def updates(self, batch, progress):
    x = self.network(batch.unlabeled.student1)[:, :, ::2]
    yield Update({"s": (1.0, self.loss(batch))}, branches=(x, x))
""",
        "`branches`: expected logits of shape (2, 2, 32, 32) (images, classes, sides), found a tensor of shape",
    ),
    "a teacher with a gradient": (
        BY_HAND.replace("GRADIENT", "True"),
        "`after_update` changes `teacher.",
    ),
    "an adversary without an optimiser's settings": (
        ADVERSARY.replace("hyperparameters = AdversaryHyperparameters", "") + GOOD,
        "`adversaries`: expected hyperparameters of a subclass of AdversaryHyperparameters, found Hyperparameters",
    ),
    "an adversary without a name": (
        ADVERSARY.replace('{"judge": self.judge}', "self.judge") + GOOD,
        "`adversaries`: expected a dict of modules by name, found Conv2d",
    ),
    "an adversary that goes first": (
        ADVERSARY + """
def updates(self, batch, progress):
    yield Update(self.judged(batch), trains="adversaries")
    yield Update({"s": (1.0, self.loss(batch))})
""",
        "an update of the adversaries came first; expected one of the networks before it",
    ),
    "an update for nobody": (
        GOOD + "    yield Update({'s': (1.0, self.loss(batch))}, trains='adversaries')",
        "trains = 'adversaries': expected networks, or adversaries of a method that has any",
    ),
    "an update for a wrong name": (
        ADVERSARY + GOOD + "    yield Update(self.judged(batch), trains='judge')",
        "trains = 'judge': expected networks, or adversaries of a method that has any",
    ),
    "an adversary's term with a name of the network's": (
        ADVERSARY + GOOD + "    yield Update({'supervised': self.judged(batch)['judge']}, trains='adversaries')",
        "term 'supervised': expected a name of its own, since curves have a column per name",
    ),
    "a term with the name of the total": (
        "def updates(self, batch, progress):\n    yield Update({'loss': (1.0, self.loss(batch))})",
        "term 'loss': expected a name of its own",
    ),
    "an adversary without a gradient": (
        ADVERSARY + GOOD + "    yield Update({'judge': (1.0, self.loss(batch))}, trains='adversaries')",
        "an update trains the adversaries, but no gradient reaches them",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_the_file_and_line(mistake: str, train: object, tmp_path: Path) -> None:
    body, message = MISTAKES[mistake]
    code, err = train(method(body))  # type: ignore[operator]
    assert code == 2, err
    (line,) = [line for line in err.splitlines() if "mine.py" in line]
    place = re.search(r"mine\.py:(\d+): method 'mine': (.*)", line)
    assert place is not None, err
    assert place[2].startswith(message)
    text = (tmp_path / "mine" / "mine.py").read_text().splitlines()[int(place[1]) - 1]
    assert text.startswith("@register") if mistake == "no updates" else "def updates" in text or "yield" in text
    assert "Traceback" not in err
    (run,) = Store(tmp_path / "results").entries()
    assert run.status == "failed"
    assert not list(tmp_path.rglob("checkpoint*")), "a wrong step was kept"


def test_a_network_with_another_number_of_classes_is_refused(train: object) -> None:
    body = """
    def __init__(self, setup, hyper):
        super().__init__(setup, hyper)
        self.network = torch.nn.Conv2d(3, 5, 1)
    """
    code, err = train(method(GOOD, body))  # type: ignore[operator]
    assert code == 2
    assert (
        "network `network`: expected logits of shape (2, 2, 32, 32) (images, classes, sides), found a tensor of shape "
        "(2, 5, 32, 32)"
    ) in err


def test_an_exception_of_a_method_names_its_line(train: object, tmp_path: Path) -> None:
    body = """
    def updates(self, batch, progress):
        difference = self.network(batch.labeled.student1) - batch.labels
        yield Update({"supervised": (1.0, difference.mean())})
    """
    code, err = train(method(body), "--set", "labeled_batch=3", "--labeled", "3")  # type: ignore[operator]
    assert code == 1
    number = (tmp_path / "mine" / "mine.py").read_text().splitlines().index(
        "        difference = self.network(batch.labeled.student1) - batch.labels"
    ) + 1  # fmt: skip
    assert f"mine.py:{number}: RuntimeError: The size of tensor a" in err


RIGHT = {
    "supervised": GOOD,
    "a teacher by hand": BY_HAND.replace("GRADIENT", "False"),
    "the mean of two networks": """
predictor = property(lambda self: self.both)

def __init__(self, setup, hyper):
    super().__init__(setup, hyper)
    self.network, self.second = self.new_students()
    self.both = Ensemble(self.network, self.second)

def updates(self, batch, progress):
    second = dice_loss(self.second(batch.labeled.student2), batch.labels, 1.0)
    yield Update({"supervised": (1.0, self.loss(batch) + second)})
""",
    "an adversary": ADVERSARY + GOOD + "    yield Update(self.judged(batch), trains='adversaries')",
}


@pytest.mark.parametrize("body", RIGHT.values(), ids=RIGHT)
def test_a_method_that_is_right_is_trained(body: str, train: object, tmp_path: Path) -> None:
    code, err = train(method(body))  # type: ignore[operator]
    assert code == 0, err
    (run,) = Store(tmp_path / "results").runs()
    assert run.result["updates"] == 6
