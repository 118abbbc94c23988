"""Which method files may be read from a record."""

import pytest
from conftest import REPOSITORY

from ssl_bench.declarations.plain import is_plain


@pytest.mark.parametrize("path", sorted((REPOSITORY / "methods").glob("*.py")), ids=lambda path: path.stem)
def test_every_built_in_method_is_plain(path) -> None:  # type: ignore[no-untyped-def]
    assert is_plain(path.read_bytes())


@pytest.mark.parametrize("text", [
    "import torch\nfrom torch.nn.functional import mse_loss\nfrom ssl_bench.method import register",
    "from ssl_bench.networks import Build, register_network",
    "from ssl_bench.data import Card, register_augmentation",
    "x = 1",
])  # fmt: skip
def test_a_file_that_depends_on_its_text_alone_is_plain(text: str) -> None:
    assert is_plain(text.encode())


@pytest.mark.parametrize("text", [
    "import os", "import numpy", "import random", "from pathlib import Path", "from . import other", "import mine",
    "from ssl_bench.scoring import register_metric", "from ssl_bench.methods.mt import MeanTeacher",
    "from ssl_bench import api", "from ssl_bench.data import cache", "from ssl_bench.networks import weights_file",
    "from ssl_bench.method import load_methods", "from ssl_bench.ops import *", "import torch.cuda",
    "from torch import cuda", "from torch.cuda import is_available", "def f():\n    import os",
    "k = 1 if __import__('os').environ else 2", "k = open('k').read()", "k = eval('1')", "k = torch.rand(1)",
    "k = torch.load('k')", "k = 2 if torch.backends.mps.is_available() else 1", "k = (", "k = '\0'",
])  # fmt: skip
def test_a_file_that_can_read_something_else_is_not(text: str) -> None:
    assert not is_plain(text.encode())
