"""A connection that can be cut: what is behind it is away, and later back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from typing_extensions import Self


class Proxy:
    """Passes connections on to a port on loopback, from a port of its own."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._away = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._close_all()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Every connection breaks, and none is accepted until the end of the ``with``."""
        self._away = True
        self._close_all()
        yield
        self._away = False

    def _accept(self) -> None:
        with suppress(OSError):  # the end of the listener
            while True:
                near, _ = self._listener.accept()
                self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        try:
            if self._away:
                raise ConnectionRefusedError
            far = socket.create_connection(("127.0.0.1", self._behind))
        except OSError:
            near.close()
            return
        with self._lock:
            self._open |= {near, far}
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        self._close(source, target)

    def _close_all(self) -> None:
        with self._lock:
            found = list(self._open)
        self._close(*found)

    def _close(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with self._lock:
                self._open.discard(each)
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
