"""The reference of Python: a page for each public module, with every name of its `__all__`."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import dataclass

from site_pages.markdown import code, page, table


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


FRONT_DOOR = "ssl_bench"
ELSEWHERE = {"SSLMethod": "ssl_bench.method", "Store": "ssl_bench.store"}  # whose members stand on another page
MODULES = (
    PublicModule(FRONT_DOOR, "ssl_bench: the front door", "The commands as functions, and what they return."),
    PublicModule("ssl_bench.method", "ssl_bench.method: the contract", "What the file of a method imports."),
    PublicModule("ssl_bench.ops", "ssl_bench.ops: shared functions", "Losses, mixes, moving averages and other parts "
                 "that methods share."),
    PublicModule("ssl_bench.networks", "ssl_bench.networks: networks", "What the file of a network imports."),
    PublicModule("ssl_bench.scoring", "ssl_bench.scoring: metrics", "What the file of a metric imports."),
    PublicModule("ssl_bench.data", "ssl_bench.data: augmentations", "What the file of an augmentation imports."),
    PublicModule("ssl_bench.store", "ssl_bench.store: stored runs", "Runs, their files and scores."),
    PublicModule("ssl_bench.testing", "ssl_bench.testing: tests of methods", "What the tests of a method import."),
    PublicModule("ssl_bench.trackers", "ssl_bench.trackers: trackers", "What the file of a tracker imports."),
)  # fmt: skip


def module_page(module: PublicModule) -> str:
    """Return a module's page; mkdocstrings fills in each name."""
    lines = [module.about, ""]
    if module.name == FRONT_DOOR:
        lines += _shared_arguments()
    for name in module.names:
        lines += [f"::: {module.name}.{name}"]
        if module.name == FRONT_DOOR and name in ELSEWHERE:
            home = next(one for one in MODULES if one.name == ELSEWHERE[name])
            lines += ["    options:", "      members: false", "", f"[Its members]({home.file}#{home.name}.{name})"]
        lines += [""]
    return page(module.title, lines)


def _shared_arguments() -> list[str]:
    """What the module of the functions says of all of them, with the arguments that several of them share."""
    text = inspect.getdoc(importlib.import_module("ssl_bench.api")) or ""
    about, _, arguments = text.partition("\nArguments that several functions share:\n")
    joined = re.sub(r"\n {8,}", " ", arguments)
    rows = [line.strip().partition(": ") for line in joined.splitlines() if line.strip()]
    lines = [about.strip(), "", "## Arguments that several functions share", ""]
    return lines + table(
        ["Argument", "Meaning"], [[code(name), f"{words[:1].upper()}{words[1:]}"] for name, _, words in rows]
    )
