"""Find Beiwe's files in a folder tree, by their names.

A path ends as the server names a member, ``<participant>/<stream>/[<survey>/]<time>.<extension>``, and ``.zst`` and
``.lock`` may follow. What comes before depends on the tool: mano and scripts begin with the participant, lochness with
``GENERAL`` or ``PROTECTED``, its own study and subject, and ``phone/raw``.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Final

from dagster_beiwe.errors import ConfigurationError, HostileArchiveError, LakeUnavailableError
from dagster_beiwe.file_tree import FileTree
from dagster_beiwe.lake.layout import ENCRYPTED_SUFFIX
from dagster_beiwe.member_names import (
    COMPRESSED_SUFFIX,
    MemberName,
    key_describes,
    key_of_chunked_member,
    parse_member_name,
    place_of_key,
    short_key,
)
from dagster_beiwe.streams import stream_named

_REGISTRY: Final = ".registry"
"""Where mano keeps what the server listed: the only place with the keys of recordings and survey answers."""
_OF_TOOLS: Final = (".backfill", ".study")
"""Files in which mano and lochness keep what they have done."""
_LARGEST_REGISTRY_BYTES: Final = 512 * 1024 * 1024
_ZONE: Final = "+00_00"


_Place = tuple[str, str, datetime]
"""Participant, stream, and time of a file."""


@dataclass(frozen=True, slots=True)
class OldFile:
    """One file: its ``path`` below the tree, and what its name says. ``member`` has the name that the server gives now.

    ``written_ns`` is when it was last written. ``key`` is its registry key, None if nothing in the tree tells it.
    """

    path: str
    member: MemberName
    encrypted: bool
    compressed: bool
    size_bytes: int
    written_ns: int
    key: str | None = None

    @property
    def is_comparable(self) -> bool:
        """Whether a server compares the file by its content, and its key is known."""
        stream = stream_named(self.member.stream)
        return self.key is not None and (stream.chunked or stream.name == "audio_recordings")

    @property
    def place(self) -> tuple[str, str | None, datetime]:
        """Stream, survey, and time: what its name says of it."""
        return self.member.stream, self.member.survey_id, self.member.time

    @property
    def is_recording(self) -> bool:
        return stream_named(self.member.stream).audio


@dataclass
class OldTree:
    """What a folder holds: ``files`` of ``participants`` of one study, and paths of everything else.

    ``strangers`` has the number of files of each participant who is not of the study. ``duplicates`` are older copies
    of a file, ``unknown`` are files without a name that the server gives, or of a stream that it does not have.
    """

    folder: Path
    files: dict[str, list[OldFile]] = field(default_factory=dict)
    strangers: dict[str, int] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @classmethod
    def read(
        cls, folder: str | os.PathLike[str], *, study_id: str, participants: Iterable[str], streams: Iterable[str]
    ) -> OldTree:
        """List a folder; ``streams`` are those that the server has. Raises ``ConfigurationError`` for no folder."""
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise ConfigurationError(
                f"{str(root)[:200]!r} is not a folder. Nothing was adopted. Name the folder that mano, lochness, or a "
                "script downloaded to."
            )
        found = cls(root)
        reader = _Reader(found, study_id, frozenset(participants), frozenset(streams))
        try:
            reader.read()
        except OSError as error:
            raise LakeUnavailableError(
                f"The tree {root} can't be read ({error.strerror}, {error.filename}). Nothing was adopted. Correct its "
                "permissions."
            ) from None
        return found

    @cached_property
    def tree(self) -> FileTree:
        """The folder, as its files are opened."""
        return FileTree(self.folder, links_in_root=True)


@dataclass
class _Reader:
    """Sorts what a tree holds."""

    found: OldTree
    study_id: str
    participants: Collection[str]
    streams: Collection[str]
    newest: dict[tuple[str, str], OldFile] = field(default_factory=dict)
    registries: list[str] = field(default_factory=list)

    def read(self) -> None:
        for path, status in self._paths():
            name = path.rpartition("/")[2]
            if name == _REGISTRY and stat.S_ISREG(status.st_mode):
                self.registries.append(path)
            elif name not in _OF_TOOLS:
                self._sort(path, status)
        keys = self._keys()
        for (participant, _), file in sorted(self.newest.items()):
            self.found.files.setdefault(participant, []).append(self._with_key(file, keys))
        for files in self.found.files.values():
            files.sort(key=lambda file: (file.member.time, file.path))
        self.found.duplicates.sort()
        self.found.unknown.sort()

    def _paths(self) -> Iterator[tuple[str, os.stat_result]]:
        """Everything but folders, also behind links in the folder itself: a participant may lie on another disk."""
        for path, status in self.found.tree.scan(""):
            if "/" not in path and stat.S_ISLNK(status.st_mode) and self._leads_elsewhere(path):
                yield from self.found.tree.scan(path)
            else:
                yield path, status

    def _leads_elsewhere(self, name: str) -> bool:
        """Whether a link leads to a folder neither in this one nor around it, which would list files twice."""
        root = self.found.folder.resolve()
        try:
            target = (root / name).resolve()
            is_folder = target.is_dir()
        except (OSError, RuntimeError):  # it leads in a circle, or its target has an impossible name
            return False
        return is_folder and not (target.is_relative_to(root) or root.is_relative_to(target))

    def _sort(self, path: str, status: os.stat_result) -> None:
        file = self._file(path, status) if stat.S_ISREG(status.st_mode) else None
        if file is None:
            self.found.unknown.append(path)
            return
        participant = file.member.participant
        if participant not in self.participants:
            self.found.strangers[participant] = self.found.strangers.get(participant, 0) + 1
            return
        # Of recordings and answers, those of one second have numbers, and each is a file of its own.
        chunked = stream_named(file.member.stream).chunked
        name = path.rpartition("/")[2].removesuffix(ENCRYPTED_SUFFIX).removesuffix(COMPRESSED_SUFFIX)
        place = participant, f"{file.member.folder}/{file.member.time if chunked else name}"
        other = self.newest.get(place)
        if other is None:
            self.newest[place] = file
            return
        old, new = sorted((other, file), key=lambda each: each.written_ns)
        self.newest[place] = new
        self.found.duplicates.append(old.path)

    def _file(self, path: str, status: os.stat_result) -> OldFile | None:
        plain = path.removesuffix(ENCRYPTED_SUFFIX)
        member = self._member(plain.removesuffix(COMPRESSED_SUFFIX))
        if member is None:
            return None
        return OldFile(
            path=path,
            member=member,
            encrypted=plain != path,
            compressed=plain.endswith(COMPRESSED_SUFFIX),
            size_bytes=status.st_size,
            written_ns=status.st_mtime_ns,
            key=key_of_chunked_member(self.study_id, member) if stream_named(member.stream).chunked else None,
        )

    def _member(self, path: str) -> MemberName | None:
        """The server's name at the end of a path, under the name that it has in the lake."""
        parts = path.split("/")
        for stream_at, length in ((-2, 3), (-3, 4)):
            if len(parts) >= length and parts[stream_at] in self.streams:
                try:
                    known = parse_member_name("/".join(parts[-length:]))
                except HostileArchiveError:
                    return None
                return _as_named_now(known)
        return None

    def _keys(self) -> dict[_Place, list[str]]:
        """What mano's registries tell of files whose names do not tell their keys."""
        found: dict[_Place, list[str]] = {}
        for path in self.registries:
            try:
                listed = json.loads(self.found.tree.read(path, limit_bytes=_LARGEST_REGISTRY_BYTES))
            except (ValueError, RecursionError):
                listed = None
            if not isinstance(listed, dict):
                self.found.unknown.append(path)
                continue
            for key in map(short_key, listed):
                place = place_of_key(key)
                if place and not stream_named(place[0]).chunked:
                    own = found.setdefault((key.split("/")[1], *place), [])
                    if key not in own:  # a tree may have copies
                        own.append(key)
        return found

    def _with_key(self, file: OldFile, keys: Mapping[_Place, Sequence[str]]) -> OldFile:
        member = file.member
        if file.key is not None:
            return file
        fitting = [
            key
            for key in keys.get((member.participant, member.stream, member.time), ())
            if key_describes(key, self.study_id, member) and _may_be_of_survey(key, member)
        ]
        return replace(file, key=fitting[0]) if len(fitting) == 1 else file


def _as_named_now(member: MemberName) -> MemberName:
    """The member with its zone, which servers before mid 2018 left out, and without a number, which means nothing."""
    time, extension = member.name[: len("YYYY-MM-DD hh_mm_ss")], member.name.partition(".")[2]
    name = f"{time}{_ZONE}.{extension}"
    return member if name == member.name else replace(member, name=name)


def _may_be_of_survey(key: str, member: MemberName) -> bool:
    survey = key.split("/")[3:-1]
    return not survey or member.survey_id is None or survey == [member.survey_id]
