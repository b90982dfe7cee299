"""The page on which somebody makes things happen to a simulated server, and from where it may be used."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape

import pytest
import requests
from simulator_helpers import ALPHA, BETA, NOW, Client

from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.simulator.events import EVENTS

SOMEBODY = "andr1aaa"


@pytest.fixture
def steered(world: World) -> Iterator[Client]:
    with SimulatedServer(world, control=True) as server, requests.Session() as session:
        yield Client(server, session)


def click(client: Client, event: str, target: str = "", **headers: str) -> requests.Response:
    data = {"event": event, "target": target}
    return client.session.post(client.server.control_url, data=data, headers=headers, timeout=10)


def text_of(answer: requests.Response) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", answer.text))


def test_each_button_makes_something_happen_and_says_what(steered: Client) -> None:
    """In an order in which each can happen; afterwards the page is shown again, with the newest first."""
    targets = {"register": "nodt4aaa", "enroll": BETA, "change_setting": BETA, "server_down": "", "repair": ""}
    for event in EVENTS:
        shown = text_of(click(steered, event, targets.get(event, SOMEBODY)))
        assert "Nothing happened" not in shown, event
    world = steered.server.world
    assert world.participant("nodt4aaa").first_registration == NOW
    assert len(world.study(BETA).participants) == 2
    assert world.study(BETA).device_settings["accelerometer_frequency"] == 20
    assert len(world.files(ALPHA, participants=[SOMEBODY], streams=["gps"])) == 11 + 2
    assert [file.extra for file in world.files(ALPHA, participants=[SOMEBODY]) if file.extra] == [(25,)]
    assert steered.server.misbehaviors() == []
    assert shown.index("The server was repaired") < shown.index("The server is down")


def test_a_phone_that_comes_online_uploads_what_it_recorded(steered: Client) -> None:
    """Offline it uploads nothing and says that it lives; nothing is missing afterwards."""
    world = steered.server.world
    phone = world.participant(SOMEBODY)
    click(steered, "go_offline", SOMEBODY)
    before = phone.last_upload
    world.live(NOW + timedelta(days=3))
    assert (phone.last_upload, phone.last_heartbeat) == (before, world.now)
    click(steered, "go_online", SOMEBODY)
    assert phone.last_upload == world.now
    hours = {file.bin for file in world.files(ALPHA, participants=[SOMEBODY], streams=["gps"], start=NOW)}
    assert len(hours) == 3 * 3


def test_the_server_is_down_for_a_while_only(steered: Client) -> None:
    """The page itself stays up and says so."""
    assert "down for maintenance" in text_of(click(steered, "server_down"))
    assert steered.post("get-studies/v1").status_code == 503
    click(steered, "repair")
    with steered.server.misbehave("maintenance", lasts_seconds=0):
        assert steered.post("get-studies/v1").status_code == 200


def test_what_cannot_happen_is_explained(steered: Client) -> None:
    """A page that is no longer true of the world, or a request that no button makes."""
    assert "Nothing happened" in text_of(click(steered, "late_hour", "nobody"))
    assert "Nothing happened" in text_of(click(steered, "explode"))


def test_names_are_text(steered: Client) -> None:
    steered.server.world.rename_study(ALPHA, "<script>alert(1)</script>")
    answer = steered.session.get(steered.server.control_url, timeout=10)
    assert "<script" not in answer.text
    assert "script" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example.org"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "rebound.example.org"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_a_web_page_from_elsewhere_changes_nothing(steered: Client, headers: dict[str, str]) -> None:
    """Neither by a form nor by the actions, and a rebound name sees nothing either."""
    address = f"{steered.server.control_url}add_participant"
    body = json.dumps({"study_id": BETA})
    assert click(steered, "enroll", BETA, **headers).status_code == 403
    assert steered.session.post(address, data=body, headers=headers, timeout=10).status_code == 403
    assert len(steered.server.world.study(BETA).participants) == 1
    seen = steered.session.get(steered.server.control_url, headers=headers, timeout=10).status_code
    assert seen == (403 if "Host" in headers else 200)


def test_its_own_page_may(steered: Client) -> None:
    own = {"Origin": steered.server.url, "Sec-Fetch-Site": "same-origin"}
    assert click(steered, "enroll", BETA, **own).status_code == 200
    assert len(steered.server.world.study(BETA).participants) == 2


def test_there_is_no_page_unless_asked_for(client: Client, ask: Callable[[SimulatedServer], Client]) -> None:
    """A server in a test, and the researchers' server, have none."""
    assert client.session.get(client.server.control_url, timeout=10).status_code == 404
