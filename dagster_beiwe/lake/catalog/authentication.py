"""MACs of the catalog's documents: authenticated first, parsed afterwards."""

from __future__ import annotations

import hashlib
import hmac
from typing import NoReturn, TypeVar

import msgspec

from dagster_beiwe.errors import IntegrityError

_KEYED = b"hmac-sha256"
_PLAIN = b"none"
"""A digest instead of a MAC: finds accidents, not attacks. Refused wherever a key is there."""
_VERSION = b"1"
_LONGEST_LINE_BYTES = 200

T = TypeVar("T")


class Authenticator:
    """Makes and checks the MACs of one log's documents.

    A document is one line, ``<kind> <version> <algorithm> <hexadecimal>``, and the body that the MAC covers. The
    algorithm is named, so that another one can follow.
    """

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def __reduce__(self) -> NoReturn:
        raise TypeError("An Authenticator holds a key and cannot be pickled or copied. Open the study again instead.")

    @property
    def keyed(self) -> bool:
        return self._key is not None

    def sign(self, kind: str, body: bytes) -> bytes:
        """The document with this body."""
        start = b" ".join((kind.encode(), _VERSION, _KEYED if self.keyed else _PLAIN))
        return start + b" " + self._mac(start, body) + b"\n" + body

    def body(self, kind: str, data: bytes, *, name: str) -> bytes:
        """The body of a document, proven. ``name`` is for messages. Raises ``IntegrityError``."""
        line, _, body = data[:_LONGEST_LINE_BYTES].partition(b"\n")
        body = data[len(line) + 1 :]
        start, _, mac = line.rpartition(b" ")
        if start != b" ".join((kind.encode(), _VERSION, _KEYED if self.keyed else _PLAIN)):
            shown = line[:60].decode("ascii", "replace")
            raise IntegrityError(
                f"{name!r} does not start as a {kind} of this version and of this study's authentication, but with "
                f"{shown!r}. It was not read. A newer version wrote it (update dagster-beiwe), or it was replaced or "
                "damaged: restore it from a backup."
            )
        if not hmac.compare_digest(mac, self._mac(start, body)):
            raise IntegrityError(
                f"{name!r} does not have the MAC of its content. It was not read. It was changed or damaged after it "
                "was written: run `dagster-beiwe verify`, or restore it from a backup."
            )
        return body

    def _mac(self, start: bytes, body: bytes) -> bytes:
        data = start + b"\n" + body
        if self._key is None:
            return hashlib.sha256(data).hexdigest().encode()
        return hmac.new(self._key, data, hashlib.sha256).hexdigest().encode()


def parsed(decoder: msgspec.json.Decoder[T] | msgspec.msgpack.Decoder[T], body: bytes, *, name: str) -> T:
    """A body as its decoder reads it. Raises ``IntegrityError`` for other fields or types: a MAC proves no shape."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise IntegrityError(
            f"{name!r} is authentic, but its fields are not those of this version. It was not used. A newer version "
            "wrote it: update dagster-beiwe."
        ) from None


def digest(data: bytes) -> str:
    """The hash by which a record is chained, remembered and witnessed."""
    return hashlib.sha256(data).hexdigest()
