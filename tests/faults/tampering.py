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
from dagster_beiwe.errors import BeiweError, WrongPassphraseError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.opening import Seen
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, StudySync
from dagster_beiwe.tables.store import TableStore
from dagster_beiwe.windows import windows_between

sys.path.append(str(Path(__file__).parents[1] / "support"))
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


@dataclass(frozen=True)
class Scene:
    """A lake, all of its files as they are and as they were after the first of two runs, and its newest head."""

    folder: Path
    lake: StudyLake
    now: Files
    older: Files
    seen: Seen


def fill(folder: Path) -> Scene:
    """Two small windows of each of two participants, in two runs. The first run is about one participant; since then
    her files were restated."""
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
    catalog, seen = lake.catalog(), lake.log.seen()
    assert catalog
    assert seen
    catalog.write_checkpoint()
    return Scene(folder, lake, _files(folder), older, seen)


def _sync(client: BeiweClient, lake: StudyLake, cells: list[Cell]) -> None:
    assert all(report.complete for report in StudySync(client, lake, run_id="fill").run(cells))


def tamper(scene: Scene, *, bits: int, seed: int = 1) -> list[Row]:
    """Each damage is done, looked for, and undone; ``bits`` are flipped per kind of file. Dagster remembers the log."""
    chance = random.Random(seed)
    now, older, lake = scene.now, scene.older, scene.lake
    study = f"{lake.study_id}/"
    person, other = f"{study}{PERSON}/", f"{study}{OTHER}/"
    files = [path for path in now if path.startswith(person) and path.endswith(".lock")]
    manifests = [path for path in now if path.startswith(f"{person}.beiwe/") and path.endswith(".zst")]
    tokens = [f"{person}.beiwe/token-0", f"{other}.beiwe/token-0"]
    tables = [path for path in now if path.startswith(f"{study}.tables/")]
    records = [path for path in now if path.startswith(f"{study}.beiwe/log/")]
    copies = [path for path in now if path.startswith(f"{study}.beiwe/checkpoints/")]
    cut: Changes = {path: None for path in records if path not in older}
    alone_or_cut: list[Changes] = [{}, cut, {**cut, **dict.fromkeys(copies)}]

    def flipped(paths: list[str]) -> Iterator[Changes]:
        for _ in range(bits):
            path = chance.choice(paths)
            yield {path: _flip(now[path], chance)}

    def with_log(changes: Changes) -> Iterator[Changes]:
        """Alone, with the log cut to what it was after the first run, and with checkpoints removed as well."""
        return ({**changes, **others} for others in alone_or_cut)

    def row(what: str, damages: Iterable[Changes]) -> Row:
        return _row(what, scene, damages)

    rows = [
        row("a bit of a stored file flipped", flipped(files)),
        row("a bit of a manifest flipped", flipped(manifests)),
        row("a bit of a token flipped", flipped(tokens)),
        row("a bit of a record flipped", flipped(records)),
        row("a bit of a checkpoint flipped", flipped(copies)),
        row("a bit of a table, its manifest or token flipped", flipped(tables)),
        row("a file cut short", ({path: now[path][:-1]} for path in files)),
        row("a file made longer", ({path: now[path] + b"\0"} for path in files)),
        row("two files swapped", (_swapped(now, *pair) for pair in itertools.pairwise(files))),
        row("a file renamed", ({path: None, f"{path}x": now[path]} for path in files)),
        row("a file deleted", ({path: None} for path in [*files, *manifests, *tokens, *tables, *records])),
        row("two manifests, tokens or records swapped",
            (_swapped(now, *pair) for each in (manifests, tokens, records) for pair in itertools.pairwise(each))),
        row("the log cut, and all of its later files kept or removed",
            with_log(dict.fromkeys(path for path in now if path not in older))),
        row("a participant removed", with_log({path: None for path in now if path.startswith(other)})),
        row("a window removed", with_log(dict.fromkeys(_window(lake, OTHER)))),
        row("a participant rolled back to an older state", with_log(_returned(now, older, person))),
        row("a table rolled back to an older state", with_log(_returned(now, older, f"{study}.tables/"))),
    ]  # fmt: skip
    assert _files(scene.folder) == now
    assert verify_study(lake, remembered=[scene.seen]).intact, "every damage is undone before the next"
    return rows


def _window(lake: StudyLake, participant: str) -> list[str]:
    """Paths of a window's manifest and files."""
    catalog = lake.catalog()
    assert catalog
    manifest = next(lake.manifests(participant))
    version = lake.index(participant)[manifest.window]
    path = catalog.layout.home(Subject(participant)).manifest(version.base, version.nonce)
    return [path, *(lake.folder(participant, record.path) for record in manifest.files)]


def _returned(now: Files, older: Files, below: str) -> Changes:
    """What came since under a folder is gone."""
    return {path: None for path in now if path.startswith(below) and path not in older}


def fuzz(scene: Scene, *, inputs: int, seed: int = 1) -> list[Row]:
    """Damaged archives and manifests either give what was there or an error of this package; found means that."""
    chance = random.Random(seed)
    archive = _archive()
    place, window = scene.folder / _window(scene.lake, PERSON)[0], next(iter(scene.lake.index(PERSON)))

    def read_manifest(data: bytes) -> object:
        place.write_bytes(data)
        return scene.lake.manifest(PERSON, window)

    readers: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        "damaged archives read": (archive, lambda data: [b"".join(each.body) for each in read_archive([data])]),
        "damaged manifests read": (place.read_bytes(), read_manifest),
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


def _row(what: str, scene: Scene, damages: Iterable[Changes]) -> Row:
    tried = found = 0
    for damage in damages:
        _put(scene.folder, damage)
        tried += 1
        found += not _intact(scene)
        _put(scene.folder, {path: scene.now.get(path) for path in damage})
    return Row(what, tried, found)


def _intact(scene: Scene) -> bool:
    """What `verify` says of the lake as a new process opens it; one that it refuses to open was found, too."""
    try:
        return verify_study(scene.lake, remembered=[scene.seen]).intact
    except WrongPassphraseError:  # the first record was changed
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
        scene = fill(folder)
        rows = [*tamper(scene, bits=1000), *fuzz(scene, inputs=50_000)]
    finally:
        shutil.rmtree(folder)
    print(table(rows))
    if "--write" in sys.argv:
        measured.write("tampering", table(rows), command="python tests/faults/tampering.py --write")
    return 0 if all(row.tried == row.found for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
