"""Read ahead of use: while one file is parsed, the next ones are decrypted, or the server answers the next request."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

_AHEAD: Final = 2

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(
    files: Iterable[T], read: Callable[[T], R], *, most: int = _AHEAD, stopped: threading.Event | None = None
) -> Generator[tuple[T, R], None, None]:
    """Files with what ``read`` returns of them, in order. At most so many are read that were not asked for yet.

    If it ends early, what is being read ends first. ``stopped`` is set then, for a ``read`` that takes long.
    """
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(most, thread_name_prefix="beiwe-read") as pool:
        try:
            for file in files:
                waiting.append((file, pool.submit(read, file)))
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
