"""Who talks to which server: from environment variables, files, the system's keychain, or mano's keyring file.

Nothing is read at import, and nobody is asked for a passphrase where nobody can answer.
"""

from dagster_beiwe.credentials.credentials import (
    Credentials,
    credentials_from_env,
    host_of,
    is_loopback,
    study_secret,
)
from dagster_beiwe.credentials.keyring import (
    DEFAULT_KEYRING_FILE,
    credentials_from_keyring,
    credentials_of_section,
    read_keyring,
    secrets_from_keyring,
    write_keyring,
)
from dagster_beiwe.credentials.sources import Secret, Source, find_secret

__all__ = [
    "DEFAULT_KEYRING_FILE",
    "Credentials",
    "Secret",
    "Source",
    "credentials_from_env",
    "credentials_from_keyring",
    "credentials_of_section",
    "find_secret",
    "host_of",
    "is_loopback",
    "read_keyring",
    "secrets_from_keyring",
    "study_secret",
    "write_keyring",
]
