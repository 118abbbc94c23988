"""Environment variables that the libraries of torch read when they are loaded."""

from __future__ import annotations

import logging
import os
import sys

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def before_torch() -> None:
    """Set the variables that are not set. Call it before torch is imported; a second call changes nothing.

    Where CUDA is already in use without the setting of cuBLAS, sums on a GPU may differ in their last bits from one run
    to the next; that is logged.
    """
    # Threads that spin for long starve each other as soon as another process wants a core: 3 times slower. Those that
    # sleep at once take twice as long over small tensors. So: a fraction of a millisecond.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    torch = sys.modules.get("torch")
    if WORKSPACE not in os.environ and torch is not None and torch.cuda.is_initialized():
        logging.getLogger("ssl_bench").warning(
            "CUDA was used before ssl_bench without %s=:4096:8: two runs on this GPU may differ in their last bits; "
            "import ssl_bench first, or set the variable", WORKSPACE,
        )  # fmt: skip
    os.environ.setdefault(WORKSPACE, ":4096:8")  # without it cuBLAS may sum in another order each time
