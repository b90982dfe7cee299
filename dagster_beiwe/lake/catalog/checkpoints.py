"""Checkpoints: what replaying the log gave, kept to open it quickly. Derived; they can be thrown away at any time.

A root names a record and counts only if that record, in this log, has that hash. It names sections: one with the
participants' versions, one for each table asset, each proven by its hash. A section that did not change is used again
by the next root. Sections hold ids and secrets, records do not: withdrawing somebody removes all checkpoints.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake.catalog.authentication import Authenticator, digest, parsed
from dagster_beiwe.lake.catalog.records import Digest, Fixed, Head, Number, Proof, Snapshot
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.catalog.store import clear, create
from dagster_beiwe.lake.catalog.versions import Section
from dagster_beiwe.lake.layout import LogLayout, checkpoint_number
from dagster_beiwe.lake.storage.base import Store

KIND = "beiwe-checkpoint"
_KEPT = 2
_SECTION_LIMIT_BYTES = 512 * 1024 * 1024


class Identity(NamedTuple):
    """Whose a token is: the participant's id or the partition key, and the secret that keys what records say of it.

    ``epoch`` is the newest withdrawal when it was given. First names up to ``burnt`` are not used: somebody of the same
    name may have been withdrawn before.
    """

    name: str | None
    secret: str
    epoch: int
    burnt: str


class SectionFile(NamedTuple):
    file: str
    digest: Digest


class _Root(Fixed, frozen=True, kw_only=True):
    """A state, but for its sections, of which it has the files."""

    number: Number
    digest: Digest
    time: datetime
    floor: int
    collected: int
    purged: dict[str, int]
    burnt: dict[str, tuple[int, str]]
    snapshots: dict[str, Snapshot]
    lost: frozenset[Head]
    marks: bytes
    uncounted: tuple[tuple[int, float], ...]
    withdrawn_at: datetime
    proof: Proof
    sections: dict[str, SectionFile]


class _Section(Fixed, frozen=True):
    identities: dict[str, Identity]
    windows: dict[str, msgspec.Raw]


_FACTS = tuple(name for name in _Root.__struct_fields__ if name != "sections")

_encoder = msgspec.msgpack.Encoder()
_roots: msgspec.msgpack.Decoder[_Root] = msgspec.msgpack.Decoder(_Root)
_sections: msgspec.msgpack.Decoder[_Section] = msgspec.msgpack.Decoder(_Section)


class Checkpoints:
    """The checkpoints of one log.

    ``learn`` is given the owners of tokens, asset by asset, when a section is read. ``rebuild`` replays the log up to a
    record, without the checkpoint of that record, for a section that is gone or damaged: checkpoints of others may have
    replaced it since.
    """

    def __init__(
        self,
        store: Store,
        layout: LogLayout,
        authenticator: Authenticator,
        *,
        learn: Callable[[str, Mapping[str, Identity]], None],
        rebuild: Callable[[int], State],
    ) -> None:
        self._store, self._layout, self._authenticator = store, layout, authenticator
        self._learn, self._rebuild = learn, rebuild
        self._written: dict[str, tuple[Section | None, SectionFile]] = {}
        """Of each asset the section that was read or written last, and where it lies."""

    def heads(self) -> Iterator[tuple[str, int]]:
        """Names of the roots, and the record each one names, newest first."""
        for name in reversed(self._store.list(self._layout.checkpoints)):
            number = checkpoint_number(name)
            if number is not None and _is_root(name):
                yield name, number

    def read(self, name: str) -> State | None:
        """The state that a root describes; None for one that cannot be used. Its record has not been looked at."""
        try:
            return self._read(name)
        except (FileNotFoundError, IntegrityError):
            self._written = {}
            return None

    def damaged(self, knows: Callable[[Head], bool]) -> list[str]:
        """Paths of the roots that were changed, or a section of theirs, or of which the log does not know the record.

        That one is gone is no damage: whoever writes a newer checkpoint removes what looks unused, be it the section of
        a root that is just being written.
        """
        found = []
        for name, _ in self.heads():
            try:
                state = self._read(name)
                for asset, (_, file) in list(self._written.items()):
                    self._section(file, asset)
                damaged = not knows(state.head)
            except FileNotFoundError:
                continue
            except IntegrityError:
                damaged = True
            if damaged:
                found.append(f"{self._layout.checkpoints}/{name}")
        return found

    def _read(self, name: str) -> State:
        path = f"{self._layout.checkpoints}/{name}"
        root = parsed(_roots, self._authenticator.body(KIND, self._store.read(path), name=path), name=path)
        self._written = {asset: (None, file) for asset, file in root.sections.items()}
        state = State(**_facts(root))
        for asset, file in root.sections.items():
            state.sections[asset] = self._loader(asset, file, root.number)
        if people := root.sections.get(""):
            state.sections[""] = self._section(people, "")
        return state

    def write(self, state: State, identities: Mapping[str, Mapping[str, Identity]]) -> None:
        """Keep a state, and remove older checkpoints but the last ones."""
        sections = {}
        for asset, section in state.sections.items():
            before, file = self._written.get(asset, (None, None))
            if file is None or (isinstance(section, Section) and section is not before):
                found = state.section(asset)
                file = self._write_section(asset, state.number, found, identities.get(asset, {}))
                self._written[asset] = (found, file)
            sections[asset] = file
        root = _Root(sections=sections, **_facts(state))
        data = self._authenticator.sign(KIND, _encoder.encode(root))
        create(self._store, self._new_name(state.number), data, staging=self._layout.staging)
        self._remove_old({file.file for file in sections.values()})

    def remove_all(self) -> None:
        """Remove every checkpoint, of whatever format, with the ids in it."""
        self._written = {}
        clear(self._store, self._layout.all_checkpoints)

    def _loader(self, asset: str, file: SectionFile, number: int) -> Callable[[], Section]:
        def load() -> Section:
            try:
                return self._section(file, asset)
            except (FileNotFoundError, IntegrityError):
                return self._rebuild(number).section(asset)

        return load

    def _section(self, file: SectionFile, asset: str) -> Section:
        path = f"{self._layout.checkpoints}/{file.file}"
        data = self._store.read(path, limit_bytes=_SECTION_LIMIT_BYTES)
        if digest(data) != file.digest:
            raise IntegrityError(f"{path!r} is not the section that its checkpoint names. It was not used.")
        document = parsed(_sections, data, name=path)
        self._learn(asset, document.identities)
        section = Section(document.windows)
        if self._written.get(asset, (None, None))[1] == file:
            self._written[asset] = (section, file)
        return section

    def _write_section(
        self, asset: str, number: int, section: Section, identities: Mapping[str, Identity]
    ) -> SectionFile:
        document = _Section({token: identities[token] for token in section}, section.packed())
        data = _encoder.encode(document)
        path = f"{self._new_name(number)}.{'tables' if asset else 'people'}"
        create(self._store, path, data, staging=self._layout.staging)
        return SectionFile(path.rpartition("/")[2], digest(data))

    def _new_name(self, number: int) -> str:
        return self._layout.checkpoint(number, os.urandom(4).hex())

    def _remove_old(self, used: set[str]) -> None:
        """Remove all but the newest roots, and the sections that are older than the oldest of those and not used."""
        names = {name: checkpoint_number(name) for name in self._store.list(self._layout.checkpoints)}
        roots = sorted(number for name, number in names.items() if number is not None and _is_root(name))
        oldest = min(roots[-_KEPT:], default=0)
        for name, number in names.items():
            if number is not None and number < oldest and name not in used:
                self._store.delete(f"{self._layout.checkpoints}/{name}")


def _is_root(name: str) -> bool:
    return "." not in name


def _facts(source: _Root | State) -> dict[str, Any]:
    return {name: getattr(source, name) for name in _FACTS}
