"""python tools/speed: what the harness costs."""

import sys

from ssl_bench.cli import before_torch

if __name__ == "__main__":
    before_torch()
    from benchmark import main

    sys.exit(main())
