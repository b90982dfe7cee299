"""What an object store does to a lake when it is missing, closed, or breaks off."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from object_helpers import S3

from dagster_beiwe.errors import ConfigurationError, IntegrityError, LakeUnavailableError
from dagster_beiwe.lake.lake import open_storage
from dagster_beiwe.lake.storage import object_opening
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.lake.storage.object_opening import _PLACE
from dagster_beiwe.lake.storage.object_store import PART_BYTES, ObjectStorage


@pytest.fixture
def uncached() -> Iterator[None]:
    """Clients that look at the environment of this test."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_an_s3_url_opens_an_object_storage(url: str) -> None:
    """And says where it is."""
    storage = open_storage(f"{url}/")
    assert isinstance(storage, ObjectStorage)
    assert storage.describe() == url


@pytest.mark.parametrize(
    "given",
    [
        "s3://AKIA123:geheim@bucket/lake",
        "s3://AKIA123:abc/def+geheim@bucket/lake",
        "s3://geheim@bucket/lake",
        "s3://bucket/AKIA123:geheim",
        "abfs://box:geheim@account.dfs.core.windows.net/lake",
        "abfs://box@account/geheim@bucket",
        "user:geheim@host://bucket/lake",
        "abfs://box@account.dfs.core.windows.net/lake?sig=geheim",
        "simplecache::s3://geheim/lake",
    ],
)
def test_urls_with_credentials_options_or_caches_are_refused(given: str) -> None:
    """Without repeating them."""
    with pytest.raises(ConfigurationError, match="environment") as caught:
        ObjectStorage(given)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        *("ftp://host/lake", "sftp://host/lake", "webdav://host/lake", "memory://lake", "hdfs://names:8020/lake"),
        *("zip:///tmp/a.zip", "reference:///tmp/x", "dir:///tmp/x", "FILE:///tmp/x", "nothing://x"),
        *(
            "s3://box--use1-az4--x-s3/lake",
            "s3a://access--use1-az4--xa-s3/lake",
            "s3:///box/lake",
            "s3://",
            "abfs:///lake",
        ),
    ],
)
def test_a_store_that_cannot_create_exclusively_is_refused_by_name(given: str) -> None:
    """When it is opened, whatever fsspec makes of it."""
    with pytest.raises(ConfigurationError, match=f"{re.escape(given)}.*Nothing was opened.*BEIWE_LAKE"):
        open_storage(given)


@pytest.mark.parametrize(
    ("given", "package", "old", "lowest", "why"),
    [
        ("s3://box/lake", "s3fs", "2024.10.0", "2024.12", "may replace"),
        ("s3://box/lake", "botocore", "1.35.19", "1.35.20", "may replace"),
        ("gs://box/lake", "gcsfs", "2024.10.0", "2024.12", "may replace"),
        ("abfs://box/lake", "adlfs", "2025.8.0", "2026.2", "cannot delete"),
    ],
)
def test_a_client_that_is_too_old_is_refused_by_name(
    given: str, package: str, old: str, lowest: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would leave the condition out, so that the store replaces what is there, or it could not delete an object."""
    monkeypatch.setattr(object_opening, "version", lambda name: old if name == package else "9999.1")
    with pytest.raises(
        ConfigurationError, match=f"{package} {old} is too old.* {why} .*Nothing was opened.*{package}>={lowest}"
    ):
        open_storage(given)


@pytest.mark.parametrize("given", ["file://user:geheim@host/lake", "file://geheim/lake", "local://geheim/lake"])
def test_a_file_url_with_a_host_makes_no_folder(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a folder of that name in the working folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="BEIWE_LAKE") as caught:
        open_storage(given)
    assert "geheim" not in str(caught.value)
    for protocol in ("file", "local"):
        storage = open_storage(f"{protocol}:///data/lake@home")
        assert isinstance(storage, LocalStorage)
        assert storage.describe() == "/data/lake@home"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "given",
    [
        "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/box/lake",
        "abfs://box@account.dfs.core.windows.net/lake",
        "hdfs://names:8020/lake",
        "memory://lake",
    ],
)
def test_what_only_looks_like_credentials_is_a_place(given: str) -> None:
    """Access points, accounts and ports."""
    assert _PLACE.fullmatch(given)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""

    def missing(url: str, **options: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(ConfigurationError, match=r"pip install \"dagster-beiwe\[s3\]\""):
        ObjectStorage("s3://bucket/lake")


def test_a_missing_bucket_is_an_empty_lake_that_can_not_be_written(s3: S3) -> None:
    """No bucket is ever made by the lake."""
    storage = ObjectStorage("s3://never-made/lake")
    assert storage.list("") == []
    with pytest.raises(LakeUnavailableError, match="Create the bucket"):
        storage.create_new("study/file", b"")
    with pytest.raises(LakeUnavailableError, match="Create the bucket"), storage.create("study/file") as file:
        file.write(b"x")
    names = [bucket["Name"] for bucket in s3.administrator.list_buckets()["Buckets"]]
    assert "never-made" not in names


@pytest.mark.usefixtures("uncached", "s3")
def test_a_store_out_of_reach_is_explained_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint's URL may hold credentials."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://geheim:geheim@127.0.0.1:9")
    storage = ObjectStorage("s3://bucket/lake")
    with pytest.raises(LakeUnavailableError, match="endpoint") as caught:
        storage.create_new("study/file", b"")
    assert "geheim" not in str(caught.value)


@pytest.mark.usefixtures("uncached", "s3")
def test_missing_credentials_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """As such."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(LakeUnavailableError, match=r"NoCredentialsError.*Check the store's credentials"):
        ObjectStorage("s3://bucket/lake").create_new("study/file", b"")


@pytest.mark.usefixtures("uncached")
def test_fsspecs_own_setting_of_the_endpoint_goes_first(s3: S3, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``FSSPEC_S3_ENDPOINT_URL``, which fsspec reads into its settings when it is imported."""
    settings: dict[str, dict[str, str]] = {}
    here = s3.environment["AWS_ENDPOINT_URL"]
    fsspec.config.set_conf_env(settings, {"FSSPEC_S3_ENDPOINT_URL": here})
    monkeypatch.setitem(fsspec.config.conf, "s3", settings["s3"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    ObjectStorage(url).create_new("study/file", b"x")
    assert ("PUT", "/" + url.removeprefix("s3://") + "/study/file") in s3.requests


@pytest.mark.parametrize("size", [10, PART_BYTES * 2 + 1], ids=["small", "chunks"])
def test_an_upload_that_breaks_off_leaves_nothing(s3: S3, url: str, size: int) -> None:
    """No object, no chunks that the bucket's owner would pay for."""
    storage = ObjectStorage(url)

    def break_off() -> None:
        with storage.create("study/.token-1.part") as file:
            file.write(os.urandom(size))
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert list(storage.scan("")) == []
    assert s3.unfinished_uploads(url) == []


def test_an_upload_that_nobody_closes_leaves_nothing(s3: S3, url: str) -> None:
    """Only who closes it says that it is complete."""
    storage = ObjectStorage(url)
    file = storage.create("study/.token-1.part")
    file.write(os.urandom(PART_BYTES + 1))
    del file
    gc.collect()
    assert list(storage.scan("")) == []
    assert s3.unfinished_uploads(url) == []


def test_an_upload_that_can_not_be_finished_is_explained(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves nothing either."""
    storage = ObjectStorage(url)

    def fail(path: str, data: bytes, **options: object) -> None:
        raise OSError(5, "secret words")

    monkeypatch.setattr(storage._files, "pipe_file", fail)
    with pytest.raises(LakeUnavailableError, match="written") as caught, storage.create("study/.part") as file:
        file.write(b"x")
    assert "secret words" not in str(caught.value)
    assert list(storage.scan("")) == []


def test_mistakes_in_the_program_are_not_taken_for_the_stores(url: str) -> None:
    """They pass unchanged."""
    with pytest.raises(ZeroDivisionError), ObjectStorage(url).explained("written", "x"):
        raise ZeroDivisionError


def test_a_file_that_is_replaced_while_it_is_read_is_noticed(url: str) -> None:
    """Chunks of two versions are never put together."""
    storage = ObjectStorage(url)
    with storage.create("study/file") as file:
        file.write(os.urandom(3 * PART_BYTES))
    with storage.open("study/file") as reader:
        reader.read(10)
        storage.delete("study/file")
        storage.create_new("study/file", os.urandom(100))
        with pytest.raises(IntegrityError, match="was replaced"):
            reader.read(2 * PART_BYTES)


def test_nothing_is_asked_of_the_store_before_it_is_used(s3: S3, url: str) -> None:
    """Definitions can load while the store is away."""
    ObjectStorage(url).describe()
    assert s3.requests == []
