"""An encrypted, lineage-tracked data lake of Beiwe data, in Dagster.

This module exports what a lab types. All errors are in ``dagster_beiwe.errors``, and the simulated server is
``dagster_beiwe.simulator``.

Names are imported when they are first used: ``import dagster_beiwe`` is fast, and scripts that use the client or the
lake do not load Dagster::

    from dagster_beiwe import BeiweClient, credentials_from_env
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster_beiwe.assets import BeiweTranslator, BeiweTranslatorData, build_study_assets
    from dagster_beiwe.automation.notices import Notices
    from dagster_beiwe.client import BeiweClient
    from dagster_beiwe.component import BeiweComponent
    from dagster_beiwe.credentials import credentials_from_env
    from dagster_beiwe.definitions import Automation, build_beiwe_definitions
    from dagster_beiwe.errors import BeiweError
    from dagster_beiwe.io_managers import EncryptedLakeIOManager, EncryptedTableIOManager
    from dagster_beiwe.lake import BeiweLake
    from dagster_beiwe.partitions import raw_data_partitions
    from dagster_beiwe.partitions.conditions import on_new_content
    from dagster_beiwe.reading import BeiwePartitions, ManoTree
    from dagster_beiwe.resource import BeiweResource, EnvCredentials, KeyringCredentials
    from dagster_beiwe.studies.config import StudyConfig
    from dagster_beiwe.studies.study import Study
    from dagster_beiwe.tables.partitions import TablePartitions

_MODULES = {
    "Automation": "definitions",
    "BeiweClient": "client",
    "BeiweComponent": "component",
    "BeiweError": "errors",
    "BeiweLake": "lake",
    "BeiwePartitions": "reading",
    "BeiweResource": "resource",
    "BeiweTranslator": "assets",
    "BeiweTranslatorData": "assets",
    "EncryptedLakeIOManager": "io_managers",
    "EncryptedTableIOManager": "io_managers",
    "EnvCredentials": "resource",
    "KeyringCredentials": "resource",
    "ManoTree": "reading",
    "Notices": "automation.notices",
    "Study": "studies.study",
    "StudyConfig": "studies.config",
    "TablePartitions": "tables.partitions",
    "build_beiwe_definitions": "definitions",
    "build_study_assets": "assets",
    "credentials_from_env": "credentials",
    "on_new_content": "partitions.conditions",
    "raw_data_partitions": "partitions",
}

__all__ = [
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


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
