"""Images that stay in the cache: the bits of those in memory, bounded memory, and errors of the thread that reads."""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY

import ssl_bench
from ssl_bench.cards import Request, load_benchmark
from ssl_bench.data.raw import MappedArrays
from ssl_bench.data.reader import Reader, holds_all
from ssl_bench.data.stream import ReadImageStream, ReadVolumeStream, open_stream
from ssl_bench.errors import UserError
from ssl_bench.method import Batch, load_methods
from ssl_bench.training.job import Job
from ssl_bench.training.plan import plan_runs

CPU = torch.device("cpu")
VIEWS = ("student1", "student2", "teacher", "mixed")


def planned(dimensions: int) -> Job:
    load_methods()
    card = load_benchmark("demo" if dimensions == 2 else "demo3d")
    request = Request(card, ("ucmt",), "10%", "tiny", {}, (1,))
    (job,) = plan_runs(request, CPU, None, allow_partial=False, advance=None)
    return job


def tensors(batch: Batch) -> list[torch.Tensor]:
    """Everything that a method can ask a batch for."""
    parts = [getattr(part, view) for part in (batch.labeled, batch.unlabeled) for view in VIEWS]
    return [batch.labels, *parts]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_batches_from_the_cache_have_the_bits_of_those_from_memory(
    dimensions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = planned(dimensions)
    streams = []
    for mode in ("all", "stream", "stream"):
        monkeypatch.setenv("SSL_BENCH_MEMORY", mode)
        streams.append(open_stream(job.dataset, job.splits, job.spec.protocol, 1, CPU, unlabeled=True))
    held, read, resumed = streams
    assert isinstance(read, ReadImageStream | ReadVolumeStream)
    assert not isinstance(held, ReadImageStream | ReadVolumeStream)
    expected = [tensors(held.batch(iteration)) for iteration in range(8)]
    for stream, first in ((read, 0), (resumed, 5)):
        for iteration in range(first, 8):
            for mine, same in zip(tensors(stream.batch(iteration)), expected[iteration], strict=True):
                assert torch.equal(mine, same)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_arrays_of_a_raw_file_share_maps(tmp_path: Path) -> None:
    """Against the file as a whole, in maps that begin every 64 bytes, of arrays that cross these borders."""
    path, values = tmp_path / "x.voxel", np.arange(200, dtype=np.float32)
    values.tofile(path)
    arrays = MappedArrays(path, np.float32, reach=64)
    for start, shape in (
        (0, (2, 3)),
        (15, (4, 10)),
        (15, (1,)),
        (60, (5, 2, 2)),
        (196, (4,)),
        (16, (16,)),
        (3, (150,)),
    ):
        expected = values[start : start + math.prod(shape)].reshape(shape)
        np.testing.assert_array_equal(arrays.read(start, shape), expected)
    arrays.read(0, (4,))[:] = -1
    np.testing.assert_array_equal(np.fromfile(path, np.float32), values)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc, which this system lacks")
def test_open_files_grow_neither_with_the_volumes_nor_with_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some systems let a process open 256 files. The garbage collector seldom runs while a run trains."""
    monkeypatch.setenv("SSL_BENCH_MEMORY", "stream")
    dataset = planned(3).dataset
    before = descriptors()
    volumes = list(dataset.volumes(dataset.ids))
    assert len(volumes) > 20
    assert descriptors() == before + 1
    del volumes
    ssl_bench.run("supervised", "demo3d", protocol="tiny", settings={"iterations": 1}, results_root=tmp_path)
    gc.collect()
    gc.disable()
    try:
        before, threads = descriptors(), threading.active_count()
        for seed in (2, 3, 4):
            ssl_bench.run(
                "supervised", "demo3d", protocol="tiny", seeds=[seed], settings={"iterations": 1}, results_root=tmp_path
            )
        assert descriptors() <= before + 2
        assert threading.active_count() == threads
    finally:
        gc.enable()


def test_a_method_without_unlabelled_images_reads_none(monkeypatch: pytest.MonkeyPatch) -> None:
    job = planned(2)
    monkeypatch.setenv("SSL_BENCH_MEMORY", "stream")
    stream = open_stream(job.dataset, job.splits, job.spec.protocol, 1, CPU, unlabeled=False)
    for iteration in range(3):
        assert len(stream.batch(iteration).labels) == job.spec.protocol.labeled_batch
    assert len(stream.reader._begun) == 1  # type: ignore[attr-defined]


def test_the_mode_is_checked_before_any_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_BENCH_MEMORY", "ram")
    with pytest.raises(UserError, match="SSL_BENCH_MEMORY: expected auto, all, stream; found 'ram'"):
        planned(2)


def test_a_gpu_holds_what_takes_half_of_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 4000))
    gpu = torch.device("cuda")
    assert [holds_all(size, gpu) for size in (500, 501)] == [True, False]
    assert not holds_all(1, CPU)
    monkeypatch.setenv("SSL_BENCH_MEMORY", "all")
    assert holds_all(10**9, gpu)
    assert holds_all(10**9, CPU)
    monkeypatch.setenv("SSL_BENCH_MEMORY", "stream")
    assert not holds_all(1, gpu)


def test_an_error_of_the_thread_is_raised_where_its_images_are_read() -> None:
    reader = Reader(CPU)

    def damaged() -> tuple[torch.Tensor, torch.Tensor]:
        raise UserError("512.image: ends before row 7")

    reader.begin("next", damaged)
    with pytest.raises(UserError, match="ends before row 7"):
        reader.read("next", lambda: pytest.fail("begun already"))
    ready = torch.ones(1), torch.zeros(1)
    assert reader.read("next", lambda: ready) == ready  # what was begun is used once


def test_a_volume_that_is_written_to_leaves_the_cache_as_it_is() -> None:
    dataset = planned(3).dataset
    before = dataset.path.with_suffix(".voxel").read_bytes()
    (volume,) = dataset.volumes(dataset.ids[:1])
    content = volume.tobytes()
    volume[:] = 7
    (again,) = dataset.volumes(dataset.ids[:1])
    assert again.tobytes() == content
    assert dataset.path.with_suffix(".voxel").read_bytes() == before


LARGE = """
import dataclasses, os, resource, sys
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, sys.argv[1])
from data.test_stream import planned
from ssl_bench.store import Store
from ssl_bench.training.trainer import Trainer
import torch

count, side, folder = 100_000, 512, Path(sys.argv[2])
path = folder / f"{side}.h5"
with h5py.File(path, "w") as file:
    file.attrs["channels"] = 3
for kind, size in (("image", 3 * side * side), ("mask", side * side)):
    with path.with_suffix(f".{kind}").open("wb") as file:
        file.truncate(count * size)
job = planned(2)
ids = tuple(map(str, range(count)))
dataset = dataclasses.replace(job.dataset, path=path, ids=ids)
splits = dataclasses.replace(job.splits, labeled=ids[::10], unlabeled=ids[1::2], test=ids[:1])
protocol = job.spec.protocol.model_copy(update={"augment_size": side})
job = dataclasses.replace(
    job, dataset=dataset, splits=splits, spec=job.spec.model_copy(update={"protocol": protocol})
)
place = Store(folder).folder(job.spec)
place.path.mkdir(parents=True)
trainer = Trainer(job, place, torch.device("cpu"))
stream = trainer.open_stream()
for _ in range(3):
    trainer.iterate(stream)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_hundred_thousand_images_of_512_train_in_three_gigabytes(tmp_path: Path) -> None:
    """They take 105 GB; the file is sparse."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(REPOSITORY / "tests"), str(tmp_path)], text=True, capture_output=True,
        check=False, timeout=120, env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 3000  # MiB
