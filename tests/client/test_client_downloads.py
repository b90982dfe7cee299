"""get-data: what goes out, and the archive as it comes in."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import datetime, timedelta, timezone

import pytest
from client_helpers import OTHER_STUDY, STUDY, asked_of, client_of, credentials_for
from scripted_server import Asked, Scripted, ScriptedServer

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.client.downloads import download_form
from dagster_beiwe.errors import (
    ConfigurationError,
    ConnectionFailedError,
    NotFoundError,
    RequestTooLargeError,
    RouteMissingError,
    ServerBusyError,
    UnknownStreamError,
)
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.windows import Window

END = datetime(2026, 3, 4, tzinfo=timezone.utc)
WINDOW = Window(END - timedelta(days=2), END)


def download(client: BeiweClient, **options: object) -> zipfile.ZipFile:
    """The archive of one participant, whole."""
    asked = {"participants": ["12345678"], "streams": ["gps"], "window": WINDOW, **options}
    with client.get_data(STUDY, **asked) as stream:  # type: ignore[arg-type]
        return zipfile.ZipFile(io.BytesIO(b"".join(stream)))


def test_the_archive_of_a_window_comes_whole(client: BeiweClient) -> None:
    """Four hours of data in two days, and the registry."""
    names = download(client).namelist()
    assert len(names) == 5
    assert names[-1] == "registry"


@pytest.mark.parametrize(("compressed", "version"), [(None, 2), (True, 2), (False, 1)])
def test_the_compressed_route_is_taken_unless_told_otherwise(
    client: BeiweClient, compressed: bool | None, version: int
) -> None:
    """``version`` says what the members look like."""
    with client.get_data(
        STUDY, participants=["12345678"], streams=["gps"], window=WINDOW, compressed=compressed
    ) as stream:
        assert stream.compressed is (version == 2)
        body = b"".join(stream)
        assert stream.received_bytes == len(body)
    assert zipfile.ZipFile(io.BytesIO(body)).namelist()[0].endswith(".csv.zst" if version == 2 else ".csv")


def test_an_old_server_is_asked_for_plain_files(world: World) -> None:
    """v2 exists since 2025-05; insisting on it tells that it is missing."""
    with SimulatedServer(world, profile="2023-11") as server, BeiweClient(credentials_for(server)) as client:
        assert len(download(client).namelist()) == 5
        with pytest.raises(RouteMissingError, match="get-data/v2"):
            download(client, compressed=True)


def test_the_form_is_what_every_server_version_reads(client: BeiweClient, server: SimulatedServer) -> None:
    """JSON arrays without repetition under the old field name, inclusive naive times, no empty registry."""
    download(client, participants=["iphn2aaa", "12345678", "iphn2aaa"], streams=["gps", "gps"], registry={})
    form = dict(asked_of(server)[-1].form)
    assert form == {
        "study_id": STUDY,
        "user_ids": '["12345678", "iphn2aaa"]',
        "data_streams": '["gps"]',
        "time_start": "2026-03-02T00:00:00",
        "time_end": "2026-03-03T23:59:59",
    }


def test_no_list_is_sent_empty() -> None:
    """Without the field the server takes every stream that it has."""
    form = download_form(STUDY, participants=["a"], streams=[], window=WINDOW, registry=None)
    assert "data_streams" not in form


def test_files_in_the_registry_are_left_out(client: BeiweClient) -> None:
    """Short keys and hashes of what is held."""
    archive = download(client, compressed=False)
    registry = json.loads(archive.read("registry"))
    held = {key.removeprefix("CHUNKED_DATA/"): value for key, value in list(registry.items())[:3]}
    assert len(download(client, registry=held).namelist()) == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"participants": []}, ConfigurationError),
        ({"participants": ["../x"]}, ConfigurationError),
        ({"streams": ["GPS"]}, UnknownStreamError),
        ({"registry": {"CHUNKED_DATA/a/b.csv": "x"}}, ConfigurationError),
    ],
)
def test_what_would_mean_something_else_is_not_sent(
    client: BeiweClient, options: dict[str, object], expected: type[ConfigurationError]
) -> None:
    """Nobody (everybody), a typing error (404), a prefixed key (changed files hidden)."""
    with pytest.raises(expected):
        download(client, **options)
    assert client.traffic.requests_sent == 0


def test_a_misspelled_stream_is_told_by_the_streams_of_the_server(client: BeiweClient, server: SimulatedServer) -> None:
    """It is asked for them, and no data is: a 404 would not say why."""
    with pytest.raises(UnknownStreamError, match=r"'gsp'.*Did you mean 'gps'\?.*wifi"):
        download(client, streams=["gsp"])
    assert [asked.route for asked in asked_of(server)] == ["/get-participant-data-quantities/v1"]


def test_a_single_name_is_not_taken_apart_into_letters(client: BeiweClient, server: SimulatedServer) -> None:
    """A string is a sequence too: it must not become a list of characters."""
    download(client, participants="12345678", streams="gps")
    form = dict(asked_of(server)[-1].form)
    assert (form["user_ids"], form["data_streams"]) == ('["12345678"]', '["gps"]')


def test_nothing_in_the_window_is_an_archive_too(client: BeiweClient) -> None:
    """An empty window is a success."""
    early = Window(WINDOW.start - timedelta(days=900), WINDOW.end - timedelta(days=900))
    assert download(client, window=early).namelist() == ["registry"]


def test_an_unknown_participant_is_not_no_data(client: BeiweClient) -> None:
    """The server answers 404 for the whole request."""
    with pytest.raises(NotFoundError):
        download(client, participants=["12345678", "nobody00"])


def test_a_body_over_the_proxys_limit_has_its_own_error(world: World) -> None:
    """A shorter registry may pass: the caller can tell."""
    registry = {f"{STUDY}/12345678/gps/{number}.csv": "x" * 28 for number in range(100)}
    with SimulatedServer(world, max_form_bytes=4000) as server, BeiweClient(credentials_for(server)) as client:
        assert download(client).namelist()
        with pytest.raises(RequestTooLargeError):
            download(client, registry=registry)


def test_opening_is_repeated(server: SimulatedServer, client: BeiweClient, waits: list[float]) -> None:
    """A restart of the server in front of the download costs a wait only."""
    with server.misbehave("status", route="/get-data/*", status=502, times=2):
        # The first is spent on the probe, which is patient too.
        assert len(download(client).namelist()) == 5
    assert len(waits) == 2


def test_maintenance_is_told_after_the_attempts(server: SimulatedServer, client: BeiweClient) -> None:
    """The operators' 503."""
    assert client.supports("data_v2")
    with server.misbehave("maintenance"), pytest.raises(ServerBusyError, match="maintenance"):
        download(client)


def test_a_cut_body_raises_after_what_came(server: SimulatedServer, client: BeiweClient, waits: list[float]) -> None:
    """Every byte before the cut is handed out, then the error: complete members can be kept."""
    received = bytearray()
    with server.misbehave("cut", after_bytes=1000, route="/get-data/*"):

        def read() -> None:
            with client.get_data(
                STUDY, participants=["12345678"], streams=["gps"], window=WINDOW, compressed=False
            ) as stream:
                for chunk in stream:
                    received.extend(chunk)

        with pytest.raises(ConnectionFailedError, match="broke off") as caught:
            read()
    assert len(received) == 1000
    assert waits == []
    assert caught.value.__context__ is None


def test_the_client_can_be_used_after_a_download_was_left_early(client: BeiweClient) -> None:
    """Leaving the block closes the connection, and the next request opens another."""
    with client.get_data(STUDY, participants=["12345678"], streams=[], window=WINDOW) as stream:
        next(iter(stream))
    assert len(client.studies()) == 2


def test_chunks_are_large_whatever_the_servers_are() -> None:
    """The server's many small chunks are gathered, so that readers do not pay for each."""
    sent = tuple(b"%0100d" % number for number in range(5000))

    def answer(asked: Asked) -> Scripted:
        return Scripted(chunks=sent) if asked.body else Scripted(status=400)

    with (
        ScriptedServer(answer=answer) as server,
        client_of(server.url) as (client, _),
        client.get_data(OTHER_STUDY, participants=["a"], streams=["gps"], window=WINDOW) as stream,
    ):
        received = list(stream)
    assert b"".join(received) == b"".join(sent)
    assert all(64 * 1024 <= len(chunk) <= 256 * 1024 for chunk in received[:-1])
