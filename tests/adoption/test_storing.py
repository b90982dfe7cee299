"""Files of an old tree are stored, or nothing of them is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from core_helpers import PASSPHRASE, PERSON, STUDY
from old_trees import save_by_hand

from dagster_beiwe.adoption import storing
from dagster_beiwe.adoption.old_files import OldFiles
from dagster_beiwe.adoption.old_tree import OldTree
from dagster_beiwe.adoption.storing import OldAndNew, ToStore, store_files
from dagster_beiwe.errors import LakeUnavailableError
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.staging import FilePlace
from dagster_beiwe.simulator import World


def test_if_the_lake_fails_what_was_stored_is_removed(
    world: World, lake: StudyLake, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also files that were kept as they were, before the others were encrypted."""
    old = tmp_path / "old"
    written = save_by_hand(world, old, streams=("gps", "power_state"), compress=True, passphrase=None)
    locked = save_by_hand(world, tmp_path / "locked", streams=("gps",), compress=True, passphrase=PASSPHRASE)
    for path in written:
        if "/gps/" in path.as_posix():
            path.unlink()
    for path in locked:
        path.rename(old / path.relative_to(tmp_path / "locked"))
    found = OldTree.read(old, study_id=STUDY, participants=[PERSON], streams=("gps", "power_state"))
    files = [
        ToStore(file=each, place=FilePlace(f"{STUDY}/{each.path}"), encrypted=True, compression="zstd", md5=False)
        for each in found.files[PERSON]
    ]
    trees = OldAndNew(OldFiles(old, [PASSPHRASE]), lake.files, PASSPHRASE, 2)
    kept = [each.kept for each in store_files(trees, files)]
    assert {True, False} == {*kept}
    stored = {path for path in folder.rglob("*") if path.is_file()}
    assert len(stored) == len(files)
    for path in stored:
        path.unlink()

    def fail(*_: object, **__: object) -> None:
        assert [path for path in folder.rglob("*") if path.is_file()], "some are there"
        raise LakeUnavailableError("the disk is full")

    monkeypatch.setattr(storing, "store_all", fail)
    with pytest.raises(LakeUnavailableError):
        store_files(trees, files)
    assert not [path for path in folder.rglob("*") if path.is_file()]
