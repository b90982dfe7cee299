"""The public API: few names, each used in ``api.py``, which is checked by mypy and runs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import api
import dagster as dg
import pytest

import dagster_beiwe

NAMES = [
    "Automation",
    "BeiweClient",
    "BeiweComponent",
    "BeiweError",
    "BeiweLake",
    "BeiwePartitions",
    "BeiweResource",
    "BeiweTranslator",
    "BeiweTranslatorData",
    "EncryptedLakeIOManager",
    "EncryptedTableIOManager",
    "EnvCredentials",
    "KeyringCredentials",
    "ManoTree",
    "Notices",
    "Study",
    "StudyConfig",
    "TablePartitions",
    "build_beiwe_definitions",
    "build_study_assets",
    "credentials_from_env",
    "on_new_content",
    "raw_data_partitions",
]


def test_the_package_exports_what_a_lab_types() -> None:
    """Nothing else: errors are in ``dagster_beiwe.errors``. Each name can be imported, and another is an error."""
    assert dagster_beiwe.__all__ == NAMES == sorted(NAMES)
    assert [getattr(dagster_beiwe, name).__name__ for name in NAMES] == NAMES
    assert set(NAMES) <= set(dir(dagster_beiwe))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = dagster_beiwe.no_such_name


def test_every_exported_name_is_used_as_a_user_does() -> None:
    """So that mypy checks its types."""
    tree = ast.parse(Path(api.__file__).read_text(encoding="utf-8"))
    assert set(NAMES) <= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_a_script_does_not_load_dagster() -> None:
    """Client, lake and reader come without the orchestrator."""
    names = "BeiweClient, BeiweError, BeiweLake, BeiwePartitions, credentials_from_env"
    modules = "dagster_beiwe.reading, dagster_beiwe.sync, dagster_beiwe.windows"
    script = f"import sys, {modules}; from dagster_beiwe import {names}; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_what_needs_no_server_runs(tmp_path: Path) -> None:
    """The type checker alone accepts calls that fail."""
    keys = {key.to_user_string() for key in api.project_by_hand().resolve_all_asset_keys()}
    assert "beiwe/sleep/raw_data" in keys
    assert issubclass(api.component(), dg.Component)
    assert api.SLEEP.study in api.reason(tmp_path, api.SLEEP.study)
