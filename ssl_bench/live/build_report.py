"""Writes the report of a store as a site, in a process of its own: `python -m ssl_bench.live.build_report JSON`."""

from __future__ import annotations

import json
import os
import sys

from ssl_bench.errors import UserError
from ssl_bench.store import reading_only

NICENESS = 10  # trainings on the same machine come first


def main(words: str) -> None:
    """Write every table and figure, and the claims, as a site. A mistake is one line and exit code 2.

    Args:
        words: JSON with `folder`, and the arguments of `api.report` that select runs.
    """
    os.nice(NICENESS)
    from ssl_bench import api

    arguments = json.loads(words)
    folder = arguments.pop("folder")
    try:
        with reading_only():
            api.report(everything=True, **arguments).write_html(folder)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1])
