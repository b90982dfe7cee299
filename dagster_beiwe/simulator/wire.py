"""HTTP/1.1 on one connection: requests in, responses out, correct or with misbehaviors."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler
from itertools import chain
from threading import Event
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from dagster_beiwe.simulator.answers import Answer, html_page
from dagster_beiwe.simulator.archives import PoisonedError
from dagster_beiwe.simulator.forms import Request, parse_form
from dagster_beiwe.simulator.misbehavior import Delivery

_MAX_FORM_BYTES = 128 * 1024 * 1024
_GATHER_BYTES = 64 * 1024
_SAFETY_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_GUNICORN_PAGE = (
    b"<html>\n  <head>\n    <title>Internal Server Error</title>\n  </head>\n  <body>\n"
    b"    <h1><p>Internal Server Error</p></h1>\n    \n  </body>\n</html>\n"
)


class Application(Protocol):
    """Responds to the requests of a connection, and keeps the log."""

    behind_nginx: bool
    max_form_bytes: int | None
    stopping: Event

    def control_answer(self, request: Request, body: bytes) -> Answer | None: ...
    def respond(self, request: Request) -> tuple[Answer, Delivery]: ...
    def record(self, request: Request, *, status: int, bytes_received: int, bytes_sent: int) -> None: ...
    def download_begins(self) -> None: ...
    def download_ends(self) -> None: ...


class Handler(BaseHTTPRequestHandler):
    """One connection of one client."""

    protocol_version = "HTTP/1.1"
    server_version = "gunicorn"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1  # buffered: the head of an answer must not go out before the answer is in the log

    def __init__(self, simulated: Application, *args: Any, **kwargs: Any) -> None:
        self.simulated = simulated
        self._downloading = False
        super().__init__(*args, **kwargs)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
        """Do nothing, because the server keeps its own log."""

    def _serve(self) -> None:
        body = self._read_body()
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=unquote(parts.path),
            form=parse_form(self.headers.get("Content-Type", ""), body) if self.command == "POST" else (),
            query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
            cookies=self._cookies(),
            headers={name.lower(): value for name, value in self.headers.items()},
        )
        if (controlled := self.simulated.control_answer(request, body)) is not None:
            self._send(controlled, Delivery(), None, 0)
        elif len(body) > (self.simulated.max_form_bytes or len(body)):
            page = html_page("413 Request Entity Too Large")
            self._send(Answer(status=413, body=page), Delivery(), request, len(body))
        elif len(body) > _MAX_FORM_BYTES:
            self._send(Answer(status=400, body=html_page("Bad Request (400)")), Delivery(), request, len(body))
        else:
            self._downloading = request.route.startswith("/get-data/")
            if self._downloading:
                self.simulated.download_begins()
            try:
                answer, delivery = self.simulated.respond(request)
                self._send(answer, delivery, request, len(body))
            finally:
                self._download_ends()

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD = _serve  # noqa: N815  # names of the base class

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _cookies(self) -> dict[str, str]:
        with suppress(CookieError):
            return {name: morsel.value for name, morsel in SimpleCookie(self.headers.get("Cookie", "")).items()}
        return {}

    def _send(self, answer: Answer, delivery: Delivery, request: Request | None, bytes_received: int) -> None:
        if delivery.reset:
            self._record(request, 0, bytes_received, 0)
            self._reset()
            return
        answer, chunks = _begun(answer)
        total = answer.archive.size_bytes if answer.archive and delivery.cuts else len(answer.body)
        limit = None
        if delivery.cuts:
            limit = total // 2 if delivery.cut_after_bytes is None else delivery.cut_after_bytes
            total = min(total, limit) if delivery.silent_cut else total
        self._send_head(answer, None if answer.chunked else total)
        sender = _Sender(self, chunked=answer.chunked, delivery=delivery)
        complete = self.command == "HEAD" or sender.send(chunks, limit)
        self._record(request, answer.status, bytes_received, sender.sent_bytes)
        if self.command == "HEAD":
            self.wfile.flush()
        elif complete or delivery.silent_cut or self.simulated.behind_nginx:
            sender.finish()
        else:
            sender.flush()
            self.close_connection = True

    def _send_head(self, answer: Answer, length: int | None) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        for name, value in {**answer.headers, **_SAFETY_HEADERS}.items():
            self.send_header(name, value)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _record(self, request: Request | None, status: int, bytes_received: int, bytes_sent: int) -> None:
        """Log the request before its last byte is sent, so that a client with a response finds it there."""
        self._download_ends()
        if request is not None:
            self.simulated.record(request, status=status, bytes_received=bytes_received, bytes_sent=bytes_sent)

    def _download_ends(self) -> None:
        if self._downloading:
            self._downloading = False
            self.simulated.download_ends()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _begun(answer: Answer) -> tuple[Answer, Iterator[bytes]]:
    """The response and its body. Until something is sent, the application server can still report a failure."""
    if answer.archive is None:
        return answer, iter((answer.body,) if answer.body else ())
    chunks = answer.archive.chunks()
    try:
        first = next(chunks)
    except PoisonedError:
        return Answer(status=500, body=_GUNICORN_PAGE), iter((_GUNICORN_PAGE,))
    return answer, chain((first,), chunks)


class _Sender:
    """Writes a body, chunked or not; small chunks are gathered, and the last one waits for ``finish`` or ``flush``."""

    def __init__(self, handler: Handler, *, chunked: bool, delivery: Delivery) -> None:
        self._file = handler.wfile
        self._pause = handler.simulated.stopping.wait
        self._chunked = chunked
        self._delivery = delivery
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self.sent_bytes = 0

    def send(self, chunks: Iterable[bytes], limit: int | None) -> bool:
        """Whether the body was sent to its end (its last part may still be gathered)."""
        try:
            for chunk in chunks:
                if limit is not None and self.sent_bytes + len(chunk) > limit:
                    self._gather(chunk[: limit - self.sent_bytes])
                    return False
                self._gather(chunk)
        except PoisonedError:
            return False
        return True

    def _gather(self, chunk: bytes) -> None:
        self.sent_bytes += len(chunk)
        trickles = self._delivery.chunk_bytes
        size = trickles or max(1, len(chunk))
        for start in range(0, len(chunk), size):
            if trickles or self._gathered_bytes >= _GATHER_BYTES:
                self.flush()
            if trickles:
                self._pause(self._delivery.pause_seconds)
            self._gathered.append(chunk[start : start + size])
            self._gathered_bytes += len(self._gathered[-1])

    def flush(self) -> None:
        if self._gathered_bytes:
            self._put(self._gathered[0] if len(self._gathered) == 1 else b"".join(self._gathered))
        self._gathered, self._gathered_bytes = [], 0
        self._file.flush()

    def finish(self) -> None:
        self.flush()
        if self._chunked:
            self._file.write(b"0\r\n\r\n")
            self._file.flush()

    def _put(self, data: bytes) -> None:
        if self._chunked:
            self._file.write(b"%x\r\n" % len(data))
        self._file.write(data)
        if self._chunked:
            self._file.write(b"\r\n")
