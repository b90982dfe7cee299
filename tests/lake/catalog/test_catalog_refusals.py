"""Logs that were tampered with, cut or restored, and stores that fail: noticed, and nothing is lost."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from catalog_lab import ANN, PASSPHRASE, STUDY, Lab, named
from damage import flip

from dagster_beiwe.errors import IntegrityError, LakeUnavailableError, OutcomeUnknownError, WrongPassphraseError
from dagster_beiwe.lake.catalog.batch import Batch
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.collector import Collector, Retention
from dagster_beiwe.lake.catalog.past import accept_restored, take_out
from dagster_beiwe.lake.catalog.records import Head
from dagster_beiwe.lake.catalog.terms import TERMS
from dagster_beiwe.lake.catalog.withdrawal import withdraw
from dagster_beiwe.lake.storage.local import LocalStorage


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


def skip_a_folder(log: Path) -> None:
    (log / "000001").mkdir()
    (log / "000001" / "000").write_bytes(b"x")


TAMPERING: dict[str, Callable[[list[Path]], object]] = {
    "a record is changed": lambda records: flip(records[2], -10),
    "a record is removed": lambda records: records[2].unlink(),
    "two records are swapped": lambda records: records[1].write_bytes(records[2].read_bytes()),
    "an older record is put in a newer one's place": lambda records: records[3].write_bytes(records[1].read_bytes()),
    "the first record is removed": lambda records: records[0].unlink(),
    "garbage is added": lambda records: (records[-1].parent / "006").write_bytes(b"beiwe-log 1 none 00\n{}"),
    "a folder of records is skipped": lambda records: skip_a_folder(records[0].parent.parent),
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
    kept = [path.name for path in (lab.folder / "lake" / STUDY / "ann1person").rglob("*~*")]
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
    assert "Commit 2 stands, but its follow-up work was not finished" in caplog.text
    with pytest.raises(LakeUnavailableError, match="the answer was lost"):
        lab.commit(catalog, ANN, "w", "third")
    witness.armed = False
    lab.commit(catalog, ANN, "w", "third")
    assert len(list((lab.folder / "witness").rglob("00[0-9]-*"))) == 4
