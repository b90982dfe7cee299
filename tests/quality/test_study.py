"""A study is measured file by file, each of them once, and what was measured is kept encrypted in the lake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from core_helpers import DAY, HOUR, PASSPHRASE, START, STUDY, cells_of, commit, daily, small_world, sync, tree, week
from damage import flip

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.layout import LogLayout, Subject
from dagster_beiwe.maintenance.purge import purge_participant
from dagster_beiwe.quality import DAY_TYPES, StudyMeasuring
from dagster_beiwe.quality.clocks import UPLOAD_COLUMNS
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, World
from dagster_beiwe.simulator.surveys import QUESTIONS
from dagster_beiwe.studies.time_zones import StudyZone
from dagster_beiwe.tables.store import TableStore

ANNA, BERT = "anna0001", "bert0002"
KEY = ("beiwe", "core", "quality")
HISTORY = ("beiwe", "core", "participant")
STREAMS = ("gps", "survey_answers", "survey_timings")
PER_PERSON = 14 * (2 + 1 + 1)
"""Files of two weeks: of GPS two a day, of surveys one."""


@pytest.fixture
def world() -> World:
    people = (ParticipantPlan(id=ANNA), ParticipantPlan(id=BERT, os="IOS", wrong_clock=True))
    streams = (*STREAMS, "audio_recordings", "power_state")
    return small_world(people=people, streams=streams, content=ContentPlan(rows=30, audio_bytes=3000))


@dataclass(frozen=True)
class Run:
    """The table that a run made, and how many files it read."""

    table: pd.DataFrame
    files: int


def measure(lake: StudyLake, *, zone: str = "America/New_York", streams: tuple[str, ...] = STREAMS) -> Run:
    measuring = StudyMeasuring(
        lake,
        asset_key=KEY,
        history_key=HISTORY,
        settings=(),
        streams=streams,
        zone=StudyZone(name=zone, source="server"),
        run_id="run",
    )
    return Run(measuring.run(), measuring.progress.files)


@pytest.fixture
def filled(client: BeiweClient, lake: StudyLake) -> StudyLake:
    sync(client, lake, cells_of(ANNA, BERT), daily=daily(client))
    return lake


def test_each_file_is_read_once(filled: StudyLake) -> None:
    """The second run reads none and makes the same table; streams that nobody chose are never read."""
    first, second = measure(filled), measure(filled)
    assert (first.files, second.files) == (2 * PER_PERSON, 0)
    pd.testing.assert_frame_equal(first.table, second.table)
    assert list(first.table.columns) == list(DAY_TYPES)
    assert set(first.table["stream"]) == {*STREAMS}
    assert first.table["files"].sum() == 2 * PER_PERSON
    assert first.table.iloc[:, 3:].sum()[["answers_without_timings", "submissions_without_answers"]].tolist() == [0, 0]


def test_only_what_moved_is_read_again(world: World, client: BeiweClient, filled: StudyLake) -> None:
    """One late hour is one file; the rest of its window is not read."""
    before = measure(filled).table
    world.add_rows(ANNA, "gps", START + DAY + 5 * HOUR, rows=10)
    sync(client, filled, cells_of(ANNA))
    after = measure(filled)
    assert after.files == 1
    assert (after.table["rows"] - before["rows"]).sum() == 10


def test_a_file_that_was_deleted_upstream_counts_no_longer(
    world: World, client: BeiweClient, filled: StudyLake
) -> None:
    """Although the lake keeps it."""
    before = measure(filled).table
    world.delete_files(ANNA, stream="gps", hour=START + DAY + 5 * HOUR)
    sync(client, filled, cells_of(ANNA), daily=daily(client))
    after = measure(filled)
    assert after.files == 0
    assert before["files"].sum() - after.table["files"].sum() == 1


def test_another_stream_or_time_zone_is_not_a_reason_to_read_again(filled: StudyLake) -> None:
    """Days are put together anew."""
    before = measure(filled, streams=("gps",))
    whole = measure(filled)
    assert whole.files == 2 * PER_PERSON - before.files
    moved = measure(filled, zone="Asia/Kolkata")
    assert moved.files == 0
    assert moved.table["valid_minutes"].sum() == whole.table["valid_minutes"].sum()
    assert set(moved.table["day"]) != set(whole.table["day"])


def test_adding_windows_gives_the_whole(client: BeiweClient, lake: StudyLake, tmp_path: Path) -> None:
    """Measured after each window or at the end, it is the same, also on the day that the windows share."""
    for cell in cells_of(ANNA):
        sync(client, lake, [cell])
        added = measure(lake)
    at_once = BeiweLake(tmp_path / "other").study(STUDY, passphrase=PASSPHRASE)
    sync(client, at_once, cells_of(ANNA))
    pd.testing.assert_frame_equal(added.table, measure(at_once).table)
    assert added.files == PER_PERSON / 2


def test_a_run_that_fails_keeps_what_it_measured(filled: StudyLake, folder: Path) -> None:
    """The next one continues from there."""
    version = filled.index(BERT)["2026-03-02"]
    manifest = folder / LogLayout(STUDY).home(Subject(BERT)).manifest(version.base, version.nonce)
    flip(manifest)
    with pytest.raises(IntegrityError):
        measure(filled)
    flip(manifest)
    assert measure(filled).files == PER_PERSON


def test_a_damaged_file_is_counted_and_tried_again(filled: StudyLake, folder: Path) -> None:
    """It says nothing about the others."""
    record = next(each for each in next(filled.manifests(ANNA)).files if each.stream == "gps")
    path = folder / filled.folder(ANNA, record.path)
    flip(path)
    for _ in range(2):
        table = measure(filled).table
        assert table["unreadable_files"].sum() == 1
        assert table["files"].sum() == 2 * PER_PERSON
    flip(path)
    mended = measure(filled)
    assert (mended.files, mended.table["unreadable_files"].sum()) == (1, 0)


def test_out_of_range_files_never_count(world: World, client: BeiweClient, filled: StudyLake) -> None:
    """Those of a phone that believes to be in 1969 or in the next year."""
    before = measure(filled, streams=("power_state",)).table
    assert {file.bin.year for file in world.files(STUDY, participants=[BERT], streams=["power_state"])} > {2026}
    assert set(before["day"].dt.year) == {2026}


def test_a_file_dated_after_it_was_fetched_shows_a_clock_that_is_ahead(lake: StudyLake) -> None:
    """By more than clocks differ anyway."""
    row = b"timestamp,UTC time,latitude,longitude,altitude,accuracy\n"
    commit(lake, dict.fromkeys(range(4), row), window=week(), now=START + 2 * HOUR - timedelta(minutes=5))
    assert measure(lake, zone="UTC").table["dated_ahead"].tolist() == [1]


def test_uploads_tell_of_clocks(filled: StudyLake) -> None:
    """As far as the histories of participants were fetched."""
    opened = START + DAY + 5 * HOUR
    rows = [("upload", opened - HOUR, "gps", opened)] * 2
    TableStore.of_study(filled).write(HISTORY, pd.DataFrame(rows, columns=list(UPLOAD_COLUMNS)), partition=ANNA)
    table = measure(filled).table
    assert table[["dated_ahead", "dated_behind"]].sum().tolist() == [2, 0]
    (day,) = table.loc[table["dated_ahead"] > 0, "day"].dt.date
    assert day == (START + DAY).date()  # midnight in New York


def test_measurements_lie_encrypted_and_go_with_their_participant(filled: StudyLake, folder: Path) -> None:
    """They have ids of questions, though no values."""
    measure(filled)
    store = TableStore.of_study(filled)
    measurements = store.read((*KEY, "measurements"), partition=ANNA)
    assert QUESTIONS[0].id in set(measurements["question"])
    assert not any(QUESTIONS[0].id.encode() in data for data in tree(folder).values())
    purge_participant(filled, ANNA, run_id="purge")
    assert TableStore.of_study(filled).partitions((*KEY, "measurements")) == {BERT}
    assert set(measure(filled).table["participant"]) == {BERT}


def test_a_study_without_data_has_an_empty_table(lake: StudyLake) -> None:
    """With its columns."""
    table = measure(lake).table
    assert table.empty
    assert {name: str(kind) for name, kind in table.dtypes.items()} == dict(DAY_TYPES)
