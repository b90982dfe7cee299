"""Read files ahead of their use: while one is parsed, the next ones are decrypted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

_AHEAD: Final = 2

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(files: Iterable[T], read: Callable[[T], R]) -> Iterator[tuple[T, R]]:
    """Files with what ``read`` returns of them, in order. At most two are read that were not asked for yet."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="beiwe-read") as pool:
        try:
            for file in files:
                waiting.append((file, pool.submit(read, file)))
                if len(waiting) > _AHEAD:
                    first, content = waiting.popleft()
                    yield first, content.result()
            while waiting:
                first, content = waiting.popleft()
                yield first, content.result()
        finally:
            for _, content in waiting:
                content.cancel()
