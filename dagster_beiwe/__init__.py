"""An encrypted, lineage-tracked data lake of Beiwe data, in Dagster.

Names are imported when they are used first: ``import dagster_beiwe`` is fast, and scripts that use the client or the
lake don't load Dagster::

    from dagster_beiwe import BeiweClient, credentials_from_env
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster_beiwe.assets import build_study_assets
    from dagster_beiwe.checks import build_study_checks
    from dagster_beiwe.client import BeiweClient
    from dagster_beiwe.component import BeiweComponent
    from dagster_beiwe.credentials import Credentials, credentials_from_env, credentials_from_keyring
    from dagster_beiwe.definitions import Automation, build_beiwe_definitions
    from dagster_beiwe.errors import (
        AccessDeniedError,
        ArchiveError,
        BadAnswerError,
        BeiweError,
        CommitConflictError,
        ConfigurationError,
        ConnectionFailedError,
        CredentialsError,
        DamagedMemberError,
        EncryptionError,
        HostileArchiveError,
        IntegrityError,
        KeyringFileError,
        KeyringPassphraseError,
        KeyringSectionError,
        LakeError,
        LakeUnavailableError,
        NotFoundError,
        PassphraseMissingError,
        PermanentConnectionError,
        RedirectError,
        RequestRefusedError,
        RequestTooLargeError,
        RouteMissingError,
        ServerBusyError,
        ServerError,
        ServerFailedError,
        TableMissingError,
        TimeRangeError,
        TruncatedArchiveError,
        UnknownStreamError,
        WindowMismatchError,
        WrongPassphraseError,
    )
    from dagster_beiwe.io_managers import EncryptedLakeIOManager, EncryptedTableIOManager, TablePartitions
    from dagster_beiwe.lake import BeiweLake
    from dagster_beiwe.partitions.definitions import raw_data_partitions
    from dagster_beiwe.reading import BeiwePartitions
    from dagster_beiwe.reading.mano_tree import ManoTree
    from dagster_beiwe.resource import BeiweCredentials, BeiweResource, EnvCredentials, KeyringCredentials
    from dagster_beiwe.studies.config import StudyConfig
    from dagster_beiwe.studies.study import Study
    from dagster_beiwe.tables.store import TableStore
    from dagster_beiwe.windows import Window

_MODULES = {
    "AccessDeniedError": "errors",
    "ArchiveError": "errors",
    "Automation": "definitions",
    "BadAnswerError": "errors",
    "BeiweClient": "client",
    "BeiweComponent": "component",
    "BeiweCredentials": "resource",
    "BeiweError": "errors",
    "BeiweLake": "lake",
    "BeiwePartitions": "reading",
    "BeiweResource": "resource",
    "CommitConflictError": "errors",
    "ConfigurationError": "errors",
    "ConnectionFailedError": "errors",
    "Credentials": "credentials",
    "CredentialsError": "errors",
    "DamagedMemberError": "errors",
    "EncryptedLakeIOManager": "io_managers",
    "EncryptedTableIOManager": "io_managers",
    "EncryptionError": "errors",
    "EnvCredentials": "resource",
    "HostileArchiveError": "errors",
    "IntegrityError": "errors",
    "KeyringCredentials": "resource",
    "KeyringFileError": "errors",
    "KeyringPassphraseError": "errors",
    "KeyringSectionError": "errors",
    "LakeError": "errors",
    "LakeUnavailableError": "errors",
    "ManoTree": "reading",
    "NotFoundError": "errors",
    "PassphraseMissingError": "errors",
    "PermanentConnectionError": "errors",
    "RedirectError": "errors",
    "RequestRefusedError": "errors",
    "RequestTooLargeError": "errors",
    "RouteMissingError": "errors",
    "ServerBusyError": "errors",
    "ServerError": "errors",
    "ServerFailedError": "errors",
    "StudyConfig": "studies.config",
    "Study": "studies.study",
    "TableMissingError": "errors",
    "TablePartitions": "io_managers",
    "TableStore": "tables.store",
    "TimeRangeError": "errors",
    "TruncatedArchiveError": "errors",
    "UnknownStreamError": "errors",
    "Window": "windows",
    "WindowMismatchError": "errors",
    "WrongPassphraseError": "errors",
    "build_beiwe_definitions": "definitions",
    "build_study_assets": "assets",
    "build_study_checks": "checks",
    "credentials_from_env": "credentials",
    "credentials_from_keyring": "credentials",
    "raw_data_partitions": "partitions.definitions",
}

__all__ = [
    "AccessDeniedError",
    "ArchiveError",
    "Automation",
    "BadAnswerError",
    "BeiweClient",
    "BeiweComponent",
    "BeiweCredentials",
    "BeiweError",
    "BeiweLake",
    "BeiwePartitions",
    "BeiweResource",
    "CommitConflictError",
    "ConfigurationError",
    "ConnectionFailedError",
    "Credentials",
    "CredentialsError",
    "DamagedMemberError",
    "EncryptedLakeIOManager",
    "EncryptedTableIOManager",
    "EncryptionError",
    "EnvCredentials",
    "HostileArchiveError",
    "IntegrityError",
    "KeyringCredentials",
    "KeyringFileError",
    "KeyringPassphraseError",
    "KeyringSectionError",
    "LakeError",
    "LakeUnavailableError",
    "ManoTree",
    "NotFoundError",
    "PassphraseMissingError",
    "PermanentConnectionError",
    "RedirectError",
    "RequestRefusedError",
    "RequestTooLargeError",
    "RouteMissingError",
    "ServerBusyError",
    "ServerError",
    "ServerFailedError",
    "Study",
    "StudyConfig",
    "TableMissingError",
    "TablePartitions",
    "TableStore",
    "TimeRangeError",
    "TruncatedArchiveError",
    "UnknownStreamError",
    "Window",
    "WindowMismatchError",
    "WrongPassphraseError",
    "build_beiwe_definitions",
    "build_study_assets",
    "build_study_checks",
    "credentials_from_env",
    "credentials_from_keyring",
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
