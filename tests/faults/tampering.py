"""Tamper with a lake in every way and feed damaged documents to the readers; count what is found.

``python tests/faults/tampering.py`` prints the table that docs/reliability.md shows.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import random
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from dagster_beiwe.archive import read_archive
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.errors import BeiweError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.verify import verify_study
from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, StudySync
from dagster_beiwe.windows import windows_between

PERSON = "anna1111"
START = datetime(2026, 3, 2, tzinfo=timezone.utc)
END = START + timedelta(days=14)


@dataclass(frozen=True)
class Row:
    """One kind of damage: how often it was tried, and how often it was found."""

    what: str
    tried: int
    found: int


def fill(folder: Path) -> StudyLake:
    """Two small windows of one participant, the second committed twice."""
    plan = StudyPlan(participants=[PERSON], start=START, end=END, hours=(9,), streams=("gps", "survey_answers"))
    with SimulatedServer(World.build(plan, now=END)) as server:
        (study_id,) = server.world.studies
        lake = BeiweLake(folder).study(study_id, passphrase="tampering")
        credentials = Credentials(url=server.url, access_key=server.access_key, secret_key=server.secret_key)
        with BeiweClient(credentials) as client:
            cells = [Cell(PERSON, window) for window in windows_between("weekly", START, END)]
            for wanted in (cells, cells[1:]):
                assert all(report.complete for report in StudySync(client, lake, run_id="fill").run(wanted))
    return lake


def tamper(folder: Path, lake: StudyLake, *, bits: int, seed: int = 1) -> list[Row]:
    """Each damage is done, looked for, and undone; ``bits`` are flipped per kind of file."""
    chance = random.Random(seed)
    study = folder / lake.study_id
    files = sorted(study.glob(f"{PERSON}/**/*.lock"))
    manifests = sorted(study.glob(f"{PERSON}/.beiwe/*.json"))
    index = study / ".beiwe" / f"{PERSON}.index"
    pairs = list(itertools.pairwise(files))
    rows = [
        _row("a bit of a stored file flipped", lake, (_flip(chance.choice(files), chance) for _ in range(bits))),
        _row("a bit of a manifest flipped", lake, (_flip(chance.choice(manifests), chance) for _ in range(bits))),
        _row("a bit of an index flipped", lake, (_flip(index, chance) for _ in range(bits))),
        _row("a file cut short", lake, (_rewrite(each, each.read_bytes()[:-1]) for each in files)),
        _row("a file made longer", lake, (_rewrite(each, each.read_bytes() + b"\0") for each in files)),
        _row("two files swapped", lake, (_swap(one, other) for one, other in pairs)),
        _row("a file renamed", lake, (_rename(each) for each in files)),
        _row("a file deleted", lake, (_delete(each) for each in [*files, *manifests, index])),
        _row("two manifests swapped", lake, [_swap(manifests[0], manifests[1])]),
    ]
    assert verify_study(lake).intact, "every damage is undone before the next"
    return rows


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
        found = 0
        for _ in range(inputs):
            with contextlib.suppress(BeiweError):
                read(_damaged(whole, chance))
            found += 1  # anything else ends the sweep
        rows.append(Row(what, inputs, found))
    return rows


def table(rows: list[Row]) -> str:
    lines = ["| what | tried | found |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.what} | {row.tried:,} | {row.found:,} |" for row in rows)])


def _row(what: str, lake: StudyLake, damages: Iterator[Callable[[], None]] | list[Callable[[], None]]) -> Row:
    """Each damage is done when it is drawn, and undone by calling it."""
    tried = found = 0
    for undo in damages:
        tried += 1
        found += not verify_study(lake).intact
        undo()
    return Row(what, tried, found)


def _rewrite(path: Path, data: bytes) -> Callable[[], None]:
    before = path.read_bytes()
    path.write_bytes(data)
    return lambda: _put(path, before)


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


def _flip(path: Path, chance: random.Random) -> Callable[[], None]:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return _rewrite(path, bytes(data))


def _swap(one: Path, other: Path) -> Callable[[], None]:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)

    def undo() -> None:
        _put(one, first)
        _put(other, second)

    return undo


def _rename(path: Path) -> Callable[[], None]:
    moved = path.with_name(f"x{path.name}")
    path.rename(moved)
    return lambda: os.replace(moved, path)


def _delete(path: Path) -> Callable[[], None]:
    before = path.read_bytes()
    path.unlink()
    return lambda: _put(path, before)


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
        lake = fill(folder)
        rows = [*tamper(folder, lake, bits=1000), *fuzz(lake, folder, inputs=50_000)]
    finally:
        shutil.rmtree(folder)
    print(table(rows))
    return 0 if all(row.tried == row.found for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
