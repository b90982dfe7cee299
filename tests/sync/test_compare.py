"""Comparing contents by hash: a file restated without moving a count is found, and what is equal does not travel."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import pytest
import time_machine
from core_helpers import (
    DAY,
    HOUR,
    NOW,
    PASSPHRASE,
    PERSON,
    START,
    STUDY,
    cells_of,
    check_lake,
    client_of,
    commit,
    contents,
    daily,
    downloads,
    small_world,
    sync,
    tree,
    truth,
    week,
)

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import ConnectionFailedError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.simulator import ParticipantPlan, SimulatedServer, World
from dagster_beiwe.sync import Cell, Compared, FetchPolicy, StudySync

MORNING = START + 5 * HOUR
ONE_FILE = FetchPolicy(registry_bytes=300)


def compare(client: BeiweClient, lake: StudyLake, cells: Sequence[Cell], **options: object) -> list[Compared]:
    return list(StudySync(client, lake, run_id="audit", **options).compare(cells))  # type: ignore[arg-type]


def outcomes(found: Sequence[Compared]) -> list[str]:
    return [each.outcome for each in found]


def restate(world: World, moment: datetime = MORNING, person: str = PERSON, stream: str = "gps") -> None:
    """Other content of the same size."""
    content = world.file(person, stream, moment).read()
    world.set_content(person, stream, moment, content[:-1] + (b"8" if content[-1:] == b"7" else b"7"))


def an_hour_later() -> time_machine.travel:
    """The log keeps seconds: what is done later shows."""
    return time_machine.travel(datetime.now(timezone.utc) + HOUR)


def compared_at(lake: StudyLake, person: str = PERSON) -> list[int]:
    return [version.compared for version in lake.index(person).values()]


def test_content_of_the_same_size_is_found(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake, world: World, folder: Path
) -> None:
    """No count moves, so nobody would ask for it; the comparison tells which window, and only that is fetched."""
    cells = cells_of(PERSON)
    before = daily(client)
    sync(client, lake, cells, daily=before)
    restate(world)
    unmoved = StudySync(client, lake, run_id="refresh", daily=daily(client)).run(cells, changed_only=True)
    assert [report.changed for report in unmoved] == [0, 0]
    server.forget_requests()
    found = compare(client, lake, cells)
    assert [(each.cell, each.outcome) for each in found] == [(cells[0], "different"), (cells[1], "equal")]
    assert downloads(server) == 1
    (report,) = sync(client, lake, cells[:1], daily=before)
    assert (report.changed, report.added) == (1, 0)
    assert contents(lake) == truth(world)
    assert outcomes(compare(client, lake, cells)) == ["equal", "equal"]
    check_lake(folder, lake)


def test_an_equal_window_is_noted_and_nothing_else(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """One small request for all windows; manifests and data versions stay as they are."""
    cells = cells_of(PERSON)
    sync(client, lake, cells)
    before, earlier = tree(folder), compared_at(lake)
    server.forget_requests()
    began = datetime.now(timezone.utc)
    assert outcomes(compare(client, lake, cells)) == ["equal", "equal"]
    assert downloads(server) == 1
    (record,) = (name for name, data in tree(folder).items() if before.get(name) != data)
    assert record.startswith(f"{STUDY}/.beiwe/log/")
    assert all(new >= int(began.timestamp()) >= old > 0 for new, old in zip(compared_at(lake), earlier, strict=True))
    check_lake(folder, lake)


@pytest.mark.parametrize("change", ["new hour", "deleted and back", "forgotten SHA-1"])
def test_what_else_differs(client: BeiweClient, lake: StudyLake, world: World, change: str) -> None:
    """A new file does; a file that is known by its MD5 only does not."""
    sync(client, lake, cells_of(PERSON), daily=daily(client))
    if change == "new hour":
        world.add_hour(PERSON, "gps", START + 6 * HOUR)
    elif change == "forgotten SHA-1":
        world.forget_sha1(PERSON)
        sync(client, lake, cells_of(PERSON))
    else:
        file = world.file(PERSON, "gps", MORNING)
        world.delete_files(PERSON, stream="gps", hour=MORNING)
        sync(client, lake, cells_of(PERSON), daily=daily(client))
        world.participant(PERSON).files[file.key] = file
    expected = ["equal" if change == "forgotten SHA-1" else "different", "equal"]
    assert outcomes(compare(client, lake, cells_of(PERSON))) == expected


def test_a_list_that_is_too_long_is_cut(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake, world: World
) -> None:
    """Into windows, and those into parts; the findings are the same."""
    sync(client, lake, cells_of(PERSON))
    restate(world)
    server.forget_requests()
    found = compare(client, lake, cells_of(PERSON), policy=ONE_FILE)
    assert outcomes(found) == ["different", "equal"]
    assert downloads(server) > 20


def test_windows_that_were_never_fetched_are_told_apart(client: BeiweClient, lake: StudyLake, world: World) -> None:
    """So are incomplete ones, whatever lies around them; the order is that of the cells."""
    days = cells_of(PERSON, granularity="daily")[:5]
    bad = days[1].window
    with ExitStack() as stack:
        server = stack.enter_context(SimulatedServer(world))
        stack.enter_context(
            server.misbehave("poisoned_hour", participant=PERSON, stream="gps", start=bad.start, end=bad.end)
        )
        own = stack.enter_context(client_of(server))
        sync(own, lake, [*days[:3], days[4]])
    assert outcomes(compare(client, lake, days)) == ["equal", "incomplete", "equal", "incomplete", "equal"]


@pytest.mark.parametrize("profile", ["2024-12", "2025-11", "2026-01-01"])
def test_an_older_server_sends_everything_again(world: World, lake: StudyLake, profile: str) -> None:
    """The comparison says so and asks nothing; what is sent again is compared, and what differs is committed."""
    with SimulatedServer(world, profile=profile) as server, client_of(server) as client:
        sync(client, lake, cells_of(PERSON))
        # Nothing tells the hash of survey answers and recordings at first.
        assert compared_at(lake) == [0, 0]
        restate(world)
        server.forget_requests()
        assert outcomes(compare(client, lake, cells_of(PERSON))) == ["unsupported", "unsupported"]
        assert downloads(server) == 0
        assert [report.changed for report in sync(client, lake, cells_of(PERSON))] == [1, 0]
        assert contents(lake) == truth(world)
    first, second = compared_at(lake)
    assert first
    assert second


def test_a_first_fetch_counts_where_the_server_tells_each_hash(client: BeiweClient, lake: StudyLake) -> None:
    """As servers since 2026-01-08 do, also of survey answers."""
    began = datetime.now(timezone.utc)
    sync(client, lake, cells_of(PERSON))
    assert all(at >= int(began.timestamp()) for at in compared_at(lake))


def test_what_came_before_an_archive_broke_off_counts_when_the_server_leaves_it_out(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """The next request lists its hash, and it is not sent again: that is a comparison."""
    server.misbehave("silent_cut", route="/get-data/*", times=1)
    reports = sync(client, lake, cells_of(PERSON))
    assert all(report.complete for report in reports)
    assert 0 not in compared_at(lake)


def test_what_was_not_compared_does_not_count(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake, world: World
) -> None:
    """An incomplete window; one with a file that the server no longer sends keeps the time of before."""
    sync(client, lake, cells_of(PERSON), daily=daily(client))
    first = compared_at(lake)
    world.add_rows(PERSON, "gps", MORNING)
    with server.misbehave("poisoned_hour", participant=PERSON, stream="gps", start=MORNING, end=MORNING + HOUR):
        sync(client, lake, cells_of(PERSON)[:1], daily=daily(client))
    assert compared_at(lake) == first
    with server.misbehave("poisoned_hour", participant=PERSON, stream="gps", start=MORNING, end=MORNING + HOUR):
        world.add_rows(PERSON, "accelerometer", MORNING)
        sync(client, lake, cells_of(PERSON)[:1], daily=daily(client))
    assert compared_at(lake) == [0, first[1]]


def test_a_file_that_does_not_come_was_not_compared(world: World, lake: StudyLake) -> None:
    """Where a server sends everything again, and lost it: the time of before stays."""
    with SimulatedServer(world, profile="2025-11") as server, client_of(server) as client:
        for _ in range(2):
            sync(client, lake, cells_of(PERSON), daily=daily(client))
        before = compared_at(lake)
        world.lose_object(PERSON, "gps", MORNING)
        with an_hour_later():
            reports = sync(client, lake, cells_of(PERSON), daily=daily(client))
    assert [report.not_sent for report in reports] == [1, 0]
    assert [new == old for new, old in zip(compared_at(lake), before, strict=True)] == [True, False]


def test_a_server_that_can_not_be_asked_leaves_everything_as_it_is(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """One window fails and says why; when nothing answers any more, the comparison ends."""
    days = cells_of(PERSON, granularity="daily")
    sync(client, lake, days)
    before = tree(folder)
    with server.misbehave("status", status=500, route="/get-data/*"):
        one = compare(client, lake, days[:1])
        assert [(each.outcome, each.error) for each in one] == [("failed", "ServerFailedError")]
    port = server.url
    server.stop()
    with pytest.raises(ConnectionFailedError, match=port.rpartition(":")[2]):
        compare(client, lake, days)
    assert tree(folder) == before


def test_an_archive_that_breaks_off_is_a_difference(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake, world: World
) -> None:
    """Of the one window that the server began to send: what is equal would not have been packed."""
    sync(client, lake, cells_of(PERSON))
    restate(world)
    with server.misbehave("silent_cut", route="/get-data/*", start=MORNING, end=MORNING + HOUR):
        assert outcomes(compare(client, lake, cells_of(PERSON))) == ["different", "equal"]


def test_a_commit_in_between_is_not_called_compared(lake: StudyLake, folder: Path) -> None:
    """Nothing is noted of a window that another run has committed since, nor of one that is gone."""
    now = int(NOW.timestamp())
    records = []
    for content in (b"first", b"second"):
        commit(lake, {1: content})
        records.append(lake.index(PERSON)[week().key].at)
    for record, noted in zip(records, (0, now), strict=True):
        with LakeWriter(lake, run_id="audit") as writer:
            writer.note_compared(PERSON, [(week().key, record), ("2020-01-06", record)], at=NOW)
            writer.note_compared("p2person", [(week().key, record)], at=NOW)
        assert compared_at(BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)) == [noted]
    commit(lake, {})
    assert compared_at(lake) == [now]  # the same content
    commit(lake, {2: b"more"})
    assert compared_at(lake) == [0]
    commit(lake, {}, compared_at=NOW + DAY)
    assert compared_at(lake) == [now + DAY.total_seconds()]


def test_a_comparison_ends_before_the_request_that_is_too_much(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """What was compared until then is noted; the rest is as it was."""
    days = cells_of(PERSON, granularity="daily")
    sync(client, lake, days)
    before = compared_at(lake)
    server.forget_requests()
    enough = StudySync(client, lake, run_id="audit", policy=FetchPolicy(registry_bytes=5_000))
    with an_hour_later():
        found = list(enough.compare(days, go_on=lambda: downloads(server) < 2))
    assert downloads(server) == 2
    assert 0 < len(found) < len(days)
    moved = [now != then for now, then in zip(compared_at(lake), before, strict=True)]
    assert moved == [number < len(found) for number in range(len(days))]


def test_several_participants_keep_their_order(lake: StudyLake) -> None:
    """That of the cells: who was compared longest ago goes first."""
    people = ("p3person", "p1person", "p2person")
    world = small_world(people=[ParticipantPlan(id=one) for one in people], streams=("gps",))
    with SimulatedServer(world) as server, client_of(server) as client:
        sync(client, lake, cells_of(*people))
        found = compare(client, lake, [cell for one in people for cell in cells_of(one)])
    assert [each.cell.participant for each in found] == [one for one in people for _ in range(2)]
