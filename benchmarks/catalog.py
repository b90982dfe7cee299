"""How long a study's log takes to open and to commit to, on a disk and in an S3 on loopback.

Run it as ``python -m benchmarks.catalog [windows]``; it needs the development requirements.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dagster_beiwe.lake.catalog.batch import Batch
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.checkpoints import Identity
from dagster_beiwe.lake.catalog.key_file import open_log
from dagster_beiwe.lake.catalog.records import Change
from dagster_beiwe.lake.catalog.terms import TERMS
from dagster_beiwe.lake.lake import open_storage
from dagster_beiwe.lake.objects import ObjectStorage
from dagster_beiwe.lake.storage import Storage

STUDY = "CatalogCatalogCatalogCat"
WINDOWS_EACH = 52
CHANGES_A_RECORD = 16


def changes(number: int, base: int, tokens: Sequence[str]) -> list[Change]:
    """As many changes as fit in one record, from the given window on."""
    return [
        Change(
            token=tokens[place % len(tokens)],
            base=base,
            nonce=os.urandom(4).hex(),
            sha256=os.urandom(32).hex(),
            size_bytes=20_000,
            window=f"2024-{place // len(tokens) % 12 + 1:02}-{place // len(tokens) % 28 + 1:02}",
            counts=os.urandom(8).hex(),
        )
        for place in range(number, number + CHANGES_A_RECORD)
    ]


def fill(storage: Storage, windows: int) -> float:
    """Commit windows, keep a checkpoint, and commit 63 records more. Returns the records committed in a second."""
    catalog = Catalog.create(storage, STUDY, "a passphrase", terms=replace(TERMS, checkpoint_every=10**9))
    batch = Batch(catalog, run_id="fill")
    tokens = [os.urandom(16).hex() for _ in range(max(1, windows // WINDOWS_EACH))]
    catalog.identities.learn("", {token: Identity(token[:8], token, 0, "") for token in tokens})
    started, count = time.perf_counter(), 0
    for number in range(0, windows, CHANGES_A_RECORD):
        batch.commit(changes(number, catalog.state.number, tokens))
        count += 1
    seconds = time.perf_counter() - started
    catalog.write_checkpoint()
    for number in range(63):
        batch.commit(changes(number * CHANGES_A_RECORD, catalog.state.number, tokens))
    return count / seconds


def opened(storage: Storage) -> tuple[float, float, int]:
    """Seconds to open the log, without and with making the key, and its number of windows."""
    started = time.perf_counter()
    catalog = Catalog.open(storage, STUDY, "a passphrase")
    assert catalog is not None
    seconds = time.perf_counter() - started
    section = catalog.state.section()
    key = time.perf_counter()
    open_log(storage.read(catalog.layout.record(0)), STUDY, "a passphrase", name="", place="")
    return seconds - (time.perf_counter() - key), seconds, sum(len(section.windows(token)) for token in section)


def memory(storage: Storage) -> float:
    """Megabytes that an open log takes at the most, and while it is opened."""
    tracemalloc.start()
    catalog = Catalog.open(storage, STUDY, "a passphrase")
    assert catalog is not None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def local(windows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(folder)
        rate = fill(storage, windows)
        runs = sorted(opened(open_storage(folder)) for _ in range(5))
        least, whole, count = runs[0]
        print(f"local, {count} windows: opened in {least:.3f} s, with its key in {whole:.3f} s")
        print(f"  at most {memory(open_storage(folder)):.0f} MB; {rate:.0f} records of 16 changes a second")


def objects(windows: int) -> None:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
        }
        import boto3  # type: ignore[import-untyped]

        boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket="lake")
        rate = fill(ObjectStorage("s3://lake/a"), windows)
        storage = ObjectStorage("s3://lake/a")
        requests = Requests(storage)
        seconds, _, count = opened(storage)
        print(f"S3, {count} windows: opened with {requests.count - 1} requests in {seconds:.2f} s")
        print(f"  {rate:.0f} records of 16 changes a second")
    finally:
        server.stop()


class Requests:
    """Counts the requests that a storage's client sends."""

    def __init__(self, storage: ObjectStorage) -> None:
        self.count = 0
        files: Any = storage._files  # noqa: SLF001 - there is no other place where each request passes
        call = files._call_s3  # noqa: SLF001

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return await call(*args, **kwargs)

        files._call_s3 = counted  # noqa: SLF001


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 26_000
    local(number)
    if number <= 26_000:
        objects(number)
