"""The study's key file: finds a wrong passphrase before anything is written or read as data.

``<lake>/<study id>/.beiwe/study.key`` holds a salt and a check value, no key. The MAC key is made from the passphrase
with scrypt (RFC 7914) and the salt; it is not the key that locks files.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, NoReturn

from dagster_beiwe.errors import IntegrityError, TimeRangeError, WrongPassphraseError
from dagster_beiwe.lake.shapes import read_as
from dagster_beiwe.lake.storage import Storage

_SCRYPT = {"n": 2**15, "r": 8, "p": 1}
_MAX_MEMORY_BYTES = 64 * 1024 * 1024
_KEPT_KEYS = 64
_FORMAT = 1
_text = json.JSONEncoder(ensure_ascii=False).encode


class Authenticator:
    """Makes and checks the MACs of one study's manifests."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "Expected no pickling or copying of Authenticator, which holds a key; nothing was written. Open the study "
            "again where it is needed."
        )

    def mac(self, purpose: str, payload: bytes) -> str:
        """``hmac-sha256:...`` with a key, ``sha256:...`` without. ``purpose`` keeps kinds of documents apart."""
        data = purpose.encode() + b"\0" + payload
        if self._key is None:
            return "sha256:" + hashlib.sha256(data).hexdigest()
        return "hmac-sha256:" + hmac.new(self._key, data, hashlib.sha256).hexdigest()

    def seal(self, purpose: str, document: Mapping[str, Any]) -> bytes:
        """The document as JSON with its MAC."""
        return self.sealed(purpose, document)[1]

    def sealed(self, purpose: str, document: Mapping[str, Any]) -> tuple[str, bytes]:
        """The MAC of a document, and the document as JSON with it."""
        body = {key: value for key, value in document.items() if key != "mac"}
        mac = self.mac(purpose, _canonical(body))
        return mac, _pretty({**body, "mac": mac})

    def unseal(self, purpose: str, data: bytes, *, name: str) -> dict[str, Any]:
        """The document, if its MAC is right; raises ``IntegrityError`` otherwise. Its fields may be anything."""
        try:
            document = json.loads(data)
            mac, body = document["mac"], {key: value for key, value in document.items() if key != "mac"}
            given, right = mac.encode(), self.mac(purpose, _canonical(body)).encode()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise IntegrityError(_changed(name, "JSON with a MAC", "something else")) from None
        if not hmac.compare_digest(right, given):
            raise IntegrityError(_changed(name, "the MAC of its content", "another one"))
        return {**body, "mac": mac}


@contextmanager
def sealed_fields(name: str) -> Iterator[None]:
    """Turn what is wrong with a sealed document's fields into an ``IntegrityError``; ``name`` is for messages."""
    try:
        yield
    except (KeyError, ValueError, TimeRangeError):
        raise IntegrityError(_changed(name, "the fields of such a document", "others")) from None


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _pretty(document: Mapping[str, Any]) -> bytes:
    """A line for each field and each entry of a list. Python's own indentation takes ten times as long."""
    fields = (f"{_text(name)}: {_lines(value)}" for name, value in document.items())
    return ("{\n " + ",\n ".join(fields) + "\n}\n").encode()


def _lines(value: Any) -> str:
    if isinstance(value, (list, tuple)) and value:
        return "[\n  " + ",\n  ".join(map(_text, value)) + "\n ]"
    return _text(value)


def _changed(name: str, expected: str, got: str) -> str:
    return (
        f"Expected {expected} in {name!r}, got {got}; it was not trusted. It was changed or damaged after it was "
        "committed, or the passphrase is another one: run `dagster-beiwe verify`, restore it from a backup, or remove "
        "it and run the partition again."
    )


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
