"""One study's log on a disk, for tests that commit to it as processes do."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

from dagster_beiwe.lake.catalog.batch import Batch
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.collector import Collector, Retention
from dagster_beiwe.lake.catalog.manifests import read_manifest
from dagster_beiwe.lake.catalog.records import Head
from dagster_beiwe.lake.catalog.terms import Terms
from dagster_beiwe.lake.layout import Home, Subject
from dagster_beiwe.lake.storage.local import LocalStorage

STUDY = "CatalogCatalogCatalogCat"


PASSPHRASE = "correct horse battery staple"


ANN, BOB = Subject("ann1person"), Subject("bob2person")


DAY = timedelta(days=1)


class Clock:
    """A clock that stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 9, 12, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now


class Lab:
    """A lake on a disk, and what tests do with it again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.storage = LocalStorage(folder / "lake")
        self.terms = Terms(now=self.clock, look_after_seconds=0, log2_n=10)

    def catalog(
        self, *, witness: bool = False, terms: Terms | None = None, passphrase: str | None = PASSPHRASE
    ) -> Catalog:
        """The study's log, as a process of its own opens it."""
        place = LocalStorage(self.folder / "witness") if witness else None
        return Catalog.create(
            LocalStorage(self.folder / "lake"), STUDY, passphrase, witness=place, terms=terms or self.terms
        )

    def commit(self, catalog: Catalog, subject: Subject, window: str, content: str) -> Head:
        """Commit a window with one file."""
        with Batch(catalog, run_id="run", subjects=[subject]) as batch:
            place, home = batch.place(subject, window), catalog.layout.home(subject)
            path = batch.own_name(f"{home.prefix}gps/{window}", ".csv")
            catalog.store.create_new(path, content.encode())
            change = batch.change(subject, window, json.dumps([path]).encode(), files=[path], counts=content)
            assert batch.commit([change])[place].refused is None
        return catalog.durable_head()

    def read(self, catalog: Catalog, subject: Subject, window: str, when: int | str | datetime | None = None) -> str:
        """A window's file, now or in a past state."""
        state = catalog.refresh() if when is None else catalog.at(when)
        version = state.current(catalog.identities.token(subject, state) or "")[window]
        (path,) = json.loads(read_manifest(catalog, subject, window, version))
        return catalog.store.read(path).decode()

    def collect(self, catalog: Catalog, *, keep_days: float = 0) -> int:
        self.clock.now += DAY
        collector = Collector(catalog, named, retention=Retention(keep_days=keep_days), run_id="collect")
        return collector.collect().files

    def records(self) -> list[Path]:
        return sorted((self.folder / "lake" / STUDY / ".beiwe" / "log").rglob("[0-9][0-9][0-9]"))


def named(home: Home, manifest: bytes) -> list[str]:
    assert home.prefix
    found: list[str] = json.loads(manifest)
    return found
