"""Importing this module imports what a run needs, so that processes forked afterwards need not.

Torch computes nothing here, no data is opened, and a user's files are left to the processes that are told of them.
"""

from __future__ import annotations

import importlib

from ssl_bench.environment import before_torch
from ssl_bench.plugins import import_file, method_files

MODULES = (
    "ssl_bench.cli",
    "ssl_bench.api",
    "ssl_bench.launch.inprocess",
    "ssl_bench.launch.launcher",
    "ssl_bench.launch.local",
    "ssl_bench.launch.pool",
    "ssl_bench.launch.progress",
    "ssl_bench.launch.slurm",
    "ssl_bench.reporting.next_table",
    "ssl_bench.reporting.runs",
    "ssl_bench.training.plan",
    "ssl_bench.training.rescore",
    # what these import where they use it
    "_strptime",
    "PIL.ImageFile",
    "nibabel",
    "pandas",
    "platformdirs.unix",
    "rich._emoji_codes",
    "scipy.ndimage",
    "segmentation_models_pytorch",
    "skimage.draw.draw",
    "skimage.measure",
    "torch._inductor.config",
    "torch.utils.serialization.config",
    "zoneinfo",
)

before_torch()
for name in MODULES:
    importlib.import_module(name)
for path, module in method_files():
    import_file(path, module)
importlib.import_module("ssl_bench.cli").command()
