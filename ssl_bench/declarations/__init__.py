"""What a report needs to know of the methods, without importing their files: those import torch."""

from ssl_bench.declarations.declaration import Declaration, declare
from ssl_bench.declarations.load import Declarations, declared_methods

__all__ = ["Declaration", "Declarations", "declare", "declared_methods"]
