"""The encrypted keyring file that mano uses: {section: {URL, ACCESS_KEY, SECRET_KEY, USERNAME, PASSWORD, SECRETS}}."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dagster_beiwe.credentials.credentials import Credentials, checked_secrets
from dagster_beiwe.credentials.sources import find_secret
from dagster_beiwe.environment import BEIWE_KEYRING_FILE, BEIWE_KEYRING_SECTION, NRG_KEYRING_PASS, file_variable
from dagster_beiwe.errors import (
    BeiweError,
    CredentialsError,
    KeyringFileError,
    KeyringPassphraseError,
    KeyringSectionError,
)
from dagster_beiwe.private_files import FileTooLargeError, NotRegularFileError, read_file, write_file
from dagster_beiwe.text import as_typed

DEFAULT_KEYRING_FILE = "~/.nrg-keyring.enc"

_KEYRING_LIMIT_BYTES = 4 * 1024 * 1024


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
    return checked_secrets(_secrets_of_section(*_section(section, path, passphrase, environ, prompt=False)))


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
    data = _read_encrypted(file)
    passphrase = passphrase or _passphrase(os.environ if environ is None else environ, prompt=prompt)
    try:
        plain = decrypt_bytes(data, passphrase)
    except BeiweError as error:
        reason = str(error)
    else:
        return _parsed(file, plain)
    raise KeyringFileError(
        f"{file} is not a keyring encrypted with cryptease ({reason}). Nothing was used. Create one with "
        "`dagster-beiwe keyring set SECTION` or `crypt.py --encrypt`."
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
    written; with ``changed``, only those, so that another section that can't be used does not prevent the change. The
    file is replaced at once; its plain text never touches the disk.
    """
    from dagster_beiwe.encryption import encrypt_bytes

    if not passphrase:
        raise KeyringPassphraseError("The passphrase of the keyring is empty. Nothing was written.")
    for name in sections if changed is None else changed:
        credentials_of_section(name, sections[name])
    plain = {name: dict(section) for name, section in sections.items()}
    encrypted = encrypt_bytes(json.dumps(plain, indent=2).encode(), passphrase)
    file = _expanded(path)
    if file.is_dir():
        raise KeyringFileError(f"{file} is a folder, not a keyring file. Nothing was written. Name a file.")
    try:
        write_file(file, encrypted, follow=True)
    except OSError as error:
        reason = error.strerror
    else:
        return
    raise KeyringFileError(
        f"The keyring {file} could not be written: {reason}. Nothing was changed. Check that the folder exists and is "
        "writable."
    )


def credentials_of_section(name: str, section: object) -> Credentials:
    """The credentials in one section of a keyring; raises ``KeyringSectionError`` that names it for any mistake."""
    if not isinstance(section, Mapping):
        raise KeyringSectionError(
            f"The keyring's section {name!r} is not an object with URL, ACCESS_KEY and SECRET_KEY. Nothing was used. "
            "Correct the section."
        )
    missing = [key for key in ("URL", "ACCESS_KEY", "SECRET_KEY") if not section.get(key)]
    if missing:
        raise KeyringSectionError(
            f"Missing or empty in the keyring's section {name!r}: {', '.join(missing)}. Nothing was used. Add them."
        )
    wrong = [
        key
        for key in ("URL", "ACCESS_KEY", "SECRET_KEY", "USERNAME", "PASSWORD")
        if not isinstance(section.get(key), (str, type(None)))
    ]
    if wrong:
        raise KeyringSectionError(
            f"Not text in the keyring's section {name!r}: {', '.join(wrong)}. Nothing was used. Correct them."
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


def _section(
    section: str | None,
    path: str | os.PathLike[str] | None,
    passphrase: str | None,
    environ: Mapping[str, str],
    *,
    prompt: bool,
) -> tuple[str, Mapping[str, Any]]:
    """Name and content of the section of a keyring file."""
    path = path or environ.get(BEIWE_KEYRING_FILE) or DEFAULT_KEYRING_FILE
    sections = read_keyring(path, passphrase=passphrase, environ=environ, prompt=prompt)
    section = as_typed(section or environ.get(BEIWE_KEYRING_SECTION) or "")
    names = ", ".join(sorted(sections)) or "none"
    if not section:
        raise KeyringSectionError(
            f"No section of the keyring was named. Nothing was used. Set {BEIWE_KEYRING_SECTION} to one of: {names}."
        )
    if section not in sections:
        raise KeyringSectionError(
            f"The keyring has no section {section[:80]!r}. Nothing was used. Its sections are: {names}."
        )
    return section, sections[section]


def _secrets_of_section(name: str, section: Mapping[str, Any]) -> Mapping[str, Any]:
    secrets = section.get("SECRETS") or {}
    if not isinstance(secrets, Mapping):
        raise KeyringSectionError(
            f"SECRETS in the keyring's section {name!r} is not an object of study names and passphrases. Nothing was "
            "used. Correct it."
        )
    return secrets


def _expanded(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise KeyringFileError(
            f"The path of the keyring file {path} starts in the home folder of a user that does not exist here. "
            "Nothing was read or written. Write the full path."
        ) from None


def _read_encrypted(file: Path) -> bytes:
    """The file's bytes, which are encrypted; every other state of the file is an error of its own."""
    try:
        data = read_file(file, limit_bytes=_KEYRING_LIMIT_BYTES, follow=True)
    except FileNotFoundError:
        raise KeyringFileError(
            f"The keyring file {file} does not exist. Create it with `dagster-beiwe keyring set SECTION`, or set "
            f"{BEIWE_KEYRING_FILE} to another file."
        ) from None
    except FileTooLargeError:
        raise KeyringFileError(
            f"{file} is larger than 4 MiB, so it is not a keyring. Nothing was used. Name the right file."
        ) from None
    except NotRegularFileError as error:
        raise KeyringFileError(
            f"The keyring {file} is {error.what}, not a regular file; nothing was read or written. Correct "
            f"{BEIWE_KEYRING_FILE}."
        ) from None
    except OSError as error:
        raise KeyringFileError(
            f"The keyring file {file} could not be read: {error.strerror}. Correct its owner or permissions (0600)."
        ) from None
    if not data:
        raise KeyringFileError(f"The keyring file {file} is empty. Nothing was used. Restore it, or create a new one.")
    if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[") and b"\0" not in data:
        raise KeyringFileError(
            f"The keyring {file} is readable JSON: its keys are not protected. Nothing was used. Encrypt it with "
            "`crypt.py --encrypt` or `dagster-beiwe keyring set SECTION`, delete the readable file, and create new "
            "keys on the website if others could read it."
        )
    return data


def _passphrase(environ: Mapping[str, str], *, prompt: bool) -> str:
    secret = find_secret(NRG_KEYRING_PASS, environ)
    passphrase = secret.value if secret else ""
    if not passphrase and prompt and sys.stdin is not None and sys.stdin.isatty():
        passphrase = getpass.getpass("Passphrase of the keyring: ")
    if not passphrase:
        raise KeyringPassphraseError(
            f"No passphrase for the keyring. Nothing was read. Set {NRG_KEYRING_PASS} where this runs, or let "
            f"{file_variable(NRG_KEYRING_PASS)} name a file with it."
        )
    return passphrase


def _parsed(file: Path, plain: bytes) -> dict[str, dict[str, Any]]:
    """The cipher has no checksum, so a wrong passphrase is noticed only because the text is not JSON."""
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
            f"The keyring {file} could not be decrypted: the passphrase is wrong, the file is damaged, or it did not "
            f"hold JSON when it was encrypted. Nothing was used. Check {NRG_KEYRING_PASS}."
        )
    if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
        raise KeyringFileError(
            f"The keyring {file} is not a JSON object of sections. Nothing was used. Its form is "
            "{section: {URL, ACCESS_KEY, SECRET_KEY, USERNAME, PASSWORD, SECRETS}}."
        )
    return sections
