"""Listings by page and deletions of many objects: fsspec does these in memory, or does not report what failed.

Names begin with the bucket, as in fsspec. One that ends in ``/`` is a marker: an empty object that a console leaves
for a folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from dagster_beiwe.lake.storage.base import StoredFile

_KEYS_IN_A_REQUEST = 1000


class Client:
    """Any store, by the operations that fsspec has for all of them."""

    def __init__(self, files: Any) -> None:
        self._files = files

    def names(self, folder: str) -> set[str]:
        """Names directly below a folder."""
        found = self._files.ls(folder, detail=False)
        return {name.removeprefix(f"{folder}/").strip("/") for name in found if name.startswith(f"{folder}/")} - {""}

    def scan(self, folder: str) -> Iterator[StoredFile]:
        """All objects below a folder, with markers if the store has them."""
        found = self._files.find(folder, detail=True)
        if isinstance(found, Mapping):  # adlfs returns a list if an object has the folder's name
            for name, details in found.items():
                if name.startswith(f"{folder}/"):  # others give that object
                    yield StoredFile(name, int(details["size"] or 0), _written_at(details))

    def delete_many(self, names: Sequence[str]) -> Sequence[str]:
        """Delete many objects at once, if the store can. Returns those that may be left."""
        return names

    def delete_markers(self, folder: str) -> None:
        """Delete the markers of a folder without files, and of those below it."""
        with suppress(FileNotFoundError):
            if not any(not each.path.endswith("/") for each in self.scan(folder)):
                self._files.rm(folder, recursive=True)


class S3Client(Client):
    """S3: listings by page, and the outcome of each key of a deletion."""

    def names(self, folder: str) -> set[str]:
        start, found = len(self._key(folder)) + 1, set()
        for page in self._pages(folder, Delimiter="/"):
            found |= {each["Prefix"] for each in page.get("CommonPrefixes", ())}
            found |= {each["Key"] for each in page.get("Contents", ())}
        return {key[start:].strip("/") for key in found} - {""}

    def scan(self, folder: str) -> Iterator[StoredFile]:
        above = folder.removesuffix(self._key(folder))
        for page in self._pages(folder):
            for each in page.get("Contents", ()):
                yield StoredFile(above + each["Key"], each["Size"], each["LastModified"].timestamp())

    def delete_many(self, names: Sequence[str]) -> Sequence[str]:
        left: list[str] = []
        for start in range(0, len(names), _KEYS_IN_A_REQUEST):
            part = names[start : start + _KEYS_IN_A_REQUEST]
            keys = {self._key(name): name for name in part}
            try:
                answer = self._files.call_s3(
                    "delete_objects",
                    Bucket=self._files.split_path(part[0])[0],
                    Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
                )
            except OSError:  # some stores lack this request; deleting one by one tells what is wrong
                return [*left, *names[start:]]
            failed = {str(error.get("Key")) for error in answer.get("Errors", ())}
            left += [keys[key] for key in failed] if failed <= keys.keys() else part
        return left

    def delete_markers(self, folder: str) -> None:
        for name in self.delete_many([each.path for each in self.scan(folder) if each.path.endswith("/")]):
            self._files.call_s3("delete_object", Bucket=self._files.split_path(name)[0], Key=self._key(name))

    def _key(self, name: str) -> str:
        key = str(self._files.split_path(name)[1])
        return f"{key}/" if name.endswith("/") and not key.endswith("/") else key  # s3fs may drop a marker's slash

    def _pages(self, folder: str, **options: str) -> Iterator[Mapping[str, Any]]:
        bucket, key, _ = self._files.split_path(folder)
        options |= {"Bucket": bucket, "Prefix": f"{key}/" if key else ""}
        while True:
            page = self._files.call_s3("list_objects_v2", **options)
            yield page
            if not page.get("IsTruncated"):
                return
            options["ContinuationToken"] = page["NextContinuationToken"]


def client_of(files: Any, protocol: str) -> Client:
    """The client for a file system of fsspec."""
    return S3Client(files) if protocol in ("s3", "s3a") else Client(files)


def _written_at(details: Mapping[str, Any]) -> float:
    """When an object was written; stores have four names for it."""
    moment: datetime | float = (
        details.get("LastModified") or details.get("mtime") or details.get("last_modified") or details["created"]
    )
    if isinstance(moment, float):
        return moment
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
