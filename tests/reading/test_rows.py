"""Every value comes into its own column or into none, whatever shape a row has."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_beiwe.column_types import column_type, known_values
from dagster_beiwe.reading.frames import ParsedFile, read_csv
from dagster_beiwe.reading.rows import Fitted, SetAside, fit_row
from dagster_beiwe.streams import STREAMS

TABLE_STREAMS = [name for name, stream in STREAMS.items() if not stream.audio]
T = 1_711_000_000_100
TIME = "2024-03-21T05:46:40.100"
GYRO = STREAMS["gyro"]
ANDROID, IOS = GYRO.known_headers


def fitted(stream: str, header: tuple[str, ...] | None, *cells: str) -> dict[str, str] | str:
    """What becomes of the cells behind the two times: the values by column, or why the row is set aside."""
    row = fit_row([str(T), TIME, *cells], header, STREAMS[stream])
    if isinstance(row, SetAside):
        return row.reason
    return {name: cell for name, cell in zip(row.columns[2:], row.cells[2:], strict=True) if cell}


@pytest.mark.parametrize("repeats", [1, 2, 3])
@pytest.mark.parametrize(
    ("stream", "cells"),
    [
        ("gps", {"latitude": "10.5", "longitude": "20.25", "altitude": "30.0", "accuracy": "5.0"}),
        ("accelerometer", {"accuracy": "unknown", "x": "0.11", "y": "0.12", "z": "0.88"}),
        ("power_state", {"event": "Locked"}),
        ("app_log", {"event": "Upload started, 3 files"}),
        ("bluetooth", {"hashed MAC": "aGFzaA==", "RSSI": "-61"}),
    ],
)
def test_a_repeated_time_is_taken_out(stream: str, cells: dict[str, str], repeats: int) -> None:
    """A server of March 2024 wrote ``UTC time`` up to four times."""
    texts = ",".join(cells.values()).split(",")
    assert fitted(stream, STREAMS[stream].columns, *[TIME] * repeats, *texts) == cells


def test_only_copies_of_its_own_time_are_taken_out() -> None:
    """Another time in a text is a text; behind a column that nobody knows a copy may be a value."""
    assert fitted("app_log", STREAMS["app_log"].columns, "2024-03-21T05:46:41.000") == {
        "event": "2024-03-21T05:46:41.000"
    }
    fork = ("timestamp", "UTC time", "scan time", "event")
    assert fitted("app_log", fork, TIME, "on") == {"scan time": TIME, "event": "on"}
    assert fitted("app_log", fork, TIME, TIME, "on") == "ambiguous"
    assert fitted("gps", STREAMS["gps"].columns, "2024-03-21T05:46:41.000", "1", "2", "3", "4") == "no fit"


@pytest.mark.parametrize(
    ("header", "cells", "expected"),
    [
        (IOS, ("3", "0.4", "0.5", "0.6"), {"accuracy": "3", "x": "0.4", "y": "0.5", "z": "0.6"}),
        (ANDROID, ("0.1", "0.2", "0.3"), {"x": "0.1", "y": "0.2", "z": "0.3"}),
        (ANDROID, ("unknown", "0.1", "0.2"), {"accuracy": "unknown", "x": "0.1"}),
        (IOS, ("unknown", "0.1", "0.2"), {"accuracy": "unknown", "x": "0.1"}),
        (ANDROID, ("0.1", "0.2", "0.3", ""), {"x": "0.1", "y": "0.2", "z": "0.3"}),
        (None, ("0.1", "0.2", "0.3"), {"x": "0.1", "y": "0.2", "z": "0.3"}),
        (None, ("3", "0.4", "0.5", "0.6"), {"accuracy": "3", "x": "0.4", "y": "0.5", "z": "0.6"}),
        # All of iOS's three numbers, or Android's accuracy and two of its numbers:
        (ANDROID, ("3", "0.4", "0.5"), "ambiguous"),
        (IOS, ("3", "0.4", "0.5"), "ambiguous"),
        (IOS, ("7.5", "0.4", "0.5", "0.6"), "no fit"),
    ],
)
def test_the_other_systems_header_is_tried(
    header: tuple[str, ...] | None, cells: tuple[str, ...], expected: dict[str, str] | str
) -> None:
    """Android's gyro has an accuracy, iOS's has not; an hour can hold rows of both under either header."""
    assert fitted("gyro", header, *cells) == expected


@pytest.mark.parametrize(
    ("os", "cells", "expected"),
    [
        (0, ("slider", "3", "changed"), {"answer": "3", "event": "changed"}),
        (0, ("free_response", "well", " thanks"), {"answer": "well, thanks"}),
        (0, ("Radio Button Question", "Yes", " often"), {"answer": "Yes, often"}),
        (1, ("free_response", "well", "changed"), {"answer": "well", "event": "changed"}),
        (1, ("free_response", "well", " thanks"), {"answer": "well, thanks"}),
        (1, ("slider", "3", "resumed"), {"answer": "3", "event": "resumed"}),
        (1, ("free_response", "a", " b", "changed"), {"answer": "a, b", "event": "changed"}),
        # A typed comma, or an answer and an event:
        (0, ("free_response", "well", "changed"), "ambiguous"),
        (1, ("free_response", "well", "thanks"), "ambiguous"),
        (0, ("free_response", "", ""), "ambiguous"),
        (0, ("free_response", "well", "chan"), "ambiguous"),
    ],
)
def test_typed_commas_and_events_are_told_apart(
    os: int, cells: tuple[str, ...], expected: dict[str, str] | str
) -> None:
    """iOS writes one of a few events behind the answer; only typed answers hold commas."""
    header = STREAMS["survey_timings"].known_headers[os]
    found = fitted("survey_timings", header, "q1", "S1", cells[0], "Text", "Options", *cells[1:])
    if isinstance(expected, dict):
        known = dict(zip(header[2:7], ("q1", "S1", cells[0], "Text", "Options"), strict=True))
        assert found == {**known, **expected}
    else:
        assert found == expected


def test_a_row_in_the_middle_of_another_is_set_aside() -> None:
    """A line break inside a text leaves the rest of its row on a line of its own."""
    for stream in TABLE_STREAMS:
        header = STREAMS[stream].columns
        for cells in (["slept badly"], ["a", " b"], ["and more", "changed"]):
            assert isinstance(fit_row(cells, header, STREAMS[stream]), SetAside), stream


def test_decimal_commas_fit_nothing() -> None:
    """Twice as many cells, none of which says where a number ends."""
    assert fitted("gps", STREAMS["gps"].columns, *["10", "5", "-20", "25", "3", "0", "12", "5"]) == "no fit"
    assert (
        fitted("accelerometer", STREAMS["accelerometer"].columns, *["unknown", "0", "1", "0", "2", "0", "8"])
        == "no fit"
    )


def test_what_fits_as_it_stands_is_not_called_repaired() -> None:
    """Under its header, or without any."""
    cells = [str(T), TIME, "0.1", "0.2", "0.3"]
    assert fit_row(cells, IOS, GYRO) == fit_row(cells, None, GYRO) == Fitted(IOS, tuple(cells), repaired=False)


# Any mixture

NUMBERS = st.sampled_from(["0.5", "-0.25", "3", "0", "-1", "2.0", "1e-05", "-71.1", "120"])
INTEGERS = st.sampled_from(["0", "-61", "2412", "900"])
FRAGMENTS = ["well", "thanks", " then at 6", "3", "0.5", " b", "", TIME[:10]]
TEXTS = {
    "question type": ["slider", "free_response", "Radio Button Question", "Open Response Question", "mystery"],
    "model": ["iPhone14,7", "Model One"],
    "event": ["Locked", "Screen turned on", "upload"],
    "accuracy": sorted(known_values("gyro", "accuracy") or ()),
}


def value(stream: str, column: str) -> st.SearchStrategy[str]:
    kind = column_type(stream, column)
    if kind == "integer":
        return INTEGERS
    if kind == "number":
        return NUMBERS
    words = known_values(stream, column)
    return st.sampled_from(sorted(words) if words else TEXTS.get(column, ["aGFzaA==", "q1", "some text", ""]))


@st.composite
def a_row(draw: st.DrawFn, stream: str, number: int) -> tuple[str, dict[str, str], dict[str, str]]:
    """A row's text, the values that it holds by column, and the text that is left of a value that was cut."""
    shape = draw(st.sampled_from(STREAMS[stream].known_headers))
    moment = T + number
    row = {name: draw(value(stream, name)) for name in shape}
    if "timestamp" in row:
        when = datetime.fromtimestamp(moment / 1000, timezone.utc).isoformat(timespec="milliseconds")[:23]
        row |= {"timestamp": str(moment), "UTC time": when}
    else:
        row["question id"] = f"22222222-2222-4222-8222-{number:012d}"
    text = STREAMS[stream].text_column
    may_be_cut = draw(st.booleans())
    if text is not None and row.get("question type") not in ("slider", "Radio Button Question") and text != "model":
        if shape[-1] == text or not may_be_cut:
            row[text] = ",".join(draw(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=3)))
    elif may_be_cut and text == "model":
        row[text] = "Model One"
    cells = list(row.values())
    if "timestamp" in row:
        cells[2:2] = [row["UTC time"]] * draw(st.integers(0, 3))
    line = ",".join(cells)
    if may_be_cut:
        line = line[: draw(st.integers(1, len(line)))]
    return line, row, _left_of(line, cells, list(row))


def _left_of(line: str, cells: list[str], names: list[str]) -> dict[str, str]:
    """{column: text} of the cell that a cut line ends in."""
    whole, begun = 0, 0
    for position, cell in enumerate(cells):
        begun = whole
        whole += len(cell) + 1
        if len(line) < whole:
            repeats = len(cells) - len(names)
            return {names[max(position - repeats, min(position, 1))]: line[begun:]}
    return {}


def is_own(shown: Any, column: str, stream: str, row: dict[str, str], left: dict[str, str]) -> bool:
    """Whether a value of the frame is that of its row and column, or what is left of it."""
    kind = column_type(stream, column)
    if kind == "time":
        return int(shown.timestamp() * 1000 + 0.5) == int(row["timestamp"])
    texts = [row.get(column, ""), left.get(column, "")]
    if kind in ("integer", "number"):
        return any(float(text) == shown for text in texts if text not in ("", "-", "1e", "1e-"))
    return shown.rstrip(",") in [text.rstrip(",") for text in texts]  # "well," may be an answer and an empty event


def check(parsed: ParsedFile, stream: str, rows: list[tuple[str, dict[str, str], dict[str, str]]]) -> None:
    """Each row of the frame against the one it came from."""
    frame = parsed.frame
    key = "timestamp" if "timestamp" in frame else "question id"
    by_key = {int(row[key]) if key == "timestamp" else row[key]: (row, left) for _, row, left in rows}
    assert len(frame) + parsed.set_aside_rows == sum(1 for line, _, _ in rows if line)
    for record in frame.to_dict("records"):
        row, left = by_key[record[key]]
        for column, shown in record.items():
            if shown == shown and shown is not None and str(shown) != "<NA>":
                assert is_own(shown, str(column), stream, row, left), (column, shown)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_mixture_of_headers_and_rows(data: st.DataObject) -> None:
    """Rows of both systems, times repeated up to three times, commas in texts, rows that were cut, headers in the
    middle: each value is in its own column or in none, and no row is lost without being counted."""
    stream = data.draw(st.sampled_from(TABLE_STREAMS))
    shapes = [None, *STREAMS[stream].known_headers]
    headers = [data.draw(st.sampled_from(shapes)), data.draw(st.sampled_from(shapes))]
    blocks = [data.draw(st.integers(0, 4)) for _ in headers]
    separator = data.draw(st.sampled_from([",", ", "]))
    rows = [data.draw(a_row(stream, number)) for number in range(sum(blocks))]
    lines, left = [], list(rows)
    for header, count in zip(headers, blocks, strict=True):
        lines += [] if header is None else [separator.join(header)]
        lines += [line for line, _, _ in left[:count]]
        left = left[count:]
    file = "\n".join(lines).encode()
    parsed = read_csv(file, stream)
    check(parsed, stream, rows)
    names = list(parsed.table.column_names)
    if names:
        chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        part = read_csv(file, stream, columns=chosen)
        assert part.set_aside == parsed.set_aside
        assert part.repaired_rows == parsed.repaired_rows
        assert part.frame.equals(parsed.frame[chosen])
