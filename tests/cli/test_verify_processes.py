"""A lake that is verified by several processes: they find what one finds, and end with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from multiprocessing import active_children
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pandas as pd
import pytest
from damage import flip

from dagster_beiwe.cli import main
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.progress import Progress
from dagster_beiwe.tables.store import TableStore


@pytest.fixture
def started(two_processes: None, monkeypatch: pytest.MonkeyPatch) -> list[SpawnProcess]:
    """The processes that were started; each command may start two."""
    found: list[SpawnProcess] = []
    start = SpawnProcess.start

    def count(self: SpawnProcess) -> None:
        found.append(self)
        start(self)

    monkeypatch.setattr(SpawnProcess, "start", count)
    return found


def files_of(lake: StudyLake, root: Path, participant: str) -> list[Path]:
    return [
        root / lake.folder(participant, record.path) for each in lake.manifests(participant) for record in each.files
    ]


def change_files(lake: StudyLake, root: Path) -> list[str]:
    """Of both participants, of a folder that is nobody's, and a table."""
    anna, bert = (files_of(lake, root, name) for name in ("anna1111", "bert2222"))
    flip(anna[0])
    bert[-1].unlink()
    next((root / lake.study_id / "bert2222" / ".beiwe").glob("*.json.zst")).unlink()
    (bert[0].parent / "notes.txt").touch()
    (nobody := root / lake.study_id / "carl3333").mkdir()
    (nobody / "notes.txt").touch()
    flip(next((root / lake.study_id / ".tables" / "lab").glob("*.parquet")))
    return [
        "file changed", "file missing", "file unaccounted for", "file unaccounted for", "manifest missing",
        "table changed",
    ]  # fmt: skip


def remove_a_token(lake: StudyLake, root: Path) -> list[str]:
    """So nobody's files may be those of the participant who is missing."""
    (root / lake.study_id / "anna1111" / ".beiwe" / "token-0").unlink()
    return ["participant missing"]


@pytest.mark.parametrize("damage", [change_files, remove_a_token])
def test_several_processes_find_what_one_finds(
    lake: StudyLake,
    environment: Path,
    started: list[SpawnProcess],
    damage: Callable[[StudyLake, Path], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of each participant, beside them, and in numbers; and the command tells it."""
    TableStore.of_study(lake).write(["lab", "days"], pd.DataFrame({"days": [1]}))
    kinds = damage(lake, environment)
    found, alone = (verify_study(lake, processes=processes) for processes in (True, False))
    assert len(started) == 2
    assert found == alone
    assert sorted(each.kind for each in found.findings) == kinds
    assert main(["verify", "--json"]) == 1
    assert len(started) == 4
    assert json.loads(capsys.readouterr().out)["findings"] == list(map(str, alone.findings))


def test_of_one_participant_nobody_else_is_asked(lake: StudyLake, started: list[SpawnProcess]) -> None:
    """A participant is not shared."""
    assert verify_study(lake, participants=["anna1111"], processes=True).participants == 1
    assert not started


def test_progress_counts_what_they_inspect(lake: StudyLake, started: list[SpawnProcess]) -> None:
    """All windows, and the bytes of all files."""
    counted: list[tuple[int, int]] = []

    class Counted(Progress):
        def advance(self, number: int = 1, size_bytes: int = 0) -> None:
            counted.append((number, size_bytes))

    found = verify_study(lake, progress=Counted(), processes=True)
    assert len(started) == 2
    assert [sum(each) for each in zip(*counted, strict=True)] == [found.windows, found.bytes_checked]


def test_they_end_with_an_interrupt(
    lake: StudyLake, started: list[SpawnProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has to be completed."""

    class Interrupted(Progress):
        def advance(self, number: int = 1, size_bytes: int = 0) -> None:
            raise KeyboardInterrupt

    killed: list[SpawnProcess] = []

    def kill(self: SpawnProcess) -> None:
        killed.append(self)

    monkeypatch.setattr(SpawnProcess, "kill", kill)
    with pytest.raises(KeyboardInterrupt):
        verify_study(lake, progress=Interrupted(), processes=True)
    assert {*killed} == {*started}
    assert len(started) == 2
    assert not active_children()


def test_a_past_state_is_inspected_as_it_was(lake: StudyLake, environment: Path, started: list[SpawnProcess]) -> None:
    """In each process the same one. What is beside it belongs to no state."""
    (environment / lake.study_id / "anna1111" / "notes.txt").touch()
    states = [verify_study(lake, as_of=3, share=0.5, processes=processes) for processes in (True, False)]
    assert len(started) == 2
    assert states[0] == states[1]
    assert states[0].windows == 3
    assert states[0].intact
