"""The environment variables by name, each spelled out here only. ``opening`` reads those that open a lake."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from dagster_beiwe.errors import ConfigurationError

PREFIX: Final = "BEIWE_"
"""What the names begin with; a deployment may have a prefix of its own for the credentials of its server."""

BEIWE_URL: Final = "BEIWE_URL"
"""The server's address: ``https://`` and its host name, nothing else."""
BEIWE_ACCESS_KEY: Final = "BEIWE_ACCESS_KEY"
"""The researcher's access key."""
BEIWE_SECRET_KEY: Final = "BEIWE_SECRET_KEY"  # noqa: S105  # a name, as below
"""The researcher's secret key."""
BEIWE_USERNAME: Final = "BEIWE_USERNAME"
"""The researcher's login on the website, for the settings of servers older than March 2025."""
BEIWE_PASSWORD: Final = "BEIWE_PASSWORD"  # noqa: S105
"""The password of that login."""

BEIWE_KEYRING_SECTION: Final = "BEIWE_KEYRING_SECTION"
"""The section of the keyring with the server's keys and the passphrases of studies."""
BEIWE_KEYRING_FILE: Final = "BEIWE_KEYRING_FILE"
"""The keyring file. Default: ``~/.nrg-keyring.enc``."""
NRG_KEYRING_PASS: Final = "NRG_KEYRING_PASS"  # noqa: S105
"""The passphrase of the keyring file."""

BEIWE_SECRETS_FOLDER: Final = "BEIWE_SECRETS_FOLDER"
"""A mounted folder with one file for each secret, such as ``/run/secrets``."""
BEIWE_KEYCHAIN: Final = "BEIWE_KEYCHAIN"
"""The name under which secrets are in the system's keychain. Default: the keychain is not opened."""

BEIWE_LAKE: Final = "BEIWE_LAKE"
"""The lake: a folder, or the URL of an object store."""
BEIWE_LAKE_PASSPHRASE: Final = "BEIWE_LAKE_PASSPHRASE"  # noqa: S105
"""The passphrase of every study that has none in the keyring."""
BEIWE_LAKE_PASSPHRASE_NEW: Final = "BEIWE_LAKE_PASSPHRASE_NEW"  # noqa: S105
"""The passphrase under which ``rekey`` writes the new lake."""
BEIWE_OLD_PASSPHRASE: Final = "BEIWE_OLD_PASSPHRASE"  # noqa: S105
"""The passphrase of the files that ``adopt`` takes over, if it is not the study's."""
BEIWE_AGE_IDENTITY: Final = "BEIWE_AGE_IDENTITY"
"""The file of the private key that decrypts what ``age`` encrypted."""
BEIWE_WITNESS: Final = "BEIWE_WITNESS"
"""The witness: a folder or URL that stores a copy of every record of the studies' logs."""

BEIWE_PROCESSES: Final = "BEIWE_PROCESSES"
"""How many processes of a command may work at the same time, from 1 to 256; 1 keeps it in its own. Default: one on each
core, at most eight."""

BEIWE_STUDIES: Final = "BEIWE_STUDIES"
"""The studies of a project that lists none: IDs, beginnings of IDs, or names, separated by commas; ``*`` stands for all
others. Default: every study that the keys can see."""
BEIWE_START: Final = "BEIWE_START"
"""The ``start`` of the studies of a project that lists none."""
BEIWE_TABLES: Final = "BEIWE_TABLES"
"""The ``tables`` of those that ``BEIWE_STUDIES`` names, or of all if none is named, separated by commas."""
BEIWE_STRICT: Final = "BEIWE_STRICT"
"""``1`` refuses to load definitions in which a study lacks assets because its server did not answer: for tests of a
project."""

BEIWE_AUTOMATION: Final = "BEIWE_AUTOMATION"
"""In the repository's ``beiwe_project`` only: ``running`` turns schedules and sensors on."""
BEIWE_REFRESH_CRON: Final = "BEIWE_REFRESH_CRON"
"""In the repository's ``beiwe_project`` only: when the refresh runs, in UTC."""

BEIWE_SMTP_USERNAME: Final = "BEIWE_SMTP_USERNAME"
"""The login name at the mail server of notices, if it wants one."""
BEIWE_SMTP_PASSWORD: Final = "BEIWE_SMTP_PASSWORD"  # noqa: S105
"""The password of that login."""

BEIWE_FOREST: Final = "BEIWE_FOREST"
"""The environment that Forest's analyses run in, made with ``dagster-beiwe forest``."""
BEIWE_FOREST_DISK: Final = "BEIWE_FOREST_DISK"
"""A folder on a disk for the plain files of Forest, where there is no file system in memory."""

DAGSTER_HOME: Final = "DAGSTER_HOME"
"""The folder of Dagster's ``dagster.yaml`` and history. What the servers said about their studies is in it, too."""

_NAMES: Final = frozenset(value for name, value in globals().items() if name == value)
"""All of them."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_strict(environ: Mapping[str, str]) -> bool:
    """Whether a study without assets is an error when definitions load: any value but an empty one, 0, and false."""
    return environ.get(BEIWE_STRICT, "").strip().lower() not in ("", "0", "false")


def with_prefix(name: str, prefix: str) -> str:
    """The name of a variable for a deployment whose variables begin with ``prefix``."""
    return f"{prefix}{name.removeprefix(PREFIX)}"


def file_variable(name: str) -> str:
    """The variable that may name a file with a secret, in place of the variable that holds it."""
    return f"{name}_FILE"


def own_names(names: Iterable[str]) -> frozenset[str]:
    """The names of all variables that this package reads, also those of files; and all of each other prefix of which
    ``names`` has a server's key or section."""
    ends = [with_prefix(name, "_") for name in (BEIWE_ACCESS_KEY, BEIWE_KEYRING_SECTION)]
    values = [name.removesuffix(file_variable("")) for name in names]
    prefixes = {f"{name.removesuffix(end)}_" for name in values for end in ends if name.endswith(end)}
    found = _NAMES | {with_prefix(name, prefix) for name in _NAMES for prefix in prefixes}
    return found | frozenset(map(file_variable, found))


def check_variable_names(**names: str | None) -> None:
    """Raise ``ConfigurationError`` for a setting that should name a variable and does not. The message does not repeat
    its value: it may be the secret that belongs into the variable."""
    for setting, name in names.items():
        if name and not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"`{setting}` is not the name of an environment variable. Nothing was done. If it is the value itself, "
                "put that into a variable, and write the variable's name here."
            )
