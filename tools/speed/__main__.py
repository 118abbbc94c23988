"""python tools/speed: what the harness costs."""

import sys

from ssl_bench.environment import before_torch
from ssl_bench.errors import UserError

if __name__ == "__main__":
    before_torch()
    from benchmark import main

    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
