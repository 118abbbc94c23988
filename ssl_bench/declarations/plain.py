"""Decides whether the text of a method's file, and nothing else, decides what its classes declare."""

from __future__ import annotations

import ast

MODULES = frozenset({
    "__future__", "abc", "collections", "collections.abc", "copy", "dataclasses", "enum", "functools", "itertools",
    "math", "operator", "pydantic", "typing", "typing_extensions", "ssl_bench.method", "ssl_bench.ops",
})  # fmt: skip
NAMES = {
    "ssl_bench.data": {"Card", "register_augmentation"},
    "ssl_bench.networks": {"Build", "register_network"},
}  # of rooms whose other names can read files
REACH_OUT = frozenset({
    "__builtins__", "__dict__", "__file__", "__import__", "compile", "eval", "exec", "globals",
    "input", "locals", "open",
    "accelerator", "backends", "cuda", "from_file", "hub", "load", "load_methods", "mps", "rand", "randint", "randn",
    "xpu",
})  # fmt: skip


def is_plain(text: bytes) -> bool:
    """Whether a file can only depend on its own text, on this package, and on the versions of torch and pydantic.

    It imports torch and the modules above alone, and names nothing that reads files, devices or random numbers. A file
    that fails this check may be harmless; it is then imported for every report.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return all(_is_plain(node) for node in ast.walk(tree))


def _is_plain(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return all(_is_known(alias.name) for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            named = {alias.name for alias in names}
            if module in NAMES:
                return named <= NAMES[module]
            return level == 0 and _is_known(module or "") and not named & (REACH_OUT | {"*"})
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name not in REACH_OUT
    return True


def _is_known(module: str) -> bool:
    return module in MODULES or (module.partition(".")[0] == "torch" and not REACH_OUT & set(module.split(".")))
