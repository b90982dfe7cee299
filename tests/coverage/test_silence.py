"""Who has stopped sending, read from coverage tables that are written down as text."""

from __future__ import annotations

from datetime import date, datetime, timezone

import pytest
from coverage_frames import coverage_frame

from dagster_beiwe.coverage import Enrollment, SilenceLimits, enrollments, find_silent

TODAY = date(2026, 3, 20)
SENT = datetime(2026, 3, 18, 9, tzinfo=timezone.utc)


def test_the_longest_silent_comes_first_and_today_does_not_count() -> None:
    """Two whole days without data are not three, however late it is today."""
    frame = coverage_frame({"anna": "##...?", "bert": "###..?", "cleo": "#....?"}, today=TODAY)
    found = find_silent(frame, {})
    assert [(each.participant, each.days_silent) for each in found] == [("cleo", 4), ("anna", 3)]
    assert found[1].last_data == date(2026, 3, 16)
    assert found[1].everything


def test_everybody_is_looked_at_in_studies_of_every_size() -> None:
    """Participants by streams are more than the smallest numbers hold, from seven participants on."""
    streams = ["gps", *(f"stream_{number}" for number in range(19))]
    frame = coverage_frame({f"p{number:03}": dict.fromkeys(streams, "#...?") for number in range(30)})
    assert len(find_silent(frame, {})) == 30


@pytest.mark.parametrize("rows_at_once", [1, 5, 1000])
def test_a_table_may_be_read_in_parts(rows_at_once: int) -> None:
    """The days of a stream, its files that wait, and its participants may lie in several of them."""
    frame = coverage_frame(
        {"anna": "##...?", "bert": {"gps": "#....?", "texts": "~     "}, "cleo": "#....+", "dora": "##    "},
        statuses={"dora": "eeerrr"},
        today=TODAY,
    )
    frame.loc[frame["participant"] == "anna", "waiting"] = range(6)
    found = find_silent(frame, {}, rows_at_once=rows_at_once)
    assert [(each.participant, each.last_data, each.days_silent, each.waiting) for each in found] == [
        ("bert", date(2026, 3, 15), 4, None),
        ("anna", date(2026, 3, 16), 3, 15),
    ]


def test_data_of_today_ends_the_silence() -> None:
    """A phone that came back this morning is not silent."""
    assert not find_silent(coverage_frame({"anna": "#....+"}), {})


def test_who_never_sent_anything_is_silent_since_enrollment() -> None:
    """There is no last day of data; the days before enrollment do not count."""
    frame = coverage_frame({"anna": "  ....?"}, statuses={"anna": "nneeeee"})
    (found,) = find_silent(frame, {})
    assert (found.last_data, found.days_silent, found.streams) == (None, 4, ("gps",))


def test_retired_withdrawn_and_not_yet_enrolled_participants_are_left_out() -> None:
    """Nobody expects anything of them."""
    frame = coverage_frame(
        {"anna": "#     ", "bert": "#     ", "cleo": "      "},
        statuses={"anna": "errrrr", "bert": "ewwwww", "cleo": "nnnnnn"},
    )
    assert not find_silent(frame, {})


def test_a_single_stream_can_be_silent() -> None:
    """Only it is named, with its own last day."""
    frame = coverage_frame({"anna": {"gps": "#....?", "accelerometer": "#####?", "texts": "~~~~~~"}})
    (found,) = find_silent(frame, {})
    assert (found.streams, found.everything, found.days_silent) == (("gps",), False, 4)


def test_a_stream_that_was_switched_off_or_on_lately_is_not_silent() -> None:
    """What the settings do not promise is not missed, and what they promise since yesterday only since then."""
    frame = coverage_frame({"anna": {"accelerometer": "######", "gps": "##    ", "gyro": "   ..?"}})
    assert not find_silent(frame, {})


def test_a_phone_that_promises_nothing_is_silent_if_nothing_comes() -> None:
    """As where the server does not tell its settings."""
    frame = coverage_frame({"anna": {"gps": "~     ", "texts": "~~    "}})
    (found,) = find_silent(frame, {})
    assert (found.streams, found.everything, found.days_silent) == (("gps", "texts"), True, 3)


def test_groups_have_limits_of_their_own() -> None:
    """Surveys are events: looked at if they are named, as a whole. 0 leaves a group out."""
    frame = coverage_frame(
        {"anna": {"accelerometer": "######", "gps": "#....?", "survey_answers": "~     ", "survey_timings": "  ~   "}}
    )
    silent = {group: find_silent(frame, {}, limits=SilenceLimits(groups={group: 3})) for group in ("gps", "surveys")}
    assert [each.streams for each in silent["gps"]] == [("gps",)]
    assert not find_silent(frame, {}, limits=SilenceLimits(groups={"gps": 0, "surveys": 3}))
    (found,) = find_silent(frame, {}, limits=SilenceLimits(groups={"gps": 0, "surveys": 2}))
    assert (found.streams, found.days_silent) == (("survey_answers", "survey_timings"), 2)


def test_an_iphone_is_not_asked_for_texts() -> None:
    """A limit for a group is about the streams that a phone's system has."""
    frame = coverage_frame({"anna": {"gps": "######", "texts": "      "}})
    limits = SilenceLimits(groups={"communication": 2})
    assert not find_silent(frame, {"anna": Enrollment(participant="anna", system="ios")}, limits=limits)
    assert find_silent(frame, {"anna": Enrollment(participant="anna", system="android")}, limits=limits)


def test_last_upload_and_heartbeat_come_from_the_roster() -> None:
    """A phone that uploads may still record nothing."""
    row = {"participant": "anna", "Status": "Inactive", "Last Upload": "2026-03-18T05:00:00.000000-04:00"}
    (found,) = find_silent(coverage_frame({"anna": "#....?"}), enrollments([row]))
    assert (found.last_upload, found.last_heartbeat) == (SENT, None)


def test_a_roster_tells_who_takes_part() -> None:
    """Somebody without a row in a table that others are in was withdrawn; without a table, everybody takes part."""
    rows: list[dict[str, str | None]] = [
        {"participant": "anna", "Status": "Permanently Retired", "Created On": "2026-03-01", "OS Type": "IOS"},
        {"participant": "bert", "Status": "Not Registered", "Created On": "2026-03-02"},
        {"participant": "cleo", "Status": None, "Created On": None},
    ]
    known = enrollments(rows)
    assert [each.status for each in known.values()] == ["retired", "not enrolled yet", "withdrawn"]
    assert (known["anna"].created, known["anna"].system) == (date(2026, 3, 1), "ios")
    assert enrollments([{"participant": "anna"}])["anna"].status == "enrolled"
