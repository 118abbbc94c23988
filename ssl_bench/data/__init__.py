"""From a data set's own files to augmented batches: readers, checks, the cache, splits, views.

A file that registers an augmentation needs `Card` and `register_augmentation`.
"""

from ssl_bench.cards import Card
from ssl_bench.data.extra import register_augmentation

__all__ = ["Card", "register_augmentation"]
