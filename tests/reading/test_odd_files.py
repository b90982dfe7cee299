"""Files as they lie on disks: of old apps, of servers with a bug, merged, cut, converted, or of something else."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pandas as pd
import pytest

from dagster_beiwe.reading.frames import read_csv
from dagster_beiwe.streams import STREAMS

HOUR = datetime(2024, 3, 21, 5, tzinfo=timezone.utc)
T = 1_711_000_000_100
TIME = "2024-03-21T05:46:40.100"
GPS = "timestamp,UTC time,latitude,longitude,altitude,accuracy"
GPS_ROW = f"{T},{TIME},10.5,20.25,30.0,5.0"
PLACE = {"latitude": 10.5, "longitude": 20.25, "altitude": 30.0, "accuracy": 5.0}


def csv_file(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def places(data: bytes, rows: int = 1) -> pd.DataFrame:
    """The frame of a GPS file, all rows of which are at one place."""
    frame = read_csv(data, "gps").frame
    assert frame[list(PLACE)].to_dict("records") == [PLACE] * rows
    assert frame["timestamp"].tolist() == [T] * rows
    return frame


@pytest.mark.parametrize(
    "header",
    [
        GPS.replace(",", ", ").replace("UTC", " UTC"),
        f"\ufeff{GPS}",
        f"{GPS}\r",
        f"\n\n{GPS}",
    ],
    ids=["spaces of 2015", "byte order mark", "converted line ends", "blank lines above"],
)
def test_a_header_is_known_however_it_is_written(header: str) -> None:
    """The columns are the catalog's, also where they are chosen by name."""
    data = csv_file(header, GPS_ROW)
    assert list(places(data).columns) == GPS.split(",")
    assert read_csv(data, "gps", columns=["latitude"]).frame["latitude"].tolist() == [10.5]


def test_calls_of_old_apps_have_a_date() -> None:
    """It is the ``timestamp``."""
    row = f"{T},{TIME},aGFzaA==,Missed Call,8"
    frame = read_csv(csv_file("date,UTC time,hashed phone number,call type,duration in seconds", row), "calls").frame
    assert frame["timestamp"].tolist() == [T]
    assert "date" not in frame


def test_columns_go_by_their_names() -> None:
    """A fork's order, its own columns between ours, and a name twice."""
    data = csv_file("timestamp,UTC time,mood,longitude,latitude,mood", f"{T},{TIME},good,20.25,10.5,bad")
    frame = read_csv(data, "gps").frame
    (row,) = frame[["latitude", "longitude", "mood", "mood'"]].to_dict("records")
    assert row == {"latitude": 10.5, "longitude": 20.25, "mood": "good", "mood'": "bad"}
    assert frame["altitude"].isna().all()


def test_a_file_without_a_header_is_noticed() -> None:
    """Its rows are read where the catalog knows how; of a stream that it does not know none is."""
    data = csv_file(GPS_ROW, GPS_ROW)
    places(data, rows=2)
    assert read_csv(data, "gps").missing_headers == 1
    assert read_csv(csv_file(GPS, GPS_ROW), "gps").missing_headers == 0
    answers = read_csv(b"22222222-2222-4222-8222-222222222222,slider,Text,min = 0,3", "survey_answers")
    assert answers.missing_headers == 1
    assert answers.frame["answer"].tolist() == ["3"]


def test_merged_files_have_a_header_in_the_middle() -> None:
    """From there on it counts."""
    data = csv_file(
        GPS, GPS_ROW, "timestamp,UTC time,accuracy,longitude,latitude,altitude", f"{T},{TIME},5,20.25,10.5,30"
    )
    places(data, rows=2)
    assert read_csv(data, "gps").set_aside_rows == 0
    answers = ",".join(STREAMS["survey_answers"].columns)
    row = "22222222-2222-4222-8222-222222222222,slider,Text,min = 0,3"
    assert read_csv(csv_file(answers, row, answers, row), "survey_answers").frame["answer"].tolist() == ["3", "3"]


def test_every_iphone_has_a_comma_in_its_model() -> None:
    """The version of the app behind it is not part of it."""
    header = ",".join(STREAMS["identifiers"].columns)
    row = f"{T},{TIME},aaaa1111,none,h1,h2,iOS,18.1,iPhone,apple,none,apple,iPhone14,7,2025.10"
    frame = read_csv(csv_file(header, row), "identifiers").frame
    assert frame[["manufacturer", "model", "beiwe_version"]].to_numpy().tolist() == [["apple", "iPhone14,7", "2025.10"]]


def test_android_leaves_out_the_empty_end_of_a_row() -> None:
    """The first row of a survey has four cells of eight."""
    header = ",".join(STREAMS["survey_timings"].columns)
    first = f"{T},{TIME},Survey first rendered and displayed to user,ESBAWuEB7iux4jR3MBb4fwIG"
    parsed = read_csv(csv_file(header, first), "survey_timings")
    assert parsed.frame["survey id"].tolist() == ["ESBAWuEB7iux4jR3MBb4fwIG"]
    assert parsed.frame[["question type", "answer", "event"]].isna().all(axis=None)


def test_utc_time_follows_the_timestamp() -> None:
    """Servers did not pad milliseconds; an empty or another time is no better. Rows that agree are not counted."""
    times = [
        "2024-03-21T05:46:40.100",
        "2024-03-21T05:46:40.1",
        "2024-03-21T05:46:40.10",
        "",
        "2020-01-01T00:00:00.000",
    ]
    rows = [f"{T},{time},10.5,20.25,30.0,5.0" for time in times]
    data = csv_file(GPS, *rows, f"{T - 88},2024-03-21T05:46:40.12,10.5,20.25,30.0,5.0")
    parsed = read_csv(data, "gps")
    assert parsed.corrected_times == 3
    instants = parsed.frame["UTC time"].astype("int64").tolist()
    assert instants == parsed.frame["timestamp"].tolist() == [T] * 5 + [T - 88]


def test_a_row_without_timestamp_keeps_its_time() -> None:
    """Nothing better is known."""
    parsed = read_csv(csv_file(GPS, GPS_ROW.replace(str(T), "")), "gps")
    assert parsed.frame["UTC time"].tolist() == [pd.Timestamp(TIME, tz="UTC")]
    assert parsed.frame["timestamp"].isna().all()
    assert parsed.corrected_times == 0


def test_seconds_become_milliseconds_where_that_is_proven() -> None:
    """By the hour in the file's name, or by ``UTC time``; a phone whose clock began in 1970 is taken at its word."""
    seconds = T // 1000
    as_if_milliseconds = f"{seconds},1970-01-20T19:16:40.000,10.5,20.25,30.0,5.0"
    inside = read_csv(csv_file(GPS, as_if_milliseconds), "gps", hour=HOUR, start=HOUR, end=HOUR + timedelta(hours=1))
    assert inside.frame["timestamp"].tolist() == [seconds * 1000]
    assert inside.corrected_times == 1
    by_time = read_csv(csv_file(GPS, f"{seconds},2024-03-21T05:46:40.000,1,2,3,4"), "gps").frame
    assert by_time["timestamp"].tolist() == [seconds * 1000]
    alone = read_csv(csv_file(GPS, as_if_milliseconds), "gps")
    assert alone.frame["timestamp"].tolist() == [seconds]
    assert alone.corrected_times == 0


def test_nul_bytes_are_no_rows() -> None:
    """A disk that lost its power leaves them."""
    data = csv_file(GPS, GPS_ROW, "\0" * 40, GPS_ROW)
    places(data, rows=2)
    assert read_csv(data, "gps").set_aside_rows == 1


@pytest.mark.parametrize(
    ("stream", "os", "cells", "expected"),
    [
        ("accelerometer", 0, (TIME, "3", "0.1", "0.2"), {"accuracy": "3", "x": 0.1}),
        ("gyro", 0, ("0.1", "0.2", "0.3", ""), {"x": 0.1, "y": 0.2, "z": 0.3}),
        ("gyro", 1, ("3", "0.4", "0.5"), None),
        ("survey_timings", 1, ("q1", "S1", "free_response", "Text", "", "a", " b"), {"answer": "a, b"}),
        ("proximity", 0, (TIME,), {"event": None}),
        ("app_log", 0, (TIME[:7],), {"event": None}),
    ],
    ids=[
        "repeated time and cut",
        "comma at the end",
        "cut to the other length",
        "typed comma",
        "time",
        "part of a time",
    ],
)
def test_the_right_length_alone_proves_nothing(
    stream: str, os: int, cells: tuple[str, ...], expected: dict[str, object] | None
) -> None:
    """A file all rows of which are as long as its header is looked at, too, whichever column is chosen."""
    header = STREAMS[stream].known_headers[os]
    assert len(header) == 2 + len(cells)
    data = csv_file(",".join(header), ",".join([str(T), TIME, *cells]))
    for columns in (None, ["timestamp", *(expected or ["x"])]):
        parsed = read_csv(data, stream, columns=columns)
        assert parsed.set_aside_rows == (expected is None)
        for name, shown in (expected or {}).items():
            (found,) = parsed.frame[name].tolist()
            assert found == shown or (shown is None and pd.isna(found))


def test_what_is_chosen_does_not_change_what_is_read() -> None:
    """A row that only its other columns give away is treated the same."""
    header = "timestamp,UTC time,x,y,z"
    data = csv_file(header, f"{T},{TIME},unknown,0.1,0.2", f"{T},{TIME},0.3,0.4,0.5", f"{T},{TIME},3,0.4,0.5")
    whole = read_csv(data, "gyro")
    assert whole.frame["x"].tolist() == [0.1, 0.3]
    assert whole.set_aside_rows == 1
    for column in ("x", "y", "z", "UTC time"):
        assert read_csv(data, "gyro", columns=[column]).frame[column].equals(whole.frame[column])


def test_a_stream_that_nobody_knows_is_read_as_text() -> None:
    """By its header, with the two times as usual."""
    frame = read_csv(csv_file("timestamp,UTC time,role,x", f"{T},{TIME},user,12", ",,,,,,"), "ai_chat_logs").frame
    assert frame["timestamp"].tolist() == [T]
    assert frame["UTC time"].tolist() == [pd.Timestamp(TIME, tz="UTC")]
    assert frame[["role", "x"]].to_numpy().tolist() == [["user", "12"]]


def test_a_blank_header_names_no_column() -> None:
    """So there is none that a row could be assigned to."""
    parsed = read_csv(csv_file(" ", "a,b"), "ai_chat_logs")
    assert parsed.set_aside_rows == 1
    assert parsed.frame.empty
