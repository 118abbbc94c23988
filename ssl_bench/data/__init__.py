"""From a data set's own files to augmented batches: readers, checks, the cache, splits, views.

A file that registers an augmentation needs `Card` and `register_augmentation`.
"""

from typing import TYPE_CHECKING, Any

from ssl_bench.cards import Card

if TYPE_CHECKING:
    from ssl_bench.data.extra import register_augmentation

__all__ = ["Card", "register_augmentation"]


def __getattr__(name: str) -> Any:
    if name == "register_augmentation":  # imported late, since it needs torch and reports need groups alone
        from ssl_bench.data.extra import register_augmentation

        return register_augmentation
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
