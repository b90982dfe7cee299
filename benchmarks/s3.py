"""An S3 on loopback (moto), which counts what is asked of it."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

_OF_A_FILE: Final = re.compile(r"/(gps|accelerometer)/")


@contextmanager
def s3_on_loopback() -> Iterator[Counter[str]]:
    """An empty bucket, and what is asked of it: requests for raw files and others, and bytes that it answers with."""
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from s3fs import S3FileSystem
    from werkzeug.serving import make_server

    S3FileSystem.clear_instance_cache()  # those that are kept know the place of an earlier one
    counts: Counter[str] = Counter()
    store = DomainDispatcherApplication(create_backend_app)

    def counted(environ: Any, start_response: Any) -> Any:
        counts["files" if _OF_A_FILE.search(environ["PATH_INFO"]) else "lake"] += 1

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            counts["bytes"] += int(dict(headers).get("Content-Length", 0))
            return start_response(status, headers, *rest)

        return store(environ, start)

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, counted, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    before = dict(os.environ)
    try:
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
        }
        boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket="lake")
        yield counts
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.shutdown()
        thread.join()
        server.server_close()
