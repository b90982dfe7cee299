"""JSON of a server that means harm: memory stays bounded, and nothing comes through that can't be written later."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from dagster_beiwe.client import answers
from dagster_beiwe.client.json_bodies import parse_json, parse_objects
from dagster_beiwe.errors import BadAnswerError

MB = 1_000_000


def peak_of(call: Callable[[], object]) -> int:
    """The most memory that a call had at one moment."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", [b"{}", b"[]", b"1", b'{"a":1}', b'""'])
def test_many_small_values_are_refused_before_they_grow(value: bytes) -> None:
    """An empty object of two characters takes 64 bytes, one with a name 184."""
    body = b"[" + b",".join([value] * (15 * MB // (len(value) + 1))) + b"]"

    def refused() -> None:
        with pytest.raises(BadAnswerError, match="at most"):
            parse_json(body, "route")

    assert peak_of(refused) < 10 * MB


def test_as_many_values_as_are_allowed_are_few() -> None:
    """The worst that passes."""
    body = b"[" + b",".join([b'{"a":[1.5]}'] * 160_000) + b"]"
    assert peak_of(lambda: parse_json(body, "route")) < 100 * MB


def test_a_table_of_ten_thousand_participants_passes() -> None:
    """With the columns of today."""
    row = b"{" + b",".join(b'"Column %d": "%025d"' % (number, number) for number in range(26)) + b"}"
    assert len(parse_json(b"[" + b",".join([row] * 10_000) + b"]", "route")) == 10_000


def test_an_array_without_end_is_refused() -> None:
    """Row by row there is a limit too."""

    def endless() -> Iterator[bytes]:
        yield b"["
        while True:
            yield b"{}," * 20_000

    with pytest.raises(BadAnswerError, match="at most"):
        sum(1 for _ in parse_objects(endless(), "route"))


@pytest.mark.parametrize(
    "body",
    [
        b'["\\ud800"]',
        b'{"\\udfff": 1}',
        b'[[{"a": ["x\\uD800y"]}]]',
        b"[" * 61 + b"]" * 61,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b"[NaN]",
        b"[-Infinity]",
        b"[" + b"9" * 5000 + b"]",
        b'["\xff"]',
        '["a"]'.encode("utf-16"),
        b'["\xed\xa0\x80"]',
    ],
)
def test_what_could_not_be_written_again_is_refused(body: bytes) -> None:
    """Halves of characters, depth without end, numbers that are none, other encodings."""
    with pytest.raises(BadAnswerError):
        parse_json(body, "route")


def test_characters_of_every_plane_pass() -> None:
    """Written as they are or as pairs of escapes, with a mark in front or without."""
    for body in ('\ufeff["\U0001f600"]'.encode(), b'["\\ud83d\\ude00"]'):
        assert parse_json(body, "route") == ["\U0001f600"]


@pytest.mark.parametrize("day", ["0001-01-01", "1899-12-31", "2200-01-01", "9999-12-31"])
def test_days_that_no_window_holds_are_refused(day: str) -> None:
    """One day more or less of them would be none."""
    with pytest.raises(BadAnswerError):
        answers.daily_bytes_from([{"participant_id": "a", "date": day}], "route", ["gps"])
    with pytest.raises(BadAnswerError):
        answers.table_from([{"Patient ID": "a", "Created On": day}], "route")


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "1800-01-01T00:00:00Z"])
def test_times_at_the_edges_of_the_calendar_are_refused(moment: str) -> None:
    """Their moment in UTC would be outside of it."""
    for read, name in ((answers.moments_from, "timestamp"), (answers.versions_from, "created_on")):
        with pytest.raises(BadAnswerError):
            read([{name: moment}], "route")


@pytest.mark.parametrize("created", [None, "", "to be asked", 7, "2024-05-01", "2024-05-01T10:00:00+02:00"])
def test_other_values_of_the_day_of_creation_pass(created: object) -> None:
    """A custom field of the same name shadows it."""
    rows = [{"Patient ID": "a", "Created On": created}]
    assert answers.table_from(rows, "route") == rows
