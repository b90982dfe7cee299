"""The demo's simulated server: its studies live, and go on where an earlier demo in the folder ended."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.private_files import read_file, write_file
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.simulator.events import poisoned
from dagster_beiwe.text import counted

LAG = timedelta(hours=12)
"""How far the studies are behind at first. Less than a day, or everybody would seem to have sent nothing yesterday."""

HOUR_SECONDS = 60.0
"""How long an hour in the studies takes until they have caught up; then it takes an hour."""

_SEED = 1
_FILE = "studies.json"
_LARGEST_BYTES = 4 * 1024 * 1024
_HOUR = timedelta(hours=1)
_UNREMEMBERED = frozenset({"advance", "live", "forget_requests"})


@dataclass(kw_only=True)
class _Memory:
    """What makes the studies the same again: when they were planned, how far they lived, and what was made happen.

    Times are ISO 8601. An event is its time, its action, and the action's arguments.
    """

    began: str
    clock: str
    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)


class LivingServer:
    """A simulated server whose clock goes on, at first fast. What is made happen is remembered in the folder.

    The clock is ``behind`` by that much time at most. ``is_new`` tells whether the studies begin with this demo. Raises
    ``ConfigurationError`` for a memory that cannot be read, or a folder of a demo that had none.
    """

    def __init__(self, folder: Path, *, profile: str, behind: timedelta = LAG) -> None:
        self._file = folder / _FILE
        self.is_new = not self._file.exists()
        if self.is_new and (folder / "lake").exists():
            raise ConfigurationError(
                f"{folder} has a lake of other studies: {_FILE} is missing. Nothing was done. Delete the folder, or "
                "name another one with --folder."
            )
        now = _this_hour()
        start = (now - LAG).isoformat()
        self._memory = _Memory(began=start, clock=start) if self.is_new else _read(self._file)
        self._world = World.demo(seed=_SEED, now=datetime.fromisoformat(self._memory.began))
        self.server = SimulatedServer(self._world, profile=profile, control=True)
        for moment, action, arguments in self._memory.events:
            self._catch_up(datetime.fromisoformat(moment))
            self.server.act(action, arguments)
        self._catch_up(max(datetime.fromisoformat(self._memory.clock), now - behind))
        self.server.on_change = self._remember
        if self.is_new:
            self._begin()
        self._save()

    @contextmanager
    def running(self) -> Iterator[SimulatedServer]:
        """Serve; the clock stands still."""
        with self.server:
            yield self.server

    @contextmanager
    def living(self) -> Iterator[None]:
        """Let the clock go on, and say what arrives."""
        stop = threading.Event()
        thread = threading.Thread(target=self._live, args=(stop,), name="time in the studies")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def unreadable_hours(self) -> list[tuple[str, datetime]]:
        """Participants and hours that the server cannot read."""
        return [
            (one.participant, one.start)
            for one in self.server.misbehaviors()
            if one.name == "poisoned_hour" and one.participant and one.start
        ]

    def change_a_setting(self) -> None:
        """A researcher changes the first study, so that its settings have a history."""
        (study_id, *_) = self._world.studies
        self.server.act("change_settings", {"study_id": study_id, "accelerometer_frequency": 20})

    def _live(self, stop: threading.Event) -> None:
        while not stop.wait(HOUR_SECONDS):
            if self._world.now < _this_hour():
                self.pass_an_hour()

    def pass_an_hour(self) -> None:
        """Let an hour pass in the studies."""
        files = self._world.live(self._world.now + _HOUR)
        self._save()
        if files:
            came, phones = counted(len(files), "file"), counted(len({file.participant_id for file in files}), "phone")
            print(f"{self._world.now:%A %H:%M} UTC in the studies: {came} arrived from {phones}.", flush=True)

    def _catch_up(self, until: datetime) -> None:
        if self._world.now < until:
            self._world.live(until)

    def _begin(self) -> None:
        """Somebody of the first study has an hour of GPS that cannot be read, and two weeks that Forest analyzed."""
        (study_id, *_) = self._world.studies
        files = self._world.files(study_id, streams=["gps"], end=self._world.now - timedelta(days=7))
        newest = max(files, key=lambda file: (file.bin, file.participant_id))
        self.server.act("misbehave", poisoned(newest.participant_id, newest.bin))
        first, last = (newest.bin.date() - timedelta(days=days) for days in (14, 1))
        analyzed = {"participant_id": newest.participant_id, "first": first.isoformat(), "last": last.isoformat()}
        self.server.act("analyze", {"tree": "jasmine", **analyzed})

    def _remember(self, action: str, arguments: Mapping[str, Any]) -> None:
        if action in _UNREMEMBERED or "lasts_seconds" in arguments:
            return
        self._memory.events.append((self._world.now.isoformat(), action, dict(arguments)))
        self._save()

    def _save(self) -> None:
        with self._world.lock:
            self._memory.clock = self._world.now.isoformat()
            write_file(self._file, json.dumps(asdict(self._memory)).encode())


def _this_hour() -> datetime:
    return datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)


def _read(path: Path) -> _Memory:
    try:
        memory = _Memory(**json.loads(read_file(path, limit_bytes=_LARGEST_BYTES)))
        for moment in (memory.began, memory.clock, *(moment for moment, _, _ in memory.events)):
            datetime.fromisoformat(moment)
    except (TypeError, ValueError, RecursionError):
        raise ConfigurationError(
            f"{path} does not hold what happened in the demo's studies. Nothing was done. Delete {path.parent} to "
            "start over."
        ) from None
    return memory
