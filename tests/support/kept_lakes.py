"""Write the lakes that later versions have to read: ``python tests/support/kept_lakes.py VERSION``, for each release.

One archive per cipher. Each holds a study of the simulated server: two phones, a restated hour, a snapshot of what was
there before, a table with partitions, and one without.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pyrage

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.encryption import AgeCipher, Cipher
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.snapshots import create_snapshot
from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, StudySync
from dagster_beiwe.tables.store import TableStore
from dagster_beiwe.windows import windows_between

ARCHIVES = Path(__file__).parents[1] / "lake" / "kept"
STUDY_ID = "5873fe38644ad7557b168e43"
PASSPHRASE = "kept for later versions"
IDENTITY = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"
"""The example of age's own documentation; it protects nothing."""
START = datetime(2026, 3, 2, tzinfo=timezone.utc)
RESTATED = START + timedelta(hours=9)
PEOPLE = ("kept0001", "kept0002")
FRAME = pd.DataFrame(
    {
        "day": pd.to_datetime(["2026-03-02", "2026-03-03"]).as_unit("us"),
        "fixes": pd.array([3, None], dtype="Int64"),
        "note": ["é", None],
    }
)
TABLE, ROSTER = ["beiwe", "kept", "fixes"], ["beiwe", "kept", "people"]


def opened(folder: Path, cipher: str) -> StudyLake:
    """The study in a lake, with the keys of these archives."""
    chosen: Cipher | str = cipher if cipher != "age" else _age()
    return BeiweLake(folder).study(STUDY_ID, passphrase=PASSPHRASE, cipher=chosen, identity=IDENTITY)


def _age() -> AgeCipher:
    public = pyrage.x25519.Identity.from_str(IDENTITY).to_public()
    return AgeCipher(recipients=[str(public)], identity=IDENTITY)


def fill(lake: StudyLake, server: SimulatedServer, world: World) -> None:
    """Two fetches with a restated hour between them, and two tables."""
    _fetch(lake, server)
    create_snapshot(lake, "before", run_id="first")
    world.add_rows(PEOPLE[0], "gps", RESTATED)
    _fetch(lake, server)
    store = TableStore.of_study(lake)
    store.write_all(TABLE, {f"{PEOPLE[0]}|2026-03-02": FRAME, f"{PEOPLE[1]}|2026-03-02": FRAME[:0]})
    store.write(ROSTER, FRAME)


def _fetch(lake: StudyLake, server: SimulatedServer) -> None:
    credentials = Credentials(url=server.url, access_key=server.access_key, secret_key=server.secret_key)
    windows = windows_between("weekly", START, START + timedelta(days=7))
    cells = [Cell(participant, window) for window in windows for participant in PEOPLE]
    with BeiweClient(credentials) as client:
        reports = StudySync(client, lake, run_id="kept").run(cells)
        assert all(report.complete for report in reports)


def packed(folder: Path) -> bytes:
    """A folder as a compressed archive without the names of its owner."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:xz") as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, arcname=path.relative_to(folder), recursive=False, filter=_nobody)
    return sink.getvalue()


def _nobody(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def contents(lake: StudyLake) -> Mapping[str, str]:
    """{participant/member: SHA-256 of the plain content}, all of them decrypted."""
    return {
        f"{who}/{record.member}": hashlib.sha256(lake.read(who, record, window=manifest.window)).hexdigest()
        for who in lake.participants()
        for manifest in lake.manifests(who)
        for record in manifest.files
    }


def main(version: str) -> None:
    plan = StudyPlan(
        id=STUDY_ID,
        participants=PEOPLE,
        start=START,
        end=START + timedelta(days=1),
        hours=(9,),
        streams=("gps", "survey_answers", "audio_recordings"),
    )
    for cipher in ("cryptease", "age"):
        with tempfile.TemporaryDirectory() as name:
            world = World.build(plan, now=START + timedelta(days=8))
            lake = opened(Path(name), cipher)
            with SimulatedServer(world) as server:
                fill(lake, server, world)
            (ARCHIVES / f"{version}-{cipher}.tar.xz").write_bytes(packed(Path(name)))


if __name__ == "__main__":
    main(sys.argv[1])
