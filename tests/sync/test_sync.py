"""Synchronising: the lake holds what the server has, and a refresh brings what changed and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from core_helpers import (
    DAY,
    HOUR,
    NOW,
    PASSPHRASE,
    PERSON,
    START,
    STREAMS,
    STUDY,
    cells_of,
    check_lake,
    client_of,
    contents,
    daily,
    downloads,
    small_world,
    sync,
    truth,
)

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.errors import (
    LakeUnavailableError,
    UnknownStreamError,
    WindowMismatchError,
    WrongPassphraseError,
)
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, World
from dagster_beiwe.sync import Cell, FetchPolicy, Progress, StudySync
from dagster_beiwe.windows import Window

LATE = START + 2 * DAY + 5 * HOUR


def test_a_first_fetch_brings_everything(world: World, client: BeiweClient, lake: StudyLake, folder: Path) -> None:
    """Every file of every stream, each window in a manifest of its own, in one request for both."""
    reports = sync(client, lake, cells_of(PERSON))
    assert contents(lake) == truth(world)
    assert [report.cell for report in reports] == cells_of(PERSON)
    assert all(report.complete and not report.failures and report.record > 0 for report in reports)
    for report in reports:
        window = report.cell.window
        expected = world.files(STUDY, participants=[PERSON], start=window.start, end=window.end)
        assert (report.files, report.added) == (len(expected), len(expected))
        assert report.size_bytes == report.added_bytes == sum(file.size_bytes for file in expected)
        assert sum(report.files_by_stream.values()) == report.files
        manifest = lake.manifest(PERSON, window)
        assert manifest is not None
        assert (manifest.data_version, manifest.streams) == (report.data_version, tuple(client_streams()))
    assert sum(report.requests for report in reports) <= 3
    check_lake(folder, lake)


def client_streams() -> Iterator[str]:
    from dagster_beiwe.streams import STREAM_NAMES

    yield from STREAM_NAMES


def test_nothing_new_brings_nothing(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """A refresh without news receives no file, changes no file on disk but manifests, and keeps data versions."""
    first = sync(client, lake, cells_of(PERSON))
    stored = {path: path.stat().st_mtime_ns for path in folder.rglob("*.lock")}
    server.forget_requests()
    again = sync(client, lake, cells_of(PERSON))
    assert downloads(server) == 1
    assert sum(request.bytes_sent for request in server.requests) < 300
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.lock")} == stored
    assert [report.data_version for report in again] == [report.data_version for report in first]
    assert all((report.added, report.changed, report.deleted_upstream) == (0, 0, 0) for report in again)
    assert [report.unchanged for report in again] == [report.files for report in first]


def test_late_rows_bring_one_file(world: World, client: BeiweClient, lake: StudyLake, folder: Path) -> None:
    """An hour that grew is fetched alone; its window alone is restated, and tells what the file was."""
    first = sync(client, lake, cells_of(PERSON))
    before = contents(lake)
    world.add_rows(PERSON, "gps", LATE)
    again = sync(client, lake, cells_of(PERSON))
    assert contents(lake) == truth(world) != before
    assert [(report.changed, report.added) for report in again] == [(1, 0), (0, 0)]
    assert again[0].data_version != first[0].data_version
    assert again[1].data_version == first[1].data_version
    (record,) = [record for manifest in lake.manifests(PERSON) for record in manifest.files if record.restatements]
    assert record.previous is not None
    assert record.previous.sha256 == before[record.key]
    check_lake(folder, lake)


def test_a_new_hour_brings_one_file(world: World, client: BeiweClient, lake: StudyLake) -> None:
    """An hour that appears late is added to its window."""
    sync(client, lake, cells_of(PERSON))
    world.add_hour(PERSON, "gps", START + 3 * DAY + 11 * HOUR)
    again = sync(client, lake, cells_of(PERSON))
    assert [(report.added, report.changed) for report in again] == [(1, 0), (0, 0)]
    assert contents(lake) == truth(world)


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_every_participant_and_window_length(folder: Path, compression: str) -> None:
    """Several participants, one of them with digits only, in days and months and with every kind of compression."""
    world = small_world(people=(ParticipantPlan(id="48213957"), ParticipantPlan(id="iphone_1", os="IOS")))
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE, compression=compression)  # type: ignore[arg-type]
    with SimulatedServer(world) as server, client_of(server) as client:
        sync(client, lake, cells_of("48213957", granularity="daily"))
        sync(client, lake, cells_of("iphone_1", granularity="monthly"))
    assert contents(lake, "48213957") == truth(world, "48213957")
    assert contents(lake, "iphone_1") == truth(world, "iphone_1")
    assert lake.participants() == ["48213957", "iphone_1"]
    assert len(lake.windows("48213957")) == 14
    assert len(lake.windows("iphone_1")) == 2
    check_lake(folder, lake)


def test_an_empty_window_is_a_success(client: BeiweClient, lake: StudyLake) -> None:
    """A window in which nothing happened is committed, complete, with zero files."""
    early = cells_of(PERSON, start=START - 21 * DAY, end=START)
    reports = sync(client, lake, early)
    assert [(report.files, report.complete, report.record > 0) for report in reports] == [(0, True, True)] * 3
    assert all(lake.manifest(cell.participant, cell.window) for cell in early)


def test_files_at_the_edges_belong_to_one_window(folder: Path) -> None:
    """The first and last second of a window are in it, and the next second in the next, for all kinds of streams."""
    world = small_world(hours=(0, 23))
    edge = START + 7 * DAY
    for moment in (edge - timedelta(milliseconds=1), edge, START, NOW - timedelta(seconds=1)):
        world.add_hour(PERSON, "survey_answers", moment)
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world) as server, client_of(server) as client:
        for cell in cells_of(PERSON):
            sync(client, lake, [cell])
    assert contents(lake) == truth(world)
    for manifest in lake.manifests(PERSON):
        assert all(record.moment in manifest.span for record in manifest.files)


def test_files_of_one_second_keep_their_names_while_suffixes_move(folder: Path) -> None:
    """The server shuffles ``_2`` and ``_3`` in each answer; in the lake each file keeps name and content."""
    world = small_world(streams=("survey_answers",))
    moment = START + DAY + 9 * HOUR
    world.add_answers(PERSON, moment, copies=5)
    names: dict[str, str] = {}
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    for seed in range(4):
        # Servers of that week send survey answers each time.
        with SimulatedServer(world, order_seed=seed, profile="2026-01-08") as server, client_of(server) as client:
            (report, _) = sync(client, lake, cells_of(PERSON))
        assert seed == 0 or (report.changed, report.added) == (0, 0)
        assert contents(lake) == truth(world)
        manifest = lake.manifest(PERSON, cells_of(PERSON)[0].window)
        assert manifest is not None
        for record in manifest.files:
            assert names.setdefault(record.key, record.path) == record.path
    assert len(set(names.values())) == len(names) >= 5
    check_lake(folder, lake)


def test_an_unknown_participant_commits_nothing(client: BeiweClient, lake: StudyLake, folder: Path) -> None:
    """404 is not "no data": the windows get a failure each, and those of others come all the same."""
    reports = sync(client, lake, cells_of("nobody", PERSON))
    refused = [report for report in reports if report.cell.participant == "nobody"]
    assert len(refused) == 2
    assert all(not report.complete and report.failures[0].error == "NotFoundError" for report in refused)
    assert all(failure.window == report.cell.window for report in refused for failure in report.failures)
    assert lake.participants() == [PERSON]
    assert all(report.complete for report in reports if report.cell.participant == PERSON)
    check_lake(folder, lake)


def test_unknown_streams_are_refused_before_any_request(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """A typing error names the nearest stream and sends nothing."""
    with pytest.raises(UnknownStreamError, match="gps"):
        StudySync(client, lake, streams=["GPS"], run_id="r")
    assert server.requests == []


def test_only_wanted_streams_come_and_the_others_stay(world: World, client: BeiweClient, lake: StudyLake) -> None:
    """A run over one stream brings that one; files of other streams that the lake holds are left as they are."""
    sync(client, lake, cells_of(PERSON), streams=["gps"])
    assert {key.split("/")[2] for key in contents(lake)} == {"gps"}
    sync(client, lake, cells_of(PERSON), streams=["power_state"])
    assert {key.split("/")[2] for key in contents(lake)} == {"gps", "power_state"}
    sync(client, lake, cells_of(PERSON))
    assert contents(lake) == truth(world)


def test_large_windows_are_cut_and_small_ones_joined(
    world: World, server: SimulatedServer, client: BeiweClient, folder: Path
) -> None:
    """Requests follow the expected bytes: many requests for much, one for little, and the same lake in the end."""
    versions = set()
    for name, policy, fewest, most in (
        ("one", FetchPolicy(), 1, 1),
        ("many", FetchPolicy(request_bytes=5_000), 10, 200),
        ("tiny", FetchPolicy(request_bytes=1, longest_request_hours=6), 20, 400),
    ):
        lake = BeiweLake(folder / name).study(STUDY, passphrase=PASSPHRASE)
        server.forget_requests()
        reports = sync(client, lake, cells_of(PERSON), policy=policy, daily=daily(client))
        assert fewest <= downloads(server) <= most
        assert contents(lake) == truth(world)
        versions.add(tuple(report.data_version for report in reports))
    assert len(versions) == 1


def test_a_backfill_without_knowing_the_start_takes_few_requests(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """Two years of empty weeks before the data cost a handful of requests."""
    sync(client, lake, cells_of(PERSON, start=START - 728 * DAY))
    assert contents(lake) == truth(world)
    assert downloads(server) <= 8
    assert len(lake.windows(PERSON)) == 106


# What must not be mixed


@pytest.mark.parametrize(
    ("before", "after"), [("weekly", "daily"), ("daily", "weekly"), ("weekly", "monthly"), ("monthly", "daily")]
)
def test_another_window_length_is_refused(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path, before: str, after: str
) -> None:
    """Any cell that overlaps a window of another length is an error before anything is fetched or written."""
    sync(client, lake, cells_of(PERSON, granularity=before))  # type: ignore[arg-type]
    expected = contents(lake)
    for cell in cells_of(PERSON, granularity=after):  # type: ignore[arg-type]
        server.forget_requests()
        if any(manifest.span == cell.window for manifest in lake.manifests(PERSON)):
            continue
        with pytest.raises(WindowMismatchError, match="window"):
            sync(client, lake, [cell])
        assert downloads(server) == 0
    with pytest.raises(WindowMismatchError):
        sync(client, lake, cells_of(PERSON, granularity=after))  # type: ignore[arg-type]
    assert contents(lake) == expected
    check_lake(folder, lake)


def test_a_wrong_passphrase_stops_before_the_first_download(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """Nothing is downloaded that could not be committed, and the lake stays as it is."""
    sync(client, lake, cells_of(PERSON))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    server.forget_requests()
    with pytest.raises(WrongPassphraseError):
        sync(client, BeiweLake(folder).study(STUDY, passphrase="another"), cells_of(PERSON))
    assert downloads(server) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_wrong_passphrase_does_not_wait_for_the_server(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """The server is asked meanwhile. If it fails as well, or asks for patience, that is not the error."""
    sync(client, lake, cells_of(PERSON))
    patience = threading.Event()
    credentials = Credentials(url=server.url, access_key=server.access_key, secret_key=server.secret_key)
    busy = server.misbehave("status", status=503)
    with BeiweClient(credentials, sleep=lambda _: patience.wait(60)) as patient, busy:  # type: ignore[arg-type]
        with pytest.raises(WrongPassphraseError):
            sync(patient, BeiweLake(folder).study(STUDY, passphrase="another"), cells_of(PERSON))
        waiting = [thread for thread in threading.enumerate() if thread.name == "beiwe-meanwhile"]
        assert waiting
        patience.set()
        for thread in waiting:
            thread.join(60)


def test_a_lake_that_cannot_be_written_stops_before_the_first_download(
    server: SimulatedServer, client: BeiweClient, folder: Path
) -> None:
    """A file where the lake should be is a clear error, and nothing is downloaded."""
    folder.write_text("not a folder")
    with pytest.raises(LakeUnavailableError):
        sync(client, BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE), cells_of(PERSON))
    assert downloads(server) == 0


# How a run tells what it does


def test_each_window_is_committed_before_it_is_reported(client: BeiweClient, lake: StudyLake) -> None:
    """Whoever stops after a report has that window; the rest of the run is not needed for it."""
    run = StudySync(client, lake, run_id="r").run(cells_of(PERSON, granularity="daily"))
    report = next(run)
    manifest = lake.manifest(PERSON, report.cell.window)
    assert manifest is not None
    assert (manifest.data_version, manifest.run_id) == (report.data_version, "r")
    run.close()
    assert lake.windows(PERSON) == [report.cell.window.key]


def test_a_run_that_is_left_alone_leaves_nothing(client: BeiweClient, lake: StudyLake, folder: Path) -> None:
    """Stopping between two windows removes what was staged for the next."""
    run = StudySync(client, lake, run_id="r").run(cells_of(PERSON))
    next(run)
    run.close()
    check_lake(folder, lake)


def test_progress_is_told_at_the_end_at_least(world: World, client: BeiweClient, lake: StudyLake) -> None:
    """The last report of progress counts all windows, files and bytes."""
    told: list[Progress] = []
    policy = FetchPolicy(progress_seconds=0)
    reports = list(StudySync(client, lake, run_id="r", policy=policy).run(cells_of(PERSON), on_progress=told.append))
    assert (told[-1].cells_done, told[-1].cells_total) == (2, 2)
    assert told[-1].files == len(truth(world))
    assert told[-1].stored_bytes == sum(report.stored_bytes for report in reports)
    assert told[-1].downloaded_bytes > 0
    assert len(told) > 2


def test_no_cells_are_no_work(server: SimulatedServer, client: BeiweClient, lake: StudyLake) -> None:
    """An empty selection asks for nothing: to the server, an empty list would mean everybody."""
    assert sync(client, lake, []) == []
    assert downloads(server) == 0


def test_large_recordings_pass_through(folder: Path) -> None:
    """A recording larger than a worker's portion, and one too large to be unpacked, arrive whole."""
    plans = [
        ParticipantPlan(id="medium", content=ContentPlan(audio_bytes=9 << 20)),
        ParticipantPlan(id="large", content=ContentPlan(audio_bytes=(64 << 20) + 1)),
    ]
    day = {"start": NOW - DAY, "hours": (5,), "streams": ("audio_recordings", "gps")}
    world = small_world(people=plans, **day)
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE, plain_streams=STREAMS)
    window = Window(NOW - 7 * DAY, NOW)
    with SimulatedServer(world) as server, client_of(server) as client:
        reports = sync(client, lake, [Cell(plan.id or "", window) for plan in plans])
    assert all(report.complete and report.files == 2 for report in reports)
    for plan in plans:
        assert contents(lake, plan.id or "") == truth(world, plan.id or "")
