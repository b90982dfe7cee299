"""``begin``: work goes on beside what follows, and whoever does not wait for it is not held up."""

from __future__ import annotations

import threading

import pytest

from dagster_beiwe.meanwhile import begin


def test_the_work_goes_on_beside_what_follows() -> None:
    """Each waits for the other."""
    met = threading.Barrier(2)
    done = begin(lambda: met.wait(60) in (0, 1))
    met.wait(60)
    assert done.result()


def test_an_error_of_the_work_is_raised_where_its_result_is_needed() -> None:
    def refuse() -> None:
        raise PermissionError

    done = begin(refuse)
    with pytest.raises(PermissionError):
        done.result()


def test_nobody_waits_for_work_whose_result_is_not_needed() -> None:
    """Neither does the end of the process: the thread is a daemon."""
    end, threads = threading.Event(), set(threading.enumerate())
    begin(end.wait)
    (thread,) = set(threading.enumerate()) - threads
    assert (thread.is_alive(), thread.daemon) == (True, True)
    end.set()
    thread.join(60)
