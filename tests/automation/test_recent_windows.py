"""Only the counts of recent windows are requested if nothing older changed. Nothing is missed, and all get a turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta, timezone
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from look_helpers import GRID, KEYS, PEOPLE, WINDOWS, committed_as

from dagster_beiwe.automation.changes import ChangesCursor, Look, look_for_changes
from dagster_beiwe.cells import CellKey
from dagster_beiwe.client.answers import DailyBytes
from dagster_beiwe.sync import DailyIndex
from dagster_beiwe.windows import Window

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
