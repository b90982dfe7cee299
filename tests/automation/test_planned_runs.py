"""Which runs are requested, and when whose turn it is: decisions without a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta, timezone
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labs import END_TAG, START_TAG
from look_helpers import GRID, KEYS, PEOPLE, WINDOWS, committed_as

from dagster_beiwe.automation.changes import ChangesCursor, Grid, Held, choose_runs, look_for_changes
from dagster_beiwe.cells import CellKey
from dagster_beiwe.client.answers import DailyBytes
from dagster_beiwe.partitions.rectangles import Rectangle, cover
from dagster_beiwe.studies.server_counts import batches
from dagster_beiwe.sync import DailyIndex
from dagster_beiwe.windows import Window

CELLS = st.sets(st.builds(CellKey, st.sampled_from(PEOPLE), st.sampled_from(KEYS)))


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
