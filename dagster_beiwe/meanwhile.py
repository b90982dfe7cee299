"""Do something slow while something else waits, or several things at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

BUSY_THREADS: Final = min(4, os.cpu_count() or 1)
"""How many threads share work that keeps processors busy. Each holds a part of it in memory."""


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Run ``work`` in a thread during the block. Both have ended afterwards, whatever happens.

    If both fail, the error of ``work`` is raised, as if it had come first.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="beiwe-meanwhile") as pool:
        done = pool.submit(work)
        try:
            yield
        except Exception:
            if (error := done.exception()) is not None:
                raise error from None
            raise
        done.result()
