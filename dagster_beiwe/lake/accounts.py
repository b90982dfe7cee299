# ruff: noqa: F821
"""Which files nothing accounts for: neither a manifest, nor the lake's own bookkeeping, nor a run that is not yet over.

What a run has left that died belongs to it as long as its ``.run`` file says so: the next run takes both away.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from dagster_beiwe.lake.storage import Storage
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.names import is_participant_id

_TOKEN = r"(?P<token>[0-9a-f]{16})"  # noqa: S105 - the form of a run's token, not a password
_PART = re.compile(rf"(?:.*/)?\.{_TOKEN}-[^/]*\.part")
_RUN = re.compile(rf"\.beiwe/{_TOKEN}\.run")
_DRAFT = re.compile(r"\.beiwe/\.[^/]*\.part")
_LEASE = re.compile(r"\.beiwe/\.lease/[0-9]{8}")
_OF_STUDY = re.compile(r"\.beiwe/(?:study\.key|participants\.roll|[A-Za-z0-9_-]{1,64}\.index)")
_OF_PARTICIPANT = re.compile(r"\.beiwe/[A-Za-z0-9_-]{1,64}\.(?:json|pending)")


def is_document(path: str) -> bool:
    """Whether a path below a study is that of a document of the lake itself, which is readable by design."""
    participant, _, below = path.partition("/")
    if participant == ".beiwe":
        return any(form.fullmatch(path) for form in (_OF_STUDY, _RUN, _LEASE, _DRAFT))
    forms = (_OF_PARTICIPANT, _RUN, _LEASE, _DRAFT)
    return is_participant_id(participant) and any(form.fullmatch(below) for form in forms)


def unaccounted_in_study(lake: StudyLake) -> Iterator[str]:
    """Such files beside the participants' folders: in the study's own folder, below it, and in its ``.beiwe``.

    Paths are below the lake's root.
    """
    for name in lake.storage.list(lake.study_id):
        if not is_participant_id(name):
            yield from _unaccounted(lake, lake.study_id, f"{lake.study_id}/{name}", documents=_OF_STUDY, listed=())


def unaccounted_of(lake: StudyLake, participant: str, listed: Collection[str]) -> Iterator[str]:
    """Such files of a participant, whose manifests list ``listed``. Paths are below the participant's folder."""
    folder = lake.folder(participant)
    for path in _unaccounted(lake, folder, folder, documents=_OF_PARTICIPANT, listed=listed):
        yield _below(path, folder)


def _unaccounted(
    lake: StudyLake, folder: str, top: str, *, documents: re.Pattern[str], listed: Collection[str]
) -> Iterator[str]:
    tokens = {*running(lake)}
    found = [
        path
        for path in lake.storage.walk(top)
        if (below := _below(path, folder)) not in listed and not documents.fullmatch(below)
    ]
    tokens |= {*running(lake)}  # those that began meanwhile
    for path in found:
        below = _below(path, folder)
        known = _RUN.fullmatch(below) or _PART.fullmatch(below)
        if known or _LEASE.fullmatch(below):
            ours = not known or known["token"] in tokens
            if (ours and lake.storage.exists(path)) or not _lies_there(lake.storage, path):
                continue
        yield path


def _lies_there(storage: Storage, path: str) -> bool:
    """Whether anything, be it a link or a pipe, still lies there: runs end meanwhile, and take away what was theirs."""
    folder, _, name = path.rpartition("/")
    return name in storage.list(folder)


def _below(path: str, folder: str) -> str:
    """The path below a folder; empty for what lies in the folder's own place."""
    return path.removeprefix(folder).removeprefix("/")
