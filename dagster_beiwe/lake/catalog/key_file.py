"""Record 0: the key file. It says how the log's MAC key is derived from the passphrase, and contains no key.

The MAC key comes from scrypt (RFC 7914) with a random salt; it is not the key that encrypts files. The record's types
bound the cost of the derivation, so that a planted record cannot use up the machine's memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from dagster_beiwe.environment import BEIWE_LAKE_PASSPHRASE
from dagster_beiwe.errors import IntegrityError, WrongPassphraseError
from dagster_beiwe.lake.catalog.authentication import Authenticator, digest
from dagster_beiwe.lake.catalog.log import missing
from dagster_beiwe.lake.catalog.records import KIND, Begin, Former, Head, decode, decode_unproven, encode
from dagster_beiwe.lake.catalog.store import read
from dagster_beiwe.lake.catalog.witness import Witness
from dagster_beiwe.lake.layout import LogLayout
from dagster_beiwe.lake.storage.base import Store

LOG2_N = 15
"""scrypt's cost for a new log, as a power of 2: a tenth of a second of processor time, and 32 MB."""

_KEPT_KEYS = 64
_MAX_MEMORY_BYTES = 192 * 1024 * 1024


def new_log(
    study: str,
    passphrase: str | None,
    now: datetime,
    *,
    log2_n: int | None = None,
    formers: Sequence[Former] = (),
) -> tuple[Authenticator, bytes]:
    """The key and the first record of a new log, which continues the ``formers``, the newest first."""
    former_lineage, head = formers[0] if formers else (None, None)
    record = Begin(
        number=0,
        previous="",
        time=now,
        study=study,
        lineage=os.urandom(16).hex(),
        salt=os.urandom(16).hex(),
        log2_n=log2_n or LOG2_N,
        former_lineage=former_lineage,
        former=head,
        earlier=tuple(formers[1:]),
    )
    authenticator = _authenticator(record, passphrase)
    return authenticator, encode(authenticator, record)


def find_first(store: Store, layout: LogLayout, witness: Witness | None) -> bytes | None:
    """The bytes of the first record, None if no log was begun.

    Raises ``IntegrityError`` if it is missing although the witness has seen it, or other records or data exist.
    """
    path = layout.record(0)
    if (first := read(store, path)) is not None:
        return first
    seen = witness.newest() if witness else None
    if seen is None and not _holds_data(store, layout):
        return None
    if (first := read(store, path)) is not None:  # another run has begun the log meanwhile
        return first
    if seen is None:
        raise missing(path)
    raise IntegrityError(
        f"There is no log at {layout.log!r}, but its witness has seen {seen.number + 1} records of it. Nothing was "
        "read or written. The study was removed: restore it from a backup."
    )


def open_log(
    data: bytes, layout: LogLayout, passphrase: str | None, *, place: str, witness: Witness | None = None
) -> tuple[Authenticator, Begin]:
    """The key of a log whose first record has these bytes.

    Raises ``WrongPassphraseError`` if the log was written with another passphrase, with one and none is given, or the
    other way round; ``IntegrityError`` if this is another record, or ``witness`` has seen another one.
    """
    name, study = layout.record(0), layout.folder
    try:
        return _opened(data, study, passphrase, name=name, place=place)
    except WrongPassphraseError:
        if witness and not witness.agrees(Head(0, digest(data))):
            raise IntegrityError(
                f"{name!r} is not the first record that the log's witness has seen. Nothing was read or written. It "
                "was changed or replaced: restore it from a backup, or from the witness with `dagster-beiwe verify "
                "--repair`."
            ) from None
        raise


def _opened(data: bytes, study: str, passphrase: str | None, *, name: str, place: str) -> tuple[Authenticator, Begin]:
    keyed = not data.startswith(f"{KIND} 1 none ".encode())
    if keyed != (passphrase is not None):
        raise WrongPassphraseError(
            f"Study {study} of the lake at {place} was begun {'with' if keyed else 'without'} a passphrase, and now "
            f"{'none' if keyed else 'one'} is given. Nothing was read or written. Correct the study's passphrase and "
            "`encryption`, or use another lake."
        )
    begin = decode_unproven(data, name=name)
    if not isinstance(begin, Begin) or begin.number or begin.study != study:
        raise IntegrityError(
            f"{name!r} is not the first record of study {study}. Nothing was read or written. Files were swapped: "
            "restore the study from a backup."
        )
    authenticator = _authenticator(begin, passphrase)
    try:
        decode(authenticator, data, name=name)
    except IntegrityError:
        if passphrase is None:
            raise
        raise WrongPassphraseError(
            f"The passphrase is not the one that study {study} of the lake at {place} was written with, or {name!r} "
            f"was changed. Nothing was read or written. Correct {BEIWE_LAKE_PASSPHRASE} or the study's entry in the "
            "keyring's SECRETS."
        ) from None
    return authenticator, begin


def _holds_data(store: Store, layout: LogLayout) -> bool:
    """Whether records or manifests exist, so that the first record must exist too."""
    if any(store.list(f"{layout.log}/{name}") for name in store.list(layout.log)):
        return True
    return any(store.list(layout.documents_of(name)) for name in store.list(layout.folder))


def _authenticator(record: Begin, passphrase: str | None) -> Authenticator:
    if passphrase is None:
        return Authenticator(None)
    return Authenticator(_derive(passphrase, bytes.fromhex(record.salt), record.log2_n, record.r, record.p))


@lru_cache(maxsize=_KEPT_KEYS)  # sensors open the same studies again and again
def _derive(passphrase: str, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=2**log2_n, r=r, p=p, maxmem=_MAX_MEMORY_BYTES, dklen=32)
