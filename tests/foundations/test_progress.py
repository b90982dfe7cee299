"""How far work is, measured on a clock of the test's own."""

from __future__ import annotations

import pytest

from dagster_beiwe.progress import MeasuredProgress, Reached


class Work:
    """Items of 20 MB, each of which takes so long; what was told about them."""

    def __init__(self, *, every_seconds: float = 10, size_bytes: int | None = 200_000_000) -> None:
        self.now = 0.0
        self.told: list[Reached] = []
        self.progress = MeasuredProgress("files", self.told.append, every_seconds=every_seconds, clock=lambda: self.now)
        self.progress.expect(10, size_bytes)

    def do(self, items: int, *, seconds: float) -> None:
        for _ in range(items):
            self.now += seconds
            self.progress.advance(1, 20_000_000)


def test_it_is_told_now_and_then() -> None:
    """With rate and time left; not of what takes a moment."""
    work = Work()
    work.do(10, seconds=0.1)
    assert work.told == []
    work = Work()
    work.do(10, seconds=5)
    assert len(work.told) == 5
    work = Work()
    work.do(1, seconds=20)
    assert str(work.told[0]) == "1 of 10 files, 20.0 MB of 200.0 MB, 1.0 MB/s, 3 min 0 s left"
    assert work.told[0].short == "1 of 10 files, 20.0 MB, 1.0 MB/s, 3 min 0 s left"


@pytest.mark.parametrize(("seconds", "left"), [(30, "4 min 30 s"), (4_000, "10 h 0 min")])
def test_the_time_left_is_in_words(seconds: float, left: str) -> None:
    work = Work(size_bytes=None)
    work.do(1, seconds=seconds)
    assert str(work.told[0]).endswith(f"/s, {left} left")


def test_what_an_earlier_call_has_done_does_not_make_the_rest_look_fast() -> None:
    """Half of the work is there already, and goes by in a second."""
    work = Work()
    work.do(5, seconds=0.2)
    work.do(5, seconds=40)
    assert [round(each.seconds_left or 0) for each in work.told] == [27, 120, 80, 40, 0]


def test_a_large_file_is_told_of_before_it_is_done() -> None:
    work = Work()
    work.now = 20
    work.progress.within(10_000_000)
    assert str(work.told[0]) == "0 of 10 files, 10.0 MB of 200.0 MB, 500.0 kB/s, 6 min 20 s left"


def test_nobody_knows_how_long_what_has_not_begun_takes() -> None:
    work = Work()
    work.now = 20
    work.progress.advance(0)
    assert str(work.told[0]) == "0 of 10 files, 0 B of 200.0 MB"
