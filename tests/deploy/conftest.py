"""One Postgres and one S3 for all tests here; a database and a bucket for each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import dagster as dg
import fsspec
import pytest
from deploy_helpers import PASSPHRASE, START, STUDY_ID, small_world

from benchmarks.containers.postgres import NoPostgresError, Postgres
from benchmarks.containers.settings import documented_settings
from benchmarks.s3 import object_store
from dagster_beiwe.simulator import SimulatedServer

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        server = Postgres().__enter__()
    except NoPostgresError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    yield server
    server.__exit__(None, None, None)


@pytest.fixture
def home(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``DAGSTER_HOME`` with the documented settings, and a database."""
    database = f"dagster{next(_numbers)}"
    postgres.create_database(database)
    for name, value in postgres.environment(database).items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text(documented_settings())
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as found:
        yield found


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """A loopback S3, and nothing of the machine's own settings for one."""
    with object_store() as environment:
        yield environment


@pytest.fixture
def lake(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty lake in S3, which is also in the environment.

    fsspec keeps clients with the server that they were made for, so those of other tests are forgotten, and these too.
    """
    clients = fsspec.get_filesystem_class("s3")
    clients.clear_instance_cache()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "FSSPEC_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"deploy-{next(_numbers)}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    monkeypatch.setenv("BEIWE_LAKE", f"s3://{bucket}/lake")
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", PASSPHRASE)
    yield f"s3://{bucket}/lake"
    clients.clear_instance_cache()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedServer]:
    """The Beiwe server, with the environment that points to it."""
    with SimulatedServer(small_world()) as running:
        for name in ("BEIWE_KEYRING_SECTION", "BEIWE_AUTOMATION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("BEIWE_URL", running.url)
        monkeypatch.setenv("BEIWE_ACCESS_KEY", running.access_key)
        monkeypatch.setenv("BEIWE_SECRET_KEY", running.secret_key)
        monkeypatch.setenv("BEIWE_STUDIES", STUDY_ID)
        monkeypatch.setenv("BEIWE_START", f"{START:%Y-%m-%d}")
        yield running
