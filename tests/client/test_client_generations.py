"""Servers of several years: what is there is used, what is missing is told."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import pytest
from client_helpers import STUDY, asked_of, client_of, credentials_for
from scripted_server import PAGE, Scripted, ScriptedServer

from dagster_beiwe.client import BeiweClient, ServerCapabilities
from dagster_beiwe.client.capabilities import ROUTES
from dagster_beiwe.errors import (
    AccessDeniedError,
    BadAnswerError,
    ConfigurationError,
    CredentialsError,
    RequestRefusedError,
    RouteMissingError,
)
from dagster_beiwe.simulator import PROFILE_NAMES, SimulatedServer, World
from dagster_beiwe.simulator.answers import Answer
from dagster_beiwe.simulator.forms import Request
from dagster_beiwe.simulator.misbehavior import Delivery

OLD = "2023-11"
SINCE = {
    "check_credentials": "2026-02-18",
    "data_v2": "2025-05-14",
    "participant_ids": "2024-06-27",
    "participant_table": "2024-06-07",
    "settings": "2025-03-10",
    "interventions": "2022-02-15",
    "survey_history": "2022-06-14",
    "data_quantities": "2024-07-22",
    "summary_statistics": "2024-06-11",
    "upload_history": "2024-06-05",
    "heartbeat_history": "2024-06-06",
    "version_history": "2024-06-06",
    "device_status_history": "2024-06-17",
    "notification_history": "2025-03-07",
    "file_hashes": "2026-01-08",
    "forest_tasks": "2026-07-31",
}


def test_every_capability_has_a_route() -> None:
    """The record and the table of routes name the same things."""
    assert {field.name for field in fields(ServerCapabilities)} == set(ROUTES) == set(SINCE)


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_capabilities_are_what_the_server_had_by_then(world: World, profile: str) -> None:
    """Each route from its date on."""
    with SimulatedServer(world, profile=profile) as server, BeiweClient(credentials_for(server)) as client:
        found = client.capabilities()
        day = server.profile.day.isoformat()
    assert {name: getattr(found, name) for name in ROUTES} == {name: day >= since for name, since in SINCE.items()}


def test_probes_carry_no_keys_and_are_made_once(server: SimulatedServer, caplog: pytest.LogCaptureFixture) -> None:
    """Asking twice costs nothing, and the log has one line."""
    caplog.set_level(logging.INFO, logger="dagster_beiwe")
    with BeiweClient(credentials_for(server)) as client:
        assert client.supports("data_v2")
        assert client.traffic.requests_sent == 1
        assert client.capabilities() == client.capabilities()
        assert client.traffic.requests_sent == len(ROUTES)
    assert len([record for record in caplog.records if "The Beiwe server" in record.getMessage()]) == 1
    assert all(record.form == () and record.bytes_received == 0 for record in asked_of(server))


def test_an_old_server_lists_participants_through_the_old_route(world: World) -> None:
    """get-users is the only one before 2024-06."""
    with SimulatedServer(world, profile=OLD) as server, BeiweClient(credentials_for(server)) as client:
        assert len(client.participants(STUDY)) == 5
        assert asked_of(server)[-1].route == "/get-users/v1"


def test_an_old_server_checks_keys_through_the_list_of_studies(world: World) -> None:
    """Wrong keys are noticed there too."""
    with SimulatedServer(world, profile=OLD) as server:
        with BeiweClient(credentials_for(server)) as client:
            client.check_credentials()
        with BeiweClient(credentials_for(server, secret_key="W" * 64)) as client, pytest.raises(AccessDeniedError):
            client.check_credentials()


def test_an_old_server_gives_settings_through_the_website(world: World) -> None:
    """With login and the study's number they are the same as from the endpoint."""
    with SimulatedServer(world) as server, BeiweClient(credentials_for(server)) as client:
        expected = client.settings(STUDY)
        server.profile = type(server.profile).named(OLD)
        with BeiweClient(credentials_for(server)) as older:
            found = older.settings(STUDY, study_pk=world.study(STUDY).pk)
    assert found["device_settings"] == expected["device_settings"]
    assert found["surveys"] == expected["surveys"]


def test_settings_of_an_old_server_say_what_is_missing(world: World) -> None:
    """The number of the study, the login, or the right password."""
    pk = world.study(STUDY).pk
    with SimulatedServer(world, profile=OLD) as server:
        with BeiweClient(credentials_for(server)) as client:
            with pytest.raises(RouteMissingError, match="study_pk"):
                client.settings(STUDY)
            with pytest.raises(ConfigurationError, match="1 or more"):
                client.settings(STUDY, study_pk=0)
        nobody = credentials_for(server, username=None, password=None)
        with BeiweClient(nobody) as client, pytest.raises(CredentialsError, match="BEIWE_USERNAME"):
            client.settings(STUDY, study_pk=pk)


def test_a_wrong_password_is_tried_once(world: World) -> None:
    """Ten wrong passwords lock the account, so that nothing repeats them."""
    with SimulatedServer(world, profile=OLD) as server:
        credentials = credentials_for(server, password="CanaryPassword")
        with BeiweClient(credentials) as client, pytest.raises(AccessDeniedError, match="password") as caught:
            client.settings(STUDY, study_pk=1)
        assert [record.route for record in asked_of(server)].count("/validate_login") == 1
    assert "CanaryPassword" not in str(caught.value)


def test_a_page_that_redirects_after_the_login_is_access_denied() -> None:
    """An expired password sends every page to /manage_credentials."""

    def answer(asked: object) -> Scripted:
        path = getattr(asked, "path", "")
        if path == "/validate_login":
            headers = {"Location": "/choose_study", "Set-Cookie": "sessionid=CanarySession; Path=/"}
            return Scripted(status=302, headers=headers)
        if path.startswith("/export_study_settings_file/"):
            return Scripted(status=302, headers={"Location": "/manage_credentials"})
        return Scripted(status=404, body=PAGE)

    with ScriptedServer(answer=answer) as server:
        from dagster_beiwe.credentials import Credentials

        credentials = Credentials(url=server.url, access_key="a", secret_key="b", username="u", password="p")
        with BeiweClient(credentials) as client, pytest.raises(AccessDeniedError, match="expired") as caught:
            client.settings(STUDY, study_pk=3)
        page = server.asked[-1]
        assert (page.method, page.headers["cookie"], page.body) == ("GET", "sessionid=CanarySession", b"")
    assert "CanarySession" not in str(caught.value)


def test_another_website_is_not_taken_for_a_beiwe_server() -> None:
    """A page for everything, or a complaint about the host name, is no list of capabilities."""
    for answer, expected in (
        (Scripted(body=PAGE), BadAnswerError),
        (Scripted(status=400, body=PAGE), RequestRefusedError),
    ):
        with ScriptedServer(answer) as server, client_of(server.url) as (client, _), pytest.raises(expected):
            client.capabilities()


def test_routes_are_asked_for_at_the_same_time(server: SimulatedServer) -> None:
    """Each answer waits for the other question."""
    respond, met = server.respond, threading.Barrier(2)

    def respond_later(request: Request) -> tuple[Answer, Delivery]:
        met.wait(60)
        return respond(request)

    server.respond = respond_later  # type: ignore[method-assign]
    with BeiweClient(credentials_for(server)) as client, ThreadPoolExecutor(2) as pool:
        assert list(pool.map(client.supports, ("data_v2", "file_hashes"))) == [True, True]
