"""Registries and requests: which entry belongs to which member, what to ask for, and what to say that is held."""

from __future__ import annotations

import base64
import hashlib
import json
import tracemalloc
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

import pytest
from core_helpers import DAY, HOUR, NOW, PERSON, START, STUDY, cells_of
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dagster_beiwe.errors import ArchiveError
from dagster_beiwe.lake import FileRecord
from dagster_beiwe.lake.staging import StagedFile
from dagster_beiwe.member_names import MemberName, parse_member_name
from dagster_beiwe.streams import STREAM_NAMES
from dagster_beiwe.sync import Cell, FetchPolicy
from dagster_beiwe.sync.registry import (
    RegistryEntry,
    hash_agrees,
    hash_name,
    pair,
    read_registry,
    registry_of,
    registry_size,
)
from dagster_beiwe.sync.requests import (
    DownloadRequest,
    consecutive,
    guess_hours,
    next_cells,
    requests_for,
)
from dagster_beiwe.windows import Window, windows_between

REQUEST = DownloadRequest(PERSON, Window(START, START + 7 * DAY), ("gps", "survey_answers"))


def answers(count: int) -> list[MemberName]:
    """Members of one second, as the server numbers them."""
    stem = f"{PERSON}/survey_answers/s1/{START + HOUR:%Y-%m-%d %H_%M_%S}+00_00"
    return [parse_member_name(f"{stem}{f'_{n}' if n > 1 else ''}.csv") for n in range(1, count + 1)]


def answer_key(milliseconds: int) -> str:
    return f"{STUDY}/{PERSON}/surveyAnswers/s1/{int((START + HOUR).timestamp()) * 1000 + milliseconds}.csv"


def gps(hour: int) -> MemberName:
    return parse_member_name(f"{PERSON}/gps/{START + hour * HOUR:%Y-%m-%d %H_%M_%S}+00_00.csv")


def gps_key(hour: int) -> str:
    return f"{STUDY}/{PERSON}/gps/{START + hour * HOUR:%Y-%m-%dT%H:%M:%S}.csv"


def record(key: str, hour: int = 1, *, stream: str = "gps", **facts: object) -> FileRecord:
    usual = FileRecord(
        key=key, member="m", path="p", stream=stream, survey_id=None, time=(START + hour * HOUR).isoformat(),
        size_bytes=1, md5="00" * 16, sha1="11" * 20, sha256="22" * 32, stored_size_bytes=1, stored_sha256="33" * 32,
        encryption="none", compression="zstd", first_seen="", fetched_at="", run_id="",
    )  # fmt: skip
    return replace(usual, **facts)


# Reading registries


def test_registries_keep_their_order_and_lose_the_prefix() -> None:
    """Entries come in the order of the members; keys are the identity without the storage prefix."""
    data = b'{"CHUNKED_DATA/b": "AAAA", "a": "", "c": null}'
    expected = [RegistryEntry("b", "AAAA"), RegistryEntry("a", ""), RegistryEntry("c", "")]
    assert read_registry(data, members=3) == expected
    assert read_registry(b" {} ", members=0) == []


@pytest.mark.usefixtures("deep_stack")
@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"null", b"1", b'"{}"', b"{", b"<html>", b"\xff\xfe", b'{"a": 1}', b'{"a": ["b"]}', b'{"a": {}}',
        b'{"a": {"b": "c"}}', b'[["a", "b"]]', b"[" * 100_000, b'{"a":' * 100_000, b'{"a": "%s"}' % (b"x" * 1000),
        b'{"a": "\\ud800"}', b'{"a": "b\\nc"}', b'{"a": true}',
    ],
)  # fmt: skip
def test_anything_else_is_no_registry(data: bytes) -> None:
    """Other documents, and values that can't be hashes, are refused."""
    with pytest.raises(ArchiveError):
        read_registry(data, members=3)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60) | st.dictionaries(st.text(), st.text() | st.none()).map(lambda one: json.dumps(one).encode())
)
def test_arbitrary_registries_are_read_or_refused(data: bytes) -> None:
    """Nothing but the one error, and what is read can be written into a manifest."""
    with suppress(ArchiveError):
        for entry in read_registry(data, members=3):
            entry.value.encode("ascii")


@pytest.mark.parametrize(
    "data",
    [
        b"{" + b",".join([b'"":""'] * 1_000_000) + b"}",
        b'{"a": {' + b",".join([b'"":""'] * 1_000_000) + b"}}",
        b'{"' + b"x" * 10_000_000 + b'": ""}',
    ],
    ids=["entries", "deeper", "bytes"],
)
def test_a_registry_is_bounded_by_what_the_archive_holds(data: bytes) -> None:
    """Parsed, it would take 27 times its size; it is refused before."""
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="too long for 3 members"):
        read_registry(data, members=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_registry_of_long_keys_fits() -> None:
    """And one of an old server that lists two files of each name."""
    entries = {f"{number:0240d}": "x" * 28 for number in range(4000)}
    assert len(read_registry(json.dumps(entries).encode(), members=2000)) == 4000


# Pairing


@given(order=st.permutations(range(4)))
def test_entry_n_belongs_to_member_n(order: list[int]) -> None:
    """Names of one second say nothing about which file is which; the order does."""
    entries = [RegistryEntry(answer_key(number), "") for number in order]
    assert pair(STUDY, answers(4), entries) == entries


def test_old_servers_list_what_they_leave_out() -> None:
    """With more entries than members, each member gets one that describes it."""
    entries = [RegistryEntry(gps_key(hour), "") for hour in (3, 1, 2)]
    assert pair(STUDY, [gps(2), gps(3)], entries) == [entries[2], entries[0]]


@pytest.mark.parametrize(
    ("members", "keys"),
    [
        ([gps(1)], []),
        ([gps(1)], [gps_key(2)]),
        ([gps(1), gps(2)], [gps_key(2), gps_key(1)]),
        ([gps(1), gps(2)], [gps_key(1), gps_key(3), gps_key(4)]),
        ([gps(1)], [f"{STUDY}/other/gps/{START + HOUR:%Y-%m-%dT%H:%M:%S}.csv"]),
        ([gps(1)], [f"{STUDY}/{PERSON}/gps/\ud800/{START + HOUR:%Y-%m-%dT%H:%M:%S}.csv"]),
        ([gps(1)], [f"{STUDY}/{PERSON}/gps/a\nb/{START + HOUR:%Y-%m-%dT%H:%M:%S}.csv"]),
        ([gps(1)], [f"{STUDY}/{PERSON}/gps/{'x' * 2000}/{START + HOUR:%Y-%m-%dT%H:%M:%S}.csv"]),
    ],
)
def test_what_does_not_belong_together_is_refused(members: list[MemberName], keys: list[str]) -> None:
    """Missing, exchanged and strange entries are not guessed at."""
    with pytest.raises(ArchiveError):
        pair(STUDY, members, [RegistryEntry(key, "") for key in keys])


def test_hashes_are_md5_or_sha1_or_unknown() -> None:
    """The server gives either; nothing given proves nothing wrong."""
    content = b"timestamp"
    md5, sha1 = hashlib.md5(content), hashlib.sha1(content)
    staged = StagedFile(
        path="gps/a.csv", size_bytes=9, md5=md5.hexdigest(), sha1=sha1.hexdigest(), sha256="", stored_size_bytes=9,
        stored_sha256="", encryption="none", compression="none",
    )  # fmt: skip
    for digest in (md5.digest(), sha1.digest()):
        assert hash_agrees(base64.b64encode(digest).decode(), staged)
        assert not hash_agrees(base64.b64encode(digest[::-1]).decode(), staged)
        assert not hash_agrees(digest.hex(), staged)
    assert hash_agrees("", staged)


# What is held


def test_held_files_are_told_by_short_key_and_sha1() -> None:
    """The SHA-1 of what is held, its MD5 where the server knows only that; nothing outside, nothing deleted."""
    held = [
        record("a"),
        record("b", known_by="md5"),
        record("c", 7 * 24),
        record("d", stream="wifi"),
        record("e", deleted_upstream_at=NOW.isoformat()),
    ]
    sha1 = base64.b64encode(b"\x11" * 20).decode()
    md5 = base64.b64encode(b"\x00" * 16).decode()
    assert registry_of([*held, record("c", known_by="md5", md5=None)], REQUEST) == {"a": sha1, "b": md5, "c": sha1}
    assert registry_of(held, REQUEST) == {"a": sha1, "b": md5}


def test_the_hash_that_a_server_knows_a_file_by_is_told_by_its_length() -> None:
    """MD5 or SHA-1 in base64; nothing listed tells nothing."""
    assert [hash_name("A" * length) for length in (24, 28, 0)] == ["md5", "sha1", None]


def test_the_size_of_a_registry_is_not_underestimated() -> None:
    """The bound holds for the body as it is sent, percent-encoded."""
    from urllib.parse import urlencode

    registry = {gps_key(hour): base64.b64encode(bytes([250 + hour % 5]) * 20).decode() for hour in range(500)}
    sent = len(urlencode({"registry": json.dumps(registry, separators=(",", ":"))}))
    assert sent * 0.95 < registry_size(registry) < sent * 1.4


# Requests


@given(hours=st.integers(1, 800), streams=st.integers(1, len(STREAM_NAMES)))
def test_halving_ends_at_every_hour_and_stream(hours: int, streams: int) -> None:
    """Cut again and again, a request falls into single hours of single streams, each once."""
    whole = DownloadRequest(PERSON, Window(START, START + hours * HOUR), STREAM_NAMES[:streams])
    request, steps = whole, 0
    while halves := request.halves():
        first, second = halves
        assert first.window.hours * len(first.streams) + second.window.hours * len(second.streams) == (
            request.window.hours * len(request.streams)
        )
        request, steps = halves[steps % 2], steps + 1
    assert (request.window.hours, len(request.streams)) == (1, 1)
    assert steps <= 16


def test_groups_are_consecutive_windows_of_one_participant() -> None:
    """A gap or another participant begins a new stretch; repeated cells count once."""
    one, two = cells_of("a", granularity="daily"), cells_of("b", granularity="daily")
    found = list(consecutive([*two, *one[:3], *one[5:], *one[:2]]))
    assert found == [one[:3], one[5:], two]


@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=30), limit=st.integers(1, 60))
def test_requests_cover_all_cells_within_their_size(sizes: list[int], limit: int) -> None:
    """Cells are taken in order while they fit, and a window that alone is too large is cut."""
    cells = [Cell(PERSON, window) for window in windows_between("daily", START, START + len(sizes) * DAY)]
    expected = dict(zip(cells, sizes, strict=True))
    policy = FetchPolicy(request_bytes=limit)

    def estimate(participant: str, window: Window) -> int:
        return sum(size for cell, size in expected.items() if window.start <= cell.window.start < window.end)

    left, covered = cells, []
    while left:
        taken = next_cells(left, estimate, 24, policy)
        assert len(taken) == 1 or sum(expected[cell] for cell in taken) <= limit
        requests = requests_for(taken, ("gps",), estimate, policy)
        assert all(one.window.end == other.window.start for one, other in pairwise(requests))
        assert (requests[0].window.start, requests[-1].window.end) == (taken[0].window.start, taken[-1].window.end)
        covered += taken
        left = left[len(taken) :]
    assert covered == cells


def test_unknown_sizes_are_approached_in_steps() -> None:
    """Empty time is passed over faster and faster; dense time is asked for in shorter requests."""
    policy = FetchPolicy(request_bytes=1000)
    assert guess_hours(hours=24, size_bytes=0, previous_guess=24, policy=policy) == 192
    assert guess_hours(hours=24, size_bytes=0, previous_guess=8000, policy=policy) == policy.longest_request_hours
    assert guess_hours(hours=24, size_bytes=12_000, previous_guess=24, policy=policy) == 2
    assert guess_hours(hours=24, size_bytes=10**9, previous_guess=24, policy=policy) == 1
    cells = cells_of(PERSON, granularity="daily", end=START + timedelta(days=9))
    assert len(next_cells(cells, lambda participant, window: None, 72, policy)) == 3
    assert len(next_cells(cells, lambda participant, window: None, 1, policy)) == 1
