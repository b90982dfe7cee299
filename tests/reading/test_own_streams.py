"""Streams that only some server has: read by their header, or opened as files."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from dagster_beiwe.errors import NotATableError, UnknownStreamError
from dagster_beiwe.reading.frames import FrameBuilder
from dagster_beiwe.reading.mano_tree import ManoTree
from dagster_beiwe.simulator.rows import ai_chat

HOUR = datetime(2024, 3, 21, 5, tzinfo=timezone.utc)
NAME = "2024-03-21 05_00_00+00_00"
T = 1_711_000_000_100  # 05:46:40
RING = f"timestamp,UTC time,PPG_red,PPG_IR\n{T},2024-03-21T05:46:40.100,1,2\n{T + 1},2024-03-21T05:46:40.101,3,4"


@pytest.fixture
def tree(tmp_path: Path) -> ManoTree:
    """One file of each of three streams: hourly, with the time in its name only, and no CSV."""
    chat = "\n".join(["speaker,message", *ai_chat(random.Random(1)), "participant,well, thanks"])
    for place, content in {
        f"omniring/{NAME}.csv": RING.encode(),
        f"ai_chat_logs/s1/{NAME}.csv": chat.encode(),
        f"image_survey/s1/{NAME}.csv": b"\xff\xd8\xff\xe0\0\x10JFIF",  # newer servers end every name in .csv
    }.items():
        path = tmp_path / "aaaa1111" / place
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return ManoTree(tmp_path)


def test_its_columns_are_text_beside_the_two_times(tree: ManoTree) -> None:
    """Types would be a guess."""
    frame = tree.read("omniring")
    assert frame["timestamp"].tolist() == [T, T + 1]
    assert frame["UTC time"].dt.second.tolist() == [40, 40]
    assert frame[["PPG_red", "PPG_IR"]].to_numpy().tolist() == [["1", "2"], ["3", "4"]]
    assert tree.read("omniring", columns=["PPG_IR"])["PPG_IR"].tolist() == ["2", "4"]


def test_it_may_be_hourly_or_not(tree: ManoTree) -> None:
    """Rows with a time are selected by it; others by the time in the name of their file."""
    inside = HOUR + timedelta(minutes=40)
    assert len(tree.read("omniring", start=inside)) == 2
    assert len(tree.read("omniring", end=inside)) == 0
    assert len(tree.read("ai_chat_logs", start=HOUR)) > 0
    assert len(tree.read("ai_chat_logs", start=inside)) == 0


def test_which_text_a_comma_belongs_to_is_not_guessed(tree: ManoTree) -> None:
    """Nothing is known of the columns, so the row is set aside; answers have the survey and the time of their file."""
    frame = tree.read("ai_chat_logs")
    assert set(frame["survey id"]) == {"s1"}
    assert set(frame["file time"]) == {HOUR}
    assert set(frame["speaker"]) <= {"assistant", "participant"}
    assert "participant,well, thanks" in [row.text for _, row in tree.set_aside("ai_chat_logs")]


def test_what_is_no_csv_opens_as_files(tree: ManoTree) -> None:
    """By its content: newer servers end every name in .csv."""
    with pytest.raises(NotATableError, match="image_survey holds files that are no CSV"):
        tree.read("image_survey")
    (file,) = tree.files("image_survey")
    with tree.open(file) as picture:
        assert picture.read(2) == b"\xff\xd8"
    for content in (b'{"messages": []}', b"[1, 2]", b"<html>", b"a\0b,c\n1,2"):
        with pytest.raises(NotATableError):
            FrameBuilder("ai_chat_logs").add(content, participant="aaaa1111")


def test_a_name_that_comes_close_to_a_known_one_is_refused(tree: ManoTree) -> None:
    """Unless there are files of it; one that no stream can have is refused in any case."""
    with pytest.raises(UnknownStreamError, match=r"Did you mean .gps.\?"):
        tree.read("gsp")
    assert len(tree.read("omniring")) == 2
    assert len(tree.read("some_other_stream")) == 0
    with pytest.raises(UnknownStreamError):
        tree.read("GPS")
