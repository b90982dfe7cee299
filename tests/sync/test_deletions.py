"""Which files were deleted upstream: decided only where nothing else explains what the server counts and sends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import chain, combinations, product
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import time_machine
from core_helpers import (
    DAY,
    HOUR,
    PASSPHRASE,
    PERSON,
    START,
    STUDY,
    cells_of,
    client_of,
    contents,
    daily,
    downloads,
    small_world,
    sync,
    truth,
)
from hypothesis import given
from hypothesis import strategies as st

from dagster_beiwe.client import BeiweClient, DailyBytes
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.sync import DailyIndex, FetchPolicy
from dagster_beiwe.sync.deletions import HeldFile, deleted_upstream

NOON = START + 3 * DAY + 16 * HOUR
REMOVE = FetchPolicy(remove_deleted_upstream=True)


# The decision


def held_file(key: str, size_bytes: int, *, counted: bool = True, sent: bool = True) -> HeldFile:
    return HeldFile(key, size_bytes, counted, sent)


@pytest.mark.parametrize(
    ("count", "files", "deleted"),
    [
        (3, [held_file("a", 3), held_file("b", 5, sent=False)], {"b"}),
        (8, [held_file("a", 3), held_file("b", 5, sent=False)], set()),  # lost, and counted
        (4, [held_file("a", 3), held_file("b", 5, sent=False)], set()),  # lost, and smaller since
        (8, [held_file("a", 3), held_file("n", 5, counted=False), held_file("b", 5, sent=False)], set()),
        (3, [held_file("a", 3), held_file("b", 5, counted=False, sent=False)], set()),  # lost before it was counted
        (0, [held_file("b", 5, sent=False)], set()),
        (5, [held_file("b", 5, sent=False)], set()),
        (3, [held_file("a", 3), held_file("b", 5, sent=False), held_file("c", 9, sent=False)], {"b", "c"}),
    ],
)
def test_the_files_that_came_have_to_account_for_every_byte(
    count: int, files: list[HeldFile], deleted: set[str]
) -> None:
    """Where the count has room for the file, or says nothing of it, it is kept."""
    assert deleted_upstream(count, files) == deleted


@dataclass(frozen=True)
class Server:
    """What a server has of one day and stream: sizes of its files, which objects are lost, and the row as it was
    written last."""

    files: dict[str, int]
    lost: frozenset[str] = frozenset()
    count: int = 0

    def counted(self) -> Server:
        return replace(self, count=sum(self.files.values())) if self.files else self

    @property
    def sent(self) -> dict[str, int]:
        return {key: size for key, size in self.files.items() if key not in self.lost}


EVENTS = st.tuples(
    st.sampled_from(["add", "change", "delete", "lose", "find", "count", "look"]),
    st.sampled_from("abcd"),
    st.integers(1, 4),
)


@given(st.lists(EVENTS, max_size=25))
def test_no_history_makes_a_file_that_the_server_has_look_deleted(events: list[tuple[str, str, int]]) -> None:
    """Files come, change, are deleted, lost and found; the row is written some time later; somebody looks now and then.

    Sizes are so few that they agree by chance all the time.
    """
    server, lake, counted = Server({}), dict[str, int](), set[str]()
    for what, key, size in events:
        if (what == "add" and key not in server.files | lake) or (what == "change" and key in server.sent):
            server = replace(server, files={**server.files, key: size})
        elif what == "delete":
            files = {each: size for each, size in server.files.items() if each != key}
            server = replace(server, files=files, lost=server.lost - {key})
        elif what in ("lose", "find") and key in server.files:
            server = replace(server, lost=server.lost | {key} if what == "lose" else server.lost - {key})
        elif what == "count":
            server = server.counted()
        elif what == "look":
            same = {each for each, size in server.sent.items() if lake.get(each) == size}
            held = [HeldFile(each, size, each in counted, each in same) for each, size in lake.items()]
            deleted = deleted_upstream(server.count, held)
            assert deleted.isdisjoint(server.files), (server, lake, counted)
            counted = (counted - deleted) & (same | lake.keys() - server.sent.keys())
            lake = {each: size for each, size in {**lake, **server.sent}.items() if each not in deleted}
            if sum(lake.values()) == server.count:
                counted = set(lake)


FILES = st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.booleans()), max_size=4)


@given(FILES, st.integers(0, 20))
def test_no_consistent_explanation_has_a_file_that_is_believed_deleted(
    facts: list[tuple[int, bool, bool]], count: int
) -> None:
    """Tried by brute force: each file may still be there or not, each uncounted one be in the count or not, a lost one
    have another size, and an object that nobody ever got be counted too."""
    files = [HeldFile(str(number), *fact) for number, fact in enumerate(facts)]
    deleted = deleted_upstream(count, files)
    missing = [file for file in files if not file.sent]
    for there in chain.from_iterable(combinations(missing, number) for number in range(len(missing) + 1)):
        has = [*(file for file in files if file.sent), *there]
        sizes = [
            # What the row counted once is in it while the server has it; a lost file may have changed before.
            ({file.size_bytes} if file.sent else set(range(1, 6))) | (set() if file.counted else {0})
            for file in has
        ]
        if any(sum(choice) <= count for choice in product(*sizes)):  # the rest may be what nobody ever got
            assert deleted.isdisjoint(file.key for file in there)


# With a server


def test_a_lost_object_and_an_uncounted_file_of_its_size_are_no_deletion(
    world: World, client: BeiweClient, lake: StudyLake
) -> None:
    """What came equals the count to the byte, and yet the lake holds the last copy of what is counted."""
    world.add_hour(PERSON, "gps", NOON)
    sync(client, lake, cells_of(PERSON), daily=daily(client))
    last_copy = world.lose_object(PERSON, "gps", NOON)
    world.counts_wait = True
    late = world.add_hour(PERSON, "gps", NOON + HOUR)
    world.set_content(PERSON, "gps", late.bin, b"x" * last_copy.size_bytes)
    everything = contents(lake)
    for _ in range(2):
        reports = sync(client, lake, cells_of(PERSON), daily=daily(client), policy=REMOVE)
        assert sum(report.deleted_upstream for report in reports) == 0
        assert everything.items() <= contents(lake).items()
    world.count()
    reports = sync(client, lake, cells_of(PERSON), daily=daily(client), policy=REMOVE)
    assert everything.items() <= contents(lake).items()


def test_a_file_that_was_lost_before_it_was_counted_is_kept(world: World, client: BeiweClient, lake: StudyLake) -> None:
    """Nothing of the count is missing without it, which proves nothing."""
    world.counts_wait = True
    world.add_answers(PERSON, START + DAY + 9 * HOUR)
    sync(client, lake, cells_of(PERSON), daily=daily(client))
    everything = contents(lake)
    world.lose_object(PERSON, "survey_answers", START + DAY + 9 * HOUR)
    reports = sync(client, lake, cells_of(PERSON), daily=daily(client), policy=REMOVE)
    assert sum(report.deleted_upstream for report in reports) == 0
    assert contents(lake) == everything


def test_the_last_file_of_a_day_is_kept(world: World, client: BeiweClient, lake: StudyLake) -> None:
    """Its count stays with the server, as if its object were lost: it is kept and nothing is requested again."""
    sync(client, lake, cells_of(PERSON), daily=daily(client))
    everything = contents(lake)
    world.delete_files(PERSON, stream="gps")
    reports = sync(client, lake, cells_of(PERSON), daily=daily(client), policy=REMOVE)
    assert [report.deleted_upstream for report in reports] == [0, 0]
    assert contents(lake) == everything


def test_new_files_that_are_not_counted_yet_hide_no_deletion(
    world: World, client: BeiweClient, lake: StudyLake
) -> None:
    """The row was written after the deletion, and before they came."""
    sync(client, lake, cells_of(PERSON), daily=daily(client))
    hour = START + 3 * DAY + 5 * HOUR
    world.delete_files(PERSON, stream="gps", hour=hour)
    world.counts_wait = True
    world.add_hour(PERSON, "gps", NOON)
    reports = sync(client, lake, cells_of(PERSON), daily=daily(client))
    assert [report.deleted_upstream for report in reports] == [1, 0]
    assert contents(lake) == truth(world)


@pytest.mark.parametrize("known", [True, False])
def test_a_deletion_is_found_by_the_zone_in_which_the_day_was_counted(known: bool, lake: StudyLake) -> None:
    """The study moved from New York to Tokyo: days counted before keep their hours. If nobody knows the former zone,
    nothing is deleted."""
    world = small_world(hours=(2, 14, 20))
    hour = START + 3 * DAY + 14 * HOUR
    with SimulatedServer(world) as server, client_of(server) as client:
        sync(client, lake, cells_of(PERSON), daily=daily(client))
        everything = contents(lake)
        world.delete_files(PERSON, stream="gps", hour=hour)
        world.change_zone(STUDY, "Asia/Tokyo")
        former = ["America/New_York"] if known else []
        server.forget_requests()
        reports = sync(client, lake, cells_of(PERSON), daily=daily(client, "Asia/Tokyo", *former), policy=REMOVE)
        assert sum(report.deleted_upstream for report in reports) == int(known)
        assert contents(lake) == (truth(world) if known else everything)
        assert downloads(server) <= 2


@pytest.mark.parametrize("profile", ["2025-12", "2026-03"])
def test_a_lost_file_that_an_old_day_counts_is_kept_after_a_change_of_zone(profile: str, folder: Path) -> None:
    """By the new zone's days, less is counted than came with another hour: but the file is counted on the old day."""
    world = small_world(hours=(2, 14, 20))
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world, profile=profile) as server, client_of(server) as client:
        sync(client, lake, cells_of(PERSON), daily=daily(client))
        everything = contents(lake)
        world.change_zone(STUDY, "Asia/Tokyo")
        for day in range(3, 6):
            world.lose_object(PERSON, "gps", START + day * DAY + 20 * HOUR)
        for former in ([], ["America/New_York"]):
            reports = sync(client, lake, cells_of(PERSON), daily=daily(client, "Asia/Tokyo", *former), policy=REMOVE)
            assert sum(report.deleted_upstream for report in reports) == 0
        # One day is counted anew by the new zone; it shares hours with days of the old one.
        world.add_rows(PERSON, "gps", START + 4 * DAY + 14 * HOUR)
        reports = sync(
            client, lake, cells_of(PERSON), daily=daily(client, "Asia/Tokyo", "America/New_York"), policy=REMOVE
        )
        assert sum(report.deleted_upstream for report in reports) == 0
        assert contents(lake).keys() == everything.keys()


def test_a_file_that_was_counted_in_another_row_was_not_counted_in_this_one(lake: StudyLake) -> None:
    """Chicago and Shanghai both are CST, and nobody remembers Chicago: by Shanghai's days, a file is of the day after.
    The row of that day counts what else is held of it, and the file is counted in the row of its own."""
    world = small_world(time_zone="America/Chicago", hours=(12, 20), streams=("gps",))
    day, hour = START + 3 * DAY, START + 3 * DAY + 20 * HOUR
    world.delete_files(PERSON, stream="gps", hour=hour + DAY)
    cells = cells_of(PERSON, granularity="daily", start=day, end=day + 3 * DAY)
    with SimulatedServer(world) as server, client_of(server) as client:
        with time_machine.travel(datetime.now(timezone.utc) - DAY):
            sync(client, lake, cells[:1], daily=daily(client, "America/Chicago"))
        sync(client, lake, cells, daily=daily(client, "America/Chicago"))
        everything = contents(lake)
        world.change_zone(STUDY, "Asia/Shanghai")
        world.lose_object(PERSON, "gps", hour)
        sync(client, lake, cells, daily=daily(client, "Asia/Shanghai"), policy=REMOVE)
        assert contents(lake) == everything


@pytest.mark.parametrize("certain", [True, False])
def test_a_name_of_several_zones_proves_nothing_while_the_zone_is_a_guess(certain: bool) -> None:
    """New York's names have one meaning, Chicago's have more."""
    for zone, name, sure in (("America/New_York", "EST", True), ("America/Chicago", "CST", certain)):
        row = DailyBytes(participant=PERSON, day=START.date(), bytes_by_stream={"gps": 1}, zone=name)
        days = DailyIndex.of(ZoneInfo(zone), [row], certain=certain)
        assert days.day(PERSON, START.date()).certain == sure
