"""Which runs are requested, and when whose turn it is: decisions without a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labs import END_TAG, START_TAG, version

from dagster_beiwe.automation.changes import ChangesCursor, Grid, Held, Look, choose_runs, look_for_changes
from dagster_beiwe.cells import CellKey
from dagster_beiwe.client.answers import DailyBytes
from dagster_beiwe.partitions.rectangles import Rectangle, cover
from dagster_beiwe.studies.server_counts import batches
from dagster_beiwe.sync import DailyIndex
from dagster_beiwe.windows import Window, windows_between

PEOPLE = [f"person{number:02d}" for number in range(8)]
WINDOWS = list(
    windows_between("weekly", datetime(2026, 1, 5, tzinfo=timezone.utc), datetime(2026, 2, 16, tzinfo=timezone.utc))
)
KEYS = [window.key for window in WINDOWS]
CELLS = st.sets(st.builds(CellKey, st.sampled_from(PEOPLE), st.sampled_from(KEYS)))
GRID = Grid(participants=PEOPLE, windows=WINDOWS, streams=("gps",), today=date(2026, 2, 16))


@settings(max_examples=200, deadline=None)
@given(cells=CELLS, largest=st.integers(1, 20))
def test_runs_cover_each_window_once_and_no_other(cells: set[CellKey], largest: int) -> None:
    """However they are scattered; none is larger than a run may be."""
    found = cover(cells, participants=PEOPLE, windows=KEYS, largest=largest)
    covered = [cell for rectangle in found for cell in rectangle.cells()]
    assert sorted(covered) == sorted(cells)
    assert all(len(rectangle) <= largest for rectangle in found)


@pytest.mark.parametrize(
    ("cells", "runs"),
    [
        ([CellKey(one, key) for one in PEOPLE for key in KEYS], 1),
        ([CellKey(one, KEYS[-1]) for one in PEOPLE], 1),
        ([CellKey(PEOPLE[3], key) for key in KEYS], 1),
        ([CellKey(one, key) for one in PEOPLE for key in (KEYS[0], KEYS[-1])], 2),
        ([CellKey(PEOPLE[0], KEYS[0]), CellKey(PEOPLE[1], KEYS[1]), CellKey(PEOPLE[2], KEYS[2])], 3),
        ([], 0),
    ],
)
def test_neighbors_share_a_run(cells: list[CellKey], runs: int) -> None:
    """Along participants as well as along windows."""
    assert len(cover(cells, participants=PEOPLE, windows=KEYS, largest=500)) == runs


def test_a_cross_is_cut_along_the_better_side() -> None:
    """A new window of everybody and late data of one: two runs, or three if cut at the wrong place."""
    cells = {CellKey(one, KEYS[-1]) for one in PEOPLE} | {CellKey(PEOPLE[4], key) for key in KEYS[:-1]}
    assert len(cover(cells, participants=PEOPLE, windows=KEYS, largest=500)) == 2


def counts_of(*people: str, on: date = date(2026, 1, 7)) -> DailyIndex:
    counts = [DailyBytes(participant=one, day=on, bytes_by_stream={"gps": 10}) for one in people]
    return DailyIndex.of(timezone.utc, counts)


def never_committed(_: str) -> Held:
    return Held()


def committed_as(daily: DailyIndex, participant: str, windows: Sequence[Window] = WINDOWS) -> Held:
    """All windows, with the counts of some day."""
    versions = {each.key: [version(counts=daily.fingerprint(participant, each, ("gps",), b"s"))] for each in windows}
    return Held(versions=versions, secret=b"s")


def ticking() -> Iterator[float]:
    """A clock on which each look takes a second."""
    now = 0.0
    while True:
        yield now
        now += 1.0


def test_whoever_was_not_looked_at_is_the_first_next_time() -> None:
    """With time for three of eight, everybody has had a turn after three evaluations."""
    cursor, seen = ChangesCursor(), []
    for _ in range(3):
        looked: list[str] = []

        def committed(participant: str, looked: list[str] = looked) -> Held:
            looked.append(participant)
            return Held()

        look = look_for_changes(
            GRID,
            lambda *_: counts_of(*PEOPLE),
            committed,
            fingerprints={},
            cursor=cursor,
            seconds=2,
            clock=partial(next, ticking()),
        )
        seen += looked
        cursor = ChangesCursor(up_to_date=look.up_to_date, next=f"{look.stopped_at}|")
    assert seen[:8] == PEOPLE


def test_failing_windows_do_not_keep_others_from_their_turn() -> None:
    """Two runs an evaluation, and nothing ever succeeds: each of the scattered windows is requested all the same."""
    dirty = {CellKey(one, key) for number, one in enumerate(PEOPLE) for key in KEYS[number % 2 :: 2]}
    requested: list[CellKey] = []
    start = ""
    for _ in range(len(dirty)):
        choice = choose_runs(GRID, dirty, start=start, largest=500, most_runs=2)
        assert 0 < len(choice.runs) <= 2
        requested += [cell for run in choice.runs for cell in run.cells()]
        start = choice.next
    assert set(requested) == dirty


def test_a_tick_requests_no_more_than_dagster_submits_in_time() -> None:
    """But at least one run, and it says how many wait."""
    dirty = {CellKey(one, key) for one in PEOPLE for key in KEYS}
    choice = choose_runs(GRID, dirty, start="", largest=6, most_partitions=5)
    assert [run.first for run in choice.runs] == [CellKey(PEOPLE[0], KEYS[0])]
    assert choice.waiting == 7


def test_participants_who_are_up_to_date_are_not_read_again_until_their_counts_move() -> None:
    """A fingerprint also moves with what the lake holds, another zone or start, a stream with data, and once a week."""
    daily = counts_of(*PEOPLE)
    totals = {one: {"gps": 10} for one in PEOPLE}
    fingerprints = GRID.counts_fingerprints(totals, zone="UTC")
    first = look_for_changes(
        GRID, lambda *_: daily, partial(committed_as, daily), fingerprints=fingerprints, cursor=ChangesCursor()
    )
    assert (first.looked_at, first.dirty) == (8, {})
    cursor = ChangesCursor(up_to_date=first.up_to_date)

    def looked_at(grid: Grid, *, zone: str = "UTC", **moved: dict[str, int]) -> int:
        now = grid.counts_fingerprints({**totals, **moved}, zone=zone)
        return look_for_changes(grid, lambda *_: daily, never_committed, fingerprints=now, cursor=cursor).looked_at

    assert looked_at(GRID) == 0
    assert looked_at(GRID, person05={"gps": 11}) == 1
    assert looked_at(GRID, person05={"gps": 10, "calls": 5}) == 0  # a stream that the study does not fetch
    assert looked_at(GRID, zone="Asia/Kolkata") == 8
    assert looked_at(replace(GRID, windows=WINDOWS[1:])) == 8
    assert [looked_at(replace(GRID, today=GRID.today + timedelta(days=number))) for number in (6, 7)][1] == 8
    assert sum(looked_at(replace(GRID, today=GRID.today + timedelta(days=1))) for _ in "a") < 8
    held = GRID.counts_fingerprints(totals, zone="UTC", held={PEOPLE[0]: "repaired"})
    assert look_for_changes(GRID, lambda *_: daily, never_committed, fingerprints=held, cursor=cursor).looked_at == 1
    more = replace(GRID, streams=("gps", "calls"))
    assert (looked_at(more), looked_at(more, person05={"gps": 10, "calls": 5})) == (0, 1)


def test_a_participant_who_is_gone_does_not_break_the_order() -> None:
    """The cursor may name somebody who is no partition any more."""
    cursor = ChangesCursor(next="gone|2026-01-05")
    look = look_for_changes(GRID, lambda *_: counts_of(*PEOPLE), never_committed, fingerprints={}, cursor=cursor)
    assert look.looked_at == 8
    assert len(choose_runs(GRID, look.dirty, start="gone|2026-01-05", largest=500).runs) == 1


def test_a_rectangle_names_itself_as_dagster_does() -> None:
    """For tags of runs and for the command line."""
    rectangle = Rectangle(("a", "b"), ("2026-01-05", "2026-01-12"))
    assert rectangle.range == "a|2026-01-05...b|2026-01-12"
    assert rectangle.tags[START_TAG] == "a|2026-01-05"
    assert rectangle.tags[END_TAG] == "b|2026-01-12"
    assert (rectangle.tags["participants"], rectangle.tags["windows"]) == ("2: a to b", "2: 2026-01-05 to 2026-01-12")


def test_a_new_window_is_looked_at_where_data_are_dated_later() -> None:
    """It is empty for all others, and the counts of everybody are much to ask for."""
    grid = replace(GRID, windows=WINDOWS[:-1])
    daily = counts_of(*PEOPLE)
    daily = replace(daily, days={**daily.days, **counts_of(PEOPLE[3], on=WINDOWS[-1].start.date()).days})
    fingerprints = grid.counts_fingerprints({one: {"gps": 10} for one in PEOPLE}, zone="UTC")
    committed = partial(committed_as, daily, windows=grid.windows)
    up_to_date = look_for_changes(
        grid, lambda *_: daily, committed, fingerprints=fingerprints, cursor=ChangesCursor()
    ).up_to_date
    assert len(up_to_date) == 8
    for later, looked_at in ((grid, 0), (GRID, 1)):
        cursor = ChangesCursor(up_to_date=up_to_date)
        assert (
            look_for_changes(later, lambda *_: daily, committed, fingerprints=fingerprints, cursor=cursor).looked_at
            == looked_at
        )


def test_batches_end_with_the_time_of_an_evaluation() -> None:
    """The requests cost time too; the next evaluation begins with those who were not looked at."""
    now, looked = 0.0, []
    asked: list[int] = []

    def ask(batch: Sequence[str], _: Sequence[Window]) -> DailyIndex:
        nonlocal now
        now += 10.0
        asked.append(len(batch))
        return counts_of(*batch)

    def committed(participant: str) -> Held:
        looked.append(participant)
        return Held()

    cursor = ChangesCursor()
    for _ in range(2):
        look = look_for_changes(
            GRID,
            ask,
            committed,
            fingerprints={},
            cursor=cursor,
            batches=lambda people, _: batches(people, days=5_000),
            seconds=15.0,
            clock=lambda: now,
        )
        cursor = ChangesCursor(next=f"{look.stopped_at}|")
    assert looked == PEOPLE
    assert asked == [2, 2, 2, 2]


EVERY_DAY = [WINDOWS[0].start.date() + timedelta(days=number) for number in range(-1, 44)]

BOUNDARY = [day for day in EVERY_DAY if abs(day - GRID.recent.windows[0].start.date()) <= timedelta(days=2)]


def looked(
    cursor: ChangesCursor,
    zone: str,
    grown: Mapping[date, int],
    *,
    committed: Mapping[date, int],
    in_parts: bool = True,
    today: date = GRID.today,
) -> tuple[Look, list[Sequence[Window]]]:
    """A look at one participant with 10 bytes a day, and more on some days, and the windows whose counts it requested.
    ``committed`` days had grown before the lake was filled."""

    def counted(more: Mapping[date, int], since: date = EVERY_DAY[0]) -> DailyIndex:
        rows = [
            DailyBytes(participant=PEOPLE[0], day=day, bytes_by_stream={"gps": 10 + more.get(day, 0)})
            for day in EVERY_DAY
            if day >= since
        ]
        return DailyIndex.of(ZoneInfo(zone), rows)

    def ask(_: Sequence[str], windows: Sequence[Window]) -> DailyIndex:
        asked.append(windows)
        return counted(grown, (windows[0].start - timedelta(days=2)).date())

    asked: list[Sequence[Window]] = []
    grid = replace(GRID, participants=PEOPLE[:1], today=today)
    totals = {PEOPLE[0]: {"gps": 10 * len(EVERY_DAY) + sum(grown.values())}}
    found = look_for_changes(
        grid,
        ask,
        partial(committed_as, counted(committed)),
        fingerprints=grid.counts_fingerprints(totals, zone=zone),
        cursor=cursor,
        older_fingerprint=partial(grid.older_fingerprint, totals, zone) if in_parts else None,
    )
    return found, asked


@settings(max_examples=80, deadline=None)
@given(
    zone=st.sampled_from(["Asia/Tokyo", "America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"]),
    grown=st.dictionaries(st.sampled_from(BOUNDARY) | st.sampled_from(EVERY_DAY), st.integers(1, 5), max_size=2),
)
def test_a_look_at_recent_windows_misses_nothing(zone: str, grown: Mapping[date, int]) -> None:
    """Whatever day grew, also one that a recent window shares with an older one: it finds what a look at all finds."""
    first, _ = looked(ChangesCursor(), zone, {}, committed={})
    cursor = ChangesCursor(up_to_date=first.up_to_date, older=first.older)
    assert first.dirty == {}
    assert first.older
    assert (
        looked(cursor, zone, grown, committed={})[0].dirty
        == looked(cursor, zone, grown, committed={}, in_parts=False)[0].dirty
    )


def test_the_counts_of_all_days_are_requested_only_if_something_older_changed() -> None:
    """They are much to ask for every hour. What is older and not fetched yet is found again each time."""
    first, asked = looked(ChangesCursor(), "UTC", {}, committed={})
    assert asked == [WINDOWS]
    cursor = ChangesCursor(up_to_date=first.up_to_date, older=first.older)
    assert ChangesCursor.from_text(cursor.to_text()) == cursor
    new = {EVERY_DAY[-5]: 5}
    found, asked = looked(cursor, "UTC", new, committed={})
    assert ([cell.window for cell in found.dirty], asked) == (KEYS[-1:], [GRID.recent.windows])
    cursor = replace(cursor, up_to_date=found.up_to_date, older=found.older)
    found, asked = looked(cursor, "UTC", new, committed=new)
    assert (found.dirty, len(found.up_to_date), asked) == ({}, 1, [GRID.recent.windows])
    late = {**new, EVERY_DAY[3]: 7}
    for _ in range(2):
        found, asked = looked(cursor, "UTC", late, committed=new)
        assert ([cell.window for cell in found.dirty], asked[-1]) == (KEYS[:1], WINDOWS)
        cursor = replace(cursor, up_to_date=found.up_to_date, older=found.older)
    assert (asked, found.older) == ([WINDOWS], {})


YESTERDAY = GRID.today - timedelta(days=1)
"""One more window was recent."""


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(["Asia/Tokyo", "Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"]),
    growths=st.tuples(*[st.dictionaries(st.sampled_from(EVERY_DAY), st.integers(1, 5), max_size=2)] * 2),
)
def test_nothing_is_missed_when_a_window_stops_being_recent(zone: str, growths: Sequence[Mapping[date, int]]) -> None:
    """Nor by the look after that one, which continues from what it found."""
    found, _ = looked(ChangesCursor(), zone, {}, committed={}, today=YESTERDAY)
    grown: dict[date, int] = {}
    for growth in growths:
        cursor = ChangesCursor(up_to_date=found.up_to_date, older=found.older)
        grown = {day: grown.get(day, 0) + growth.get(day, 0) for day in {**grown, **growth}}
        found, _ = looked(cursor, zone, grown, committed={})
        assert found.dirty == looked(cursor, zone, grown, committed={}, in_parts=False)[0].dirty


class Counting:
    """A server whose answers take 10 s each, and looks at all participants, who have the same bytes on each day."""

    def __init__(self, *, together: int = 1) -> None:
        self.now = 0.0
        self.together = together
        self.asked: list[tuple[str, Sequence[Window]]] = []
        self.days = dict.fromkeys(EVERY_DAY, 10)

    def ask(self, batch: Sequence[str], windows: Sequence[Window]) -> DailyIndex:
        self.now += 10.0
        self.asked += [(each, windows) for each in batch]
        return self._daily(since=(windows[0].start - timedelta(days=2)).date())

    def _daily(self, since: date) -> DailyIndex:
        rows = [
            DailyBytes(participant=one, day=day, bytes_by_stream={"gps": size})
            for one in PEOPLE
            for day, size in self.days.items()
            if day >= since
        ]
        return DailyIndex.of(timezone.utc, rows)

    def look(self, cursor: ChangesCursor, *, committed: DailyIndex, today: date, seconds: float = 1_000.0) -> Look:
        self.asked.clear()
        grid = replace(GRID, today=today)
        totals = {one: {"gps": sum(self.days.values())} for one in PEOPLE}
        return look_for_changes(
            grid,
            self.ask,
            partial(committed_as, committed),
            fingerprints=grid.counts_fingerprints(totals, zone="UTC"),
            cursor=cursor,
            older_fingerprint=partial(grid.older_fingerprint, totals, "UTC"),
            batches=lambda people, _: [people[: self.together]],
            seconds=seconds,
            clock=lambda: self.now,
        )

    def filled(self, today: date) -> tuple[ChangesCursor, DailyIndex]:
        """The cursor after a look at a lake that has everything, and what that is."""
        committed = self._daily(since=EVERY_DAY[0])
        look = self.look(ChangesCursor(), committed=committed, today=today)
        assert (len(look.older), look.dirty) == (len(PEOPLE), {})
        return ChangesCursor(up_to_date=look.up_to_date, older=look.older), committed


def test_the_time_limit_holds_if_older_windows_of_everybody_changed() -> None:
    """Each participant needs two requests, and time for both. All participants have their turn."""
    server = Counting()
    cursor, committed = server.filled(GRID.today)
    server.days[EVERY_DAY[3]] += 5
    found: list[CellKey] = []
    requests: list[int] = []
    for _ in PEOPLE:
        look = server.look(cursor, committed=committed, today=GRID.today, seconds=15.0)
        found += look.dirty
        requests.append(len(server.asked))
        cursor = ChangesCursor(up_to_date=look.up_to_date, older=look.older, next=f"{look.stopped_at}|")
    assert found == [CellKey(one, KEYS[0]) for one in PEOPLE]
    assert requests == [2] * len(PEOPLE)


def test_participants_have_their_turn_if_each_evaluation_has_time_for_one_request() -> None:
    """Also those whose older windows changed, beside others whose recent windows change all the time."""
    server = Counting()
    cursor, committed = server.filled(GRID.today)
    server.days[EVERY_DAY[-5]] += 5
    older = {one: "another" + kept if one in PEOPLE[::2] else kept for one, kept in cursor.older.items()}
    cursor = replace(cursor, older=older)
    seen: set[str] = set()
    for _ in range(12):
        look = server.look(cursor, committed=committed, today=GRID.today, seconds=0.0)
        assert len(server.asked) == 1
        seen |= {cell.participant for cell in look.dirty}
        cursor = ChangesCursor(up_to_date=look.up_to_date, older=look.older, next=f"{look.stopped_at}|")
    assert seen == set(PEOPLE)


def test_a_window_that_stops_being_recent_is_requested_once_more() -> None:
    """By the same request as the recent windows: nobody is requested twice."""
    server = Counting()
    cursor, committed = server.filled(YESTERDAY)
    server.days[EVERY_DAY[-5]] += 5
    for windows in (WINDOWS[3:], WINDOWS[4:]):
        look = server.look(cursor, committed=committed, today=GRID.today)
        assert server.asked == [(one, windows) for one in PEOPLE]
        assert set(look.dirty) == {CellKey(one, KEYS[-1]) for one in PEOPLE}
        cursor = ChangesCursor(up_to_date=look.up_to_date, older=look.older)


def test_all_windows_are_requested_once_a_week() -> None:
    """Even if the sum of what is older is what it was."""
    server = Counting()
    cursor, committed = server.filled(GRID.today - timedelta(days=7))
    server.days |= {EVERY_DAY[-5]: 15, EVERY_DAY[3]: 15, EVERY_DAY[10]: 5}
    look = server.look(cursor, committed=committed, today=GRID.today)
    assert set(look.dirty) == {CellKey(one, key) for one in PEOPLE for key in (KEYS[0], KEYS[1], KEYS[-1])}
    assert [one for one, windows in server.asked if windows == WINDOWS] == PEOPLE


def test_participants_are_requested_together_if_it_is_for_the_same_windows() -> None:
    """Whatever is known of each: nothing, what was recent yesterday or today, or that something older changed."""
    server = Counting(together=3)
    now, committed = server.filled(GRID.today)
    before, _ = server.filled(YESTERDAY)
    moved = dict.fromkeys(PEOPLE, f"moved {GRID.recent.windows[0].key}")
    kinds = [{}, before.older, now.older, moved]
    older = {one: kept[one] for one, kept in zip(PEOPLE, kinds * 2, strict=True) if kept}
    server.days[EVERY_DAY[-5]] += 5
    look = server.look(ChangesCursor(older=older), committed=committed, today=GRID.today)
    assert set(look.dirty) == {CellKey(one, KEYS[-1]) for one in PEOPLE}
    assert server.asked == [
        (PEOPLE[number], WINDOWS[begin:])
        for batch, begin in [((0, 4), 0), ((1, 5), 3), ((2, 3, 6), 4), ((3,), 0), ((7,), 4), ((7,), 0)]
        for number in batch
    ]
    server.look(ChangesCursor(older=look.older), committed=committed, today=GRID.today)
    assert server.asked == [(one, GRID.recent.windows) for one in PEOPLE]


@pytest.mark.parametrize("kept", ["0123456789ab", "0123456789ab 2025-12-29", "", " "])
def test_an_older_fingerprint_that_names_no_window_costs_a_look_at_all(kept: str) -> None:
    """One of a study that began earlier, or of another version."""
    look, asked = looked(ChangesCursor(older={PEOPLE[0]: kept}), "UTC", {}, committed={})
    assert (look.dirty, asked) == ({}, [WINDOWS])
    assert look.older[PEOPLE[0]].endswith(f" {GRID.recent.windows[0].key}")
