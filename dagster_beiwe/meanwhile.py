"""Do something slow while something else waits, or several things at the same time."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

BUSY_THREADS: Final = min(4, os.cpu_count() or 1)
"""How many threads share work that keeps processors busy. Each holds a part of it in memory."""

_AHEAD: Final = 2


def begin(work: Callable[[], _T]) -> Future[_T]:
    """Begin ``work`` in a thread that nobody has to wait for: who is interrupted, or fails before, goes on at once."""
    future: Future[_T] = Future()
    threading.Thread(target=_run, args=(work, future), name="beiwe-meanwhile", daemon=True).start()
    return future


def read_ahead(
    items: Iterable[_T], read: Callable[[_T], _R], *, most: int = _AHEAD, stopped: threading.Event | None = None
) -> Generator[tuple[_T, _R], None, None]:
    """Items with what ``read`` returns for them, in order. At most so many are read that were not asked for yet.

    If it ends early, what is being read ends first. ``stopped`` is set then, for a ``read`` that takes long.
    """
    waiting: deque[tuple[_T, Future[_R]]] = deque()
    with ThreadPoolExecutor(most, thread_name_prefix="beiwe-read") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(read, item)))
                if len(waiting) > most:
                    first, content = waiting.popleft()
                    yield first, content.result()
            while waiting:
                first, content = waiting.popleft()
                yield first, content.result()
        except BaseException:
            if stopped:
                stopped.set()
            for _, content in waiting:
                content.cancel()
            raise


def _run(work: Callable[[], _T], future: Future[_T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001  # raised where somebody waits for the result
        future.set_exception(error)
    finally:
        del future  # or this frame and the error would keep each other
