"""A server that gives prepared answers in turn and remembers what it was asked: for what no Beiwe server would do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from typing_extensions import Self

PAGE = b"<!DOCTYPE html><html><body>Page not found</body></html>"


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """One answer; ``chunks`` go out in chunked encoding, which ``cut`` leaves without its end."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunks: tuple[bytes, ...] | None = None
    cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class ScriptedServer:
    """Gives the answers in turn, the last one for ever; or what ``answer`` makes of each request."""

    def __init__(self, *answers: Scripted, answer: Callable[[Asked], Scripted] | None = None) -> None:
        self.asked: list[Asked] = []
        self._answers = list(answers)
        self._answer = answer
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _next(self, asked: Asked) -> Scripted:
        self.asked.append(asked)
        if self._answer is not None:
            return self._answer(asked)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                """Nothing to say."""

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = scripted._next(Asked(method=self.command, path=self.path, headers=headers, body=body))
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.chunks is None:
                    self.send_header("Content-Length", str(len(answer.body) + (10 if answer.cut else 0)))
                    self.end_headers()
                    self.wfile.write(answer.body)
                else:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for chunk in answer.chunks:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    if not answer.cut:
                        self.wfile.write(b"0\r\n\r\n")
                if answer.cut:
                    self.close_connection = True

            do_POST = _serve  # noqa: N815  # the name is the base class's
            do_GET = _serve  # noqa: N815

        return Handler
