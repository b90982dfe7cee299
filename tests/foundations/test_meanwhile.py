"""``meanwhile``: both have ended afterwards, and the error that matters is raised."""

from __future__ import annotations

import threading

import pytest

from dagster_beiwe.meanwhile import meanwhile


def _refuse() -> None:
    raise PermissionError


def test_the_work_goes_on_during_the_block() -> None:
    """Each waits for the other."""
    met = threading.Barrier(2)
    with meanwhile(lambda: met.wait(60)):
        met.wait(60)


def test_the_error_of_the_work_comes_first() -> None:
    """Whether or not the block fails, too; what it failed with is not shown."""
    with pytest.raises(PermissionError), meanwhile(_refuse):
        pass
    with pytest.raises(PermissionError) as failed, meanwhile(_refuse):
        raise ConnectionError
    assert failed.value.__suppress_context__


@pytest.mark.parametrize("kind", [ConnectionError, KeyboardInterrupt])
def test_an_error_of_the_block_waits_for_the_work(kind: type[BaseException]) -> None:
    """An interrupt is raised whatever becomes of the work; nothing goes on afterwards."""
    begun, ends = threading.Event(), []

    def work() -> None:
        begun.wait(60)
        ends.append("work")

    def fail() -> None:
        begun.set()
        raise kind

    with pytest.raises(kind), meanwhile(work):
        fail()
    assert ends == ["work"]
    with pytest.raises(KeyboardInterrupt), meanwhile(_refuse):
        raise KeyboardInterrupt
