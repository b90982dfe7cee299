"""Fixtures: one S3 for all tests, a bucket for each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from object_helpers import S3, small_world

from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.lake.storage.object_store import ObjectStorage
from dagster_beiwe.simulator import SimulatedServer, World

_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    clients = fsspec.get_filesystem_class("s3")
    clients.clear_instance_cache()  # those of other tests go on with the server that they were made for
    with S3() as server:
        yield server
    clients.clear_instance_cache()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server, with the environment that points to it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "FSSPEC_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    s3_server.requests.clear()
    yield s3_server
    s3_server.meddle = None


@pytest.fixture
def url(s3: S3) -> str:
    """Where a lake may lie: below a folder of a new bucket."""
    bucket = f"lake-{next(_numbers)}"
    s3.administrator.create_bucket(Bucket=bucket)
    s3.requests.clear()
    return f"s3://{bucket}/beiwe/lake"


@pytest.fixture(params=["local", "s3", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Each kind of storage, empty."""
    if request.param == "local":
        return LocalStorage(tmp_path / "lake")
    if request.param == "s3":
        return ObjectStorage(request.getfixturevalue("url"))
    return ObjectStorage(f"memory://lake-{next(_numbers)}")


@pytest.fixture
def world() -> World:
    return small_world()


@pytest.fixture
def server(world: World) -> Iterator[SimulatedServer]:
    with SimulatedServer(world) as running:
        yield running
