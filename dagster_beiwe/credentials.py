"""Who talks to which server: from environment variables, or from the encrypted keyring file that mano uses.

Nothing is read at import, and nobody is asked for a passphrase where nobody can answer.
"""

from __future__ import annotations

import getpass
import ipaddress
import json
import os
import re
import sys
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn
from urllib.parse import urlsplit

from dagster_beiwe.errors import (
    BeiweError,
    CredentialsError,
    KeyringFileError,
    KeyringPassphraseError,
    KeyringSectionError,
)

DEFAULT_KEYRING_FILE = "~/.nrg-keyring.enc"

_KEY = re.compile(r"[A-Za-z0-9+/]+")
_KEYRING_LIMIT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Address and keys of one researcher on one Beiwe server.

    ``url`` is https, or http to loopback only, without user name, query or fragment. The keys are 64 characters from
    ``A-Z a-z 0-9 + /`` as the website shows them; white space around them is removed, because the server refuses it.
    ``username`` and ``password`` are the website's, and needed only for settings on servers before 2025-03. ``secrets``
    has passphrases of locked data by study name or id.

    Shown as text it tells the address only, and it refuses to be pickled. Raises ``CredentialsError`` for what can't
    be used; messages never repeat a value that may be secret.
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
        object.__setattr__(self, "secrets", _checked_secrets(self.secrets))

    def study_passphrase(self, study_name: str, *, study_id: str = "") -> str | None:
        """The passphrase that SECRETS has for a study's id or name, or None."""
        return study_secret(self.secrets, study_id=study_id, name=study_name)

    def __reduce__(self) -> NoReturn:
        raise TypeError("Credentials are not pickled: they would lie readable in whatever holds the pickle.")

    def __copy__(self) -> Credentials:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Credentials:
        return self


def credentials_from_env(environ: Mapping[str, str] | None = None) -> Credentials:
    """Credentials from ``BEIWE_URL``, ``BEIWE_ACCESS_KEY`` and ``BEIWE_SECRET_KEY``, which are required, and
    ``BEIWE_USERNAME`` and ``BEIWE_PASSWORD``, which are not. ``environ`` stands in for the process's environment.

    Raises ``CredentialsError`` that names every variable that is missing or empty.
    """
    environ = os.environ if environ is None else environ
    required = ("BEIWE_URL", "BEIWE_ACCESS_KEY", "BEIWE_SECRET_KEY")
    missing = [name for name in required if not environ.get(name, "").strip()]
    if missing:
        raise CredentialsError(
            f"Expected the environment variables {', '.join(required)}; missing or empty: {', '.join(missing)}. "
            "Set them, or use a keyring (BEIWE_KEYRING_SECTION and NRG_KEYRING_PASS)."
        )
    return Credentials(
        url=environ["BEIWE_URL"],
        access_key=environ["BEIWE_ACCESS_KEY"],
        secret_key=environ["BEIWE_SECRET_KEY"],
        username=environ.get("BEIWE_USERNAME") or None,
        password=environ.get("BEIWE_PASSWORD") or None,
    )


def credentials_from_keyring(
    section: str | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    passphrase: str | None = None,
    environ: Mapping[str, str] | None = None,
    prompt: bool = False,
) -> Credentials:
    """Credentials from a section of an encrypted keyring file, as mano and ``crypt.py`` write it.

    What is not given comes from ``BEIWE_KEYRING_SECTION``, ``BEIWE_KEYRING_FILE`` (default ``~/.nrg-keyring.enc``) and
    ``NRG_KEYRING_PASS``. With ``prompt`` the passphrase is asked for if standard input is a terminal. Raises
    ``KeyringFileError``, ``KeyringPassphraseError``, or ``KeyringSectionError``, also for the section's values.
    """
    environ = os.environ if environ is None else environ
    return credentials_of_section(*_section(section, path, passphrase, environ, prompt=prompt))


def secrets_from_keyring(
    section: str | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    passphrase: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Mapping[str, str]:
    """Only the SECRETS of a section, {study name or id: passphrase}: the section need not hold address and keys, so
    that a host may read data without access to a server. Otherwise as ``credentials_from_keyring``."""
    environ = os.environ if environ is None else environ
    return _checked_secrets(_secrets_of_section(*_section(section, path, passphrase, environ, prompt=False)))


def study_secret(secrets: Mapping[str, str], *, study_id: str, name: str) -> str | None:
    """What SECRETS holds for a study: under its id, which never changes, or else under its name."""
    return secrets.get(study_id) or secrets.get(name)


def read_keyring(
    path: str | os.PathLike[str],
    *,
    passphrase: str | None = None,
    environ: Mapping[str, str] | None = None,
    prompt: bool = False,
) -> dict[str, dict[str, Any]]:
    """All sections of a keyring file; see ``credentials_from_keyring`` for passphrase and errors."""
    # Here and not above: plain keys from the environment need no cipher, and the command line should start fast.
    from dagster_beiwe.encryption import decrypt_bytes

    file = _expanded(path)
    data = _read_locked(file)
    passphrase = passphrase or _passphrase(os.environ if environ is None else environ, prompt=prompt)
    try:
        plain = decrypt_bytes(data, passphrase)
    except BeiweError as error:
        reason = str(error)
    else:
        return _parsed(file, plain)
    raise KeyringFileError(
        f"Expected a keyring encrypted with cryptease in {file}, got a file that is not; nothing was used. Make it "
        f"with `dagster-beiwe keyring` or `crypt.py --encrypt`. ({reason})"
    )


def write_keyring(
    path: str | os.PathLike[str],
    sections: Mapping[str, Mapping[str, Any]],
    passphrase: str,
    *,
    changed: Collection[str] | None = None,
) -> None:
    """Write a keyring file that mano and ``crypt.py`` open, readable by its owner only (0600).

    ``sections`` is {section: {URL, ACCESS_KEY, SECRET_KEY, USERNAME, PASSWORD, SECRETS}}, checked before anything is
    written; with ``changed`` only these, because another one that can't be used is no reason not to write them. The
    file is replaced at once; its plain text never touches the disk.
    """
    from dagster_beiwe.encryption import encrypt_bytes

    if not passphrase:
        raise KeyringPassphraseError("Expected a passphrase for the keyring, got an empty one; nothing was written.")
    for name in sections if changed is None else changed:
        credentials_of_section(name, sections[name])
    plain = {name: dict(section) for name, section in sections.items()}
    locked = encrypt_bytes(json.dumps(plain, indent=2).encode(), passphrase)
    file = _expanded(path).resolve()
    if file.is_dir():
        raise KeyringFileError(f"Expected a file name for the keyring, got the folder {file}; nothing was written.")
    try:
        _replace(file, locked)
    except OSError as error:
        reason = error.strerror
    else:
        return
    raise KeyringFileError(
        f"Expected to write the keyring {file}, but: {reason}. Nothing was changed. Check that the folder exists and "
        "may be written to."
    )


def is_loopback(host: str) -> bool:
    """Whether a host name or address never leaves this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(url: str) -> str:
    """Host and port of a server's URL, and nothing else of it; empty where it has none."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    return f"{host}:{port}" if host and port else host or ""


# Values


def _checked_url(url: object) -> str:
    """The address without a slash at the end; the message never repeats what may hold a password."""
    hint = "Write it as https://studies.example.org."
    if not isinstance(url, str) or not url.strip():
        raise CredentialsError(f"Expected the URL of a Beiwe server, got nothing; nothing was sent. {hint}")
    text = url.strip()
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, None
    if parts is None or not host or parts.scheme not in ("http", "https") or re.search(r"[\s\\]", text):
        raise CredentialsError(
            "Expected the URL of a Beiwe server with https and a host name, got something else; nothing was sent. "
            f"{hint}"
        )
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise CredentialsError(
            f"Expected the plain address of a Beiwe server, got a URL with a user name, query or fragment; nothing was "
            f"sent. The keys go into variables of their own. {hint}"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise CredentialsError(
            f"Expected https for {host}, got http; nothing was sent. Keys would travel readable: only loopback may use "
            "http. Correct the URL to https."
        )
    return text.rstrip("/")


def _checked_key(name: str, key: object) -> str:
    if not isinstance(key, str) or not key.strip():
        raise CredentialsError(f"Expected the {name} of a Beiwe researcher, got nothing; nothing was sent.")
    if not _KEY.fullmatch(key.strip()):
        raise CredentialsError(
            f"Expected the {name} in letters, digits, + and / only, got other characters; nothing was sent. Copy it "
            "again from the website, whole and without quotes. It is not a password."
        )
    return key.strip()


def _checked_secrets(secrets: Mapping[str, str]) -> Mapping[str, str]:
    for study, passphrase in secrets.items():
        if not isinstance(passphrase, str) or not passphrase:
            raise CredentialsError(
                f"Expected a passphrase for the study {study!r} in SECRETS, got an empty one or something that is "
                "not text; nothing was read. Correct or remove the entry."
            )
    return MappingProxyType(dict(secrets))


# Keyring


def _section(
    section: str | None,
    path: str | os.PathLike[str] | None,
    passphrase: str | None,
    environ: Mapping[str, str],
    *,
    prompt: bool,
) -> tuple[str, Mapping[str, Any]]:
    """Name and content of the section of a keyring file."""
    path = path or environ.get("BEIWE_KEYRING_FILE") or DEFAULT_KEYRING_FILE
    sections = read_keyring(path, passphrase=passphrase, environ=environ, prompt=prompt)
    section = section or environ.get("BEIWE_KEYRING_SECTION")
    names = ", ".join(sorted(sections)) or "none"
    if not section:
        raise KeyringSectionError(
            f"Expected the name of a section of the keyring, got none; nothing was used. Set BEIWE_KEYRING_SECTION. "
            f"The sections are: {names}."
        )
    if section not in sections:
        raise KeyringSectionError(
            f"Expected a section of the keyring, got {section[:80]!r}, which it lacks; nothing was used. "
            f"The sections are: {names}."
        )
    return section, sections[section]


def _secrets_of_section(name: str, section: Mapping[str, Any]) -> Mapping[str, Any]:
    secrets = section.get("SECRETS") or {}
    if not isinstance(secrets, Mapping):
        raise KeyringSectionError(
            f"Expected an object of study names and passphrases in the keyring's section {name!r}, got something else "
            "in SECRETS; nothing was used."
        )
    return secrets


def credentials_of_section(name: str, section: object) -> Credentials:
    """The credentials in one section of a keyring; raises ``KeyringSectionError`` that names it for any mistake."""
    if not isinstance(section, Mapping):
        raise KeyringSectionError(
            f"Expected the keyring's section {name!r} to be an object with URL, ACCESS_KEY and SECRET_KEY, got "
            "something else; nothing was used."
        )
    missing = [key for key in ("URL", "ACCESS_KEY", "SECRET_KEY") if not section.get(key)]
    if missing:
        raise KeyringSectionError(
            f"Expected URL, ACCESS_KEY and SECRET_KEY in the keyring's section {name!r}; missing or empty: "
            f"{', '.join(missing)}. Nothing was used; add them."
        )
    wrong = [
        key
        for key in ("URL", "ACCESS_KEY", "SECRET_KEY", "USERNAME", "PASSWORD")
        if not isinstance(section.get(key), (str, type(None)))
    ]
    if wrong:
        raise KeyringSectionError(
            f"Expected text in the keyring's section {name!r}, got something else in {', '.join(wrong)}; nothing was "
            "used."
        )
    secrets = _secrets_of_section(name, section)
    try:
        return Credentials(
            url=section["URL"],
            access_key=section["ACCESS_KEY"],
            secret_key=section["SECRET_KEY"],
            username=section.get("USERNAME") or None,
            password=section.get("PASSWORD") or None,
            secrets=secrets,
        )
    except CredentialsError as error:
        reason = str(error)
    raise KeyringSectionError(f"In the keyring's section {name!r}: {reason}")


def _expanded(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise KeyringFileError(
            f"Expected the keyring file {path}, which begins in the home folder of a user who is not known here; "
            "nothing was read or written. Write the path in full."
        ) from None


def _read_locked(file: Path) -> bytes:
    """The file's bytes, which are encrypted; every other state of the file is an error of its own."""
    if file.is_dir():
        raise KeyringFileError(f"Expected the keyring file {file}, got a folder of that name; nothing was read.")
    try:
        with file.open("rb") as source:
            data = source.read(_KEYRING_LIMIT_BYTES + 1)
    except FileNotFoundError:
        raise KeyringFileError(
            f"Expected the keyring file {file}, which does not exist. Make it with `dagster-beiwe keyring`, or name "
            "another in BEIWE_KEYRING_FILE."
        ) from None
    except OSError as error:
        raise KeyringFileError(
            f"Expected to read the keyring file {file}, but: {error.strerror}. Correct its owner or permissions (0600)."
        ) from None
    if not data:
        raise KeyringFileError(f"Expected an encrypted keyring in {file}, got an empty file; nothing was used.")
    if len(data) > _KEYRING_LIMIT_BYTES:
        raise KeyringFileError(f"Expected a keyring of a few kB in {file}, got a file over 4 MiB; nothing was used.")
    if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[") and b"\0" not in data:
        raise KeyringFileError(
            f"Expected an encrypted keyring in {file}, got readable JSON: the keys lie open. Nothing was used. Encrypt "
            "it with `crypt.py --encrypt` or `dagster-beiwe keyring`, delete the readable file, and make new keys on "
            "the website if anybody else could read it."
        )
    return data


def _passphrase(environ: Mapping[str, str], *, prompt: bool) -> str:
    passphrase = environ.get("NRG_KEYRING_PASS")
    if not passphrase and prompt and sys.stdin is not None and sys.stdin.isatty():
        passphrase = getpass.getpass("Passphrase of the keyring: ")
    if not passphrase:
        raise KeyringPassphraseError(
            "Expected the passphrase of the keyring, got none; nothing was read. Set NRG_KEYRING_PASS where this runs."
        )
    return passphrase


def _parsed(file: Path, plain: bytes) -> dict[str, dict[str, Any]]:
    """The cipher has no checksum, so that a wrong passphrase shows itself only as text that is no JSON."""
    try:
        sections = json.loads(plain)
    except (ValueError, RecursionError):
        sections = None
        readable = False
    else:
        readable = True
    # Outside of the except block: the decoder's exception holds the whole keyring.
    if not readable:
        raise KeyringPassphraseError(
            f"Expected the passphrase to open the keyring {file}, got unreadable text: the passphrase is wrong, or the "
            "file is damaged or did not hold JSON when it was encrypted. Nothing was used. Check NRG_KEYRING_PASS."
        )
    if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
        raise KeyringFileError(
            f"Expected a JSON object of sections in the keyring {file}, got JSON of another shape; nothing was used. "
            "The form is {section: {URL, ACCESS_KEY, SECRET_KEY, USERNAME, PASSWORD, SECRETS}}."
        )
    return sections


def _replace(file: Path, data: bytes) -> None:
    """Put ``data`` in the file's place, all or nothing; mkstemp makes files of mode 0600."""
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".keyring-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as target:
            target.write(data)
            target.flush()
            os.fsync(target.fileno())
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise
