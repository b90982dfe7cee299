"""What the lazy view refuses, and names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from damage import flip
from reading_helpers import ANDROID, IOS, NOW, START, WEEKS, cells_of, fill, study_lake

from dagster_beiwe.errors import (
    ConfigurationError,
    IntegrityError,
    TimeRangeError,
    UnknownStreamError,
    WrongPassphraseError,
)
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.reading import BeiwePartitions, RawFile
from dagster_beiwe.simulator import SimulatedServer, World


def test_windows_that_are_not_in_the_lake_are_named(server: SimulatedServer, lake: StudyLake) -> None:
    """They have no files; those that are there are read."""
    fill(server, lake, cells_of(ANDROID, weeks=2))
    keys = [f"{each}|{week}" for each in (ANDROID, IOS) for week in WEEKS]
    view = BeiwePartitions.of_keys(lake, keys)
    there = keys[:2]
    assert view.missing == [key for key in keys if key not in there]
    assert view.incomplete == []
    assert [key for key in view if view[key].committed] == there
    assert list(view[keys[-1]].files()) == []
    frame = view.read("gps")
    assert set(frame["participant"]) == {ANDROID}
    assert frame.attrs["beiwe"]["missing_windows"] == 4


def test_incomplete_windows_are_named(server: SimulatedServer, lake: StudyLake) -> None:
    """A file that can't be fetched leaves its window incomplete; the rest is read."""
    hour = START + timedelta(hours=10)
    with server.misbehave("poisoned_hour", stream="gps", start=hour, end=hour + timedelta(hours=1), mode="abort"):
        fill(server, lake, cells_of(ANDROID))
    view = BeiwePartitions.of(lake)
    frame = view.read("accelerometer")
    assert frame.attrs["beiwe"]["incomplete_windows"] == 1
    assert view.incomplete == [f"{ANDROID}|{WEEKS[0]}"]
    assert view.missing == []
    assert not view[f"{ANDROID}|{WEEKS[0]}"].complete


def test_a_file_that_was_changed_is_refused(lake: StudyLake, server: SimulatedServer) -> None:
    """One byte is enough; nothing of the frame is returned."""
    fill(server, lake, cells_of(ANDROID, weeks=1))
    view = BeiwePartitions.of(lake)
    path = stored_path(lake, next(view.files("gps")))
    flip(path)
    with pytest.raises(IntegrityError, match="is not what was committed"):
        view.read("gps")
    path.unlink()
    with pytest.raises(IntegrityError, match="removed"):
        view.read("gps")


def stored_path(lake: StudyLake, file: RawFile) -> Path:
    root = Path(lake.storage.describe())
    (path,) = (root / lake.study_id / file.participant).glob(f"{file.name}*")
    return path


def test_a_key_that_is_none_is_told_how_keys_look(shared_lake: StudyLake) -> None:
    """And a view stays a mapping."""
    view = BeiwePartitions.of(shared_lake)
    with pytest.raises(KeyError, match=r"keys are participant and first day of a window, such as '\w+\|20"):
        view["nobody"]
    assert view.get("nobody") is None


def test_a_wrong_passphrase_is_found_before_anything_is_read(shared_lake: StudyLake, shared_world: World) -> None:
    """Not as garbage in a frame."""
    other = study_lake(Path(shared_lake.storage.describe()), shared_world, passphrase="another one")
    with pytest.raises(WrongPassphraseError):
        BeiwePartitions.of(other)
    with pytest.raises(WrongPassphraseError):
        BeiwePartitions.of_keys(other, [f"{ANDROID}|{WEEKS[0]}"]).read("gps")


@pytest.mark.parametrize(
    "ask",
    [
        lambda view: view.files("acelerometer"),
        lambda view: view.read("acelerometer"),
        lambda view: view.iter_frames("acelerometer"),
    ],
)
def test_unknown_streams_are_refused_at_once(view: BeiwePartitions, ask: Callable[[BeiwePartitions], object]) -> None:
    """With the nearest right name, before the first step of an iterator."""
    with pytest.raises(UnknownStreamError, match="'accelerometer'"):
        ask(view)


def test_recordings_are_no_tables(view: BeiwePartitions) -> None:
    """They open as files."""
    with pytest.raises(ConfigurationError, match="recordings"):
        view.read("audio_recordings")
    with pytest.raises(ConfigurationError, match="recordings"):
        view.iter_frames("audio_recordings")


@pytest.mark.parametrize(
    ("start", "end"),
    [(datetime(2024, 3, 5), None), (NOW, START), (START, START), ("2024-03-05", None), (None, START.date()), (0, None)],
)
def test_unusable_times_are_refused(view: BeiwePartitions, start: datetime, end: datetime | None) -> None:
    """Naive ones, texts and numbers, which say no zone, and a start that is not before the end."""
    with pytest.raises(TimeRangeError):
        view.read("gps", start=start, end=end)
    with pytest.raises(TimeRangeError):
        view.files(start=start, end=end)


def test_times_of_a_view_are_checked_when_it_is_made(shared_lake: StudyLake) -> None:
    """With what to write instead."""
    with pytest.raises(TimeRangeError, match=r"start is '2024-03-05', of type str.*datetime\(2024, 3, 1, tzinfo"):
        BeiwePartitions.of(shared_lake, start="2024-03-05")  # type: ignore[arg-type]


def test_misspelled_columns_are_refused(view: BeiwePartitions) -> None:
    """Neither NaN nor an empty frame: also where no file is in the range, and a single text for a list."""
    hint = r"gps has no column 'latitud'.*Did you mean 'latitude'\? Its columns are: timestamp, UTC time, latitude"
    with pytest.raises(ConfigurationError, match=hint):
        view.read("gps", columns=["timestamp", "latitud"])
    with pytest.raises(ConfigurationError, match=hint):
        view.read("gps", columns=["latitud"], end=START)
    with pytest.raises(ConfigurationError, match=hint):
        list(view.iter_frames("gps", columns=["latitud"]))
    with pytest.raises(ConfigurationError, match=r"'Latitude'.*'latitude'"):
        view.read("gps", columns=["Latitude"])
    with pytest.raises(ConfigurationError, match=r"Give a list: \['latitude'\]"):
        view.read("gps", columns="latitude")
    frame = view.read("survey_answers", columns=["participant", "file time", "survey id", "answer"])
    assert frame["answer"].notna().all()


def test_a_folder_that_is_no_lake_is_refused(tmp_path: Path, shared_lake: StudyLake) -> None:
    """A missing folder, one with other things, and a lake of other studies."""
    study_id = "A" * 24
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("text")
    for folder in ("missing", "other"):
        lake = BeiweLake(tmp_path / folder).study(shared_lake.study_id, passphrase="any")
        with pytest.raises(ConfigurationError, match=f"holds nothing of study {shared_lake.study_id}.*no study at all"):
            BeiwePartitions.of(lake)
    lake = BeiweLake(shared_lake.storage.describe()).study(study_id, passphrase="any")
    with pytest.raises(ConfigurationError, match=f"holds nothing of study {study_id}.*{shared_lake.study_id}"):
        BeiwePartitions.of(lake)


def test_unknown_participants_are_refused(shared_lake: StudyLake) -> None:
    """A wrong id is not "no data"."""
    with pytest.raises(ConfigurationError, match="nobody99"):
        BeiwePartitions.of(shared_lake, participants=[ANDROID, "nobody99"])
    with pytest.raises(ConfigurationError, match=r"Give a list: \['android1'\]"):
        BeiwePartitions.of(shared_lake, participants=ANDROID)
    with pytest.raises(ConfigurationError, match="participant id"):
        BeiwePartitions.of_keys(shared_lake, ["../../etc|2024-03-04"])


def test_a_file_of_another_window_is_refused(view: BeiwePartitions) -> None:
    """A cell opens only what it holds."""
    file = next(view.files("gps"))
    with pytest.raises(ConfigurationError, match="listed it"):
        view[f"{IOS}|{WEEKS[0]}"].open(file)
