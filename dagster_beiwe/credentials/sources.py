"""Where a secret is found: one order for all that have a name.

A secret's name is that of its environment variable. Only keys of a server and passphrases of studies may also be in a
section of a keyring file, which comes last and gives address and keys together: see ``opening``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NoReturn

from dagster_beiwe.credentials.keychain import read_keychain
from dagster_beiwe.environment import BEIWE_KEYCHAIN, BEIWE_SECRETS_FOLDER, file_variable
from dagster_beiwe.errors import CredentialsError
from dagster_beiwe.private_files import OTHERS, read_file

logger = logging.getLogger("dagster_beiwe")

_LARGEST_BYTES = 64 * 1024


@dataclass(frozen=True)
class Source:
    """Where a secret was found: the kind of place, which one, and what is wrong with it, if anything is."""

    kind: str
    place: str
    warning: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.place}{f'. {self.warning}' if self.warning else ''}"


@dataclass(frozen=True)
class Secret:
    """A secret and its source. Its text shows only the source, and it cannot be pickled."""

    value: str = field(repr=False)
    source: Source

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret cannot be pickled, because anyone with the pickle could read it.")


def find_secret(name: str, environ: Mapping[str, str]) -> Secret | None:
    """The secret of this name, from the first place that has it; None if none does.

    The places are those of ``ORDER``. Raises ``CredentialsError`` for a place that is named and cannot be read.
    """
    found = (look(name, environ) for look in ORDER)
    return next((secret for secret in found if secret is not None), None)


def _variable(name: str, environ: Mapping[str, str]) -> Secret | None:
    value = environ.get(name, "")
    return Secret(value, Source("variable", name)) if value.strip() else None


def _file(name: str, environ: Mapping[str, str]) -> Secret | None:
    """The file that a variable names."""
    variable = file_variable(name)
    path = environ.get(variable)
    return _read(Path(path), variable) if path else None


def _mounted_file(name: str, environ: Mapping[str, str]) -> Secret | None:
    """A file of the secret's name in a folder, as Kubernetes writes it, or in lower case, as Docker Compose does."""
    folder = environ.get(BEIWE_SECRETS_FOLDER)
    if not folder:
        return None
    path = _expanded(Path(folder), BEIWE_SECRETS_FOLDER)
    if not os.access(path, os.X_OK) or not path.is_dir():  # pathlib raises where this user may not look
        raise CredentialsError(
            f"{BEIWE_SECRETS_FOLDER} is {folder[:200]!r}, which is not a folder that can be read. Nothing was "
            "requested. Correct it, or mount the secrets there."
        )
    files = (path / each for each in (name, name.lower()))
    return next((_read(file, BEIWE_SECRETS_FOLDER) for file in files if file.exists()), None)


def _keychain(name: str, environ: Mapping[str, str]) -> Secret | None:
    service = environ.get(BEIWE_KEYCHAIN)
    value = read_keychain(service, name) if service else None
    return Secret(value, Source("keychain", f"{service}, {name}")) if value else None


ORDER: tuple[Callable[[str, Mapping[str, str]], Secret | None], ...] = (_variable, _file, _mounted_file, _keychain)
"""Where a secret is looked for, first to last."""


def _read(path: Path, variable: str) -> Secret:
    """The secret in a file, without the line break at its end."""
    path = _expanded(path, variable)
    try:
        text: str | None = read_file(path, limit_bytes=_LARGEST_BYTES, follow=True).decode().rstrip("\r\n")
    except OSError as error:
        text, reason = None, f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        text, reason = None, "is not UTF-8 text"
    else:
        reason = "is empty"
    # Outside of the except block: the decoder's exception holds what was read.
    if not text or not text.strip():
        raise CredentialsError(
            f"The file {path} {reason}. Nothing was requested. Put the secret, and nothing else, into the file, or "
            f"correct {variable}."
        )
    warning = None
    if _is_needlessly_open(path):
        warning = f"Others can use this file: run `chmod 600 {path}`"
        _warn_once(f"Others can read the secret in {path}, or change it. Run `chmod 600 {path}`.")
    return Secret(text, Source("file", str(path), warning))


def _is_needlessly_open(path: Path) -> bool:
    """Whether others may read a file, or change it, although its owner, this user, could prevent it.

    Nobody can change the permissions in a read-only mount, as container engines make for secrets.
    """
    if os.name == "nt":
        return False
    status = path.stat()
    changeable = status.st_uid == os.geteuid() and not os.statvfs(path).f_flag & os.ST_RDONLY
    return changeable and bool(status.st_mode & OTHERS)


def _expanded(path: Path, variable: str) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise CredentialsError(
            f"The path in {variable} starts in the home folder of a user that does not exist here. Nothing was "
            "requested. Write the full path."
        ) from None


@cache
def _warn_once(text: str) -> None:
    """Sensors read secrets each minute."""
    logger.warning("%s", text)
