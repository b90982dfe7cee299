"""Named ways in which the server, or a proxy in front of it, misbehaves."""

from __future__ import annotations

import base64
import fnmatch
import math
import random
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, get_args

from dagster_beiwe.simulator.answers import HTML, JSON, Answer, html_page, refused
from dagster_beiwe.simulator.archives import Archive, Entry, bytes_member
from dagster_beiwe.simulator.content import zstd_bomb
from dagster_beiwe.simulator.files import StoredFile
from dagster_beiwe.simulator.forms import Request
from dagster_beiwe.simulator.zipping import Member

if TYPE_CHECKING:
    from typing_extensions import Self

Name = Literal[
    "cut",
    "duplicate_members",
    "hang",
    "hash_mismatch",
    "hostile_names",
    "html_200",
    "latency",
    "maintenance",
    "missing_object",
    "missing_registry",
    "poisoned_hour",
    "redirect",
    "reset",
    "silent_cut",
    "status",
    "trickle",
    "unknown_stream",
    "unpacked",
    "wrong_crc",
    "wrong_json",
    "zip_bomb",
    "zstd_garbage",
]
NAMES: tuple[str, ...] = get_args(Name)

HOSTILE_NAMES = (
    "../../outside.csv",
    "/etc/outside.csv",
    "C:\\outside.csv",
    "..\\..\\outside.csv",
    "participant/gps/line\nbreak.csv",
    "participant/gps/nul\x00byte.csv",
)
_MAINTENANCE = b"This server is currently undergoing maintenance, please try again later."
_ON_MEMBERS = frozenset(
    {
        "duplicate_members",
        "hash_mismatch",
        "hostile_names",
        "missing_object",
        "missing_registry",
        "poisoned_hour",
        "unknown_stream",
        "unpacked",
        "wrong_crc",
        "zip_bomb",
        "zstd_garbage",
    }
)


@dataclass(frozen=True, kw_only=True)
class Misbehavior:
    """One way to misbehave, and where.

    ``route`` is a glob on the path. ``participant``, ``stream`` and [``start``, ``end``) narrow it to downloads that
    cover such files (a participant also to that participant's histories). ``times`` is how often it happens, and
    ``lasts_seconds`` for how long; None means always. The rest depends on the name:

    - ``reset``: the connection is reset; ``hang``: nothing for ``seconds``, then the answer; ``latency``: the same,
      meant for small delays; ``trickle``: ``chunk_bytes`` at a time, ``seconds`` apart
    - ``cut``: the connection drops after ``after_bytes`` of the body (default: half); ``silent_cut``: the body ends
      there as if complete
    - ``status``: this ``status``, with ``retry_after`` if given; ``maintenance``: the operators' 503;
      ``html_200``: a page with status 200; ``redirect``: ``status`` (default 302) to ``location``
    - ``wrong_json``: the JSON text ``body`` instead of the response, with this ``status`` if given
    - ``wrong_crc``, ``hash_mismatch``, ``zstd_garbage``, ``zip_bomb`` (``size_bytes`` of zeros, ``declared`` or not),
      ``hostile_names`` (``names``): on the members in scope; ``duplicate_members``: the first of them twice
    - ``missing_registry``, ``unknown_stream`` (one more member), ``missing_object`` (members left out),
      ``unpacked`` (the same, but they are listed)
    - ``poisoned_hour``: a member that cannot be read; ``mode`` is ``abort`` or ``garbage`` (default: by version)
    """

    name: Name = field(kw_only=False)
    route: str = "*"
    participant: str | None = None
    stream: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    times: int | None = None
    lasts_seconds: float | None = None
    seconds: float = 0.05
    chunk_bytes: int = 64
    after_bytes: int | None = None
    status: int | None = None
    retry_after: str | None = None
    location: str = "https://elsewhere.example.org/"
    body: str = '"unexpected"'
    size_bytes: int = 16 << 30
    declared: bool = True
    names: Sequence[str] = HOSTILE_NAMES
    mode: Literal["abort", "garbage"] | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(
                f"There is no misbehavior {self.name!r}. Nothing was switched on. Choose one of {', '.join(NAMES)}."
            )

    @property
    def narrowed(self) -> bool:
        return not (self.participant is None and self.stream is None and self.start is None and self.end is None)

    def covers(self, file: StoredFile) -> bool:
        return (
            self.participant in (None, file.participant_id)
            and self.stream in (None, file.stream)
            and (self.start is None or file.bin >= self.start)
            and (self.end is None or file.bin < self.end)
        )

    def concerns(self, request: Request, archive: Archive | None) -> bool:
        if not fnmatch.fnmatchcase(request.route, self.route):
            return False
        if archive is None:
            in_history = self.stream is None and self.start is None and self.end is None
            about = not self.narrowed or (in_history and request.value("participant_id") == self.participant)
            return about and self.name not in _ON_MEMBERS
        if self.name in _ON_MEMBERS and (self.narrowed or self.name not in ("missing_registry", "unknown_stream")):
            return any(self.covers(entry.file) for entry in archive.entries)
        return not self.narrowed or any(self.covers(file) for file in archive.selected)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How the response is sent."""

    reset: bool = False
    delay_seconds: float = 0.0
    pause_seconds: float = 0.0
    chunk_bytes: int | None = None
    cut: bool = False
    silent_cut: bool = False
    cut_after_bytes: int | None = None

    @property
    def cuts(self) -> bool:
        return self.cut or self.silent_cut


@dataclass(kw_only=True)
class _Active:
    """A misbehavior that is on: how often it will still happen, and until when on the monotonic clock."""

    misbehavior: Misbehavior
    left: float
    until: float


@dataclass(kw_only=True)
class Mischief:
    """The active misbehaviors, and for how long each still is."""

    _active: dict[int, _Active] = field(default_factory=dict)
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, one: Misbehavior) -> Switch:
        left = math.inf if one.times is None else one.times
        until = math.inf if one.lasts_seconds is None else time.monotonic() + one.lasts_seconds
        with self._lock:
            self._next += 1
            self._active[self._next] = _Active(misbehavior=one, left=left, until=until)
            return Switch(self, self._next)

    def remove(self, number: int) -> None:
        with self._lock:
            self._active.pop(number, None)

    def clear(self) -> None:
        with self._lock:
            self._active.clear()

    def active(self) -> list[Misbehavior]:
        """The misbehaviors that are on."""
        with self._lock:
            self._drop_past()
            return [one.misbehavior for one in self._active.values()]

    def take(self, request: Request, archive: Archive | None) -> list[Misbehavior]:
        """The misbehaviors of this response; each counts as having happened once more."""
        with self._lock:
            self._drop_past()
            taken = [one for one in self._active.values() if one.misbehavior.concerns(request, archive)]
            for one in taken:
                one.left -= 1
        return [one.misbehavior for one in taken]

    def _drop_past(self) -> None:
        now = time.monotonic()
        self._active = {number: one for number, one in self._active.items() if one.left > 0 and now < one.until}


@dataclass(frozen=True)
class Switch:
    """Switches a misbehavior off again: ``off()``, or at the end of a ``with`` block."""

    _mischief: Mischief = field(repr=False)
    _number: int

    def off(self) -> None:
        self._mischief.remove(self._number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.off()


def apply(answer: Answer, misbehaviors: Sequence[Misbehavior]) -> tuple[Answer, Delivery]:
    """The response, and how it is sent, after the misbehaviors."""
    delivery = Delivery()
    for one in misbehaviors:
        if one.name in _ON_MEMBERS:
            if answer.archive is not None:
                answer = replace(answer, archive=_apply_to_archive(answer.archive, one))
        elif one.name == "reset":
            delivery = replace(delivery, reset=True)
        elif one.name in ("hang", "latency"):
            delivery = replace(delivery, delay_seconds=delivery.delay_seconds + one.seconds)
        elif one.name == "trickle":
            delivery = replace(delivery, pause_seconds=one.seconds, chunk_bytes=one.chunk_bytes)
        elif one.name in ("cut", "silent_cut"):
            delivery = replace(delivery, **{one.name: True}, cut_after_bytes=one.after_bytes)
        else:
            answer = _instead(one)
    return answer, delivery


def _instead(one: Misbehavior) -> Answer:
    if one.name == "maintenance":
        return Answer(status=503, body=_MAINTENANCE, chunked=True)
    if one.name == "html_200":
        return Answer(body=html_page("Please log in", "<p>This network needs you to log in first.</p>"))
    if one.name == "redirect":
        return Answer(status=one.status or 302, headers={"Location": one.location})
    if one.name == "wrong_json":
        return Answer(status=one.status or 200, body=one.body.encode(), content_type=JSON)
    answer = refused(one.status or 500)
    headers: dict[str, Any] = {"Retry-After": one.retry_after} if one.retry_after is not None else {}
    return replace(answer, headers=headers, content_type=HTML)


def _apply_to_archive(archive: Archive, one: Misbehavior) -> Archive:
    if one.name == "missing_registry":
        return replace(archive, with_registry=False)
    if one.name == "unknown_stream":
        owner = archive.selected[0].participant_id if archive.selected else "nobody"
        name = f"{owner}/moon_phase/2026-01-01 00_00_00+00_00.csv"
        return replace(archive, more=(*archive.more, bytes_member(name, b"timestamp,UTC time,phase")))
    if one.name == "missing_object":
        return replace(archive, entries=tuple(entry for entry in archive.entries if not one.covers(entry.file)))
    entries: list[Entry] = []
    for entry in archive.entries:
        if not one.covers(entry.file):
            entries.append(entry)
            continue
        changed = _apply_to_entry(entry, one, len(entries), zstd=archive.zstd)
        entries.append(changed)
        if one.name == "duplicate_members" and not any(one.covers(earlier.file) for earlier in entries[:-1]):
            entries.append(changed)
    return replace(archive, entries=tuple(entries))


def _apply_to_entry(entry: Entry, one: Misbehavior, number: int, *, zstd: bool) -> Entry:
    if one.name == "hash_mismatch":
        return replace(entry, value=lambda: _wrong_hash(entry.value()))
    if one.name == "hostile_names":
        return replace(entry, name=one.names[number % len(one.names)])
    if one.name == "poisoned_hour" and (one.mode or ("garbage" if zstd else "abort")) == "abort":
        return replace(entry, poisoned=True)
    if one.name == "unpacked":
        return replace(entry, name=None)
    if one.name == "wrong_crc":
        return replace(entry, alter=lambda member: replace(member, crc32=member.crc32 ^ 0xFFFFFFFF))
    if one.name == "zip_bomb" and zstd:
        bomb = zstd_bomb(one.size_bytes, declared=one.declared)
        return replace(entry, alter=lambda member: _other_bytes(member, bomb))
    if one.name in ("zstd_garbage", "poisoned_hour"):
        return replace(entry, alter=lambda member: _other_bytes(member, _garbage(member)))
    return entry


def _wrong_hash(listed: str | None) -> str | None:
    """Another hash of the same kind; None if there is none."""
    return listed and base64.b64encode(bytes(len(base64.b64decode(listed)))).decode()


def _other_bytes(member: Member, data: bytes) -> Member:
    return replace(member, size_bytes=len(data), crc32=zlib.crc32(data), chunks=lambda: (data,))


def _garbage(member: Member) -> bytes:
    return random.Random(member.name).randbytes(max(64, min(member.size_bytes, 1 << 20)))
