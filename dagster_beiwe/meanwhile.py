"""Do something slow while something else waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


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
