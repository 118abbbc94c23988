"""Random streams as functions of their purpose, so that no generator has a state that a resume could lose."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def derive_seed(*purpose: int | str) -> int:
    """A 63-bit seed from the parts of a purpose, e.g. (run seed, "augment", iteration). Equal parts: equal seeds."""
    digest = hashlib.sha256("/".join(str(part) for part in purpose).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def shuffled(ids: Iterable[str], *purpose: int | str) -> list[str]:
    """Order ids by a hash of purpose and id: the same on every machine and library version, and nested by prefixes."""
    return sorted(ids, key=lambda name: hashlib.sha256("/".join([*map(str, purpose), name]).encode()).digest())
