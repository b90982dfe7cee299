"""Pair the members of an archive with the entries of its registry, and check their hashes. No side effects.

Entry n belongs to member n (servers since 2025-04-04). Before that, the second of two files with one name was listed
but not packed, so that entries have to be found by what their key says.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from dagster_beiwe.errors import ArchiveError
from dagster_beiwe.lake.manifest import FileRecord, HashName
from dagster_beiwe.lake.staging import StagedFile
from dagster_beiwe.member_names import MemberName, key_describes, short_key

_SPARE_ENTRIES = 1000
_ENTRY_BYTES = 320  # on average; known are 150: a key of 115 characters, a hash of 28, and what stands between

_HASH = re.compile(r"[A-Za-z0-9+/=]{0,64}")


@dataclass(frozen=True)
class RegistryEntry:
    """One entry: the short key, and the base64 hash that the server gave (empty where it has none)."""

    key: str
    value: str


def registry_limit_bytes(members: int) -> int:
    """The largest registry that an archive of so many members can have."""
    return _most_entries(members) * _ENTRY_BYTES


def read_registry(data: bytes, *, members: int) -> list[RegistryEntry]:
    """The entries of an archive's ``registry`` in order; raises ``ArchiveError`` for anything else.

    Parsed, it may take 27 times its size, so entries are counted before: neither keys nor hashes hold a comma.
    """
    if len(data) > registry_limit_bytes(members) or data.count(b",") >= _most_entries(members):
        raise ArchiveError(_mismatch(f"a registry that is too long for {members} members"))
    try:
        pairs = json.loads(data, object_pairs_hook=list)
    except (ValueError, RecursionError):
        pairs = None
    # An object became a list of pairs; a list of anything else is no registry.
    if data.lstrip()[:1] != b"{" or not isinstance(pairs, list):
        raise ArchiveError(_mismatch("a registry that is no JSON object"))
    if not all(value is None or (isinstance(value, str) and _HASH.fullmatch(value)) for _, value in pairs):
        raise ArchiveError(_mismatch("a registry with values that are no hashes"))
    return [RegistryEntry(short_key(key), value or "") for key, value in pairs]


def _most_entries(members: int) -> int:
    """Servers before 2025-04 list files that they left out because another has their name."""
    return 2 * members + _SPARE_ENTRIES


def pair(study_id: str, members: Sequence[MemberName], entries: Sequence[RegistryEntry]) -> list[RegistryEntry]:
    """The entry of each member. Raises ``ArchiveError`` where they can't belong together."""
    if len(entries) == len(members):
        for member, entry in zip(members, entries, strict=True):
            if not key_describes(entry.key, study_id, member):
                raise ArchiveError(_mismatch("an entry that describes another file than its member"))
        return list(entries)
    if len(entries) < len(members):
        raise ArchiveError(_mismatch(f"{len(entries)} entries for {len(members)} members"))
    left = list(entries)
    paired = []
    for member in members:
        found = next((entry for entry in left if key_describes(entry.key, study_id, member)), None)
        if found is None:
            raise ArchiveError(_mismatch("a member without an entry"))
        left.remove(found)
        paired.append(found)
    return paired


def hash_agrees(value: str, staged: StagedFile) -> bool:
    """Whether the server's hash (MD5 or SHA-1, base64, or none) is that of the plain content received."""
    return not value or value in {base64_of(known) for known in (staged.sha1, staged.md5) if known}


def registry_hash(known_by: HashName | None, content: StagedFile | FileRecord) -> str:
    """The hash by which the server knows some content, as a registry tells it which files are held.

    Never one that the server gave: it may be that of a newer content, which then would never come.
    """
    return base64_of((content.md5 if known_by == "md5" else None) or content.sha1)


def hash_name(value: str) -> HashName | None:
    """By which hash the server knows a file, as the answer to a request that lists files held tells it.

    To a request without such a list every server answers MD5, which tells nothing.
    """
    if len(value) == 24:
        return "md5"
    return "sha1" if len(value) == 28 else None


def base64_of(hexadecimal: str) -> str:
    """A hexadecimal hash in the form that the server uses."""
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def _mismatch(what: str) -> str:
    return (
        f"Expected a registry with one entry for each member, in their order, got {what}; nothing of the archive was "
        "committed. It is requested again in smaller requests; if it stays so, ask the server's operators."
    )
