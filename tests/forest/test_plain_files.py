"""The plain files that Forest reads: what it could not read is written again, or left out and named."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest

from dagster_beiwe.forest.plain_files import Days, WrittenFiles, write_plain_files
from dagster_beiwe.reading import ManoTree
from dagster_beiwe.windows import Window

HOUR = datetime(2024, 3, 4, 12, tzinfo=timezone.utc)
END = datetime(2024, 3, 11, 5, tzinfo=timezone.utc)
SURVEY = "s" * 24
MS = int(HOUR.timestamp()) * 1000
GPS = f"timestamp,UTC time,latitude,longitude,altitude,accuracy\n{MS},2024-03-04T12:00:00.000,42.1,-71.1,10,5.0"
CALLS = (
    "timestamp,UTC time,hashed phone number,call type,duration in seconds\n"
    f"{MS},2024-03-04T12:00:00.000,aa==,Incoming Call,60"
)
TIMINGS = "timestamp,UTC time,question id,survey id,question type,question text,question answer options,answer"
TYPED = f"{TIMINGS}\n{MS},2024-03-04T12:00:00.000,q1,{SURVEY},Open Response Question,How are you?,,"

Written = Callable[..., tuple[Path, WrittenFiles]]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """The tree of these files of one participant: {path below the participant: content}."""

    def write(files: dict[str, str | bytes]) -> tuple[Path, WrittenFiles]:
        raw = tmp_path / "raw"
        for name, content in files.items():
            path = raw / "abcd1234" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        view = ManoTree(raw)
        tree = tmp_path / "tree"
        tree.mkdir()
        report = write_plain_files(view, list(view.files()), "abcd1234", tree, end=END)
        return tree / "abcd1234", report

    return write


def test_files_that_pandas_reads_are_as_they_were(written: Written) -> None:
    tree, report = written({"gps/2024-03-04 12_00_00+00_00.csv": GPS})
    assert (tree / "gps" / "2024-03-04 12_00_00+00_00.csv").read_text() == GPS
    assert report == WrittenFiles(files=1)


@pytest.mark.parametrize(
    ("answer", "read"), [(b"fine, but tired", "fine, but tired"), (b'"fine', '"fine'), (b"caf\xe9", "caf\ufffd")]
)
def test_what_forest_cannot_read_is_written_anew(written: Written, answer: bytes, read: str) -> None:
    """Unquoted commas, quotes that do not end, and bytes that are no text: its reader would skip the whole file."""
    name = f"survey_timings/{SURVEY}/2024-03-04 12_00_00+00_00.csv"
    tree, report = written({name: TYPED.encode() + answer})
    (row,) = csv.DictReader((tree / name).read_text().splitlines())
    assert row["answer"] == read
    assert (row["timestamp"], row["UTC time"]) == (str(MS), "2024-03-04T12:00:00.000")
    assert report.rewritten == [name]


@pytest.mark.parametrize("damage", [b"\xff\xfe rubbish\nmore, of, it", b"timestamp"], ids=["bytes", "half a header"])
def test_a_file_without_a_row_that_fits_is_left_out_and_named(written: Written, damage: bytes) -> None:
    name = "gps/2024-03-04 13_00_00+00_00.csv"
    tree, report = written({"gps/2024-03-04 12_00_00+00_00.csv": GPS, name: damage})
    assert not (tree / name).exists()
    assert (report.files, report.left_out) == (1, [name])


def test_recordings_are_copied(written: Written) -> None:
    name = f"audio_recordings/{SURVEY}/2024-03-04 12_00_05+00_00.mp4"
    tree, _ = written({name: b"\0\1"})
    assert (tree / name).read_bytes() == b"\0\1"


def test_the_last_hour_is_not_the_last_one_of_the_tree(written: Written) -> None:
    """Forest leaves out the newest hour of all folders, so there is a later one."""
    tree, _ = written({"gps/2024-03-04 12_00_00+00_00.csv": GPS})
    assert [path.name for path in (tree / "end").iterdir()] == ["2024-03-11 06_00_00+00_00.csv"]


def test_calls_without_texts_get_a_row_of_texts_after_the_days(written: Written) -> None:
    """Willow fails without a row in either."""
    tree, _ = written({"calls/2024-03-04 12_00_00+00_00.csv": CALLS})
    (texts,) = (tree / "texts").iterdir()
    assert pd.to_datetime(pd.read_csv(texts)["timestamp"], unit="ms", utc=True).tolist() == [END]
    assert len(list((tree / "calls").iterdir())) == 2


@pytest.mark.parametrize(
    ("zone", "hours"), [("America/New_York", 5), ("Asia/Kolkata", -5.5), ("UTC", 0)], ids=["west", "half past", "UTC"]
)
def test_the_days_of_a_window_are_those_of_its_dates_in_the_zone(zone: str, hours: float) -> None:
    """From midnight to midnight there, which is hours later or earlier in UTC."""
    monday = datetime(2024, 2, 5, tzinfo=timezone.utc)
    days = Days.of(Window(monday, monday + timedelta(days=7)), zone)
    assert days.days[0] == date(2024, 2, 5)
    assert days.days[-1] == date(2024, 2, 11)
    assert days.start == monday + timedelta(hours=hours)
    assert days.end == monday + timedelta(days=7, hours=hours)
