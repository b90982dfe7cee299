"""An S3 on loopback: moto's, but one request after the other, so that nothing comes between the steps of one."""

from __future__ import annotations

import io
import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

_OF_A_FILE: Final = re.compile(r"/(gps|accelerometer)/")


def new_store() -> Any:
    """A WSGI application: an S3 with nothing in it.

    moto by itself looks whether an object exists, and writes it then: two clients that create the same object at once
    would both succeed, and one that reads an object while it is deleted would get an error of moto's own.
    """
    from moto.moto_server.werkzeug_app import create_backend_app  # slow to import
    from werkzeug.wsgi import get_input_stream

    store, turn = create_backend_app("s3"), threading.Lock()

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        body = get_input_stream(environ).read()  # a client that stops in the middle holds nobody up
        environ = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        with turn:
            return store(environ, start_response)

    return answer


def environment_of(port: int) -> dict[str, str]:
    """What the clients of an S3 at this port of loopback look for, and nothing of the machine's own."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "a-test-key",
        "AWS_SECRET_ACCESS_KEY": "a-test-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }


@contextmanager
def object_store(store: Any = None) -> Iterator[dict[str, str]]:
    """Serve a store, by default a new one; the environment that points to it.

    s3fs keeps clients with the store that they were made for: those of others are forgotten, and these too.
    """
    from s3fs import S3FileSystem
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would print each request
    server = make_server("127.0.0.1", 0, store or new_store(), threaded=True)
    thread = threading.Thread(target=server.serve_forever, name="s3")
    thread.start()
    S3FileSystem.clear_instance_cache()
    try:
        yield environment_of(server.port)
    finally:
        S3FileSystem.clear_instance_cache()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def s3_on_loopback() -> Iterator[Counter[str]]:
    """An empty bucket, and what is asked of it: requests for raw files and others, and bytes that it answers with."""
    import boto3

    counts: Counter[str] = Counter()
    store = new_store()

    def counted(environ: Any, start_response: Any) -> Any:
        counts["files" if _OF_A_FILE.search(environ["PATH_INFO"]) else "lake"] += 1

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            counts["bytes"] += int(dict(headers).get("Content-Length", 0))
            return start_response(status, headers, *rest)

        return store(environ, start)

    with object_store(counted) as environment, mock.patch.dict(os.environ, environment):
        boto3.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"]).create_bucket(Bucket="lake")
        yield counts
