"""Docker's interface without Docker: podman as root, with an image that consists of this machine's own folders."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import docker
from typing_extensions import Self

from benchmarks.containers.settings import ROOT

IMAGE = "localhost/beiwe-project:latest"
_LINKS = ("bin", "lib", "lib64", "sbin")
_FOLDERS = ("dev", "etc", "proc", "root", "run", "shared", "sys", "tmp", "usr")
_NODE = """#!/bin/sh
# Containers count themselves; the clock of the second of every four is ahead.
number=1
until mkdir "/shared/$number" 2>/dev/null; do number=$((number + 1)); done
if [ $((number % 4)) = 2 ]; then
    export {clock}
fi
exec "$@"
"""
# Locks in files, or podman would share those of the machine's own; equal limits, or runc refuses them.
_SETTINGS = """[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "{folder}/tmp"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
volumes = [{volumes}]
log_driver = "k8s-file"
"""


class NoPodmanError(Exception):
    """There is none on this machine that can start containers."""


class Podman:
    """A container engine of its own, which listens on a socket; everything is gone after the ``with``.

    Each container has this machine's network, sees its programs and this project, and can change neither. Those that
    Dagster starts are nodes: the second of every four has a clock that is ten minutes ahead. ``environment`` is the
    image's, and so are ``files``, by path.
    """

    def __init__(self, environment: Mapping[str, str], files: Mapping[str, str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="beiwe-podman-"))
        self._environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), **environment}
        self._files = files
        self.host = f"unix://{self._folder}/socket"
        self._service: subprocess.Popen[bytes] | None = None
        self._client = docker.DockerClient(base_url=self.host, version="1.41")  # or it would ask at once

    @property
    def shared(self) -> Path:
        """The folder that is ``/shared`` in each container."""
        return self._folder / "shared"

    def __enter__(self) -> Self:
        try:
            _require_programs()
            self.shared.mkdir()
            volumes = [f"{path}:{path}:ro" for path in _shared_folders()] + [f"{self.shared}:/shared"]
            settings = _SETTINGS.format(folder=self._folder, volumes=", ".join(f'"{each}"' for each in volumes))
            (self._folder / "containers.conf").write_text(settings)
            clock = " ".join(f"{name}={value}" for name, value in shifted_clock("+10m").items())
            self._import_image({**self._files, "node": _NODE.format(clock=clock)})
            self._start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> Any:
        """Start a container that is no node."""
        return self._client.containers.run(
            IMAGE, list(command), entrypoint=[], environment=dict(environment), network="host", detach=True
        )

    def run_node(self, command: Sequence[str], environment: Mapping[str, str]) -> str:
        """Start one that is a node. Returns its id."""
        started = self._client.containers.run(
            IMAGE, list(command), environment=dict(environment), network="host", mem_limit="1g", detach=True
        )
        return str(started.id)

    def exit_code(self, container: str) -> int | None:
        """None while it runs."""
        state = self._client.containers.get(container).attrs["State"]
        return None if state["Running"] else int(state["ExitCode"])

    def kill(self, container: str) -> bool:
        """End a container's processes with SIGKILL; whether it was still there."""
        try:
            self._client.containers.get(container).kill("SIGKILL")
        except docker.errors.APIError:
            return False
        return True

    def clocks_ahead(self) -> int:
        """How many containers had a clock that is ahead."""
        return sum(int(each.name) % 4 == 2 for each in self.shared.iterdir())

    def _import_image(self, files: Mapping[str, str]) -> None:
        archive = self._folder / "image.tar"
        with tarfile.open(archive, "w") as tar:
            for name in _FOLDERS:
                tar.addfile(_entry(name, type=tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755))
            for name in _LINKS:
                if Path("/", name).is_symlink():
                    tar.addfile(_entry(name, type=tarfile.SYMTYPE, linkname=os.readlink(f"/{name}")))
            for name, text in files.items():
                tar.addfile(_entry(name, mode=0o755, size=len(text.encode())), io.BytesIO(text.encode()))
        changes = [f"ENV {name}={value}" for name, value in self._environment.items()] + ['ENTRYPOINT ["/node"]']
        self._podman("import", *(part for change in changes for part in ("--change", change)), str(archive), IMAGE)

    def _start(self) -> None:
        with (self._folder / "log").open("wb") as log:
            self._service = subprocess.Popen(
                [*self._command(), "system", "service", "--time", "0", self.host],
                env=self._own_environment(),
                stdout=log,
                stderr=log,
            )
        pause = threading.Event()
        for _ in range(300):
            with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
                connection.connect(self.host.removeprefix("unix://"))
                return
            if self._service.poll() is not None:
                break
            pause.wait(0.1)
        raise NoPodmanError(f"podman does not answer: {(self._folder / 'log').read_text()[-500:]}")

    def _remove(self) -> None:
        self._client.close()
        if self._service is not None:
            self._podman("rm", "--all", "--force", "--time", "0")
            self._service.terminate()
            self._service.wait(30)
        pause = threading.Event()
        for _ in range(100):  # what cleans up after a container may still write
            shutil.rmtree(self._folder, ignore_errors=True)
            if not self._folder.exists():
                return
            pause.wait(0.1)
        raise NoPodmanError(f"{self._folder} cannot be removed")

    def _podman(self, *command: str) -> None:
        done = subprocess.run(
            [*self._command(), *command], check=False, capture_output=True, text=True, env=self._own_environment()
        )
        if done.returncode:
            raise NoPodmanError(f"`podman {command[0]}` failed: {done.stderr[-500:]}")

    def _command(self) -> list[str]:
        return [
            "podman",
            f"--root={self._folder}/root",
            f"--runroot={self._folder}/runroot",
            "--storage-driver=vfs",
        ]

    def _own_environment(self) -> dict[str, str]:
        return {**os.environ, "CONTAINERS_CONF": str(self._folder / "containers.conf")}


def require_podman() -> None:
    """Start a container. Raises ``NoPodmanError`` if anything is missing, or the system does not let one start."""
    try:
        with Podman({}, {}) as podman:
            status = podman.run(["true"], {}).wait()["StatusCode"]
    except docker.errors.DockerException as error:
        raise NoPodmanError(f"no container starts here: {error}") from error
    if status:
        raise NoPodmanError(f"a container that does nothing ends with status {status} here")


def _require_programs() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise NoPodmanError("containers are started by root, on Linux")
    missing = [name for name in ("podman", "runc") if shutil.which(name) is None]
    if missing or not shifted_clock("+10m"):
        raise NoPodmanError("podman is not complete: `apt-get install podman runc libfaketime`")


def shifted_clock(by: str) -> dict[str, str]:
    """The environment of a program whose clock is wrong, for instance by ``+10m``; empty where there can be none."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return {"LD_PRELOAD": str(libraries[0]), "FAKETIME": by, "FAKETIME_DONT_FAKE_MONOTONIC": "1"} if libraries else {}


def _shared_folders() -> list[Path]:
    """What a container needs of this machine: its programs, Python, and this project."""
    folders = [Path("/usr"), Path("/etc"), Path(sys.prefix), Path(sys.base_prefix), ROOT]
    folders += [Path("/", name) for name in _LINKS if Path("/", name).is_dir() and not Path("/", name).is_symlink()]
    outer = [folder for folder in folders if not any(other in folder.parents for other in folders)]
    return list(dict.fromkeys(outer))


def _entry(name: str, **facts: Any) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    for fact, value in facts.items():
        setattr(entry, fact, value)
    return entry
