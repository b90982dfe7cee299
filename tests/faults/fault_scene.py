"""A small study in the middle of its life: a lake that holds some of it, a server that has moved on, and the truth."""

from __future__ import annotations

import hashlib
import re
import stat
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote_plus

from dagster_beiwe.client import BeiweClient, HttpPolicy
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.encryption import CrypteaseCipher
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.member_names import short_key
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, StudySync, WindowReport
from dagster_beiwe.windows import windows_between

STUDY = "FaultFaultFaultFaultFaul"
FIRST, SECOND = "p1person", "p2person"
PASSPHRASE = "canary of the lake's passphrase"
NOW = datetime(2026, 3, 7, tzinfo=timezone.utc)
START = NOW - timedelta(days=3)
BAD_HOUR = datetime(2026, 3, 5, 5, tzinfo=timezone.utc)
BAD_STREAM = "gps"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
STREAMS = ("gps", "power_state", "survey_answers")

CheckLosses = Callable[[Path, World, dict[str, str]], dict[str, str]]
"""The fixture ``check_losses``: takes the lake's folder, the server's world, and what was held before; returns what is
held now."""

_COORDINATE = re.compile(r"-?\d{1,3}\.\d{5,}")


def new_world() -> World:
    """Two participants, three days, a few files a day."""
    plan = StudyPlan(
        id=STUDY,
        name="Faults",
        start=START,
        hours=(5, 18),
        streams=STREAMS,
        content=ContentPlan(rows=4),
        participants=(ParticipantPlan(id=FIRST), ParticipantPlan(id=SECOND)),
    )
    return World.build(plan, now=NOW)


def move_on(world: World) -> None:
    """What happened on the server since the lake was filled: late rows in an old hour, and a new hour."""
    world.add_rows(SECOND, "gps", START + 5 * HOUR)
    world.add_hour(SECOND, "gps", START + 7 * HOUR)


def cells(people: Iterable[str] = (FIRST, SECOND), *, start: datetime = START, end: datetime = NOW) -> list[Cell]:
    return [Cell(person, window) for person in people for window in windows_between("daily", start, end)]


def client_of(server: SimulatedServer, waits: list[float], **policy: object) -> BeiweClient:
    """A client that notes its waits instead of waiting."""
    credentials = Credentials(
        url=server.url,
        access_key=server.access_key,
        secret_key=server.secret_key,
        username=server.username,
        password=server.password,
    )
    return BeiweClient(credentials, policy=HttpPolicy(**policy), sleep=waits.append)  # type: ignore[arg-type]


_CIPHER = CrypteaseCipher(PASSPHRASE)  # for all cases: deriving a key takes longer than most of them


def open_lake(folder: Path) -> StudyLake:
    return BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE, cipher=_CIPHER)


def run(client: BeiweClient, lake: StudyLake, wanted: Iterable[Cell]) -> list[WindowReport]:
    return list(StudySync(client, lake, streams=STREAMS, run_id="run-2").run(wanted))


def fill(folder: Path, world: World) -> None:
    """The lake as yesterday's run left it: the first participant's first two days, and the second's first day."""
    with SimulatedServer(world) as server, client_of(server, []) as client:
        wanted = [*cells([FIRST], end=START + 2 * DAY), *cells([SECOND], end=START + DAY)]
        assert all(report.complete for report in run(client, open_lake(folder), wanted))


def held(folder: Path) -> dict[str, str]:
    """{key: SHA-256 of the plain content} of all that is committed, decrypted and checked while it is read."""
    lake = open_lake(folder)
    return {
        record.key: hashlib.sha256(lake.read(person, record)).hexdigest()
        for person in lake.participants()
        for manifest in lake.manifests(person)
        for record in manifest.files
        if record.present
    }


def truth(world: World, *, start: datetime = START, end: datetime = NOW) -> dict[str, str]:
    """{key: SHA-256} of what the server has."""
    found = world.files(STUDY, start=start, end=end)
    return {short_key(file.key): hashlib.sha256(file.read()).hexdigest() for file in found if not file.lost}


def check_lake(folder: Path) -> None:
    """Intact by its own proof, nothing left over, nothing unaccounted for, nothing open to others."""
    result = verify_study(open_lake(folder))
    assert result.intact, [str(finding) for finding in result.findings]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix == ".part" or path.parent.name == "runs"] == []
    assert [path for path in folder.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def completes(client: BeiweClient, folder: Path, world: World) -> None:
    """The next run brings everything and leaves nothing over."""
    assert all(report.complete for report in run(client, open_lake(folder), cells()))
    check_lake(folder)
    assert held(folder) == truth(world)


def secrets_of(server: SimulatedServer) -> list[str]:
    """Everything that must not be said, as it is and as it looks in a form."""
    plain = [server.access_key, server.secret_key, server.password, PASSPHRASE]
    return [*plain, *map(quote_plus, plain)]


def check_message(text: str, secrets: Iterable[str]) -> None:
    """One line in our words: what was expected and what to do; no secret, login in a URL, or row of data."""
    assert text.strip()
    for secret in secrets:
        assert secret not in text
    assert not re.search(r"://[^/\s]*@", text)
    assert "_key=" not in text
    assert not _COORDINATE.search(text)
    assert "\n" not in text
    assert "\x00" not in text


def everything_in(error: BaseException) -> str:
    """An error as text, with all that travels along with it."""
    seen: list[str] = []
    current: BaseException | None = error
    while current is not None:
        seen += [str(current), repr(current), repr(vars(current))]
        current = current.__cause__ or current.__context__
    return " ".join(seen).replace("\\n", " ")


class Elsewhere:
    """Another host: it writes down whatever comes."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        came = self.came

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                """Nothing to say."""

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                came.append(f"{self.command} {self.path} {self.headers}".encode() + body)
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_GET = do_POST = _any  # noqa: N815  # the names are the base class's

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/somewhere?else=1"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
