"""The failure modes: what goes wrong, where, and what must happen.

Tests and docs/reliability.md are made from this table.

A fault hits an endpoint once, or every time. The outcome is one of:

- recovered: everything arrives, without anyone's help
- error: the call or the run ends with an error of this class, and everything committed before stays
- incomplete: the bad hour stays incomplete and is reported with this error; everything else of the run is committed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fault_bodies import EMPTY_OBJECTS, HOSTILE_BODIES

Times = Literal["once", "always"]
TIMES: tuple[Times, ...] = ("once", "always")


@dataclass(frozen=True)
class Outcome:
    """What must happen. ``error`` is the name of an error class, or empty."""

    kind: Literal["recovered", "error", "incomplete"]
    error: str = ""

    def __str__(self) -> str:
        return {"recovered": self.kind, "error": f"`{self.error}`", "incomplete": f"incomplete, `{self.error}`"}[
            self.kind
        ]


Pair = tuple[Outcome, Outcome]
"""The outcome of a fault that happens once, and of one that happens every time."""

GOOD = Outcome("recovered")
NEVER_SEEN: Pair = (GOOD, GOOD)


def _error(name: str) -> Outcome:
    return Outcome("error", name)


def _incomplete(name: str) -> Outcome:
    return Outcome("incomplete", name)


def _passes(name: str) -> Pair:
    """Retried: recovered if it passes, an error if it stays."""
    return GOOD, _error(name)


def _fails(name: str) -> Pair:
    """An error at once, because a retry would not help."""
    return _error(name), _error(name)


def _left_open(name: str) -> Pair:
    """Requested again in smaller ranges; only what never arrives stays incomplete."""
    return GOOD, _incomplete(name)


@dataclass(frozen=True, kw_only=True)
class ServerFault:
    """A fault of the server, or of the network between.

    ``kind`` is the failure mode that it is a case of: one row of the document. It is the ``name`` where it is left out.
    ``misbehavior`` are the arguments of the simulator's ``misbehave``; empty means that nothing listens at all.
    ``answers`` is the outcome for endpoints that give JSON or text, ``downloads`` for get-data, ``downloads_v2`` for
    its second version where that ends differently; None where it does not apply. ``others`` are endpoints of another
    kind that end differently. ``versions`` are the get-data versions concerned, ``endpoints`` the names of the
    endpoints that answer, where it is not all of them.
    """

    name: str
    kind: str = ""
    misbehavior: Mapping[str, Any]
    answers: Pair | None = None
    downloads: Pair | None = None
    downloads_v2: Pair | None = None
    others: Mapping[str, Pair] = field(default_factory=dict)
    versions: Sequence[int] = (1, 2)
    endpoints: Sequence[str] = ()

    def outcome(self, kind: str, times: Times) -> Outcome | None:
        """For an endpoint of a kind: ``answers``, ``downloads``, ``downloads v2``, or one of ``others``."""
        pairs = {"downloads": self.downloads, "downloads v2": self.downloads_v2 or self.downloads}
        pair = pairs[kind] if kind in pairs else self.others.get(kind, self.answers)
        return pair[TIMES.index(times)] if pair else None


_UNREACHABLE = "connection refused or reset, or no response before the read timeout"
_NOT_BEIWE = "not an answer of Beiwe: a network's HTML login page, wrong JSON, 600,000 empty objects"
_BUSY = "busy: status 429 with Retry-After, 502, 503, 504, or the maintenance page"


def _redirect(status: int) -> ServerFault:
    return ServerFault(
        name=f"redirect {status} to another host",
        kind="redirect to another host",
        misbehavior={"what": "redirect", "status": status},
        answers=_fails("RedirectError"),
        downloads=_fails("RedirectError"),
        others={"page": _fails("AccessDeniedError")},
    )


def _busy(status: int) -> ServerFault:
    return ServerFault(
        name=f"status {status}",
        kind=_BUSY,
        misbehavior={"what": "status", "status": status},
        answers=_passes("ServerBusyError"),
        downloads=_passes("ServerBusyError"),
        others={"login": _fails("ServerBusyError")},
    )


def _cut(name: str, after_bytes: int | None, where: str, error: str) -> ServerFault:
    return ServerFault(
        name=f"body {name} {where}",
        kind=f"body {name} at its start, in a member's name, or in a member",
        misbehavior={"what": "silent_cut" if "silently" in name else "cut", "after_bytes": after_bytes},
        downloads=_left_open(error),
    )


def _hostile(endpoint: str, title: str, body: str) -> ServerFault:
    return ServerFault(
        name=f"hostile JSON from {endpoint}: {title}",
        kind="hostile JSON: half characters, impossible dates and numbers, wrong types, deep nesting",
        misbehavior={"what": "wrong_json", "body": body},
        answers=_fails("BadAnswerError"),
        endpoints=(endpoint,),
    )


_KEPT = NEVER_SEEN
"""Hourly files that arrived before the fault are kept, and current servers leave them out of the retry."""

_NO_CONNECTION = {"login": _fails("ConnectionFailedError")}  # ten wrong passwords lock an account: never repeated
_UNREAD = dict.fromkeys(("login", "probe", "hashes"), NEVER_SEEN)  # status and headers tell enough there

SERVER_FAULTS: tuple[ServerFault, ...] = (
    ServerFault(
        name="connection refused",
        kind=_UNREACHABLE,
        misbehavior={},
        answers=_passes("ConnectionFailedError"),
        downloads=_passes("ConnectionFailedError"),
        others={**_NO_CONNECTION, "page": _fails("ConnectionFailedError")},  # the login before it is what fails
    ),
    ServerFault(
        name="connection reset",
        kind=_UNREACHABLE,
        misbehavior={"what": "reset"},
        answers=_passes("ConnectionFailedError"),
        downloads=_passes("ConnectionFailedError"),
        others=_NO_CONNECTION,
    ),
    ServerFault(
        name="no response before the read timeout",
        kind=_UNREACHABLE,
        misbehavior={"what": "hang", "seconds": 60},
        answers=_passes("ConnectionFailedError"),
        downloads=_passes("ConnectionFailedError"),
        others=_NO_CONNECTION,
    ),
    ServerFault(
        name="body arrives very slowly",
        misbehavior={"what": "trickle", "chunk_bytes": 512, "seconds": 0.001},
        answers=NEVER_SEEN,
        downloads=NEVER_SEEN,
    ),
    ServerFault(
        name="body cut halfway, visibly",
        misbehavior={"what": "cut"},
        answers=_passes("ConnectionFailedError"),
        downloads=_left_open("ConnectionFailedError"),
        others=_UNREAD,
    ),
    ServerFault(
        name="body cut halfway, silently",
        misbehavior={"what": "silent_cut"},
        answers=_fails("BadAnswerError"),
        downloads=_left_open("TruncatedArchiveError"),
        others=_UNREAD,
    ),
    _cut("cut visibly", 0, "before its first byte", "ConnectionFailedError"),
    _cut("cut visibly", 40, "inside a member's name", "ConnectionFailedError"),
    _cut("cut visibly", 200, "inside a member", "ConnectionFailedError"),
    _cut("cut silently", 0, "before its first byte", "TruncatedArchiveError"),
    _cut("cut silently", 40, "inside a member's name", "TruncatedArchiveError"),
    _cut("cut silently", 200, "inside a member", "TruncatedArchiveError"),
    ServerFault(
        name="status 429 with Retry-After",
        kind=_BUSY,
        misbehavior={"what": "status", "status": 429, "retry_after": "77"},
        answers=_passes("ServerBusyError"),
        downloads=_passes("ServerBusyError"),
        others={"login": _fails("ServerBusyError")},
    ),
    ServerFault(
        name="status 500",
        misbehavior={"what": "status", "status": 500},
        answers=_fails("ServerFailedError"),
        downloads=_left_open("ServerFailedError"),
        others={"hashes": NEVER_SEEN},  # the endpoint is broken on real servers and asked for nothing
    ),
    _busy(502),
    _busy(503),
    _busy(504),
    ServerFault(
        name="the operators' maintenance page",
        kind=_BUSY,
        misbehavior={"what": "maintenance"},
        answers=_passes("ServerBusyError"),
        downloads=_passes("ServerBusyError"),
        others={"login": _fails("ServerBusyError")},
    ),
    ServerFault(
        name="HTML login page of a network, with status 200",
        kind=_NOT_BEIWE,
        misbehavior={"what": "html_200"},
        answers=_fails("BadAnswerError"),
        downloads=_left_open("ArchiveError"),
        others={"login": _fails("AccessDeniedError")},
    ),
    _redirect(301),
    _redirect(302),
    _redirect(307),
    _redirect(308),
    ServerFault(
        name="wrong JSON",
        kind=_NOT_BEIWE,
        misbehavior={"what": "wrong_json"},
        answers=_fails("BadAnswerError"),
        downloads=_left_open("ArchiveError"),
        others={"login": _fails("AccessDeniedError")},
    ),
    ServerFault(
        name="600,000 empty objects",
        kind=_NOT_BEIWE,
        misbehavior={"what": "wrong_json", "body": EMPTY_OBJECTS},
        answers=_fails("BadAnswerError"),
        downloads=_left_open("ArchiveError"),
        others={"login": _fails("AccessDeniedError")},
    ),
    *(_hostile(*each) for each in HOSTILE_BODIES),
    ServerFault(
        name="member with a wrong CRC",
        misbehavior={"what": "wrong_crc"},
        downloads=_left_open("DamagedMemberError"),
    ),
    ServerFault(
        name="hash in the registry differs; the content is the same twice",
        misbehavior={"what": "hash_mismatch"},
        downloads=NEVER_SEEN,
    ),
    ServerFault(
        name="no registry",
        misbehavior={"what": "missing_registry"},
        downloads=_left_open("TruncatedArchiveError"),
        downloads_v2=_KEPT,
    ),
    ServerFault(
        name="duplicate member",
        misbehavior={"what": "duplicate_members"},
        downloads=_left_open("HostileArchiveError"),
        downloads_v2=_KEPT,
    ),
    ServerFault(
        name="garbage instead of a zstd frame",
        misbehavior={"what": "zstd_garbage"},
        downloads=_left_open("DamagedMemberError"),
        versions=(2,),
    ),
    ServerFault(
        name="object that the server cannot read (v1 aborts)",
        misbehavior={"what": "poisoned_hour", "mode": "abort"},
        downloads=_left_open("ServerFailedError"),
    ),
    ServerFault(
        name="zip bomb, 16 GiB declared",
        misbehavior={"what": "zip_bomb", "declared": True},
        downloads=NEVER_SEEN,  # asked for uncompressed instead
        versions=(2,),
    ),
    ServerFault(
        name="zip bomb, 16 GiB undeclared",
        misbehavior={"what": "zip_bomb", "declared": False},
        downloads=_left_open("DamagedMemberError"),
        versions=(2,),
    ),
    *(
        ServerFault(
            name=f"hostile member name: {title}",
            kind="hostile member name: a path that leads out, control characters, another participant's or hour's file",
            misbehavior={"what": "hostile_names", "names": (name,)},
            downloads=_left_open("HostileArchiveError"),
        )
        for title, name in (
            ("..", "../../outside.csv"),
            ("absolute", "/etc/outside.csv"),
            ("drive letter", "C:\\outside.csv"),
            ("backslashes", "..\\..\\outside.csv"),
            ("line break", "p2person/gps/line\nbreak.csv"),
            ("NUL", "p2person/gps/nul\x00byte.csv"),
            ("the lake's own folder", "p2person/.beiwe/2026-03-01.json"),
            ("another participant's file", "p1person/gps/2026-03-06 05_00_00+00_00.csv"),
            ("another hour's file", "p2person/gps/2026-02-01 05_00_00+00_00.csv"),
        )
    ),
    ServerFault(
        name="file of an unknown stream",
        misbehavior={"what": "unknown_stream"},
        downloads=_left_open("HostileArchiveError"),
        downloads_v2=_KEPT,
    ),
)
