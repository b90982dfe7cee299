"""Makes push style out of a function that reads one file object and writes another.

Libraries that want ``work(reader, writer)`` own the loop; here the caller owns it. The function runs in a thread of its
own, in turns with the caller: ``push`` hands over a chunk and returns when the function asks for more. Hence memory is
bounded by the chunk, and an error appears at the chunk that caused it.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from typing import Final


class UnreadInputError(Exception):
    """The function returned before it had read all of its input."""


class Pusher:
    """Runs ``work(reader, writer)`` on pushed bytes; not for use by several threads at once.

    ``push`` and ``finish`` return what was written meanwhile and raise whatever ``work`` raised, then and at each later
    call. An object that is dropped without ``finish`` ends its thread.
    """

    def __init__(self, work: Callable[[object, object], object]) -> None:
        self._turns = turns = _Turns()
        # The thread knows the turns only: otherwise it would keep this object alive, and itself.
        threading.Thread(target=turns.run, args=(work,), name="beiwe-push", daemon=True).start()
        self._abandon = weakref.finalize(self, turns.chunks.put, _ABANDONED)
        turns.asks.acquire()

    def push(self, data: bytes) -> bytes:
        """Raises ``UnreadInputError`` if ``work`` has returned already."""
        if not data:
            return b""
        if not self._turns.ended:
            self._hand_over(data)
        self._raise_error()
        if self._turns.ended:
            raise UnreadInputError
        return self._turns.written()

    def finish(self) -> bytes:
        if not self._turns.ended:
            self._hand_over(_END)
        self._abandon.detach()
        self._raise_error()
        return self._turns.written()

    def _hand_over(self, chunk: bytes) -> None:
        self._turns.chunks.put(chunk)
        self._turns.asks.acquire()

    def _raise_error(self) -> None:
        if self._turns.error is not None:
            raise self._turns.error


_END: Final = b""


class _AbandonedType(bytes):
    """Not input, but the wish to stop; compared by identity."""


_ABANDONED: Final = _AbandonedType()


class _Turns:
    """Both file objects of ``work``, and whose turn it is: ``asks`` is released when the caller may go on."""

    def __init__(self) -> None:
        self.chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.asks = threading.Semaphore(0)
        self.ended = False
        self.error: BaseException | None = None
        self._unread = memoryview(b"")
        self._at_end = False
        self._written: list[bytes] = []

    def run(self, work: Callable[[object, object], object]) -> None:
        try:
            work(self, self)
        except BaseException as error:  # noqa: BLE001  (raised in the caller's thread; a panic in Rust is no Exception)
            self.error = error
        finally:
            self.ended = True
            self.asks.release()

    def read(self, size: int = -1) -> bytes:
        if not self._unread and not self._at_end:
            self.asks.release()
            chunk = self.chunks.get()
            if chunk is _ABANDONED:
                raise EOFError
            self._at_end = not chunk
            self._unread = memoryview(chunk)
        count = len(self._unread) if size < 0 else size
        data, self._unread = bytes(self._unread[:count]), self._unread[count:]
        return data

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing to do: what is written is in memory."""

    def written(self) -> bytes:
        data = b"".join(self._written)
        self._written.clear()
        return data
