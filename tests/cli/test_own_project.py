"""The project in the current folder configures the studies, as it does for Dagster."""

from __future__ import annotations

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
    "text",
    [
        '[tool.dagster]\nmodule_name = "lab_here.definitions"',
        '[tool.dg.project]\nroot_module = "lab_here"',
        '[tool.dg.project]\nroot_module = "lab"\ncode_location_target_module = "lab_here.definitions"',
    ],
    ids=["of dagster", "of dg", "of dg, by name"],
)
def test_its_module_is_loaded(folder: Path, text: str) -> None:
    """In each way in which Dagster's own commands find it."""
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    (spec,) = project_definitions(None).resolve_all_asset_specs()
    assert spec.key == dg.AssetKey("here")


@pytest.mark.parametrize("text", ["[tool.dagster", "tool = 3", '[tool.dg]\nproject = "lab"'])
def test_a_project_that_cannot_be_read_is_an_error(folder: Path, text: str) -> None:
    """The environment might configure other windows, which a lake keeps."""
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml in this folder cannot be used"):
        project_definitions(None)
