"""Which studies a project has: of several servers, in spite of clashing names, servers that fail and full disks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from labs import later
from worlds import START, small_world

from dagster_beiwe import BeiweComponent, BeiweResource, EnvCredentials, StudyConfig, build_beiwe_definitions
from dagster_beiwe.client import HttpPolicy
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.studies import discovery
from dagster_beiwe.studies.choice import split_names
from dagster_beiwe.studies.discovery import free_key


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedServer]:
    """A second server, with keys in variables that begin with OTHER_."""
    with SimulatedServer(small_world("Sleep and mood", "Pain")) as running:
        monkeypatch.setenv("OTHER_URL", running.url)
        monkeypatch.setenv("OTHER_ACCESS_KEY", running.access_key)
        monkeypatch.setenv("OTHER_SECRET_KEY", running.secret_key)
        yield running


def two_servers() -> dict[str, BeiweResource]:
    return {
        "one": BeiweResource(credentials=EnvCredentials()),
        "two": BeiweResource(credentials=EnvCredentials(prefix="OTHER_")),
    }


def with_raw_data(definitions: dg.Definitions) -> set[str]:
    """Keys of the studies that have raw data."""
    return {key.path[1] for key in definitions.resolve_all_asset_keys() if key.path[-1] == "raw_data"}


def groups(definitions: dg.Definitions) -> set[str]:
    """Keys of all studies."""
    return {key.path[1] for key in definitions.resolve_all_asset_keys() if len(key.path) == 3}


def only_id(server: SimulatedServer) -> str:
    (study_id,) = server.world.studies
    return study_id


def test_every_deployment_gets_its_studies(server: SimulatedServer, other: SimulatedServer) -> None:
    """A name that another server has too gets a part of the id, for good; nothing stops."""
    clashing = next(each.id for each in other.world.studies.values() if each.name == "Sleep and mood")
    found = {"sleep_and_mood", f"sleep_and_mood_{clashing[:6].lower()}", "pain"}
    for deployments in (two_servers(), dict(reversed(two_servers().items()))):
        assert with_raw_data(build_beiwe_definitions(deployments=deployments)) == found


def test_deployments_in_yaml_need_no_studies(server: SimulatedServer, other: SimulatedServer) -> None:
    """As the component's description says."""
    text = "deployments: {one: {}, two: {environment_prefix: OTHER_}}"
    component = BeiweComponent.resolve_from_yaml(text)
    assert len(with_raw_data(component.build_defs(dg.ComponentTree.for_test().load_context))) == 3


def test_a_listed_study_is_taken_from_the_server_that_has_it(
    server: SimulatedServer, other: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable names no servers."""
    monkeypatch.setenv("BEIWE_STUDIES", "Pain, Sleep and Mood")
    assert with_raw_data(build_beiwe_definitions(deployments=two_servers())) == {"pain", "sleep_and_mood"}
    monkeypatch.setenv("BEIWE_STUDIES", "Pain, No such study")
    with pytest.raises(ConfigurationError, match="No study matches"):
        build_beiwe_definitions(deployments=two_servers())


def test_a_given_key_goes_before_one_that_was_found(
    server: SimulatedServer, other: SimulatedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The study that was found by ``*`` moves aside; two given keys alike are a mistake."""
    every = [StudyConfig("*", deployment=name) for name in ("one", "two")]
    given = StudyConfig("Sleep and mood", key="pain", deployment="two")
    found = with_raw_data(build_beiwe_definitions([*every, given], deployments=two_servers()))
    assert {"pain", "sleep_and_mood"} < found
    assert "another study has the key 'pain'" in caplog.text
    with pytest.raises(ConfigurationError, match="more than once"):
        build_beiwe_definitions(
            [given, StudyConfig("Sleep and Mood", key="pain", deployment="one")], deployments=two_servers()
        )


def test_a_key_is_made_longer_until_it_is_free() -> None:
    """Also where the same study is there three times."""
    study_id, taken = "AbcdefGhijkl", list[str]()
    for _ in range(5):
        taken.append(free_key("sleep", study_id, taken))
    assert taken == ["sleep", "sleep_abcdef", "sleep_abcdefghijkl", "sleep_abcdefghijkl_2", "sleep_abcdefghijkl_3"]
    assert free_key("studies", study_id, ()) == "studies_abcdef"


def test_another_server_brings_its_own_studies(
    server: SimulatedServer, other: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, without those of the one before; which are there again when it is."""
    assert groups(build_beiwe_definitions()) == {"sleep_and_mood"}
    for name in ("URL", "ACCESS_KEY", "SECRET_KEY"):
        monkeypatch.setenv(f"BEIWE_{name}", getattr(other, name.lower()))
    found = groups(build_beiwe_definitions())
    assert len(found) == 2
    assert "sleep_and_mood" not in found
    monkeypatch.setenv("BEIWE_URL", server.url)
    monkeypatch.setenv("BEIWE_ACCESS_KEY", server.access_key)
    monkeypatch.setenv("BEIWE_SECRET_KEY", server.secret_key)
    assert groups(build_beiwe_definitions()) == {"sleep_and_mood"}


def test_a_listed_study_that_is_missing_is_asked_for_again(
    server: SimulatedServer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits five minutes for a name that was changed a minute ago."""
    build_beiwe_definitions()
    world.rename_study(only_id(server), "Sleep")
    monkeypatch.setenv("BEIWE_STUDIES", "Sleep")
    with later(hours=1 / 60):
        assert with_raw_data(build_beiwe_definitions()) == {"sleep_and_mood"}
        server.forget_requests()
        build_beiwe_definitions()
    assert server.requests == []


@pytest.mark.usefixtures("an_hour_later")
def test_a_start_that_is_missing_is_asked_for_again(server: SimulatedServer, caplog: pytest.LogCaptureFixture) -> None:
    """A table that fails once costs the study its raw data until the next reload; the log says what to do."""
    with server.misbehave("status", route="/get-participant-table-data/*", status=500):
        assert with_raw_data(build_beiwe_definitions()) == set()
    assert "known fault" in caplog.text
    assert "set `start`" in caplog.text
    assert with_raw_data(build_beiwe_definitions()) == {"sleep_and_mood"}


@pytest.mark.usefixtures("an_hour_later")
def test_a_table_that_does_not_say_when_somebody_joined_gives_no_start(
    server: SimulatedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What is learned is kept for good: today would hide all data of before."""
    with server.misbehave("wrong_json", route="/get-participant-table-data/*", body='[{"Patient ID": "a"}]'):
        assert with_raw_data(build_beiwe_definitions()) == set()
    assert "Set `start`" in caplog.text
    assert with_raw_data(build_beiwe_definitions()) == {"sleep_and_mood"}


@pytest.mark.usefixtures("an_hour_later")
def test_a_study_that_is_gone_says_so(server: SimulatedServer, world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Its assets stay: their history and the lake do too. When it is back, nothing tells of it any more."""
    build_beiwe_definitions()
    study = world.studies[only_id(server)]
    for hidden in (True, False):
        study.hidden = hidden
        caplog.clear()
        definitions = build_beiwe_definitions()
        texts = [spec.description or "" for spec in definitions.resolve_all_asset_specs() if len(spec.key.path) == 3]
        assert all(("no longer lists this study" in text) is hidden for text in texts)
        assert ("no longer lists study 'Sleep and Mood'" in caplog.text) is hidden
        dg.Definitions.validate_loadable(definitions)


def test_a_folder_that_can_not_be_written_stops_nothing(
    server: SimulatedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the server said is used, and the log says that it was not kept."""
    (tmp_path / "file").write_text("in the way")
    state = tmp_path / "file" / "state"
    assert with_raw_data(build_beiwe_definitions(state_folder=state)) == {"sleep_and_mood"}
    assert "were not saved" in caplog.text
    server.stop()
    config = StudyConfig(only_id(server), key="sleep", start=START)
    assert with_raw_data(build_beiwe_definitions([config], state_folder=state)) == {"sleep"}


@pytest.mark.parametrize("text", ["", "nonsense", "[]", 100_000 * "["], ids=range(4))
def test_a_damaged_state_is_empty(tmp_path: Path, text: str) -> None:
    """The server says it again."""
    (tmp_path / "state").write_text(text)
    assert discovery.read_state(tmp_path / "state") == {}


def test_a_silent_server_is_waited_for_once(
    server: SimulatedServer, other: SimulatedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not once per study: the first question without an answer is the last one."""
    quick = HttpPolicy(connect_timeout_seconds=3, read_timeout_seconds=0.2, attempts=1)
    monkeypatch.setattr(discovery, "HTTP_WHILE_LOADING", quick)
    table = "/get-participant-table-data/*"
    with other.misbehave("hang", route=table, seconds=0.5):
        definitions = build_beiwe_definitions(deployments={"two": two_servers()["two"]})
    assert groups(definitions) == {"sleep_and_mood", "pain"}
    assert with_raw_data(definitions) == set()
    assert caplog.text.count("is not known") == caplog.text.count("The start of 2 studies") == 1


def test_loading_has_an_end(
    server: SimulatedServer, other: SimulatedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the time for all questions is over, nobody is asked any more."""
    monkeypatch.setattr("dagster_beiwe.study_finder.LOADING_SECONDS", 0)
    build_beiwe_definitions(deployments=two_servers())
    assert server.requests == other.requests == []
    assert "No time was left" in caplog.text


def test_a_name_with_a_comma_can_be_listed(server: SimulatedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are known go before the comma between two."""
    server.world.rename_study(only_id(server), "Étude, eins")
    monkeypatch.setenv("BEIWE_STUDIES", "Étude, eins")
    assert with_raw_data(build_beiwe_definitions()) == {"etude_eins"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" a ,, b ", ["a", "b"]),
        ("a,b", ["a, b"]),
        ("a, b ,c", ["a, b, c"]),
        ("x, a, b, d", ["x", "a, b", "d"]),
        ("b, a", ["b", "a"]),
    ],
)
def test_lists_are_split_around_known_names(text: str, found: list[str]) -> None:
    """The longest name that fits; spaces around commas do not matter."""
    assert split_names(text, ["a", "b", "a, b", "a, b, c"]) == found
