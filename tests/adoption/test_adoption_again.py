"""An old tree that is adopted again: what the lake lacks comes later, and what it has is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from adoptions import adopt, adoption, tree_of
from core_helpers import DAY, HOUR, PASSPHRASE, PERSON, START, client_of, contents, daily, small_world, truth
from old_trees import save_by_hand

from dagster_beiwe.adoption.forecast import Forecast
from dagster_beiwe.encryption import encrypt_bytes
from dagster_beiwe.errors import WindowMismatchError, WrongPassphraseError
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.windows import Granularity, windows_between

MOMENT = START + 5 * HOUR
OLD = "of the old tree"


def lock(path: Path, passphrase: str) -> None:
    path.with_name(f"{path.name}.lock").write_bytes(encrypt_bytes(path.read_bytes(), passphrase))
    path.unlink()


def test_a_file_that_no_passphrase_opened_comes_with_the_right_one(lake: StudyLake, tmp_path: Path) -> None:
    """The server has lost it, and the lake holds its window without it. The others are not read again."""
    old = tmp_path / "old"
    world = tree_of(old, PERSON)
    complete = truth(world)
    lost = old / PERSON / "gps" / f"{MOMENT:%Y-%m-%d %H_%M_%S}+00_00.csv"
    lock(lost, OLD)
    world.lose_object(PERSON, "gps", MOMENT)
    with SimulatedServer(world) as server, client_of(server) as client:
        first = adoption(client, lake, old, streams=("gps",))
        assert all(report.complete for report in adopt(first, client))
        assert list(first.outcomes.unreadable) == [f"{lost.relative_to(old).as_posix()}.lock"]
        assert len(contents(lake)) == len(complete) - 1
        again = adoption(client, lake, old, streams=("gps",), passphrases=[OLD, PASSPHRASE])
        plan = again.plan()
        assert (plan.absent, plan.files) == (list(first.outcomes.unreadable), 7)
        assert all(report.complete for report in adopt(again, client))
        assert (again.outcomes.adopted, again.outcomes.held) == (1, 6)
        assert contents(lake) == complete
        assert adoption(client, lake, old, streams=("gps",)).plan().files == 0


def test_surveys_of_one_hour_are_told_apart(lake: StudyLake, tmp_path: Path) -> None:
    """The lake has the answers' times of one, and only the old tree those of the other."""
    old, streams = tmp_path / "old", ("survey_timings",)
    world = small_world(hours=(5,), streams=streams)
    written = save_by_hand(world, old, streams=streams)
    other = written[0].parents[1] / ("b" * 24) / written[0].name
    other.parent.mkdir()
    other.write_bytes(written[0].read_bytes())
    with SimulatedServer(world) as server, client_of(server) as client:
        adopt(adoption(client, lake, old, streams=streams), client)
        again = adoption(client, lake, old, streams=streams)
        assert again.plan().absent == [other.relative_to(old).as_posix()]
        adopt(again, client)
        assert again.outcomes.foreign == again.plan().absent


def test_a_foreign_file_is_named_again_and_changes_nothing(lake: StudyLake, tmp_path: Path) -> None:
    old = tmp_path / "old"
    world = tree_of(old, PERSON)
    foreign = old / PERSON / "gps" / f"{MOMENT + HOUR:%Y-%m-%d %H_%M_%S}+00_00.csv"
    foreign.write_bytes((old / PERSON / "gps" / f"{MOMENT:%Y-%m-%d %H_%M_%S}+00_00.csv").read_bytes())
    with SimulatedServer(world) as server, client_of(server) as client:
        heads = []
        for _ in range(2):
            wanted = adoption(client, lake, old, streams=("gps",))
            assert all(report.complete for report in adopt(wanted, client))
            assert wanted.outcomes.foreign == [foreign.relative_to(old).as_posix()]
            heads.append({key: version.at for key, version in lake.at().index(PERSON).items()})
        assert heads[0] == heads[1], "no window has a new version"


@pytest.mark.parametrize("length", ["daily", "monthly"])
def test_windows_of_another_length_are_noticed_before_anything_is_read(
    lake: StudyLake, tmp_path: Path, length: Granularity
) -> None:
    """A dry run says it, too."""
    old = tmp_path / "old"
    world = tree_of(old, PERSON)
    with SimulatedServer(world) as server, client_of(server) as client:
        adopt(adoption(client, lake, old, streams=("gps",)), client)
        windows = list(windows_between(length, START, START + 40 * DAY))
        with pytest.raises(WindowMismatchError):
            adoption(client, lake, old, streams=("gps",), windows=windows).plan()


def test_a_dry_run_tries_recordings(lake: StudyLake, tmp_path: Path) -> None:
    """Their beginning shows the wrong passphrase. They would be downloaded, and called changed."""
    old, streams = tmp_path / "old", ("audio_recordings",)
    world = small_world(streams=streams)
    save_by_hand(world, old, streams=streams, passphrase=OLD)
    with SimulatedServer(world) as server, client_of(server) as client:
        for passphrase, unreadable in ((PASSPHRASE, 1), (OLD, 0)):
            wanted, found = adoption(client, lake, old, streams=streams, passphrases=[passphrase]), Forecast()
            plan = wanted.plan()
            assert len(list(wanted.forecast(PERSON, plan.cells[PERSON], daily(client), found))) == plan.files > 1
            assert len(found.unreadable) == unreadable


def test_a_passphrase_that_opens_no_file_stops_before_anything_is_written(lake: StudyLake, tmp_path: Path) -> None:
    """One that opens some files goes on, and so does one whose other files are damaged."""
    old = tmp_path / "old"
    people = ("anna1111", "bert2222", "carl3333")
    world = tree_of(old, *people)
    paths = {who: sorted((old / who / "gps").iterdir()) for who in people}
    for files in paths.values():
        lock(files[0], OLD)
    with SimulatedServer(world) as server, client_of(server) as client:
        wanted = adoption(client, lake, old, streams=("gps",))
        plan = wanted.plan()
        with pytest.raises(WrongPassphraseError, match=r"that were tried \(3\) opens"):
            wanted.check_passphrases(plan)
        adoption(client, lake, old, streams=("gps",), passphrases=[PASSPHRASE, OLD]).check_passphrases(plan)
        lock(paths["bert2222"][-1], PASSPHRASE)
        wanted = adoption(client, lake, old, streams=("gps",))
        wanted.check_passphrases(wanted.plan())
        for locked in old.rglob("*.lock"):
            locked.write_bytes(b"damaged")
        wanted.check_passphrases(wanted.plan())


@pytest.mark.parametrize("content", [b"damaged", b"", b"\x10\0"])
def test_a_damaged_file_does_not_hide_a_wrong_passphrase(lake: StudyLake, tmp_path: Path, content: bytes) -> None:
    """Neither from the check nor from a dry run."""
    old = tmp_path / "old"
    world = tree_of(old, PERSON)
    for path in (old / PERSON / "gps").iterdir():
        lock(path, OLD)
    first, second, *_ = sorted((old / PERSON / "gps").iterdir())
    first.write_bytes(content)
    with SimulatedServer(world) as server, client_of(server) as client:
        wanted, found = adoption(client, lake, old, streams=("gps",)), Forecast()
        plan = wanted.plan()
        with pytest.raises(WrongPassphraseError, match=r"that were tried \(1\) opens"):
            wanted.check_passphrases(plan)
        list(wanted.forecast(PERSON, plan.cells[PERSON], daily(client), found))
        assert list(found.unreadable) == [path.relative_to(old).as_posix() for path in (first, second)]


def test_what_was_adopted_before_is_recorded_though_no_passphrase_opens_the_rest(
    lake: StudyLake, tmp_path: Path
) -> None:
    """A file that can never be opened does not stop every call."""
    old = tmp_path / "old"
    world = tree_of(old, PERSON)
    foreign = old / PERSON / "gps" / f"{MOMENT + HOUR:%Y-%m-%d %H_%M_%S}+00_00.csv"
    foreign.write_bytes(b"foreign")
    lock(foreign, OLD)
    with SimulatedServer(world) as server, client_of(server) as client:
        with pytest.raises(WrongPassphraseError):
            (first := adoption(client, lake, old, streams=("gps",))).check_passphrases(first.plan())
        adopt(first, client)
        again = adoption(client, lake, old, streams=("gps",))
        plan = again.plan()
        assert (len(plan.absent), len(plan.held[PERSON])) == (1, 1)
        again.check_passphrases(plan)
