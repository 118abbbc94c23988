"""A store of runs written by hand, and a server of it in a thread of this process."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handwritten import write_run

from ssl_bench.live.pages import Pages
from ssl_bench.live.report_sites import ReportSites
from ssl_bench.live.snapshot import StoreReader
from ssl_bench.store import Example, RunFolder, Store, write_pictures

HOSTILE = """<script>window.injected = 1</script>"'><img src=x onerror="injected = 1">&lt; {{ 7 * 7 }}"""
CURVES = "iteration,lambda,loss1,supervised1,disagreement,entropy\n" + "".join(
    f"{10 * i},0.1,{2 / i},{1 / i},{0.5 / i},{0.6 / i}\n" for i in range(1, 31)
)
VALIDATION = "iteration,dsc\n100,0.25\n200,0.5\n300,0.75\n"


def disc(shape: tuple[int, int], centre: tuple[int, int], radius: int) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2).astype(np.uint8)


def example(case: str, why: str = "drawn", shape: tuple[int, int] = (48, 64)) -> Example:
    """A grey image with a disc as truth and another one as prediction."""
    truth, prediction = disc(shape, (24, 30), 12), disc(shape, (24, 36), 10)
    image = np.repeat((60 + 100 * truth)[..., None], 3, axis=2).astype(np.uint8)
    return Example(case, why, 0, image, truth, prediction)


def write_full_run(store: Store, method: str, seed: int, scores: list[float | None], **more: Any) -> RunFolder:
    """Write a finished run with curves and the pictures of its cases 0 and 1."""
    folder = RunFolder(store.folder(write_run(store, method, seed, scores, **more)).path)
    folder.curves.write_text(CURVES)
    folder.validation_curve.write_text(VALIDATION)
    write_pictures(folder.examples, [example("0"), example("1", "best,worst")])
    return folder


def change(folder: RunFolder, **fields: Any) -> None:
    """Change fields of run.json; `spec` and `provenance` are merged."""
    data = json.loads(folder.description.read_text())
    for key, value in fields.items():
        data[key] = data[key] | value if isinstance(data.get(key), dict) and isinstance(value, dict) else value
    folder.description.write_text(json.dumps(data))


@contextmanager
def serving(root: Path, every: float = 0.2, settings: dict[str, Any] | None = None) -> Iterator[str]:
    """Serve a store on a free port; yields the address."""
    uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    pytest.importorskip("starlette", reason="the extra serve is not installed")
    from ssl_bench.live.server import OPTIONS, make_app

    with ReportSites(root, settings=settings) as sites:
        app = make_app(Pages(StoreReader(root), every), sites, ["127.0.0.1", "localhost"])
        server = uvicorn.Server(uvicorn.Config(app, port=0, **OPTIONS))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def get(address: str, method: str = "GET", **headers: str) -> tuple[int, str, Any]:
    """Ask for an address as it stands; returns status, text and headers."""
    request = urllib.request.Request(address, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode(errors="replace"), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace"), error.headers
