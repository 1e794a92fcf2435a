"""Imports point one way: a room uses only what lies on the floors below it."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import networkx as nx

import simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(simulator.__file__).parent
FLOORS = (
    ("units", "errors", "ranges"),
    ("fields", "processes", "yaml_text"),
    ("precision", "mistakes"),
    ("operators", "documents"),
    ("catalog", "hardware", "schedule"),
    ("workload",),
    ("parallel",),
    ("scenario",),
    ("program",),
    ("engine",),
    ("metrics",),
    ("report",),
    ("api",),
    ("calibration", "search", "validation"),
    ("comparison",),
    ("cli",),
)
"""Rooms from the ground up. Rooms of one floor do not know each other."""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FACADE = "__init__"
"""The package itself: hands out names of every floor when they are asked for."""
TYPES_FROM_ABOVE = {("report", "api")}
"""A report's argument is the API's result: the type, never the module, and only there."""
SLOW = frozenset({"pandas", "matplotlib", "pyarrow", "numba"})
"""Slow to import: only inside the functions that need them."""


class Import:
    """One import statement's module, and whether only a type checker or a call runs it."""

    def __init__(self, module: str, *, types_only: bool, in_function: bool) -> None:
        self.module = module
        self.types_only = types_only
        self.in_function = in_function

    @property
    def room(self) -> str:
        """The room that the module belongs to; the facade for the package itself."""
        _, *rest = self.module.split(".")
        return rest[0] if rest else FACADE


def imports(
    node: ast.AST, *, types_only: bool = False, in_function: bool = False
) -> Iterator[Import]:
    """Yield the imports below ``node``."""
    for child in ast.iter_child_nodes(node):
        for module in modules(child):
            yield Import(module, types_only=types_only, in_function=in_function)
        yield from imports(
            child,
            types_only=types_only
            or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)),
            in_function=in_function or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)),
        )


def modules(node: ast.AST) -> list[str]:
    """Return the modules that one statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom) or node.module is None:
        return []
    if node.module == "simulator":
        return [f"simulator.{alias.name}" for alias in node.names]
    return [node.module]


def rooms_and_imports() -> Iterator[tuple[str, str, Import]]:
    """Yield file, room and import of every file in a room."""
    for path in sorted(PACKAGE.rglob("*.py")):
        inner = path.relative_to(PACKAGE)
        room = inner.with_suffix("").parts[0]
        if room != FACADE:
            for found in imports(ast.parse(path.read_text(encoding="utf-8"))):
                yield str(inner), room, found


def test_every_room_has_a_floor() -> None:
    rooms = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    assert rooms - {FACADE} == set(FLOOR)


def test_imports_point_down() -> None:
    """Types count too: what a room must know to be read is what it depends on."""
    upward = [
        f"{file}: {found.module}"
        for file, room, found in rooms_and_imports()
        if found.module.startswith("simulator.")
        and found.room in FLOOR
        and found.room != room
        and FLOOR[found.room] >= FLOOR[room]
        and not (found.types_only and (room, found.room) in TYPES_FROM_ABOVE)
    ]
    assert upward == []


def test_modules_import_one_another_without_cycles() -> None:
    graph: nx.DiGraph[str] = nx.DiGraph()
    for file, _, found in rooms_and_imports():
        if not found.types_only and found.module.startswith("simulator."):
            own = "simulator." + file.removesuffix(".py").replace("/", ".")
            graph.add_edge(own.removesuffix(".__init__"), found.module)
    assert list(nx.simple_cycles(graph)) == []


def test_slow_libraries_are_imported_where_they_are_used() -> None:
    """`simulator --help` and a run without files import neither pandas nor matplotlib."""
    eager: defaultdict[str, list[str]] = defaultdict(list)
    for file, room, found in rooms_and_imports():
        library = found.module.split(".")[0]
        if library in SLOW and room != "report" and not (found.types_only or found.in_function):
            eager[library].append(file)
    assert eager == {}
