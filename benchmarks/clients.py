"""What is measured, each in a process of its own: ours, mano, and a plain download that throws everything away.

A client gets its job as JSON on standard input and prints what it measured as the last line of its output. It imports
what it needs first; that time is not counted, and the memory after it is what growth is counted from.
"""

from __future__ import annotations

import http.client
import json
import locale
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import urlencode, urlsplit

from benchmarks.process import Job, measured, wait_for_others
from benchmarks.server import Served

if TYPE_CHECKING:
    from dagster_beiwe.client import BeiweClient
    from dagster_beiwe.lake import StudyLake
    from dagster_beiwe.windows import Window

PASSPHRASE = "benchmark passphrase"
Measured = dict[str, Any]
_ONE_WINDOW = timedelta(days=28)


# Ours


def _ours(job: Job) -> Measured:
    """Synchronise every participant.

    ``options``: ``compression``, ``encryption``, ``policy``, ``version`` 1 or 2, and ``windows``, which is "weekly", or
    "one" for all data in one window and one archive.
    """
    from dagster_beiwe.sync import Cell, FetchPolicy, StudySync
    from dagster_beiwe.windows import Window, windows_between

    with _client(job.served) as client:
        if job.options.get("version") == 1:
            client.get_data = _without_zstd(client.get_data)
        start, end = (datetime.fromisoformat(text) for text in (job.served.start, job.served.end))
        windows = (
            [Window(start, end)] if job.options.get("windows") == "one" else [*windows_between("weekly", start, end)]
        )
        people = job.options.get("participants") or job.served.participants
        found: Measured = {}
        with measured(found):
            cells = [Cell(participant, window) for participant in people for window in windows]
            policy = FetchPolicy(**job.options.get("policy", {}))
            sync = StudySync(client, _lake(job), streams=job.served.streams, run_id="benchmark", policy=policy)
            reports = list(sync.run(cells))
    assert all(report.complete for report in reports), [report.failures for report in reports]
    return {
        **found,
        "files": sum(report.added for report in reports),
        "plain_bytes": sum(report.size_bytes for report in reports),
        "stored_bytes": sum(report.stored_bytes for report in reports),
    }


def _ours_backfill(job: Job) -> Measured:
    """Everything of a participant, without knowing when it begins: one request tells which days have data."""
    from zoneinfo import ZoneInfo

    from dagster_beiwe.sync import Cell, DailyIndex, StudySync
    from dagster_beiwe.windows import windows_between

    found: Measured = {}
    study_id = job.served.study_id
    with _client(job.served) as client, measured(found):
        zone = ZoneInfo(client.settings(study_id)["study_time_zone"])
        daily = DailyIndex.of(zone, client.summary_statistics(study_id))
        cells = []
        for participant in client.participants(study_id):
            days = sorted(daily.days.get(participant, ()))
            if days:
                start = datetime.combine(days[0], datetime.min.time(), zone)
                end = datetime.combine(days[-1] + timedelta(days=1), datetime.min.time(), zone)
                cells += [Cell(participant, window) for window in windows_between("weekly", start, end)]
        sync = StudySync(client, _lake(job), streams=job.served.streams, run_id="benchmark", daily=daily)
        reports = list(sync.run(cells))
    return {**found, "files": sum(report.added for report in reports)}


def _ours_refresh(job: Job) -> Measured:
    """What a sensor does: the study's totals, compared with those of the last look. A first sync prepares it."""
    from dagster_beiwe.automation.changes import Grid, commit_fingerprints
    from dagster_beiwe.windows import windows_between

    start, end = (datetime.fromisoformat(text) for text in (job.served.start, job.served.end))
    windows, streams = list(windows_between("weekly", start, end)), job.served.streams
    grid = Grid(participants=job.served.participants, windows=windows, streams=streams, today=end.date())
    remembered = Path(f"{job.folder}.fingerprints")
    found: Measured = {}
    with _client(job.served) as client, measured(found):
        lake = _lake(job)
        if job.options.get("prepare"):
            _sync_everything(client, lake, job, windows)
        totals = client.data_quantities(job.served.study_id)
        fingerprints = grid.counts_fingerprints(totals, zone="America/New_York", held=commit_fingerprints(lake.at()))
        if job.options.get("prepare"):
            remembered.write_text(json.dumps(fingerprints), encoding="utf-8")
        assert fingerprints == json.loads(remembered.read_text(encoding="utf-8")), (
            "nothing is new, so no fingerprint may move"
        )
    return {**found, "files": 0}


def _sync_everything(client: BeiweClient, lake: StudyLake, job: Job, windows: Sequence[Window]) -> None:
    from zoneinfo import ZoneInfo

    from dagster_beiwe.sync import Cell, DailyIndex, StudySync

    daily = DailyIndex.of(ZoneInfo("America/New_York"), client.summary_statistics(job.served.study_id))
    sync = StudySync(client, lake, streams=job.served.streams, run_id="benchmark", daily=daily)
    cells = [Cell(participant, window) for participant in job.served.participants for window in windows]
    assert all(report.complete for report in sync.run(cells))


def _without_zstd(get_data: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: get_data(*args, **{**kwargs, "compressed": False})


def _client(served: Served) -> Any:
    from dagster_beiwe.client import BeiweClient
    from dagster_beiwe.credentials import Credentials

    return BeiweClient(Credentials(url=served.url, access_key=served.access_key, secret_key=served.secret_key))


def _lake(job: Job) -> Any:
    from dagster_beiwe.encryption import AgeCipher
    from dagster_beiwe.lake import BeiweLake

    cipher: Any = job.options.get("encryption", "cryptease")
    if cipher == "age":
        import pyrage

        cipher = AgeCipher(identity=str(pyrage.x25519.Identity.generate()))
    compression = job.options.get("compression", "zstd")
    lake = BeiweLake(job.folder)
    return lake.study(job.served.study_id, passphrase=PASSPHRASE, cipher=cipher, compression=compression)


# mano


def _mano(job: Job) -> Measured:
    """Download and lock every participant, as mano's documentation shows; ``options``: ``lock`` (default True)."""
    mano = _import_mano()
    keyring = _keyring(job.served)
    streams = list(job.served.streams)
    start, end = (job.served.start.removesuffix("+00:00"), job.served.end.removesuffix("+00:00"))
    lock = streams if job.options.get("lock", True) else None
    found: Measured = {"files": 0}
    with measured(found):
        for participant in job.options.get("participants") or job.served.participants:
            archive = mano.sync.download(
                keyring, job.served.study_id, [participant], streams, time_start=start, time_end=end
            )
            found["files"] += mano.sync.save(
                keyring, archive, participant, job.folder, lock=lock, passphrase=PASSPHRASE
            )
    return found


def _mano_backfill(job: Job) -> Measured:
    """mano's own backfill from its default start. Its pauses are not waited for, but counted and added."""
    mano = _import_mano()
    slept: list[float] = []
    streams = list(job.served.streams)
    found: Measured = {}
    with mock.patch("time.sleep", slept.append), measured(found):
        for participant in job.served.participants:
            mano.sync.backfill(
                _keyring(job.served),
                job.served.study_id,
                participant,
                job.folder,
                data_streams=streams,
                lock=streams,
                passphrase=PASSPHRASE,
            )
    found["slept_seconds"] = sum(slept)
    found["seconds"] += found["slept_seconds"]
    return {**found, "files": sum(1 for _ in Path(job.folder).rglob("*.lock"))}


def _import_mano() -> Any:
    """mano needs the locale en_US.UTF-8 while it is imported, and nothing of it afterwards."""
    with mock.patch.object(locale, "setlocale", return_value=""):
        import mano
        import mano.sync
    return mano


def _keyring(served: Served) -> dict[str, str]:
    return {"URL": served.url, "ACCESS_KEY": served.access_key, "SECRET_KEY": served.secret_key}


# The wire alone


def _wire(job: Job) -> Measured:
    """Receive the same archives and throw them away. ``options``: ``version`` 1 or 2."""
    address, buffer = urlsplit(job.served.url), memoryview(bytearray(256 * 1024))
    start, end = (job.served.start.removesuffix("+00:00"), job.served.end.removesuffix("+00:00"))
    found: Measured = {}
    with measured(found):
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        for participant in job.options.get("participants") or job.served.participants:
            form = {
                "access_key": job.served.access_key,
                "secret_key": job.served.secret_key,
                "study_id": job.served.study_id,
                "user_ids": json.dumps([participant]),
                "data_streams": json.dumps(job.served.streams),
                "time_start": start,
                "time_end": end,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", f"/get-data/v{job.options['version']}", urlencode(form), headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.status
            while answer.readinto(buffer):
                pass
        connection.close()
    return {**found, "files": job.served.files}


# Reading


def _export_plain(job: Job) -> Measured:
    """Write the lake's files as they are in Beiwe's tree: what pandas and pyarrow read."""
    lake, found = _lake(job), Measured()
    target = Path(job.options["plain"])
    with measured(found):
        for participant in lake.participants():
            for manifest in lake.manifests(participant):
                for record in manifest.files:
                    path = target / record.member
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(lake.read(participant, record))
    return found


def _ours_read(job: Job) -> Measured:
    """One DataFrame. ``options``: ``columns``; ``last_days`` for a time filter."""
    from dagster_beiwe.reading import BeiwePartitions

    found: Measured = {}
    options: dict[str, Any] = {"columns": job.options.get("columns")}
    if "last_days" in job.options:
        options["start"] = datetime.fromisoformat(job.served.end) - timedelta(days=job.options["last_days"])
    (stream,) = job.served.streams
    with measured(found):
        frame = BeiwePartitions.of(_lake(job)).read(stream, **options)
    return {**found, "rows": len(frame), "files": frame.attrs["beiwe"]["files"], "frame_bytes": _size_bytes(frame)}


def _ours_iterate(job: Job) -> Measured:
    """One window's DataFrame after the other."""
    from dagster_beiwe.reading import BeiwePartitions

    found: Measured = {"rows": 0, "files": 0}
    (stream,) = job.served.streams
    with measured(found):
        for _, _, frame in BeiwePartitions.of(_lake(job)).iter_frames(stream):
            found["rows"] += len(frame)
            found["files"] += frame.attrs["beiwe"]["files"]
    return found


def _ours_decrypt(job: Job) -> Measured:
    """Every file decrypted, decompressed and checked, but not parsed."""
    found: Measured = {"files": 0}
    with measured(found):
        lake = _lake(job)
        for participant in lake.participants():
            for manifest in lake.manifests(participant):
                for record in manifest.files:
                    lake.read(participant, record)
                    found["files"] += 1
    return found


def _pandas_read(job: Job) -> Measured:
    import pandas as pd

    found: Measured = {}
    paths = sorted(Path(job.options["plain"]).rglob("*.csv"))
    with measured(found):
        frame = pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)
    return {**found, "rows": len(frame), "files": len(paths)}


def _pyarrow_read(job: Job) -> Measured:
    import pyarrow as pa
    from pyarrow import csv

    found: Measured = {}
    paths = sorted(Path(job.options["plain"]).rglob("*.csv"))
    with measured(found):
        frame = pa.concat_tables([csv.read_csv(path) for path in paths]).to_pandas()
    return {**found, "rows": len(frame), "files": len(paths)}


def _pyarrow_decrypt(job: Job) -> Measured:
    """What ours does, without it: each file decrypted, decompressed, checked, and read by pyarrow as it comes."""
    import io

    import pyarrow as pa
    from pyarrow import csv

    found: Measured = {}
    with measured(found):
        lake = _lake(job)
        files = [
            (participant, record)
            for participant in lake.participants()
            for manifest in lake.manifests(participant)
            for record in manifest.files
        ]
        tables = [csv.read_csv(io.BytesIO(lake.read(participant, record))) for participant, record in files]
        frame = pa.concat_tables(tables).to_pandas()
    return {**found, "rows": len(frame), "files": len(files), "frame_bytes": _size_bytes(frame)}


def _size_bytes(frame: Any) -> int:
    return int(frame.memory_usage(deep=True).sum())


_CLIENTS: dict[str, Callable[[Job], Measured]] = {
    "ours": _ours,
    "ours backfill": _ours_backfill,
    "ours refresh": _ours_refresh,
    "ours read": _ours_read,
    "ours iterate": _ours_iterate,
    "ours decrypt": _ours_decrypt,
    "mano": _mano,
    "mano backfill": _mano_backfill,
    "wire": _wire,
    "export": _export_plain,
    "pandas": _pandas_read,
    "pyarrow": _pyarrow_read,
    "pyarrow decrypt": _pyarrow_decrypt,
}


def _import_everything(name: str) -> None:
    """Imports and what they start are neither timed nor counted as growth; Dagster's step has its own in any case."""
    if name.startswith("ours") or name == "pyarrow decrypt":
        import dagster  # noqa: F401
        import pyarrow.csv

        import dagster_beiwe.reading
        import dagster_beiwe.sync  # noqa: F401
    elif name.startswith("mano"):
        _import_mano()
    elif name in ("pandas", "pyarrow"):
        import pandas  # noqa: ICN001, F401
        import pyarrow.csv  # noqa: F401


def main() -> None:
    document = json.load(sys.stdin)
    served = document["served"]
    document["served"] = Served(
        **{**served, "participants": tuple(served["participants"]), "streams": tuple(served["streams"])}
    )
    job = Job(**document)
    _import_everything(job.client)
    wait_for_others(job)
    print("\n" + json.dumps(_CLIENTS[job.client](job)))


if __name__ == "__main__":
    main()
