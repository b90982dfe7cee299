"""Passes requests on to a store, and kills whoever makes a certain one of them."""

from __future__ import annotations

import re
import socket
import socketserver
import subprocess
import threading
from contextlib import suppress

from receivers import HOST
from typing_extensions import Self

CONTINUE = b"HTTP/1.1 100 "
"""What a store says to a client that waits before it sends the body."""


class FatalRequests:
    """A port on loopback in front of a store's. The ``victim`` is killed at a write whose name matches ``pattern``.

    With ``done`` that is once the store has carried the write out, and before it is answered; else it never arrives.
    """

    victim: subprocess.Popen[str]

    def __init__(self, to: int) -> None:
        self.to = to
        self.pattern, self.done = re.compile(rb"(?!)"), False
        self._server = _Server((HOST, 0), _Connection)
        self._server.requests = self
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="fatal requests")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def set(self, pattern: str, *, done: bool) -> None:
        # S3 and Azure have the name in the first line, Google in the body
        name = rf'^PUT /[^ ?]*(?:{pattern})|"name": ?"[^"]*(?:{pattern})'
        self.pattern, self.done = re.compile(name.encode()), done


class _Server(socketserver.ThreadingTCPServer):
    requests: FatalRequests


class _Connection(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        requests, self._dying = self.server.requests, False
        with socket.create_connection((HOST, requests.to)) as store:
            answers = threading.Thread(target=self._answer, args=(store,))
            answers.start()
            with suppress(OSError):  # either side is gone
                while data := self.request.recv(1 << 16):
                    if requests.pattern.search(data):
                        if not requests.done:
                            requests.victim.kill()
                            break
                        self._dying = True
                    store.sendall(data)
            with suppress(OSError):
                store.shutdown(socket.SHUT_RDWR)
            answers.join()

    def _answer(self, store: socket.socket) -> None:
        with suppress(OSError):
            while data := store.recv(1 << 16):
                if self._dying and not data.startswith(CONTINUE):
                    self.server.requests.victim.kill()
                    return
                self.request.sendall(data)
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)
