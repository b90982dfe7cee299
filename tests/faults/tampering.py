"""Tamper with a lake in every way and feed damaged documents to the readers; count what is found.

python tests/faults/tampering.py            print the table
python tests/faults/tampering.py --write    put it into docs/reliability.md
"""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd

from dagster_beiwe.archive import read_archive
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.errors import BeiweError, IntegrityError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.keys import key_path
from dagster_beiwe.lake.seals import FOLDER as TABLES
from dagster_beiwe.lake.seals import unowned_tables
from dagster_beiwe.lake.tables import TableStore
from dagster_beiwe.lake.verify import verify_study
from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, StudySync
from dagster_beiwe.windows import windows_between

sys.path.append(str(Path(__file__).parents[1]))
import measured

PERSON, OTHER = "anna1111", "bert2222"
START = datetime(2026, 3, 2, tzinfo=timezone.utc)
END = START + timedelta(days=14)


Files = dict[str, bytes]
"""Bytes by path below the lake's root."""
Changes = dict[str, "bytes | None"]
"""What paths become; None: removed."""


@dataclass(frozen=True)
class Row:
    """One kind of damage: how often it was tried, and how often it was found."""

    what: str
    tried: int
    found: int


def fill(folder: Path) -> tuple[StudyLake, Files]:
    """Two small windows of each of two participants, in two runs; also everything as it was after the first run.

    The first run is about one participant; since then her files were restated.
    """
    people = [PERSON, OTHER]
    plan = StudyPlan(participants=people, start=START, end=END, hours=(9,), streams=("gps", "survey_answers"))
    with SimulatedServer(World.build(plan, now=END)) as server:
        (study_id,) = server.world.studies
        lake = BeiweLake(folder).study(study_id, passphrase="tampering")
        credentials = Credentials(url=server.url, access_key=server.access_key, secret_key=server.secret_key)
        windows = list(windows_between("weekly", START, END))
        with BeiweClient(credentials) as client:
            _sync(client, lake, [Cell(PERSON, window) for window in windows])
            TableStore.of_study(lake).write(["lab", "days"], pd.DataFrame({"days": [1]}))
            older = _files(folder)
            server.world.reprocess(PERSON, START, END)
            _sync(client, lake, [Cell(person, window) for person in people for window in windows])
            TableStore.of_study(lake).write(["lab", "days"], pd.DataFrame({"days": [2]}))
    return lake, older


def _sync(client: BeiweClient, lake: StudyLake, cells: list[Cell]) -> None:
    assert all(report.complete for report in StudySync(client, lake, run_id="fill").run(cells))


def tamper(folder: Path, lake: StudyLake, older: Files, *, bits: int, seed: int = 1) -> list[Row]:
    """Each damage is done, looked for, and undone; ``bits`` are flipped per kind of file."""
    chance = random.Random(seed)
    now = _files(folder)
    study = f"{lake.study_id}/"
    files = [path for path in now if path.endswith(".lock") and path.startswith(f"{study}{PERSON}/")]
    manifests = [path for path in now if path.startswith(f"{study}{PERSON}/.beiwe/")]
    indexes = [f"{study}.beiwe/{person}.index" for person in (PERSON, OTHER)]
    tables = [path for path in now if path.startswith(f"{TABLES}/")]
    roll, key = f"{study}.beiwe/participants.roll", f"{study}.beiwe/study.key"

    def flipped(paths: list[str]) -> Iterator[Changes]:
        for _ in range(bits):
            path = chance.choice(paths)
            yield {path: _flip(now[path], chance)}

    def row(what: str, damages: Iterable[Changes]) -> Row:
        return _row(what, folder, now, lake, damages)

    rows = [
        row("a bit of a stored file flipped", flipped(files)),
        row("a bit of a manifest flipped", flipped(manifests)),
        row("a bit of an index flipped", flipped(indexes)),
        row("a bit of the roll flipped", flipped([roll])),
        row("a bit of a table or its seal flipped", flipped(tables)),
        row("the owner in a table's seal edited", [{tables[0]: now[tables[0]].replace(lake.study_id.encode(), b"me")}]),
        row("a file cut short", ({path: now[path][:-1]} for path in files)),
        row("a file made longer", ({path: now[path] + b"\0"} for path in files)),
        row("two files swapped", (_swapped(now, *pair) for pair in itertools.pairwise(files))),
        row("a file renamed", ({path: None, f"{path}x": now[path]} for path in files)),
        row("a file deleted", ({path: None} for path in [*files, *manifests, *indexes, *tables, roll, key])),
        row("two manifests, or two indexes, swapped", (_swapped(now, *pair) for pair in (manifests, indexes))),
        row("a file put back to an older state", ({path: data} for path, data in older.items() if now[path] != data)),
        row("a participant removed", _removals(now, older, study, [f"{study}{OTHER}/"], indexes[1], roll)),
        row("a window removed", _removals(now, older, study, _window(lake, OTHER), indexes[1], roll)),
        row("a participant put back to an older state",
            _returns(older, [f"{study}{PERSON}/"], indexes[0], roll)),
        row("a window put back to an older state", _returns(older, _window(lake, PERSON), indexes[0], roll)),
    ]  # fmt: skip
    assert _files(folder) == now
    assert verify_study(lake).intact, "every damage is undone before the next"
    return rows


def _window(lake: StudyLake, participant: str) -> list[str]:
    """Paths of a window's manifest and files."""
    manifest = next(lake.manifests(participant))
    below = [f".beiwe/{manifest.window}.json", *(record.path for record in manifest.files)]
    return [lake.folder(participant, path) for path in below]


def _removals(now: Files, older: Files, study: str, victims: list[str], index: str, roll: str) -> Iterator[Changes]:
    """What is removed, alone and with what could tell of it removed or put back."""
    gone: Changes = {path: None for path in now if path.startswith(tuple(victims))}
    for others in ({}, {index: None}, {roll: None}, {index: None, roll: None}):
        yield {**gone, **others}
        if roll not in others:
            yield {**gone, **others, roll: older[roll]}


def _returns(older: Files, victims: list[str], index: str, roll: str) -> Iterator[Changes]:
    """What is put back, alone and with what could tell of it put back or removed."""
    back: Changes = {path: data for path, data in older.items() if path.startswith(tuple(victims))}
    for indexed in ({}, {index: None}, {index: older[index]}):
        for rolled in ({}, {roll: None}, {roll: older[roll]}):
            yield {**back, **indexed, **rolled}


def fuzz(lake: StudyLake, folder: Path, *, inputs: int, seed: int = 1) -> list[Row]:
    """Damaged archives and manifests either give what was there or an error of this package; found means that."""
    chance = random.Random(seed)
    archive = _archive()
    manifest = sorted((folder / lake.study_id / PERSON / ".beiwe").glob("*.json"))[0].read_bytes()
    readers: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        "damaged archives read": (archive, lambda data: [b"".join(each.body) for each in read_archive([data])]),
        "damaged manifests read": (manifest, lambda data: lake.authenticator.unseal_manifest(data, name="fuzz")),
    }
    rows = []
    for what, (whole, read) in readers.items():
        found, right = 0, read(whole)
        for _ in range(inputs):
            found += _same_or_refused(read, _damaged(whole, chance), right)
        rows.append(Row(what, inputs, found))
    return rows


def _same_or_refused(read: Callable[[bytes], object], data: bytes, whole: object) -> bool:
    """Whether a reader gives what was there or an error of this package; any other error ends the sweep."""
    try:
        return read(data) == whole
    except BeiweError:
        return True


def table(rows: list[Row]) -> str:
    lines = ((row.what, f"{row.tried:,}", f"{row.found:,}") for row in rows)
    return measured.table(("what", "tried", "found"), lines)


def _row(what: str, folder: Path, now: Files, lake: StudyLake, damages: Iterable[Changes]) -> Row:
    tried = found = 0
    for damage in damages:
        _put(folder, damage)
        tried += 1
        found += not _intact(lake, folder)
        _put(folder, {path: now.get(path) for path in damage})
    return Row(what, tried, found)


def _intact(lake: StudyLake, folder: Path) -> bool:
    """What `verify` says of the lake as a new process opens it; one that it refuses to open was found, too."""
    try:
        tables = [*TableStore.of_study(lake).damaged(), *unowned_tables(lake.storage, [lake.study_id])]
        return verify_study(lake).intact and not tables and lake.storage.exists(key_path(lake.study_id))
    except IntegrityError:
        return False


def _files(folder: Path) -> Files:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _put(folder: Path, changes: Changes) -> None:
    for path, data in changes.items():
        place = folder / path
        if data is None:
            place.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty yet
                place.parent.rmdir()
        else:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.write_bytes(data)
            place.chmod(0o600)


def _flip(whole: bytes, chance: random.Random) -> bytes:
    data = bytearray(whole)
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _swapped(now: Files, one: str, other: str) -> Changes:
    return {one: now[other], other: now[one]}


def _archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in (f"{PERSON}/gps/2026-03-02 09_00_00+00_00.csv", "registry"):
            archive.writestr(zipfile.ZipInfo(name), b"{}" * 40)
    return out.getvalue()


def _damaged(whole: bytes, chance: random.Random) -> bytes:
    data = bytearray(whole)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data))
        kind = chance.randrange(4)
        if kind == 0:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[place : place + chance.randint(1, 64)]
        elif kind == 2:
            data[place:place] = chance.randbytes(chance.randint(1, 64))
        else:
            data[place] = chance.randrange(256)
        if not data:
            break
    return bytes(data)


def main() -> int:
    folder = Path(tempfile.mkdtemp())
    try:
        lake, older = fill(folder)
        rows = [*tamper(folder, lake, older, bits=1000), *fuzz(lake, folder, inputs=50_000)]
    finally:
        shutil.rmtree(folder)
    print(table(rows))
    if "--write" in sys.argv:
        measured.write("tampering", table(rows), command="python tests/faults/tampering.py --write")
    return 0 if all(row.tried == row.found for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
