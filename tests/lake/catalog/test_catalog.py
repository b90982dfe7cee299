"""One study's log on a disk: commits, past states, memory, withdrawal, and what was tampered with."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from catalog_lab import ANN, BOB, DAY, STUDY, Lab
from damage import flip

from dagster_beiwe.errors import CommitConflictError, ConfigurationError, PastStateError, UnknownStateError
from dagster_beiwe.lake.catalog.batch import Batch
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.past import add_snapshot, remove_snapshot
from dagster_beiwe.lake.catalog.records import Head
from dagster_beiwe.lake.catalog.withdrawal import withdraw
from dagster_beiwe.lake.layout import Subject, asset_path


def test_what_is_committed_is_read_by_the_next_process(lab: Lab) -> None:
    """With its numbers, its time, and the fingerprint that the participant's secret keys."""
    head = lab.commit(lab.catalog(), ANN, "2026-03-02", "first")
    catalog = lab.catalog()
    assert catalog.state.head == head == Head(1, head.digest)
    assert lab.read(catalog, ANN, "2026-03-02") == "first"
    (version,) = catalog.state.current(catalog.identities.token(ANN, catalog.state) or "").values()
    assert (version.at, version.base, version.complete) == (1, 0, True)
    assert version.counts == "first"
    assert catalog.identities.secret(ANN, catalog.state) not in (None, catalog.identities.secret(BOB, catalog.state))
    assert catalog.identities.give(BOB, catalog.state) != catalog.identities.give(ANN, catalog.state)


def test_records_name_nobody(lab: Lab) -> None:
    """Ids and partitions stand in paths, manifests and checkpoints, never in a record."""
    catalog = lab.catalog()
    lab.commit(catalog, ANN, "2026-03-02", "first")
    lab.commit(catalog, Subject("ann1person|2026-03-02", asset_path(["beiwe", "sleep"])), "", "table")
    catalog.write_checkpoint()
    assert all(b"ann1person" not in path.read_bytes() for path in lab.records())
    assert [path.name for path in (lab.folder / "lake" / STUDY / ".tables/beiwe/sleep/ann1person").iterdir()]


def test_a_look_at_the_past_leaves_nothing_old_in_the_next_checkpoint(lab: Lab) -> None:
    """Sections that did not change are used again: those of the newest checkpoint, not of the last that was read."""
    table = Subject(None, asset_path(["beiwe", "sleep"]))
    catalog = lab.catalog()
    for content in ("first", "second"):
        lab.commit(catalog, table, "", content)
        catalog.write_checkpoint()
    catalog = lab.catalog()
    assert (
        catalog.at(1).current(catalog.identities.token(table, catalog.state) or "", table.asset)[""].counts == "first"
    )
    lab.commit(catalog, ANN, "w", "hers")
    catalog.write_checkpoint()
    catalog = lab.catalog()
    token = catalog.identities.token(table, catalog.state) or ""
    assert catalog.state.current(token, table.asset)[""].counts == "second"


def test_a_conflict_takes_out_only_its_window(lab: Lab) -> None:
    """The rest of the batch is committed, and what was written for the refused window is removed."""
    catalog, other = lab.catalog(), lab.catalog()
    with Batch(catalog, run_id="a", subjects=[ANN, BOB]) as batch:
        ours = [batch.change(subject, "2026-03-02", b"[]") for subject in (ANN, BOB)]
        lab.commit(other, ANN, "2026-03-02", "theirs")
        outcomes = batch.commit(ours)
        assert outcomes[batch.place(ANN, "2026-03-02")].refused
        assert outcomes[batch.place(BOB, "2026-03-02")].record == 2
    assert lab.read(catalog, ANN, "2026-03-02") == "theirs"
    assert catalog.state.current(catalog.identities.token(BOB, catalog.state) or "")["2026-03-02"].at == 2
    assert len(list((lab.folder / "lake" / STUDY / "ann1person" / ".beiwe").glob("~*"))) == 1
    assert not list((lab.folder / "lake" / STUDY / ".beiwe" / "runs").iterdir())


def test_changes_that_come_together_share_a_record(lab: Lab) -> None:
    """Each learns what came of its own; done again, none of them counts."""
    catalog = lab.catalog()
    people = [Subject(f"p{number}") for number in range(16)]
    with Batch(catalog, run_id="a", subjects=people) as batch:
        changes = [batch.change(subject, "w", b"[]") for subject in people]
        outcomes = batch.commit(changes)
        assert [outcomes[change.place].record for change in changes] == [1] * 16
        again = batch.commit(changes)
    assert all("another run" in (again[change.place].refused or "") for change in changes)
    assert catalog.state.number == 1


def test_processes_that_commit_at_once_lose_nothing(lab: Lab) -> None:
    """Four catalogs of their own, each with twelve windows of its own."""
    lab.catalog()

    def run(number: int) -> None:
        catalog = lab.catalog()
        for window in range(12):
            lab.commit(catalog, Subject(f"p{number}"), f"w{window}", "x")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = lab.catalog().state
    assert [len(state.current(token)) for token in state.section()] == [12] * 4
    assert state.number == 48


def test_a_checkpoint_gives_what_the_records_give(lab: Lab) -> None:
    """Also a damaged one, and none at all."""
    catalog = lab.catalog(terms=replace(lab.terms, checkpoint_every=5))
    for number in range(12):
        lab.commit(catalog, (ANN, BOB)[number % 2], f"w{number % 3}", str(number))
    table = Subject(None, asset_path(["beiwe", "all"]))
    lab.commit(catalog, table, "", "table")
    catalog.write_checkpoint()
    folder = lab.folder / "lake" / STUDY / ".beiwe/checkpoints/1"
    assert folder.is_dir()

    def said(catalog: Catalog) -> object:
        found = {
            asset: {t: catalog.state.section(asset).windows(t) for t in catalog.state.section(asset)}
            for asset in ("", table.asset)
        }
        return found, catalog.state.head, catalog.state.marks

    whole = said(catalog)
    assert said(lab.catalog()) == whole
    for path in folder.iterdir():
        flip(path)
    assert said(lab.catalog()) == whole
    for path in folder.iterdir():
        path.unlink()
    assert said(lab.catalog()) == whole


def test_checkpoints_of_other_runs_and_formats_are_no_damage(lab: Lab) -> None:
    """A run may remove the section of one that a slower run is about to write; a later version writes its own."""
    catalog = lab.catalog()
    lab.commit(catalog, ANN, "w", "first")
    catalog.write_checkpoint()
    slower = lab.catalog()
    lab.commit(catalog, ANN, "w", "second")
    catalog.write_checkpoint()
    assert slower.damaged_copies() == []  # also of a record that it has not seen yet
    folder = lab.folder / "lake" / STUDY / ".beiwe/checkpoints"
    shutil.copytree(folder / "1", folder / "2")
    min((folder / "1").glob("*.people")).unlink()
    flip(max((folder / "2").iterdir()))
    assert lab.catalog().damaged_copies() == []
    flip(max((folder / "1").iterdir()))
    assert len(lab.catalog().damaged_copies()) == 1
    catalog.forget_checkpoints()
    assert [path.name for path in folder.iterdir()] == ["1"]


def test_past_states_stay_readable(lab: Lab) -> None:
    """By number, by time and by the name of a snapshot, which a collection spares."""
    catalog = lab.catalog()
    first = lab.commit(catalog, ANN, "w", "first")
    noon = lab.clock.now
    add_snapshot(catalog, "paper", first, run_id="s", content="abc", participants=1, files=1, size_bytes=5)
    lab.clock.now += DAY
    for content in ("second", "third"):
        lab.commit(catalog, ANN, "w", content)
    assert [lab.read(catalog, ANN, "w", when) for when in (1, noon, "paper", 3)] == ["first"] * 3 + ["second"]
    assert lab.collect(catalog) == 2  # the second version's manifest and file
    assert lab.read(catalog, ANN, "w", "paper") == "first"
    assert lab.read(catalog, ANN, "w") == "third"
    with pytest.raises(PastStateError, match="was collected"):
        lab.read(catalog, ANN, "w", 3)
    with pytest.raises(UnknownStateError, match="no snapshot"):
        catalog.at("thesis")
    with pytest.raises(ConfigurationError, match="already"):
        add_snapshot(catalog, "paper", first, run_id="s", content="", participants=0, files=0, size_bytes=0)
    with pytest.raises(PastStateError, match="may have been collected"):
        add_snapshot(catalog, "late", first, run_id="s", content="", participants=0, files=0, size_bytes=0)
    assert remove_snapshot(catalog, "paper", run_id="s")
    assert not remove_snapshot(catalog, "paper", run_id="s")
    assert lab.collect(catalog) == 2


def test_superseded_versions_are_thinned_out(lab: Lab) -> None:
    """All of two days, then the last of each day, for as long as the study says."""
    catalog = lab.catalog()
    for day in range(6):
        for hour in range(2):
            lab.clock.now = datetime(2026, 3, 1 + day, 8 + hour, tzinfo=timezone.utc)
            lab.commit(catalog, ANN, "w", f"{day} {hour}")
    lab.collect(catalog, keep_days=4)
    section = catalog.state.section()
    (versions,) = (section.windows(token)["w"] for token in section)
    kept = [datetime.fromtimestamp(version.time, timezone.utc) for version in versions]
    assert [(each.day, each.hour) for each in kept] == [(3, 9), (4, 9), (5, 9), (6, 8), (6, 9)]


def test_a_clock_that_is_years_ahead_makes_nothing_old(lab: Lab) -> None:
    """Between two records at most a week counts, forward or back, also in a state that comes from a checkpoint."""
    catalog = lab.catalog(terms=replace(lab.terms, checkpoint_every=2))
    right = lab.clock.now
    for content in ("first", "second"):
        lab.commit(catalog, ANN, "w", content)
        lab.clock.now += DAY
    ahead = timedelta(days=5 * 365)
    for _ in range(10):  # two machines in turn, one of them with a wrong clock
        lab.clock.now += ahead
        lab.commit(catalog, BOB, "w", "of the wrong machine")
        assert lab.collect(lab.catalog(), keep_days=30) == 0
        lab.clock.now -= ahead
        lab.commit(catalog, BOB, "w", "of the other one")
    assert lab.read(catalog, ANN, "w", 1) == "first"
    lab.clock.now = right + 45 * DAY  # nobody ran for weeks, of which one counts
    assert lab.collect(lab.catalog(), keep_days=30) == 0
    for _ in range(5):
        lab.clock.now += 6 * DAY
        lab.commit(catalog, BOB, "w", "later")
    assert lab.collect(lab.catalog(), keep_days=30) > 0
    with pytest.raises(PastStateError, match="was collected"):
        lab.read(catalog, ANN, "w", 1)


def test_a_collection_spares_what_may_be_needed(lab: Lab) -> None:
    """It refuses while a run writes, and keeps its hands off a subject whose manifest cannot be read."""
    catalog = lab.catalog()
    for content in ("first", "second"):
        lab.commit(catalog, ANN, "w", content)
    with lab.storage.guard(catalog.layout.inside, exclusive=False), pytest.raises(CommitConflictError, match="writing"):
        lab.collect(catalog)
    for path in (lab.folder / "lake" / STUDY / "ann1person" / ".beiwe").glob("~1-*"):
        path.write_bytes(b"rotten")
    assert lab.collect(catalog) == 0


def test_whoever_is_withdrawn_is_gone(lab: Lab) -> None:
    """Nothing in the lake has the id or a secret of theirs; the chain holds; past states give nothing of them."""
    catalog = lab.catalog(terms=replace(lab.terms, checkpoint_every=2))
    for subject in (ANN, BOB):
        for content in ("first", "second"):
            lab.commit(catalog, subject, "w", content)
    table = Subject("ann1person|w", asset_path(["beiwe", "sleep"]))
    lab.commit(catalog, table, "", "table")
    secret = catalog.identities.known[""][catalog.identities.give(ANN, catalog.state)].secret
    planned = Batch(catalog, run_id="old", subjects=[ANN])
    lab.storage.create_new(f"{catalog.layout.staging}/.0-{'0' * 16}-ann1person~token-0.part", b"of a run that died")
    withdraw(catalog, [ANN, table], run_id="purge")
    everything = b"".join(
        str(path.relative_to(lab.folder)).encode() + path.read_bytes()
        for path in (lab.folder / "lake").rglob("*")
        if path.is_file()
    )
    assert b"ann1person" not in everything
    assert secret.encode() not in everything
    assert not (lab.folder / "lake" / STUDY / "ann1person").exists()
    fresh = lab.catalog()
    assert [len(each) for each in (fresh.state.section(), fresh.at(4).section(), fresh.state.purged)] == [1, 1, 2]
    assert lab.read(fresh, BOB, "w", 4) == "second"
    with planned as batch:
        (outcome,) = batch.commit([batch.change(ANN, "w", b"[]")]).values()
        assert "withdrawn" in (outcome.refused or "")
    lab.commit(lab.catalog(), ANN, "w", "came again")
    assert lab.read(lab.catalog(), ANN, "w") == "came again"
    with pytest.raises(KeyError):
        lab.read(lab.catalog(), ANN, "w", 4)
