"""What was requested lately, window by window: decisions without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN
from dagster_beiwe.automation.requested import Change, codes_of, latest_requests, not_requested
from dagster_beiwe.covering import Place, cover

PEOPLE = ("anna0001", "bert0002", "cleo0003")
WINDOWS = tuple(date(2026, 1, day).isoformat() for day in (5, 12, 19, 26))
PRINTS = st.sampled_from(["counts A", "counts B", "counts C"])
CHANGES = st.builds(Change, committed=st.just("") | PRINTS, counted=PRINTS, generation=st.integers(0, 5))
CHANGED = st.dictionaries(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(WINDOWS)), CHANGES)
LARGEST_INDEXED_BYTES = 2_600  # of a tag in Postgres: a third of a page, less what stands around it


def requested(changes: dict[Place, Change], largest: int) -> list[tuple[object, str]]:
    runs = cover(changes, participants=PEOPLE, windows=WINDOWS, largest=largest)
    return [(run, codes_of(run, changes)) for run in runs]


@settings(deadline=None)
@given(first=CHANGED, second=CHANGED, largest=st.integers(1, 12))
def test_a_window_is_requested_for_each_change_once(
    first: dict[Place, Change], second: dict[Place, Change], largest: int
) -> None:
    """Whatever runs it shares with others; only what a window was last requested for counts."""
    runs = requested(first, largest)
    assert not_requested(first, latest_requests(runs)) == {}
    again = not_requested(second, latest_requests(runs))
    assert set(again) == {place for place, change in second.items() if is_new(first.get(place), change)}
    newest_first = [*requested(again, largest), *runs]
    assert not_requested(second, latest_requests(newest_first)) == {}


def is_new(before: Change | None, now: Change) -> bool:
    """Other counts than those requested, or somebody else's commit since."""
    if before is None or before.counted != now.counted:
        return True
    commits = (now.generation - before.generation) % 64
    return now.committed not in ("", before.committed) or (now.committed != "" and commits > 1)


@given(change=CHANGES)
def test_a_run_whose_commits_never_agree_with_the_counts_is_not_requested_for_ever(change: Change) -> None:
    """Each run commits the same other fingerprint: the window is requested once or twice."""
    latest, requests = "", 0
    for _ in range(5):
        if not change.is_that_of(latest):
            latest, requests = change.code, requests + 1
            change = replace(change, committed="something else", generation=change.generation + 1)
    assert 1 <= requests <= 2


def test_the_memory_of_the_largest_run_fits_into_an_indexed_tag() -> None:
    """Postgres refuses longer values of a tag."""
    people = [f"person{number:03d}" for number in range(PARTITIONS_PER_RUN)]
    changes = {place: Change("before", "after") for place in product(people, WINDOWS[:1])}
    (run,) = cover(changes, participants=people, windows=WINDOWS, largest=PARTITIONS_PER_RUN)
    assert len(codes_of(run, changes)) < LARGEST_INDEXED_BYTES


def test_a_run_with_somebody_who_is_no_partition_any_more_is_forgotten() -> None:
    """Its codes can't be told apart; to request a window once too often costs little."""
    changes = {(one, WINDOWS[0]): Change("", "counts") for one in PEOPLE}
    ((run, codes),) = requested(changes, 12)
    assert not_requested(changes, latest_requests([(run, codes[5:])])) == changes
