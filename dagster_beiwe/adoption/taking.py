"""Stage files of an old tree for a sync, and tell what the server's answer means for each of them."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields

from dagster_beiwe.adoption.jobs import Jobs
from dagster_beiwe.adoption.old_files import UNREADABLE, OldFiles, why_unreadable
from dagster_beiwe.adoption.old_tree import OldFile
from dagster_beiwe.adoption.storing import OldAndNew
from dagster_beiwe.cells import Cell
from dagster_beiwe.lake import FetchedFile, LakeWriter, StudyLake
from dagster_beiwe.lake.staging import StagedFile
from dagster_beiwe.member_names import place_of_key
from dagster_beiwe.parallel import Processes
from dagster_beiwe.sync.local_files import LocalSize
from dagster_beiwe.sync.results import DownloadResult
from dagster_beiwe.windows import Window


@dataclass
class Outcomes:
    """What became of the files of an old tree. Sizes are plain bytes.

    ``adopted``: the server has the same, and nothing was downloaded; ``kept`` of these are stored byte for byte.
    ``sent_again``: the server has the same, but cannot compare it, so it was downloaded. ``changed``: it has other
    content, which was downloaded. ``foreign``: it does not have the file, which stays in the old tree.
    ``unreadable``: {path: why}; what the server has of complete windows was downloaded. ``held``: the lake had them
    already. ``not_compared``: their windows are incomplete, because a request failed or they were refused. ``missing``
    are files of the server that the tree lacked, which were downloaded.
    """

    adopted: int = 0
    adopted_bytes: int = 0
    kept: int = 0
    sent_again: int = 0
    held: int = 0
    not_compared: int = 0
    missing: int = 0
    missing_bytes: int = 0
    changed: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    def add(self, other: Outcomes) -> None:
        """Add what became of other files."""
        for each in fields(self):
            mine, more = getattr(self, each.name), getattr(other, each.name)
            setattr(self, each.name, mine | more if isinstance(mine, dict) else mine + more)

    @property
    def needs_attention(self) -> bool:
        """Whether somebody should look at files of the old tree that the lake does not have."""
        return bool(self.foreign or self.unreadable or self.not_compared)


class Taking:
    """The files of an old tree, by participant and oldest first, as a sync of ``cells`` takes them: see ``LocalFiles``.

    ``on_file`` is called at most once for each file, when its window's turn comes. If another run commits one of the
    windows meanwhile, it is taken again: then only what became of its files in the end counts.
    """

    def __init__(
        self,
        lake: StudyLake,
        files: Mapping[str, Sequence[OldFile]],
        opener: OldFiles,
        cells: Sequence[Cell],
        *,
        processes: Processes[OldAndNew],
        on_file: Callable[[OldFile], None] = lambda _: None,
    ) -> None:
        self._lake, self._files, self._opener = lake, files, opener
        self._on_file = on_file
        self._noted: dict[Cell, Outcomes] = {}
        self._unreadable: dict[str, str] = {}
        self._read: set[str] = set()
        self._times = {who: [file.member.time for file in files[who]] for who in {cell.participant for cell in cells}}
        self._sizes: dict[str, int] = {}
        self._held: frozenset[str] = frozenset()
        self._kept: set[str] = set()
        now = lake.at()
        # The lake holds nothing of these, so no name is taken there, and files may get theirs before the plan.
        lacking = [cell for cell in sorted(cells) if cell.window.key not in now.index(cell.participant)]
        ahead = [file for cell in lacking for file in self._inside(cell.participant, cell.window)]
        self._jobs = Jobs(lake, processes, ahead=[file for file in ahead if file.is_comparable])

    def outcomes(self, cells: Iterable[Cell]) -> Outcomes:
        """What became of the files of some cells, once the sync has reported these."""
        total = Outcomes()
        for cell in cells:
            inside = self._inside(cell.participant, cell.window)
            unreadable = {file.path: why for file in inside if (why := self._unreadable.get(file.path)) is not None}
            total.add(self._noted.get(cell) or Outcomes(not_compared=len(inside) - len(unreadable)))
            total.unreadable |= unreadable
        return total

    def stage(self, cells: Sequence[Cell], writer: LakeWriter, held: Collection[str]) -> Mapping[str, FetchedFile]:
        """See ``LocalFiles``."""
        self._held, self._kept, self._sizes = frozenset(held), set(), {}
        inside = self._inside(cells[0].participant, _span(cells))
        staged: dict[str, FetchedFile] = {}
        with closing(self._jobs.store([f for f in inside if f.is_comparable and f.key not in held], writer)) as jobs:
            for file, stored in jobs:
                if stored.staged:
                    staged[str(file.key)] = self._fetched(file, stored.staged)
                    self._sizes[file.path] = stored.staged.size_bytes
                    self._kept.update([file.path] if stored.kept else ())
                else:
                    self._unreadable[file.path] = stored.unreadable
                self._tell(file)
        return staged

    def sizes(self, participant: str, hours: Window) -> Iterable[LocalSize]:
        """See ``LocalFiles``."""
        for file in self._inside(participant, hours):
            if file.is_comparable and file.path not in self._unreadable:
                size_bytes = self._sizes.get(file.path)
                try:
                    size_bytes = self._opener.size(file) if size_bytes is None else size_bytes
                except UNREADABLE:
                    continue
                if size_bytes is not None:  # else its day does not add up, and its hours are listed
                    yield LocalSize(str(file.key), file.member.stream, file.member.time, size_bytes)

    def note(self, cells: Sequence[Cell], staged: Mapping[str, FetchedFile], result: DownloadResult) -> None:
        """See ``LocalFiles``."""
        for cell in cells:
            self._noted[cell] = self._became(cell, staged, result)

    def close(self) -> None:
        """See ``LocalFiles``."""
        self._jobs.close()

    def _became(self, cell: Cell, staged: Mapping[str, FetchedFile], result: DownloadResult) -> Outcomes:
        """What became of the files of one window."""
        outcomes, places = Outcomes(), dict[tuple[str, object], list[FetchedFile]]()
        fetched_files = {key: each for key, each in result.fetched_files.items() if each.member.time in cell.window}
        for fetched in fetched_files.values():
            places.setdefault((fetched.member.folder, fetched.member.time), []).append(fetched)
        held = {_place(key) for key in self._held}
        had: set[str] = set()
        for file in self._inside(cell.participant, cell.window):
            place = file.member.folder, file.member.time
            if file.path in self._unreadable:
                had.update(each.key for each in places.get(place, ()))
            elif (own := staged.get(str(file.key))) is not None:
                had.add(own.key)
                sent = [*filter(None, [fetched_files.get(own.key)])]
                self._judge(file, own.staged.sha256, sent, result, outcomes, own)
            elif file.key in self._held or not held.isdisjoint(_places(file)):
                outcomes.held += 1
                self._tell(file)
            else:
                self._tell(file)
                sent = places.get(place, [])
                had.update(each.key for each in sent)
                if (sha256 := self._sha256(file)) is not None:
                    self._judge(file, sha256, sent, result, outcomes)
        missing = [each for key, each in fetched_files.items() if key not in had and key not in self._held]
        outcomes.missing = len(missing)
        outcomes.missing_bytes = sum(each.staged.size_bytes for each in missing)
        return outcomes

    def _tell(self, file: OldFile) -> None:
        if file.path not in self._read:
            self._read.add(file.path)
            self._on_file(file)

    def _judge(
        self,
        file: OldFile,
        sha256: str,
        sent: Sequence[FetchedFile],
        result: DownloadResult,
        outcomes: Outcomes,
        own: FetchedFile | None = None,
    ) -> None:
        """Count a file by what is in the lake now in its place."""
        failed = any(request.covers(file.member.time, file.member.stream) for request in result.failures)
        if own is not None and any(each.staged is own.staged for each in sent):
            if all(each.checked for each in sent):
                outcomes.adopted += 1
                outcomes.adopted_bytes += own.staged.size_bytes
                outcomes.kept += file.path in self._kept
            else:
                outcomes.not_compared += 1
        elif any(each.staged.sha256 == sha256 for each in sent):
            outcomes.sent_again += 1
        elif sent:
            outcomes.changed.append(file.path)
        elif failed:
            outcomes.not_compared += 1
        else:
            outcomes.foreign.append(file.path)

    def _inside(self, participant: str, span: Window) -> Sequence[OldFile]:
        times = self._times[participant]
        return self._files[participant][bisect_left(times, span.start) : bisect_left(times, span.end)]

    def _fetched(self, file: OldFile, staged: StagedFile) -> FetchedFile:
        return FetchedFile(
            key=str(file.key),
            member=file.member,
            staged=staged,
            form=self._lake.form(file.member.stream),
            known_by="md5" if staged.md5 else None,
            checked=False,
        )

    def _sha256(self, file: OldFile) -> str | None:
        """The hash of a file that no server compares; None if it is unreadable."""
        digest = hashlib.sha256()
        try:
            digest.update(self._opener.open(file).content())
        except UNREADABLE as error:
            self._unreadable[file.path] = why_unreadable(error)
            return None
        return digest.hexdigest()


def _span(cells: Sequence[Cell]) -> Window:
    return Window(cells[0].window.start, cells[-1].window.end)


def _place(key: str) -> tuple[object, ...]:
    """Stream, survey, and time in a registry key, as far as it has them."""
    stream, time = place_of_key(key) or (None, None)
    return stream, next(iter(key.split("/")[3:-1]), None), time


def _places(file: OldFile) -> set[tuple[object, ...]]:
    """The places of keys that may be the file's: not all have a survey."""
    stream, survey_id, time = file.place
    return {(stream, survey_id, time), (stream, None, time)}
