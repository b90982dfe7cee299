"""The component's state: what the servers said about their studies, kept where Dagster keeps its history."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import dagster as dg
import pytest
from worlds import small_world

from dagster_beiwe import BeiweComponent
from dagster_beiwe.errors import ConfigurationError, ConnectionFailedError
from dagster_beiwe.runs.dagster_private import DefinitionsLoadContext, DefsStateStorage
from dagster_beiwe.simulator import SimulatedServer, World

RAW_DATA = ["beiwe", "sleep_and_mood", "raw_data"]


class ClinicComponent(BeiweComponent):
    """A lab's own."""


@pytest.fixture
def world() -> World:
    """The second study is not there yet."""
    world = small_world("Sleep and Mood", "Pain")
    world.hide_study(list(world.studies)[1])
    return world


@pytest.fixture
def home(stored_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    """Dagster's instance, whose storage is that of the state, in a process that is no development server."""
    monkeypatch.delenv("DAGSTER_IS_DEV_CLI", raising=False)
    monkeypatch.setattr(DefinitionsLoadContext, "_instance", None)  # what earlier tests loaded
    assert DefsStateStorage.get() is not None
    return stored_instance


@pytest.fixture
def in_development(home: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    """As in ``dagster dev`` and the commands of ``dg``."""
    monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "1")
    return home


def show_all(world: World) -> None:
    for study in world.studies.values():
        study.hidden = False


def load(yaml: str = "{}") -> dg.Definitions:
    return dg.build_defs_for_component(BeiweComponent.resolve_from_yaml(yaml))


def refresh(yaml: str = "{}") -> None:
    """As ``dg utils refresh-defs-state`` does."""
    asyncio.run(BeiweComponent.resolve_from_yaml(yaml).refresh_state(Path.cwd()))


def with_raw_data(definitions: dg.Definitions) -> set[str]:
    return {key.path[1] for key in definitions.resolve_all_asset_keys() if key.path[-1] == "raw_data"}


def state_of(home: dg.DagsterInstance) -> str:
    (key,) = (Path(home.root_directory) / "defs_state").iterdir()
    info = home.defs_state_storage.get_latest_defs_state_info() if home.defs_state_storage else None
    assert info is not None
    return (key / str(info.get_version("BeiweComponent"))).read_text()


@pytest.mark.usefixtures("home")
def test_the_first_load_asks_and_later_ones_use_the_state(server: SimulatedServer, world: World) -> None:
    """A study that is new on the server waits for a refresh."""
    assert with_raw_data(load()) == {"sleep_and_mood"}
    server.forget_requests()
    show_all(world)
    assert with_raw_data(load()) == {"sleep_and_mood"}
    assert server.requests == []
    refresh()
    assert with_raw_data(load()) == {"sleep_and_mood", "pain"}


@pytest.mark.usefixtures("home")
def test_a_refresh_moves_no_key_and_no_window(server: SimulatedServer, world: World) -> None:
    """History hangs on them: the key of the first name and the first start stay."""
    refresh()
    before = load()
    world.rename_study(next(iter(world.studies)), "Another Name")
    refresh()
    after = load()
    assert set(after.resolve_all_asset_keys()) == set(before.resolve_all_asset_keys())
    assert after.resolve_assets_def(RAW_DATA).partitions_def == before.resolve_assets_def(RAW_DATA).partitions_def
    assert "Another Name" in str([spec.description for spec in after.resolve_all_asset_specs()])


@pytest.mark.usefixtures("home")
def test_a_subclass_keeps_the_state(server: SimulatedServer, world: World) -> None:
    """A lab that overrides something later has its history under the same keys."""
    load()
    world.rename_study(next(iter(world.studies)), "Another Name")
    assert with_raw_data(dg.build_defs_for_component(ClinicComponent.resolve_from_yaml("{}"))) == {"sleep_and_mood"}


def test_in_development_each_load_refreshes_the_state(
    server: SimulatedServer, world: World, in_development: dg.DagsterInstance
) -> None:
    """Unless ``refresh_if_dev`` is off."""
    load()
    world.rename_study(next(iter(world.studies)), "Another Name")
    load("defs_state: {management_type: VERSIONED_STATE_STORAGE, refresh_if_dev: false}")
    assert "Another Name" not in state_of(in_development)
    load()
    assert "Another Name" in state_of(in_development)


def test_a_server_that_is_down_leaves_the_state_as_it_is(
    server: SimulatedServer, in_development: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    """Dagster would refuse to load. The command says so with its status."""
    assert with_raw_data(load()) == {"sleep_and_mood"}
    before = state_of(in_development)
    server.stop()
    assert with_raw_data(load()) == {"sleep_and_mood"}
    assert "could not be refreshed. It stays as it was" in caplog.text
    with pytest.raises(ConnectionFailedError):
        refresh()
    assert state_of(in_development) == before


@pytest.mark.usefixtures("home")
def test_one_server_that_is_down_does_not_stop_another(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the other one answers is kept; an error is what none of them answers."""
    down = {"URL": "http://127.0.0.1:1", "ACCESS_KEY": server.access_key, "SECRET_KEY": server.secret_key}
    for name, value in down.items():
        monkeypatch.setenv(f"OTHER_{name}", value)
    yaml = "deployments: {one: {}, two: {environment_prefix: OTHER_}}"
    refresh(yaml)
    assert "did not return its studies" in caplog.text
    assert with_raw_data(load(yaml)) == {"sleep_and_mood"}


def test_the_studies_asset_refreshes_the_state(server: SimulatedServer, world: World, home: dg.DagsterInstance) -> None:
    """Whoever has only the UI materializes it and reloads the code location."""
    definitions = load()
    show_all(world)
    job = definitions.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=home, asset_selection=[dg.AssetKey(["beiwe", "studies"])]).success
    assert with_raw_data(load()) == {"sleep_and_mood", "pain"}


def test_the_state_holds_ids_names_and_starts_only(
    server: SimulatedServer, world: World, home: dg.DagsterInstance
) -> None:
    """No secret, and nothing about a participant."""
    refresh()
    state = state_of(home)
    (entry,) = json.loads(state)["beiwe"].values()
    assert entry.keys() == {"name", "key", "server", "hidden", "start"}
    people = next(iter(world.studies.values())).participants
    for secret in (server.access_key, server.secret_key, "a passphrase for tests", *people):
        assert secret not in state


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("by_variable", [False, True])
def test_strict_refuses_a_study_without_assets(
    server: SimulatedServer, world: World, monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    """One that is gone, one without a start, and one whose server never answered; otherwise each is a warning."""
    lax = "studies: [{study: Sleep and Mood}]"
    yaml = lax if by_variable else f"{lax}\nstrict: true"
    if by_variable:
        monkeypatch.setenv("BEIWE_STRICT", "1")
    with server.misbehave("status", route="/get-participant-table-data/*", status=500):
        refresh(lax)
    with pytest.raises(ConfigurationError, match="the start of study 'Sleep and Mood' is not known"):
        load(yaml)
    refresh(lax)
    assert with_raw_data(load(yaml)) == {"sleep_and_mood"}
    world.hide_study(next(iter(world.studies)))
    refresh(lax)
    with pytest.raises(ConfigurationError, match="'Sleep and Mood' is no longer on its server"):
        load(yaml)
    server.stop()
    for studies, problem in (("Pain", "study 'Pain' is not known"), ('"*"', "no study of the deployment 'beiwe'")):
        own_state = "defs_state: {management_type: VERSIONED_STATE_STORAGE, key: none}"
        with pytest.raises(ConfigurationError, match=problem):
            load(f"studies: [{{study: {studies}}}]\nstrict: true\n{own_state}")


def test_a_place_that_forgets_is_refused(server: SimulatedServer) -> None:
    """Keys and windows would move."""
    with pytest.raises(ConfigurationError, match="forgets the keys and starts"):
        load("defs_state: {management_type: LEGACY_CODE_SERVER_SNAPSHOTS}")


# Dagster closes a loop of its own after each run, which does not work inside of another one.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_notebook_loads_and_refreshes_it(server: SimulatedServer, world: World, home: dg.DagsterInstance) -> None:
    """Its cells run in a loop of asyncio, in which no other one can begin."""

    async def cell() -> set[str]:
        definitions = load()
        show_all(world)
        job, studies = definitions.resolve_implicit_global_asset_job_def(), dg.AssetKey(["beiwe", "studies"])
        assert job.execute_in_process(instance=home, asset_selection=[studies]).success
        return with_raw_data(load())

    assert asyncio.run(cell()) == {"sleep_and_mood", "pain"}


@pytest.mark.usefixtures("home")
def test_a_server_that_has_moved_is_asked(
    server: SimulatedServer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another server said, under another address, is not known of this one. Keys and starts stay."""
    before = load().resolve_assets_def(RAW_DATA)
    with SimulatedServer(world) as moved:
        monkeypatch.setenv("BEIWE_URL", moved.url)
        monkeypatch.setenv("BEIWE_ACCESS_KEY", moved.access_key)
        monkeypatch.setenv("BEIWE_SECRET_KEY", moved.secret_key)
        after = load().resolve_assets_def(RAW_DATA)
        moved.forget_requests()
        load()
    assert after.partitions_def == before.partitions_def
    assert moved.requests == []
