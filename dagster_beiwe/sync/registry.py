"""The registry, in both directions: what a request lists as held, and what an archive lists. No side effects.

Entry n of an archive's registry belongs to member n (servers since 2025-04-04). Before that, the second of two files
with one name was listed but not packed, so entries have to be found by what their key says.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dagster_beiwe.errors import ArchiveError
from dagster_beiwe.lake.manifest import FileRecord, HashName
from dagster_beiwe.lake.staging import StagedFile
from dagster_beiwe.member_names import MemberName, key_describes, short_key
from dagster_beiwe.streams import stream_named
from dagster_beiwe.sync.requests import DownloadRequest

_SPARE_ENTRIES = 1000
_ENTRY_BYTES = 320  # on average; known are 150: a key of 115 characters, a hash of 28, and what stands between

_HASH = re.compile(r"[A-Za-z0-9+/=]{0,64}")
_NO_SHA1 = base64.b64encode(bytes(20)).decode()


@dataclass(frozen=True)
class RegistryEntry:
    """One entry: the short key, and the base64 hash that the server gave (empty if it has none)."""

    key: str
    value: str


def registry_of(records: Iterable[FileRecord], request: DownloadRequest) -> dict[str, str]:
    """The files already held of a request, as the server wants them listed: short key and base64 hash.

    Files that were deleted upstream are not listed, so that they are sent if they come back.
    """
    return {
        record.key: registry_hash(record.known_by, record)
        for record in records
        if record.present and request.covers(record.moment, record.stream)
    }


def registry_hash(known_by: HashName | None, content: StagedFile | FileRecord) -> str:
    """The hash by which the server knows some content.

    It is always computed here: a hash that the server gave may be that of a newer content, which then would never come.
    """
    return base64_of((content.md5 if known_by == "md5" else None) or content.sha1)


def registry_asking_for_sha1(study_id: str, request: DownloadRequest) -> dict[str, str]:
    """What to list if nothing is held: an hourly file with a hash that no content has.

    It excludes nothing, even if there is such a file. To a request with a list, servers since 2025-12 respond with the
    SHA-1 of every file; without one, with the MD5 of hourly files and no hash of recordings and survey answers.
    """
    stream = next((name for name in request.streams if stream_named(name).chunked), "accelerometer")
    return {f"{study_id}/{request.participant}/{stream}/{request.window.start:%Y-%m-%dT%H:%M:%S}.csv": _NO_SHA1}


def registry_size(registry: Mapping[str, str]) -> int:
    """About the bytes that a registry takes in a form, where ``/``, ``:`` and ``"`` become three each."""
    return sum(len(key) + len(value) + 45 for key, value in registry.items())


def registry_limit_bytes(members: int) -> int:
    """The largest registry that an archive of so many members can have."""
    return _most_entries(members) * _ENTRY_BYTES


def read_registry(data: bytes, *, members: int) -> list[RegistryEntry]:
    """The entries of an archive's ``registry`` in order; raises ``ArchiveError`` for anything else.

    Parsed, it may take 27 times its size, so entries are counted first: neither keys nor hashes contain a comma.
    """
    if len(data) > registry_limit_bytes(members) or data.count(b",") >= _most_entries(members):
        raise _mismatch(f"is too long for {members} members")
    try:
        pairs = json.loads(data, object_pairs_hook=list)
    except (ValueError, RecursionError):
        pairs = None
    # An object became a list of pairs; a list of anything else is no registry.
    if data.lstrip()[:1] != b"{" or not isinstance(pairs, list):
        raise _mismatch("is not a JSON object")
    if not all(value is None or (isinstance(value, str) and _HASH.fullmatch(value)) for _, value in pairs):
        raise _mismatch("has values that are not hashes")
    return [RegistryEntry(short_key(key), value or "") for key, value in pairs]


def _most_entries(members: int) -> int:
    """Servers before 2025-04 list files that they left out because another has their name."""
    return 2 * members + _SPARE_ENTRIES


def pair(study_id: str, members: Sequence[MemberName], entries: Sequence[RegistryEntry]) -> list[RegistryEntry]:
    """The entry of each member. Raises ``ArchiveError`` if they cannot belong together."""
    if len(entries) == len(members):
        for member, entry in zip(members, entries, strict=True):
            if not key_describes(entry.key, study_id, member):
                raise _mismatch("describes another file than its member")
        return list(entries)
    if len(entries) < len(members):
        raise _mismatch(f"has {len(entries)} entries for {len(members)} members")
    left = list(entries)
    paired = []
    for member in members:
        found = next((entry for entry in left if key_describes(entry.key, study_id, member)), None)
        if found is None:
            raise _mismatch("has no entry for a member")
        left.remove(found)
        paired.append(found)
    return paired


def hash_agrees(value: str, staged: StagedFile) -> bool:
    """Whether the server's hash (MD5 or SHA-1, base64, or none) is that of the plain content received."""
    return not value or value in {base64_of(known) for known in (staged.sha1, staged.md5) if known}


def hash_name(value: str) -> HashName | None:
    """By which hash the server knows a file, according to its response to a request that lists files as held.

    To a request without such a list every server responds with the MD5, which says nothing.
    """
    if len(value) == 24:
        return "md5"
    return "sha1" if len(value) == 28 else None


def base64_of(hexadecimal: str) -> str:
    """A hexadecimal hash in the form that the server uses."""
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def _mismatch(what: str) -> ArchiveError:
    return ArchiveError(
        f"The registry of a downloaded archive {what}. Nothing of the archive was committed, and it is requested again "
        "in smaller parts. If this continues, ask the server's operators."
    )
