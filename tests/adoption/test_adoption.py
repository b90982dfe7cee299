"""Windows of an old tree become as downloaded ones, and what the server has with the same hash does not travel."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
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

from dagster_beiwe.adoption.adoption import Adoption
from dagster_beiwe.adoption.old_tree import OldFile, OldTree
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.encryption import encrypt_bytes
from dagster_beiwe.errors import ConfigurationError, LakeUnavailableError
from dagster_beiwe.lake import BeiweLake, Manifest, StudyLake
from dagster_beiwe.lake.catalog import withdrawal
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.store import create as create_file
from dagster_beiwe.lake.catalog.withdrawal import withdraw
from dagster_beiwe.lake.layout import LogLayout, Subject
from dagster_beiwe.maintenance.exposure import find_exposures
from dagster_beiwe.simulator import ParticipantPlan, SimulatedServer, World
from dagster_beiwe.sync import FetchPolicy, WindowReport
from dagster_beiwe.windows import windows_between

COMPARED = tuple(stream for stream in STREAMS if stream != "survey_answers")
EMPTY_ARCHIVE_BYTES = 116
ONE_WINDOW = FetchPolicy(longest_request_hours=7 * 24)
WINDOWS = list(windows_between("weekly", START, NOW))


def adoption(client: BeiweClient, lake: StudyLake, old: Path, **options: Any) -> Adoption:
    found = OldTree.read(
        old,
        study_id=STUDY,
        participants=client.participants(STUDY),
        streams=client.choose_streams(STUDY, ()),
    )
    usual: dict[str, Any] = {"windows": WINDOWS, "passphrases": [PASSPHRASE], "passphrase": PASSPHRASE}
    return Adoption(client, lake, found, **{**usual, **options})


def adopt(wanted: Adoption, client: BeiweClient, *, processes: bool = False) -> list[WindowReport]:
    """All that the plan names."""
    plan = wanted.plan()
    with wanted.working(plan, processes=processes) as at_work:
        return [report for cells in wanted.parts(plan) for report in wanted.run(cells, daily(client), at_work)]


def tree_of(old: Path, *people: str) -> World:
    """What some participants' phones sent, and an old tree of it."""
    world = small_world(people=[ParticipantPlan(id=each) for each in people], hours=(5,), streams=("gps",))
    save_by_hand(world, old, streams=("gps",))
    return world


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
    assert outcomes.unreadable == {f"{names(locked)[0]}.lock": "wrong passphrase"}
    assert (found.strangers, found.unknown, found.duplicates) == ({"zoe99999": 1}, ["notes.txt"], names(copy))
    answers = sum(file.stream == "survey_answers" for file in world.files(STUDY))
    assert outcomes.missing == answers + 1
    assert contents(lake) == truth(world)
    assert tree(old) == before, "the old tree is only read"


def test_processes_store_files_before_the_turn_of_their_windows(
    lake: StudyLake, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of other participants. What is not committed is removed, and the next adoption stores it again."""
    world = tree_of(tmp_path / "old", "anna0001", "zoe00001")
    monkeypatch.setattr("dagster_beiwe.adoption.adoption.processes_for", lambda *_: 2)
    with SimulatedServer(world) as server, client_of(server) as client:
        first = adoption(client, lake, tmp_path / "old", streams=("gps",), policy=ONE_WINDOW)
        plan = first.plan()
        (cells,) = first.parts(plan)
        assert len(cells) == 4
        with first.working(plan, processes=True) as at_work:
            with closing(first.run(cells, daily(client), at_work)) as reports:
                committed = next(reports).added
                assert len(list(folder.rglob("*.lock"))) >= 2 * committed
            assert len(list(folder.rglob("*.lock"))) == committed
        check_lake(folder, lake)
        assert len(adopt(adoption(client, lake, tmp_path / "old", streams=("gps",)), client, processes=True)) == 3
    assert check_lake(folder, lake) == truth(world, "anna0001") | truth(world, "zoe00001")


def lose_token(folder: Path, catalog: Catalog) -> None:
    """Of the second participant; the log is opened from a checkpoint, and does not miss it."""
    catalog.write_checkpoint()
    (folder / LogLayout(STUDY).home(Subject("mia00001")).token(0)).unlink()


def withdraw_partly(folder: Path, catalog: Catalog) -> None:
    """The second participant, up to the first file that was to be removed."""
    with mock.patch.object(withdrawal, "_delete", side_effect=KeyboardInterrupt), suppress(KeyboardInterrupt):
        withdraw(catalog, [Subject("mia00001")], run_id="purge")


@pytest.mark.parametrize("happen", [lose_token, withdraw_partly])
@pytest.mark.parametrize("processes", [0, 2])
def test_one_participant_is_refused_and_the_others_are_adopted(
    lake: StudyLake,
    folder: Path,
    tmp_path: Path,
    happen: Callable[[Path, Catalog], None],
    processes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = tree_of(tmp_path / "old", "anna0001", "mia00001", "zoe00001")
    monkeypatch.setattr("dagster_beiwe.adoption.adoption.processes_for", lambda *_: processes)
    with SimulatedServer(world) as server, client_of(server) as client:
        sync(client, lake, cells_of("mia00001")[:1], streams=("gps",))
        catalog = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE).catalog()
        assert catalog is not None
        happen(folder, catalog)
        lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
        wanted = adoption(client, lake, tmp_path / "old", streams=("gps",))
        files = wanted.plan().files
        reports = adopt(wanted, client, processes=True)
    assert wanted.outcomes.not_compared > 0
    assert wanted.outcomes.adopted + wanted.outcomes.not_compared == files
    assert {(each.cell.participant, each.complete) for each in reports} == {
        ("anna0001", True),
        ("mia00001", False),
        ("zoe00001", True),
    }


@pytest.mark.parametrize("lacks", ["token", "stream"])
@pytest.mark.parametrize("processes", [0, 2])
def test_a_folder_that_cannot_be_written_stops_nobody_before(
    lake: StudyLake, folder: Path, tmp_path: Path, lacks: str, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although files of all participants are stored together."""

    def create(store: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        if lacks == "token" and "zoe00001" in path:
            raise LakeUnavailableError("The disk refuses it.")
        return create_file(store, path, *args, **kwargs)

    monkeypatch.setattr("dagster_beiwe.lake.catalog.identities.create", create)
    world = tree_of(tmp_path / "old", "anna0001", "mia00001", "zoe00001")
    monkeypatch.setattr("dagster_beiwe.adoption.adoption.processes_for", lambda *_: processes)
    with SimulatedServer(world) as server, client_of(server) as client:
        sync(client, lake, cells_of("anna0001")[:1], streams=("gps",))
        (tmp_path / "elsewhere").mkdir()
        if lacks == "stream":
            (folder / STUDY / "zoe00001").mkdir(mode=0o700)
            (folder / STUDY / "zoe00001" / "gps").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(LakeUnavailableError):
            adopt(adoption(client, lake, tmp_path / "old", streams=("gps",)), client, processes=True)
    assert {len(lake.index(who)) for who in ("anna0001", "mia00001")} == {len(WINDOWS)}
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("processes", [0, 2])
def test_a_killed_adoption_continues_with_what_is_left(
    world: World,
    client: BeiweClient,
    lake: StudyLake,
    folder: Path,
    tmp_path: Path,
    processes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first window is committed, and its files are not read again."""
    monkeypatch.setattr("dagster_beiwe.adoption.adoption.processes_for", lambda *_: processes)
    written = save_by_hand(world, tmp_path / "old", streams=("gps",))
    options: dict[str, Any] = {"streams": ("gps",), "policy": ONE_WINDOW}
    first = adoption(client, lake, tmp_path / "old", **options)
    plan = first.plan()
    (who, cells), *_ = plan.cells.items()
    read: list[OldFile] = []

    def stop(file: OldFile) -> None:
        read.append(file)
        if file.member.time in WINDOWS[1]:
            raise KeyboardInterrupt

    with first.working(plan, processes=True) as at_work, pytest.raises(KeyboardInterrupt):
        list(first.run(cells, daily(client), at_work, on_file=stop))
    again = adoption(client, lake, tmp_path / "old", **options)
    plan = again.plan()
    assert [cell.window for cell in plan.cells[who]] == WINDOWS[1:]
    assert (plan.files_held, plan.files) == (len(read) - 1, len(written) - len(read) + 1)
    assert all(report.complete for report in adopt(again, client))
    assert again.outcomes.adopted == plan.files
    check_lake(folder, lake)


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize("of_it", ["gps", "power_state"])
def test_files_count_once_if_another_run_commits_their_window(
    world: World,
    client: BeiweClient,
    lake: StudyLake,
    folder: Path,
    tmp_path: Path,
    of_it: str,
    processes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If it committed the same files, they count as held; if others, they are stored again."""
    monkeypatch.setattr("dagster_beiwe.adoption.adoption.processes_for", lambda *_: processes)
    written = save_by_hand(world, tmp_path / "old", streams=("gps",))
    wanted = adoption(client, lake, tmp_path / "old", streams=("gps",), policy=ONE_WINDOW)
    plan = wanted.plan()
    (cells,) = plan.cells.values()
    read: list[OldFile] = []

    def commit_meanwhile(file: OldFile) -> None:
        if not read:
            sync(client, BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE), cells[:1], streams=(of_it,))
        read.append(file)

    with wanted.working(plan, processes=True) as at_work:
        assert all(each.complete for each in wanted.run(cells, daily(client), at_work, on_file=commit_meanwhile))
    in_first = sum(file.member.time in WINDOWS[0] for file in read)
    assert 0 < in_first < len(read) == len(written)
    held = in_first if of_it == "gps" else 0
    assert (wanted.outcomes.held, wanted.outcomes.adopted) == (held, len(written) - held)
    check_lake(folder, lake)


def test_a_server_that_cannot_compare_is_refused(world: World, tmp_path: Path, lake: StudyLake) -> None:
    """It would send everything again."""
    with SimulatedServer(world, profile="2025-12") as server, client_of(server) as client:
        (tmp_path / "old").mkdir()
        with pytest.raises(ConfigurationError, match="older than January 2026"):
            adoption(client, lake, tmp_path / "old").plan()
