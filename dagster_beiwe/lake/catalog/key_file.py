"""Record 0: the key file. It says how the log's MAC key comes from the passphrase, and holds no key.

The MAC key is made with scrypt (RFC 7914) and a random salt; it is not the key that encrypts files. The derivation is
bounded by the record's types, so that a planted record cannot use up the machine's memory.
"""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from functools import lru_cache

from dagster_beiwe.environment import BEIWE_LAKE_PASSPHRASE
from dagster_beiwe.errors import IntegrityError, WrongPassphraseError
from dagster_beiwe.lake.catalog.authentication import Authenticator
from dagster_beiwe.lake.catalog.records import KIND, Begin, Head, decode, decode_unproven, encode

LOG2_N = 15
"""Making the key of a new log costs scrypt 2 to this power: a tenth of a second of a processor, and 32 MB."""

_KEPT_KEYS = 64
_MAX_MEMORY_BYTES = 192 * 1024 * 1024


def new_log(
    study: str,
    passphrase: str | None,
    now: datetime,
    *,
    log2_n: int | None = None,
    former: tuple[str, Head] | None = None,
) -> tuple[Authenticator, bytes]:
    """The key and the first record of a new log, whose key costs scrypt 2 to the power ``log2_n`` (``LOG2_N``).

    ``former`` is the lineage and head that a rekeyed one comes from.
    """
    record = Begin(
        number=0,
        previous="",
        time=now,
        study=study,
        lineage=os.urandom(16).hex(),
        salt=os.urandom(16).hex(),
        log2_n=log2_n or LOG2_N,
        former_lineage=former[0] if former else None,
        former=former[1] if former else None,
    )
    authenticator = _authenticator(record, passphrase)
    return authenticator, encode(authenticator, record)


def open_log(data: bytes, study: str, passphrase: str | None, *, name: str, place: str) -> tuple[Authenticator, Begin]:
    """The key of a log whose first record has these bytes.

    Raises ``WrongPassphraseError`` if the passphrase is not the one it was written with, or one is given or missing
    where it was the other way round, ``IntegrityError`` for a record of something else.
    """
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


def _authenticator(record: Begin, passphrase: str | None) -> Authenticator:
    if passphrase is None:
        return Authenticator(None)
    return Authenticator(_derive(passphrase, bytes.fromhex(record.salt), record.log2_n, record.r, record.p))


@lru_cache(maxsize=_KEPT_KEYS)
def _derive(passphrase: str, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    """The MAC key. Kept while the process lives, as the passphrase is: sensors open the same studies again and again,
    and each derivation takes a tenth of a second of a processor."""
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=2**log2_n, r=r, p=p, maxmem=_MAX_MEMORY_BYTES, dklen=32)
