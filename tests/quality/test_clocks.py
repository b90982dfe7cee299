"""A phone's clock is compared with the server's: when a file was opened, and when it arrived."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from dagster_beiwe.quality.clocks import UPLOAD_COLUMNS, off_by_uploads
from dagster_beiwe.simulator import ParticipantPlan, StudyPlan, World
from dagster_beiwe.simulator.histories import uploads

KOLKATA = ZoneInfo("Asia/Kolkata")
NOON = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)
HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)

Moments = Iterable[tuple[datetime, datetime]]


def history(moments: Moments) -> pd.DataFrame:
    """Uploads of GPS: when each file was opened, and when it reached the server."""
    rows: list[tuple[Any, ...]] = [("upload", arrived, "gps", opened) for opened, arrived in moments]
    frame: pd.DataFrame = pd.DataFrame([*rows, ("heartbeat", NOON, None, None)], columns=list(UPLOAD_COLUMNS))
    return frame


def found(moments: Moments) -> dict[str, tuple[int, int]]:
    """{local day of the phone's clock: files uploaded ahead of their time, files of uploads that were all old}"""
    table = off_by_uploads(history(moments), KOLKATA)
    assert set(table["stream"]) <= {"gps"}
    days = table["day"].dt.strftime("%Y-%m-%d")
    return dict(zip(days, zip(table["uploaded_ahead"], table["uploaded_behind"], strict=True), strict=True))


def simulated(clock: timedelta) -> Moments:
    """The uploads of a phone whose clock is ahead, or behind if that is negative, over two days."""
    plan = ParticipantPlan(id="anna0001", clock=clock, start=NOON - 6 * DAY, end=NOON - 4 * DAY, streams=("gps",))
    person = World.build(StudyPlan(participants=(plan,)), now=NOON).participant("anna0001")
    for upload in uploads(person):
        opened_ms = int(upload.file_name.rpartition("/")[2].partition(".")[0])
        yield datetime.fromtimestamp(opened_ms / 1000, timezone.utc), upload.arrived


@pytest.mark.parametrize("clock", [timedelta(), 5 * MINUTE, -5 * MINUTE])
def test_phones_upload_what_they_recorded_before(clock: timedelta) -> None:
    """Clocks differ by some minutes."""
    assert found(simulated(clock)) == {}


def test_late_uploads_come_with_recent_ones() -> None:
    """A phone that was offline for days is not one whose clock is behind."""
    late = [(NOON - number * HOUR, NOON) for number in range(1, 99)]
    assert found(late) == {}
    assert sum(behind for _, behind in found(late[24:]).values()) == len(late) - 24


def test_a_file_dated_after_its_upload_shows_a_clock_that_is_ahead() -> None:
    """On the day that the phone believed in."""
    counts = found(simulated(3 * DAY))
    assert list(counts) == ["2026-02-26", "2026-02-27", "2026-02-28"]
    assert sum(ahead for ahead, _ in counts.values()) == 48
    assert found([(NOON + 11 * MINUTE, NOON)]) == {"2026-03-04": (1, 0)}


def test_uploads_of_which_nothing_is_recent_show_a_clock_that_is_behind() -> None:
    """If they are many: a single old file means nothing."""
    counts = found(simulated(-2 * DAY))
    assert sum(behind for _, behind in counts.values()) > 20
    assert {ahead for ahead, _ in counts.values()} == {0}
    assert found([(NOON - 3 * DAY, NOON)]) == {}
