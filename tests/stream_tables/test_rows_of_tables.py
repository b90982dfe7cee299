"""What stream tables make of the files of a window: pure, without a lake."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import BinaryIO

import pandas as pd

from dagster_beiwe.column_types import column_type
from dagster_beiwe.reading import RawFile, RawFiles, TimeRange
from dagster_beiwe.stream_tables.catalog import TABLES
from dagster_beiwe.stream_tables.definition import MadeTable, TableSources
from dagster_beiwe.stream_tables.framing import in_calendar
from dagster_beiwe.stream_tables.names import TableName, streams_of
from dagster_beiwe.stream_tables.sampling import hours_with_rows, sampling_rate
from dagster_beiwe.streams import STREAMS

ANNA = "anna0001"
NEW_YORK = "America/New_York"
EVENING = datetime(2024, 3, 9, 22, tzinfo=timezone.utc)
GPS = "timestamp,UTC time,latitude,longitude,altitude,accuracy"
CELLS = {"integer": "5", "number": "1.5", "text": "word"}


class OneWindow(RawFiles):
    """Files of one stream, given by their start and text."""

    def __init__(self, stream: str, *files: tuple[datetime, str], survey_id: str | None = None) -> None:
        super().__init__(TimeRange())
        self._texts = [text for _, text in files]
        self._files = [
            RawFile(
                participant=ANNA,
                window="2024-03-04",
                stream=stream,
                survey_id=survey_id,
                name=str(number),
                time=start,
                size_bytes=None,
                sha256=None,
            )
            for number, (start, _) in enumerate(files)
        ]

    @property
    def participants(self) -> list[str]:
        return [ANNA]

    def by_window(self) -> Iterator[tuple[str, str, Iterable[RawFile]]]:
        yield ANNA, "2024-03-04", self._files

    def content(self, file: RawFile) -> bytes:
        return self._texts[int(file.name)].encode()

    def open(self, file: RawFile) -> BinaryIO:
        return io.BytesIO(self.content(file))


def made(name: TableName, window: OneWindow, *, zone: str | None = NEW_YORK) -> MadeTable:
    return TABLES[name].make(TableSources(participant=ANNA, window=window, zone=zone, tables={}))


def times(moment: datetime) -> str:
    """The first two cells of a row."""
    return f"{int(moment.timestamp() * 1000)},{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}"


def gps(*moments: datetime, place: str = "42.3,-71.1,20.0,8.5") -> str:
    return "\n".join([GPS, *(f"{times(moment)},{place}" for moment in moments)])


def test_every_stream_with_rows_is_a_table() -> None:
    """And every column says what it holds."""
    assert {name for name in TABLES if streams_of(name) == (name,)} == {
        name for name, stream in STREAMS.items() if not stream.audio
    }
    assert all(text for table in TABLES.values() for _, text in table.columns.values())


def test_both_systems_fill_one_schema() -> None:
    """Whatever header a phone writes, and without any file, columns and types are the same."""
    for name, table in TABLES.items():
        if streams_of(name) != (name,):
            continue
        schema = {column: kind for column, (kind, _) in table.columns.items()}
        for header in (None, *STREAMS[name].known_headers):
            window = OneWindow(name)
            if header is not None:
                row = [times(EVENING), *(CELLS[column_type(name, column)] for column in header[2:])]
                cells = row if header[0] == "timestamp" else ["word"] * len(header)
                window = OneWindow(name, (EVENING, f"{','.join(header)}\n{','.join(cells)}"))
            frame = made(name, window).frame
            assert {column: str(kind) for column, kind in frame.dtypes.items()} == schema, name
            assert list(frame["UTC time"]) == [] if header is None else [pd.Timestamp(EVENING)]


def test_rows_are_in_order_of_time() -> None:
    """Across files; rows of one moment as they came, and those without a time last."""
    later = EVENING + timedelta(seconds=30)
    late_file = gps(EVENING, place="1.0,0,0,1").replace(times(EVENING), ",", 1)
    first = f"{gps(later, place='2.0,0,0,1')}\n{times(EVENING)},3.0,0,0,1\n{times(EVENING)},4.0,0,0,1"
    frame = made("gps", OneWindow("gps", (EVENING, late_file), (EVENING, first))).frame
    assert list(frame["latitude"]) == [3.0, 4.0, 2.0, 1.0]
    assert frame["UTC time"].isna().sum() == 1


def test_a_time_that_is_only_a_number_is_a_time() -> None:
    """Of a file without the text of it."""
    text = f"timestamp,latitude,longitude,altitude,accuracy\n{int(EVENING.timestamp() * 1000)},42.3,-71.1,20.0,8.5"
    assert list(made("gps", OneWindow("gps", (EVENING, text))).frame["UTC time"]) == [pd.Timestamp(EVENING)]


def test_local_times_follow_the_clock_of_the_zone() -> None:
    """On the day that the clock is put forward, and on the one that it is put back, when an hour comes twice."""
    spring = [datetime(2024, 3, 10, hour, 30, tzinfo=timezone.utc) for hour in (6, 7)]
    autumn = [datetime(2024, 11, 3, hour, 30, tzinfo=timezone.utc) for hour in (5, 6)]
    frame = made("gps", OneWindow("gps", (spring[0], gps(*spring, *autumn)))).frame
    assert [f"{local:%m-%d %H:%M}" for local in frame["local time"]] == [
        "03-10 01:30",
        "03-10 03:30",
        "11-03 01:30",
        "11-03 01:30",
    ]
    assert list(frame["time zone"]) == [NEW_YORK] * 4
    unknown = made("gps", OneWindow("gps", (spring[0], gps(*spring))), zone=None).frame
    assert unknown[["local time", "time zone"]].isna().all(axis=None)


def test_times_of_no_year_have_no_local_time() -> None:
    """A number may be damaged, or in other units. The row stays as it is."""
    for number in (1709942400000000, 2**63 - 1, -(2**63) + 1):
        row = f"{number},{EVENING:%Y-%m-%dT%H:%M:%S}.000,42.3,-71.1,20.0,8.5"
        frame = made("gps", OneWindow("gps", (EVENING, f"{gps(EVENING)}\n{row}"))).frame
        assert frame["local time"].notna().tolist() == [pd.Timestamp(EVENING) == time for time in frame["UTC time"]]
        assert len(in_calendar(frame["UTC time"]).dropna()) == 1
        alone = f"timestamp,latitude,longitude,altitude,accuracy\n{number},42.3,-71.1,20.0,8.5"
        (told,) = made("gps", OneWindow("gps", (EVENING, alone))).frame["UTC time"].astype("int64")
        assert told == number


def test_faulty_rows_are_counted() -> None:
    """What was repaired or set aside, and columns that the catalog does not know."""
    cut = gps(EVENING) + f"\n{times(EVENING)},42.3,-71.1"
    strange = f"{GPS},speed\n{times(EVENING)},42.3,-71.1,20.0,8.5,3\nnonsense"
    table = made("gps", OneWindow("gps", (EVENING, cut), (EVENING, strange)))
    assert len(table.frame) == 3
    assert {name: count for name, count in table.counts.items() if count} == {
        "repaired_rows": 1,
        "set_aside_rows": 1,
        "unreadable_values": 1,
        "columns_left_out": 1,
    }


def test_answers_have_the_time_in_the_name_of_their_file() -> None:
    """Their rows have none of their own."""
    text = "question id,question type,question text,question answer options,answer\nq1,slider,How?,min = 0,7"
    frame = made("survey_answers", OneWindow("survey_answers", (EVENING, text), survey_id="s1")).frame
    assert list(frame["UTC time"]) == [pd.Timestamp(EVENING)]
    assert frame.iloc[0][["survey id", "answer"]].to_list() == ["s1", "7"]


def test_the_sampling_rate_is_that_of_a_burst() -> None:
    """Pauses between bursts do not slow it down, and what was recorded twice does not speed it up."""
    starts = [EVENING + timedelta(minutes=10 * number) for number in range(9)]
    bursts = [start + timedelta(seconds=number / 5) for start in starts for number in range(50)]
    moments = pd.Series([*bursts, bursts[-1]])
    assert sampling_rate(moments) == 5.0
    assert hours_with_rows(moments) == 2
    assert sampling_rate(moments[:1]) is None
