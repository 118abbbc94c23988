"""`python -m ssl_bench`."""

from ssl_bench.cli import main

main()
