"""A lake that is verified by several processes: they find what one finds, and end with it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from multiprocessing import active_children
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from core_helpers import PASSPHRASE, STUDY, cells_of, client_of, small_world, sync
from damage import flip
from tasks_elsewhere import calls_of

from dagster_beiwe.cli import main
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.maintenance import inspectors
from dagster_beiwe.maintenance.inspection import Inspection
from dagster_beiwe.maintenance.repair import repair_study
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.parallel import Processes
from dagster_beiwe.progress import Progress
from dagster_beiwe.simulator import ParticipantPlan, SimulatedServer
from dagster_beiwe.tables.store import TableStore


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
    assert len(started) == 1
    assert found == alone
    assert sorted(each.kind for each in found.findings) == kinds
    assert main(["verify", "--json"]) == 1
    assert len(started) == 2
    assert json.loads(capsys.readouterr().out)["findings"] == list(map(str, alone.findings))


def test_of_one_participant_nobody_else_is_asked(lake: StudyLake, started: list[SpawnProcess]) -> None:
    """A participant is not shared."""
    assert verify_study(lake, participants=["anna1111"], processes=True).participants == 1
    assert not started


def test_the_calling_process_inspects_too(
    lake: StudyLake, started: list[SpawnProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait until the others have started."""
    takes_part = threading.Event()

    def inspect_here(self: Inspection, name: str, *, threads: int = 1) -> None:
        inspect(self, name, threads=threads)
        takes_part.set()

    def run_later(self: Processes[object], *order: Any) -> object:
        assert takes_part.wait(60)
        return run(self, *order)

    inspect, run = Inspection.participant, Processes.run
    monkeypatch.setattr(Inspection, "participant", inspect_here)
    monkeypatch.setattr(Processes, "run", run_later)
    found = verify_study(lake, processes=True)
    assert len(started) == 1
    assert found == verify_study(lake)


def test_many_participants_are_each_inspected_once(tmp_path: Path, started: list[SpawnProcess]) -> None:
    """Whoever takes them."""
    people = [f"person{number:02}" for number in range(12)]
    world = small_world(people=[ParticipantPlan(id=each) for each in people], hours=(5,), streams=("gps",))
    lake = BeiweLake(tmp_path / "lake").study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world) as server, client_of(server) as client:
        sync(client, lake, cells_of(*people))
    for who in people[::3]:
        flip(files_of(lake, tmp_path / "lake", who)[0])
    found = verify_study(lake, processes=True)
    assert len(started) == 1
    assert found == verify_study(lake)
    assert [each.participant for each in found.findings] == people[::3]


class Told(Progress):
    """What is told of progress."""

    def __init__(self) -> None:
        self.expected, self.windows, self.bytes, self.waited = 0, 0, 0, 0

    def expect(self, total: int, size_bytes: int | None = None) -> None:
        self.expected = total

    def within(self, size_bytes: int) -> None:
        self.waited += not size_bytes

    def advance(self, number: int = 1, size_bytes: int = 0) -> None:
        self.windows += number
        self.bytes += size_bytes


def test_progress_counts_what_they_inspect(
    lake: StudyLake, environment: Path, started: list[SpawnProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All windows, also one that was taken out, and the bytes of all files. It goes on while they work."""
    next((environment / lake.study_id / "bert2222" / ".beiwe").glob("*.json.zst")).unlink()
    repair_study(lake, verify_study(lake).findings, run_id="repair")
    monkeypatch.setattr(inspectors, "_TICK_SECONDS", 0.0)
    told = Told()
    found = verify_study(lake, progress=told, processes=True)
    assert len(started) == 1
    assert (told.windows, told.bytes) == (told.expected, found.bytes_checked)
    assert told.expected == found.windows + 1
    assert told.waited


class InterruptedAtWork(Progress):
    """While this process inspects."""

    def advance(self, number: int = 1, size_bytes: int = 0) -> None:
        raise KeyboardInterrupt


class InterruptedWaiting(Progress):
    """While this process waits for another one."""

    def within(self, size_bytes: int) -> None:
        if not size_bytes:
            raise KeyboardInterrupt


@pytest.mark.parametrize("interrupted", [InterruptedAtWork, InterruptedWaiting])
def test_they_end_with_an_interrupt(
    lake: StudyLake, started: list[SpawnProcess], monkeypatch: pytest.MonkeyPatch, interrupted: type[Progress]
) -> None:
    """Nothing has to be completed."""
    monkeypatch.setattr(inspectors, "_TICK_SECONDS", 0.0)
    killed = calls_of("kill", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        verify_study(lake, progress=interrupted(), processes=True)
    assert {*killed} == {*started}
    assert len(started) == 1
    assert not active_children()


@pytest.mark.parametrize("participants", [[], ["anna1111", "bert2222"]])
def test_a_past_state_is_inspected_as_it_was(
    lake: StudyLake, environment: Path, started: list[SpawnProcess], participants: list[str]
) -> None:
    """In each process the same one, read from a checkpoint. What is beside it belongs to no state."""
    TableStore.of_study(lake).write(["lab", "days"], pd.DataFrame({"days": [1]}))
    catalog = lake.catalog()
    assert catalog is not None
    catalog.write_checkpoint()
    (environment / lake.study_id / "anna1111" / "notes.txt").touch()
    states = [
        verify_study(lake, as_of=number, participants=participants, share=0.5, processes=processes)
        for number in (3, 5)
        for processes in (True, False)
    ]
    assert len(started) == 2
    assert [states[0], states[2]] == [states[1], states[3]]
    assert [each.windows for each in states] == [3, 3, 4, 4]
    assert all(each.intact for each in states)


@pytest.mark.parametrize("gone", [".beiwe/log/000000/000", ".beiwe"])
def test_a_log_that_is_removed_meanwhile_is_damaged(
    lake: StudyLake, environment: Path, started: list[SpawnProcess], gone: str
) -> None:
    """Whoever opens it later says so, and nothing else is claimed."""

    class Removing(Progress):
        def expect(self, total: int, size_bytes: int | None = None) -> None:
            (environment / lake.study_id / gone).rename(environment / "gone")

    (finding,) = verify_study(lake, progress=Removing(), processes=True).findings
    assert finding.kind == "log damaged"
    assert len(started) == 1
