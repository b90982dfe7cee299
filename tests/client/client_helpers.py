"""What the client's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster_beiwe.client import BeiweClient, HttpPolicy
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.simulator import RequestRecord, SimulatedServer

STUDY = "aaaaaaaaaaaaaaaaaaaaaaa1"
OTHER_STUDY = "aaaaaaaaaaaaaaaBBBBBBBB2"
ACCESS_KEY = "CanaryAccess+" + "a" * 51
SECRET_KEY = "CanarySecret/" + "b" * 51


def credentials_for(server: SimulatedServer, **changes: Any) -> Credentials:
    """Valid credentials for a simulated server, website login included."""
    values = {
        "url": server.url,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
        "username": server.username,
        "password": server.password,
    }
    return Credentials(**{**values, **changes})


@contextmanager
def client_of(url: str, **policy: Any) -> Iterator[tuple[BeiweClient, list[float]]]:
    """A client with canary keys, and the waits that it would have made."""
    waits: list[float] = []
    credentials = Credentials(url=url, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    with BeiweClient(credentials, policy=HttpPolicy(**policy), sleep=waits.append) as client:
        yield client, waits


def everything_in(error: BaseException) -> str:
    """An error as text, with all that travels along with it."""
    seen: list[str] = []
    current: BaseException | None = error
    while current is not None:
        seen += [str(current), repr(current), repr(vars(current))]
        current = current.__cause__ or current.__context__
    return " ".join(seen)


def asked_of(server: SimulatedServer) -> list[RequestRecord]:
    """What the server was asked. It is stopped, because it notes a request only after the answer has gone out."""
    server.stop()
    return server.requests
