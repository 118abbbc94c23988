"""Declaration: what a method's class says about itself, apart from its arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl_bench.method import SSLMethod

Resolve = Callable[[Mapping[str, Any], int], dict[str, Any]]


@dataclass(frozen=True)
class Declaration:
    """A method as grids and reports see it.

    Attributes:
        name: in cards and on the command line.
        title: in tables.
        version: of its results.
        dimensions: of the data that it can train on, 2 or 3 or both.
        components: Table 4's check marks.
        fields: names of its hyperparameters.
        authors: its authors' own settings, where they differ.
        reconstructed: whether it was built from a description.
        resolve: returns all hyperparameters as plain data, from the given ones and the data's dimensions (2 or 3).
            Raises UserError where a given one is wrong.

    """

    name: str
    title: str
    version: int
    dimensions: frozenset[int]
    components: frozenset[str]
    fields: frozenset[str]
    authors: Mapping[str, Any]
    reconstructed: bool
    resolve: Resolve


def declare(method: type[SSLMethod]) -> Declaration:
    """Return the declaration of an imported method."""

    def resolve(given: Mapping[str, Any], dimensions: int) -> dict[str, Any]:
        return resolved_hyperparameters(method, given, dimensions)

    fields = frozenset(method.hyperparameters.model_fields)
    return Declaration(
        method.name, method.title, method.version, frozenset(method.dimensions), frozenset(method.components), fields,
        dict(method.authors), method.reconstructed, resolve,
    )  # fmt: skip


def resolved_hyperparameters(method: type[SSLMethod], given: Mapping[str, Any], dimensions: int) -> dict[str, Any]:
    """Return all hyperparameters of an imported method as plain data.

    Raises:
        UserError: a given one is wrong.
    """
    from ssl_bench.method import parse_hyperparameters

    return parse_hyperparameters(method, dict(given)).resolved(dimensions).model_dump(mode="json")
