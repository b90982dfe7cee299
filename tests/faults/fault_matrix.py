"""The table of faults: what goes wrong, where, and what must come of it.

Tests and docs/reliability.md are made from it.

A fault hits an endpoint once, or for as long as anybody asks. What must come of it is one of:

- recovered: everything arrives all the same, without anybody's help
- an error by name: the call (or the run) ends with it, and what was committed before stays
- a hole: the bad hour is left open and named with that error; everything else of the run is committed
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
    """What must come of a fault. ``error`` is the name of an error class, empty where none comes."""

    kind: Literal["recovered", "error", "hole"]
    error: str = ""

    def __str__(self) -> str:
        return {"recovered": "recovered", "error": f"`{self.error}`", "hole": f"hole, `{self.error}`"}[self.kind]


Pair = tuple[Outcome, Outcome]
"""What comes of a fault that happens once, and of one that stays."""

GOOD = Outcome("recovered")
NEVER_SEEN: Pair = (GOOD, GOOD)


def _error(name: str) -> Outcome:
    return Outcome("error", name)


def _hole(name: str) -> Outcome:
    return Outcome("hole", name)


def _passes(name: str) -> Pair:
    """Waited out if it passes, and an error if it stays."""
    return GOOD, _error(name)


def _fails(name: str) -> Pair:
    """An error at once, because asking again would not change it."""
    return _error(name), _error(name)


def _left_open(name: str) -> Pair:
    """Asked for again in smaller pieces; only what never comes is left open."""
    return GOOD, _hole(name)


@dataclass(frozen=True, kw_only=True)
class ServerFault:
    """A fault of the server, or of what lies between.

    ``misbehaviour`` are the arguments of the simulator's ``misbehave``; empty means that nothing listens at all.
    ``answers`` is the outcome for endpoints that give JSON or text, ``downloads`` for get-data, ``downloads_v2`` for
    its second version where that ends differently; None where it does not apply. ``others`` are endpoints of another
    kind that end differently. ``versions`` are the get-data versions concerned, ``endpoints`` the names of the
    endpoints that answer, where it is not all of them.
    """

    name: str
    misbehaviour: Mapping[str, Any]
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


@dataclass(frozen=True, kw_only=True)
class MachineFault:
    """A fault on our side. ``check`` names the test that inflicts it, with its file where that is not
    ``test_fault_machine.py``; ``outcome`` says what it proves."""

    name: str
    check: str
    outcome: str


def _redirect(status: int) -> ServerFault:
    return ServerFault(
        name=f"redirect {status} to another host",
        misbehaviour={"what": "redirect", "status": status},
        answers=_fails("RedirectError"),
        downloads=_fails("RedirectError"),
        others={"page": _fails("AccessDeniedError")},
    )


def _busy(status: int) -> ServerFault:
    return ServerFault(
        name=f"status {status}",
        misbehaviour={"what": "status", "status": status},
        answers=_passes("ServerBusyError"),
        downloads=_passes("ServerBusyError"),
        others={"login": _fails("ServerBusyError")},
    )


def _cut(name: str, after_bytes: int | None, where: str, error: str) -> ServerFault:
    return ServerFault(
        name=f"body {name} {where}",
        misbehaviour={"what": "silent_cut" if "silently" in name else "cut", "after_bytes": after_bytes},
        downloads=_left_open(error),
    )


def _hostile(endpoint: str, title: str, body: str) -> ServerFault:
    return ServerFault(
        name=f"hostile JSON of {endpoint}: {title}",
        misbehaviour={"what": "wrong_json", "body": body},
        answers=_fails("BadAnswerError"),
        endpoints=(endpoint,),
    )


_KEPT = NEVER_SEEN
"""Hourly files that came before the fault are kept, and current servers then leave them out of the next try."""

_NO_CONNECTION = {"login": _fails("ConnectionFailedError")}  # ten wrong passwords lock an account: never repeated
_UNREAD = dict.fromkeys(("login", "probe", "hashes"), NEVER_SEEN)  # status and headers tell enough there

SERVER_FAULTS: tuple[ServerFault, ...] = (
    ServerFault(
        name="connection refused",
        misbehaviour={},
        answers=_passes("ConnectionFailedError"),
        downloads=_passes("ConnectionFailedError"),
        others={**_NO_CONNECTION, "page": _fails("ConnectionFailedError")},  # the login before it is what fails
    ),
    ServerFault(
        name="connection reset",
        misbehaviour={"what": "reset"},
        answers=_passes("ConnectionFailedError"),
        downloads=_passes("ConnectionFailedError"),
        others=_NO_CONNECTION,
    ),
    ServerFault(
        name="hangs before the headers",
        misbehaviour={"what": "hang", "seconds": 60},
        answers=_passes("ConnectionFailedError"),
        downloads=_passes("ConnectionFailedError"),
        others=_NO_CONNECTION,
    ),
    ServerFault(
        name="body trickles",
        misbehaviour={"what": "trickle", "piece_bytes": 512, "seconds": 0.001},
        answers=NEVER_SEEN,
        downloads=NEVER_SEEN,
    ),
    ServerFault(
        name="body cut visibly, half way",
        misbehaviour={"what": "cut"},
        answers=_passes("ConnectionFailedError"),
        downloads=_left_open("ConnectionFailedError"),
        others=_UNREAD,
    ),
    ServerFault(
        name="body cut silently, half way",
        misbehaviour={"what": "silent_cut"},
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
        misbehaviour={"what": "status", "status": 429, "retry_after": "77"},
        answers=_passes("ServerBusyError"),
        downloads=_passes("ServerBusyError"),
        others={"login": _fails("ServerBusyError")},
    ),
    ServerFault(
        name="status 500",
        misbehaviour={"what": "status", "status": 500},
        answers=_fails("ServerFailedError"),
        downloads=_left_open("ServerFailedError"),
        others={"hashes": NEVER_SEEN},  # the endpoint is broken on real servers and asked for nothing
    ),
    _busy(502),
    _busy(503),
    _busy(504),
    ServerFault(
        name="the operators' maintenance text",
        misbehaviour={"what": "maintenance"},
        answers=_passes("ServerBusyError"),
        downloads=_passes("ServerBusyError"),
        others={"login": _fails("ServerBusyError")},
    ),
    ServerFault(
        name="a network's HTML page with status 200",
        misbehaviour={"what": "html_200"},
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
        misbehaviour={"what": "wrong_json"},
        answers=_fails("BadAnswerError"),
        downloads=_left_open("ArchiveError"),
        others={"login": _fails("AccessDeniedError")},
    ),
    ServerFault(
        name="600,000 empty objects",
        misbehaviour={"what": "wrong_json", "body": EMPTY_OBJECTS},
        answers=_fails("BadAnswerError"),
        downloads=_left_open("ArchiveError"),
        others={"login": _fails("AccessDeniedError")},
    ),
    *(_hostile(*each) for each in HOSTILE_BODIES),
    ServerFault(
        name="wrong CRC of a member",
        misbehaviour={"what": "wrong_crc"},
        downloads=_left_open("DamagedMemberError"),
    ),
    ServerFault(
        name="hash of the registry differs, content the same twice",
        misbehaviour={"what": "hash_mismatch"},
        downloads=NEVER_SEEN,
    ),
    ServerFault(
        name="no registry",
        misbehaviour={"what": "missing_registry"},
        downloads=_left_open("TruncatedArchiveError"),
        downloads_v2=_KEPT,
    ),
    ServerFault(
        name="a member twice",
        misbehaviour={"what": "duplicate_members"},
        downloads=_left_open("HostileArchiveError"),
        downloads_v2=_KEPT,
    ),
    ServerFault(
        name="garbage instead of zstd",
        misbehaviour={"what": "zstd_garbage"},
        downloads=_left_open("DamagedMemberError"),
        versions=(2,),
    ),
    ServerFault(
        name="an object that the server can't read (v1: it aborts)",
        misbehaviour={"what": "poisoned_hour", "mode": "abort"},
        downloads=_left_open("ServerFailedError"),
    ),
    ServerFault(
        name="zip bomb, 16 GiB declared",
        misbehaviour={"what": "zip_bomb", "declared": True},
        downloads=NEVER_SEEN,  # asked for uncompressed instead
        versions=(2,),
    ),
    ServerFault(
        name="zip bomb, 16 GiB undeclared",
        misbehaviour={"what": "zip_bomb", "declared": False},
        downloads=_left_open("DamagedMemberError"),
        versions=(2,),
    ),
    *(
        ServerFault(
            name=f"hostile member name: {title}",
            misbehaviour={"what": "hostile_names", "names": (name,)},
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
        name="a file of an unknown stream",
        misbehaviour={"what": "unknown_stream"},
        downloads=_left_open("HostileArchiveError"),
        downloads_v2=_KEPT,
    ),
)

MACHINE_FAULTS: tuple[MachineFault, ...] = (
    MachineFault(
        name="disk full",
        check="disk_full",
        outcome="`LakeUnavailableError` that says to free space; nothing committed is lost; recovered by the next run",
    ),
    MachineFault(
        name="disk full at every single operation of a commit",
        check="tests/lake/test_commit.py::a_disk_that_fails_at_any_moment_is_named_and_loses_nothing",
        outcome="old version or new version, never a mixture",
    ),
    MachineFault(
        name="lake mounted read-only",
        check="read_only_lake",
        outcome="`LakeUnavailableError` before the first request; reading goes on",
    ),
    MachineFault(
        name="lake removed in mid-run",
        check="lake_removed",
        outcome="`LakeUnavailableError`; no new empty lake in its place",
    ),
    MachineFault(
        name="two runs begin a study at the same moment",
        check="study_begun_twice",
        outcome="one key file, whoever comes first; both complete",
    ),
    MachineFault(
        name="SIGTERM in the middle of a download",
        check="tests/faults/test_fault_kills.py::sigterm",
        outcome="committed windows stay; no plain file is left; the next run cleans up and completes",
    ),
    MachineFault(
        name="SIGKILL in the middle of a download",
        check="tests/faults/test_fault_kills.py::sigkill",
        outcome="committed windows stay; no plain file is left; the next run cleans up and completes",
    ),
    MachineFault(
        name="SIGKILL at every single operation of a commit",
        check="tests/lake/test_commit.py::a_run_that_dies_at_any_moment_of_a_commit_leaves_old_or_new",
        outcome="old version or new version, never a mixture",
    ),
    MachineFault(
        name="Dagster's event log locked for a while",
        check="tests/faults/test_fault_dagster.py::event_log_locked_briefly",
        outcome="recovered: Dagster waits",
    ),
    MachineFault(
        name="Dagster's event log locked for good",
        check="tests/faults/test_fault_dagster.py::event_log_locked",
        outcome="the run fails by Dagster's error; what was committed stays, and the next run records it",
    ),
    MachineFault(
        name="the phone's clock is wrong (1969, 1970, next year)",
        check="phone_clock_wrong",
        outcome="`out_of_range` fetches the files; until then they are counted as out of range; windows stay complete",
    ),
    MachineFault(
        name="our clock is wrong by ten years, both ways",
        check="our_clock_wrong",
        outcome="recovered: identity and order come from the server's hours and from the log",
    ),
    MachineFault(
        name="study names with unicode, slashes, line breaks, terminal escapes",
        check="hostile_study_names",
        outcome="asset keys stay plain, the lake's folders are ids; messages are one line",
    ),
    MachineFault(
        name="an object missing from the server's storage",
        check="missing_object",
        outcome="window committed without it (the server gives no sign); the server's own counts give it away",
    ),
)
