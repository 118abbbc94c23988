"""Writes the report of a store as a site, in a process of its own: `python -m ssl_bench.live.build_report`."""

from __future__ import annotations

import os
import sys

from ssl_bench.errors import UserError
from ssl_bench.store import reading_only

NICENESS = 10  # trainings on the same machine come first


def main(results_root: str, folder: str, *methods_dirs: str) -> None:
    """Write every table and figure, and the claims, into a folder. A mistake is one line and exit code 2."""
    os.nice(NICENESS)
    from ssl_bench import api

    try:
        with reading_only():
            api.report(everything=True, results_root=results_root, methods_dir=methods_dirs).write_html(folder)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main(*sys.argv[1:])
