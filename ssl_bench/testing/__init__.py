"""For tests of your own methods: `check_method` holds a method to the contract of the built-in ones."""

from ssl_bench.testing.check import check_method
from ssl_bench.testing.laboratory import Laboratory, TinyNetwork

__all__ = ["Laboratory", "TinyNetwork", "check_method"]
