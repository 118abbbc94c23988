"""ssl-bench: a reproducible benchmark of semi-supervised learning methods for medical image segmentation.

`import ssl_bench` gives `run`, `score`, `reproduce`, `report`, `predict`, `status`, `load_store` and more; see
`ssl_bench.api`. They are imported when they are first used, so that the import alone loads neither torch nor pandas.
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from ssl_bench.folders import BENCHMARKS_DIR as BENCHMARKS_DIR
from ssl_bench.folders import METHODS_DIR as METHODS_DIR
from ssl_bench.folders import PUBLISHED_DIR as PUBLISHED_DIR

if TYPE_CHECKING:
    from ssl_bench.api import (
        compare,
        export_model,
        list_datasets,
        list_methods,
        load_model,
        load_store,
        method_costs,
        predict,
        report,
        reproduce,
        run,
        score,
        serve,
        status,
        watch,
    )
    from ssl_bench.cards import load_benchmark, load_protocol
    from ssl_bench.errors import InterruptedRunError, RunFailedError, UserError
    from ssl_bench.method import SSLMethod
    from ssl_bench.prediction import LoadedModel
    from ssl_bench.store import Store

    __version__: str

__all__ = [
    "InterruptedRunError",
    "LoadedModel",
    "RunFailedError",
    "SSLMethod",
    "Store",
    "UserError",
    "compare",
    "export_model",
    "list_datasets",
    "list_methods",
    "load_benchmark",
    "load_model",
    "load_protocol",
    "load_store",
    "method_costs",
    "predict",
    "report",
    "reproduce",
    "run",
    "score",
    "serve",
    "status",
    "watch",
]
_HOMES = {
    "InterruptedRunError": "errors",
    "LoadedModel": "prediction",
    "RunFailedError": "errors",
    "SSLMethod": "method",
    "Store": "store",
    "UserError": "errors",
    "load_benchmark": "cards",
    "load_protocol": "cards",
}  # modules of the names above; the others are of `api`

logging.getLogger(__name__).addHandler(logging.NullHandler())  # quiet unless a program asks for the messages


def __getattr__(name: str) -> Any:
    """Import a name of the front door, or read the version, when it is first used (PEP 562)."""
    if name == "__version__":
        from ssl_bench.version import current_version

        return current_version()
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ssl_bench.environment import before_torch

    before_torch()
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'api')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The names of the module, with those that are not imported yet."""
    return sorted({*globals(), *__all__})
