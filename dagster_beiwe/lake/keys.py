"""The study's key file: finds a wrong passphrase before anything is written or read as data.

``<lake>/<study id>/.beiwe/study.key`` holds a salt and a check value, no key. The MAC key is made from the passphrase
with scrypt (RFC 7914) and the salt; it is not the key that locks files.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache

from dagster_beiwe.errors import IntegrityError, WrongPassphraseError
from dagster_beiwe.lake.manifest import Authenticator, sealed_fields
from dagster_beiwe.lake.shapes import read_as
from dagster_beiwe.lake.storage import Storage

_SCRYPT = {"n": 2**15, "r": 8, "p": 1}
_MAX_MEMORY_BYTES = 64 * 1024 * 1024
_KEPT_KEYS = 64
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class _KeyFile:
    authenticated: bool
    salt: bytes
    check: str


def key_path(study_id: str) -> str:
    """Where the key file of a study lies."""
    return f"{study_id}/.beiwe/study.key"


def open_authenticator(
    storage: Storage,
    study_id: str,
    passphrase: str | None,
    *,
    create: bool,
    first: Callable[[Authenticator], None] | None = None,
) -> Authenticator:
    """The authenticator of a study's manifests.

    With ``create`` a study that the lake does not hold yet gets its key file; ``first`` writes what has to be there
    before it, so that nobody finds a study without it. Raises ``WrongPassphraseError`` if the
    passphrase is not the one the study was written with, or one is given or missing where it was the other way round;
    ``IntegrityError`` if the key file is gone although data is there.
    """
    data = _stored(storage, study_id)
    if data is None:
        return _create(storage, study_id, passphrase, first) if create else Authenticator(os.urandom(32))
    stored = _read(data, key_path(study_id))
    if stored.authenticated != (passphrase is not None):
        raise WrongPassphraseError(
            f"Expected study {study_id} of the lake at {storage.describe()} to be used "
            f"{'without' if passphrase is not None else 'with'} a passphrase, as it was written, got the opposite; "
            "nothing was written. Correct the study's passphrase and `encryption`, or use another lake."
        )
    if passphrase is None:
        return Authenticator(None)
    authenticator = Authenticator(_derive(passphrase, stored.salt))
    if not hmac.compare_digest(authenticator.mac("study key", study_id.encode()).encode(), stored.check.encode()):
        raise WrongPassphraseError(
            f"Expected the passphrase that study {study_id} of the lake at {storage.describe()} was written with, got "
            "another one; nothing was written or read. Correct BEIWE_LAKE_PASSPHRASE or the study's entry in the "
            "keyring's SECRETS."
        )
    return authenticator


def _create(
    storage: Storage, study_id: str, passphrase: str | None, first: Callable[[Authenticator], None] | None
) -> Authenticator:
    with storage.lock(f"{study_id}/.beiwe"):
        if _stored(storage, study_id) is not None:  # another run of the same study came first: its key file counts
            return open_authenticator(storage, study_id, passphrase, create=False)
        salt = os.urandom(16)
        authenticator = Authenticator(_derive(passphrase, salt) if passphrase else None)
        document = {
            "format": _FORMAT,
            "study_id": study_id,
            "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "authentication": "hmac-sha256" if passphrase else "none",
            "derivation": {"name": "scrypt", **_SCRYPT},
            "salt": base64.b64encode(salt).decode(),
            "check": authenticator.mac("study key", study_id.encode()),
        }
        if first is not None:
            first(authenticator)
        storage.write(key_path(study_id), Authenticator(None).seal("study key file", document), exclusive=True)
    return authenticator


def _read(data: bytes, path: str) -> _KeyFile:
    document = Authenticator(None).unseal("study key file", data, name=path)
    if document.get("format") == _FORMAT:
        with sealed_fields(path):
            fields = {name: read_as(str, document[name]) for name in ("authentication", "salt", "check")}
            salt = base64.b64decode(fields["salt"], validate=True)
            return _KeyFile(authenticated=fields["authentication"] != "none", salt=salt, check=fields["check"])
    raise IntegrityError(
        f"Expected a key file of format {_FORMAT} at {path!r}, got another; nothing was read. It was written by a "
        "newer version, or damaged: update dagster-beiwe or restore the file from a backup."
    )


def _stored(storage: Storage, study_id: str) -> bytes | None:
    """The key file as it lies there; None for a study that the lake does not hold."""
    path = key_path(study_id)
    with suppress(FileNotFoundError):
        return storage.read(path)
    if not _holds_data(storage, study_id):
        return None
    with suppress(FileNotFoundError):  # another run has begun the study since
        return storage.read(path)
    raise IntegrityError(
        f"Expected the key file {path!r} in the lake at {storage.describe()}, got manifests without it; nothing was "
        "written or read. Restore it from a backup: without it no manifest can be checked."
    )


def _holds_data(storage: Storage, study_id: str) -> bool:
    """Whether there are indexes or manifests. A roll may be there without: a first run died before its key file."""
    if any(name.endswith(".index") for name in storage.list(f"{study_id}/.beiwe")):
        return True
    return any(storage.list(f"{study_id}/{name}/.beiwe") for name in storage.list(study_id))


@lru_cache(maxsize=_KEPT_KEYS)
def _derive(passphrase: str, salt: bytes) -> bytes:
    """The MAC key. Kept while the process lives, as the passphrase is: sensors open the same studies again and again,
    and each derivation takes a tenth of a second of a processor."""
    return hashlib.scrypt(passphrase.encode(), salt=salt, maxmem=_MAX_MEMORY_BYTES, dklen=32, **_SCRYPT)
