"""The roll of a study: everybody with a committed window, and how far each one's index had come.

It lies at ``<lake>/<study id>/.beiwe/participants.roll`` from before the study's key file on, so where there is a study
there is a roll. It finds what an index can't show: an index that was removed or put back, and a participant who was.

A run that commits writes it twice: before its first commit, to say that it is at work (``sessions``), and at its end,
with the indexes that it has written. In between an index may be ahead of the roll, never behind. A run that dies stays
on the roll as a session; the next one that commits takes it off, and the indexes as they are on. Each index names the
edition of the roll that its run began with, so a roll that is put back is older than an index allows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake.index import Index, IndexMark, read_index
from dagster_beiwe.lake.manifest import Authenticator, sealed_fields
from dagster_beiwe.lake.shapes import ShapeError, read_as
from dagster_beiwe.lake.storage import Storage
from dagster_beiwe.names import is_participant_id, is_plain_name

_PURPOSE = "roll of participants"
_INDEX_SUFFIX = ".index"


@dataclass(frozen=True, kw_only=True)
class Roll:
    """``edition`` counts how often it was written; ``sessions`` are the tokens of runs that may be at work."""

    edition: int = 0
    sessions: frozenset[str] = frozenset()
    participants: Mapping[str, IndexMark] = field(default_factory=dict)

    def opened(self, token: str) -> Roll:
        """With a run that begins to commit."""
        return replace(self, sessions=self.sessions | {token})

    def closed(self, tokens: Collection[str], marks: Mapping[str, IndexMark]) -> Roll:
        """Without runs that have ended or died, and with the indexes that they left; later ones stay."""
        newer = {
            participant: mark
            for participant, mark in marks.items()
            if participant not in self.participants or mark.edition > self.participants[participant].edition
        }
        return replace(self, sessions=self.sessions.difference(tokens), participants={**self.participants, **newer})

    def without(self, participant: str) -> Roll:
        """Without a participant whose data is removed on purpose."""
        return replace(self, participants={key: each for key, each in self.participants.items() if key != participant})


def roll_path(study_id: str) -> str:
    return f"{study_id}/.beiwe/participants.roll"


def read_roll(storage: Storage, authenticator: Authenticator, study_id: str) -> Roll | None:
    """The roll, or None if there is none. Raises ``IntegrityError`` if it was changed or is another study's."""
    path = roll_path(study_id)
    try:
        data = storage.read(path)
    except FileNotFoundError:
        return None
    document = authenticator.unseal(_PURPOSE, data, name=path)
    if document.get("study_id") != study_id:
        raise IntegrityError(
            f"Expected the roll of study {study_id} at {path!r}, got that of another; it was not trusted. Files were "
            "swapped: restore them from a backup."
        )
    with sealed_fields(path):
        marks = read_as(dict[str, tuple[int, str]], document["participants"])
        sessions = read_as(tuple[str, ...], document["sessions"])
        if not all(map(is_plain_name, (*marks, *sessions))):
            raise ShapeError("a participant or run that no roll has")
        return Roll(
            edition=read_as(int, document["edition"]),
            sessions=frozenset(sessions),
            participants={key: IndexMark(*mark) for key, mark in marks.items()},
        )


def write_roll(storage: Storage, authenticator: Authenticator, study_id: str, roll: Roll) -> None:
    document = {
        "study_id": study_id,
        "edition": roll.edition,
        "sessions": sorted(roll.sessions),
        "participants": {key: [mark.edition, mark.mac] for key, mark in sorted(roll.participants.items())},
    }
    storage.write(roll_path(study_id), authenticator.seal(_PURPOSE, document))


def change_roll(storage: Storage, authenticator: Authenticator, study_id: str, change: Callable[[Roll], Roll]) -> Roll:
    """Change the roll under the study's lock; returns the new one. Raises ``IntegrityError`` if it is gone or changed.

    Without it nothing is committed: a new one would hide whom the old one has missed.
    """
    with storage.lock(f"{study_id}/.beiwe"):
        roll = read_roll(storage, authenticator, study_id)
        if roll is None:
            raise IntegrityError(
                f"Expected the study's roll at {roll_path(study_id)!r} in the lake at {storage.describe()}, got none; "
                "nothing was written. It was removed: restore it from a backup, or run `dagster-beiwe verify "
                "--repair`, which makes it anew from what is there."
            )
        changed = replace(change(roll), edition=roll.edition + 1)
        write_roll(storage, authenticator, study_id, changed)
        return changed


def trusted_indexes(storage: Storage, authenticator: Authenticator, study_id: str) -> Iterator[tuple[str, Index]]:
    """The participants' indexes that can be trusted."""
    names = [name.removesuffix(_INDEX_SUFFIX) for name in storage.list(f"{study_id}/.beiwe") if _is_index(name)]
    for participant in names:
        with suppress(IntegrityError):  # what can't be trusted is named by `verify`, and by whoever commits to it
            yield participant, read_index(storage, authenticator, study_id, participant)


def rebuild_roll(storage: Storage, authenticator: Authenticator, study_id: str, *, running: Collection[str]) -> None:
    """Make the roll anew from the indexes that can be trusted: who has none is not on it any more.

    ``running`` are the tokens of runs that may be at work.
    """
    with storage.lock(f"{study_id}/.beiwe"):
        old = Roll()
        with suppress(IntegrityError):  # that is what it is made anew for
            old = read_roll(storage, authenticator, study_id) or old
        indexes = dict(trusted_indexes(storage, authenticator, study_id))
        editions = (old.edition, *(index.roll for index in indexes.values()))
        marks = {participant: index.mark for participant, index in indexes.items()}
        roll = Roll(edition=max(editions) + 1, sessions=frozenset(running), participants=marks)
        write_roll(storage, authenticator, study_id, roll)


def _is_index(name: str) -> bool:
    return name.endswith(_INDEX_SUFFIX) and is_participant_id(name.removesuffix(_INDEX_SUFFIX))
