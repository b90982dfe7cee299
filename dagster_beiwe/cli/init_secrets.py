"""Where a new project's secrets come from, and where it keeps them."""

from __future__ import annotations

import getpass
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster_beiwe.cli.context import ask_twice, can_ask, read_input
from dagster_beiwe.cli.new_project import KEYRING
from dagster_beiwe.credentials import (
    Credentials,
    credentials_of_section,
    find_secret,
    host_of,
    read_keyring,
    write_keyring,
)
from dagster_beiwe.credentials.keychain import read_keychain, write_keychain
from dagster_beiwe.environment import (
    BEIWE_ACCESS_KEY,
    BEIWE_KEYCHAIN,
    BEIWE_KEYRING_FILE,
    BEIWE_KEYRING_SECTION,
    BEIWE_LAKE_PASSPHRASE,
    BEIWE_SECRET_KEY,
    BEIWE_SECRETS_FOLDER,
    BEIWE_URL,
    NRG_KEYRING_PASS,
    file_variable,
)
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.opening import user_path

_QUESTIONS = {
    BEIWE_ACCESS_KEY: "Access key",
    BEIWE_SECRET_KEY: "Secret key",
    NRG_KEYRING_PASS: "Passphrase of the keyring file",
}


class Answers:
    """What a command is given: on standard input, in the places of secrets, or by somebody at a terminal."""

    def __init__(self, environ: Mapping[str, str], *, piped: bool, asks: bool) -> None:
        self._environ = environ
        self._piped = _read_object() if piped else {}
        self.interactive = asks and can_ask() and not piped
        self._known: dict[str, str] = {}

    def known(self, name: str) -> str | None:
        """A secret that nobody need be asked for."""
        if name not in self._known:
            found = find_secret(name, self._environ)
            value = self._piped.get(name) or (found.value if found else "")
            if not value:
                return None
            self._known[name] = value
        return self._known[name]

    def require(self, options: Mapping[str, str | None], *names: str) -> None:
        """Raise ``ConfigurationError`` for all that is missing, if there is nobody to ask."""
        if self.interactive:
            return
        missing = [option for option, value in options.items() if not value]
        missing += [f"{name} (or {file_variable(name)}, or --stdin)" for name in names if not self.known(name)]
        if missing:
            raise ConfigurationError(
                f"Missing: {', '.join(missing)}. Nothing was requested or written. Add the options, and give the "
                "secrets in one of their places; or run this in a terminal, where it asks."
            )

    def secret(self, name: str, *, new: bool = False) -> str:
        """A secret, asked for without echo where it is not known; twice if it is new."""
        self.require({}, name)
        value = self.known(name)
        if value is None:
            value = ask_twice(_QUESTIONS[name]) if new else getpass.getpass(f"{_QUESTIONS[name]}: ")
            self._known[name] = value
        return value


class Keeper(ABC):
    """A place in which a project keeps its secrets."""

    @abstractmethod
    def needs(self) -> tuple[str, ...]:
        """The secrets without which it cannot be used."""

    def credentials(self) -> Credentials | None:
        """Address and keys that it holds already."""
        return None

    @abstractmethod
    def keep(self, credentials: Credentials, study_id: str, passphrase: str) -> None:
        """Store the secrets."""

    @abstractmethod
    def variables(self, credentials: Credentials) -> dict[str, str]:
        """The variables that lead to them; none is secret."""

    @abstractmethod
    def advice(self) -> str:
        """What somebody has to do so that they are not lost."""


class InKeyring(Keeper):
    """A keyring file: the one that the environment names, or a new one in the project."""

    def __init__(self, folder: Path, url: str | None, answers: Answers) -> None:
        named = os.environ.get(BEIWE_KEYRING_FILE)
        self._file = user_path(named).absolute() if named else folder / KEYRING
        self._section = os.environ.get(BEIWE_KEYRING_SECTION)
        self._url, self._answers = url or "", answers
        self._sections: dict[str, dict[str, Any]] = {}
        if self._file.exists():
            self._sections = read_keyring(self._file, passphrase=answers.secret(NRG_KEYRING_PASS))

    def needs(self) -> tuple[str, ...]:
        return (NRG_KEYRING_PASS,)

    def credentials(self) -> Credentials | None:
        """Raises ``ConfigurationError`` if they are those of another server than the one that was asked for."""
        name = self._section or host_of(self._url)
        if name not in self._sections:
            return None
        found = credentials_of_section(name, self._sections[name])
        if self._url and host_of(found.url) != host_of(self._url):
            raise ConfigurationError(
                f"The keyring's section {name!r} is for {host_of(found.url)}, not for {host_of(self._url)}. Nothing "
                f"was written. Correct --url or {BEIWE_URL}, or let {BEIWE_KEYRING_SECTION} name another section."
            )
        return found

    def keep(self, credentials: Credentials, study_id: str, passphrase: str) -> None:
        name = self._section or host_of(credentials.url)
        section = self._sections.get(name, {})
        fields = {
            **section,
            "URL": credentials.url,
            "ACCESS_KEY": credentials.access_key,
            "SECRET_KEY": credentials.secret_key,
            "SECRETS": {study_id: passphrase, **credentials.secrets},
        }
        if fields == section:
            return
        ring = self._answers.secret(NRG_KEYRING_PASS, new=not self._file.exists())
        write_keyring(self._file, {**self._sections, name: fields}, ring, changed=[name])

    def variables(self, credentials: Credentials) -> dict[str, str]:
        section = self._section or host_of(credentials.url)
        return {BEIWE_KEYRING_FILE: str(self._file), BEIWE_KEYRING_SECTION: section}

    def advice(self) -> str:
        return (
            f"Keep two copies of {self._file}, and of its passphrase, in different places that will outlive this "
            "machine. Without both, only someone who has the studies' passphrases can ever read the lake."
        )


class InKeychain(Keeper):
    """The system's keychain."""

    def __init__(self, folder: Path) -> None:
        self._service = os.environ.get(BEIWE_KEYCHAIN) or f"dagster-beiwe {folder.name}"

    def needs(self) -> tuple[str, ...]:
        return ()

    def keep(self, credentials: Credentials, study_id: str, passphrase: str) -> None:  # noqa: ARG002 - one for all
        """Raises ``ConfigurationError`` if a passphrase would be lost: another project's folder may have this name."""
        if read_keychain(self._service, BEIWE_LAKE_PASSPHRASE) not in (None, passphrase):
            raise ConfigurationError(
                f"The keychain holds another passphrase under {self._service!r}, which a lake may need. Nothing was "
                f"written. Set {BEIWE_KEYCHAIN} to that name to use the passphrase, or to a new name."
            )
        for name, value in (
            (BEIWE_ACCESS_KEY, credentials.access_key),
            (BEIWE_SECRET_KEY, credentials.secret_key),
            (BEIWE_LAKE_PASSPHRASE, passphrase),
        ):
            write_keychain(self._service, name, value)

    def variables(self, credentials: Credentials) -> dict[str, str]:
        return {BEIWE_URL: credentials.url, BEIWE_KEYCHAIN: self._service}

    def advice(self) -> str:
        show = f'python -m keyring get "{self._service}" {BEIWE_LAKE_PASSPHRASE}'
        return (
            f"Keep two copies of the passphrase (`{show}` shows it) in different places that will outlive this "
            "machine. Without it, nobody can ever read the lake."
        )


class Elsewhere(Keeper):
    """Where they were found: the project names files, folders, and keychains, and keeps nothing itself."""

    def needs(self) -> tuple[str, ...]:
        return (BEIWE_ACCESS_KEY, BEIWE_SECRET_KEY, BEIWE_LAKE_PASSPHRASE)

    def keep(self, credentials: Credentials, study_id: str, passphrase: str) -> None:
        del credentials, study_id, passphrase

    def variables(self, credentials: Credentials) -> dict[str, str]:
        places = [*map(file_variable, self.needs()), BEIWE_SECRETS_FOLDER, BEIWE_KEYCHAIN]
        return {BEIWE_URL: credentials.url, **{name: os.environ[name] for name in places if os.environ.get(name)}}

    def advice(self) -> str:
        return (
            f"Keep two copies of {BEIWE_LAKE_PASSPHRASE} in different places that will outlive this machine. Without "
            "it, nobody can ever read the lake."
        )


def keeper_in(place: str, folder: Path, url: str | None, answers: Answers) -> Keeper:
    """What keeps the secrets of the project in a folder: in its keyring, in the keychain, or elsewhere."""
    if place == "keyring":
        return InKeyring(folder, url, answers)
    return InKeychain(folder) if place == "keychain" else Elsewhere()


def _read_object() -> dict[str, str]:
    try:
        found = json.loads(read_input())
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()):
        return found
    # Outside of the except block: the exception holds what was read.
    raise ConfigurationError(
        "Standard input is not a JSON object of secrets. Nothing was requested or written. Pass an object such as "
        f'{{"{BEIWE_ACCESS_KEY}": "...", "{BEIWE_SECRET_KEY}": "..."}}.'
    )
