"""Files that are parsed together: the rows of each are those that it has alone."""

from __future__ import annotations

import tracemalloc
from datetime import datetime, timezone

import pandas as pd
import pyarrow as pa
import pytest

from dagster_beiwe.reading.columns import Columns
from dagster_beiwe.reading.frames import FrameBuilder, read_csv
from dagster_beiwe.reading.parsing import parse, parse_all
from dagster_beiwe.streams import stream_named

HOUR = datetime(2024, 3, 4, 12, tzinfo=timezone.utc)
MS = int(HOUR.timestamp()) * 1000
GPS = "timestamp,UTC time,latitude,longitude,altitude,accuracy"
PLAIN = f"{GPS}\n{MS},2024-03-04T12:00:00.000,42.1,-71.1,10,5.0\n{MS + 1},2024-03-04T12:00:00.001,,-71.1,10,5.0\n"
STRANGE = {
    "no line break at its end": PLAIN[:-1],
    "no row": GPS,
    "nothing": "",
    "an empty line": PLAIN.replace("\n", "\n\n"),
    "an empty line at its end": PLAIN + "\n",
    "a repeated time": f"{PLAIN}{MS + 2},2024-03-04T12:00:00.002,2024-03-04T12:00:00.002,42.1,-71.1,10,5.0\n",
    "a time less, another twice": f"{PLAIN}{MS},,1,2,3,4\n{MS},2024-03-04T12:00:00.000,2024-03-04T12:00:00.000,1,2,3\n",
    "a row that is cut": f"{PLAIN}{MS + 2},2024-03",
    "a value of another type": f"{PLAIN}{MS + 2},2024-03-04T12:00:00.002,north,-71.1,10,5.0\n",
    "another column": f"{GPS},speed\n{MS},2024-03-04T12:00:00.000,42.1,-71.1,10,5.0,1.5\n",
    "times in seconds": f"{GPS}\n{MS // 1000},2024-03-04T12:00:00.000,42.1,-71.1,10,5.0\n",
    "carriage returns": PLAIN.replace("\n", "\r\n"),
    "no header": PLAIN.partition("\n")[2],
}
FILES = [(each.encode(), MS) for strange in STRANGE.values() for each in (PLAIN, strange)]


@pytest.mark.parametrize("what", STRANGE)
def test_a_strange_file_among_others_is_read_as_alone(what: str) -> None:
    """Wherever it stands: nobody's rows become another's."""
    plain, strange = (PLAIN.encode(), MS), (STRANGE[what].encode(), MS)
    for files in ([plain, strange, plain], [strange, plain], [plain, plain, strange]):
        together = parse_all(files, stream_named("gps"), columns=None)
        assert list(together) == [parse(data, stream_named("gps"), columns=None, hour=hour) for data, hour in files]


def test_a_frame_of_many_files_has_the_rows_of_each() -> None:
    """With missing values in columns that only some have, as many rows as before, and the same types."""
    builder = FrameBuilder("gps")
    for number, (data, _) in enumerate(FILES):
        builder.add(data, participant=f"person{number:02}", time=HOUR)
    frame = builder.build(more=False)
    parts = [
        read_csv(data, "gps", hour=HOUR).frame.assign(participant=f"person{number:02}")
        for number, (data, _) in enumerate(FILES)
    ]
    expected = pd.concat(parts, ignore_index=True)
    expected["participant"] = pd.Categorical(expected["participant"], frame["participant"].cat.categories)
    pd.testing.assert_frame_equal(frame, expected[frame.columns], check_categorical=False)


def test_rows_that_were_handed_out_do_not_change() -> None:
    """What is added later is in the next frame only."""
    rows = Columns("gps", None)
    rows.append(read_csv(PLAIN.encode(), "gps").table)
    first = rows.frame(more=True)
    copy = first.copy()
    rows.append(read_csv(PLAIN.encode(), "gps").table)
    first.loc[0, "latitude"] = 0.0
    assert rows.frame()["latitude"].tolist()[::2] == copy["latitude"].tolist()[:1] * 2


def test_rows_become_a_frame_without_a_copy() -> None:
    """So that a frame fits into memory that has little more room than it takes."""
    builder = FrameBuilder("accelerometer")
    row = f"{MS},2024-03-04T12:00:00.000,unknown,0.1,0.2,0.3\n"
    builder.add(f"timestamp,UTC time,accuracy,x,y,z\n{row * 50_000}".encode(), participant="abcd1234", time=HOUR)
    assert builder.report.rows == 50_000
    in_arrow = pa.total_allocated_bytes()
    tracemalloc.start()
    frame = builder.build(more=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak + pa.total_allocated_bytes() - in_arrow < frame.memory_usage(deep=True).sum() / 20
