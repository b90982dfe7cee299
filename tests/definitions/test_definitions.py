"""A project's definitions: found on the server, loaded without it, and never with a secret inside."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from worlds import ASSETS, START, small_world

from dagster_beiwe import Automation, StudyConfig, build_beiwe_definitions
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.studies.discovery import StudyMemory

ALL_YEARS = {"early": 1990, "real": 2024, "late": 2130}


@pytest.fixture
def world() -> World:
    return small_world("Sleep and Mood", "Étude Schmerz")


def keys(definitions: dg.Definitions) -> set[str]:
    return {key.to_user_string() for key in definitions.resolve_all_asset_keys()}


def test_every_study_becomes_a_group_of_assets(server: SimulatedServer) -> None:
    """The same assets per study, keyed and grouped by a slug of its name."""
    definitions = build_beiwe_definitions()
    assert keys(definitions) == {
        "beiwe/studies",
        *(f"beiwe/sleep_and_mood/{name}" for name in ASSETS),
        *(f"beiwe/etude_schmerz/{name}" for name in ASSETS),
    }
    dg.Definitions.validate_loadable(definitions)


def test_loading_asks_nothing_per_participant(server: SimulatedServer) -> None:
    """One list of studies, one table per study whose start is unknown; nothing at all the second time."""
    build_beiwe_definitions()
    asked = [record.route for record in server.requests]
    assert sorted(asked) == ["/get-participant-table-data/v1"] * 2 + ["/get-studies/v1"]
    server.forget_requests()
    build_beiwe_definitions()
    assert server.requests == []


def test_the_start_is_the_month_of_the_first_participant(server: SimulatedServer) -> None:
    """Windows begin before any data can, and are kept although older participants are deleted later."""
    build_beiwe_definitions()
    (study, _) = StudyMemory("beiwe").studies().values()
    assert study.start is not None
    assert study.start.day == 1
    assert study.start <= START


@pytest.mark.usefixtures("an_hour_later")
def test_studies_load_from_memory_when_the_server_is_down(
    server: SimulatedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The same assets as before, and a warning."""
    before = keys(build_beiwe_definitions())
    server.stop()
    assert keys(build_beiwe_definitions()) == before
    assert "last known" in caplog.text


def test_a_location_loads_with_neither_server_nor_memory(
    server: SimulatedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the list of studies is there, with a warning."""
    server.stop()
    definitions = build_beiwe_definitions([StudyConfig("Sleep and Mood")])
    assert keys(definitions) == {"beiwe/studies"}
    assert "None is known yet." in caplog.text
    assert "Reload the code location" in caplog.text


def test_a_location_loads_without_credentials(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the variables that are missing."""
    monkeypatch.delenv("BEIWE_SECRET_KEY")
    assert keys(build_beiwe_definitions()) == {"beiwe/studies"}
    assert "BEIWE_SECRET_KEY" in caplog.text


def test_a_location_loads_with_a_malformed_address(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells what an address looks like, and not this one, which may hold a password."""
    monkeypatch.setenv("BEIWE_URL", "https://user:CanaryPass")
    assert keys(build_beiwe_definitions()) == {"beiwe/studies"}
    assert "is not an https URL with a host name" in caplog.text
    assert "Canary" not in caplog.text


@pytest.mark.usefixtures("an_hour_later")
@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/get-studies/v1", '{"aaaaaaaaaaaaaaaaaaaaaaa1": "\\ud800"}'),
        ("/get-participant-table-data/v1", '[{"Patient ID": "a", "Created On": "0001-01-01"}]'),
        ("/get-participant-table-data/v1", '[{"Patient ID": "a", "Created On": "9999-12-31"}]'),
    ],
)
def test_a_location_loads_whatever_the_server_says(
    server: SimulatedServer, tmp_path: Path, route: str, body: str
) -> None:
    """A hostile answer is as good as none: it is logged, leaves no file, and nothing of it is kept."""
    with server.misbehave("wrong_json", route=route, body=body):
        build_beiwe_definitions()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] in ([], ["beiwe.json"])
    assert "beiwe/sleep_and_mood/raw_data" in keys(build_beiwe_definitions())


def test_a_start_that_can_not_be_is_not_kept(server: SimulatedServer) -> None:
    """Participants of the next century or of the last one say nothing about where windows begin."""
    body = json.dumps([{"Patient ID": name, "Created On": f"{year}-03-05"} for name, year in ALL_YEARS.items()])
    with server.misbehave("wrong_json", route="/get-participant-table-data/v1", body=body):
        build_beiwe_definitions()
    for study in StudyMemory("beiwe").studies().values():
        assert str(study.start) == "2024-03-01"


@pytest.mark.usefixtures("an_hour_later")
def test_a_renamed_study_keeps_its_asset_keys(server: SimulatedServer, world: World) -> None:
    """History hangs on the keys, so the key of the first name stays; the new name is displayed."""
    before = keys(build_beiwe_definitions())
    world.rename_study(next(iter(world.studies)), "Another Name")
    definitions = build_beiwe_definitions()
    assert keys(definitions) == before
    assert "Another Name" in str([spec.description for spec in definitions.resolve_all_asset_specs()])


@pytest.mark.usefixtures("an_hour_later")
def test_a_name_formats_no_page_of_dagster(server: SimulatedServer, world: World) -> None:
    """Dagster shows descriptions as Markdown: an image in a name would be fetched by whoever looks."""
    build_beiwe_definitions()
    world.rename_study(next(iter(world.studies)), "![x](https://e.example/x.png)\n<b>`# loud")
    definitions = build_beiwe_definitions()
    repository = definitions.get_repository_def()
    texts = [spec.description for spec in definitions.resolve_all_asset_specs()]
    texts += [each.description for each in repository.sensor_defs]
    texts += [each.description for each in repository.schedule_defs]
    hostile = [text for text in texts if text and "e.example" in text]
    assert len(hostile) > 8
    assert all("`![x](https://e.example/x.png) <b>'# loud`" in text for text in hostile)


@pytest.mark.usefixtures("an_hour_later")
def test_a_study_that_left_the_server_keeps_its_assets(server: SimulatedServer, world: World) -> None:
    """Its data are in the lake and its history in Dagster."""
    before = keys(build_beiwe_definitions())
    world.hide_study(next(iter(world.studies)))
    assert keys(build_beiwe_definitions()) == before


def test_the_memory_holds_ids_and_names_only(server: SimulatedServer, world: World, tmp_path: Path) -> None:
    """Readable by its owner only; no participant in it, and no day of a participant."""
    build_beiwe_definitions()
    file = tmp_path / "home" / "beiwe" / "beiwe.json"
    assert {study_id: entry["name"] for study_id, entry in json.loads(file.read_text()).items()} == {
        study.id: study.name for study in world.studies.values()
    }
    for each in file.parent.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
        for study in world.studies.values():
            assert not [participant for participant in study.participants if participant in each.read_text()]


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_folders_made_for_the_memory_are_closed(server: SimulatedServer, tmp_path: Path, umask: int) -> None:
    """Its missing parents too, of which DAGSTER_HOME may be one, whatever the umask."""
    before = os.umask(umask)
    try:
        build_beiwe_definitions(state_folder=tmp_path / "missing" / "home" / "beiwe")
    finally:
        os.umask(before)
    made = [tmp_path / "missing", *(tmp_path / "missing").rglob("*")]
    assert len(made) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600, 0o700}


def test_studies_are_chosen_by_the_environment(server: SimulatedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, id or the beginning of an id; all with the start that is given."""
    monkeypatch.setenv("BEIWE_STUDIES", " Sleep and Mood ,")
    monkeypatch.setenv("BEIWE_START", "2024-03-06")
    definitions = build_beiwe_definitions()
    assert "beiwe/etude_schmerz/roster" not in keys(definitions)
    partitions = definitions.resolve_assets_def(["beiwe", "sleep_and_mood", "raw_data"]).partitions_def
    assert isinstance(partitions, dg.MultiPartitionsDefinition)
    assert partitions.get_partitions_def_for_dimension("window").get_partition_keys()[0] == "2024-03-04"


def test_the_environment_gives_the_named_studies_their_tables(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``*`` beside them stands for all others; alone, it has the tables."""
    monkeypatch.setenv("BEIWE_START", "2024-03-06")
    monkeypatch.setenv("BEIWE_TABLES", "gps, wifi")
    monkeypatch.setenv("BEIWE_STUDIES", "Sleep and Mood,*")
    some = keys(build_beiwe_definitions())
    assert {"beiwe/sleep_and_mood/streams/wifi", "beiwe/etude_schmerz/raw_data"} <= some
    assert "beiwe/etude_schmerz/streams/gps" not in some
    monkeypatch.setenv("BEIWE_STUDIES", "")
    assert {"beiwe/sleep_and_mood/streams/gps", "beiwe/etude_schmerz/streams/wifi"} <= keys(build_beiwe_definitions())


def test_a_template_covers_what_is_not_listed(server: SimulatedServer) -> None:
    """``*`` stands for every other study, with its own settings."""
    definitions = build_beiwe_definitions(
        [StudyConfig("Sleep and Mood", key="sleep", window="daily", start=START), StudyConfig("*", start="2024-01-01")]
    )
    assert {"beiwe/sleep/raw_data", "beiwe/etude_schmerz/raw_data"} <= keys(definitions)


@pytest.mark.parametrize(
    ("studies", "reason"),
    [
        ([StudyConfig("No such study")], "No study matches"),
        ([StudyConfig("Sleep and Mood"), StudyConfig("Sleep and Mood")], "more than once"),
        ([StudyConfig("Sleep and Mood", key="a"), StudyConfig("Étude Schmerz", key="a")], "more than once"),
        ([StudyConfig("*"), StudyConfig("*")], "2 times"),
        ([StudyConfig("Sleep and Mood", deployment="other")], "no deployment other.*: beiwe"),
    ],
)
def test_a_wrong_configuration_is_refused_at_load(
    server: SimulatedServer, studies: list[StudyConfig], reason: str
) -> None:
    """With the reason, while the server answers."""
    with pytest.raises(ConfigurationError, match=reason):
        build_beiwe_definitions(studies)


def test_automation_is_off_unless_asked_for(server: SimulatedServer) -> None:
    """Schedules and sensors are there, stopped; with ``running`` they are on from the beginning."""
    for running, status in ((False, "STOPPED"), (True, "RUNNING")):
        repository = build_beiwe_definitions(automation=Automation(running=running)).get_repository_def()
        found: list[dg.ScheduleDefinition | dg.SensorDefinition] = [*repository.schedule_defs, *repository.sensor_defs]
        assert {each.name for each in found} >= {"sleep_and_mood_refresh", "sleep_and_mood_participants"}
        statuses = {each.name: each.default_status.value for each in found}
        assert statuses.pop("beiwe_dead_runs") == "RUNNING", "it asks no server, and requests no run"
        assert set(statuses.values()) == {status}


def test_the_audit_is_a_job_with_a_schedule_unless_it_is_off(server: SimulatedServer) -> None:
    """Without partitions: a partitioned job's backfill would name one partition for all."""
    for days, names in ((30, {"sleep_and_mood_audit"}), (0, set())):
        configs = [StudyConfig("Sleep and Mood", audit_days=days)]
        repository = build_beiwe_definitions(configs).get_repository_def()
        jobs = [each for each in repository.get_all_jobs() if "audit" in each.name]
        assert {job.name for job in jobs} == names
        assert all(job.partitions_def is None for job in jobs)
        assert {each.job_name for each in repository.schedule_defs if "audit" in each.name} == names


@dg.asset
def nothing() -> None:
    """An asset that only does something."""


@dg.asset
def number() -> int:
    """An asset that is no table."""
    return 3


@dg.op
def hand_over() -> str:
    """An op, which has no asset key."""
    return "text"


@dg.job
def ops() -> None:
    """A job of ops."""
    hand_over()


def test_the_default_for_tables_takes_nothing_else(
    server: SimulatedServer, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Where it was asked for, whatever names no IO manager is a table or an error; what returns nothing needs none."""
    own = dg.Definitions(assets=[nothing, number], jobs=[ops])
    beiwe = build_beiwe_definitions(default_io_manager=True)
    repository = dg.Definitions.merge(beiwe, own).get_repository_def()
    job = repository.get_implicit_job_def_for_assets([nothing.key, number.key])
    assert job
    assert job.execute_in_process(instance=instance, asset_selection=[nothing.key]).success
    with pytest.raises(dg.Failure, match=r"returned a int\. .*`default_io_manager=False`"):
        job.execute_in_process(instance=instance, asset_selection=[number.key])
    with pytest.raises(dg.Failure, match="write `default_io_manager=False`"):
        repository.get_job("ops").execute_in_process(instance=instance)
    assert not (tmp_path / "home" / "storage").exists()


def test_targets_of_sensors_and_schedules_can_be_read(server: SimulatedServer) -> None:
    """Dagster shows a selection that it cannot write as the representation of an object."""
    repository = build_beiwe_definitions().get_repository_def()
    snapshot = RepositorySnap.from_def(repository)
    sensors = [sensor.asset_selection for sensor in snapshot.sensors]
    schedules = [schedule.asset_selection for schedule in snapshot.schedules]
    selections = [str(selection) for selection in (*sensors, *schedules) if selection]
    assert len(selections) >= 4
    assert all(selection.startswith('key:"beiwe/') for selection in selections)


def test_definitions_hold_no_secret(server: SimulatedServer) -> None:
    """What Dagster stores and displays about resources and assets names variables, not values."""
    repository = build_beiwe_definitions().get_repository_def()
    snapshot = dg.serialize_value(RepositorySnap.from_def(repository))
    assert "BEIWE_LAKE_PASSPHRASE" in snapshot
    for secret in (server.access_key, server.secret_key, "a passphrase for tests"):
        assert secret not in snapshot
