"""How long a study's log takes to open and to commit to, on a disk and in an S3 on loopback.

Run it as ``python -m benchmarks.catalog [windows]``; it needs the development requirements.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.s3 import s3_on_loopback
from dagster_beiwe.lake.catalog.batch import Batch
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.checkpoints import Identity
from dagster_beiwe.lake.catalog.key_file import open_log
from dagster_beiwe.lake.catalog.records import Change
from dagster_beiwe.lake.catalog.terms import TERMS
from dagster_beiwe.lake.lake import open_storage
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.storage.object_store import ObjectStorage

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
    tokens = [os.urandom(16).hex() for _ in range(max(1, windows // WINDOWS_EACH))]
    catalog.identities.learn("", {token: Identity(token[:8], token, 0, "") for token in tokens})
    with Batch(catalog, run_id="fill") as batch:
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
    open_log(storage.read(catalog.layout.record(0)), catalog.layout, "a passphrase", place="")
    return seconds - (time.perf_counter() - key), seconds, sum(len(section.windows(token)) for token in section)


def memory(storage: Storage) -> float:
    """Megabytes that an open log takes at the most, and while it is opened."""
    tracemalloc.start()
    catalog = Catalog.open(storage, STUDY, "a passphrase")
    assert catalog is not None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def measure(windows: int) -> dict[str, float]:
    """A log of so many windows in a folder: seconds to open it, megabytes that this takes, records of 16 a second."""
    with tempfile.TemporaryDirectory() as folder:
        rate = fill(open_storage(folder), windows)
        seconds, with_key, count = min(opened(open_storage(folder)) for _ in range(5))
        return {
            "windows": count,
            "open, s": seconds,
            "with its key, s": with_key,
            "memory, MB": memory(open_storage(folder)),
            "records a second": rate,
        }


def measure_s3(windows: int) -> dict[str, float]:
    """The same in an S3 on loopback, and the requests to open it."""
    with s3_on_loopback() as requests:
        rate = fill(ObjectStorage("s3://lake/log"), windows)
        storage = ObjectStorage("s3://lake/log")
        requests.clear()
        seconds, _, count = opened(storage)
        sent = requests["files"] + requests["lake"] - 1  # the key is made a second time, to know what it takes
        return {"windows": count, "open, s": seconds, "requests": sent, "records a second": rate}


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 26_000
    print("folder", measure(number))
    if number <= 26_000:
        print("S3", measure_s3(number))
