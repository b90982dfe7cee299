"""A lake in an object store: S3, Google Cloud Storage, Azure, or whatever else fsspec knows.

Such a store has no locks, no folders and no file modes. What the lake needs it has: an object shows when it is whole,
and is created only if there is none of that name. Nothing is cached: listings and sizes are the store's at that moment.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

from dagster_beiwe.errors import BeiweError, ConfigurationError
from dagster_beiwe.lake.storage.base import (
    LARGEST_DOCUMENT_BYTES,
    MAY_BE_ABSENT,
    NewFile,
    Storage,
    StoredFile,
    check_inside,
    too_large,
    unavailable,
)
from dagster_beiwe.lake.storage.object_clients import client_of
from dagster_beiwe.lake.storage.object_errors import advice, code, is_of_the_store
from dagster_beiwe.lake.storage.object_files import PIECE_BYTES, Download, Upload

_REMOVALS_AT_ONCE = 8
_READS_AT_ONCE = 16
_CONFLICT_ATTEMPTS = 5
_OPTIONS = {
    "s3": {"max_concurrency": 1},  # more makes it ask for the size before each read, and holds more pieces in memory
}
_PLACE = re.compile(
    r"(?:abfss?://[\w$-]+@[\w.-]+"  # a container and its account
    r"|s3a?://arn:[\w:-]+"  # an access point
    r"|\w[\w+.-]*://[^/@:?#]*(?::\d{1,5})?)"  # a bucket, or a host with a port
    r"(?:/[^@:?#]*)?"
)
"""URLs that can hold no credential: messages show them whole."""


class ObjectStorage(Storage):
    """A lake below a URL such as ``s3://bucket/lake``. Usable from several threads.

    Credentials and endpoint come from the store's usual environment, never from the URL. Raises
    ``ConfigurationError`` if the URL can't be used or the store's package is not installed; connects on first use.
    """

    locks = False

    def __init__(self, url: str) -> None:
        self._files, self._root, self._protocol = _open_store(url)
        self._client = client_of(self._files, self._protocol)

    def describe(self) -> str:
        return f"{self._protocol}://{self._root.strip('/')}"

    def read(self, path: str, *, limit_bytes: int = LARGEST_DOCUMENT_BYTES) -> bytes:
        data = self._beginning(path, limit_bytes + 1)
        if len(data) > limit_bytes:
            raise too_large(path, limit_bytes)
        return data

    def _beginning(self, path: str, size_bytes: int) -> bytes:
        with self.explained("read", path):
            try:
                return bytes(self._files.cat_file(self._full(path), start=0, end=size_bytes))
            except OSError as error:
                if code(error) != "InvalidRange":  # S3: there is no first byte
                    raise
                return b""

    def exists(self, path: str) -> bool:
        try:
            with self.explained("read", path):
                return bool(self._files.info(self._full(path))["type"] == "file")
        except FileNotFoundError:
            return False

    def open(self, path: str, *, size_bytes: int | None = None) -> BinaryIO:
        if size_bytes is not None and size_bytes <= PIECE_BYTES:
            return io.BytesIO(self._beginning(path, size_bytes + 1))
        with self.explained("read", path):
            file = self._files.open(self._full(path), "rb", block_size=PIECE_BYTES)
        return cast("BinaryIO", io.BufferedReader(Download(self, path, file)))

    def create(self, path: str, *, otherwise: str | None = None) -> NewFile:
        return cast("NewFile", Upload(self, path, otherwise))

    def create_new(self, path: str, data: bytes, *, staging: str | None = None) -> None:  # noqa: ARG002
        with self.explained("written", path):
            for attempt in range(_CONFLICT_ATTEMPTS):
                try:
                    self._files.pipe_file(self._full(path), data, mode="create")
                except (FileExistsError, FileNotFoundError):
                    raise
                except OSError as error:
                    if code(error) == "PreconditionFailed":
                        raise FileExistsError(path) from None
                    if code(error) != "ConditionalRequestConflict" or attempt == _CONFLICT_ATTEMPTS - 1:
                        raise
                    time.sleep(0.1 * 2**attempt)  # S3: another request for it is on its way, try again
                else:
                    return

    def read_all(self, paths: Sequence[str]) -> list[bytes | None]:
        def read(path: str) -> bytes | None:
            try:
                return self.read(path)
            except FileNotFoundError:
                return None

        with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="beiwe-read") as pool:
            return list(pool.map(read, paths))

    def scan(self, path: str) -> Iterator[StoredFile]:
        start = len(self._full("")) + 1
        with self.explained("listed", path), suppress(FileNotFoundError):
            for each in self._client.scan(self._full(path)):
                if not each.path.endswith("/"):
                    yield each._replace(path=each.path[start:])

    def delete_all(self, paths: Sequence[str]) -> None:
        names = {self._full(path): path for path in paths}
        left: Sequence[str] = list(names)
        if len(names) > 1:
            with self.explained("removed", paths[0]):
                left = self._client.delete_many(left)
        with ThreadPoolExecutor(_REMOVALS_AT_ONCE, thread_name_prefix="beiwe-delete") as pool:
            for done in [pool.submit(self.delete, names[name]) for name in left]:
                done.result()

    @contextmanager
    def guard(self, path: str, *, exclusive: bool) -> Iterator[None]:  # noqa: ARG002
        yield

    def delete(self, path: str) -> None:
        with self.explained("removed", path), suppress(FileNotFoundError):
            self._files.rm_file(self._full(path))

    def delete_folder(self, path: str) -> None:
        """A folder is there as long as something is in it; but consoles and other programs leave markers of folders."""
        with self.explained("removed", path):
            self._client.delete_markers(self._full(path))

    def list(self, path: str) -> list[str]:
        try:
            with self.explained("listed", path):
                return sorted(self._client.names(self._full(path)))
        except FileNotFoundError:
            return []

    def sync_folder(self, path: str) -> None:
        """Nothing to do: what the store has confirmed is durable."""

    def size_bytes(self, path: str) -> int:
        """The size of an object. Raises ``FileNotFoundError``."""
        with self.explained("read", path):
            return int(self._files.size(self._full(path)))

    def start_upload(self, path: str) -> Any:
        """A file of fsspec's that shows after ``close`` and ``commit``."""
        with self.explained("written", path):
            return self._files.open(self._full(path), "wb", block_size=PIECE_BYTES, autocommit=False)

    def _full(self, path: str) -> str:
        check_inside(path)
        return f"{self._root}/{path}" if path else self._root

    @contextmanager
    def explained(self, done: str, path: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, BeiweError):
            raise
        except Exception as error:
            if isinstance(error, FileNotFoundError) and done in MAY_BE_ABSENT:
                raise
            if not is_of_the_store(error):
                raise
            got = code(error) or type(error).__name__
            raise unavailable(self, done, path, got, advice(error)) from None


def _open_store(url: str) -> tuple[Any, str, str]:
    """The file system behind a URL, the root's path in it, and the URL's protocol."""
    import fsspec

    if not _PLACE.fullmatch(url):
        raise ConfigurationError(
            "Expected the lake's URL as s3://bucket/folder, got one with credentials, options or a cache in it, or "
            "with a character that they need (@ : ? #); it was not used. Give credentials in the environment of the "
            "store (docs/object-stores.md)."
        )
    protocol = url.partition("://")[0]
    try:
        files, root = fsspec.core.url_to_fs(url, use_listings_cache=False, **_OPTIONS.get(protocol, {}))
    except ImportError:
        raise ConfigurationError(
            f"Expected the package that reaches {protocol}:// URLs, got none; nothing was opened. Install it: "
            '`pip install "dagster-beiwe[s3]"` for S3, `pip install gcsfs` for Google, `pip install adlfs` for Azure.'
        ) from None
    except (ValueError, TypeError, AttributeError, OSError):  # no protocol of fsspec's, or one that is no store
        raise ConfigurationError(
            f"Expected a folder or a URL that fsspec knows as the lake's place, got one that starts with "
            f"{protocol}://; nothing was opened. Correct BEIWE_LAKE."
        ) from None
    return files, root.rstrip("/"), protocol
