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


def begin(work: Callable[[], _T]) -> Callable[[], _T]:
    """Begin ``work`` in a thread; the function returned waits for what it returns or raises.

    Nothing else waits: who is interrupted, or fails before, goes on at once, and the work may outlive them.
    """
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised where somebody waits for the result
            future.set_exception(error)

    threading.Thread(target=run, name="beiwe-meanwhile", daemon=True).start()
    return future.result
