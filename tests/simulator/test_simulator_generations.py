"""Older servers: the routes they lack, and how their archives differ."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
import requests
from simulator_helpers import ALPHA, DAY, Client, hour, window

from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World
from dagster_beiwe.simulator.server_streams import OWN_STREAMS
from dagster_beiwe.streams import STREAM_NAMES

ALL_STREAMS = (*STREAM_NAMES, *OWN_STREAMS)


@pytest.mark.parametrize("profile", ["2023-11", "2025-06", "2025-12", "2026-01-08", "2026-03"])
def test_each_generation_has_its_own_registry_rule(
    world: World, ask: Callable[[SimulatedServer], Client], profile: str
) -> None:
    """What is sent again after one change, for full and short keys with MD5 and SHA-1."""
    before = {file.key: (file.md5, file.sha1) for file in world.files(ALPHA, streams=["gps"])}
    world.add_rows("andr1aaa", "gps", hour(8))
    some, every = 1, len(before)
    expected = {  # full MD5, full SHA-1, short MD5, short SHA-1
        "2023-11": (some, every, every, every),
        "2025-06": (some, every, every, every),
        "2025-12": (every, some, every, every),
        "2026-01-08": (every, every, every, some),
        "2026-03": (0, 0, some, some),
    }
    sent = []
    with SimulatedServer(world, profile=profile) as server:
        for short in (False, True):
            for which in (0, 1):
                keys = {key.removeprefix("CHUNKED_DATA/") if short else key: h[which] for key, h in before.items()}
                sent.append(len(ask(server).registry(data_streams='["gps"]', registry=json.dumps(keys))))
    assert tuple(sent) == expected[profile]


def test_old_servers_lack_routes_and_parameters(world: World, ask: Callable[[SimulatedServer], Client]) -> None:
    """A route that came later answers 404 with a page, and participant_ids is not read."""
    with SimulatedServer(world, profile="2023-11") as server:
        client = ask(server)
        for route in ("get-data/v2", "get-participant-ids/v1", "get-study-settings/v1", "get-summary-statistics/v1"):
            answer = client.post(route)
            assert (answer.status_code, answer.content[:9]) == (404, b"<!doctype")
        assert client.post("get-users/v1", study_id=ALPHA).status_code == 200
        everyone = client.archive(participant_ids='["andr1aaa"]').namelist()
        assert any(name.startswith("iphn2aaa") for name in everyone)


def test_old_tables_have_fewer_columns(world: World, ask: Callable[[SimulatedServer], Client]) -> None:
    """Columns came with the years; settings got their time zone late."""
    columns = {}
    for profile in ("2024-07", "2026-03"):
        with SimulatedServer(world, profile=profile) as server:
            table = ask(server).post("get-participant-table-data/v1", study_id=ALPHA, data_format="json_table")
            columns[profile] = table.json()[0]
    assert set(columns["2024-07"]) < set(columns["2026-03"])
    assert "Created On" in columns["2024-07"]


def test_servers_before_april_2025_drop_files_with_equal_names(
    world: World, ask: Callable[[SimulatedServer], Client]
) -> None:
    """Listed in the registry, absent from the zip."""
    world.add_answers("iphn2aaa", hour(17), copies=3)
    with SimulatedServer(world, profile="2025-03") as server:
        archive = ask(server).archive(data_streams='["survey_answers"]', **window(hour(17), hour(18)))
    assert len(archive.namelist()) == 2
    assert len(json.loads(archive.read("registry"))) == 3


def test_names_had_an_extra_parenthesis_for_a_month(world: World, ask: Callable[[SimulatedServer], Client]) -> None:
    """Any date is a profile; in February 2025 plain streams ended in ``.csv)``."""
    with SimulatedServer(world, profile="2025-02-10") as server:
        names = ask(server).archive(data_streams='["gps"]').namelist()[:-1]
    assert all(name.endswith(".csv)") for name in names)


def test_missing_objects_are_left_out_or_abort_by_generation(
    world: World, ask: Callable[[SimulatedServer], Client]
) -> None:
    """Silently absent today; before October 2025 the stream broke."""
    gps = {"data_streams": '["gps"]'}
    whole = {file.key for file in world.files(ALPHA, streams=["gps"])}
    lost = world.lose_object("andr1aaa", "gps", hour(8))
    with SimulatedServer(world) as server:
        assert set(ask(server).registry(**gps)) == whole - {lost.key}
    world.restore_object("andr1aaa", "gps", hour(8))
    with SimulatedServer(world) as server:
        registry = ask(server).registry(**gps, registry='{"other": "x"}')
        assert (len(registry[lost.key] or ""), len(registry)) == (24, len(whole))
    world.lose_object("andr1aaa", "gps", hour(8))
    with SimulatedServer(world, profile="2025-06") as server:
        for _ in range(3):
            try:
                broken = ask(server).get_data(**gps)
            except requests.exceptions.ChunkedEncodingError:
                return
            assert broken.status_code == 500
        pytest.fail("the missing object came first three times in a row")


@pytest.mark.parametrize(
    ("profile", "own", "lacks"),
    [
        ("2026-03", set(), set()),
        ("2026-08", set(), {"ambient_audio"}),
        ("ai_chat_logs", {"ai_chat_logs"}, {"ambient_audio"}),
        ("image_survey", {"image_survey", "omniring"}, set()),
    ],
)
def test_servers_differ_in_their_streams(
    world: World, ask: Callable[[SimulatedServer], Client], profile: str, own: set[str], lacks: set[str]
) -> None:
    """What is counted, what get-data takes, which fields there are, and the settings go by one list."""
    expected = {*STREAM_NAMES, *own} - lacks
    with SimulatedServer(world, profile=profile) as server:
        client = ask(server)
        totals = client.post("get-participant-data-quantities/v1", study_id=ALPHA).json()
        (row,) = client.post("get-summary-statistics/v1", study_id=ALPHA, query={"limit": "1"}).json()
        page = requests.get(f"{server.url}/tableau/summary-statistics-wdc/v1/{ALPHA}", timeout=20).text
        settings = client.post("get-study-settings/v1", study_id=ALPHA).json()["device_settings"]
        taken = {name for name in ALL_STREAMS if client.get_data(data_streams=f'["{name}"]').status_code == 200}
    assert {frozenset(counts) for counts in totals.values()} == {frozenset(f"{name}_bytes" for name in expected)}
    assert {name for name in row if name.startswith("beiwe_")} == {f"beiwe_{name}_bytes" for name in expected}
    assert set(re.findall("beiwe_([a-z_]+)_bytes", page)) == taken == expected
    assert ("ambient_audio_bitrate" in settings) == ("ambient_audio" in expected)


def test_fields_that_a_server_lacks_are_all_named(world: World, ask: Callable[[SimulatedServer], Client]) -> None:
    """One text for each, as JSON with status 400; the rest is not answered."""
    fields = {"fields": "date,beiwe_ambient_audio_bytes,beiwe_gps_bytes,sycamore_total_surveys"}
    with SimulatedServer(world, profile="2026-08") as server:
        answer = ask(server).post("get-summary-statistics/v1", study_id=ALPHA, query=fields)
    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        "beiwe_ambient_audio_bytes is not a valid field",
        "sycamore_total_surveys is not a valid field",
    ]


@pytest.mark.parametrize(("profile", "columns"), [("2026-03", 46), ("2026-08", 45)])
def test_servers_differ_in_their_analyses(
    world: World, ask: Callable[[SimulatedServer], Client], profile: str, columns: int
) -> None:
    """Six columns of surveys went when five others came; results appear on the days that were analyzed."""
    world.analyze("andr1aaa", "willow", DAY.date(), DAY.date())
    with SimulatedServer(world, profile=profile) as server:
        rows = ask(server).post("get-summary-statistics/v1", study_id=ALPHA).json()
        tasks = ask(server).post("get-forest-tasks/v1", study_id=ALPHA)
    results = [{name for name in row if name.startswith(("jasmine", "willow", "sycamore", "oak"))} for row in rows]
    assert {len(names) for names in results} == {columns}
    assert [row["date"] for row in rows if row["willow_missed_callers"] is not None] == [DAY.date().isoformat()]
    assert tasks.status_code == (200 if profile == "2026-08" else 404)


def test_a_route_without_an_answer_says_so_in_a_short_text(
    world: World, ask: Callable[[SimulatedServer], Client]
) -> None:
    """Unlike a missing route, which has a page."""
    with SimulatedServer(world, profile="2026-08") as server:
        answer = ask(server).post("get-sycamore-analysis-output/v1", study_id=ALPHA)
    assert (answer.status_code, answer.content[:9]) == (404, b"No sycamo")


def test_names_and_hashes_of_unchunked_files_changed_in_may_2026(ask: Callable[[SimulatedServer], Client]) -> None:
    """What arrived since has an MD5, what arrived before has none; ambient audio is called ``.csv``."""
    update = datetime(2026, 5, 5, tzinfo=timezone.utc)
    plan = StudyPlan(id=ALPHA, start=update - timedelta(days=1), hours=(8,), participants=["andr1aaa"])
    world = World.build(plan, now=update + timedelta(days=1))
    streams = {"data_streams": '["survey_answers", "ambient_audio"]'}
    with SimulatedServer(world, profile="2026-05-05") as server:
        archive = ask(server).archive(**streams)
        registry = json.loads(archive.read("registry"))
    arrived = {file.key: file.arrived for file in world.files(ALPHA)}
    assert {(len(value), arrived[key] >= update) for key, value in registry.items()} == {(0, False), (24, True)}
    assert {name.rpartition(".")[2] for name in archive.namelist()[:-1]} == {"csv"}
