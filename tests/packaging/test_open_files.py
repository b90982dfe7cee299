"""Files are opened, made and replaced in two modules of the package, which do it safely."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import dagster_beiwe

PACKAGE = Path(dagster_beiwe.__file__).parent

OWNERS = ("private_files.py", "file_tree.py")

ALLOWED = {
    ("cli/__init__.py", "os.open"): "the null device, in place of a closed output",
    ("cli/commands.py", "formatter.write_text"): "a line of the help",
    ("demo/user_interface.py", "os.open"): "the null device, in place of a closed terminal",
    ("demo/scenario.py", "tempfile.TemporaryDirectory"): "a folder of its own, made by the system for nobody else",
    ("study_finder.py", "memory.touch"): "a method of what remembers studies",
    ("component/state.py", "tempfile.TemporaryDirectory"): "a folder of its own, made by the system for nobody else",
    ("processes.py", "path.read_text"): "the kernel's files in /proc, and the machine's id: only root can write them",
    ("studies/discovery.py", "os.utime"): "sets the time of a file and opens nothing",
    ("stream_tables/of_stream.py", "frame.rename"): "names a column of a DataFrame",
    ("exports/folder.py", "path.rmdir"): "folders that this call has made, and only if they are empty",
    ("memory_folders.py", "_MOUNTS.read_text"): "the kernel's list of file systems",
    ("memory_folders.py", "shutil.rmtree"): "folders of this user alone that no process has locked",
    ("memory_folders.py", "tempfile.mkdtemp"): "a folder of its own, made by the system for nobody else",
    **{
        ("forest/program.py", f"path.{use}"): "it runs without this package, in the run's own folder"
        for use in ("open", "read_bytes", "read_text", "unlink", "write_text")
    },
}
"""Everywhere else: a path that others can write to may have become something else."""

OF_OS = {
    "chmod", "chown", "fdopen", "link", "listdir", "makedirs", "mkdir", "mkfifo", "mknod", "open", "remove",
    "removedirs", "rename", "renames", "replace", "rmdir", "scandir", "symlink", "truncate", "unlink", "utime",
}  # fmt: skip
OF_PATHS = {
    "chmod", "hardlink_to", "mkdir", "read_bytes", "read_text", "rename", "rmdir", "symlink_to", "touch", "unlink",
    "write_bytes", "write_text",
}  # fmt: skip
OF_MODULES = {
    "io": {"FileIO", "open", "open_code"},
    "os": OF_OS,
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move", "rmtree"},
    "tempfile": {name for name in dir(tempfile) if name.startswith(("mk", "Named", "Spooled", "Temp"))},
    "codecs": {"open"},
    "gzip": {"open"},
    "zipfile": {"ZipFile"},
}


def uses(source: str) -> Iterator[str]:
    """Every call, and every function passed on, that opens, makes, replaces or removes a file or folder by its path."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in OF_MODULES:
            yield from (f"{node.module}.{each.name}" for each in node.names if each.name in OF_MODULES[node.module])
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else "path"
            if node.attr in OF_MODULES.get(owner, OF_PATHS):
                yield f"{owner}.{node.attr}"
        if isinstance(node, ast.Call):
            yield from _calls(node)


def _calls(node: ast.Call) -> Iterator[str]:
    """What only its arguments tell from a method of ours or of a text: ``open`` with a mode, ``replace`` with one."""
    if isinstance(node.func, ast.Name) and node.func.id == "open":
        yield "open"
    elif isinstance(node.func, ast.Attribute) and not isinstance(node.func.value, ast.Constant):
        mode = node.args[0] if node.args else None
        by_mode = isinstance(mode, ast.Constant) and isinstance(mode.value, str) and set(mode.value) <= set("rwaxbt+")
        if node.func.attr == "open" and not node.keywords and (not node.args or by_mode):
            yield "path.open"
        if node.func.attr == "replace" and len(node.args) == 1 and not node.keywords:
            yield "path.replace"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("with open(path, 'rb') as file: pass", ["open"]),
        ("os.open(path, os.O_RDONLY)", ["os.open"]),
        ("from os import replace", ["os.replace"]),
        ("(folder / 'a').read_text()", ["path.read_text"]),
        ("path.write_bytes(data)", ["path.write_bytes"]),
        ("Path(a).open('rb')", ["path.open"]),
        ("path.open()", ["path.open"]),
        ("source.replace(target)", ["path.replace"]),
        ("list(map(Path.unlink, paths))", ["Path.unlink"]),
        ("os.fdopen(tempfile.mkstemp()[0])", ["os.fdopen", "tempfile.mkstemp"]),
        ("text.replace('a', 'b'); replace(record, path=''); moment.replace(hour=0)", []),
        ("storage.open(path); self.open(file); webbrowser.open(url)", []),
    ],
)
def test_every_way_to_open_a_file_is_known(source: str, found: list[str]) -> None:
    """Else the next test would find nothing."""
    assert sorted(uses(source)) == found


def test_files_are_opened_in_two_modules() -> None:
    """They follow no link, wait for nothing, open regular files only, and make them for their owner."""
    found = {
        (place, use)
        for path in PACKAGE.rglob("*.py")
        if (place := path.relative_to(PACKAGE).as_posix()) not in OWNERS
        for use in uses(path.read_text(encoding="utf-8"))
    }
    assert found - ALLOWED.keys() == set()
    assert ALLOWED.keys() - found == set()  # what is not needed any more
