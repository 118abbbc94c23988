"""The reference of the command line: every command with its arguments and options, from the typer application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from site_pages.markdown import code, page, table
from ssl_bench.cli import command

PROGRAM = "ssl-bench"
TYPES = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH"}


def commands(group: Any = None, words: tuple[str, ...] = (PROGRAM,)) -> Iterator[tuple[str, Any]]:
    """Yield each command with the words that call it: the program first, a group before its commands."""
    group = command() if group is None else group
    yield " ".join(words), group
    for name, inner in getattr(group, "commands", {}).items():
        yield from commands(inner, (*words, name))


def command_line_page() -> str:
    """Return the page with every command."""
    about = (
        f"`{PROGRAM} COMMAND --help` prints the same. [Options and settings](../options.md) explains the options that "
        "need more than a line. This page is made from the program."
    )
    codes = (
        "Exit codes: 0 for success; 1 if a run failed; 2 for a mistake in a command, a card or the data; 128 plus the "
        "number of the signal if a signal stopped the command."
    )
    lines = [about, "", codes, ""]
    for words, one in commands():
        lines += [f"## {words}", "", _sentence(one.help or ""), ""]
        inner = getattr(one, "commands", {})
        shown = [parameter for parameter in one.params if "--help" not in parameter.opts]
        lines += ["```text", _usage(words, one, shown), "```", ""]
        if inner:
            lines += table(["Command", "Task"], [
                [f"[`{words} {name}`](#{'-'.join([*words.split(), name])})", _sentence(each.help or "")]
                for name, each in inner.items()
            ])  # fmt: skip
        if shown:
            lines += table(["Option", "Value", "Default", "Meaning"], [_row(parameter) for parameter in shown])
    return page("Command line", lines)


def _usage(words: str, one: Any, shown: list[Any]) -> str:
    parts = [words]
    parts += ["[OPTIONS]"] if any(_is_option(parameter) for parameter in shown) else []
    parts += [_place(parameter) for parameter in shown if not _is_option(parameter)]
    parts += ["COMMAND"] if getattr(one, "commands", {}) else []
    return " ".join(parts)


def _row(parameter: Any) -> list[str]:
    variable = f" Environment variable: `{parameter.envvar}`." if parameter.envvar else ""
    meaning = _sentence(getattr(parameter, "help", None) or "") + variable
    if not _is_option(parameter):
        return [code(_place(parameter)), "", "*required*" if parameter.required else "", meaning]
    names = ", ".join(code(name) for name in (*parameter.opts, *parameter.secondary_opts))
    value = "" if parameter.is_flag else code(parameter.metavar or _type(parameter))
    if parameter.required:
        default = "*required*"
    else:
        default = "" if parameter.is_flag or parameter.default in (None, ()) else code(str(parameter.default))
    return [names, value, default, meaning]


def _place(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    name = f"{name}..." if parameter.nargs == -1 else name
    return name if parameter.required else f"[{name}]"


def _is_option(parameter: Any) -> bool:
    return str(parameter.opts[0]).startswith("-")


def _type(parameter: Any) -> str:
    """Name the type of a value; typer's own description of it, or that of earlier versions, which are click's."""
    described = getattr(parameter, "type_descriptor", None)
    if described is None:
        return str(parameter.type.name).upper()
    annotation = next(iter(get_args(described.annotation)), described.annotation)
    return TYPES.get(annotation, annotation.__name__.upper())


def _sentence(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;").replace("*", r"\*")
