"""Fixtures that several test folders share: tiny data sets in the published layouts, and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_bench import cli as cli_module
from ssl_bench import plugins
from ssl_bench.method import registry as registry_module
from ssl_bench.networks import registry as networks_module

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_DATA = Path(os.environ.get("SSL_BENCH_DATA", REPOSITORY.parent / "shared" / "data"))

torch.set_num_threads(1)  # pytest-xdist has one process per core


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder that all processes of a test run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if hasattr(request.config, "workerinput") else own


@pytest.fixture(autouse=True)
def _own_cache(shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache; all tests of a test run share one."""
    monkeypatch.setenv("SSL_BENCH_CACHE", str(shared_folder / "cache"))
    monkeypatch.delenv("SSL_BENCH_RESULTS", raising=False)
    monkeypatch.delenv("SSL_BENCH_DATA", raising=False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; the test is skipped where there is none."""
    if not (REAL_DATA / "kvasir").is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; SSL_BENCH_DATA names the folder")
    return REAL_DATA


def draw_case(index: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A noisy image (H, W, 3) with a bright disc, and the disc as a 0/255 mask (H, W); `size` is (W, H)."""
    width, height = size
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:height, :width]
    disc = (y - rng.uniform(0.3, 0.7) * height) ** 2 + (x - rng.uniform(0.3, 0.7) * width) ** 2 < (0.25 * height) ** 2
    image = rng.integers(0, 120, (height, width, 3)) + 100 * disc[..., None]
    return image.astype(np.uint8), (255 * disc).astype(np.uint8)


def write_dataset(root: Path, layout: str, ids: list[str], sizes: list[tuple[int, int]] | None = None) -> Path:
    """Write cases in a published layout (isic, kvasir, cvc) below `root`; returns `root`, a data root."""
    images, masks, image_name, mask_name = {
        "isic": (
            "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth", "{}.jpg", "{}_segmentation.png",
        ),
        "kvasir": ("Kvasir-SEG/images", "Kvasir-SEG/masks", "{}.jpg", "{}.jpg"),
        "cvc": ("CVC-ClinicDB/Original", "CVC-ClinicDB/Ground Truth", "{}.tif", "{}.tif"),
    }[layout]  # fmt: skip
    (root / images).mkdir(parents=True, exist_ok=True)
    (root / masks).mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(ids):
        image, mask = draw_case(index, sizes[index] if sizes else (40 + index % 3, 36))
        Image.fromarray(image).save(root / images / image_name.format(name))
        Image.fromarray(mask).save(root / masks / mask_name.format(name))
    return root


def assert_error(answer: tuple[int, str, str], *words: str, lines: int = 1) -> None:
    """A command's exit code is 2, and `lines` lines on stderr hold the words."""
    code, _, err = answer
    assert code == 2
    assert len(err.splitlines()) == lines, err
    assert err.startswith("error: ")
    assert all(word in err for word in words), err


CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """Run `ssl-bench ARGS` as a user does, in an empty folder; returns what it printed and its exit code."""

    def call(*arguments: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ssl_bench", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=timeout, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip

    return call


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Run `ssl-bench ARGS` in this process and an empty folder; returns exit code, stdout and stderr."""
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")  # main sets it where it is not
    monkeypatch.setattr(registry_module, "_REGISTRY", dict(registry_module._REGISTRY))
    monkeypatch.setattr(plugins, "_TEXTS", dict(plugins._TEXTS))
    monkeypatch.setattr(networks_module, "_REGISTRY", dict(networks_module._REGISTRY))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["ssl-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli_module.main()
        printed = capsys.readouterr()
        code = ended.value.code
        return (0 if code is None else int(code)), printed.out, printed.err

    return run
