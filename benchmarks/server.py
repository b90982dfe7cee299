"""The simulated server as a process of its own, which tells on request what it has done.

Its standard input takes one word per line; each is answered by one line of JSON. It ends with its input.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from benchmarks.worlds import Scale, build
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.simulator.answers import Answer
from dagster_beiwe.simulator.endpoints import ROUTES, Call

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, kw_only=True)
class Served:
    """Where the server is and what it holds. Times are ISO 8601, UTC; sizes are of plain content."""

    url: str
    access_key: str
    secret_key: str
    study_id: str
    participants: tuple[str, ...]
    streams: tuple[str, ...]
    start: str
    end: str
    files: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What the server did between two questions; bytes are of bodies, those of requests and those of answers."""

    requests: int
    bytes_received: int
    bytes_sent: int
    cpu_seconds: float


class ServerProcess:
    """A handle on the server's process; use it as a context manager."""

    def __init__(self, workload: str, scale: Scale) -> None:
        command = [sys.executable, "-m", "benchmarks.server", workload, scale]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
        )
        facts = self._answer()
        lists = {name: tuple(facts[name]) for name in ("participants", "streams")}
        self.served = Served(**{**facts, **lists})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def counts(self) -> Counts:
        """What happened since this was last asked."""
        assert self._process.stdin is not None
        self._process.stdin.write("counts\n")
        self._process.stdin.flush()
        return Counts(**self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise RuntimeError("Expected the benchmark's server to answer, got its end; see its error above.")
        facts: dict[str, Any] = json.loads(line)
        return facts


def _serve(workload: str, scale: Scale) -> None:
    data = build(workload, scale)
    for route in data.prepared:
        _prepare(route)
    (study,) = data.world.studies.values()
    files = data.world.files(study.id)
    if data.hashed:
        for file in files:
            _ = file.sha1  # which it keeps
    with SimulatedServer(data.world, **data.costs) as server:
        served = Served(
            url=server.url,
            access_key=server.access_key,
            secret_key=server.secret_key,
            study_id=study.id,
            participants=tuple(study.participants),
            streams=data.streams,
            start=data.start.isoformat(),
            end=data.end.isoformat(),
            files=len(files),
            size_bytes=sum(file.size_bytes for file in files),
        )
        print(json.dumps(asdict(served)), flush=True)
        spent = _cpu_seconds()
        for _ in sys.stdin:
            records, now = list(server.requests), _cpu_seconds()
            server.forget_requests()
            counts = Counts(
                requests=len(records),
                bytes_received=sum(record.bytes_received for record in records),
                bytes_sent=sum(record.bytes_sent for record in records),
                cpu_seconds=now - spent,
            )
            spent = now
            print(json.dumps(asdict(counts)), flush=True)


def _prepare(route: str) -> None:
    """Answer from memory what was asked before: what a server does for its counts is not to be measured."""
    endpoint, answers = ROUTES[route].endpoint, dict[tuple[object, object], Answer]()

    def answer(call: Call) -> Answer:
        asked = call.request.form, call.request.query
        if asked not in answers:
            answers[asked] = endpoint(call)
        return answers[asked]

    ROUTES[route] = replace(ROUTES[route], endpoint=answer)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])  # type: ignore[arg-type]
