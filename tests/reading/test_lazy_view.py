"""The lazy view of raw data: what it lists, opens and reads."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from reading_helpers import ANDROID, IOS, START, STREAMS, WEEKS, cells_of, fill, stored_files, study_lake

from dagster_beiwe.lake import StudyLake
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.sync import Cell
from dagster_beiwe.windows import out_of_range_windows

DAY = timedelta(days=1)
TUESDAY = START + DAY


class OpenedFiles:
    """Notes which files are opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.members: list[str] = []
        for name in ("open", "read"):
            monkeypatch.setattr(StudyLake, name, self._noting(getattr(StudyLake, name)))

    def _noting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def noted(lake: StudyLake, participant: str, record: Any, **options: Any) -> Any:
            self.members.append(record.member)
            return original(lake, participant, record, **options)

        return noted


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> OpenedFiles:
    return OpenedFiles(monkeypatch)


def expected_rows(world: World, stream: str, *participants: str) -> int:
    """Lines that a server's files have after their headers."""
    files = (data for each in participants for data in stored_files(world, each, stream).values())
    return sum(data.decode().rstrip("\n").count("\n") for data in files)


def test_a_view_is_a_mapping_by_partition_key(view: BeiwePartitions) -> None:
    """Every window of every participant, participants in order, windows oldest first."""
    assert list(view) == [f"{each}|{week}" for each in (ANDROID, IOS) for week in WEEKS]
    assert len(view) == 6
    assert view.participants == [ANDROID, IOS]
    assert view.windows == WEEKS
    cell = view[f"{IOS}|{WEEKS[1]}"]
    assert (cell.participant, cell.window, cell.complete) == (IOS, WEEKS[1], True)
    assert {file.window for file in cell.files()} == {WEEKS[1]}


def test_files_are_listed_without_their_data(view: BeiwePartitions, shared_world: World, opened: OpenedFiles) -> None:
    """With name, time and size, and nothing is opened for it."""
    files = list(view.files("gps"))
    stored = stored_files(shared_world, ANDROID, "gps")
    assert [file.time for file in files if file.participant == ANDROID] == sorted(stored)
    assert all(file.size_bytes == len(stored[file.time]) for file in files if file.participant == ANDROID)
    assert files[0].name == "gps/2024-03-04 10_00_00+00_00.csv"
    assert opened.members == []


def test_an_opened_file_has_the_servers_bytes(view: BeiwePartitions, shared_world: World) -> None:
    """Also a recording, which can't be read as a table."""
    file = next(view.files("audio_recordings"))
    with view.open(file) as stream:
        data = stream.read()
    assert data == stored_files(shared_world, file.participant, "audio_recordings")[file.time]


@pytest.mark.parametrize("stream", [stream for stream in STREAMS if stream != "audio_recordings"])
def test_a_stream_is_one_frame_of_all_participants(view: BeiwePartitions, shared_world: World, stream: str) -> None:
    """No row is lost or invented, and every row says whose it is."""
    frame = view.read(stream)
    for participant in (ANDROID, IOS):
        assert (frame["participant"] == participant).sum() == expected_rows(shared_world, stream, participant)


def test_a_frame_has_types(view: BeiwePartitions) -> None:
    """Times are aware and in UTC, numbers are numbers, participants a category."""
    frame = view.read("gps")
    assert str(frame["UTC time"].dtype) == "datetime64[ms, UTC]"
    assert frame["timestamp"].dtype == pd.Int64Dtype()
    assert frame["latitude"].dtype == "float64"
    assert isinstance(frame["participant"].dtype, pd.CategoricalDtype)
    instants = frame["UTC time"].astype("int64").tolist()
    assert instants == frame["timestamp"].tolist()


def test_answers_with_commas_are_kept_and_counted(view: BeiwePartitions, shared_world: World) -> None:
    """Beiwe does not quote: answers with commas make rows longer than their header."""
    frame = view.read("survey_answers")
    assert frame.attrs["beiwe"]["repaired_rows"] > 0
    assert len(frame) == expected_rows(shared_world, "survey_answers", ANDROID, IOS)
    assert frame["file time"].notna().all()
    assert frame["survey id"].notna().all()


def test_rows_that_are_set_aside_can_be_had(server: SimulatedServer, lake: StudyLake) -> None:
    """With their file and line, from the lake; they are counted beside the frame, and no ``repr`` shows them."""
    hour = START + timedelta(hours=10)
    header, *rows = stored_files(server.world, ANDROID, "gps")[hour].split(b"\n")
    content = b"\n".join([header, rows[0], rows[1] + b",7", *rows[2:]])
    server.world.set_content(ANDROID, "gps", hour, content)
    fill(server, lake, cells_of(ANDROID, weeks=1))
    view = BeiwePartitions.of(lake)
    frame = view.read("gps", end=hour + timedelta(hours=1))
    assert len(frame) == len(rows) - 1
    assert frame.attrs["beiwe"]["set_aside_rows"] == 1
    ((file, row),) = view.set_aside("gps")
    assert (file.time, row.line, row.reason) == (hour, 3, "no fit")
    assert row.text.encode() == rows[1] + b",7"
    assert row.text not in repr(row)
    assert list(view.set_aside("gps", start=hour + timedelta(hours=1))) == []


def test_a_stream_without_files_gives_an_empty_frame_of_the_same_types(shared_lake: StudyLake) -> None:
    """So that code which counts rows needs no special case."""
    android = BeiwePartitions.of(shared_lake, participants=[ANDROID])
    nothing = android.read("proximity")
    assert len(nothing) == 0
    assert list(nothing.columns) == ["participant", "timestamp", "UTC time", "event"]
    before = android.read("gps", end=START)
    assert before.dtypes.drop("participant").equals(android.read("gps").dtypes.drop("participant"))


def test_columns_can_be_chosen(view: BeiwePartitions) -> None:
    """Those asked for, in that order, after the participant."""
    frame = view.read("gps", columns=["longitude", "timestamp"])
    assert list(frame.columns) == ["participant", "longitude", "timestamp"]
    assert len(frame) == len(view.read("gps"))


def test_times_cut_rows_and_spare_files(view: BeiwePartitions, opened: OpenedFiles) -> None:
    """An hourly file covers an hour; the ones outside the range are not even opened."""
    start, end = TUESDAY + timedelta(hours=10, minutes=20), TUESDAY + timedelta(hours=22, minutes=30)
    frame = view.read("gps", start=start, end=end)
    assert set(opened.members) == {
        "gps/2024-03-05 10_00_00+00_00.csv",
        "gps/2024-03-05 22_00_00+00_00.csv",
    }
    everything = view.read("gps")
    inside = everything[(everything["UTC time"] >= start) & (everything["UTC time"] < end)]
    assert 0 < len(inside) < 16
    assert frame["timestamp"].tolist() == inside["timestamp"].tolist()


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        (TUESDAY + timedelta(hours=11), TUESDAY + DAY, [22]),
        (TUESDAY, TUESDAY + timedelta(hours=22), [10]),
        (TUESDAY + timedelta(hours=10, minutes=59), TUESDAY + timedelta(hours=22, seconds=1), [10, 22]),
        (TUESDAY, TUESDAY + timedelta(hours=10), []),
    ],
)
def test_a_file_counts_for_the_hour_after_its_time(
    view: BeiwePartitions, start: datetime, end: datetime, hours: list[int]
) -> None:
    """Ranges are half-open at both ends."""
    files = view[f"{ANDROID}|{WEEKS[0]}"].files("gps", start=start, end=end)
    assert [file.time.hour for file in files] == hours


def test_survey_answers_count_by_the_time_in_their_name(view: BeiwePartitions) -> None:
    """They cover no hour: one second later they are outside."""
    file = next(view.files("survey_answers"))
    second = timedelta(seconds=1)
    assert file in list(view.files("survey_answers", start=file.time, end=file.time + second))
    assert file not in list(view.files("survey_answers", start=file.time + second))
    assert file not in list(view.files("survey_answers", end=file.time))


def test_frames_come_window_by_window(view: BeiwePartitions) -> None:
    """Together they are what ``read`` gives."""
    parts = list(view.iter_frames("gps", columns=["timestamp"]))
    assert [(participant, window) for participant, window, _ in parts] == [
        (each, week) for each in (ANDROID, IOS) for week in WEEKS
    ]
    joined = [stamp for _, _, frame in parts for stamp in frame["timestamp"]]
    assert joined == view.read("gps")["timestamp"].tolist()


def test_windows_without_a_file_of_the_stream_are_passed_over(view: BeiwePartitions) -> None:
    """A range within the second week leaves that week alone."""
    later = START + 8 * DAY
    parts = [(who, week) for who, week, _ in view.iter_frames("gps", start=later, end=later + DAY)]
    assert parts == [(ANDROID, WEEKS[1]), (IOS, WEEKS[1])]


def test_one_window_reads_like_the_view(view: BeiwePartitions) -> None:
    """A cell is a view of itself."""
    cell = view[f"{ANDROID}|{WEEKS[0]}"]
    assert len(cell.read("gps")) == len(stored_files_of_week := list(cell.files("gps"))) * 4
    assert len(stored_files_of_week) == 14
    assert [window for _, window, _ in cell.iter_frames("gps")] == [WEEKS[0]]


def test_a_view_can_be_narrowed_when_it_is_made(shared_lake: StudyLake) -> None:
    """To participants and a range, which then holds for all that is read, with and without another range."""
    view = BeiwePartitions.of(shared_lake, participants=[IOS], start=TUESDAY, end=TUESDAY + DAY)
    assert list(view) == [f"{IOS}|{WEEKS[0]}"]
    assert {file.time.date() for file in view.files()} == {TUESDAY.date()}
    assert len(view.read("gps")) == 8
    assert len(view.read("gps", start=TUESDAY + timedelta(hours=12))) == 4
    assert len(view.read("gps", start=TUESDAY + DAY)) == 0


@pytest.mark.parametrize("start", [None, START + timedelta(hours=10, minutes=30), TUESDAY])
@pytest.mark.parametrize("end", [None, TUESDAY + timedelta(hours=5), TUESDAY + 9 * DAY])
@pytest.mark.parametrize("streams", [(), ("gps",), ("survey_answers", "gps"), ("calls",)])
def test_sizes_are_those_of_the_listed_files(
    shared_lake: StudyLake, start: datetime | None, end: datetime | None, streams: tuple[str, ...]
) -> None:
    """Without reading whole manifests: of all streams or some, in any range."""
    view = BeiwePartitions.of(shared_lake, start=start, end=end)
    listed = [file.size_bytes for file in view.files() if not streams or file.stream in streams]
    assert sorted(view.sizes(streams)) == sorted(filter(None, listed))


def test_windows_are_chosen_by_where_they_end(shared_lake: StudyLake) -> None:
    """A start inside a window keeps that window and leaves out the one before."""
    assert BeiwePartitions.of(shared_lake, start=START + 8 * DAY).windows == WEEKS[1:]
    assert BeiwePartitions.of(shared_lake, end=START + 7 * DAY).windows == WEEKS[:1]


def test_out_of_range_files_are_there_on_request(server: SimulatedServer, lake: StudyLake) -> None:
    """Files that a wrong clock dated outside all windows lie in windows of their own."""
    before, after = out_of_range_windows(START + 7 * DAY, START + 14 * DAY)
    fill(server, lake, [*cells_of(ANDROID, weeks=2)[1:], Cell(ANDROID, before), Cell(ANDROID, after)])
    assert BeiwePartitions.of(lake).windows == [WEEKS[1]]
    view = BeiwePartitions.of(lake, out_of_range=True)
    assert view.windows == [WEEKS[1], "after", "before"]
    assert len(view.read("gps")) > len(BeiwePartitions.of(lake).read("gps"))


def test_files_that_the_server_no_longer_has_are_left_out(server: SimulatedServer, lake: StudyLake) -> None:
    """Unless they are asked for; the lake keeps them."""
    fill(server, lake, cells_of(ANDROID), counted=True)
    hour = START + timedelta(hours=10)
    server.world.delete_files(ANDROID, stream="gps", hour=hour)
    fill(server, lake, cells_of(ANDROID), counted=True)
    view = BeiwePartitions.of(lake)
    assert hour not in {file.time for file in view.files("gps")}
    (deleted,) = [file for file in view.files("gps", include_deleted_upstream=True) if not file.present]
    assert deleted.time == hour
    with view.open(deleted) as stream:
        assert stream.read().startswith(b"timestamp,")
    assert (view.read("gps")["UTC time"] >= hour + timedelta(hours=1)).all()


def test_manifests_are_read_when_they_are_needed(shared_lake: StudyLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """None for the view itself, and one for one window, however often it is asked."""
    seen: list[tuple[str, Any]] = []
    original = StudyLake.manifest

    def manifest(lake: StudyLake, participant: str, window: Any) -> Any:
        seen.append((participant, window))
        return original(lake, participant, window)

    monkeypatch.setattr(StudyLake, "manifest", manifest)
    view = BeiwePartitions.of(shared_lake)
    assert view.missing == []
    assert seen == []
    for _ in range(3):
        view[f"{IOS}|{WEEKS[1]}"].read("gps")
    assert seen == [(IOS, WEEKS[1])]


def test_a_reader_that_stops_early_leaves_no_threads(view: BeiwePartitions) -> None:
    """Decryption ahead ends with the iterator."""
    frames = view.iter_frames("gps")
    next(frames)
    frames.close()  # type: ignore[attr-defined]  # a generator
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("beiwe-read")]


@pytest.mark.parametrize(
    "settings",
    [{"compression": "none"}, {"cipher": None, "passphrase": None}, {"plain_streams": ("gps",), "compression": "none"}],
)
def test_every_form_of_storage_reads_the_same(
    server: SimulatedServer, tmp_path: Path, view: BeiwePartitions, settings: dict[str, Any]
) -> None:
    """Compressed or not, locked or not."""
    other = study_lake(tmp_path / "other", server.world, **settings)
    fill(server, other, cells_of(ANDROID, weeks=1))
    frame = BeiwePartitions.of(other).read("gps")
    pd.testing.assert_frame_equal(frame, view[f"{ANDROID}|{WEEKS[0]}"].read("gps"))


def test_opened_streams_can_be_read_in_chunks(view: BeiwePartitions) -> None:
    """As text, line by line, without the whole in memory."""
    file = next(view.files("gps"))
    with io.TextIOWrapper(view.open(file), encoding="utf-8") as lines:
        assert next(lines).startswith("timestamp,UTC time,latitude")
        assert len(list(lines)) == 4


def test_nothing_of_the_data_shows_in_a_repr(view: BeiwePartitions) -> None:
    """Nor the passphrase."""
    texts = [repr(view), repr(view[f"{ANDROID}|{WEEKS[0]}"]), repr(next(view.files("gps")))]
    assert "passphrase" not in "".join(texts)
    assert datetime.now(timezone.utc).tzinfo is not None
