"""Each named misbehavior as a client sees it on the wire."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlencode

import pytest
import requests
import zstandard
from simulator_helpers import ALPHA, Client, hour, window

from dagster_beiwe.simulator import Misbehavior, SimulatedServer, World
from dagster_beiwe.simulator.misbehavior import NAMES

GPS = {"data_streams": '["gps"]', "user_ids": '["andr1aaa"]'}
POISON = {"participant": "andr1aaa", "stream": "gps", "start": hour(8), "end": hour(9)}


def raw_get_data(server: SimulatedServer, **form: str) -> tuple[int, bytes, bool]:
    """Status, body, and whether the transport noticed a cut, by http.client."""
    keys = {"access_key": server.access_key, "secret_key": server.secret_key, "study_id": ALPHA}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/get-data/v1", body=urlencode({**keys, **form}), headers=headers)
        answer = connection.getresponse()
        try:
            return answer.status, answer.read(), False
        except http.client.IncompleteRead as error:
            return answer.status, error.partial, True
    finally:
        connection.close()


def test_reset_drops_the_connection_without_an_answer(server: SimulatedServer, client: Client) -> None:
    """The client sees a broken connection; the log a request with status 0."""
    with server.misbehave("reset"), pytest.raises(requests.ConnectionError):
        client.get_data()
    assert server.requests[-1].status == 0
    assert client.get_data().status_code == 200


def test_hang_delays_the_headers(server: SimulatedServer, client: Client) -> None:
    """A client with a shorter timeout gives up; stopping the server does not wait for the hang."""
    server.misbehave("hang", seconds=60)
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{server.url}/get-studies/v1", timeout=0.2)
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("how", ["latency", "constructor"])
def test_latency_is_added_to_answers(world: World, how: str) -> None:
    """By a misbehavior, or for the whole server."""
    extra = 0.1 if how == "constructor" else 0.0
    with SimulatedServer(world, extra_latency_seconds=extra) as server:
        if how == "latency":
            server.misbehave("latency", seconds=0.1)
        begun = time.monotonic()
        requests.post(f"{server.url}/get-studies/v1", timeout=10)
        assert time.monotonic() - begun >= 0.1


def test_trickle_sends_small_chunks(server: SimulatedServer, client: Client) -> None:
    """The body is right but slow."""
    with server.misbehave("trickle", seconds=0.001, chunk_bytes=40):
        begun = time.monotonic()
        answer = client.get_data(**GPS, **window(hour(8), hour(9)))
    assert zipfile.ZipFile(io.BytesIO(answer.content)).testzip() is None
    assert time.monotonic() - begun >= 0.001 * len(answer.content) / 40


@pytest.mark.parametrize("after_bytes", [None, 0, 300])
def test_cut_is_visible_in_the_transport(server: SimulatedServer, after_bytes: int | None) -> None:
    """The chunked body lacks its end."""
    server.misbehave("cut", after_bytes=after_bytes)
    status, body, noticed = raw_get_data(server, **GPS)
    assert (status, noticed) == (200, True)
    assert body.startswith(b"PK\x03\x04") or after_bytes == 0
    assert after_bytes is None or len(body) == after_bytes


@pytest.mark.parametrize("after_bytes", [None, 300])
def test_silent_cut_ends_as_if_complete(server: SimulatedServer, after_bytes: int | None) -> None:
    """Only the missing end record tells."""
    server.misbehave("silent_cut", after_bytes=after_bytes)
    status, body, noticed = raw_get_data(server, **GPS)
    assert (status, noticed) == (200, False)
    assert b"PK\x05\x06" not in body
    assert after_bytes is None or len(body) == after_bytes


def test_cuts_reach_json_answers_too(server: SimulatedServer, client: Client) -> None:
    """A cut answer with a length is noticed; a silent one is broken JSON."""
    with server.misbehave("cut"), pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.post("get-users/v1", study_id=ALPHA)
    with server.misbehave("silent_cut"), pytest.raises(ValueError, match=r".+"):
        client.post("get-users/v1", study_id=ALPHA).json()


def test_status_may_carry_retry_after(server: SimulatedServer, client: Client) -> None:
    """Any status, as often as asked for."""
    server.misbehave(Misbehavior("status", status=429, retry_after="7", times=2))
    answers = [client.post("get-studies/v1") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "7"


def test_maintenance_has_the_operators_words(server: SimulatedServer) -> None:
    """503 on every route, before any check."""
    with server.misbehave("maintenance"):
        answer = requests.post(f"{server.url}/get-nothing/v1", timeout=10)
    assert answer.status_code == 503
    assert answer.text == "This server is currently undergoing maintenance, please try again later."
    assert "Retry-After" not in answer.headers


def test_portal_pages_have_status_200(server: SimulatedServer, client: Client) -> None:
    """HTML where JSON or a zip was expected."""
    with server.misbehave("html_200"):
        answer = client.get_data()
    assert (answer.status_code, answer.content[:9]) == (200, b"<!doctype")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_point_elsewhere(server: SimulatedServer, client: Client, status: int) -> None:
    """To the given location."""
    with server.misbehave("redirect", status=status, location="https://other.example.org/x"):
        answer = client.get_data()
    assert (answer.status_code, answer.headers["Location"]) == (status, "https://other.example.org/x")


def test_wrong_json_replaces_the_answer(server: SimulatedServer, client: Client) -> None:
    """Valid JSON of another kind, or anything else."""
    with server.misbehave("wrong_json", route="/get-users/*"):
        assert client.post("get-users/v1", study_id=ALPHA).json() == "unexpected"
    with server.misbehave("wrong_json", body='["cut of'):
        assert client.post("get-users/v1", study_id=ALPHA).text == '["cut of'


def test_wrong_crc_damages_one_member(server: SimulatedServer, client: Client) -> None:
    """The rest of the archive stays good."""
    with server.misbehave("wrong_crc", **POISON):
        archive = client.archive(**GPS)
    assert archive.testzip() == "andr1aaa/gps/2026-10-05 08_00_00+00_00.csv"


def test_hash_mismatch_changes_the_registry_only(world: World, server: SimulatedServer, client: Client) -> None:
    """Content and CRC are right, the registry value is not."""
    with server.misbehave("hash_mismatch", **POISON):
        registry = client.registry(**GPS)
    wrong = [
        file.key
        for file in world.files(ALPHA, participants=["andr1aaa"], streams=["gps"])
        if registry[file.key] != file.md5
    ]
    assert wrong == [world.file("andr1aaa", "gps", hour(8)).key]


def test_missing_registry_leaves_a_good_zip(server: SimulatedServer, client: Client) -> None:
    """Complete by its end record, but without its last member."""
    with server.misbehave("missing_registry"):
        archive = client.archive(**GPS)
    assert archive.testzip() is None
    assert "registry" not in archive.namelist()


def test_duplicate_members_come_twice(server: SimulatedServer, client: Client) -> None:
    """The same name two times in one archive."""
    with server.misbehave("duplicate_members"):
        names = client.archive(**GPS).namelist()
    assert len(names) == len(set(names)) + 1


def test_zstd_garbage_has_a_good_crc(server: SimulatedServer, client: Client) -> None:
    """The zip is fine, the frame is not."""
    with server.misbehave("zstd_garbage", **POISON):
        archive = client.archive("v2", **GPS)
    assert archive.testzip() is None
    with pytest.raises(zstandard.ZstdError):
        zstandard.ZstdDecompressor().decompress(archive.read("andr1aaa/gps/2026-10-05 08_00_00+00_00.csv.zst"))


@pytest.mark.parametrize("declared", [True, False])
def test_zip_bomb_is_small_and_expands(server: SimulatedServer, client: Client, declared: bool) -> None:
    """A frame of a few kilobytes that says, or does not say, how large it becomes."""
    with server.misbehave("zip_bomb", size_bytes=200_000_000, declared=declared, **POISON):
        archive = client.archive("v2", **GPS)
    frame = archive.read("andr1aaa/gps/2026-10-05 08_00_00+00_00.csv.zst")
    assert len(frame) < 10_000
    assert zstandard.frame_content_size(frame) == (200_000_000 if declared else -1)
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(frame)) as reader:
        size = 0
        while chunk := reader.read(1 << 20):
            size += len(chunk)
    assert size == 200_000_000


def test_hostile_names_leave_the_folder(server: SimulatedServer, client: Client) -> None:
    """Parents, absolute paths, drives and control characters; or names of one's choice."""
    with server.misbehave("hostile_names"):
        names = client.get_data(**GPS).content
    assert b"../../outside.csv" in names
    assert b"/etc/outside.csv" in names
    with server.misbehave("hostile_names", names=["../here"]):
        assert b"../here" in client.get_data(**GPS).content


def test_unknown_stream_adds_a_member(server: SimulatedServer, client: Client) -> None:
    """A stream that a newer server might have, with its registry entry."""
    with server.misbehave("unknown_stream"):
        archive = client.archive(**GPS)
    assert "andr1aaa/moon_phase/2026-01-01 00_00_00+00_00.csv" in archive.namelist()
    assert len(json.loads(archive.read("registry"))) == len(archive.namelist()) - 1


def test_missing_object_is_silent(server: SimulatedServer, client: Client) -> None:
    """Neither in the zip nor in the registry, while it is switched on."""
    whole = client.registry(**GPS)
    with server.misbehave("missing_object", **POISON):
        assert len(client.registry(**GPS)) == len(whole) - 1
    assert client.registry(**GPS).keys() == whole.keys()


@pytest.mark.parametrize("behind_nginx", [False, True])
def test_poisoned_hour_aborts_v1(world: World, behind_nginx: bool) -> None:
    """Every answer that covers the hour breaks; nginx makes it look complete; others are fine."""
    with SimulatedServer(world, behind_nginx=behind_nginx) as server:
        server.misbehave("poisoned_hour", **POISON)
        results = [raw_get_data(server) for _ in range(4)]
        for status, body, noticed in results:
            assert (status, noticed) in ((200, not behind_nginx), (500, False))
            assert b"PK\x05\x06" not in body
        assert any(status == 200 for status, _, _ in results)
        rest = {"time_start": "2026-10-05T09:00:00"}
        assert zipfile.ZipFile(io.BytesIO(raw_get_data(server, **GPS, **rest)[1])).testzip() is None


def test_poisoned_hour_alone_is_a_short_500(server: SimulatedServer) -> None:
    """Nothing was sent yet, so the application server says so itself."""
    server.misbehave("poisoned_hour", **POISON)
    status, body, _ = raw_get_data(server, **GPS, **window(hour(8), hour(9)))
    assert (status, len(body)) == (500, 141)


@pytest.mark.parametrize("mode", ["abort", "garbage", None])
def test_poisoned_hour_in_v2_is_garbage_unless_told_otherwise(
    server: SimulatedServer, client: Client, mode: str | None
) -> None:
    """Both kinds of failure can be had in both versions."""
    form = {**GPS, **window(hour(8), hour(9))}
    server.misbehave("poisoned_hour", mode=mode, **POISON)
    answer = client.get_data("v2", **form)
    if mode == "abort":
        assert answer.status_code == 500
        return
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    with pytest.raises(zstandard.ZstdError):
        zstandard.ZstdDecompressor().decompress(archive.read(archive.namelist()[0]))


def test_scope_narrows_by_route_and_by_what_a_download_covers(server: SimulatedServer, client: Client) -> None:
    """A refusal for one hour hits exactly the downloads that cover it."""
    server.misbehave("status", status=502, route="/get-data/*", **POISON)
    covering, beside = window(hour(0), hour(24)), window(hour(9), hour(24))
    assert client.get_data(**GPS, **covering).status_code == 502
    assert client.get_data(**GPS, **beside).status_code == 200
    assert client.get_data(user_ids='["iphn2aaa"]', **covering).status_code == 200
    assert client.get_data("v2", data_streams='["gyro"]', **covering).status_code == 200
    assert client.post("get-studies/v1").status_code == 200
    server.behave()
    assert client.get_data(**GPS, **covering).status_code == 200


def test_every_name_is_known_and_no_other() -> None:
    """A typing error is noticed at once."""
    for name in NAMES:
        Misbehavior(name)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"There is no misbehavior .* cut, duplicate_members"):
        Misbehavior(name="explode")  # type: ignore[arg-type]


def test_peak_counts_simultaneous_downloads(world: World) -> None:
    """Downloads that overlap in time are counted together: here each waits for the others, however slow they are."""

    class Together(SimulatedServer):
        def download_begins(self) -> None:
            super().download_begins()
            meeting.wait(60)

    meeting = threading.Barrier(3)
    with Together(world) as server, ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(raw_get_data, server, **GPS) for _ in range(3)]
        assert [answer.result()[0] for answer in answers] == [200] * 3
        assert server.peak_downloads == 3


def test_auth_seconds_are_spent_per_request(world: World) -> None:
    """A known key costs time, an unknown one does not."""
    with SimulatedServer(world, auth_seconds=0.1) as server:
        keys = {"access_key": server.access_key, "secret_key": server.secret_key}
        begun = time.monotonic()
        requests.post(f"{server.url}/get-studies/v1", data=keys, timeout=10)
        assert time.monotonic() - begun >= timedelta(milliseconds=100).total_seconds()


def test_checking_a_key_keeps_nobody_waiting(world: World) -> None:
    """Requests that come together are checked together, as a server of several processes does."""

    class Meeting(threading.Event):
        """Waits until three wait."""

        def wait(self, _seconds: float | None = None) -> bool:
            met.wait(60)
            return False

    met = threading.Barrier(3)
    with SimulatedServer(world, auth_seconds=0.1) as server, ThreadPoolExecutor(3) as pool:
        waiting, server.stopping = server.stopping, Meeting()
        answers = [pool.submit(raw_get_data, server, **GPS) for _ in range(3)]
        assert [answer.result()[0] for answer in answers] == [200] * 3
        server.stopping = waiting


@pytest.mark.parametrize(("sending", "next_one"), [(0, 1), (0.5, 0.5), (100, None)])
def test_each_file_of_an_archive_costs_time(
    world: World, sending: float, next_one: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As reading it from storage does, which goes on while others are sent. Files that are not sent cost nothing."""
    now = 0.0
    waited: list[float] = []

    class Clock(threading.Event):
        """Moves on by what is waited for, and by what sending a file takes."""

        def wait(self, seconds: float | None = None) -> bool:
            nonlocal now
            waited.append(seconds or 0)
            now += waited[-1] + sending
            return False

    monkeypatch.setattr("dagster_beiwe.simulator.server.monotonic", lambda: now)
    with SimulatedServer(world, file_seconds=1) as server:
        waiting, server.stopping = server.stopping, Clock()
        _, body, _ = raw_get_data(server, **GPS)
        server.stopping = waiting
    members = [name for name in zipfile.ZipFile(io.BytesIO(body)).namelist() if name != "registry"]
    assert len(members) > 1
    assert waited == [1, *([] if next_one is None else [next_one] * (len(members) - 1))]
