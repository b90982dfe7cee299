"""Files of an old tree are stored ahead of their windows: what that means if one is refused, or it ends early."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from adoptions import ONE_WINDOW, WINDOWS, adopt, adoption, tree_of
from core_helpers import PASSPHRASE, STUDY, cells_of, check_lake, client_of, daily, sync, truth
from old_trees import save_by_hand

from dagster_beiwe.adoption.old_tree import OldFile
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import LakeUnavailableError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog import withdrawal
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.store import create as create_file
from dagster_beiwe.lake.catalog.withdrawal import withdraw
from dagster_beiwe.lake.layout import LogLayout, Subject
from dagster_beiwe.simulator import SimulatedServer, World


@pytest.fixture(autouse=True, params=[0, 2])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many store files; without any, each is stored in its turn."""
    monkeypatch.setattr("dagster_beiwe.adoption.adoption.processes_for", lambda *_: request.param)
    number: int = request.param
    return number


def test_processes_store_files_before_the_turn_of_their_windows(
    lake: StudyLake, folder: Path, tmp_path: Path, processes: int
) -> None:
    """Also those of other participants. What is not committed is removed, and the next adoption stores it again."""
    world = tree_of(tmp_path / "old", "anna0001", "zoe00001")
    with SimulatedServer(world) as server, client_of(server) as client:
        first = adoption(client, lake, tmp_path / "old", streams=("gps",), policy=ONE_WINDOW)
        plan = first.plan()
        (cells,) = first.parts(plan)
        assert len(cells) == 4
        with first.working(plan, processes=True) as at_work:
            with closing(first.run(cells, daily(client), at_work)) as reports:
                committed = next(reports).added
                assert (len(list(folder.rglob("*.lock"))) >= 2 * committed) == bool(processes)
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
def test_one_participant_is_refused_and_the_others_are_adopted(
    lake: StudyLake,
    folder: Path,
    tmp_path: Path,
    happen: Callable[[Path, Catalog], None],
) -> None:
    world = tree_of(tmp_path / "old", "anna0001", "mia00001", "zoe00001")
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
def test_a_folder_that_cannot_be_written_stops_nobody_before(
    lake: StudyLake, folder: Path, tmp_path: Path, lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although files of all participants are stored together."""

    def create(store: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        if lacks == "token" and "zoe00001" in path:
            raise LakeUnavailableError("The disk refuses it.")
        return create_file(store, path, *args, **kwargs)

    monkeypatch.setattr("dagster_beiwe.lake.catalog.identities.create", create)
    world = tree_of(tmp_path / "old", "anna0001", "mia00001", "zoe00001")
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


def test_a_killed_adoption_continues_with_what_is_left(
    world: World,
    client: BeiweClient,
    lake: StudyLake,
    folder: Path,
    tmp_path: Path,
) -> None:
    """The first window is committed, and its files are not read again."""
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


@pytest.mark.parametrize("of_it", ["gps", "power_state"])
def test_files_count_once_if_another_run_commits_their_window(
    world: World,
    client: BeiweClient,
    lake: StudyLake,
    folder: Path,
    tmp_path: Path,
    of_it: str,
) -> None:
    """If it committed the same files, they count as held; if others, they are stored again."""
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
