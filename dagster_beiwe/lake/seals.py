"""Seals of tables: where a table lies, what was committed there, and by whom. Needs no pandas."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields
from typing import Final
from urllib.parse import quote

from dagster_beiwe.errors import IntegrityError, LakeUnavailableError
from dagster_beiwe.lake.keys import Authenticator, key_path, sealed_fields
from dagster_beiwe.lake.shapes import ShapeError, read_as
from dagster_beiwe.lake.storage import Storage

FOLDER: Final = ".tables"
"""Where tables lie in the lake. No stream has this name, so a study's cipher locks them all."""

KEY_PLACE: Final = f"{FOLDER}/.beiwe"
"""Has the key file for tables of no study, as a study has one."""
PURPOSE: Final = "table"
NOBODY: Final = "nobody"
LAKE: Final = "lake"
"""Owners of tables that belong to no study: without and with a passphrase."""

_LONGEST_NAME: Final = 120
_ACCOUNTED: Final = re.compile(
    rf"{re.escape(key_path(KEY_PLACE))}|"
    r"\.tables/(?:[^/]+/)*(?:[^./][^/]*\.(?:json|parquet|parquet\.lock)|\.lease/[0-9]{8})"
)
_UNKNOWN: Final = "nobody known (damaged)"


@dataclass(frozen=True, kw_only=True)
class TableVersion:
    """One version of a table: ``size_bytes`` and ``sha256`` of the plain Parquet file, ``stored_*`` of what lies there.

    ``file`` is its name beside the seal; times are ISO 8601 in UTC.
    """

    file: str
    encryption: str
    rows: int
    size_bytes: int
    sha256: str
    stored_size_bytes: int
    stored_sha256: str
    written_at: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class Seal:
    """What was committed under a path. ``versions`` has two entries (None: no file) while one replaces the other."""

    owner: str
    asset_key: tuple[str, ...]
    partition: str | None
    versions: tuple[TableVersion | None, ...]


def table_path(asset_key: Sequence[str], partition: str | None) -> str:
    """Where a table lies, without suffix. The dimensions of a partition key become folders, other texts are quoted."""
    parts = [*asset_key, *(partition.split("|") if partition is not None else ())]
    return "/".join([FOLDER, *(_safe(part) for part in parts)])


def unowned_tables(storage: Storage, studies: Collection[str]) -> Iterator[str]:
    """Tables that nobody answers for, without suffix: without a seal, or sealed by no owner that is known.

    ``studies`` are those of the lake. Each owner's own tables are the matter of ``TableStore.damaged``.
    """
    owners = {*studies, NOBODY, *([LAKE] if storage.exists(key_path(KEY_PLACE)) else [])}
    for path in storage.walk(FOLDER):
        if path.endswith(".json") and owner_of(read_seal(storage, path)) not in owners:
            yield path.removesuffix(".json")
        stem = path.removesuffix(".lock").removesuffix(".parquet")
        if stem != path and not storage.exists(f"{stem}.json"):
            yield stem


def unaccounted_tables(storage: Storage) -> Iterator[str]:
    """Files among the tables that are neither of a table nor of one that is just being written."""
    for path in list(storage.walk(FOLDER)):
        if not _ACCOUNTED.fullmatch(path) and _stays(storage, path):
            yield path


def _stays(storage: Storage, path: str) -> bool:
    """Whether a file lies there while nobody writes tables in its folder."""
    folder, _, name = path.rpartition("/")
    with ExitStack() as stack:
        with suppress(LakeUnavailableError):  # a lake that can only be read: a second look has to do
            stack.enter_context(storage.lock(folder))
        return name in storage.list(folder)


def read_seal(storage: Storage, path: str) -> bytes:
    """A seal; nothing where something else lies in its place."""
    try:
        return storage.read(path)
    except (FileNotFoundError, IntegrityError):
        return b""


def unsealed(authenticator: Authenticator, data: bytes, path: str) -> Seal:
    """The seal at a path; raises ``IntegrityError`` if it was changed."""
    document = authenticator.unseal(PURPOSE, data, name=path)
    with sealed_fields(path):
        seal = read_as(Seal, {each.name: document[each.name] for each in fields(Seal)})
        name = table_path(seal.asset_key, seal.partition).rpartition("/")[2]
        if any(each and each.file not in (f"{name}.parquet", f"{name}.parquet.lock") for each in seal.versions):
            raise ShapeError("a file that is not the table's")
    return seal


def owner_of(data: bytes) -> str:
    """Who sealed a table, as the seal itself says: only to explain why it can't be checked."""
    try:
        return str(json.loads(data)["owner"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return _UNKNOWN


def _safe(part: str) -> str:
    """A file name for any text: equal only for equal texts, without dots or separators, of bounded length."""
    name = quote(part, safe="").replace(".", "%2E").replace("~", "%7E") or "%"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 33]}~{hashlib.sha256(part.encode()).hexdigest()[:32]}"
