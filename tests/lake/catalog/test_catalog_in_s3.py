"""A study's log in an object store: what it costs, and that commits and collections work there."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from object_helpers import S3

from dagster_beiwe.lake.catalog.batch import Batch
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.collector import Collector, Retention
from dagster_beiwe.lake.catalog.terms import TERMS
from dagster_beiwe.lake.catalog.withdrawal import withdraw
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.storage.object_store import ObjectStorage

STUDY = "CatalogCatalogCatalogCat"
ANN = Subject("ann1person")
CHEAP = replace(TERMS, log2_n=10)


def test_windows_share_the_requests_of_their_record(url: str, s3: S3) -> None:
    """Sixteen windows: a manifest each, one record, and a marker that is written and removed."""
    catalog = Catalog.create(ObjectStorage(url), STUDY, "x", terms=CHEAP)
    with Batch(catalog, run_id="r", subjects=[ANN]) as batch:
        batch.commit([batch.change(ANN, "first", b"[]")])
    s3.requests.clear()
    with Batch(catalog, run_id="r", subjects=[ANN]) as batch:
        batch.commit([batch.change(ANN, f"w{number}", b"[]") for number in range(16)])
    assert len(s3.requests) <= 16 + 4  # the look at the head, the marker twice, and the record
    s3.requests.clear()
    catalog.refresh()
    assert len(s3.requests) == 1


def test_opening_costs_few_requests(url: str, s3: S3) -> None:
    """With a checkpoint, and the records since."""
    catalog = Catalog.create(ObjectStorage(url), STUDY, "x", terms=replace(CHEAP, checkpoint_every=4))
    for number in range(6):
        with Batch(catalog, run_id="r", subjects=[ANN]) as batch:
            batch.commit([batch.change(ANN, f"w{number}", b"[]")])
    s3.requests.clear()
    fresh = Catalog.open(ObjectStorage(url), STUDY, "x", terms=CHEAP)
    assert fresh is not None
    assert fresh.state.number == 6
    assert len(s3.requests) <= 7 + 2


def test_superseded_and_withdrawn_data_goes(url: str) -> None:
    """A collection spares what may still be at work; after it, and a withdrawal, nothing is left of anybody."""
    storage = ObjectStorage(url)
    catalog = Catalog.create(storage, STUDY, "x", terms=CHEAP)
    for _ in range(3):
        with Batch(catalog, run_id="r", subjects=[ANN]) as batch:
            batch.commit([batch.change(ANN, "w", b"[]")])
    keep = Retention(keep_days=0, spare_seconds=-60)
    assert Collector(catalog, lambda *_: (), retention=keep, run_id="c").collect().versions == 0
    later = replace(CHEAP, now=lambda: TERMS.now() + timedelta(hours=2))
    catalog = Catalog.create(storage, STUDY, "x", terms=later)
    collected = Collector(catalog, lambda *_: (), retention=keep, run_id="c").collect()
    assert (collected.versions, collected.files) == (2, 2)
    withdraw(catalog, [ANN], run_id="p")
    assert [file.path for file in storage.scan(f"{STUDY}/ann1person")] == []


def test_a_clock_that_is_behind_gives_no_name_again_that_a_withdrawal_may_still_delete(url: str) -> None:
    """Whoever withdrew somebody may have been stopped: newcomers get first names of later hours only."""
    storage = ObjectStorage(url)
    catalog = Catalog.create(storage, STUDY, "x", terms=replace(CHEAP, checkpoint_every=1))
    with Batch(catalog, run_id="r", subjects=[ANN]) as batch:
        batch.commit([batch.change(ANN, "w", b"[]")])
    withdraw(catalog, [ANN], run_id="p")
    withdrawn_at = catalog.state.time
    behind = replace(CHEAP, now=lambda: TERMS.now() - timedelta(days=2))
    catalog = Catalog.create(storage, STUDY, "x", terms=behind)
    for hours, may_be in ((-24, False), (-1, False), (24, True)):
        name = f"{withdrawn_at + timedelta(hours=hours):%Y-%m-%d %H_%M_%S}.csv"
        assert catalog.identities.may_be_first(ANN, name, catalog.state) == may_be
