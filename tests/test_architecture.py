"""The rooms import each other in one direction, without a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

from conftest import REPOSITORY

FLOORS = (  # from the roof down: a room imports rooms of lower floors, and none of its own floor
    ("__main__",),
    ("cli",),
    ("ssl_bench",),  # the front door, ssl_bench/__init__.py
    ("api",),
    ("arguments", "results"),
    ("live", "sweep", "testing", "trackers"),
    ("launch", "prediction", "reporting"),
    ("grids",),
    ("training",),
    ("scoring", "store"),
    ("data", "networks"),
    ("declarations",),
    ("method",),
    ("cards",),
    ("ops", "plugins", "statistics"),
    ("atomic", "command", "environment", "folders", "labels", "locks", "seeds", "version"),
    ("errors",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
OPEN_TO_METHODS = {"method", "networks", "ops"}
CONSTANTS = {"__version__"}  # of the front door, for everybody

MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (REPOSITORY / "ssl_bench").rglob("*.py")
}


def imports_of(text: str) -> Iterator[str]:
    """Yield the modules of the package that a text imports: in functions and under TYPE_CHECKING, too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "ssl_bench")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if (node.module or "").split(".")[0] == "ssl_bench":
                for alias in node.names:
                    if node.module == "ssl_bench" and alias.name in CONSTANTS:
                        continue
                    name = f"{node.module}.{alias.name}"
                    yield name if name in MODULES else str(node.module)


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


IMPORTS = {module: sorted(set(imports_of(path.read_text()))) for module, path in MODULES.items()}


def test_every_import_is_read() -> None:
    text = """
import ssl_bench.store.store
import ssl_benchmark
from ssl_bench import __version__, api
from ssl_bench.cards import Grid
if TYPE_CHECKING:
    from ssl_bench.data import cache
def late():
    from ssl_bench.errors import UserError
"""
    assert sorted(imports_of(text)) == [
        "ssl_bench.api", "ssl_bench.cards", "ssl_bench.data.cache", "ssl_bench.errors", "ssl_bench.store.store",
    ]  # fmt: skip


def test_every_room_stands_on_one_floor() -> None:
    rooms = {room_of(module) for module in MODULES}
    assert rooms == FLOOR_OF.keys()
    assert sum(map(len, FLOORS)) == len(FLOOR_OF)


def test_imports_run_downwards() -> None:
    upwards = [
        f"{module} imports {imported}"
        for module, names in IMPORTS.items()
        for imported in names
        if room_of(module) != room_of(imported) and FLOOR_OF[room_of(module)] >= FLOOR_OF[room_of(imported)]
    ]
    assert upwards == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = dict(IMPORTS)
    while free := [module for module, names in left.items() if not any(name in left for name in names)]:
        left = {module: names for module, names in left.items() if module not in free}
    assert left == {}  # what is left is in a circle, or imports one


def test_methods_import_the_contract_the_operations_and_the_networks_alone() -> None:
    found = {
        f"{path.name} imports {name}"
        for path in (REPOSITORY / "methods").glob("*.py")
        for name in imports_of(Path(path).read_text())
        if room_of(name) not in OPEN_TO_METHODS
    }
    assert found == set()


def test_no_module_imports_a_private_name_of_another() -> None:
    found = {
        f"{module} imports {alias.name} of {node.module}"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ssl_bench")
        for alias in node.names
        if alias.name.startswith("_") and alias.name not in CONSTANTS
    }
    assert found == set()
