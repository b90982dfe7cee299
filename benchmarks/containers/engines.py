"""What starts the code server and the runs: containers, jobs of a cluster, or Celery's workers."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import dagster as dg

from benchmarks.containers.kubernetes_stub import JobsStub
from benchmarks.containers.podman import IMAGE, Podman, shifted_clock
from benchmarks.containers.programs import program
from benchmarks.containers.rabbitmq import rabbitmq
from benchmarks.containers.settings import documented_settings, documented_worker

_IMAGE_HOME = "opt/dagster/home"
_PROCESS = re.compile(r"\(pid: (\d+)\)")


@dataclass(frozen=True, kw_only=True)
class Place:
    """``home`` is the ``DAGSTER_HOME``, ``variables`` are those that the page names, and ``elsewhere`` those that only
    this machine needs: where its stand-ins are."""

    home: Path
    variables: Mapping[str, str]
    elsewhere: Mapping[str, str]
    code_port: int

    @property
    def code_server(self) -> tuple[str, ...]:
        """Arguments of ``dagster``."""
        address = ("--host", "127.0.0.1", "--port", str(self.code_port))
        return ("api", "grpc", "-m", "benchmarks.scale.served", *address)


class Engine(Protocol):
    def settings(self) -> str:
        """``dagster.yaml``."""
        ...

    def start(self, ends: ExitStack, place: Place) -> Mapping[str, str]:
        """Start the code server, and what runs need. Returns what Dagster needs in its environment to reach it."""
        ...

    def kill(self, history: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
        """End what works for a run with SIGKILL; whether there was something."""
        ...

    def clocks_ahead(self) -> int:
        """How many containers or workers had a clock that is ten minutes ahead."""
        ...


@contextmanager
def started_podman(place: Place, settings: str) -> Iterator[Podman]:
    """With an image that has the settings in its ``DAGSTER_HOME``, and the code server in the first container."""
    image = {"PATH": f"{Path(sys.executable).parent}:/usr/bin", "DAGSTER_HOME": f"/{_IMAGE_HOME}", **place.elsewhere}
    with Podman(image, {f"{_IMAGE_HOME}/dagster.yaml": settings}) as podman:
        podman.run(["dagster", *place.code_server], {**place.variables, "DAGSTER_CURRENT_IMAGE": IMAGE})
        yield podman


class Containers:
    """Podman, as Docker. The settings are those of the page, but for the network: everything is on loopback."""

    def settings(self) -> str:
        return documented_settings("Docker").replace("network: dagster", "network: host")

    def start(self, ends: ExitStack, place: Place) -> Mapping[str, str]:
        self._podman = ends.enter_context(started_podman(place, self.settings()))
        return {"DOCKER_HOST": self._podman.host}

    def kill(self, history: dg.DagsterInstance, run: dg.DagsterRun) -> bool:  # noqa: ARG002 - the form
        return self._podman.kill(run.tags["docker/container_id"])

    def clocks_ahead(self) -> int:
        return self._podman.clocks_ahead()


class Kubernetes:
    """Jobs of a stand-in for Kubernetes, which are containers. A file names it, as there are no pods."""

    def settings(self) -> str:
        found = "service_account_name: dagster"
        return documented_settings("Kubernetes").replace(found, f"load_incluster_config: false\n    {found}")

    def start(self, ends: ExitStack, place: Place) -> Mapping[str, str]:
        self._podman = ends.enter_context(started_podman(place, self.settings()))
        secret = {name: value for name, value in place.variables.items() if not name.startswith("DAGSTER_PG_")}
        password = {"postgresql-password": place.variables["DAGSTER_PG_PASSWORD"]}
        self._jobs = JobsStub(self._podman, {"beiwe": secret, "dagster-postgres": password})
        ends.enter_context(self._jobs)
        self._jobs.write_config(place.home / "kubeconfig")
        return {"KUBECONFIG": str(place.home / "kubeconfig")}

    def kill(self, history: dg.DagsterInstance, run: dg.DagsterRun) -> bool:  # noqa: ARG002 - the form
        return self._podman.kill(self._jobs.containers[f"dagster-run-{run.run_id}"])

    def clocks_ahead(self) -> int:
        return self._podman.clocks_ahead()


class CeleryWorkers:
    """Two of Celery's workers, one with a wrong clock, and RabbitMQ between them and Dagster's daemon."""

    def settings(self) -> str:
        return documented_settings("Celery")

    def start(self, ends: ExitStack, place: Place) -> Mapping[str, str]:
        account = "{DAGSTER_PG_USERNAME}:{DAGSTER_PG_PASSWORD}".format_map(place.variables)
        server = "{DAGSTER_PG_HOST}:{DAGSTER_PG_PORT}/{DAGSTER_PG_DB}".format_map(place.variables)
        celery = {
            "CELERY_BROKER_URL": ends.enter_context(rabbitmq()),
            "CELERY_RESULT_BACKEND": f"db+postgresql+psycopg2://{account}@{server}",
        }
        own = {**place.variables, **place.elsewhere, **celery, "DAGSTER_HOME": str(place.home)}
        ends.enter_context(program("dagster", *place.code_server, log=place.home / "code.log", environment=own))
        for name, clock in (("one", {}), ("other", shifted_clock("+10m"))):
            log = place.home / f"worker-{name}.log"
            ends.enter_context(program(*documented_worker(), "-n", name, log=log, environment={**own, **clock}))
        return celery

    def kill(self, history: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
        found = [_PROCESS.search(log.message) for log in history.all_logs(run.run_id)]
        processes = [int(each[1]) for each in found if each]
        if processes:
            os.kill(processes[0], signal.SIGKILL)
        return bool(processes)

    def clocks_ahead(self) -> int:
        return 1 if shifted_clock("+10m") else 0
