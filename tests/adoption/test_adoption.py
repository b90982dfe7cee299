"""Windows of an old tree become as downloaded ones, and what the server has with the same hash does not travel."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from adoptions import ONE_WINDOW, WINDOWS, adopt, adoption
from core_helpers import (
    DAY,
    HOUR,
    NOW,
    PASSPHRASE,
    PERSON,
    START,
    STREAMS,
    STUDY,
    cells_of,
    check_lake,
    client_of,
    contents,
    daily,
    small_world,
    sync,
    tree,
    truth,
)
from msgspec.structs import asdict, replace
from old_trees import save_by_hand, save_with_mano

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.encryption import encrypt_bytes
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.lake import BeiweLake, Manifest, StudyLake
from dagster_beiwe.maintenance.exposure import find_exposures
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.windows import windows_between

COMPARED = tuple(stream for stream in STREAMS if stream != "survey_answers")
EMPTY_ARCHIVE_BYTES = 116


def facts(manifest: Manifest | None) -> Any:
    """A manifest without what depends on when and how its files came, and how they were compressed."""
    assert manifest is not None
    blank = dict.fromkeys(("path", "stored_sha256", "first_seen", "fetched_at", "run_id", "counted_at"), "")
    files = tuple(replace(record, **blank, stored_size_bytes=0) for record in manifest.files)
    return asdict(replace(manifest, files=files, run_id="", committed_at="", counts_fingerprint=""))


def archive_sizes(server: SimulatedServer) -> list[int]:
    """Bytes of each archive that the server sent."""
    return [request.bytes_sent for request in server.requests if "get-data/" in request.route and request.form]


def test_a_tree_of_mano_becomes_the_manifests_of_a_download(
    mano: ModuleType, server: SimulatedServer, world: World, client: BeiweClient, lake: StudyLake, tmp_path: Path
) -> None:
    """Everything was compared and nothing but survey answers, which no server compares, was sent."""
    span = {"start": START.isoformat()[:19], "end": NOW.isoformat()[:19]}
    locked = ["audio_recordings"]
    old = tmp_path / "mano"
    save_with_mano(mano, server, old, [PERSON], streams=STREAMS, lock=locked, passphrase=PASSPHRASE, **span)
    fetched = BeiweLake(tmp_path / "fetched").study(STUDY, passphrase=PASSPHRASE)
    sync(client, fetched, cells_of(PERSON), daily=daily(client))
    wanted = adoption(client, lake, old)
    reports = adopt(wanted, client)
    assert all(report.complete for report in reports)
    assert [facts(lake.manifest(PERSON, each)) for each in WINDOWS] == [
        facts(fetched.manifest(PERSON, each)) for each in WINDOWS
    ]
    assert contents(lake) == truth(world)
    answers = sum(file.stream == "survey_answers" for file in world.files(STUDY))
    assert (wanted.outcomes.adopted, wanted.outcomes.sent_again) == (len(truth(world)) - answers, answers)
    assert (wanted.outcomes.missing, wanted.outcomes.changed, wanted.outcomes.foreign) == (0, [], [])
    check_lake(tmp_path / "lake", lake)


@pytest.mark.parametrize(
    ("compress", "passphrase", "compression"),
    [(False, None, "zstd"), (True, None, "zstd"), (True, PASSPHRASE, "zstd"), (False, PASSPHRASE, "none")],
)
@pytest.mark.parametrize("processes", [0, 2])
def test_each_form_of_file_is_adopted_and_nothing_travels(
    server: SimulatedServer,
    world: World,
    client: BeiweClient,
    folder: Path,
    tmp_path: Path,
    compress: bool,
    passphrase: str | None,
    compression: Any,
    processes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also of days that two requests share, and with several processes at work.

    Locked files of the lake's own form are kept byte for byte.
    """
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE, compression=compression)
    streams = ("power_state",)
    written = save_by_hand(world, tmp_path / "old", streams=streams, compress=compress, passphrase=passphrase)
    server.requests.clear()
    wanted = adoption(client, lake, tmp_path / "old", streams=streams, policy=ONE_WINDOW)
    monkeypatch.setattr("dagster_beiwe.adoption.adoption.processes_for", lambda *_: processes)
    assert all(report.complete for report in adopt(wanted, client, processes=True))
    assert archive_sizes(server) == [EMPTY_ARCHIVE_BYTES] * len(WINDOWS)
    outcomes = wanted.outcomes
    assert (outcomes.adopted, outcomes.missing, outcomes.foreign) == (len(written), 0, [])
    assert outcomes.kept == (len(written) if passphrase else 0)
    assert contents(lake) == {key: sha for key, sha in truth(world).items() if key.split("/")[2] in streams}
    if passphrase:
        stored = {path.read_bytes() for path in folder.rglob("*.lock")}
        assert stored == {path.read_bytes() for path in written}
    check_lake(folder, lake)
    assert find_exposures(lake).protected


def test_a_lake_is_adopted_into_one_of_longer_windows(
    server: SimulatedServer, world: World, client: BeiweClient, lake: StudyLake, tmp_path: Path
) -> None:
    """Its files are kept byte for byte. Only those that were restated travel, and those that no server compares."""
    weekly = BeiweLake(tmp_path / "weekly").study(STUDY, passphrase=PASSPHRASE)
    sync(client, weekly, cells_of(PERSON), daily=daily(client))
    restated = world.add_rows(PERSON, "gps", START + 5 * HOUR)
    sync(client, weekly, cells_of(PERSON), daily=daily(client))
    months = list(windows_between("monthly", START, NOW))
    wanted = adoption(client, lake, tmp_path / "weekly", windows=months)
    assert all(report.complete for report in adopt(wanted, client))
    sent = [file for file in world.files(STUDY) if file.stream in ("survey_answers", "audio_recordings")] + [restated]
    outcomes = wanted.outcomes
    assert (outcomes.kept, outcomes.sent_again + len(outcomes.changed)) == (len(truth(world)) - len(sent), len(sent))
    assert (outcomes.missing, outcomes.foreign) == (0, [])
    assert sorted(lake.index(PERSON)) == [window.key for window in months]
    assert contents(lake) == truth(world)
    check_lake(tmp_path / "lake", lake)


def test_files_without_sha1_on_the_server_do_not_travel(tmp_path: Path, lake: StudyLake) -> None:
    """Servers have none of files that have not changed since March 2025, and compare their MD5.

    The local day of the study ends in the next window, which another request covers.
    """
    start = datetime(2025, 3, 3, tzinfo=timezone.utc)
    end = start + 14 * DAY
    world = small_world(start=start, end=end, hours=(2, 18), streams=("gps", "audio_recordings"))
    world.forget_sha1(PERSON)
    written = save_by_hand(world, tmp_path / "old", streams=("gps",))
    with SimulatedServer(world) as server, client_of(server) as client:
        windows = list(windows_between("weekly", start, end))
        options: dict[str, Any] = {"windows": windows, "streams": ("gps",), "policy": ONE_WINDOW}
        wanted = adoption(client, lake, tmp_path / "old", **options)
        assert all(report.complete for report in adopt(wanted, client))
        assert wanted.outcomes.adopted == len(written)
        assert archive_sizes(server) == [EMPTY_ARCHIVE_BYTES] * len(windows)
        (known_by,) = {record.known_by for manifest in lake.manifests(PERSON) for record in manifest.files}
        assert known_by == "md5"


def test_what_differs_is_named_and_comes_from_the_server(
    world: World, client: BeiweClient, lake: StudyLake, tmp_path: Path
) -> None:
    """Changed, missing, foreign, unreadable, of somebody else, unknown, dated outside, and older copies."""
    old = tmp_path / "old"
    paths = [path for path in save_by_hand(world, old, streams=COMPARED) if "/gps/" in path.as_posix()]
    changed, missing, locked, copied = paths[:4]
    changed.write_bytes(changed.read_bytes() + b"\n1,1,1,1,1,1")
    missing.unlink()
    locked.with_name(locked.name + ".lock").write_bytes(encrypt_bytes(locked.read_bytes(), "another passphrase"))
    locked.unlink()
    copy = copied.with_name(copied.name.replace("+00_00", ""))
    copy.write_bytes(b"older")
    os.utime(copy, (1, 1))
    foreign = old / PERSON / "gps" / f"{START + HOUR:%Y-%m-%d %H_%M_%S}+00_00.csv"
    foreign.write_bytes(copied.read_bytes())
    empty = foreign.with_name(f"{START + 3 * DAY + HOUR:%Y-%m-%d %H_%M_%S}+00_00.csv")
    empty.touch()
    for path in ("zoe99999/gps/2026-02-24 01_00_00+00_00.csv", f"{PERSON}/gps/2015-01-01 00_00_00.csv", "notes.txt"):
        (old / path).parent.mkdir(parents=True, exist_ok=True)
        (old / path).write_bytes(copied.read_bytes())
    before = tree(old)
    wanted = adoption(client, lake, old)
    plan = wanted.plan()
    assert plan.outside == [f"{PERSON}/gps/2015-01-01 00_00_00.csv"]
    assert all(report.complete for report in adopt(wanted, client))
    outcomes, found = wanted.outcomes, wanted.tree

    def names(*paths: Path) -> list[str]:
        return [path.relative_to(old).as_posix() for path in paths]

    assert (outcomes.changed, outcomes.foreign) == (names(changed), names(foreign, empty))
    assert outcomes.unreadable == {f"{names(locked)[0]}.lock": "no passphrase that was given decrypts it"}
    assert (found.strangers, found.unknown, found.duplicates) == ({"zoe99999": 1}, ["notes.txt"], names(copy))
    answers = sum(file.stream == "survey_answers" for file in world.files(STUDY))
    assert outcomes.missing == answers + 1
    assert contents(lake) == truth(world)
    assert tree(old) == before, "the old tree is only read"


def test_a_server_that_cannot_compare_is_refused(world: World, tmp_path: Path, lake: StudyLake) -> None:
    """It would send everything again."""
    with SimulatedServer(world, profile="2025-12") as server, client_of(server) as client:
        (tmp_path / "old").mkdir()
        with pytest.raises(ConfigurationError, match="older than January 2026"):
            adoption(client, lake, tmp_path / "old").plan()
