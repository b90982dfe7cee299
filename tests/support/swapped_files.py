"""Exchange a file or folder at the worst moment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def swapping(name: str, swap: Callable[[], object]) -> Iterator[None]:
    """Do something right before a file or folder of that name is opened, once."""
    real, left = os.open, [swap]

    def hook(path: str, *args: int, **options: int) -> int:
        if left and os.fspath(path).endswith(name):
            left.pop()()
        return real(path, *args, **options)

    os.open = hook  # type: ignore[assignment]
    try:
        yield
    finally:
        os.open = real
    assert not left
