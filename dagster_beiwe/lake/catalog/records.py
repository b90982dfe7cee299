"""The records of a log: what each kind says. Frozen, and decoded strictly.

Records name no participant and no partition: only random tokens, so that nothing in the log links to a person after
the person's folder is gone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Struct

from dagster_beiwe.lake.catalog.authentication import Authenticator, parsed

KIND = "beiwe-log"

Number = Annotated[int, Meta(ge=0)]
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Token = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Nonce = Annotated[str, Meta(pattern=r"\A[0-9a-f]{8}\Z")]
WindowKey = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{0,64}\Z")]
AssetPath = Annotated[str, Meta(pattern=r"\A(?!/)(?:/?[A-Za-z0-9_%~-]{1,120}){0,40}\Z")]
Moment = Annotated[datetime, Meta(tz=True)]
SnapshotName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{1,64}\Z")]


class Head(NamedTuple):
    """A record as somebody has seen it: its number and the SHA-256 of its bytes."""

    number: Number
    digest: Digest


Former: TypeAlias = tuple[Token, Head]
"""The lineage of a log that another one continues, and its head then."""


class Proof(NamedTuple):
    """The files of all records up to ``number`` were read; ``digests`` tell how each folder of them was listed then."""

    number: Annotated[int, Meta(ge=-1)] = -1
    digests: tuple[bytes, ...] = ()


class Place(NamedTuple):
    """One window of a participant, or one partition of a table (whose ``window`` is empty)."""

    token: Token
    window: WindowKey = ""
    asset: AssetPath = ""


class Fixed(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the catalog's documents have in common."""


class Change(Fixed, frozen=True):
    """A new version of one window or table.

    ``base`` is the record that it was planned on; with ``nonce`` it names the file of the manifest, whose stored bytes
    have this size and hash. Windows of one participant may share a file: then it has ``file_bytes``, and the manifest
    starts at ``offset``. ``counts`` is the fingerprint of the server's counts, keyed by the participant's secret, and
    ``compared`` when the contents were last compared with the server's (seconds since 1970, 0 for never).
    """

    token: Token
    base: Number
    nonce: Nonce
    sha256: Digest
    size_bytes: Number
    window: WindowKey = ""
    asset: AssetPath = ""
    complete: bool = True
    counts: Annotated[str, Meta(max_length=400)] = ""
    compared: Number = 0
    offset: Number = 0
    file_bytes: Number = 0

    @property
    def place(self) -> Place:
        return Place(self.token, self.window, self.asset)


class Record(Fixed, frozen=True, kw_only=True, tag_field="kind"):
    """``previous`` is the hash of the record before, empty for the first."""

    number: Number
    previous: Annotated[str, Meta(pattern=r"\A(?:[0-9a-f]{64})?\Z")]
    time: Moment
    run: Annotated[str, Meta(max_length=100)] = ""


class Begin(Record, frozen=True, kw_only=True, tag="begin"):
    """The key file: how the MAC key comes from the passphrase.

    ``former`` is the head of the log that this one continues; ``earlier`` are those that that one came from.
    """

    study: Annotated[str, Meta(max_length=100)]
    lineage: Token
    salt: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    log2_n: Annotated[int, Meta(ge=10, le=17)]
    r: Annotated[int, Meta(ge=8, le=8)] = 8
    p: Annotated[int, Meta(ge=1, le=4)] = 1
    former_lineage: Token | None = None
    former: Head | None = None
    earlier: tuple[Former, ...] = ()

    @property
    def formers(self) -> tuple[Former, ...]:
        """The logs that this one continues, the newest first."""
        return ((self.former_lineage, self.former), *self.earlier) if self.former_lineage and self.former else ()


class Commit(Record, frozen=True, kw_only=True, tag="commit"):
    changes: tuple[Change, ...]


class Collect(Record, frozen=True, kw_only=True, tag="collect"):
    """Nothing planned before ``floor`` counts from here on, and ``dropped`` versions (each with its record) are gone.

    ``burnt`` are subjects whose folder held files of no version under their first names. A collector that was stopped
    may delete them a second time, so names up to the one given must not come again.
    """

    floor: Number
    dropped: tuple[tuple[Place, Number], ...] = ()
    burnt: tuple[tuple[Place, str], ...] = ()


class Purge(Record, frozen=True, kw_only=True, tag="purge"):
    """Everything of these subjects is withdrawn, in every state."""

    places: tuple[Place, ...]


class Snapshot(Record, frozen=True, kw_only=True, tag="snapshot"):
    """The state at record ``at`` stays readable. ``content`` is the digest of its plain content.

    ``taken_at`` is earlier than the record's time if another log was copied with its snapshots.
    """

    name: SnapshotName
    at: Head
    taken_at: Moment
    content: Annotated[str, Meta(max_length=64)] = ""
    participants: Number = 0
    files: Number = 0
    size_bytes: Number = 0


class Unsnapshot(Record, frozen=True, kw_only=True, tag="unsnapshot"):
    name: SnapshotName


class Accept(Record, frozen=True, kw_only=True, tag="accept"):
    """The log was restored from a backup on purpose: these heads are given up."""

    lost: tuple[Head, ...]


class Repair(Record, frozen=True, kw_only=True, tag="repair"):
    """Versions that cannot be read are taken out, so that the next run fetches them again."""

    places: tuple[Place, ...]


class Compare(Record, frozen=True, kw_only=True, tag="compare"):
    """The contents of these versions, each with its record, were the server's at ``compared`` (seconds since 1970)."""

    compared: Number
    windows: dict[Token, tuple[tuple[WindowKey, Number], ...]]


class Export(Record, frozen=True, kw_only=True, tag="export"):
    """Data of these participants was about to be written as plain files, as somebody asked for it.

    ``user`` and ``host`` are the system's, ``name`` is what they called themselves; none of the three is proven. ``at``
    is the state that was read, ``folder`` empty if the files were in memory for one command.
    """

    user: Annotated[str, Meta(max_length=100)]
    host: Annotated[str, Meta(max_length=100)]
    name: Annotated[str, Meta(max_length=100)] = ""
    at: Number
    tokens: tuple[Token, ...]
    streams: tuple[Annotated[str, Meta(max_length=100)], ...] = ()
    table: Annotated[str, Meta(max_length=200)] = ""
    start: Moment | None = None
    end: Moment | None = None
    form: Annotated[str, Meta(max_length=20)]
    folder: Annotated[str, Meta(max_length=1000)] = ""
    files: Number = 0
    size_bytes: Number = 0


AnyRecord = Begin | Commit | Collect | Purge | Snapshot | Unsnapshot | Accept | Repair | Compare | Export

_decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)
_encoder = msgspec.json.Encoder()


def encode(authenticator: Authenticator, record: AnyRecord) -> bytes:
    """The bytes of a record."""
    return authenticator.sign(KIND, _encoder.encode(record) + b"\n")


def decode(authenticator: Authenticator, data: bytes, *, name: str) -> AnyRecord:
    """The record in these bytes. Raises ``IntegrityError`` for any that this log's key did not make."""
    return parsed(_decoder, authenticator.body(KIND, data, name=name), name=name)


def decode_unproven(data: bytes, *, name: str) -> AnyRecord:
    """The record in these bytes, not authenticated: only for the first one, which says how to make the key."""
    return parsed(_decoder, data.partition(b"\n")[2], name=name)
