"""Fixtures: one S3 for all tests, a bucket for each."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import fsspec
import pytest
from object_helpers import S3, small_world
from real_stores import CARELESS_STORES, REAL_STORES, NoStoreError, RealStore

from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.lake.storage.object_opening import KINDS, Kind
from dagster_beiwe.lake.storage.object_store import ObjectStorage
from dagster_beiwe.simulator import SimulatedServer, World

_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    with S3() as server:
        yield server


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


@pytest.fixture(scope="session")
def running_stores() -> Iterator[Callable[[str], RealStore]]:
    """Gives a real store by its name, started when a test first asks for it."""
    kinds = {**REAL_STORES, **CARELESS_STORES}
    with ExitStack() as stack:
        yield functools.cache(lambda name: stack.enter_context(kinds[name]()))


@pytest.fixture
def find_store(
    running_stores: Callable[[str], RealStore], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], RealStore]]:
    """Gives a real store by its name, with the environment that points to it, if it is to be had here."""
    fsspec_kinds = []

    def find(name: str) -> RealStore:
        try:
            store = running_stores(name)
        except NoStoreError as error:
            pytest.skip(str(error))
        for variable, value in store.environment(store.port).items():
            monkeypatch.setenv(variable, value)
        settings: dict[str, dict[str, object]] = {}
        fsspec.config.set_conf_env(settings)  # which it does once and for all, as a rule
        monkeypatch.setattr(fsspec.config, "conf", settings)
        fsspec_kinds.append(fsspec.get_filesystem_class(store.protocol))
        fsspec_kinds[-1].clear_instance_cache()  # those of other tests go on with the server that they were made for
        return store

    yield find
    for kind in fsspec_kinds:
        kind.clear_instance_cache()


REAL = [pytest.param(name, marks=pytest.mark.large) for name in REAL_STORES]


@pytest.fixture(params=REAL)
def real_store(request: pytest.FixtureRequest, find_store: Callable[[str], RealStore]) -> RealStore:
    """Each real store."""
    return find_store(request.param)


@pytest.fixture(params=["moto", *REAL])
def any_url(request: pytest.FixtureRequest, find_store: Callable[[str], RealStore]) -> str:
    """Where a lake may lie, in each object store."""
    if request.param == "moto":
        return str(request.getfixturevalue("url"))
    return find_store(request.param).new_place()


@pytest.fixture(params=["local", "s3", "memory", *REAL])
def storage(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    find_store: Callable[[str], RealStore],
    monkeypatch: pytest.MonkeyPatch,
) -> Storage:
    """Each kind of storage, empty."""
    if request.param == "local":
        return LocalStorage(tmp_path / "lake")
    if request.param == "s3":
        return ObjectStorage(request.getfixturevalue("url"))
    if request.param == "memory":  # for what all stores share: it is none that a lake may be in
        monkeypatch.setitem(KINDS, "memory", Kind("", {}))
        return ObjectStorage(f"memory://lake-{next(_numbers)}")
    return ObjectStorage(find_store(request.param).new_place())


@pytest.fixture
def world() -> World:
    return small_world()


@pytest.fixture
def server(world: World) -> Iterator[SimulatedServer]:
    with SimulatedServer(world) as running:
        yield running
