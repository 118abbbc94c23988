"""A user's augmentation is one file: it changes strong views alone, the same on every resume, and nothing else."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Call
from handwritten import contents_of

from ssl_bench.cards import Card, load_protocol
from ssl_bench.data import extra as module
from ssl_bench.data import register_augmentation
from ssl_bench.data.batches import ImageStream
from ssl_bench.errors import RunFailedError
from ssl_bench.reporting.notes import origin
from ssl_bench.store import Store
from ssl_bench.training import train as train_module

RUN = ["--methods", "mt", "--dataset", "demo", "--protocol", "tiny", "--device", "cpu", "--iterations", "4"]
FILE = """
import torch
from torch import Tensor

from ssl_bench.data import Card, register_augmentation


class Noise(Card):
    sigma: float = 10.0


@register_augmentation("noise", settings=Noise, dimensions=(2,))
def noise(images: Tensor, settings: Noise, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(images.shape, generator=generator) * settings.sigma
    return (images + drawn.to(images.device)).clamp(0, 255).to(images.dtype)
"""


class Shift(Card):
    by: int = 1


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AUGMENTATIONS", {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "noise.py").write_text(FILE)
    return tmp_path / "mine"


def test_it_comes_after_the_built_in_ones_in_strong_views_and_moves_no_other_draw() -> None:
    @register_augmentation("shift", settings=Shift)
    def shift(images: torch.Tensor, settings: Shift, generator: torch.Generator) -> torch.Tensor:
        assert generator.device.type == "cpu"
        return images ^ settings.by  # its last bit, so that no value overflows

    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(6, 32, 32, dtype=torch.uint8)
    sides = {"image_size": 32, "augment_size": 32}

    def stream(**settings: object) -> ImageStream:
        protocol = load_protocol("tiny", {**sides, "augmentation.strong2_from": "weak", **settings})
        return ImageStream(images, masks, [0, 1], [2, 3, 4, 5], protocol, 1)

    from ssl_bench.data.batches import PartViews

    plain, shifted = (
        PartViews(one, "unlabeled", 3) for one in (stream(), stream(**{"augmentation.extra": {"shift": {"by": 1}}}))
    )
    assert torch.equal(plain.raw("weak"), shifted.raw("weak"))
    for view in ("strong1", "strong2"):
        assert torch.equal(plain.raw(view) ^ 1, shifted.raw(view))


def test_a_users_augmentation_is_one_file(folder: Path, call: Call) -> None:
    extra = ["--methods-dir", folder, "--set", "augmentation.extra={noise={sigma=30.0}}"]
    assert call("run", *RUN, *extra)[0] == 0
    assert call("run", *RUN, *extra, "--results-root", "again", "--seeds", "1", "--jobs", "2")[0] == 0
    (run,), (again,) = Store(Path("results")).runs(), Store(Path("again")).runs()
    assert run.spec.protocol.augmentation.extra == {"noise": {"sigma": 30.0}}
    assert contents_of(run.path, "weights.safetensors") == contents_of(again.path, "weights.safetensors")
    assert call("run", *RUN, "--results-root", "without")[0] == 0
    (without,) = Store(Path("without")).runs()
    assert without.spec.hash != run.spec.hash
    digests = {hashlib.sha256(contents_of(one.path, "weights.safetensors")[0]).hexdigest() for one in (run, without)}
    assert len(digests) == 2


def test_an_edit_of_an_augmentations_file_is_told_and_no_run_goes_on_with_it(
    folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first half of a training would see one augmentation and the second half another."""

    def fail(*args: Any) -> None:
        raise RunFailedError("stopped before its end")

    words = [*RUN, "--methods-dir", folder, "--set", "augmentation.extra={noise={sigma=30.0}}"]
    assert call("run", *words, "--seeds", "1")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(train_module, "finish", fail)
        assert call("run", *words, "--seeds", "2")[0] == 1
    (folder / "noise.py").write_text(FILE.replace("settings.sigma", "settings.sigma * 2"))
    code, _, err = call("run", *words, "--seeds", "2")
    assert code == 2
    assert "the augmentation noise's file has changed since this run began; delete" in err
    code, out, err = call("run", *words, "--seeds", "1,3")
    assert code == 0, err
    assert "finished earlier; the file of its augmentation noise has changed since" in out + err
    notes = origin([run for run in Store(Path("results")).runs() if run.status == "finished"])
    assert "The file of the augmentation noise was edited between these runs." in notes


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{blur2={}}", "augmentation.extra: expected one of noise for 2D data; found 'blur2'"),
        ('{noise={sigma="x"}}', "augmentation.extra.noise: sigma: Input should be a valid number"),
        ("{noise={strength=1}}", "augmentation.extra.noise: strength: unknown key"),
    ],
)
def test_a_mistake_is_one_line(value: str, message: str, folder: Path, call: Call) -> None:
    code, _, err = call("run", *RUN, "--methods-dir", folder, "--set", f"augmentation.extra={value}")
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith(f"error: {message}")


def test_a_name_that_is_taken_is_an_error(folder: Path, call: Call) -> None:
    (folder / "noise2.py").write_text(FILE)
    code, _, err = call("run", *RUN, "--methods-dir", folder)
    assert (code, "augmentation 'noise' is already defined" in err) == (2, True)
