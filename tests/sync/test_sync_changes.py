"""Refreshing: what changed or was deleted is noticed on servers of every generation and with every kind of registry."""

from __future__ import annotations

from dataclasses import replace
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
from dagster_beiwe.errors import NotFoundError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.sync import FetchPolicy, StudySync

LATE = START + 2 * DAY + 5 * HOUR
REMOVE = FetchPolicy(remove_deleted_upstream=True)


def held(lake: StudyLake) -> set[str]:
    """Keys of all files in the lake, whether the server has them or not."""
    return {record.key for manifest in lake.manifests(PERSON) for record in manifest.files}


# Changes on servers of every generation


@pytest.mark.parametrize(
    "profile", ["2023-11", "2024-07", "2025-02", "2025-03", "2025-06", "2025-12", "2026-01-08", "2026-03"]
)
def test_changes_arrive_from_servers_of_every_generation(profile: str, folder: Path) -> None:
    """Whatever a server makes of the list of files held, the lake equals it after each kind of change."""
    world = small_world()
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world, profile=profile) as server, client_of(server) as client:
        sync(client, lake, cells_of(PERSON))
        assert contents(lake) == truth(world)
        world.add_rows(PERSON, "gps", LATE)
        world.add_rows(PERSON, "survey_timings", START + DAY + 5 * HOUR)
        world.add_hour(PERSON, "survey_answers", START + 4 * DAY + 13 * HOUR)
        world.add_hour(PERSON, "audio_recordings", START + 4 * DAY + 14 * HOUR)
        world.add_hour(PERSON, "power_state", START + 9 * DAY + 2 * HOUR)
        changed = sync(client, lake, cells_of(PERSON))
        assert contents(lake) == truth(world)
        assert [(report.changed, report.added) for report in changed] == [(2, 2), (0, 1)]
        world.reprocess(PERSON, START, NOW)
        everything = sync(client, lake, cells_of(PERSON))
        assert contents(lake) == truth(world)
        assert sum(report.changed for report in everything) > 50
        nothing = sync(client, lake, cells_of(PERSON))
        assert all((report.changed, report.added, report.deleted_upstream) == (0, 0, 0) for report in nothing)
        assert [report.data_version for report in nothing] == [report.data_version for report in everything]
    check_lake(folder, lake)


@pytest.mark.parametrize("profile", ["2025-06", "2026-01-08", "2026-03"])
def test_files_whose_sha1_the_server_lacks_are_current_too(profile: str, folder: Path) -> None:
    """A server without SHA-1 of old files compares MD5: unchanged files stay out, changed ones come."""
    world = small_world()
    world.forget_sha1(PERSON)
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world, profile=profile) as server, client_of(server) as client:
        for _ in range(2):
            sync(client, lake, cells_of(PERSON))
        world.add_rows(PERSON, "gps", LATE)
        server.forget_requests()
        sync(client, lake, cells_of(PERSON))
        assert contents(lake) == truth(world)
        if profile == "2026-03":
            assert sum(request.bytes_sent for request in server.requests) < 5000


# Only what has moved


def test_windows_that_have_not_moved_are_told_without_asking(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """Their counts are those of their commit: they are reported as they are, and only the others are fetched."""
    (first, _) = sync(client, lake, cells_of(PERSON), daily=daily(client))
    world.add_rows(PERSON, "gps", START + 9 * DAY + 5 * HOUR)
    moved = daily(client)
    server.forget_requests()
    reports = list(StudySync(client, lake, run_id="run-2", daily=moved).run(cells_of(PERSON), changed_only=True))
    assert downloads(server) == 1
    assert [(report.changed, report.record) for report in reports] == [(0, 1), (1, 3)]
    assert (reports[0].unchanged, reports[0].data_version) == (first.files, first.data_version)
    assert contents(lake) == truth(world)


def test_what_is_open_unknown_or_not_counted_is_asked_for(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """An incomplete window, one of which a stream is new, and all windows where nobody tells counts; fewer streams are
    no reason."""
    with server.misbehave("wrong_crc", stream="gps", start=LATE, end=LATE + HOUR):
        sync(client, lake, cells_of(PERSON), daily=daily(client))
    assert [report.complete for report in sync(client, lake, cells_of(PERSON)[1:], daily=daily(client))] == [True]
    for options, asked in (
        ({"daily": daily(client)}, 1),  # the failure in the first week
        ({"daily": daily(client)}, 0),
        ({"daily": daily(client), "streams": STREAMS[:1]}, 0),
        ({"daily": None, "streams": STREAMS[:1]}, 1),
        ({"daily": daily(client)}, 1),
        ({"daily": None}, 1),
    ):
        server.forget_requests()
        list(StudySync(client, lake, run_id="run-2", **options).run(cells_of(PERSON), changed_only=True))
        assert downloads(server) == asked


@pytest.mark.parametrize("profile", ["2026-01-10", "2026-03"])
def test_the_first_refresh_downloads_nothing_again(profile: str, folder: Path) -> None:
    """A first fetch lists MD5 whatever the server knows; what is held is told by its SHA-1 all the same."""
    world = small_world(streams=("accelerometer", "gps", "power_state"))
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world, profile=profile) as server, client_of(server) as client:
        sync(client, lake, cells_of(PERSON))
        reports = sync(client, lake, cells_of(PERSON))
    assert sum(report.downloaded_bytes for report in reports) < 500


def test_a_hash_listed_before_its_content_does_not_hide_the_content(
    world: World, client: BeiweClient, lake: StudyLake
) -> None:
    """The server lists the next version's hash while it still sends this one: the next one comes nevertheless."""
    now = world.file(PERSON, "gps", LATE)
    following = replace(now, extra=(*now.extra, 10), _facts={})
    now._facts["md5"] = following.md5
    assert all(report.complete for report in sync(client, lake, cells_of(PERSON)))
    world._put(following)
    assert sum(report.changed for report in sync(client, lake, cells_of(PERSON))) == 1
    assert contents(lake) == truth(world)


# Lists of held files, and bodies that proxies refuse


def test_long_lists_of_held_files_are_split(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """No request's body passes the bound that proxies set, and nothing is fetched twice for it."""
    sync(client, lake, cells_of(PERSON))
    world.add_rows(PERSON, "gps", LATE)
    server.forget_requests()
    reports = sync(client, lake, cells_of(PERSON), policy=FetchPolicy(registry_bytes=4000))
    assert contents(lake) == truth(world)
    assert max(request.bytes_received for request in server.requests) < 5500
    assert downloads(server) > 5
    assert sum(report.downloaded_bytes for report in reports) < 20_000
    assert sum(report.changed for report in reports) == 1


def test_413_is_answered_with_smaller_requests(world: World, folder: Path) -> None:
    """A proxy that refuses even what was thought small gets smaller requests until they pass."""
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    world.add_answers(PERSON, START + DAY + 9 * HOUR, copies=12)  # one hour's list alone is over the bound
    with SimulatedServer(world, max_form_bytes=2500) as server, client_of(server) as client:
        sync(client, lake, cells_of(PERSON))
        world.add_rows(PERSON, "gps", LATE)
        reports = sync(client, lake, cells_of(PERSON))
        assert any(request.status == 413 for request in server.requests)
    assert all(report.complete for report in reports)
    assert contents(lake) == truth(world)
    assert sum(report.changed for report in reports) == 1


# Files that were deleted upstream


@pytest.mark.parametrize("remove", [False, True])
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "Asia/Kathmandu"])
def test_deleted_files_are_noticed_by_the_daily_counts(zone: str, remove: bool, folder: Path) -> None:
    """Less on the server than in the lake: the day is listed again, and what is gone is marked or removed."""
    world = small_world(time_zone=zone, hours=(0, 5, 18, 23))
    moment = START + 3 * DAY + 18 * HOUR + timedelta(minutes=40)  # half past midnight or so in Asia
    world.add_hour(PERSON, "survey_answers", moment)
    world.add_rows(PERSON, "gps", START + 3 * DAY + 23 * HOUR)  # so that the answers of the day are counted
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    policy = FetchPolicy(remove_deleted_upstream=remove)
    with SimulatedServer(world) as server, client_of(server) as client:
        sync(client, lake, cells_of(PERSON), daily=daily(client, zone))
        everything = len(contents(lake))
        assert world.delete_files(PERSON, stream="gps", hour=LATE + 13 * HOUR) == 1
        assert world.delete_files(PERSON, stream="survey_answers", hour=moment.replace(minute=0)) == 1
        server.forget_requests()
        reports = sync(client, lake, cells_of(PERSON), daily=daily(client, zone), policy=policy)
        assert [report.deleted_upstream for report in reports] == [2, 0]
        assert contents(lake) == truth(world)
        assert len(held(lake)) == everything - (2 if remove else 0)
        assert downloads(server) <= 6
        again = sync(client, lake, cells_of(PERSON), daily=daily(client, zone), policy=policy)
        assert [(report.deleted_upstream, report.added) for report in again] == [(0, 0), (0, 0)]
    check_lake(folder, lake)


def test_a_deleted_file_that_comes_back_is_present_again(world: World, client: BeiweClient, lake: StudyLake) -> None:
    """A file that was deleted for a while is marked, and unmarked when it is back."""
    sync(client, lake, cells_of(PERSON), daily=daily(client))
    lost = world.file(PERSON, "gps", LATE)
    world.delete_files(PERSON, stream="gps", hour=LATE)
    (gone, _) = sync(client, lake, cells_of(PERSON), daily=daily(client))
    assert gone.deleted_upstream == 1
    world._put(replace(lost, arrived=NOW))
    (back, _) = sync(client, lake, cells_of(PERSON), daily=daily(client))
    assert (back.files, back.deleted_upstream, back.changed) == (gone.files + 1, 0, 0)
    assert contents(lake) == truth(world)


def test_servers_without_counts_tell_deleted_files_too(folder: Path) -> None:
    """They send everything each time, and break off where an object is lost: what is left out is gone. It is kept."""
    world = small_world()
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world, profile="2023-11") as server, client_of(server) as client:
        sync(client, lake, cells_of(PERSON))
        world.delete_files(PERSON, stream="gps", hour=LATE)
        reports = sync(client, lake, cells_of(PERSON), policy=REMOVE)
    assert [report.deleted_upstream for report in reports] == [1, 0]
    assert contents(lake) == truth(world)
    assert len(held(lake)) == len(truth(world)) + 1


@pytest.mark.parametrize("profile", ["2024-07", "2025-12"])
def test_without_the_counts_of_a_server_that_has_them_nothing_is_deleted(profile: str, folder: Path) -> None:
    """What is left out may be lost; the next run with counts decides."""
    world = small_world()
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world, profile=profile) as server, client_of(server) as client:
        sync(client, lake, cells_of(PERSON), daily=daily(client))
        everything = held(lake)
        world.delete_files(PERSON, stream="gps", hour=LATE)
        reports = sync(client, lake, cells_of(PERSON), policy=REMOVE)
        assert [(report.deleted_upstream, report.not_sent) for report in reports] == [(0, 1), (0, 0)]
        assert held(lake) == everything
        reports = sync(client, lake, cells_of(PERSON), daily=daily(client), policy=REMOVE)
        assert [(report.deleted_upstream, report.not_sent) for report in reports] == [(1, 0), (0, 0)]
    assert contents(lake) == truth(world)


# Participants who are gone


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("remove", [True, False])
def test_a_participant_who_is_gone_is_up_to_date(
    remove: bool, counts: bool, world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """All that is held is deleted upstream, also in later runs; without counts nothing is removed."""
    other = world.add_participant(STUDY)
    first, second = cells_of(PERSON)
    sync(client, lake, [first], daily=daily(client))
    everything = len(held(lake))
    del world.study(STUDY).participants[PERSON]
    for round_number in range(2):
        now = daily(client) if counts else None
        policy = FetchPolicy(remove_deleted_upstream=remove)
        reports = sync(client, lake, [first, second, *cells_of(other)], daily=now, policy=policy)
        assert [report.complete for report in reports] == [True] * 4
        assert {report.cell.participant for report in reports if report.participant_deleted_upstream} == {PERSON}
        assert sum(report.deleted_upstream for report in reports) == (0 if round_number else everything)
    assert contents(lake) == {}
    assert len(held(lake)) == (0 if remove and counts else everything)


def test_a_participant_who_never_was_or_is_still_counted_is_a_problem(
    world: World, client: BeiweClient, lake: StudyLake
) -> None:
    """A mistyped id is no participant without data, and a server that contradicts itself is not believed."""
    sync(client, lake, cells_of(PERSON))
    before = daily(client)
    del world.study(STUDY).participants[PERSON]
    for options, person in (({}, "typo1234"), ({"daily": before}, PERSON)):
        reports = sync(client, lake, cells_of(person), **options)
        assert {failure.error for report in reports for failure in report.failures} == {"NotFoundError"}
        assert {report.participant_unknown for report in reports} == {person == "typo1234"}
        assert not any(report.complete for report in reports)
    assert lake.windows("typo1234") == []
    assert len(contents(lake)) == len(held(lake))


def test_a_study_that_is_gone_stops_the_run(world: World, client: BeiweClient, lake: StudyLake) -> None:
    """Nobody is marked for it."""
    sync(client, lake, cells_of(PERSON))
    everything = contents(lake)
    world.hide_study(STUDY)
    with pytest.raises(NotFoundError):
        sync(client, lake, cells_of(PERSON))
    assert contents(lake) == everything


# Files that the server has lost


@pytest.mark.parametrize("deleted_too", [False, True])
@pytest.mark.parametrize("profile", ["2025-12", "2026-01-08", "2026-03"])
def test_the_last_copy_of_a_lost_object_is_kept(profile: str, deleted_too: bool, folder: Path) -> None:
    """The server counts what it has lost: neither marked nor removed, even if another hour of the day is deleted."""
    world = small_world()
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world, profile=profile) as server, client_of(server) as client:
        sync(client, lake, cells_of(PERSON), daily=daily(client))
        everything = contents(lake)
        world.lose_object(PERSON, "gps", LATE)
        other = truth(world)
        if deleted_too:
            world.delete_files(PERSON, stream="gps", hour=LATE + 13 * HOUR)
        for _ in range(2):
            reports = sync(client, lake, cells_of(PERSON), daily=daily(client), policy=REMOVE)
            assert all(report.complete and not report.deleted_upstream for report in reports)
            assert reports[0].not_sent == (2 if deleted_too else int(profile == "2025-12"))
            assert contents(lake) == everything
        world.restore_object(PERSON, "gps", LATE)
        reports = sync(client, lake, cells_of(PERSON), daily=daily(client), policy=REMOVE)
        assert (reports[0].deleted_upstream, reports[0].not_sent) == (int(deleted_too), 0)
        assert contents(lake) == truth(world) != other
    check_lake(folder, lake)


@pytest.mark.parametrize("profile", ["2024-07", "2026-03"])
def test_a_day_of_two_windows_is_judged_as_a_whole(profile: str, folder: Path) -> None:
    """Withdrawn on both sides of a window's edge, and the windows are fetched one by one: each finds its own."""
    edge = START + 7 * DAY  # a local day in New York lies around it
    world = small_world(hours=(1, 5, 18, 22))
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world, profile=profile) as server, client_of(server) as client:
        sync(client, lake, cells_of(PERSON), daily=daily(client))
        for hour in (edge - 2 * HOUR, edge + HOUR):
            assert world.delete_files(PERSON, stream="gps", hour=hour) == 1
        for cell in cells_of(PERSON):
            (report,) = sync(client, lake, [cell], daily=daily(client), policy=REMOVE)
            assert (report.deleted_upstream, report.not_sent, report.added) == (1, 0, 0)
    assert check_lake(folder, lake) == truth(world)
