"""The rooms of the package: which may know which. Imports point one way, and what is below Dagster does not know it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import dagster_beiwe

PACKAGE = Path(dagster_beiwe.__file__).parent

# From the ground up: a room may import from itself and from those on lower floors.
FLOORS = [
    {"errors", "environment"},
    {
        "arguments",
        "streams",
        "windows",
        "archive",
        "meanwhile",
        "private_files",
        "processes",
        "retries",
        "text",
        "typed_json",
    },
    {"ids", "column_types", "encryption", "file_tree", "progress", "memory_folders", "parallel", "parts"},
    {"cells", "member_names"},
    {"credentials"},
    {"client", "lake", "notices"},
    {"sync", "reading", "tables"},
    {"forest", "surveys"},
    {"stream_tables"},
    {"exports"},
    {"maintenance", "studies", "adoption"},
    {"runs", "opening", "coverage"},
    {"partitions", "resource", "pictures", "quality"},
    {"io_managers", "report", "study_finder"},
    {"assets"},
    {"checks", "automation"},
    {"definitions"},
    {"component"},
    {"__init__"},
    {"demo"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_DAGSTER = [
    *(room for rooms in FLOORS[:7] for room in sorted(rooms)),
    "surveys",
    "stream_tables",
    "opening",
    "coverage",
    "pictures",
    "quality",
    "report",
]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


ROOMS = sorted({room_of(path) for path in PACKAGE.rglob("*.py")})


def imports(room: str) -> Iterator[tuple[str, str]]:
    """(file, dotted name) of every import in a room, at run time or for types."""
    for path in PACKAGE.rglob("*.py"):
        if room_of(path) == room:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    yield from ((path.name, f"{node.module}.{alias.name}") for alias in node.names)
                elif isinstance(node, ast.Import):
                    yield from ((path.name, alias.name) for alias in node.names)


def rooms_imported(room: str) -> set[str]:
    """Other rooms of the package that a room imports from."""
    names = [name.split(".") for _, name in imports(room)]
    found = {parts[1] for parts in names if parts[0] == "dagster_beiwe"}
    return {name if name in ROOMS else "__init__" for name in found} - {room}


def test_every_room_has_its_floor() -> None:
    """A new file at the top of the package is put on a floor here; the simulator stands beside the house."""
    assert {*ROOMS} == {*FLOOR, "simulator"}


@pytest.mark.parametrize("room", sorted(FLOOR))
def test_rooms_import_from_lower_floors_only(room: str) -> None:
    """Nobody reaches up, nor into a neighbor on the same floor; everybody may name an error."""
    allowed = {other for other, floor in FLOOR.items() if floor < FLOOR[room]}
    if room in ("cli", "demo"):
        allowed.add("simulator")
    assert rooms_imported(room) <= allowed | {"errors"}


@pytest.mark.parametrize("room", [*WITHOUT_DAGSTER, "simulator"])
def test_what_scripts_use_does_not_know_dagster(room: str) -> None:
    """Client, lake, synchronisation and reading work in a plain script."""
    assert not [file for file, module in imports(room) if module.split(".")[0] == "dagster"]


def test_a_configured_study_does_not_know_dagster() -> None:
    """Only the zone that a run recorded and the keys of assets are Dagster's."""
    assert {file for file, module in imports("studies") if module.split(".")[0] == "dagster"} == {
        "server_counts.py",
        "study.py",
    }


def test_the_simulator_needs_nothing_of_the_package_but_names() -> None:
    """Whoever simulates a server must not share the client's mistakes."""
    assert rooms_imported("simulator") <= {"streams", "ids", "member_names"}


def _name(path: Path) -> str:
    return ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {_name(path): path for path in PACKAGE.rglob("*.py")}


def modules_imported(name: str) -> set[str]:
    """Modules of the package that a module imports, anywhere in it, at run time or for types."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys() or {str(node.module)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & MODULES.keys()) - {name}


def test_no_modules_import_each_other() -> None:
    """Not in a circle of any length, inside a folder neither, and for types neither."""
    waiting = {name: modules_imported(name) for name in MODULES}
    while free := [name for name, imported in waiting.items() if not imported & waiting.keys()]:
        for name in free:
            del waiting[name]
    assert not waiting, "these are in a circle of imports, or need one that is"
