"""The Beiwe server and the lake as Dagster resources.

Dagster shows the fields of resources in its UI and stores them with every run. So these fields hold *names* of
environment variables and paths, never a secret; the values are read when a run needs them.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from dagster_beiwe.client import BeiweClient, HttpPolicy
from dagster_beiwe.credentials import (
    Credentials,
    credentials_from_env,
    credentials_from_keyring,
    find_secret,
    host_of,
    secrets_from_keyring,
)
from dagster_beiwe.encryption.core_dumps import forbid_core_dumps
from dagster_beiwe.environment import (
    BEIWE_AGE_IDENTITY,
    BEIWE_KEYRING_SECTION,
    BEIWE_LAKE,
    BEIWE_LAKE_PASSPHRASE,
    BEIWE_URL,
    BEIWE_WITNESS,
    NRG_KEYRING_PASS,
    file_variable,
    with_prefix,
)
from dagster_beiwe.errors import CredentialsError, KeyringPassphraseError, PassphraseMissingError
from dagster_beiwe.ids import host_slug, slug
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.opening import LakeOpener, has_keys_in_keyring, load_secrets
from dagster_beiwe.runs.dead_runs import mark_run
from dagster_beiwe.studies.study import Study


class BeiweCredentials(dg.ConfigurableResource[Any], ABC):
    """Where the keys of a Beiwe server come from. Subclass it for another source, for instance a vault.

    Fields must not hold secrets (use names of environment variables, or ``dg.EnvVar``): Dagster displays and stores
    them.
    """

    @abstractmethod
    def load(self) -> Credentials:
        """Read the credentials now. Raises ``CredentialsError`` that says what is missing."""

    def secrets(self) -> Mapping[str, str]:
        """Passphrases of encrypted data, {study name or id: passphrase}. Override it where they can be read without
        keys of a server: a host that only reads the lake has none. Raises ``CredentialsError``."""
        return self.load().secrets

    def server_name(self) -> str:
        """A short name for the server, without secrets. Runs against one server share a pool of this name."""
        return "server"

    def host(self) -> str:
        """Host and port of the server if they are known without opening anything secret; otherwise empty."""
        return ""


class EnvCredentials(BeiweCredentials):
    """Keys that the environment has or names: ``BEIWE_URL``, ``BEIWE_ACCESS_KEY``, ``BEIWE_SECRET_KEY``, and for the
    settings of old servers ``BEIWE_USERNAME`` and ``BEIWE_PASSWORD``. Each is a variable, or a file or an entry of the
    system's keychain that another variable names. If ``BEIWE_KEYRING_SECTION`` is set, too, the study passphrases (and
    nothing else) come from that section of the keyring.

    For several servers in one project, give each its own ``prefix`` instead of ``BEIWE_``.
    """

    prefix: str = "BEIWE_"

    def load(self) -> Credentials:
        forbid_core_dumps()
        return credentials_from_env(os.environ, prefix=self.prefix)

    def secrets(self) -> Mapping[str, str]:
        return load_secrets(os.environ, prefix=self.prefix)

    def server_name(self) -> str:
        return host_slug(self._url())

    def host(self) -> str:
        return host_of(self._url())

    def _url(self) -> str:
        with suppress(CredentialsError):  # whoever needs the keys gets this error
            url = find_secret(with_prefix(BEIWE_URL, self.prefix), os.environ)
            return url.value if url else ""
        return ""


class KeyringCredentials(BeiweCredentials):
    """Keys and study passphrases from a section of a keyring file, which mano's tools read and write too.

    What is not given comes from the environment: ``BEIWE_KEYRING_SECTION``, ``BEIWE_KEYRING_FILE`` (default
    ``~/.nrg-keyring.enc``). ``passphrase_variable`` names the variable with the file's passphrase.
    """

    section: str = ""
    path: str = ""
    passphrase_variable: str = NRG_KEYRING_PASS  # a name, not a passphrase

    def load(self) -> Credentials:
        forbid_core_dumps()
        return credentials_from_keyring(self.section or None, path=self.path or None, passphrase=self._passphrase())

    def secrets(self) -> Mapping[str, str]:
        forbid_core_dumps()
        return secrets_from_keyring(self.section or None, path=self.path or None, passphrase=self._passphrase())

    def _passphrase(self) -> str:
        if secret := find_secret(self.passphrase_variable, os.environ):
            return secret.value
        raise KeyringPassphraseError(
            f"{self.passphrase_variable} is not set, so the keyring cannot be opened. Nothing was requested. Set it "
            f"where Dagster runs, or let {file_variable(self.passphrase_variable)} name a file with it."
        )

    def server_name(self) -> str:
        return slug(self.section or os.environ.get(BEIWE_KEYRING_SECTION) or "server")


def credentials_from_environment(environ: Mapping[str, str]) -> BeiweCredentials:
    """A keyring if ``BEIWE_KEYRING_SECTION`` is set and ``BEIWE_URL`` is nowhere. Otherwise the environment has or
    names the keys, and only study passphrases come from the section, if there is one."""
    with suppress(CredentialsError):  # whoever needs the keys gets this error
        return KeyringCredentials() if has_keys_in_keyring(environ) else EnvCredentials()
    return EnvCredentials()


class BeiweResource(dg.ConfigurableResource[Any]):
    """One Beiwe server (a deployment) and the lake that its studies are stored in.

    ``lake_variable`` and ``passphrase_variable`` are the names of environment variables: the first holds a folder or
    an fsspec URL, the second the passphrase of every study that has none in the keyring (or, like all secrets, another
    variable names a file or keychain with it). ``age_identity_variable`` is
    the name of the one that holds the path of a private key file, for reading what the cipher ``age`` encrypted.
    ``witness_variable`` is the name of the one that holds another folder or URL, which remembers the studies' logs;
    without a value there is no witness.
    """

    credentials: BeiweCredentials
    lake_variable: str = BEIWE_LAKE
    passphrase_variable: str = BEIWE_LAKE_PASSPHRASE  # a name, not a passphrase
    age_identity_variable: str = BEIWE_AGE_IDENTITY
    witness_variable: str = BEIWE_WITNESS
    _names: dict[str, str] = PrivateAttr(default_factory=dict)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """In each process that works for a run: tell the run's log about the process, so that its death is noticed."""
        if context.instance is not None and context.run is not None:
            mark_run(context.instance, context.run)

    def get_client(self, *, policy: HttpPolicy | None = None) -> BeiweClient:
        """A new client; close it after use (``with``). Raises ``CredentialsError``. Switches off core dumps."""
        return BeiweClient(self._loaded(), policy=policy)

    def get_lake(self) -> BeiweLake:
        """The lake. Raises ``ConfigurationError`` if no place is configured. Switches off core dumps."""
        return self._opener().lake()

    def passphrase(self, study: Study | None = None) -> str | None:
        """The study's passphrase from the keyring, or else the lake's; None if there is neither. Without a study, the
        lake's.

        SECRETS are read without the keys of the server. Only if they are kept by name, and the study's name is not
        known yet, is the server asked for it. Raises ``PassphraseMissingError`` if it cannot be known, ``ServerError``
        and ``CredentialsError``.
        """
        opener = self._opener()
        if study is None:
            return opener.lake_passphrase()
        ask_name = None if study.is_named else partial(self._name_on_server, study)
        secrets = self.credentials.secrets()
        return opener.study_passphrase(secrets, study_id=study.id, name=study.name, ask_name=ask_name)

    def _name_on_server(self, study: Study) -> str:
        """Never guessed: a wrong name finds no passphrase, and the study would be encrypted with the lake's for
        good."""
        if study.id not in self._names:
            try:
                with self.get_client() as client:
                    self._names.update(client.studies())
            except CredentialsError:
                self._names.clear()
        if study.id not in self._names:
            raise PassphraseMissingError(
                f"The passphrase of study {study.id} may be in SECRETS under the study's name, but the server did not "
                "return the name: it does not answer, or not to these keys. Nothing was read or written. Give the "
                "study's `name` in its configuration, or keep its passphrase in SECRETS under the study's id."
            )
        return self._names[study.id]

    def study_lake(self, study: Study) -> StudyLake:
        """The study's part of the lake, ready to write and read.

        Raises ``PassphraseMissingError`` if its cipher needs a passphrase and there is none.
        """
        return self._opener().study(study, passphrase=self.passphrase(study))

    def check_passphrase(self, study: Study) -> None:
        """Raise now what would stop a study's data from being stored: ``PassphraseMissingError``, or
        ``WrongPassphraseError`` if the lake was encrypted with another. For steps that ask the server first."""
        self.study_lake(study).catalog()

    def _loaded(self) -> Credentials:
        forbid_core_dumps()  # also where the credentials are the lab's own class
        return self.credentials.load()

    def _opener(self) -> LakeOpener:
        forbid_core_dumps()
        return LakeOpener(
            os.environ,
            lake_variable=self.lake_variable,
            passphrase_variable=self.passphrase_variable,
            age_identity_variable=self.age_identity_variable,
            witness_variable=self.witness_variable,
        )


def resource_of(context: Any, study: Study) -> BeiweResource:
    """The resource of the study's server, among those of a step, check, sensor, or schedule."""
    resource: BeiweResource = getattr(context.resources, study.config.deployment)
    return resource
