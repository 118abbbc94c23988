"""The reference of Python: a page for each public module, with every name of its `__all__`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from site_pages.markdown import page


@dataclass(frozen=True)
class PublicModule:
    """A module whose names programs and users' files may import."""

    name: str
    title: str
    about: str

    @property
    def names(self) -> list[str]:
        """The public names, sorted."""
        return sorted(importlib.import_module(self.name).__all__, key=lambda name: (name.lower(), name))

    @property
    def file(self) -> str:
        """The page's file in the folder of the Python reference."""
        return f"{self.name.replace('.', '-')}.md"


MODULES = (
    PublicModule("ssl_bench", "ssl_bench: the front door", "The commands as functions, and what they return."),
    PublicModule("ssl_bench.method", "ssl_bench.method: the contract", "What the file of a method imports."),
    PublicModule("ssl_bench.ops", "ssl_bench.ops: shared functions", "Losses, mixes, moving averages and other parts "
                 "that methods share."),
    PublicModule("ssl_bench.networks", "ssl_bench.networks: networks", "What the file of a network imports."),
    PublicModule("ssl_bench.scoring", "ssl_bench.scoring: metrics", "What the file of a metric imports."),
    PublicModule("ssl_bench.data", "ssl_bench.data: augmentations", "What the file of an augmentation imports."),
    PublicModule("ssl_bench.store", "ssl_bench.store: stored runs", "Runs, their files and scores."),
)  # fmt: skip


def module_page(module: PublicModule) -> str:
    """Return a module's page; mkdocstrings fills in each name."""
    lines = [module.about, ""]
    if module.name == "ssl_bench":
        lines += ["::: ssl_bench.api", "    options:", "      members: false", "      show_root_toc_entry: false", ""]
    for name in module.names:
        lines += [f"::: {module.name}.{name}", ""]
    return page(module.title, lines)
