"""The environment variables by name, each spelled out here only. ``opening`` reads those that open a lake."""

from __future__ import annotations

import re
from typing import Final

from dagster_beiwe.errors import ConfigurationError

PREFIX: Final = "BEIWE_"
"""What the names begin with; a deployment may have a prefix of its own for the credentials of its server."""

BEIWE_URL: Final = "BEIWE_URL"
BEIWE_ACCESS_KEY: Final = "BEIWE_ACCESS_KEY"
BEIWE_SECRET_KEY: Final = "BEIWE_SECRET_KEY"  # noqa: S105  # a name, as below
BEIWE_USERNAME: Final = "BEIWE_USERNAME"
BEIWE_PASSWORD: Final = "BEIWE_PASSWORD"  # noqa: S105

BEIWE_KEYRING_SECTION: Final = "BEIWE_KEYRING_SECTION"
BEIWE_KEYRING_FILE: Final = "BEIWE_KEYRING_FILE"
NRG_KEYRING_PASS: Final = "NRG_KEYRING_PASS"  # noqa: S105

BEIWE_SECRETS_FOLDER: Final = "BEIWE_SECRETS_FOLDER"
BEIWE_KEYCHAIN: Final = "BEIWE_KEYCHAIN"

BEIWE_LAKE: Final = "BEIWE_LAKE"
BEIWE_LAKE_PASSPHRASE: Final = "BEIWE_LAKE_PASSPHRASE"  # noqa: S105
BEIWE_LAKE_PASSPHRASE_NEW: Final = "BEIWE_LAKE_PASSPHRASE_NEW"  # noqa: S105
BEIWE_OLD_PASSPHRASE: Final = "BEIWE_OLD_PASSPHRASE"  # noqa: S105
BEIWE_AGE_IDENTITY: Final = "BEIWE_AGE_IDENTITY"
BEIWE_WITNESS: Final = "BEIWE_WITNESS"

BEIWE_STUDIES: Final = "BEIWE_STUDIES"
BEIWE_START: Final = "BEIWE_START"
BEIWE_TABLES: Final = "BEIWE_TABLES"

BEIWE_AUTOMATION: Final = "BEIWE_AUTOMATION"
BEIWE_REFRESH_CRON: Final = "BEIWE_REFRESH_CRON"

BEIWE_SMTP_USERNAME: Final = "BEIWE_SMTP_USERNAME"
BEIWE_SMTP_PASSWORD: Final = "BEIWE_SMTP_PASSWORD"  # noqa: S105

BEIWE_FOREST: Final = "BEIWE_FOREST"
BEIWE_FOREST_DISK: Final = "BEIWE_FOREST_DISK"

DAGSTER_HOME: Final = "DAGSTER_HOME"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def with_prefix(name: str, prefix: str) -> str:
    """The name of a variable for a deployment whose variables begin with ``prefix``."""
    return f"{prefix}{name.removeprefix(PREFIX)}"


def file_variable(name: str) -> str:
    """The variable that may name a file with a secret, in place of the variable that holds it."""
    return f"{name}_FILE"


def check_variable_names(**names: str | None) -> None:
    """Raise ``ConfigurationError`` for a setting that should name a variable and does not. The message does not repeat
    its value: it may be the secret that belongs into the variable."""
    for setting, name in names.items():
        if name and not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"`{setting}` is not the name of an environment variable. Nothing was done. If it is the value itself, "
                "put that into a variable, and write the variable's name here."
            )
