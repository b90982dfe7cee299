"""A simulated server in a process of its own, and the environment that makes a project use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World

if TYPE_CHECKING:
    from typing_extensions import Self

PASSPHRASE = "a passphrase for benchmarks only"
STUDY_VARIABLE, WEEKS_VARIABLE, WINDOW_VARIABLE = "BENCHMARK_STUDY", "BENCHMARK_WEEKS", "BENCHMARK_WINDOW"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the server holds: equal studies, with one small file a day of each participant in the newest days."""

    studies: int = 1
    participants: int = 10
    days: int = 0
    latency_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Requests since this was last asked, and the most downloads at once among them."""

    requests: int
    routes: dict[str, int]
    peak_downloads: int


class ServerProcess:
    """A handle on the server's process; use it as a context manager."""

    def __init__(self, plan: Plan) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.scale.server", json.dumps(asdict(plan))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        facts = self._answer()
        self.studies: dict[str, list[str]] = facts["studies"]
        self._credentials: dict[str, str] = facts["environment"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables of a project that uses this server, with its lake and its Dagster home in a folder."""
        (folder / "home").mkdir(exist_ok=True)
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("BEIWE_", "DAGSTER_"))}
        return {
            **{name: value for name, value in bare.items() if not name.lower().endswith("_proxy")},
            **self._credentials,
            "BEIWE_LAKE": str(folder / "lake"),
            "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
            "DAGSTER_HOME": str(folder / "home"),
        }

    def counts(self) -> Counts:
        assert self._process.stdin is not None
        self._process.stdin.write("counts\n")
        self._process.stdin.flush()
        return Counts(**self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("Expected the benchmark's server to answer, got its end; see its error above.")
        facts: dict[str, Any] = json.loads(line)
        return facts


def _world(plan: Plan) -> World:
    now = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    people = tuple(ParticipantPlan(os="ANDROID" if plan.days else "") for _ in range(plan.participants))
    studies = [
        StudyPlan(
            name=f"Study {number}",
            participants=people,
            start=now - timedelta(days=plan.days or 1),
            end=now,
            hours=(12,),
            streams=("gps",),
            content=ContentPlan(rows=3),
        )
        for number in range(plan.studies)
    ]
    return World.build(*studies, now=now)


def _serve(plan: Plan) -> None:
    world = _world(plan)
    with SimulatedServer(world) as server:
        if plan.latency_seconds:
            server.misbehave("latency", route="/get-data*", seconds=plan.latency_seconds)
        facts = {
            "studies": {study.id: sorted(study.participants) for study in world.studies.values()},
            "environment": {
                "BEIWE_URL": server.url,
                "BEIWE_ACCESS_KEY": server.access_key,
                "BEIWE_SECRET_KEY": server.secret_key,
            },
        }
        print(json.dumps(facts), flush=True)
        for _ in sys.stdin:
            routes = [record.route for record in list(server.requests)]
            peak = server.peak_downloads
            server.forget_requests()
            counts = Counts(
                requests=len(routes),
                routes={route: routes.count(route) for route in sorted(set(routes))},
                peak_downloads=peak,
            )
            print(json.dumps(asdict(counts)), flush=True)


if __name__ == "__main__":
    _serve(Plan(**json.loads(sys.argv[1])))
