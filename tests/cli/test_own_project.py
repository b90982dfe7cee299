"""The project in the current folder configures the studies, as it does for Dagster."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from dagster_beiwe.cli.project import project_definitions
from dagster_beiwe.errors import ConfigurationError

HERE = "import dagster as dg\n\ndefs = dg.Definitions(assets=[dg.AssetSpec('here')])\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project in the current folder."""
    (tmp_path / "lab_here").mkdir()
    (tmp_path / "lab_here" / "definitions.py").write_text(HERE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("lab_here")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pyproject.toml", '[tool.dagster]\nmodule_name = "lab_here.definitions"'),
        ("pyproject.toml", '[[tool.dagster.modules]]\ntype = "module"\nname = "lab_here.definitions"'),
        ("pyproject.toml", '[tool.dg.project]\nroot_module = "lab_here"'),
        (
            "pyproject.toml",
            '[tool.dg.project]\nroot_module = "lab"\ncode_location_target_module = "lab_here.definitions"',
        ),
        ("workspace.yaml", "load_from:\n  - python_module: lab_here.definitions"),
        (
            "workspace.yaml",
            "load_from:\n  - python_module: {module_name: lab_here.definitions, working_directory: .}",
        ),
    ],
)
def test_its_module_is_loaded(folder: Path, file: str, text: str) -> None:
    """In each way in which Dagster's own commands find it."""
    (folder / file).write_text(text, encoding="utf-8")
    (spec,) = project_definitions(None).resolve_all_asset_specs()
    assert spec.key == dg.AssetKey("here")


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("pyproject.toml", "[tool.dagster", "cannot read the project"),
        ("pyproject.toml", "[tool.dg.project]\nautoload_defs = true\nroot_module = 'lab_here'", "not name one module"),
        ("workspace.yaml", "load_from: 3", "cannot read the project"),
        ("workspace.yaml", "load_from:\n  - python_file: lab.py", "not name one module"),
        ("workspace.yaml", "load_from:\n  - python_module: a\n  - python_module: b", "not name one module"),
        (
            "workspace.yaml",
            "load_from:\n  - python_module: {module_name: a, working_directory: elsewhere}",
            "not name one module",
        ),
        ("dg.toml", "[project]\nroot_module = 'lab_here'", "not name one module"),
    ],
)
def test_a_project_of_which_no_single_module_is_known_is_an_error(
    folder: Path, file: str, text: str, told: str
) -> None:
    """The environment might configure other windows, which a lake keeps."""
    (folder / file).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=f"{told}.*--module"):
        project_definitions(None)


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "1 / 0", "def"])
def test_a_module_that_fails_is_an_error(folder: Path, code: str) -> None:
    """Also if it ends the program, as if all were done."""
    (folder / "lab_here" / "definitions.py").write_text(code, encoding="utf-8")
    for module in ("lab_here.definitions", "..lab_here"):
        with pytest.raises(ConfigurationError, match="cannot be imported"):
            project_definitions(module)


def test_a_project_without_anything_for_dagster_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment configures the studies, as without a project."""
    (folder / "pyproject.toml").write_text("[project]\nname = 'lab'", encoding="utf-8")
    monkeypatch.setattr("dagster_beiwe.cli.project.build_beiwe_definitions", dg.Definitions)
    assert not project_definitions(None).resolve_all_asset_specs()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize(("owner", "mode"), [(65534, 0o755), (0, 0o777)])
def test_code_of_others_is_not_loaded_unless_it_is_named(folder: Path, owner: int, mode: int) -> None:
    """It would get the keys."""
    (folder / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "lab_here.definitions"', encoding="utf-8")
    os.chown(folder, owner, -1)
    folder.chmod(mode)
    with pytest.raises(ConfigurationError, match="Others can write to this folder"):
        project_definitions(None)
    assert project_definitions("lab_here.definitions").resolve_all_asset_specs()
