"""Do something slow while something else waits, or several things at the same time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

_T = TypeVar("_T")

BUSY_THREADS: Final = min(4, os.cpu_count() or 1)
"""How many threads share work that keeps processors busy. Each holds a part of it in memory."""


def begin(work: Callable[[], _T]) -> Future[_T]:
    """Begin ``work`` in a thread that nobody has to wait for: who is interrupted, or fails before, goes on at once."""
    future: Future[_T] = Future()
    threading.Thread(target=_run, args=(work, future), name="beiwe-meanwhile", daemon=True).start()
    return future


def _run(work: Callable[[], _T], future: Future[_T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001  # raised where somebody waits for the result
        future.set_exception(error)
    finally:
        del future  # or this frame and the error would keep each other
