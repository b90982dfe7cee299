"""Small files are exported by several processes: the same tree, and what was complete before is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from core_helpers import PASSPHRASE, PERSON, STUDY, commit
from tasks_elsewhere import two_processes

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.exports import raw_data
from dagster_beiwe.exports.folder import ExportFolder, Request
from dagster_beiwe.exports.plain_copies import StoredAs
from dagster_beiwe.exports.selection import Contents, Selection
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.progress import Progress

__all__ = ["two_processes"]

pytestmark = pytest.mark.usefixtures("two_processes")
FILES = {hour: f"content of hour {hour} ".encode() * hour for hour in range(1, 6)}


@pytest.fixture
def lake(tmp_path: Path) -> StudyLake:
    lake = BeiweLake(tmp_path / "lake").study(STUDY, passphrase=PASSPHRASE)
    commit(lake, FILES)
    return lake


def export(lake: StudyLake, target: Path, *, processes: bool) -> raw_data.Result:
    selection, request = Selection(form="tree"), Request(study_id=STUDY, form="tree")
    contents = Contents.of(lake, selection)
    with ExportFolder.open(target, request, lake.state.head, temporary=False) as folder:
        result = raw_data.export(lake, selection, contents, folder, Progress(), processes=processes)
        folder.finish()
    return result


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_tree_is_the_same(lake: StudyLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes have read and written every file: here, nobody has."""
    plain = export(lake, tmp_path / "threads", processes=False)
    monkeypatch.setattr(ExportFolder, "write", None)
    assert export(lake, tmp_path / "processes", processes=True) == plain
    assert tree(tmp_path / "processes") == tree(tmp_path / "threads")
    assert sorted(tree(tmp_path / "processes").values()) == sorted(FILES.values())
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "processes").rglob("*")} == {0}


def test_large_files_are_written_here(lake: StudyLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk at a time, as without other processes."""
    monkeypatch.setattr(StoredAs, "is_small", False)
    assert export(lake, tmp_path / "plain", processes=True).files == len(FILES)
    assert sorted(tree(tmp_path / "plain").values()) == sorted(FILES.values())


def test_what_is_missing_is_named_and_the_rest_is_written_later(lake: StudyLake, tmp_path: Path) -> None:
    """The journal keeps nothing of the files that were not complete, and no part of a file is left."""
    (manifest,) = lake.manifests(PERSON)
    stored = tmp_path / "lake" / lake.folder(PERSON, manifest.files[2].path)
    content = stored.read_bytes()
    stored.unlink()
    with pytest.raises(IntegrityError, match="is missing from the lake"):
        export(lake, tmp_path / "plain", processes=True)
    assert not [path for path in tree(tmp_path / "plain") if path.endswith(".part")]
    stored.write_bytes(content)
    stored.chmod(0o600)
    export(lake, tmp_path / "plain", processes=True)
    assert sorted(tree(tmp_path / "plain").values()) == sorted(FILES.values())


def test_complete_files_of_an_interrupted_export_are_kept(
    lake: StudyLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second job is interrupted; the files of the first are there, and are not written again."""
    monkeypatch.setattr(raw_data, "in_jobs", lambda outputs, **_: ([each] for each in outputs))
    calls = []

    class Stopping(Progress):
        def advance(self, number: int = 1, size_bytes: int = 0) -> None:
            calls.append((number, size_bytes))
            if len(calls) == 2:
                raise KeyboardInterrupt

    selection, request, target = Selection(form="tree"), Request(study_id=STUDY, form="tree"), tmp_path / "plain"
    with (
        pytest.raises(KeyboardInterrupt),
        ExportFolder.open(target, request, lake.state.head, temporary=False) as folder,
    ):
        raw_data.export(lake, selection, Contents.of(lake, selection), folder, Stopping(), processes=True)
    done = {path for path in tree(target) if not path.startswith(".")}
    assert len(done) >= 2
    assert export(lake, target, processes=True).kept_files == len(done)
    assert sorted(tree(target).values()) == sorted(FILES.values())
