"""Environment variables that the libraries of torch read when they are loaded."""

from __future__ import annotations

import logging
import os
import sys

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def before_torch() -> None:
    """Set the variables that are not set. Call it before torch is imported; a second call changes nothing.

    If CUDA was used before the cuBLAS setting was made, sums on a GPU may differ in their last bits between runs. A
    warning is logged.
    """
    # Threads that spin for long are 3 times slower if another process needs a core. Threads that sleep at once take
    # twice as long on small tensors. So they spin for a fraction of a millisecond.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    torch = sys.modules.get("torch")
    if WORKSPACE not in os.environ and torch is not None and torch.cuda.is_initialized():
        logging.getLogger("ssl_bench").warning(
            "CUDA was used before ssl_bench without %s=:4096:8: two runs on this GPU may differ in their last bits; "
            "import ssl_bench first, or set the variable", WORKSPACE,
        )  # fmt: skip
    os.environ.setdefault(WORKSPACE, ":4096:8")  # without it cuBLAS may sum in another order each time
