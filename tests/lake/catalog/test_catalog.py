"""One study's log on a disk: commits, past states, memory, withdrawal, and what was tampered with."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from damage import flip

from dagster_beiwe.errors import (
    CommitConflictError,
    ConfigurationError,
    IntegrityError,
    LakeUnavailableError,
    OutcomeUnknownError,
    PastStateError,
    WrongPassphraseError,
)
from dagster_beiwe.lake.catalog.batch import Batch
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.collector import Collector, Retention
from dagster_beiwe.lake.catalog.past import accept_restored, add_snapshot, remove_snapshot, take_out
from dagster_beiwe.lake.catalog.records import Head
from dagster_beiwe.lake.catalog.terms import TERMS, Terms
from dagster_beiwe.lake.catalog.withdrawal import withdraw
from dagster_beiwe.lake.layout import Home, Subject, asset_path
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
        (path,) = json.loads(catalog.manifest(subject, window, version))
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


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


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
    assert len(list((lab.folder / "lake" / STUDY / "ann1person" / ".beiwe").glob("2026*"))) == 1
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
    folder = lab.folder / "lake" / STUDY / ".beiwe" / "checkpoints"
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
    with pytest.raises(PastStateError, match="no snapshot"):
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
    for path in (lab.folder / "lake" / STUDY / "ann1person" / ".beiwe").glob("w~1-*"):
        path.write_bytes(b"rotten")
    assert lab.collect(catalog) == 0


@pytest.mark.parametrize("passphrase", [None, "another one", ""])
def test_another_passphrase_is_refused(lab: Lab, passphrase: str | None) -> None:
    lab.commit(lab.catalog(), ANN, "w", "first")
    with pytest.raises(WrongPassphraseError):
        lab.catalog(passphrase=passphrase)


def test_a_passphrase_is_refused_for_a_study_without(lab: Lab) -> None:
    """Or whoever can write to the lake could begin one that nobody has to prove anything to."""
    lab.commit(lab.catalog(passphrase=None), ANN, "w", "first")
    assert lab.read(lab.catalog(passphrase=None), ANN, "w") == "first"
    with pytest.raises(WrongPassphraseError):
        lab.catalog()


TAMPERING: dict[str, Callable[[list[Path]], object]] = {
    "a record is changed": lambda records: flip(records[2], -10),
    "a record is removed": lambda records: records[2].unlink(),
    "two records are swapped": lambda records: records[1].write_bytes(records[2].read_bytes()),
    "an older record is put in a newer one's place": lambda records: records[3].write_bytes(records[1].read_bytes()),
    "the first record is removed": lambda records: records[0].unlink(),
    "garbage is added": lambda records: (records[-1].parent / "006").write_bytes(b"beiwe-log 1 none 00\n{}"),
    "a folder of records is skipped": lambda records: (
        (records[0].parent.parent / "000001").mkdir(),
        (records[0].parent.parent / "000001" / "000").write_bytes(b"x"),
    ),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_what_was_tampered_with_is_refused(lab: Lab, how: str) -> None:
    """By whoever opens the study, before anything is read of it."""
    catalog = lab.catalog()
    for number in range(5):
        lab.commit(catalog, ANN, "w", str(number))
    TAMPERING[how](lab.records())
    with pytest.raises(IntegrityError):
        lab.catalog()


def test_a_cut_log_is_noticed_by_whoever_has_seen_more(lab: Lab) -> None:
    """A process that is at work, Dagster, a checkpoint, or a witness; by nobody, if nobody has."""
    catalog = lab.catalog()
    head = [lab.commit(catalog, ANN, "w", str(number)) for number in range(3)][-1]
    lab.records()[-1].unlink()
    with pytest.raises(IntegrityError, match="cut"):
        lab.commit(catalog, ANN, "w", "on top")
    fresh = lab.catalog()
    fresh.check()
    with pytest.raises(IntegrityError, match="record 3"):
        fresh.check([head])
    with pytest.raises(IntegrityError, match="record 3"):
        fresh.check([Head(3, "0" * 64)])
    assert lab.read(fresh, ANN, "w") == "1"
    fresh.write_checkpoint()
    lab.records()[-1].unlink()
    with pytest.raises(IntegrityError, match="record 2"):
        lab.catalog().check()


def test_a_head_is_known_wherever_it_is_in_the_chain(lab: Lab) -> None:
    """Also far below the newest checkpoint; another hash is not."""
    catalog = lab.catalog()
    heads = [lab.commit(catalog, ANN, "w", str(number)) for number in range(70)]
    fresh = lab.catalog()
    fresh.check(heads)
    assert not fresh.knows(Head(3, heads[3].digest))
    assert not fresh.knows(Head(71, heads[3].digest))


def test_a_witness_notices_what_the_lake_cannot(lab: Lab) -> None:
    """A tail that was cut; one that was continued; and it is told what it has missed."""
    lab.commit(lab.catalog(), ANN, "w", "unwitnessed")
    catalog = lab.catalog(witness=True)
    lab.commit(catalog, ANN, "w", "witnessed")
    assert len(list((lab.folder / "witness").rglob("00[0-9]-*"))) == 3
    lab.records()[-1].unlink()
    with pytest.raises(IntegrityError, match="was seen"):
        lab.commit(lab.catalog(witness=True), ANN, "w", "on top")
    lab.commit(lab.catalog(), ANN, "w", "by a run without a witness")
    lab.commit(lab.catalog(), ANN, "w", "and another")
    with pytest.raises(IntegrityError, match="was seen"):
        lab.catalog(witness=True).check()


def test_a_reader_tells_a_witness_nothing(lab: Lab) -> None:
    """It may have no right to write there, and a mistyped place must not come into being."""
    lab.commit(lab.catalog(), ANN, "w", "first")
    lab.catalog(witness=True).check()
    assert not (lab.folder / "witness").exists()


def test_a_restored_backup_is_accepted_by_name(lab: Lab) -> None:
    """What was lost is recorded, and only that is given up."""
    catalog = lab.catalog(witness=True)
    heads = [lab.commit(catalog, ANN, "w", str(number)) for number in range(4)]
    for path in lab.records()[-2:]:
        path.unlink()
    restored = lab.catalog(witness=True)
    assert accept_restored(restored, [], run_id="restore") == tuple(heads[2:])
    lab.commit(lab.catalog(witness=True), ANN, "w", "goes on")
    after = lab.catalog(witness=True)
    after.check(heads)
    assert lab.read(after, ANN, "w") == "goes on"
    with pytest.raises(IntegrityError):
        after.check([Head(3, "0" * 64)])


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


def test_a_window_that_cannot_be_read_is_taken_out(lab: Lab) -> None:
    """Others stay, and the next run commits it anew."""
    catalog = lab.catalog()
    lab.commit(catalog, ANN, "w", "first")
    lab.commit(catalog, ANN, "v", "other")
    with Batch(catalog, run_id="r", subjects=[ANN]) as batch:
        (version,) = catalog.state.section().windows(batch.place(ANN).token)["w"]
        found = (batch.place(ANN, "w"), version.at)
        assert take_out(catalog, [found, (batch.place(ANN, "v"), version.at)], run_id="repair") == [found[0]]
        assert batch.commit([batch.change(ANN, "w", b"[]")])[batch.place(ANN, "w")].refused
    token = catalog.identities.give(ANN, catalog.state)
    assert list(catalog.state.current(token)) == ["v"]
    lab.commit(lab.catalog(), ANN, "w", "again")
    assert lab.read(lab.catalog(), ANN, "w") == "again"


def test_a_lost_token_stops_what_would_harm(lab: Lab) -> None:
    """Nobody is taken up anew under the same name, and nothing of theirs is collected or withdrawn."""
    catalog = lab.catalog()
    lab.commit(catalog, ANN, "w", "first")
    os.remove(lab.folder / "lake" / STUDY / "ann1person" / ".beiwe" / "token-0")
    with pytest.raises(IntegrityError, match="no folder with their token"):
        lab.commit(lab.catalog(), ANN, "w", "second")
    with pytest.raises(IntegrityError, match="no folder with their token"):
        withdraw(lab.catalog(), [ANN], run_id="purge")
    with pytest.raises(IntegrityError, match="no folder with their token"):
        Collector(lab.catalog(), named, retention=Retention(), run_id="c").collect([ANN])
    catalog.write_checkpoint()
    assert lab.read(lab.catalog(), ANN, "w") == "first"


class Failing(LocalStorage):
    """A store that fails at a record, before or after it is there. What was sent to it may still be on its way."""

    locks = False

    def __init__(self, folder: Path, *, after: bool) -> None:
        super().__init__(folder)
        self.after, self.armed = after, False

    def create_new(self, path: str, data: bytes, *, staging: str | None = None) -> None:
        if self.armed and "/00" in path and not path.endswith("/000"):
            if self.after:
                super().create_new(path, data, staging=staging)
            raise LakeUnavailableError("the answer was lost")
        super().create_new(path, data, staging=staging)


def test_a_lost_answer_is_no_lost_commit(lab: Lab) -> None:
    """What lies there afterwards decides."""
    store = Failing(lab.folder / "lake", after=True)
    catalog = Catalog.create(store, STUDY, PASSPHRASE, terms=lab.terms)
    store.armed = True
    lab.commit(catalog, ANN, "w", "first")
    assert lab.read(lab.catalog(), ANN, "w") == "first"


def test_a_commit_of_which_nobody_knows_keeps_its_files(lab: Lab) -> None:
    """It fails by name; the marker stays, and a collection removes what was in vain."""
    store = Failing(lab.folder / "lake", after=False)
    catalog = Catalog.create(store, STUDY, PASSPHRASE, terms=lab.terms)
    store.armed = True
    with pytest.raises(OutcomeUnknownError, match="did not say"):
        lab.commit(catalog, ANN, "w", "first")
    kept = [path.name for path in (lab.folder / "lake" / STUDY / "ann1person").rglob("w~*")]
    assert len(kept) == 2
    assert lab.collect(lab.catalog()) == 2


def test_a_store_that_replaces_is_refused(lab: Lab) -> None:
    """Before the first commit, not when it is only read."""

    class Replacing(LocalStorage):
        def create_new(self, path: str, data: bytes, *, staging: str | None = None) -> None:
            self.delete(path)
            super().create_new(path, data, staging=staging)

    lab.catalog()
    catalog = Catalog.create(Replacing(lab.folder / "lake"), STUDY, PASSPHRASE, terms=TERMS)
    with pytest.raises(LakeUnavailableError, match="replaced a file"):
        catalog.append(lambda _, start: pytest.fail(str(start)), run_id="r")


def test_a_witness_that_is_away_is_told_later(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """The commit is done by then; the next one is not made before the witness is back."""
    witness = Failing(lab.folder / "witness", after=False)
    catalog = Catalog.create(lab.storage, STUDY, PASSPHRASE, witness=witness, terms=lab.terms)
    lab.commit(catalog, ANN, "w", "first")
    witness.armed = True
    with caplog.at_level(logging.WARNING, "dagster_beiwe"):
        lab.commit(catalog, ANN, "w", "second")
    assert "What follows commit 2" in caplog.text
    with pytest.raises(LakeUnavailableError, match="the answer was lost"):
        lab.commit(catalog, ANN, "w", "third")
    witness.armed = False
    lab.commit(catalog, ANN, "w", "third")
    assert len(list((lab.folder / "witness").rglob("00[0-9]-*"))) == 4
