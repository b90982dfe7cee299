"""Reading ahead: in order, a few at a time, and not on and on if nobody takes what was read."""

from __future__ import annotations

import threading

import pytest

from dagster_beiwe.meanwhile import read_ahead


def test_what_takes_long_is_told_that_it_ended_early() -> None:
    """The first file cannot be read while the second one is being read."""
    stopped = threading.Event()

    def read(number: int) -> bool:
        if number == 0:
            raise PermissionError
        return stopped.wait(60)

    with pytest.raises(PermissionError):
        list(read_ahead([0, 1], read, stopped=stopped))
    assert stopped.is_set()


def test_nothing_is_stopped_if_everything_was_read() -> None:
    stopped = threading.Event()
    assert list(read_ahead("abc", str.upper, stopped=stopped)) == [("a", "A"), ("b", "B"), ("c", "C")]
    assert not stopped.is_set()
