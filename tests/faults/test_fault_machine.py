"""Faults on our side of the wire: disks, clocks, names. One test per row of the table, or in the file that it names."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from core_helpers import downloads
from fault_scene import (
    BAD_HOUR,
    BAD_STREAM,
    DAY,
    FIRST,
    HOUR,
    NOW,
    PASSPHRASE,
    SECOND,
    START,
    STREAMS,
    STUDY,
    CheckLosses,
    cells,
    check_lake,
    check_message,
    client_of,
    completes,
    fill,
    held,
    new_world,
    open_lake,
    run,
    secrets_of,
    truth,
)
from machine_faults import MACHINE_FAULTS

from dagster_beiwe import StudyConfig, build_beiwe_definitions, private_files
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.client.studies import find_study
from dagster_beiwe.errors import BeiweError, LakeUnavailableError
from dagster_beiwe.lake.storage import local
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import ParticipantPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, DailyIndex, StudySync, measure_completeness
from dagster_beiwe.sync import study_run as engine
from dagster_beiwe.windows import out_of_range_windows, windows_between

ROOT = Path(__file__).parents[2]


@contextmanager
def mounted(folder: Path, size_bytes: int) -> Iterator[bool]:
    """A real small disk at a folder; False where this process may not mount."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    allowed = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield allowed
    finally:
        if allowed:
            subprocess.run(["umount", str(folder)], check=True)


def fails_clearly(client: BeiweClient, folder: Path, server: SimulatedServer, *, says: str) -> None:
    """The run ends with the lake's error, which says what to do."""
    with pytest.raises(LakeUnavailableError, match=says) as caught:
        run(client, open_lake(folder), cells())
    check_message(str(caught.value), secrets_of(server))


def test_every_row_of_the_table_has_its_test() -> None:
    """Rows are not promised without being tried, here or in the file that they name."""
    for fault in MACHINE_FAULTS:
        path, _, name = fault.check.rpartition("::")
        text = (ROOT / path).read_text(encoding="utf-8") if path else Path(__file__).read_text(encoding="utf-8")
        assert f"\ndef test_{name}(" in text, fault.name


@pytest.mark.parametrize("how", ["a real disk", "the system call"])
def test_disk_full(
    how: str,
    world: World,
    client: BeiweClient,
    server: SimulatedServer,
    lake_folder: Path,
    check_losses: CheckLosses,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk fills up while files are staged: what was committed stays, what was staged goes."""
    before = held(lake_folder)
    if how == "the system call":
        with monkeypatch.context() as patch:
            patch.setattr(private_files.DurableFile, "write", _no_space_after(6))
            fails_clearly(client, lake_folder, server, says="Free space")
        check_lake(lake_folder)
        check_losses(lake_folder, world, before)
        completes(client, lake_folder, world)
        return
    disk = tmp_path / "disk"
    with mounted(disk, 20_000_000) as allowed:
        if not allowed:
            pytest.skip("this process may not mount a disk")
        small = disk / "lake"
        shutil.copytree(lake_folder, small)
        used = os.statvfs(disk)
        size_bytes = (used.f_blocks - used.f_bfree) * used.f_frsize + 24 * 1024
        subprocess.run(["mount", "-o", f"remount,size={size_bytes}", str(disk)], check=True)
        fails_clearly(client, small, server, says="Free space")
        assert verify_study(open_lake(small)).intact  # a marker may say where to look for what is left
        check_losses(small, world, before)
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        completes(client, small, world)


def _no_space_after(writes: int) -> Callable[..., int]:
    """A write that fails from some call on."""
    left = [writes]
    real = private_files.DurableFile.write

    def write(file: Any, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(real(file, data))

    return write


def test_read_only_lake(
    world: World,
    client: BeiweClient,
    server: SimulatedServer,
    lake_folder: Path,
    check_losses: CheckLosses,
    tmp_path: Path,
) -> None:
    """Said before the first download; reading goes on; mounted for writing again, the run completes."""
    before = held(lake_folder)
    if os.geteuid() != 0:  # permissions bind anybody but root
        folders = [path for path in (lake_folder, *lake_folder.rglob("*")) if path.is_dir()]
        for folder in folders:
            folder.chmod(0o500)
        fails_clearly(client, lake_folder, server, says="own the folder")
        check_losses(lake_folder, world, before)
        for folder in folders:
            folder.chmod(0o700)
        completes(client, lake_folder, world)
        return
    with mounted(tmp_path / "disk", 20_000_000) as allowed:
        if not allowed:
            pytest.skip("root may write anywhere, and this process may not mount a disk")
        lake = tmp_path / "disk" / "lake"
        shutil.copytree(lake_folder, lake)
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        server.forget_requests()
        fails_clearly(client, lake, server, says="read-only")
        assert downloads(server) == 0
        check_losses(lake, world, before)
        subprocess.run(["mount", "-o", "remount,rw", str(tmp_path / "disk")], check=True)
        completes(client, lake, world)


def test_lake_removed(client: BeiweClient, server: SimulatedServer, lake_folder: Path) -> None:
    """A lake that is unmounted or deleted in mid-run ends the run; no empty one is begun in its place."""
    reports = StudySync(client, open_lake(lake_folder), streams=STREAMS, run_id="run-2").run(cells())
    next(reports)
    shutil.rmtree(lake_folder)
    with pytest.raises(LakeUnavailableError) as caught:
        list(reports)
    check_message(str(caught.value), secrets_of(server))
    assert not lake_folder.exists() or not list(lake_folder.rglob("*"))


def test_study_begun_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that looks for the log's first record just before another one writes it, and more, takes that one."""
    world = new_world()
    real = local.LocalStorage.read
    late: list[str] = []

    def read(self: local.LocalStorage, path: str, **options: int) -> bytes:
        if path.endswith(".beiwe/log/000000/000") and not late:
            late.append(path)
            fill(tmp_path / "lake", world)  # the other run, between the look and what follows
            raise FileNotFoundError(path)
        return real(self, path, **options)

    monkeypatch.setattr(local.LocalStorage, "read", read)
    with SimulatedServer(world) as server, client_of(server, []) as client:
        completes(client, tmp_path / "lake", world)
    assert late


def test_phone_clock_wrong(tmp_path: Path) -> None:
    """Files of 1969, 1970 and next year leave the windows complete; the out-of-range windows get them."""
    plan = StudyPlan(
        id=STUDY,
        name="Faults",
        start=START,
        hours=(5,),
        streams=STREAMS,
        participants=[ParticipantPlan(id=SECOND, wrong_clock=True)],
    )
    world = World.build(plan, now=NOW)
    with SimulatedServer(world) as server, client_of(server, []) as client:
        lake = open_lake(tmp_path / "lake")
        assert all(report.complete for report in run(client, lake, cells([SECOND])))
        assert held(tmp_path / "lake") == truth(world, start=START, end=NOW)
        outside = [Cell(SECOND, window) for window in out_of_range_windows(START, NOW)]
        assert [(report.complete, report.files) for report in run(client, lake, outside)] == [(True, 2), (True, 1)]
    assert held(tmp_path / "lake") == truth(world, start=datetime.min.replace(tzinfo=NOW.tzinfo), end=NOW + 999 * DAY)
    check_lake(tmp_path / "lake")


@pytest.mark.parametrize("years", [-10, 10])
def test_our_clock_wrong(
    years: int, world: World, client: BeiweClient, lake_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose host lost its clock gets the same files; the next one, with the right time, changes nothing."""

    class Elsewhen(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Elsewhen:
            return cls.fromtimestamp((super().now(tz) + timedelta(days=365 * years)).timestamp(), tz)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "datetime", Elsewhen)
        assert all(report.complete for report in run(client, open_lake(lake_folder), cells()))
    assert held(lake_folder) == truth(world)
    check_lake(lake_folder)
    again = run(client, open_lake(lake_folder), cells())
    assert sum(report.added + report.changed for report in again) == 0
    world.add_rows(FIRST, "gps", BAD_HOUR)
    completes(client, lake_folder, world)


NAMES = (
    "Schlaf & Stimmung \u2013 Zürich",
    "Étude/de/sommeil",
    "../../../etc/passwd",
    "睡眠研究",
    "two\nlines\rand a tab\t",
    "escape \x1b[2J\x1b]0;owned\x07",
    "right-to-left \u202egnp.exe",
    "quotes ' \" ` $(id) ; rm -rf / {{ 7*7 }} %s %(x)s {0}",
    "x" * 3000,
    " ",
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_hostile_study_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a study is called, keys and folders stay plain, and messages about it are one line."""
    ids = [f"{number:02d}" + "HostileHostileHostile"[:22].ljust(22, "x") for number in range(len(NAMES))]
    plans = [
        StudyPlan(id=study_id, name=name, start=START, hours=(5,), streams=("gps",), participants=1)
        for study_id, name in zip(ids, NAMES, strict=True)
    ]
    with SimulatedServer(World.build(*plans, now=NOW)) as server, client_of(server, []) as client:
        studies = client.studies()
        for study_id, name in zip(ids, NAMES, strict=True):
            if name.strip():
                assert find_study(studies, name).id == study_id
        with pytest.raises(BeiweError) as caught:
            client.find_study("no such study")
        check_message(str(caught.value), secrets_of(server))
        for name, value in {
            "BEIWE_URL": server.url,
            "BEIWE_ACCESS_KEY": server.access_key,
            "BEIWE_SECRET_KEY": server.secret_key,
            "BEIWE_LAKE": str(tmp_path / "lake"),
            "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
        }.items():
            monkeypatch.setenv(name, value)
        configs = [StudyConfig(study_id, start=START.date()) for study_id in ids]
        definitions = build_beiwe_definitions(configs, state_folder=tmp_path / "state")
        keys = {part for spec in definitions.resolve_all_asset_specs() for part in spec.key.path}
    assert len([key for key in keys if key not in ("beiwe", "raw_data")]) >= len(NAMES)
    assert all(re.fullmatch(r"[A-Za-z0-9_]{1,100}", key) for key in keys), keys


def test_missing_object(world: World, server: SimulatedServer, client: BeiweClient, lake_folder: Path) -> None:
    """The server leaves a file out without a sign; its own counts give it away, and a later run brings it."""
    hour = {"participant": SECOND, "stream": BAD_STREAM, "start": BAD_HOUR, "end": BAD_HOUR + HOUR}
    server.misbehave("missing_object", **hour)
    assert all(report.complete for report in run(client, open_lake(lake_folder), cells()))
    check_lake(lake_folder)
    daily = DailyIndex.of(ZoneInfo("America/New_York"), client.summary_statistics(STUDY, streams=STREAMS))
    windows = list(windows_between("daily", START, NOW))
    lake = open_lake(lake_folder)
    found = measure_completeness(lake, daily, participants=[FIRST, SECOND], windows=windows, streams=STREAMS)
    assert [(gap.participant, gap.stream) for gap in found.gaps] == [(SECOND, BAD_STREAM)]
    assert f"{SECOND}|{BAD_HOUR:%Y-%m-%d}" in found.partitions
    server.behave()
    completes(client, lake_folder, world)
