"""Past states: read as they were, or refused by name."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from reading_helpers import ANDROID, IOS, NOW, PASSPHRASE, START, WEEKS, cells_of, fill, stored_files

from dagster_beiwe.errors import ConfigurationError, PastStateError, TimeRangeError, UnknownStateError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.past import add_snapshot
from dagster_beiwe.lake.catalog.terms import TERMS
from dagster_beiwe.lake.collecting import collect
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.simulator import SimulatedServer

HOUR = START + timedelta(hours=10)


def newest(lake: StudyLake) -> int:
    return lake.state.number


def keep(lake: StudyLake, name: str) -> None:
    """Take a snapshot of the newest state."""
    catalog = lake.catalog()
    assert catalog
    head = catalog.refresh().head
    add_snapshot(catalog, name, head, run_id="test", content="", participants=1, files=1, size_bytes=1)


def collect_later(lake: StudyLake, **later: float) -> None:
    """Collect as it will be done some time from now, and keep nothing that is superseded."""
    now = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(**later)
    terms = replace(TERMS, now=lambda: now, log2_n=10)
    catalog = Catalog.open(lake.storage, lake.study_id, PASSPHRASE, terms=terms)
    assert catalog
    collect(catalog, keep_days=0, run_id="collector")


def contents(view: BeiwePartitions) -> dict[str, bytes]:
    return {f"{file.window} {file.name}": view.content(file) for file in view.files(include_deleted_upstream=True)}


def restate(server: SimulatedServer, lake: StudyLake, *, rows: int) -> None:
    server.world.add_rows(ANDROID, "gps", HOUR, rows=rows)
    fill(server, lake, cells_of(ANDROID), counted=True)


def test_a_snapshot_is_read_byte_for_byte_whatever_came_later(server: SimulatedServer, lake: StudyLake) -> None:
    """After restatements, deletions and a collection; what was collected is named, and the newest state is read."""
    fill(server, lake, cells_of(ANDROID), counted=True)
    before = contents(BeiwePartitions.of(lake))
    assert before
    keep(lake, "paper")
    restate(server, lake, rows=3)
    middle = newest(lake)
    held_on = BeiwePartitions.of(lake)
    (file,) = [each for each in held_on.files("gps") if each.time == HOUR]
    restate(server, lake, rows=2)
    server.world.delete_files(ANDROID, stream="gps", hour=START + timedelta(hours=22))
    fill(server, lake, cells_of(ANDROID), counted=True)
    assert contents(BeiwePartitions.of(lake, as_of=middle)) != before
    collect_later(lake, hours=2)
    for view in (BeiwePartitions.of(lake, as_of="paper"), BeiwePartitions.of(lake.at("paper"))):
        assert contents(view) == before
        assert view.read("gps")["UTC time"].notna().all()
    with pytest.raises(PastStateError, match=f"{ANDROID}, window {WEEKS[0]}, was collected"):
        contents(BeiwePartitions.of(lake, as_of=middle))
    with pytest.raises(PastStateError, match="was collected"):
        held_on.content(file)
    now = contents(BeiwePartitions.of(lake))
    assert now[f"{WEEKS[0]} gps/2024-03-04 10_00_00+00_00.csv"] == stored_files(server.world, ANDROID, "gps")[HOUR]


def test_a_view_keeps_the_state_that_it_was_made_with(server: SimulatedServer, lake: StudyLake) -> None:
    """Never a mixture of two commits, however long it is used; a new view has the newest state."""
    fill(server, lake, cells_of(ANDROID))
    view = BeiwePartitions.of(lake)
    cell = view[f"{ANDROID}|{WEEKS[0]}"]
    before = len(cell.read("gps"))
    restate(server, lake, rows=7)
    assert len(view[f"{ANDROID}|{WEEKS[0]}"].read("gps")) == len(cell.read("gps")) == before
    assert len(BeiwePartitions.of(lake)[f"{ANDROID}|{WEEKS[0]}"].read("gps")) == before + 7


def test_a_time_names_the_last_state_that_is_not_later(server: SimulatedServer, lake: StudyLake) -> None:
    """A past state has the participants of that time only, and is opened by number too."""
    fill(server, lake, cells_of(ANDROID))
    first = lake.state
    catalog = lake.catalog()
    assert catalog
    catalog.terms = replace(catalog.terms, now=lambda: first.time + timedelta(days=1))
    fill(server, lake)
    place = lake.storage.describe()
    for as_of in (first.time + timedelta(hours=23), first.number):
        past = BeiweLake(place).study(lake.study_id, passphrase=PASSPHRASE, as_of=as_of)
        assert past.participants() == BeiwePartitions.of(past).participants == [ANDROID]
    now = BeiweLake(place).study(lake.study_id, passphrase=PASSPHRASE, as_of=first.time + timedelta(hours=24))
    assert now.participants() == lake.participants() == [ANDROID, IOS]


@pytest.mark.parametrize(
    ("as_of", "error", "text"),
    [
        ("no such snapshot", UnknownStateError, "no such snapshot"),
        (10_000, UnknownStateError, "no state 10000"),
        (-1, UnknownStateError, "no state -1"),
        (START - timedelta(days=9000), UnknownStateError, "has no state of"),
        (datetime.now(timezone.utc) + timedelta(days=1), UnknownStateError, "in the future"),
        (True, UnknownStateError, "True names no past state"),
        (1.5, UnknownStateError, "1.5 names no past state"),
        (NOW.replace(tzinfo=None), TimeRangeError, "has no zone"),
    ],
)
def test_a_state_that_there_is_not_is_refused(
    shared_lake: StudyLake, as_of: Any, error: type[Exception], text: str
) -> None:
    """At once, whoever opens it."""
    with pytest.raises(error, match=text):
        BeiwePartitions.of(shared_lake, as_of=as_of)
    with pytest.raises(error, match=text):
        shared_lake.at(as_of)


def test_a_past_state_is_not_written(lake: StudyLake, server: SimulatedServer) -> None:
    """And a study that was never begun has none."""
    with pytest.raises(UnknownStateError, match="holds nothing of study"):
        lake.at(3)
    fill(server, lake, cells_of(ANDROID, weeks=1))
    with pytest.raises(ConfigurationError, match="past state, which is read-only"), LakeWriter(lake.at(1), run_id="r"):
        pytest.fail("writing had begun")
