"""Beiwe's CSV files become DataFrames, whatever is in them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_beiwe.column_types import column_type, known_values
from dagster_beiwe.errors import ConfigurationError, TimeRangeError, UnknownStreamError
from dagster_beiwe.reading.frames import FrameBuilder, ParseReport, combine, read_csv
from dagster_beiwe.streams import STREAMS

TABLE_STREAMS = [name for name, stream in STREAMS.items() if not stream.audio]
HEADERS = [(name, header) for name in TABLE_STREAMS for header in STREAMS[name].known_headers]
NOON = datetime(2024, 3, 1, 12, tzinfo=timezone.utc)
NOON_MS = 1_709_294_400_000
GPS = "timestamp,UTC time,latitude,longitude,altitude,accuracy"
LOG = "timestamp,UTC time,event"
SAMPLES = {"integer": "42", "number": "-0.25", "text": "some text", "time": "2024-03-01T12:00:00.000"}


def sample(stream: str, column: str) -> str:
    return min(known_values(stream, column) or {SAMPLES[column_type(stream, column)]})


def csv_file(*lines: str) -> bytes:
    """A file as the server writes it: no newline after the last line."""
    return "\n".join(lines).encode()


def gps_row(seconds: float = 0, **changed: str) -> str:
    moment = NOON + timedelta(seconds=seconds)
    milliseconds = NOON_MS + int(seconds * 1000)
    cells = {"timestamp": str(milliseconds), "UTC time": moment.isoformat(timespec="milliseconds")[:-6]}
    cells |= {"latitude": "10.5", "longitude": "-20.25", "altitude": "3", "accuracy": "12.0"} | changed
    return ",".join(cells.values())


def expected_kind(stream: str, column: str) -> str:
    return {"integer": "Int64", "number": "float64", "time": "datetime64[ms, UTC]"}.get(
        column_type(stream, column), "text"
    )


def kind(dtype: object) -> str:
    return "text" if isinstance(dtype, pd.StringDtype) else str(dtype)


@pytest.mark.parametrize(("stream", "header"), HEADERS)
def test_every_known_header_is_read(stream: str, header: tuple[str, ...]) -> None:
    """Both platforms' headers of all streams give the catalog's types, and every column of the stream."""
    row = [sample(stream, column) for column in header]
    parsed = read_csv(csv_file(",".join(header), ",".join(row), ",".join(row)), stream)
    assert (parsed.repaired_rows, parsed.unreadable_values, parsed.undecodable_bytes) == (0, 0, 0)
    assert parsed.corrected_times == 2 * ("timestamp" in header), "the sample's two times differ"
    frame = parsed.frame
    assert set(frame.columns) == {name for known in STREAMS[stream].known_headers for name in known}
    assert {name: kind(frame.dtypes[name]) for name in frame.columns} == {
        name: expected_kind(stream, name) for name in frame.columns
    }
    assert frame[list(header)].notna().all(axis=None)
    assert frame.drop(columns=list(header)).isna().all(axis=None)
    assert len(frame) == 2


@pytest.mark.parametrize("stream", TABLE_STREAMS)
def test_an_empty_result_has_the_same_columns_and_types(stream: str) -> None:
    """No file, an empty file and a bare header concatenate with everything else."""
    header = STREAMS[stream].columns
    row = [sample(stream, column) for column in header]
    full = read_csv(csv_file(",".join(header), ",".join(row)), stream).frame
    for empty in (combine([], stream), read_csv(b"", stream).frame, read_csv(csv_file(",".join(header)), stream).frame):
        assert list(empty.dtypes.items()) == list(full.dtypes.items())
        assert len(empty) == 0
        assert pd.concat([empty, full]).dtypes.equals(full.dtypes)


def test_values_are_what_the_file_says() -> None:
    """Numbers, both forms of the time, and empty values."""
    frame = read_csv(csv_file(GPS, gps_row(), gps_row(1.5, altitude="", accuracy="1e-3")), "gps").frame
    assert frame["timestamp"].tolist() == [NOON_MS, NOON_MS + 1500]
    assert frame["UTC time"].tolist() == [pd.Timestamp(NOON), pd.Timestamp(NOON) + pd.Timedelta("1.5s")]
    assert frame["latitude"].tolist() == [10.5, 10.5]
    assert frame["accuracy"].tolist() == [12.0, 0.001]
    assert np.isnan(frame["altitude"][1])


def test_nothing_is_quoting_and_nothing_but_the_empty_text_is_missing() -> None:
    """Quotes, backslashes and words such as NA are what participants typed."""
    rows = [f"{NOON_MS},2024-03-01T12:00:00.000,{text}" for text in ('"', 'say "hi"', "\\", "NA", "null", "'", "")]
    parsed = read_csv(csv_file(LOG, *rows), "app_log")
    assert parsed.frame["event"].tolist()[:6] == ['"', 'say "hi"', "\\", "NA", "null", "'"]
    assert parsed.frame["event"].isna().tolist() == [False] * 6 + [True]
    assert parsed.unreadable_values == 0


def test_surplus_commas_belong_to_the_text_column_by_position() -> None:
    """``msg`` stands before other columns, which keep their values."""
    header = ",".join(STREAMS["ios_log"].columns)
    row = f"{NOON_MS},2024-03-01T12:00:00.000,launch,1,2,event,one, two, three,d1,d2,d3,d4"
    parsed = read_csv(csv_file(header, row), "ios_log")
    assert parsed.frame["msg"].tolist() == ["one, two, three"]
    assert parsed.frame[["event", "d1", "d4"]].to_numpy().tolist() == [["event", "d1", "d4"]]
    assert parsed.repaired_rows == 1


def test_a_surplus_that_no_text_can_hold_sets_the_row_aside() -> None:
    """Which of five numbers is not one of the four can't be known; an empty surplus is no cell."""
    parsed = read_csv(csv_file(GPS, gps_row(), gps_row(1) + ",9", gps_row(2) + ",,"), "gps")
    assert parsed.frame["timestamp"].tolist() == [NOON_MS, NOON_MS + 2000]
    assert parsed.frame["accuracy"].tolist() == [12.0, 12.0]
    assert (parsed.repaired_rows, parsed.set_aside_rows, parsed.unreadable_values) == (1, 1, 0)
    (row,) = parsed.set_aside
    assert (row.line, row.reason, row.text) == (3, "no fit", gps_row(1) + ",9")
    assert gps_row(1) not in repr(parsed)


def test_a_row_that_ends_early_keeps_its_whole_cells() -> None:
    """The last number of a row that was cut may lack digits; of one that ends in its first cell nothing is kept."""
    stamp = f"{NOON_MS},2024-03-01T12:00:00.000"
    parsed = read_csv(csv_file(GPS, gps_row(), f"{stamp},7.5,-20.2", str(NOON_MS)), "gps")
    assert parsed.frame["latitude"].tolist() == [10.5, 7.5]
    assert parsed.frame["longitude"].isna().tolist() == [False, True]
    assert (parsed.repaired_rows, parsed.set_aside_rows, parsed.unreadable_values) == (1, 1, 1)


cell = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n,"), max_size=6)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 10**15), st.lists(cell, min_size=1, max_size=4)), max_size=6))
def test_ragged_texts_make_a_round_trip(rows: list[tuple[int, list[str]]]) -> None:
    """However many commas a text has, it comes out whole and beside its own timestamp."""
    texts = [",".join(cells) for _, cells in rows]
    lines = [f"{time},2024-03-01T12:00:00.000,{text}" for (time, _), text in zip(rows, texts, strict=True)]
    parsed = read_csv(csv_file(LOG, *lines), "app_log")
    assert parsed.frame["timestamp"].tolist() == [time for time, _ in rows]
    assert parsed.frame["event"].fillna("").tolist() == texts
    assert parsed.repaired_rows == sum("," in text for text in texts)


@given(data=st.binary(max_size=200), stream=st.sampled_from(TABLE_STREAMS), headed=st.booleans())
def test_no_content_loses_a_file(data: bytes, stream: str, headed: bool) -> None:
    """Whatever a phone sent, every line that is no header is a row of the frame or set aside."""
    file = csv_file(",".join(STREAMS[stream].columns), "") + data if headed else data
    parsed = read_csv(file, stream)
    lines = sum(1 for line in file.split(b"\n") if line.strip(b"\r"))
    assert len(parsed.frame) + parsed.set_aside_rows in (lines, lines - 1)


def test_unreadable_values_are_counted_and_cost_only_themselves() -> None:
    """``unknown`` among numbers makes one value missing; the rest of the file keeps its types."""
    bad = gps_row(1, latitude="unknown", altitude="1_0")
    parsed = read_csv(csv_file(GPS, gps_row(), bad, "x,y,1,2,3,4"), "gps")
    assert parsed.frame["latitude"].isna().tolist() == [False, True]
    assert parsed.frame["altitude"].isna().tolist() == [False, True]
    assert parsed.frame["longitude"].tolist() == [-20.25, -20.25]
    assert (parsed.unreadable_values, parsed.set_aside_rows) == (2, 1)
    assert parsed.frame.dtypes.equals(combine([], "gps").dtypes)


def test_integers_may_be_written_as_numbers() -> None:
    """Some phones write ``5.0``; what is too large for 64 bits is unreadable."""
    header = "timestamp,UTC time,hashed MAC,RSSI"
    rows = [f"{NOON_MS},2024-03-01T12:00:00.000,aGFzaA==,{value}" for value in ("-5.0", "5.5", "9" * 19, "+7")]
    parsed = read_csv(csv_file(header, *rows), "bluetooth")
    assert parsed.frame["RSSI"].fillna(0).tolist() == [-5, 0, 0, 7]
    assert parsed.unreadable_values == 2


def test_undecodable_bytes_are_replaced_and_counted() -> None:
    """Text is passed through as the phone sent it, which need not be UTF-8."""
    parsed = read_csv(csv_file(LOG, f"{NOON_MS},2024-03-01T12:00:00.000,") + b"caf\xe9 \xff \xc3\xa9", "app_log")
    assert parsed.frame["event"].tolist() == ["caf\ufffd \ufffd é"]
    assert parsed.undecodable_bytes == 2


def test_only_a_newline_ends_a_line() -> None:
    """A carriage return inside a text is text; a file that somebody converted is read as well."""
    stamp = f"{NOON_MS},2024-03-01T12:00:00.000"
    assert read_csv(csv_file(LOG, f"{stamp},a\rb"), "app_log").frame["event"].tolist() == ["a\rb"]
    assert read_csv(f"{LOG}\r\n{stamp},a\r\n".encode(), "app_log").frame["event"].tolist() == ["a"]


def test_new_columns_are_kept_as_text() -> None:
    """A newer app may write columns that nobody knew, and repeat a name."""
    frame = read_csv(csv_file(f"{GPS},mood,mood", gps_row() + ",1,2"), "gps").frame
    assert frame[["mood", "mood'"]].to_numpy().tolist() == [["1", "2"]]


def test_files_of_both_platforms_combine() -> None:
    """iOS has a column more; where Android lacks it, it is missing."""
    android = read_csv(csv_file("timestamp,UTC time,event", "1,1970-01-01T00:00:00.001,on"), "power_state")
    ios = read_csv(csv_file("timestamp,UTC time,event,level", "2,1970-01-01T00:00:00.002,off,0.5"), "power_state")
    frame = combine([android, ios], "power_state")
    assert frame["event"].tolist() == ["on", "off"]
    assert frame["level"].fillna(-1).tolist() == [-1, 0.5]


@pytest.mark.parametrize("broken", [[], ["x,y"]], ids=["well-formed", "ragged"])
def test_columns_are_selected_in_the_order_asked_for(broken: list[str]) -> None:
    """The result is the same whichever parser a file needs."""
    file = csv_file(GPS, gps_row(), *broken)
    assert list(read_csv(file, "gps", columns=["longitude", "latitude"]).frame.columns) == ["longitude", "latitude"]
    frame = read_csv(file, "gps", columns=["longitude", "not there"]).frame
    assert frame["longitude"].tolist()[0] == -20.25
    assert len(frame) == 1
    assert frame["not there"].isna().all()


@pytest.mark.parametrize("columns", [None, ["latitude"]])
@pytest.mark.parametrize("broken", [[], ["x,y"]], ids=["well-formed", "ragged"])
def test_rows_are_selected_by_time(columns: list[str] | None, broken: list[str]) -> None:
    """Half-open, to the millisecond, and without showing a timestamp that was not asked for."""
    file = csv_file(GPS, *(gps_row(second, latitude=str(second)) for second in range(5)), *broken)
    start, end = NOON + timedelta(milliseconds=1000), NOON + timedelta(seconds=3)
    frame = read_csv(file, "gps", columns=columns, start=start, end=end).frame
    assert frame["latitude"].tolist() == [1.0, 2.0]
    assert ("timestamp" in frame) == (columns is None)
    later = read_csv(file, "gps", start=start + timedelta(microseconds=1)).frame
    assert later["latitude"].tolist() == [2.0, 3.0, 4.0]
    assert len(read_csv(file, "gps", start=NOON, end=NOON + timedelta(hours=1)).frame) == 5


def test_a_builder_says_where_rows_come_from() -> None:
    """Many files of several participants; the counts are in the report and beside the frame."""
    builder = FrameBuilder("gps")
    builder.add(csv_file(GPS, gps_row(), gps_row(1)), participant="bbbbbbbb")
    builder.add(csv_file(GPS), participant="cccccccc")
    builder.add(csv_file(GPS, gps_row(2), gps_row(3) + ",", "1,2"), participant="aaaaaaaa")
    frame = builder.build()
    assert frame["participant"].tolist() == ["bbbbbbbb"] * 2 + ["aaaaaaaa"] * 2
    assert list(frame["participant"].cat.categories) == ["bbbbbbbb", "cccccccc", "aaaaaaaa"]
    assert next(iter(frame)) == "participant"
    assert builder.report == ParseReport(files=3, rows=4, repaired_rows=1, set_aside_rows=1)
    assert frame.attrs["beiwe"] == {
        "files": 3,
        "rows": 4,
        "repaired_rows": 1,
        "set_aside_rows": 1,
        "unreadable_values": 0,
        "corrected_times": 0,
        "undecodable_bytes": 0,
        "missing_headers": 0,
    }
    builder.add(csv_file(GPS, gps_row(3)), participant="dddddddd")
    assert len(builder.build()) == 5


def test_answers_get_the_time_of_their_file() -> None:
    """``survey_answers`` has no time inside; files outside the range are left out."""
    builder = FrameBuilder("survey_answers", start=NOON, end=NOON + timedelta(hours=1))
    answers = csv_file(
        ",".join(STREAMS["survey_answers"].columns), "q1,radio_button,How?,a;b,well, thanks", "q2,text,Why?,,"
    )
    offset = timezone(timedelta(hours=5, minutes=30))
    builder.add(answers, participant="p", time=NOON.astimezone(offset), survey_id="s1")
    builder.add(answers, participant="p", time=NOON + timedelta(hours=1), survey_id="s1")
    builder.add(answers, participant="p", time=NOON - timedelta(seconds=1), survey_id="s1")
    builder.add(answers, participant="p")
    frame = builder.build()
    assert list(frame.columns[:3]) == ["participant", "file time", "survey id"]
    assert frame["file time"].isna().tolist() == [False, False, True, True]
    assert frame["file time"][0] == pd.Timestamp(NOON)
    assert str(frame["file time"].dtype) == "datetime64[ms, UTC]"
    assert frame["survey id"].tolist()[:2] == ["s1", "s1"]
    assert frame["survey id"].isna().tolist() == [False, False, True, True]
    assert frame["answer"].tolist()[0] == "well, thanks"
    assert frame["answer"].isna().tolist()[1]


@pytest.mark.parametrize("stream", TABLE_STREAMS)
def test_an_empty_builder_has_the_types_of_a_full_one(stream: str) -> None:
    """A participant without data gives a table of the same schema."""
    row = [sample(stream, column) for column in STREAMS[stream].columns]
    full = FrameBuilder(stream)
    full.add(csv_file(",".join(STREAMS[stream].columns), ",".join(row)), participant="p", time=NOON, survey_id="s")
    empty, filled = FrameBuilder(stream).build(), full.build()
    assert list(map(kind, empty.dtypes)) == list(map(kind, filled.dtypes))
    assert list(empty.columns) == list(filled.columns)
    assert len(empty) == 0


def test_columns_of_a_builder_are_those_asked_for() -> None:
    """Beside the origin of the rows; even none at all keeps the rows."""
    for columns in (["latitude"], []):
        builder = FrameBuilder("gps", columns=columns)
        builder.add(csv_file(GPS, gps_row(), gps_row(1)), participant="p")
        frame = builder.build()
        assert list(frame.columns) == ["participant", *columns]
        assert len(frame) == 2


def test_mistakes_are_named() -> None:
    """Unknown streams, recordings and naive times are errors before anything is read."""
    with pytest.raises(UnknownStreamError, match="accelerometer"):
        read_csv(b"", "Accelerometer")
    with pytest.raises(ConfigurationError, match="recordings"):
        FrameBuilder("ambient_audio")
    with pytest.raises(TimeRangeError, match=r"start .* has no time zone"):
        FrameBuilder("gps", start=NOON.replace(tzinfo=None))
    with pytest.raises(TimeRangeError, match=r"time .* has no time zone"):
        FrameBuilder("survey_answers").add(b"", participant="p", time=NOON.replace(tzinfo=None))
