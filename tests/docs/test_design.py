"""docs/design.md is true: each step of a walk and each start of a change names a file and what is in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import dagster_beiwe

PACKAGE = Path(dagster_beiwe.__file__).parent
PAGE = (Path(__file__).parents[2] / "docs" / "design.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^\| .* \| `([\w/]+\.py)` \| `(\w+)` \|$", PAGE, flags=re.MULTILINE)
_FIRST_CELLS = re.findall(r"^\| (`[^|]*`) \| [^`|]", PAGE, flags=re.MULTILINE)
ROOMS = {name for cell in _FIRST_CELLS for name in re.findall(r"`([^`]+)`", cell)}


def names_in(path: Path) -> set[str]:
    """Classes, functions, methods and constants that a module defines."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


@pytest.mark.parametrize(("file", "name"), STEPS)
def test_a_step_names_what_is_there(file: str, name: str) -> None:
    """The file exists and defines the name."""
    assert name in names_in(PACKAGE / file)


def test_there_are_five_walks_and_fourteen_changes() -> None:
    """None of the tables was lost."""
    assert PAGE.partition("## Where a change starts")[2].partition("\n## ")[0].count("\n| ") == 1 + 14
    assert len(STEPS) > 12 + 4 * 4


def test_every_room_is_told_of() -> None:
    """Each file and folder at the top of the package stands in the table of rooms."""
    there = {path.name + "/" * path.is_dir() for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - ROOMS <= {"__init__.py", "__main__.py", "__pycache__/"}


def test_files_of_tests_that_are_named_exist() -> None:
    """The page says how each statement is tested."""
    root = Path(__file__).parents[2]
    assert [name for name in re.findall(r"`(tests/[\w/]+\.py)`", PAGE) if not (root / name).exists()] == []
