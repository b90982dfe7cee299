"""What was requested lately, window by window: decisions without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN
from dagster_beiwe.automation.requested import Change, Request, latest_requests, not_requested, request_tag
from dagster_beiwe.cells import CellKey
from dagster_beiwe.partitions.rectangles import Rectangle, cover

PEOPLE = ("anna0001", "bert0002", "cleo0003")
WINDOWS = tuple(date(2026, 1, day).isoformat() for day in (5, 12, 19, 26))
PRINTS = st.sampled_from(["counts A", "counts B", "counts C"])
NOW, LATER = 5, 10  # the newest records of the log at two requests


def changes(*commits: tuple[int, ...]) -> st.SearchStrategy[Change]:
    return st.builds(Change, committed=st.just("") | PRINTS, counted=PRINTS, commits=st.sampled_from(commits))


def changed(*commits: tuple[int, ...]) -> st.SearchStrategy[dict[CellKey, Change]]:
    return st.dictionaries(st.builds(CellKey, st.sampled_from(PEOPLE), st.sampled_from(WINDOWS)), changes(*commits))


LARGEST_INDEXED_BYTES = 2_600  # of a tag in Postgres: a third of a page, less what stands around it


def requested(wanted: dict[CellKey, Change], largest: int, *, record: int = NOW) -> list[tuple[Rectangle, str]]:
    runs = cover(wanted, participants=PEOPLE, windows=WINDOWS, largest=largest)
    return [(run, request_tag(run, wanted, record=record)) for run in runs]


@settings(deadline=None)
@given(first=changed((3,)), second=changed((3,), (3, 8), (3, 8, 9)), largest=st.integers(1, 12))
def test_a_window_is_requested_for_each_change_once(
    first: dict[CellKey, Change], second: dict[CellKey, Change], largest: int
) -> None:
    """Whatever runs it shares with others; only what a window was last requested for counts."""
    runs = requested(first, largest)
    assert not_requested(first, latest_requests(runs)) == {}
    again = not_requested(second, latest_requests(runs))
    assert set(again) == {cell for cell, change in second.items() if is_new(first.get(cell), change)}
    newest_first = [*requested(again, largest, record=LATER), *runs]
    assert not_requested(second, latest_requests(newest_first)) == {}


def is_new(before: Change | None, now: Change) -> bool:
    """Other counts than those requested, or somebody else's commit since."""
    if before is None or before.counted != now.counted:
        return True
    commits = sum(record > NOW for record in now.commits)
    return now.committed not in ("", before.committed) or (now.committed != "" and commits > 1)


@given(change=changes((3,)))
def test_a_run_whose_commits_never_agree_with_the_counts_is_not_requested_for_ever(change: Change) -> None:
    """Each run commits the same other fingerprint: the window is requested once or twice."""
    latest, requests = Request("", 0), 0
    for record in range(NOW, LATER):
        if not change.is_that_of(latest):
            latest, requests = Request(change.code, record), requests + 1
            change = replace(change, committed="something else", commits=(*change.commits, record + 1))
    assert 1 <= requests <= 2


def test_the_memory_of_the_largest_run_fits_into_an_indexed_tag() -> None:
    """Postgres refuses longer values of a tag."""
    people = [f"person{number:03d}" for number in range(PARTITIONS_PER_RUN)]
    wanted = {CellKey(*place): Change("before", "after") for place in product(people, WINDOWS[:1])}
    (run,) = cover(wanted, participants=people, windows=WINDOWS, largest=PARTITIONS_PER_RUN)
    assert len(request_tag(run, wanted, record=10**9)) < LARGEST_INDEXED_BYTES


def test_a_run_with_somebody_who_is_no_partition_any_more_is_forgotten() -> None:
    """Its codes can't be told apart; to request a window once too often costs little."""
    wanted = {CellKey(one, WINDOWS[0]): Change("", "counts") for one in PEOPLE}
    ((run, tag),) = requested(wanted, 12)
    assert not_requested(wanted, latest_requests([(run, tag[:-4])])) == wanted
