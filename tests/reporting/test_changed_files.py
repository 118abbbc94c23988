"""A method's file that has changed since its runs is named below their table."""

import hashlib
from pathlib import Path

import pytest
from conftest import Call

from ssl_bench.store import Store

METHOD = """
from ssl_bench.method import SSLMethod, Update, register
from ssl_bench.ops import dice_loss


@register
class Mine(SSLMethod):
    name, title, reference = "mine", "Mine", "Nobody 2026"
    uses_unlabeled = False

    def __init__(self, setup, hyper):
        super().__init__(setup, hyper)
        self.network = self.new_student()

    def updates(self, batch, progress):
        yield Update({"supervised": (1.0, dice_loss(self.network(batch.labeled.student1), batch.labels, 1.0))})

    @property
    def predictor(self):
        return self.network
"""
NOTE = "The file of mine has changed since these runs were trained."
RUN = ("run", "--methods", "mine", "--dataset", "demo", "--protocol", "tiny", "--iterations", "2",
       "--methods-dir", "own")  # fmt: skip


def test_a_method_that_is_edited_is_named_until_its_version_is_raised(call: Call) -> None:
    Path("own").mkdir()
    Path("own/mine.py").write_text(METHOD)
    code, out, err = call(*RUN)
    assert code == 0, err
    assert NOTE not in out
    Path("own/mine.py").write_text(METHOD.replace("labels, 1.0", "labels, 2.0"))
    edited = call(*RUN)[1]
    assert NOTE in " ".join(edited.split())
    raised = METHOD.replace("labels, 1.0", "labels, 2.0").replace("    uses", "    version = 2\n    uses")
    Path("own/mine.py").write_text(raised)
    assert NOTE not in call(*RUN)[1]


def test_a_base_class_in_another_file_that_is_edited_is_named(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    base = METHOD.replace("@register\nclass Mine", "class Base").replace(
        "import SSLMethod, Update, register", "import *"
    )
    method = (
        "from base_of_mine import Base\nfrom ssl_bench.method import register\n\n\n"
        "@register\nclass Mine(Base):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    Path("own").mkdir()
    Path("own/mine.py").write_text(method)
    Path("base_of_mine.py").write_text(base)
    code, _, err = call(*RUN)
    assert code == 0, err
    (run,) = Store(Path("results")).runs()
    assert run.provenance["further_sources_sha256"] == {
        "base class in base_of_mine": hashlib.sha256(base.encode()).hexdigest()
    }
    Path("base_of_mine.py").write_text(base.replace("labels, 1.0", "labels, 2.0"))
    code, out, err = call(*RUN)
    assert code == 0, err
    assert "the file of its base class in base_of_mine has changed since" in out + err
