"""Play a study on the simulated server: first backfill, days with and without news, an audit, and what is stored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from benchmarks.cost.steps import Job
from benchmarks.cost.worlds import HOURLY, Played
from benchmarks.scale.server import PASSPHRASE
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.simulator.answers import Answer
from dagster_beiwe.simulator.forms import Request
from dagster_beiwe.simulator.misbehavior import Delivery
from dagster_beiwe.simulator.server_streams import server_stream

Facts = dict[str, Any]

LATE_SHARE = 8
"""One of so many participants has late data, of an hour some weeks ago."""

_LATE_DAYS = 35

_ROOT = Path(__file__).parents[2]
_DAY = timedelta(days=1)
_SUMMED = ("downloads", "questions", "sent_bytes", "received_bytes", "files_sent", "files_listed", "plain_bytes")


class CountingServer(SimulatedServer):
    """Counts the files that it sends, and their plain bytes."""

    files_sent = plain_bytes = 0

    def respond(self, request: Request) -> tuple[Answer, Delivery]:
        answer, delivery = super().respond(request)
        if answer.archive:
            self.files_sent += len(answer.archive.entries)
            self.plain_bytes += sum(entry.file.size_bytes for entry in answer.archive.entries)
        return answer, delivery

    def taken(self) -> dict[str, float]:
        """What was asked of the server since the last call; bytes are of bodies, as the client sees them."""
        records = list(self.requests)
        self.forget_requests()
        # A run also asks whether there is a get-data/v2, of nobody.
        forms = [dict(record.form) for record in records if record.route.startswith("/get-data")]
        downloads = [form for form in forms if "user_ids" in form]
        listed = sum(len(json.loads(form.get("registry", "{}"))) for form in downloads)
        found: dict[str, float] = {
            "downloads": len(downloads),
            "questions": len(records) - len(downloads),
            "sent_bytes": sum(record.bytes_received for record in records),
            "received_bytes": sum(record.bytes_sent for record in records),
            "files_sent": self.files_sent,
            "files_listed": listed,
            "plain_bytes": self.plain_bytes,
        }
        self.files_sent = self.plain_bytes = 0
        return found


def play(study: Played, *, folder: Path, say: Callable[[str], None]) -> Facts:
    """Everything that a study costs."""
    folder.mkdir(parents=True)
    with serving(study) as server, _project(study, server, folder) as take:
        return Play(study, server, take, folder, say).everything()


def serving(study: Played) -> CountingServer:
    """A server with the data of a study up to the day before yesterday."""
    today = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return CountingServer(study.world(today - 2 * _DAY))


@dataclass
class Play:
    """A study, its server, and the project that takes the steps of ``benchmarks.cost.steps``."""

    study: Played
    server: CountingServer
    take: Callable[[Facts], Facts]
    folder: Path
    say: Callable[[str], None]

    def everything(self) -> Facts:
        """All steps, one after the other, and what is stored in the end."""
        steps: dict[str, Facts] = {}
        world = self.server.world
        begin = world.now
        steps["tables"] = self.step("tables")
        before = _size(self.folder / "home")
        steps["backfill"] = self._backfill()
        lake, history = self._lake(), _size(self.folder / "home") - before
        files = sum(len(person.files) for person in self._people())
        steps["first look"] = self.step("changes")
        steps["nothing new"] = self.step("changes")
        world.live(begin + _DAY)
        steps["a day"] = self.step("changes")
        for person in self._people():
            for stream in HOURLY:
                if person.os.lower() in server_stream(stream).platforms:
                    world.add_hour(person.id, stream, begin + _DAY)
        steps["an hour"] = self.step("changes")
        ago = timedelta(days=min(_LATE_DAYS, self.study.size.days - 1))
        late = [person.id for person in self._people()][::LATE_SHARE]
        for participant in late:
            world.add_rows(participant, "gps", begin - ago + timedelta(hours=self.study.hours[0]))
        steps["late data"] = self.step("changes")
        steps["phones"] = self.step("histories")
        steps["checks"] = self.step("checks")
        steps["audit of everything"] = self.step("audit", newest=False)
        steps["audit of the newest weeks"] = self.step("audit", newest=True)
        return {
            **asdict(self.study.size),
            "files": files,
            "late": len(late),
            "steps": {
                name: {key: value for key, value in step.items() if key != "seconds"} for name, step in steps.items()
            }
            | {"lake": lake | {"history_bytes": history}},
            "seconds": {name: step["seconds"] for name, step in steps.items()},
            "history_bytes_at_the_end": _size(self.folder / "home"),
        }

    def _people(self) -> list[Any]:
        (study,) = self.server.world.studies.values()
        return list(study.participants.values())

    def _backfill(self) -> Facts:
        """All runs of the first backfill, one after the other."""
        found = self.step("backfill", number=0)
        for number in range(1, found["runs"]):
            another = self.step("backfill", number=number)
            summed = {name: found[name] + another[name] for name in (*_SUMMED, "cpu_seconds", "seconds")}
            found |= summed | {"peak_bytes": max(found["peak_bytes"], another["peak_bytes"])}
        return found

    def step(self, name: str, **options: Any) -> Facts:
        """What a step took of the project's process and of the server."""
        self.server.taken()
        found = self.take({"step": name, **options}) | self.server.taken()
        self.say(f"  {name}: {found['seconds']:.1f} s")
        return found

    def _lake(self) -> dict[str, float]:
        """Bytes and files by what they hold; ``disk_bytes`` are those that the file system has given them."""
        found = dict.fromkeys(("data_bytes", "manifest_bytes", "log_bytes", "table_bytes", "disk_bytes", "inodes"), 0.0)
        for path in _files(self.folder / "lake"):
            facts, parts = path.stat(), path.relative_to(self.folder / "lake").parts
            found["inodes"] += 1
            found["disk_bytes"] += facts.st_blocks * 512
            found[f"{_kind(parts)}_bytes"] += facts.st_size
        return found


@contextmanager
def _project(study: Played, server: CountingServer, folder: Path) -> Iterator[Callable[[Facts], Facts]]:
    """What takes the steps, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.cost.steps"]
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BEIWE_", "DAGSTER_")) and not name.lower().endswith("_proxy")
    }
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=kept | environment(server, folder),
        cwd=_ROOT,
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def take(step: Facts) -> Facts:
            stdin.write(json.dumps(step) + "\n")
            stdin.flush()
            line = stdout.readline()
            if not line:
                raise RuntimeError(f"The step {step['step']} failed; see its error above.")
            found: Facts = json.loads(line)
            return found

        stdin.write(json.dumps(asdict(job_of(study, server))) + "\n")
        yield take
        process.communicate()


def job_of(study: Played, server: CountingServer) -> Job:
    """What the project has to know about the study."""
    (found,) = server.world.studies.values()
    start = min(person.first_registration for person in found.participants.values() if person.first_registration)
    return Job(
        study=found.id,
        start=start.isoformat(),
        request_bytes=study.policy.request_bytes,
        registry_bytes=study.policy.registry_bytes,
    )


def environment(server: CountingServer, folder: Path) -> dict[str, str]:
    """Where the project finds its server, lake, and history."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {
        "BEIWE_URL": server.url,
        "BEIWE_ACCESS_KEY": server.access_key,
        "BEIWE_SECRET_KEY": server.secret_key,
        "BEIWE_LAKE": str(folder / "lake"),
        "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
        "DAGSTER_HOME": str(home),
    }


def _kind(parts: tuple[str, ...]) -> str:
    if ".tables" in parts:
        return "table"
    if len(parts) > 1 and parts[1] == ".beiwe":
        return "log"
    return "manifest" if ".beiwe" in parts else "data"


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))
