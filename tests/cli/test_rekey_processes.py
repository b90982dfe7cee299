"""A lake that is copied by several processes: the same copy, and none of them is missed without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from pathlib import Path

import msgspec
import pyrage
import pytest

from dagster_beiwe.cli import main
from dagster_beiwe.encryption import AgeCipher, Cipher, CrypteaseCipher
from dagster_beiwe.lake import BeiweLake, FileRecord, StudyLake
from dagster_beiwe.maintenance import file_copies
from dagster_beiwe.maintenance.rekey import rekey_study
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.progress import Progress

NEW = "another horse, another battery"
ROOT = Path(__file__).parents[2]
_KEY = pyrage.x25519.Identity.generate()
IDENTITY, RECIPIENT = str(_KEY), str(_KEY.to_public())

CIPHERS: dict[str, Callable[[], Cipher | None]] = {
    "cryptease": lambda: CrypteaseCipher(NEW),
    "age": lambda: AgeCipher(recipients=[RECIPIENT]),
    "none": lambda: None,
}


def new_lake(place: Path, study_id: str, cipher: Cipher | None, identity: str | None = None) -> StudyLake:
    return BeiweLake(place).study(study_id, passphrase=NEW, cipher=cipher, identity=identity)


def told(lake: StudyLake) -> list[tuple[object, ...]]:
    """What manifests tell, but for bytes that no encryption writes twice."""
    manifests = [each for participant in lake.participants() for each in lake.manifests(participant)]
    return [(each.window, each.streams, each.committed_at, each.run_id, *map(_facts, each.files)) for each in manifests]


def _facts(record: FileRecord) -> FileRecord:
    return msgspec.structs.replace(record, stored_sha256="", stored_size_bytes=0)


def contents(lake: StudyLake) -> dict[tuple[str, str], bytes]:
    return {(participant, record.key): lake.read(participant, record) for participant, record in records(lake)}


def records(lake: StudyLake) -> list[tuple[str, FileRecord]]:
    return [(name, file) for name in lake.participants() for each in lake.manifests(name) for file in each.files]


@pytest.mark.parametrize("name", CIPHERS)
def test_the_copy_is_the_same(lake: StudyLake, tmp_path: Path, name: str, started: list[SpawnProcess]) -> None:
    """As without other processes, in files and in what manifests tell; with age, also without the private key."""
    copies = []
    for processes in (True, False):
        target = new_lake(tmp_path / f"new-{processes}", lake.study_id, CIPHERS[name]())
        result = rekey_study(lake, target, processes=processes)
        copies.append(new_lake(tmp_path / f"new-{processes}", lake.study_id, CIPHERS[name](), IDENTITY))
        assert (result.windows_copied, result.files_copied) == (4, len(records(lake)))
        assert len(started) == 2
    assert told(copies[0]) == told(copies[1])
    assert {record.encryption for _, record in records(copies[0])} == {name}
    assert contents(copies[0]) == contents(lake)
    for each in copies:
        assert verify_study(each).intact


def test_windows_of_many_small_files_are_committed_one_by_one(
    lake: StudyLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is full of many files, too: an interrupt loses the copies of few windows."""
    monkeypatch.setattr(file_copies, "_BATCH_FILES", 10)
    waiting: list[int] = []

    class Watched(Progress):
        def within(self, size_bytes: int) -> None:
            waiting.append(size_bytes)

    rekey_study(lake, new_lake(tmp_path / "new", lake.study_id, CrypteaseCipher(NEW)), progress=Watched())
    windows = [manifest.files for participant in lake.participants() for manifest in lake.manifests(participant)]
    assert min(len(files) for files in windows) > 15  # each is more than a batch
    assert len(waiting) >= 2 * len(windows)
    assert max(waiting) == max(sum(record.size_bytes for record in files) for files in windows)


@pytest.mark.parametrize(("victim", "last"), [("parent", 20), ("worker", 3), ("worker", 30)])
def test_a_call_in_which_a_process_was_killed_is_continued(
    lake: StudyLake, environment: Path, monkeypatch: pytest.MonkeyPatch, victim: str, last: int
) -> None:
    """In the middle of a batch. The error says what to do, and what the killed process left is removed."""
    place = environment.parent / "new"
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_NEW", NEW)
    command = [sys.executable, str(Path(__file__).with_name("killed_processes.py")), victim, str(last)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    killed = subprocess.run(  # until the last process has closed what it prints to
        [*command, "rekey", "--to", str(place)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert killed.returncode == (-signal.SIGKILL if victim == "parent" else 1)
    if victim == "parent":
        assert killed.stderr == ""
    else:
        (line,) = killed.stderr.splitlines()
        assert line.startswith("ProcessLostError: A process that helped this one was ended from outside")
        assert line.endswith("Then run the command again.")
    left = [path for path in place.rglob("*.lock") if path.is_file()]
    assert left
    assert not [path for path in left if b"timestamp" in path.read_bytes()[:200]]
    assert main(["rekey", "--to", str(place)]) == 0
    new = new_lake(place, lake.study_id, CrypteaseCipher(NEW))
    assert contents(new) == contents(lake)
    assert told(new) == told(lake)
    assert verify_study(new).intact
    assert len(list(place.rglob("*.csv.zst.lock"))) == len(records(lake))
    assert not list(place.rglob(".beiwe/runs/*"))
