"""An S3 on loopback, and a small study to fill it with."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Any, NamedTuple, NoReturn
from zoneinfo import ZoneInfo

from typing_extensions import Self

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.encryption import CrypteaseCipher
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.storage.object_store import ObjectStorage
from dagster_beiwe.member_names import short_key
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, DailyIndex, FetchPolicy, StudySync, WindowReport
from dagster_beiwe.windows import windows_between

STUDY = "ObjectsObjectsObjectsObj"
PEOPLE = ("p1person", "p2person")
PASSPHRASE = "correct horse battery staple"
NOW = datetime(2026, 3, 9, tzinfo=timezone.utc)
START = NOW - timedelta(days=14)  # a Monday, as NOW is
MORNING = START + timedelta(days=3, hours=5)
"""Of the first file."""


@dataclass
class Call:
    """A request that the store got. It can be passed on later, more than once, or never."""

    method: str
    path: str
    body: bytes
    environ: dict[str, Any]
    _store: Any

    def pass_on(self, body: bytes | None = None) -> Answer:
        """Let the store do what was asked for, or another thing."""
        from werkzeug.test import run_wsgi_app

        data = self.body if body is None else body
        environ = {**self.environ, "wsgi.input": io.BytesIO(data), "CONTENT_LENGTH": str(len(data))}
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        parts, status, headers = run_wsgi_app(self._store, environ, buffered=True)
        return Answer(status, list(headers), b"".join(parts))

    def lose_answer(self) -> NoReturn:
        """Break the connection off."""
        self.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionResetError

    def refuse(self, status: str, code: str) -> Answer:
        """An answer as S3 gives it. That to a HEAD request has no room for the code."""
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>geheim</Message></Error>"
        headers = [("Content-Type", "application/xml")]
        return Answer(status, headers, b"" if self.method == "HEAD" else text.encode())


class Answer(NamedTuple):
    status: str
    headers: list[tuple[str, str]]
    body: bytes


def s3_administrator(given: Mapping[str, str]) -> Any:
    """Amazon's own client, for what the lake never does."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=given["AWS_ENDPOINT_URL"],
        aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
        region_name=given["AWS_DEFAULT_REGION"],
    )


class S3:
    """moto's store on loopback. ``requests`` are those that it got, as ``(method, path)``.

    ``meddle`` is asked for the answer to each of them, if it is set.
    """

    def __init__(self) -> None:
        from benchmarks.s3 import new_store, object_store  # processes that only use the store need it not

        self.requests: list[tuple[str, str]] = []
        self.meddle: Callable[[Call], Answer] | None = None
        self._store = new_store()
        self._serving = object_store(self._answer)

    def __enter__(self) -> Self:
        self.environment = {**self._serving.__enter__(), "AWS_MAX_ATTEMPTS": "1"}
        """What a store's client looks for, and nothing of the machine's own."""
        return self

    def __exit__(self, *exception: object) -> None:
        self._serving.__exit__(None, None, None)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        from werkzeug.wsgi import get_input_stream

        path = environ["RAW_URI"]
        self.requests.append((environ["REQUEST_METHOD"], path))
        if self.meddle is None:
            return self._store(environ, start_response)  # type: ignore[no-any-return]
        call = Call(environ["REQUEST_METHOD"], path, get_input_stream(environ).read(), environ, self._store)
        status, headers, body = self.meddle(call)
        start_response(status, headers)
        return [body]

    @cached_property
    def administrator(self) -> Any:
        """One for all: it is slow to make."""
        return s3_administrator(self.environment)

    def unfinished_uploads(self, url: str) -> list[str]:
        """Names of uploads in a lake's bucket that were begun, and neither completed nor aborted."""
        found = self.administrator.list_multipart_uploads(Bucket=url.split("/")[2])
        return [upload["Key"] for upload in found.get("Uploads", [])]


def small_world(**plan: object) -> World:
    """Ten days over two weeks of two participants: a file each a day."""
    usual: dict[str, object] = {
        "name": "Objects",
        "id": STUDY,
        "start": START + timedelta(days=3),
        "hours": (5,),
        "streams": ("gps",),
        "content": ContentPlan(rows=4),
        "participants": tuple(ParticipantPlan(id=name) for name in PEOPLE),
    }
    return World.build(StudyPlan(**{**usual, **plan}), now=NOW)  # type: ignore[arg-type]


def cells_of(*people: str) -> list[Cell]:
    return [Cell(person, window) for person in people for window in windows_between("weekly", START, NOW)]


def study_lake(url: str, *, passphrase: str = PASSPHRASE) -> StudyLake:
    return StudyLake(ObjectStorage(url), STUDY, passphrase=passphrase, cipher=CrypteaseCipher(passphrase))


@contextmanager
def client_of(url: str, access_key: str, secret_key: str) -> Iterator[BeiweClient]:
    credentials = Credentials(url=url, access_key=access_key, secret_key=secret_key)
    with BeiweClient(credentials, sleep=lambda seconds: None) as client:
        yield client


def sync(
    server: SimulatedServer, lake: StudyLake, *people: str, policy: FetchPolicy | None = None
) -> list[WindowReport]:
    """One run over all windows, with the server's daily counts."""
    with client_of(server.url, server.access_key, server.secret_key) as client:
        daily = DailyIndex.of(ZoneInfo("America/New_York"), client.summary_statistics(STUDY))
        run = StudySync(client, lake, run_id="run-1", policy=policy or FetchPolicy(), daily=daily)
        return list(run.run(cells_of(*(people or PEOPLE))))


_ELSEWHERE = """
import sys
sys.path.insert(0, {folder!r})
from object_helpers import *

lake_url, url, access_key, secret_key = sys.argv[1:]
with client_of(url, access_key, secret_key) as client:
    for report in StudySync(client, study_lake(lake_url), run_id="elsewhere").run(cells_of(PEOPLE[0])):
        print(report.cell.participant, report.files, flush=True)
"""


def sync_elsewhere(
    server: SimulatedServer, lake_url: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """The first participant, in another process."""
    script = _ELSEWHERE.format(folder=os.path.dirname(__file__))
    arguments = [lake_url, server.url, server.access_key, server.secret_key]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    pipes["env"] = {**os.environ, **(environment or {})}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], **pipes)


def contents(lake: StudyLake, *people: str) -> dict[str, str]:
    """{key: SHA-256} of all present files, read back and decrypted from the lake."""
    return {
        record.key: hashlib.sha256(lake.read(person, record)).hexdigest()
        for person in people or PEOPLE
        for manifest in lake.manifests(person)
        for record in manifest.files
        if record.present
    }


def truth(world: World, *people: str) -> dict[str, str]:
    """{key: SHA-256} of what the server has."""
    found = world.files(STUDY, participants=list(people or PEOPLE), start=START, end=NOW)
    return {short_key(file.key): hashlib.sha256(file.read()).hexdigest() for file in found}


def leftovers(lake: StudyLake) -> list[str]:
    """Objects that only a running commit may have, or a run that died."""
    return [file.path for file in lake.storage.scan(f"{STUDY}/.beiwe/runs")]
