"""(f) How long a command takes before it does anything, beside Python and torch themselves."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

from timing import Ratio, Settings, compare


def ratios(settings: Settings) -> Iterator[Ratio]:
    """Processes started one after the other."""
    with tempfile.TemporaryDirectory() as empty:
        place = ["--results-root", empty]
        python, torch = ("Python alone", process("-c", "pass")), ("import torch", process("-c", "import torch"))
        bench = ["-m", "ssl_bench"]
        run = ["run", "--methods", "supervised", "--dataset", "demo", "--protocol", "tiny"]
        yield compare("start-up", "ssl-bench --help", ("--help", process(*bench, "--help")), python, settings)
        yield compare("start-up", "ssl-bench status", ("status", process(*bench, "status", *place)), python, settings)
        dry = process(*bench, "reproduce", "--table", "4", "--dry-run", *place)
        yield compare("start-up", "ssl-bench reproduce --dry-run", ("reproduce", dry), python, settings)
        process(*bench, *run, *place)()
        yield compare(
            "start-up", "ssl-bench run of what is finished: imports, data check, plan, table",
            ("run", process(*bench, *run, *place)), torch, settings,
        )  # fmt: skip


def process(*words: str) -> Callable[[], object]:
    """Run Python with these words to its end."""
    return lambda: subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
