"""Address and keys of a server, and study passphrases: validated here, wherever they come from."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn
from urllib.parse import urlsplit

from dagster_beiwe.credentials.sources import find_secret
from dagster_beiwe.environment import (
    BEIWE_ACCESS_KEY,
    BEIWE_KEYRING_SECTION,
    BEIWE_PASSWORD,
    BEIWE_SECRET_KEY,
    BEIWE_URL,
    BEIWE_USERNAME,
    NRG_KEYRING_PASS,
    PREFIX,
    file_variable,
    with_prefix,
)
from dagster_beiwe.errors import CredentialsError

_VARIABLES = (BEIWE_URL, BEIWE_ACCESS_KEY, BEIWE_SECRET_KEY, BEIWE_USERNAME, BEIWE_PASSWORD)
_KEY = re.compile(r"[A-Za-z0-9+/]+")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Address and keys of one researcher on one Beiwe server.

    ``url`` is https, or http to loopback only, without user name, query or fragment. The keys are 64 characters from
    ``A-Z a-z 0-9 + /`` as the website shows them; white space around them is removed, because the server refuses it.
    ``username`` and ``password`` are the website's, and needed only for settings on servers before 2025-03. ``secrets``
    has passphrases of encrypted data by study name or id.

    Its text shows only the address, and it cannot be pickled. Raises ``CredentialsError`` for what can't be used;
    messages never repeat a value that may be secret.
    """

    url: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _checked_url(self.url))
        for name in ("access_key", "secret_key"):
            object.__setattr__(self, name, _checked_key(name.replace("_", " "), getattr(self, name)))
        object.__setattr__(self, "secrets", checked_secrets(self.secrets))

    def study_passphrase(self, study_name: str, *, study_id: str = "") -> str | None:
        """The passphrase that SECRETS has for a study's id or name, or None."""
        return study_secret(self.secrets, study_id=study_id, name=study_name)

    def __reduce__(self) -> NoReturn:
        raise TypeError("Credentials cannot be pickled, because anyone with the pickle could read them.")

    def __copy__(self) -> Credentials:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Credentials:
        return self


def credentials_from_env(environ: Mapping[str, str] | None = None, *, prefix: str = PREFIX) -> Credentials:
    """Credentials from ``BEIWE_URL``, ``BEIWE_ACCESS_KEY`` and ``BEIWE_SECRET_KEY``, which are required, and
    ``BEIWE_USERNAME`` and ``BEIWE_PASSWORD``, which are not: each a variable, or a file or an entry of the system's
    keychain that a variable names. ``environ`` stands in for the process's environment; another ``prefix`` takes the
    place of ``BEIWE_``.

    Raises ``CredentialsError`` that names every one that is missing or empty.
    """
    environ = os.environ if environ is None else environ
    names = {name: with_prefix(name, prefix) for name in _VARIABLES}
    found = {name: find_secret(variable, environ) for name, variable in names.items()}
    values = {name: secret.value if secret else "" for name, secret in found.items()}
    missing = [names[name] for name in (BEIWE_URL, BEIWE_ACCESS_KEY, BEIWE_SECRET_KEY) if not values[name]]
    if missing:
        raise CredentialsError(
            f"Environment variables are missing or empty: {', '.join(missing)}. Nothing was requested. Set them where "
            "Dagster or the command runs: in the shell, or the service. Or name a file with the secret "
            f"({file_variable(missing[-1])}). {_keyring_hint(environ, prefix)}"
        )
    return Credentials(
        url=values[BEIWE_URL],
        access_key=values[BEIWE_ACCESS_KEY],
        secret_key=values[BEIWE_SECRET_KEY],
        username=values[BEIWE_USERNAME] or None,
        password=values[BEIWE_PASSWORD] or None,
    )


def _keyring_hint(environ: Mapping[str, str], prefix: str) -> str:
    url, section = (with_prefix(name, prefix) for name in (BEIWE_URL, BEIWE_KEYRING_SECTION))
    if environ.get(section) and find_secret(url, environ):
        return f"As {url} is set, {section} gives study passphrases only; unset {url} to take the keys from there, too."
    return f"Or use a keyring ({section} and {NRG_KEYRING_PASS})."


def study_secret(secrets: Mapping[str, str], *, study_id: str, name: str) -> str | None:
    """What SECRETS holds for a study: under its id, which never changes, or else under its name."""
    return secrets.get(study_id) or secrets.get(name)


def is_loopback(host: str) -> bool:
    """Whether a host name or address never leaves this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(url: str) -> str:
    """Host and port of a server's URL, and nothing else of it; empty if it has none."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    return f"{host}:{port}" if host and port else host or ""


def _checked_url(url: object) -> str:
    """The address without a slash at the end; the message never repeats what may hold a password."""
    hint = "Write it as https://studies.example.org."
    if not isinstance(url, str) or not url.strip():
        raise CredentialsError(f"The URL of the Beiwe server is missing. Nothing was sent. {hint}")
    text = url.strip()
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, None
    if parts is None or not host or parts.scheme not in ("http", "https") or re.search(r"[\s\\]", text):
        raise CredentialsError(
            f"The URL of the Beiwe server is not an https URL with a host name. Nothing was sent. {hint}"
        )
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise CredentialsError(
            "The URL of the Beiwe server contains a user name, a query, or a fragment. Nothing was sent. Keys belong "
            f"in their own variables. {hint}"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise CredentialsError(
            f"The URL of {host} uses http, which would send the keys in the clear. Nothing was sent. Change it to "
            "https: only loopback addresses may use http."
        )
    return text.rstrip("/")


def _checked_key(name: str, key: object) -> str:
    if not isinstance(key, str) or not key.strip():
        raise CredentialsError(f"The {name} is missing. Nothing was sent. Copy it from the website.")
    if not _KEY.fullmatch(key.strip()):
        raise CredentialsError(
            f"The {name} contains characters other than letters, digits, + and /. Nothing was sent. Copy it from the "
            "website again, complete and without quotes. It is not a password."
        )
    return key.strip()


def checked_secrets(secrets: Mapping[str, str]) -> Mapping[str, str]:
    for study, passphrase in secrets.items():
        if not isinstance(passphrase, str) or not passphrase:
            raise CredentialsError(
                f"The passphrase of study {study!r} in SECRETS is empty or not text. Nothing was read. Correct or "
                "remove the entry."
            )
    return MappingProxyType(dict(secrets))
