"""Open what the environment names: the credentials of a server, the lake, and each study with its keys.

Dagster's resources and the command line call this; it knows neither. Nothing is kept, and no secret is shown.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_beiwe.credentials import (
    DEFAULT_KEYRING_FILE,
    Credentials,
    Secret,
    Source,
    credentials_from_env,
    credentials_from_keyring,
    find_secret,
    secrets_from_keyring,
    study_secret,
)
from dagster_beiwe.encryption import DEFAULT_CIPHER, CipherKeys, configured_cipher, read_identity
from dagster_beiwe.environment import (
    BEIWE_ACCESS_KEY,
    BEIWE_AGE_IDENTITY,
    BEIWE_KEYRING_FILE,
    BEIWE_KEYRING_SECTION,
    BEIWE_LAKE,
    BEIWE_LAKE_PASSPHRASE,
    BEIWE_SECRET_KEY,
    BEIWE_URL,
    BEIWE_WITNESS,
    NRG_KEYRING_PASS,
    PREFIX,
    check_variable_names,
    file_variable,
    with_prefix,
)
from dagster_beiwe.errors import ConfigurationError, PassphraseMissingError
from dagster_beiwe.lake import BeiweLake, StudyLake

if TYPE_CHECKING:
    from dagster_beiwe.studies.study import Study


def has_keys_in_keyring(environ: Mapping[str, str]) -> bool:
    """Whether the keys of the server come from the keyring: its section is named, and no address is given."""
    return bool(environ.get(BEIWE_KEYRING_SECTION)) and find_secret(BEIWE_URL, environ) is None


def load_credentials(environ: Mapping[str, str], *, prompt: bool = False) -> Credentials:
    """Address and keys, each from the first place that has it, or together from the keyring. Raises
    ``CredentialsError``."""
    if has_keys_in_keyring(environ):
        return credentials_from_keyring(environ=environ, prompt=prompt)
    return credentials_from_env(environ)


def load_secrets(environ: Mapping[str, str], *, prefix: str = PREFIX) -> Mapping[str, str]:
    """SECRETS of the keyring's section that the environment names, {study name or id: passphrase}; without one, none.

    They need no keys of a server: a host that only reads the lake has none. Raises ``CredentialsError``.
    """
    section = environ.get(with_prefix(BEIWE_KEYRING_SECTION, prefix))
    path = environ.get(with_prefix(BEIWE_KEYRING_FILE, prefix))
    return secrets_from_keyring(section, path=path or None, environ=environ) if section else {}


def secret_sources(environ: Mapping[str, str]) -> dict[str, Source]:
    """{name: where it was found} of the secrets by which a server and a keyring are opened, without their values."""
    section, path = environ.get(BEIWE_KEYRING_SECTION), environ.get(BEIWE_KEYRING_FILE) or DEFAULT_KEYRING_FILE
    sources = {}
    for name in (BEIWE_URL, BEIWE_ACCESS_KEY, BEIWE_SECRET_KEY):
        if has_keys_in_keyring(environ):
            sources[name] = Source("keyring", f"{path}, section {section}")
        elif secret := find_secret(name, environ):
            sources[name] = secret.source
    if section:
        ring = find_secret(NRG_KEYRING_PASS, environ)
        sources[NRG_KEYRING_PASS] = ring.source if ring else Source("terminal", "(typed)")
    return sources


@dataclass(frozen=True)
class LakeOpener:
    """Opens a lake and its studies with the values of these environment variables."""

    environ: Mapping[str, str] = field(repr=False)
    _: KW_ONLY
    lake_variable: str = BEIWE_LAKE
    passphrase_variable: str = BEIWE_LAKE_PASSPHRASE
    age_identity_variable: str = BEIWE_AGE_IDENTITY
    witness_variable: str = BEIWE_WITNESS

    def __post_init__(self) -> None:
        check_variable_names(
            lake_variable=self.lake_variable,
            passphrase_variable=self.passphrase_variable,
            age_identity_variable=self.age_identity_variable,
            witness_variable=self.witness_variable,
        )

    def lake(self) -> BeiweLake:
        """The lake, with its witness if there is one. Raises ``ConfigurationError`` if no place is named."""
        url = self.environ.get(self.lake_variable)
        if not url:
            raise ConfigurationError(
                f"{self.lake_variable} is not set. Nothing was read or written. Set it to the folder or URL of the "
                "lake, wherever Dagster or the command runs."
            )
        return lake_at(url, witness=self.environ.get(self.witness_variable))

    def lake_passphrase(self) -> str | None:
        """The passphrase of every study that has none of its own, and of tables that belong to no study."""
        secret = find_secret(self.passphrase_variable, self.environ)
        return secret.value if secret else None

    def study_passphrase(
        self, secrets: Mapping[str, str], *, study_id: str, name: str, ask_name: Callable[[], str] | None = None
    ) -> str | None:
        """A study's passphrase in SECRETS, by its id or its name, or else the lake's; None if there is neither.

        ``ask_name`` is called if SECRETS may hold it under a name that is not known yet.
        """
        found = self.find_passphrase(secrets, study_id=study_id, name=name, ask_name=ask_name)
        return found.value if found else None

    def find_passphrase(
        self, secrets: Mapping[str, str], *, study_id: str, name: str, ask_name: Callable[[], str] | None = None
    ) -> Secret | None:
        """``study_passphrase``, with its source."""
        found = study_secret(secrets, study_id=study_id, name=name)
        if found is None and secrets and ask_name is not None:
            found = secrets.get(ask_name())
        if found:
            return Secret(found, Source("keyring", "(SECRETS)"))
        return find_secret(self.passphrase_variable, self.environ)

    def identity(self) -> str | None:
        """The private key that decrypts what ``age`` encrypted; None if no file is named."""
        return read_identity(self.age_identity_variable, self.environ)

    def study(self, study: Study, *, passphrase: str | None) -> StudyLake:
        """A study's part of the lake as it is configured, to write and read.

        Raises ``PassphraseMissingError`` if its cipher needs a passphrase and there is none.
        """
        config, identity = study.config, self.identity()
        keys = CipherKeys(passphrase=passphrase, recipients=config.recipients, identity=identity)
        try:
            cipher = configured_cipher(config.encryption, keys)
        except PassphraseMissingError:
            raise PassphraseMissingError(
                f"No passphrase for study {study.name!r}. Looked in {self.passphrase_variable}, in the file that "
                f"{file_variable(self.passphrase_variable)} names, in other places that are named, and in the SECRETS "
                "of the keyring. Nothing was downloaded. Set one of them, or configure `encryption: none` to store "
                "the study's data unencrypted."
            ) from None
        return self.lake().study(
            study.id,
            passphrase=passphrase,
            cipher=cipher,
            compression=config.compression,
            plain_streams=config.plain_streams,
            identity=identity,
            keep_superseded_days=config.keep_superseded_days,
        )

    def study_to_read(self, lake: BeiweLake, study_id: str, *, passphrase: str | None) -> StudyLake:
        """A study's part of the lake if its configuration is not known: nothing is downloaded to it."""
        return lake.study(
            study_id,
            passphrase=passphrase,
            cipher=DEFAULT_CIPHER if passphrase else None,
            identity=self.identity(),
            keep_superseded_days=math.inf,
        )


def lake_at(url: str, *, witness: str | None = None) -> BeiweLake:
    """The lake in a folder or at a URL. Raises ``ConfigurationError`` for a place that cannot hold one."""
    return BeiweLake(_place(url), witness=_place(witness) if witness else None)


def user_path(text: str) -> Path:
    """A path as somebody wrote it, in the encoding of the file system.

    Raises ``ConfigurationError`` for the home of an unknown user.
    """
    try:
        return Path(os.fsdecode(text.encode(errors="surrogateescape"))).expanduser()
    except RuntimeError:
        raise ConfigurationError(
            f"The path {text[:200]!r} begins in the home folder of a user who is not known here. Nothing was done. "
            "Write the path in full."
        ) from None


def _place(url: str) -> str | Path:
    return url if "://" in url else user_path(url)
