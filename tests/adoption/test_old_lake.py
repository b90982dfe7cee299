"""A log that continues that of the adopted lake: only one that can be proven, and only if all of it is adopted."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from dagster_beiwe.adoption.old_lake import continue_log
from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake.catalog.opening import Opening, Seen
from dagster_beiwe.lake.catalog.records import Compare
from dagster_beiwe.lake.lake import open_storage

STUDY, PASSPHRASE = "5873fe38644ad7557b168e43", "correct horse battery staple"


def log_in(folder: Path, passphrase: str | None = PASSPHRASE) -> Opening:
    return Opening(open_storage(folder), STUDY, passphrase)


def write(folder: Path, records: int, *, run: str = "run", passphrase: str | None = PASSPHRASE) -> Seen:
    """Go on with the log in a folder; returns what Dagster remembers of it then."""
    log = log_in(folder, passphrase)
    for _ in range(records):
        log.begun().append(lambda state, start: Compare(**start, compared=state.number + 1, windows={}), run_id=run)
    seen = log.seen()
    assert seen is not None
    return seen


def refused(folder: Path, seen: Seen, *, passphrase: str | None = PASSPHRASE, partly: bool = False) -> bool:
    """Whether a new lake refuses what Dagster has seen of the old one."""
    new = log_in(folder.parent / "new", passphrase)
    continue_log(folder, new, [passphrase], [seen], partly=partly)
    try:
        new.check([seen])
    except IntegrityError:
        return True
    new.begun()
    assert log_in(folder.parent / "new", passphrase).check([seen]) is not None
    return False


@pytest.mark.parametrize("passphrase", [PASSPHRASE, None])
def test_the_log_is_continued(tmp_path: Path, passphrase: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """And a folder without a log is nothing to warn of."""
    seen = write(tmp_path / "old", 3, passphrase=passphrase)
    assert not refused(tmp_path / "old", seen, passphrase=passphrase)
    continue_log(tmp_path, log_in(tmp_path / "other"), [PASSPHRASE], [seen], partly=True)
    assert not caplog.messages
    new = log_in(tmp_path / "new", passphrase)
    with pytest.raises(IntegrityError, match="ends at record"):
        new.check([seen._replace(digest="0" * 64)])


def test_what_was_seen_of_each_log_stays_valid_after_several_moves(tmp_path: Path) -> None:
    """Dagster may remember the first lake of a table that was not made since. Nothing newer of it is excused."""
    places = [tmp_path / f"lake {number}" for number in range(4)]
    seen = [write(places[0], 3)]
    for old, new in itertools.pairwise(places):
        log = log_in(new)
        continue_log(old, log, [PASSPHRASE], seen, partly=False)
        assert log.check(seen) is None
        log.begun()
        seen.append(write(new, 2))
    assert log_in(places[-1]).check(seen) is not None
    for each in seen:
        with pytest.raises(IntegrityError, match="cut or rolled back"):
            log_in(places[-1]).check([each._replace(number=each.number + 1)])


def test_a_log_that_was_rolled_back_is_not_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Although it has gone on beyond the number that Dagster has seen."""
    old, backup = tmp_path / "old", tmp_path / "backup"
    write(old, 3)
    shutil.copytree(old, backup)
    seen = write(old, 2)
    shutil.rmtree(old)
    backup.rename(old)
    assert write(old, 4, run="other").number > seen.number
    assert refused(old, seen)
    assert "was cut or rolled back" in caplog.text


def test_a_log_without_authentication_is_not_continued_by_one_with(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever can write into the folder could begin one there, of any lineage and number."""
    assert refused(tmp_path / "old", write(tmp_path / "old", 3, passphrase=None))
    assert "it was written without one" in caplog.text


def test_a_part_of_a_lake_is_not_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert refused(tmp_path / "old", write(tmp_path / "old", 3), partly=True)
    assert "Only some participants were chosen" in caplog.text


@pytest.mark.parametrize("number", [0, 1])
def test_a_damaged_log_is_not_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int) -> None:
    """The files can be adopted all the same, unless Dagster has seen the log."""
    old = tmp_path / "old"
    seen = write(old, 3)
    (record,) = old.rglob(f"00{number}")
    record.unlink()
    assert refused(old, seen)
    assert "is missing from the log" in caplog.text
    assert log_in(tmp_path / "new").check() is None
